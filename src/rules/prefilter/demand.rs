//! What an event must have if a compiled expression is to hold.

use std::collections::{BTreeMap, BTreeSet};

use super::key::{Key, Source};
use super::word::Word;
use crate::event::Field;
use crate::rules::access::{Access, Opening};
use crate::rules::compile::Node;
use crate::rules::derived::Derived;
use crate::rules::falco::Term;
use crate::rules::ir::{Mode, Place};
use crate::rules::matcher::Matcher;
use crate::rules::text::lower;

/// More words than this under one key are not told apart: the key then demands only that there be
/// a value.
const WORDS_MAX: usize = 1_000;

/// A rule is filed under each of so many alternatives, or else under what all of them demand.
const ALTERNATIVES_MAX: usize = 16;

/// Shorter literals are in too many texts to tell anything.
const LITERAL_BYTES_MIN: usize = 2;

pub(super) type Words = BTreeSet<Word>;

/// Of every key the event must have one of the words.
#[derive(Debug, Clone, Default)]
pub(super) struct Demands<'n> {
    pub(super) clauses: BTreeMap<Key, Words>,
    /// Loose names the clauses rely on: an event with a top-level key of such a name may match
    /// whatever its words are.
    pub(super) unless: BTreeSet<String>,
    /// The way to each field at paths that a clause is about, by the field's number.
    pub(super) ways: BTreeMap<u32, &'n Access>,
}

/// The demands of a rule's alternatives. The rule can match an event only if all clauses of one of
/// them are met, or the event has a key that this one's clauses rely on being absent.
pub(super) fn of(node: &Node) -> Vec<Demands<'_>> {
    alternatives(node).into_iter().map(demands).collect()
}

/// The parts of which a rule demands that one holds.
pub(super) fn alternatives(node: &Node) -> Vec<&Node> {
    let found: Vec<&Node> = match node.itself() {
        Node::Any(parts) => parts.iter().flat_map(alternatives).collect(),
        Node::All(parts) if parts.len() == 1 => parts.iter().flat_map(alternatives).collect(),
        other => return vec![other],
    };
    if found.len() <= ALTERNATIVES_MAX { found } else { vec![node] }
}

pub(super) fn demands(node: &Node) -> Demands<'_> {
    match node {
        Node::All(parts) => parts.iter().map(demands).fold(Demands::default(), both),
        Node::Any(parts) => either(parts),
        Node::AtLeast(count, parts) if *count > 0 => either(parts),
        Node::Values { access, tests, mode } => match mode {
            Mode::Any | Mode::Every => values(access, tests),
            // Every one must be passed, so each is demanded by itself.
            Mode::All => tests
                .iter()
                .map(|it| values(access, std::slice::from_ref(it)))
                .fold(Demands::default(), both),
            Mode::None => present(access),
        },
        Node::Null(access) => absent(access),
        Node::Exists(access) => present(access),
        Node::Not(part) => match part.itself() {
            Node::Exists(access) => absent(access),
            _ => Demands::default(),
        },
        Node::Shared(shared) => demands(shared.node()),
        Node::Same { access, other, .. } => both(present(access), present(other)),
        Node::Related { left, right, .. } => both(rooted(left), rooted(right)),
        Node::Members { access, quantifier, .. } if quantifier.needs_a_member() => present(access),
        Node::AtLeast(..) | Node::Members { .. } | Node::Keywords { .. } => Demands::default(),
    }
}

/// Both are demanded. Of one key the clause that tells more is kept: a field may have several
/// values, so that it may meet two clauses with a different value each.
fn both<'n>(mut left: Demands<'n>, right: Demands<'n>) -> Demands<'n> {
    for (key, words) in right.clauses {
        match left.clauses.get(&key) {
            Some(known) if telling(known) <= telling(&words) => {}
            _ => drop(left.clauses.insert(key, words)),
        }
    }
    left.unless.extend(right.unless);
    left.ways.extend(right.ways);
    left
}

