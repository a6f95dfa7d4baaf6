//! A dotted path into a JSON value, as rules write it.
//!
//! `a.b` descends into objects and, on the way, into every member of arrays. A
//! backslash takes the meaning of the next dot, bracket or backslash away, and
//! `a[0]`, `a[-1]` name one member. Where no object holds the next key alone,
//! keys that hold dots themselves are tried: `annotations.example.com/x` finds
//! the key `example.com/x`. The structure comes first, so that a request cannot
//! hide a field behind a made-up key with dots in it.

use std::fmt::{self, Write};

use super::tree::{Kind, Tree};
use super::value::View;

/// A path longer than this is no path but a mistake.
pub(super) const STEPS_MAX: usize = 32;

/// One key, and perhaps the place of one member under it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    key: String,
    index: Option<i64>,
}

impl Step {
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn index(&self) -> Option<i64> {
        self.index
    }
}

/// The steps of a path, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path {
    steps: Vec<Step>,
}

/// Takes a value that was found; `true` ends the search.
pub(super) type Visit<'v> = &'v mut dyn FnMut(View<'_>) -> bool;

impl Path {
    /// Reads a path. Every text is one.
    pub(super) fn parse(text: &str) -> Path {
        let mut steps = Vec::new();
        let mut key = String::new();
        let mut index = None;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some(escaped @ ('.' | '[' | ']' | '\\')) => key.push(escaped),
                    Some(other) => key.extend(['\\', other]),
                    None => key.push('\\'),
                },
                '.' => steps.push(Step { key: std::mem::take(&mut key), index: index.take() }),
                '[' => match bracketed(chars.as_str()) {
                    Some((number, rest)) => {
                        index = Some(number);
                        chars = rest.chars();
                    }
                    None => key.push('['),
                },
                other => key.push(other),
            }
        }
        steps.push(Step { key, index });
        Path { steps }
    }

    /// The path of one key, whatever is in it.
    pub(super) fn of_key(key: &str) -> Path {
        Path { steps: vec![Step { key: key.to_owned(), index: None }] }
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many keys deep it goes.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it names a member of a list by its place.
    pub(super) fn picks(&self) -> bool {
        self.steps.iter().any(|it| it.index.is_some())
    }

    /// The first key, when the path does not pick a member under it.
    pub(super) fn first(&self) -> Option<&str> {
        self.steps.first().filter(|it| it.index.is_none()).map(|it| it.key.as_str())
    }

    /// Whether it goes through the fields of another, and further.
    pub(super) fn starts_with(&self, path: &str) -> bool {
        let other = Path::parse(path).steps;
        let same = self.steps.iter().zip(&other).all(|(step, it)| step.key == it.key);
        same && self.steps.len() > other.len()
    }

    /// The path below its first key.
    pub(super) fn rest(&self) -> Path {
        Path { steps: self.steps.iter().skip(1).cloned().collect() }
    }

    /// The path with `below` added at its end.
    pub(super) fn join(&self, below: &Path) -> Path {
        Path { steps: self.steps.iter().chain(&below.steps).cloned().collect() }
    }

    /// All keys joined by dots, as a flat log format would name the field.
    pub(super) fn flat(&self) -> String {
        let keys: Vec<&str> = self.steps.iter().map(|it| it.key.as_str()).collect();
        keys.join(".")
    }

    /// Shows every value at the path to `visit` until it returns `true`, and returns that.
    pub(super) fn visit(&self, value: &Tree<'_>, visit: Visit<'_>) -> bool {
        descend(value, &self.steps, visit) == Some(true)
    }
}

/// As a rule would write it: [`Path::parse`] reads it back.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            if at > 0 {
                f.write_char('.')?;
            }
            for c in step.key.chars() {
                if matches!(c, '.' | '[' | ']' | '\\') {
                    f.write_char('\\')?;
                }
                f.write_char(c)?;
            }
            if let Some(index) = step.index {
                write!(f, "[{index}]")?;
            }
        }
        Ok(())
    }
}

