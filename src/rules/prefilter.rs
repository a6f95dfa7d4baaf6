//! Finds, for one event, the few rules that could match it.
//!
//! Most rules demand a certain verb, resource or the like. From every rule's
//! compiled expression this derives, per indexed field, the values without which
//! it cannot match; per field and value there is a set of the rules that allow
//! it, and an event's candidates are the intersection over the fields. The sets
//! may hold too many rules, never too few.

use std::collections::{BTreeMap, BTreeSet};

use super::access::Access;
use super::compile::Node;
use super::derived::Derived;
use super::ir::Mode;
use super::matcher::Matcher;
use super::raw;
use super::scratch::Context;
use super::taxonomy::DERIVED;
use crate::event::Field;

/// What an index is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Field(Field),
    Derived(Derived),
}

/// The fields worth an index: rules name their values, and events differ in them.
const INDEXED: [Key; 14] = [
    Key::Field(Field::Verb),
    Key::Field(Field::Resource),
    Key::Field(Field::Subresource),
    Key::Field(Field::ApiGroup),
    Key::Field(Field::Namespace),
    Key::Field(Field::Username),
    Key::Field(Field::UserGroups),
    Key::Field(Field::ImpersonatedUsername),
    Key::Field(Field::Code),
    Key::Field(Field::Stage),
    Key::Field(Field::Decision),
    Key::Derived(Derived::UserKind),
    Key::Derived(Derived::RbacRole),
    Key::Derived(Derived::TokenForSelf),
];

impl Key {
    /// The field's name in rules.
    fn name(self) -> &'static str {
        match self {
            Key::Field(field) => field.path(),
            Key::Derived(derived) => {
                DERIVED.iter().find(|(_, it, _)| *it == derived).map_or("", |(name, _, _)| name)
            }
        }
    }

    /// Whether this is what `access` leads to.
    fn is(self, access: &Access) -> bool {
        match (self, access) {
            (Key::Field(field), Access::Indexed(at, _)) => field == *at,
            (Key::Derived(derived), Access::Derived(it)) => derived == *it,
            _ => false,
        }
    }
}

/// What stands for a field that is missing or `null`. No JSON text reads like this.
const ABSENT: &str = "\u{0}";

/// A rule that allows more values than this of a field is not indexed by it.
const VALUES_MAX: usize = 1_000;

/// The index of one rule set.
#[derive(Debug, Default)]
pub(super) struct Prefilter {
    rules: usize,
    indexes: Vec<Index>,
}

/// One field's sets of rules.
#[derive(Debug)]
struct Index {
    key: Key,
    /// Rules that allow this value, and those that do not care.
    by_value: BTreeMap<String, Vec<u64>>,
    /// Rules that do not care.
    any: Vec<u64>,
}

impl Prefilter {
    pub(super) fn new(nodes: &[Node]) -> Prefilter {
        let indexes = INDEXED.into_iter().filter_map(|it| Index::new(it, nodes)).collect();
        Prefilter { rules: nodes.len(), indexes }
    }

    /// Fills `found` with one bit per rule: set when the rule could match.
    pub(super) fn candidates(
        &self,
        context: &Context<'_, '_>,
        found: &mut Vec<u64>,
        allowed: &mut Vec<u64>,
    ) {
        found.clear();
        found.resize(words(self.rules), u64::MAX);
        let spare = words(self.rules) * 64 - self.rules;
        if let Some(last) = found.last_mut() {
            *last = u64::MAX.checked_shr(u32::try_from(spare).unwrap_or(0)).unwrap_or(0);
        }
        for index in &self.indexes {
            allowed.clear();
            if index.allowed(context, allowed) {
                for (word, mask) in found.iter_mut().zip(allowed.iter()) {
                    *word &= mask;
                }
            }
        }
    }
}

/// The positions of the bits that are set.
pub(super) fn positions(words: &[u64]) -> impl Iterator<Item = usize> {
    words.iter().enumerate().flat_map(|(at, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = usize::try_from(left.trailing_zeros()).ok().filter(|_| left != 0)?;
            left &= left - 1;
            Some(at * 64 + bit)
        })
    })
}

impl Index {
    /// `None` when no rule cares about the field.
    fn new(key: Key, nodes: &[Node]) -> Option<Index> {
        let demands: Vec<Option<BTreeSet<String>>> =
            nodes.iter().map(|it| demand(it, key)).collect();
        let mut any = vec![0; words(nodes.len())];
        for (rule, demand) in demands.iter().enumerate() {
            if demand.is_none() {
                set(&mut any, rule);
            }
        }
        let mut by_value = BTreeMap::new();
        for (rule, demand) in demands.iter().enumerate() {
            for value in demand.iter().flatten() {
                set(by_value.entry(value.clone()).or_insert_with(|| any.clone()), rule);
            }
        }
        demands.iter().any(Option::is_some).then_some(Index { key, by_value, any })
    }