/// The lower, the more a clause tells.
fn telling(words: &Words) -> (bool, usize, std::cmp::Reverse<usize>) {
    let length = |word: &Word| match word {
        Word::Contains(text) | Word::Starts(text) | Word::Ends(text) => text.len(),
        _ => 0,
    };
    let vague = words.contains(&Word::Present);
    (vague, words.len(), std::cmp::Reverse(words.iter().map(length).min().unwrap_or(0)))
}

/// One of the parts is demanded: what all of them demand.
fn either(parts: &[Node]) -> Demands<'_> {
    let mut parts = parts.iter().map(demands);
    let Some(mut all) = parts.next() else {
        return Demands::default();
    };
    for part in parts {
        all.unless.extend(part.unless);
        all.ways.extend(part.ways);
        let mut rest = part.clauses;
        all.clauses.retain(|key, words| {
            rest.remove(key).is_some_and(|more| {
                words.extend(more);
                words.len() <= WORDS_MAX
            })
        });
    }
    all
}

/// One value of the field must pass one of the tests.
fn values<'n>(access: &'n Access, tests: &[Matcher]) -> Demands<'n> {
    let mut found = Demands::default();
    if tests.is_empty() || !tests.iter().all(Matcher::needs_a_value) {
        return found;
    }
    found = present(access);
    let Some(Led { source, .. }) = source(access) else {
        return found;
    };
    let exact: Option<Words> = tests.iter().map(exact).collect();
    if let Some(words) = exact.filter(|it| it.len() <= WORDS_MAX) {
        found.clauses.extend(implied(source, &words));
        found.clauses.insert(Key::Values(source), words);
        return found;
    }
    let literals: Option<Words> = tests.iter().map(literal).collect();
    if let Some(words) = literals.filter(|it| it.len() <= WORDS_MAX) {
        found.clauses.insert(Key::Literals(source), words);
    }
    found
}

/// What the field that a computed one is made of must be like, for one of these values.
fn implied(source: Source, words: &Words) -> Option<(Key, Words)> {
    let Source::Derived(derived) = source else {
        return None;
    };
    let texts = words.iter().map(|word| match word {
        Word::Text(text) => Some(text),
        _ => None,
    });
    let texts: Vec<&String> = texts.collect::<Option<_>>()?;
    match derived {
        Derived::UserKind => {
            let user = |kind: &&String| match kind.as_str() {
                "anonymous" => Some(Word::Text("system:anonymous".to_owned())),
                "serviceaccount" => Some(Word::Starts("system:serviceaccount:".to_owned())),
                "node" => Some(Word::Starts("system:node:".to_owned())),
                "system" => Some(Word::Starts("system:".to_owned())),
                _ => None,
            };
            let users = texts.iter().map(user).collect::<Option<_>>()?;
            Some((Key::Literals(Source::Field(Field::Username)), users))
        }
        Derived::RbacRole | Derived::RbacBinding => {
            // Quotes and backslashes are written otherwise in the reason.
            let name = |name: &&String| {
                let plain = name.len() >= LITERAL_BYTES_MIN && !name.contains(['"', '\\']);
                plain.then(|| Word::Contains((*name).clone()))
            };
            let names = texts.iter().map(name).collect::<Option<_>>()?;
            Some((Key::Literals(Source::Field(Field::DecisionReason)), names))
        }
        _ => None,
    }
}

/// The one value a test accepts.
fn exact(test: &Matcher) -> Option<Word> {
    match test {
        Matcher::Text(pattern) => pattern.exact().map(Word::Text),
        Matcher::Number(number) => Some(Word::number(*number)),
        // A bool is judged by its text, `true` or `false` in any case.
        Matcher::Bool(yes) => Some(Word::Text(yes.to_string())),
        _ => None,
    }
}

