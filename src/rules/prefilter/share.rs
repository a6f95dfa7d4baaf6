//! How many events have a word, roughly, and what it costs to find out. Only speed depends on it:
//! the tree asks first what tells most for the least.

use super::key::{Key, Source};
use super::word::Word;
use crate::event::Field;

/// What the words of a key cost, in nanoseconds, that follow from an event's features: hardly ever are they asked for.
pub(super) const SETTLED: f64 = 0.5;

/// What the words of a key cost, in nanoseconds, when no other branch has asked for them. Literals
/// cost little because most values are recalled; hardly any request's URI is.
pub(super) fn cost(key: Key) -> f64 {
    match key {
        Key::Top => 2.0,
        Key::Values(Source::Field(Field::UserGroups | Field::SourceIps)) => 30.0,
        Key::Values(Source::Field(_)) => 6.0,
        Key::Values(Source::Derived(_)) => 60.0,
        Key::Literals(Source::Field(Field::RequestUri | Field::Name)) => 120.0,
        Key::Literals(Source::Field(_)) => 30.0,
        Key::Literals(Source::Derived(_)) => 90.0,
        // The body has to be read, which is not worth it for a few rules: they may be tried.
        Key::Values(Source::Path(_)) | Key::Literals(Source::Path(_)) => 3_000.0,
    }
}

/// The part of all events that has the word under the key.
pub(super) fn share(key: Key, word: &Word) -> f64 {
    let source = match key {
        Key::Top => return 0.01,
        Key::Literals(Source::Field(Field::Username)) => return 0.1,
        Key::Literals(_) => return 0.03,
        Key::Values(source) => source,
    };
    match word {
        Word::Absent => absent(source),
        Word::Present => 1.0 - absent(source),
        _ => match source {
            Source::Field(Field::Stage | Field::Decision | Field::Level) => 0.8,
            Source::Field(Field::Verb | Field::ApiGroup | Field::UserGroups) => 0.2,
            Source::Field(Field::Code) => 0.1,
            Source::Field(Field::Resource) => 0.08,
            Source::Field(_) => 0.03,
            Source::Derived(_) => 0.2,
            Source::Path(_) => 0.05,
        },
    }
}

fn absent(source: Source) -> f64 {
    match source {
        Source::Field(Field::ImpersonatedUser | Field::ImpersonatedUsername) => 0.99,
        Source::Field(Field::ImpersonatedGroups | Field::Truncated) => 0.99,
        Source::Field(Field::Subresource | Field::ResponseObject) => 0.8,
        Source::Field(Field::RequestObject) => 0.7,
        Source::Field(Field::ApiGroup) => 0.5,
        Source::Field(_) => 0.2,
        Source::Derived(_) => 0.4,
        Source::Path(_) => 0.5,
    }
}