/// The number in brackets at the start of `text` (after the opening one), and what follows.
fn bracketed(text: &str) -> Option<(i64, &str)> {
    let (number, rest) = text.split_once(']')?;
    let ends = rest.is_empty() || rest.starts_with('.');
    number.parse().ok().filter(|_| ends).map(|number| (number, rest))
}

/// `None`: nothing was there. Otherwise what `visit` said last.
fn descend(value: &Tree<'_>, steps: &[Step], visit: Visit<'_>) -> Option<bool> {
    let Some((step, below)) = steps.split_first() else {
        return Some(visit(View::Tree(*value)));
    };
    match value.kind() {
        Kind::Array => {
            let mut seen = None;
            for member in value.members() {
                match descend(&member, steps, visit) {
                    Some(true) => return Some(true),
                    found => seen = seen.or(found),
                }
            }
            seen
        }
        Kind::Object => {
            let found = value.get(&step.key).and_then(|it| under(&it, step, below, visit));
            if found.is_some() || below.is_empty() || !value.odd_keys() {
                return found;
            }
            // No such structure: perhaps the key itself holds dots.
            for taken in 1..steps.len() {
                let (joined, rest) = steps.split_at_checked(taken + 1)?;
                let last = joined.last()?;
                let found = value.get_joined(joined).and_then(|it| under(&it, last, rest, visit));
                if found.is_some() {
                    return found;
                }
            }
            None
        }
        _ => None,
    }
}

fn under(value: &Tree<'_>, step: &Step, below: &[Step], visit: Visit<'_>) -> Option<bool> {
    match step.index {
        None => descend(value, below, visit),
        Some(index) => descend(&member(value, index)?, below, visit),
    }
}

/// The member at `index`, counted from the end when negative.
pub(super) fn member<'t>(value: &Tree<'t>, index: i64) -> Option<Tree<'t>> {
    let place = usize::try_from(index.unsigned_abs()).ok()?;
    let place = if index < 0 { value.members().count().checked_sub(place)? } else { place };
    value.members().nth(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, json: &str) -> Vec<String> {
        let mut parts = crate::rules::tree::Parts::default();
        parts.read(json);
        let mut found = Vec::new();
        Path::parse(path).visit(&parts.tree(json).unwrap(), &mut |view| {
            if let View::Tree(value) = view {
                found.push(value.json().to_owned());
            }
            false
        });
        found
    }

    #[test]
    fn paths_descend_through_objects_and_arrays() {
        assert_eq!(found("a.b", r#"{"a":{"b":1}}"#), ["1"]);
        assert_eq!(found("a.b", r#"{"a":[{"b":1},{"c":0},[{"b":2}]]}"#), ["1", "2"]);
        assert_eq!(found("a[1].b", r#"{"a":[{"b":1},{"b":2}]}"#), ["2"]);
        assert_eq!(found("a[-1]", r#"{"a":[1,2,3]}"#), ["3"]);
        assert_eq!(found(r"a\[0\]", r#"{"a[0]":7,"a":[1]}"#), ["7"]);
        assert!(found("a.b", r#"{"a":"b"}"#).is_empty());
    }

    #[test]
    fn keys_with_dots_are_found_escaped_and_plain() {
        let json = r#"{"annotations":{"authorization.k8s.io/decision":"allow"}}"#;
        assert_eq!(found(r"annotations.authorization\.k8s\.io/decision", json), ["\"allow\""]);
        assert_eq!(found("annotations.authorization.k8s.io/decision", json), ["\"allow\""]);
        assert_eq!(found("a.b.c", r#"{"a.b.c":1}"#), ["1"]);
    }

    #[test]
    fn a_made_up_key_cannot_hide_the_structure() {
        assert_eq!(found("spec.x", r#"{"spec.x":"decoy","spec":{"x":"real"}}"#), ["\"real\""]);
    }

    #[test]
    fn a_path_is_written_as_it_is_read() {
        for text in ["a.b", "annotations.a\\.k8s\\.io/x", "a[0].b", "a[-1]", "a\\[0\\]", "a\\\\b"] {
            assert_eq!(Path::parse(text).to_string(), text);
            assert_eq!(Path::parse(&Path::parse(text).to_string()), Path::parse(text));
        }
    }
}
