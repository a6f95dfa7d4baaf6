//! A dotted path into a JSON value, as rules write it.
//!
//! `a.b` descends into objects and, on the way, into every member of arrays. A
//! backslash takes the meaning of the next dot, bracket or backslash away, and
//! `a[0]`, `a[-1]` name one member. Where no object holds the next key alone,
//! keys that hold dots themselves are tried: `annotations.example.com/x` finds
//! the key `example.com/x`. The structure comes first, so that a request cannot
//! hide a field behind a made-up key with dots in it.

use serde_json::Value;

use super::value::View;

/// A path longer than this is no path but a mistake.
pub(super) const STEPS_MAX: usize = 32;

/// One key, and perhaps the place of one member under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    key: String,
    index: Option<i64>,
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

    /// How many keys deep it goes.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
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
    pub(super) fn visit(&self, value: &Value, visit: Visit<'_>) -> bool {
        descend(value, &self.steps, visit) == Some(true)
    }
}

/// The number in brackets at the start of `text` (after the opening one), and what follows.
fn bracketed(text: &str) -> Option<(i64, &str)> {
    let (number, rest) = text.split_once(']')?;
    let ends = rest.is_empty() || rest.starts_with('.');
    number.parse().ok().filter(|_| ends).map(|number| (number, rest))
}

/// `None`: nothing was there. Otherwise what `visit` said last.
fn descend(value: &Value, steps: &[Step], visit: Visit<'_>) -> Option<bool> {
    let Some((step, below)) = steps.split_first() else {
        return Some(visit(View::Tree(value)));
    };
    match value {
        Value::Array(members) => {
            let mut seen = None;
            for member in members {
                match descend(member, steps, visit) {
                    Some(true) => return Some(true),
                    found => seen = seen.or(found),
                }
            }
            seen
        }
        Value::Object(map) => {
            let found = map.get(&step.key).and_then(|it| under(it, step, below, visit));
            if found.is_some() || below.is_empty() {
                return found;
            }
            // No such structure: perhaps the key itself holds dots.
            let mut key = step.key.clone();
            for taken in 1..steps.len() {
                let next = steps.get(taken)?;
                key.push('.');
                key.push_str(&next.key);
                let rest = steps.get(taken + 1..).unwrap_or_default();
                let found = map.get(&key).and_then(|it| under(it, next, rest, visit));
                if found.is_some() {
                    return found;
                }
            }
            None
        }
        _ => None,
    }
}

fn under(value: &Value, step: &Step, below: &[Step], visit: Visit<'_>) -> Option<bool> {
    match step.index {
        None => descend(value, below, visit),
        Some(index) => descend(member(value, index)?, below, visit),
    }
}

/// The member at `index`, counted from the end when negative.
fn member(value: &Value, index: i64) -> Option<&Value> {
    let members = value.as_array()?;
    let place = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 { members.get(members.len().checked_sub(place)?) } else { members.get(place) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, json: &str) -> Vec<String> {
        let value: Value = serde_json::from_str(json).unwrap();
        let mut found = Vec::new();
        Path::parse(path).visit(&value, &mut |view| {
            if let View::Tree(value) = view {
                found.push(value.to_string());
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
}