/// A text that every value has which the test accepts.
fn literal(test: &Matcher) -> Option<Word> {
    let Matcher::Text(pattern) = test else {
        return None;
    };
    let (place, text) = pattern.literal()?;
    (text.len() >= LITERAL_BYTES_MIN).then_some(match place {
        Place::Whole => Word::Text(text),
        Place::Start => Word::Starts(text),
        Place::End => Word::Ends(text),
        Place::Anywhere => Word::Contains(text),
    })
}

/// The field must be there.
fn present(access: &Access) -> Demands<'_> {
    let around = match access {
        Access::Paths(paths, _) | Access::Pod(paths, _) => {
            opened(&paths.iter().map(|it| it.opening()).collect())
        }
        Access::Annotation(_) => opened(&BTreeSet::from([Opening::Field(Field::Annotations)])),
        Access::Loose { key, target, .. } => {
            let mut found = present(target);
            found.unless.extend(key.as_deref().map(str::to_owned));
            found
        }
        Access::Computed(term) => rooted(term),
        Access::Indexed(field, _) => field.parent().map(there).unwrap_or_default(),
        Access::Derived(_) | Access::Member(_) | Access::Itself => Demands::default(),
    };
    both(around, one(access, Word::Present))
}

/// The field must have the word.
fn one(access: &Access, word: Word) -> Demands<'_> {
    let mut found = Demands::default();
    if let Some(it) = source(access) {
        found.clauses.insert(Key::Values(it.source), Words::from([word]));
        found.unless.extend(it.unless.map(str::to_owned));
        found.ways.extend(it.way);
    }
    found
}

fn there(field: Field) -> Demands<'static> {
    let key = Key::Values(Source::Field(field));
    Demands { clauses: BTreeMap::from([(key, Words::from([Word::Present]))]), ..Demands::default() }
}

/// The field must be there that a term of a Falco condition is read from.
fn rooted(term: &Term) -> Demands<'static> {
    term.root().map(there).unwrap_or_default()
}

/// What an event has if any of several paths leads anywhere.
fn opened(openings: &BTreeSet<Opening<'_>>) -> Demands<'static> {
    let mut openings = openings.iter();
    match (openings.next(), openings.next()) {
        (Some(Opening::Field(field)), None) => there(*field),
        (Some(Opening::Key(key)), None) => {
            let words = Words::from([Word::Text(lower(key).into_owned())]);
            Demands { clauses: BTreeMap::from([(Key::Top, words)]), ..Demands::default() }
        }
        _ => Demands::default(),
    }
}

/// The field must be missing or `null`.
fn absent(access: &Access) -> Demands<'_> {
    match access {
        // A term is missing as well where its field holds an empty list, or no list.
        Access::Computed(_) => Demands::default(),
        _ => one(access, Word::Absent),
    }
}

/// What an access leads to in an audit event.
struct Led<'n> {
    source: Source,
    /// The top-level key that must not be there for that.
    unless: Option<&'n str>,
    /// The way to a field at paths.
    way: Option<(u32, &'n Access)>,
}

fn source(access: &Access) -> Option<Led<'_>> {
    let plain = |source| Led { source, unless: None, way: None };
    match access {
        Access::Indexed(field, _) => Some(plain(Source::Field(*field))),
        Access::Derived(derived) => Some(plain(Source::Derived(*derived))),
        Access::Computed(term) => term.indexed().map(|it| plain(Source::Field(it))),
        Access::Paths(..) | Access::Pod(..) => {
            let field = access.field()?;
            Some(Led { way: Some((field, access)), ..plain(Source::Path(field)) })
        }
        Access::Loose { key, target, .. } => match &**target {
            Access::Indexed(..) | Access::Derived(_) | Access::Paths(..) | Access::Pod(..) => {
                source(target).map(|it| Led { unless: key.as_deref(), ..it })
            }
            _ => None,
        },
        Access::Annotation(_) | Access::Member(_) | Access::Itself => None,
    }
}
