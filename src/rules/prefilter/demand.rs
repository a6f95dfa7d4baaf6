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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Demands {
    pub(super) clauses: BTreeMap<Key, Words>,
    /// Loose names the clauses rely on: an event with a top-level key of such a name may match
    /// whatever its words are.
    pub(super) unless: BTreeSet<String>,
}

/// The demands of a rule's alternatives. The rule can match an event only if all clauses of one of
/// them are met, or the event has a key that this one's clauses rely on being absent.
pub(super) fn of(node: &Node) -> Vec<Demands> {
    let alternatives: Vec<Demands> = match node {
        Node::Any(parts) => parts.iter().flat_map(of).collect(),
        Node::All(parts) if parts.len() == 1 => parts.iter().flat_map(of).collect(),
        _ => return vec![demands(node)],
    };
    if alternatives.len() <= ALTERNATIVES_MAX { alternatives } else { vec![demands(node)] }
}

pub(super) fn demands(node: &Node) -> Demands {
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
        Node::Not(part) => match &**part {
            Node::Exists(access) => absent(access),
            _ => Demands::default(),
        },
        Node::Same { access, other, .. } => both(present(access), present(other)),
        Node::Related { left, right, .. } => both(rooted(left), rooted(right)),
        Node::Members { access, quantifier, .. } if quantifier.needs_a_member() => present(access),
        Node::AtLeast(..) | Node::Members { .. } | Node::Keywords { .. } => Demands::default(),
    }
}

/// Both are demanded. Of one key the clause that tells more is kept: a field may have several
/// values, so that it may meet two clauses with a different value each.
fn both(mut left: Demands, right: Demands) -> Demands {
    for (key, words) in right.clauses {
        match left.clauses.get(&key) {
            Some(known) if telling(known) <= telling(&words) => {}
            _ => drop(left.clauses.insert(key, words)),
        }
    }
    left.unless.extend(right.unless);
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
fn either(parts: &[Node]) -> Demands {
    let mut parts = parts.iter().map(demands);
    let Some(mut all) = parts.next() else {
        return Demands::default();
    };
    for part in parts {
        all.unless.extend(part.unless);
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
fn values(access: &Access, tests: &[Matcher]) -> Demands {
    let mut found = Demands::default();
    if tests.is_empty() || !tests.iter().all(Matcher::needs_a_value) {
        return found;
    }
    found = present(access);
    let Some((source, _)) = source(access) else {
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
fn present(access: &Access) -> Demands {
    if let Some((source, unless)) = source(access) {
        let whole = match source {
            Source::Field(field) => field.parent().map(Source::Field),
            Source::Derived(_) => None,
        };
        let there = |it| (Key::Values(it), Words::from([Word::Present]));
        return Demands {
            clauses: std::iter::once(source).chain(whole).map(there).collect(),
            unless: unless.into_iter().map(str::to_owned).collect(),
        };
    }
    match access {
        Access::Paths(paths, _) | Access::Pod(paths, _) => {
            let openings: BTreeSet<Opening<'_>> = paths.iter().map(|it| it.opening()).collect();
            Demands { clauses: opened(&openings).into_iter().collect(), unless: BTreeSet::new() }
        }
        Access::Annotation(_) => {
            let openings = BTreeSet::from([Opening::Field(Field::Annotations)]);
            Demands { clauses: opened(&openings).into_iter().collect(), unless: BTreeSet::new() }
        }
        Access::Loose { key, target, .. } => {
            let mut found = present(target);
            found.unless.extend(key.as_deref().map(str::to_owned));
            found
        }
        Access::Computed(term) => rooted(term),
        _ => Demands::default(),
    }
}

/// The field must be there that a term of a Falco condition is read from.
fn rooted(term: &Term) -> Demands {
    let Some(field) = term.root() else {
        return Demands::default();
    };
    let key = Key::Values(Source::Field(field));
    Demands {
        clauses: BTreeMap::from([(key, Words::from([Word::Present]))]),
        unless: BTreeSet::new(),
    }
}

/// What an event has if any of several paths leads anywhere.
fn opened(openings: &BTreeSet<Opening<'_>>) -> Option<(Key, Words)> {
    let mut openings = openings.iter();
    match (openings.next()?, openings.next()) {
        (Opening::Field(field), None) => {
            Some((Key::Values(Source::Field(*field)), Words::from([Word::Present])))
        }
        (Opening::Key(key), None) => {
            Some((Key::Top, Words::from([Word::Text(lower(key).into_owned())])))
        }
        _ => None,
    }
}

/// The field must be missing or `null`.
fn absent(access: &Access) -> Demands {
    // A term is missing as well where its field holds an empty list, or no list.
    if let Access::Computed(_) = access {
        return Demands::default();
    }
    let Some((source, unless)) = source(access) else {
        return Demands::default();
    };
    Demands {
        clauses: BTreeMap::from([(Key::Values(source), Words::from([Word::Absent]))]),
        unless: unless.into_iter().map(str::to_owned).collect(),
    }
}

/// The field that the access leads to in an audit event, and the top-level key that must not be
/// there for that.
fn source(access: &Access) -> Option<(Source, Option<&str>)> {
    match access {
        Access::Indexed(field, _) => Some((Source::Field(*field), None)),
        Access::Derived(derived) => Some((Source::Derived(*derived), None)),
        Access::Computed(term) => term.indexed().map(|it| (Source::Field(it), None)),
        Access::Loose { key, target, .. } => match &**target {
            Access::Indexed(..) | Access::Derived(_) => {
                source(target).map(|it| (it.0, key.as_deref()))
            }
            _ => None,
        },
        _ => None,
    }
}