    /// Fills `allowed` with the rules that allow the event's value. `false`: the value
    /// is of a kind that is not indexed, and says nothing.
    fn allowed(&self, context: &Context<'_, '_>, allowed: &mut Vec<u64>) -> bool {
        let field = match self.key {
            Key::Field(field) => field,
            Key::Derived(derived) => return self.derived(derived, context, allowed),
        };
        match context.event.json(field) {
            Some("null") => self.add(ABSENT, allowed),
            // Any member will do for a rule, so each adds the rules it will do for.
            Some(json) if json.starts_with('[') => {
                allowed.extend(&self.any);
                raw::members(json).all(|member| self.add_json(member, allowed))
            }
            Some(json) => self.add_json(json, allowed),
            // What is no audit event may hold the dotted name as one key.
            None => context.audit && self.add(ABSENT, allowed),
        }
    }

    fn derived(&self, derived: Derived, context: &Context<'_, '_>, allowed: &mut Vec<u64>) -> bool {
        let mut seen = false;
        let added = context.audit
            && derived.visit(context, &mut |text| {
                seen = true;
                self.add(text, allowed)
            });
        if seen { added } else { self.add(ABSENT, allowed) }
    }

    /// As [`Index::add`], for a JSON string or integer.
    fn add_json(&self, json: &str, allowed: &mut Vec<u64>) -> bool {
        match json.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
            // Numbers in quotes may be written in many ways, escapes as well.
            Some(text) if self.key == Key::Field(Field::Code) || text.contains('\\') => false,
            Some(text) => self.add(text, allowed),
            None => json.bytes().all(|it| it.is_ascii_digit()) && self.add(json, allowed),
        }
    }

    /// Adds the rules that allow this value. `false`: it is of a kind that is not indexed.
    fn add(&self, value: &str, allowed: &mut Vec<u64>) -> bool {
        if !value.is_ascii() {
            return false;
        }
        let found = if value.bytes().any(|it| it.is_ascii_uppercase()) {
            self.by_value.get(&value.to_ascii_lowercase())
        } else {
            self.by_value.get(value)
        };
        let found = found.unwrap_or(&self.any);
        if allowed.is_empty() {
            allowed.extend(found);
        } else {
            allowed.iter_mut().zip(found).for_each(|(word, more)| *word |= more);
        }
        true
    }
}

/// What the index requires of an event for the rule to be judged at all: per field the
/// values, in lower case, of which the event must have one. `None` among them: the field is
/// missing.
pub(super) fn demands(node: &Node) -> Vec<(&'static str, Vec<Option<String>>)> {
    let value = |it: String| Some(it).filter(|it| it != ABSENT);
    let of = |key: Key| Some((key.name(), demand(node, key)?.into_iter().map(value).collect()));
    INDEXED.into_iter().filter_map(of).collect()
}

/// The values of the key, in lower case, of which the event must have one if the
/// expression is to hold. `None`: it may hold whatever the value is.
fn demand(node: &Node, key: Key) -> Option<BTreeSet<String>> {
    match node {
        Node::All(parts) => {
            parts.iter().filter_map(|it| demand(it, key)).reduce(|left, right| &left & &right)
        }
        Node::Any(parts) => union(parts, key),
        Node::AtLeast(count, parts) if *count > 0 => union(parts, key),
        Node::Values { access, tests, mode } if key.is(access) => {
            let tests = match mode {
                Mode::Any => tests,
                // Every one must be passed, so the first alone is demanded as well.
                Mode::All => tests.get(..1).unwrap_or_default(),
                Mode::None => return None,
            };
            let values: Option<BTreeSet<String>> = tests.iter().map(|it| exact(it, key)).collect();
            values.filter(|it| it.len() <= VALUES_MAX)
        }
        Node::Null(access) if key.is(access) => Some(BTreeSet::from([ABSENT.to_owned()])),
        Node::Not(part) => match &**part {
            Node::Exists(access) if key.is(access) => Some(BTreeSet::from([ABSENT.to_owned()])),
            _ => None,
        },
        _ => None,
    }
}

fn union(parts: &[Node], key: Key) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for part in parts {
        all.extend(demand(part, key)?);
    }
    (all.len() <= VALUES_MAX).then_some(all)
}

/// The one text a test accepts, as the event would write it.
fn exact(test: &Matcher, key: Key) -> Option<String> {
    match test {
        Matcher::Text(pattern) => pattern.exact(),
        // The API server writes the code as a bare integer. A number in another
        // field may be written in many ways.
        Matcher::Number(number) if key == Key::Field(Field::Code) && number.fract() == 0.0 => {
            Some(number.to_string())
        }
        // A computed bool is text: `true` or `false`, in lower case.
        Matcher::Bool(yes) if matches!(key, Key::Derived(_)) => Some(yes.to_string()),
        _ => None,
    }
}

fn words(rules: usize) -> usize {
    rules.div_ceil(64)
}

fn set(words: &mut [u64], at: usize) {
    if let Some(word) = words.get_mut(at / 64) {
        *word |= 1 << (at % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_the_bits() {
        let found: Vec<usize> = positions(&[0b1001, 0, 1 << 63]).collect();
        assert_eq!(found, [0, 3, 191]);
    }
}
