//! Finds, for one event, the few rules that could match it.
//!
//! Most rules demand a certain verb, resource or the like. From every rule's
//! compiled expression this derives, per indexed field, the values without which
//! it cannot match; per field and value there is a set of the rules that allow
//! it, and an event's candidates are the intersection over the fields. The sets
//! may hold too many rules, never too few.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::Node;
use super::ir::Mode;
use super::matcher::Matcher;
use super::scratch::Context;
use crate::event::Field;

/// The fields worth an index: rules name their values, and events differ in them.
const INDEXED: [Field; 9] = [
    Field::Verb,
    Field::Resource,
    Field::Subresource,
    Field::ApiGroup,
    Field::Namespace,
    Field::Username,
    Field::Code,
    Field::Stage,
    Field::Decision,
];

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
    field: Field,
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
    pub(super) fn candidates(&self, context: &Context<'_, '_>, found: &mut Vec<u64>) {
        found.clear();
        found.resize(words(self.rules), u64::MAX);
        let spare = words(self.rules) * 64 - self.rules;
        if let Some(last) = found.last_mut() {
            *last = u64::MAX.checked_shr(u32::try_from(spare).unwrap_or(0)).unwrap_or(0);
        }
        for index in &self.indexes {
            let Some(allowed) = index.allowed(context) else {
                continue;
            };
            for (word, mask) in found.iter_mut().zip(allowed) {
                *word &= mask;
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
    fn new(field: Field, nodes: &[Node]) -> Option<Index> {
        let demands: Vec<Option<BTreeSet<String>>> =
            nodes.iter().map(|it| demand(it, field)).collect();
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
        demands.iter().any(Option::is_some).then_some(Index { field, by_value, any })
    }

    /// The rules that allow the event's value. `None`: the value is of a kind that
    /// is not indexed, and says nothing.
    fn allowed(&self, context: &Context<'_, '_>) -> Option<&[u64]> {
        let json = match context.event.json(self.field) {
            Some("null") => ABSENT,
            Some(json) => json,
            // What is no audit event may hold the dotted name as one key.
            None if !context.audit => return None,
            None => ABSENT,
        };
        let value = match json.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
            // Numbers in quotes may be written in many ways.
            Some(_) if self.field == Field::Code => return None,
            Some(text) => text,
            None if json == ABSENT || json.bytes().all(|it| it.is_ascii_digit()) => json,
            None => return None,
        };
        if !value.is_ascii() || value.contains('\\') {
            return None;
        }
        let found = if value.bytes().any(|it| it.is_ascii_uppercase()) {
            self.by_value.get(&value.to_ascii_lowercase())
        } else {
            self.by_value.get(value)
        };
        Some(found.unwrap_or(&self.any))
    }
}

/// The values of `field`, in lower case, of which the event must have one if the
/// expression is to hold. `None`: it may hold whatever the field is.
fn demand(node: &Node, field: Field) -> Option<BTreeSet<String>> {
    match node {
        Node::All(parts) => {
            parts.iter().filter_map(|it| demand(it, field)).reduce(|left, right| &left & &right)
        }
        Node::Any(parts) => union(parts, field),
        Node::AtLeast(count, parts) if *count > 0 => union(parts, field),
        Node::Values { access, tests, mode } if access.indexed() == Some(field) => {
            let tests = match mode {
                Mode::Any => tests,
                // Every one must be passed, so the first alone is demanded as well.
                Mode::All => tests.get(..1).unwrap_or_default(),
                Mode::None => return None,
            };
            let values: Option<BTreeSet<String>> =
                tests.iter().map(|it| exact(it, field)).collect();
            values.filter(|it| it.len() <= VALUES_MAX)
        }
        Node::Null(access) if access.indexed() == Some(field) => {
            Some(BTreeSet::from([ABSENT.to_owned()]))
        }
        Node::Not(part) => match &**part {
            Node::Exists(access) if access.indexed() == Some(field) => {
                Some(BTreeSet::from([ABSENT.to_owned()]))
            }
            _ => None,
        },
        _ => None,
    }
}

fn union(parts: &[Node], field: Field) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for part in parts {
        all.extend(demand(part, field)?);
    }
    (all.len() <= VALUES_MAX).then_some(all)
}

/// The one text a test accepts, as the event would write it.
fn exact(test: &Matcher, field: Field) -> Option<String> {
    match test {
        Matcher::Text(pattern) => pattern.exact(),
        // The API server writes the code as a bare integer. A number in another
        // field may be written in many ways.
        Matcher::Number(number) if field == Field::Code && number.fract() == 0.0 => {
            Some(number.to_string())
        }
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
