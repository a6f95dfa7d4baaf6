//! What the index requires of an event for a rule to be a candidate, in words for people.

use super::demand;
use super::key::{Key, Source};
use super::word::Word;
use crate::rules::compile::Node;
use crate::rules::taxonomy::DERIVED;

/// Per field the values, in lower case, of which the event must have one; `None` among them: the
/// field is missing. Of a rule with alternatives this is what all of them require.
pub(in crate::rules) fn told(node: &Node) -> Vec<(&'static str, Vec<Option<String>>)> {
    let of = |(key, words): (Key, demand::Words)| {
        let Key::Values(source) = key else { return None };
        let values: Option<Vec<_>> = words.into_iter().map(value).collect();
        Some((name(source)?, values?))
    };
    demand::demands(node).clauses.into_iter().filter_map(of).collect()
}

/// `None`: any value will do.
fn value(word: Word) -> Option<Option<String>> {
    match word {
        Word::Absent => Some(None),
        Word::Present => None,
        Word::Number(bits) => Some(Some(f64::from_bits(bits).to_string())),
        Word::Text(text) | Word::Contains(text) | Word::Starts(text) | Word::Ends(text) => {
            Some(Some(text))
        }
    }
}

/// `None`: it lies in a body, of which is told that it must be there.
fn name(source: Source) -> Option<&'static str> {
    match source {
        Source::Field(field) => Some(field.path()),
        Source::Derived(derived) => {
            DERIVED.iter().find(|(_, it, _)| *it == derived).map(|(name, _, _)| *name)
        }
        Source::Path(_) => None,
    }
}
