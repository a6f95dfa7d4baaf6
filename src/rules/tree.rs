//! A JSON value as a flat list of its parts: what a body becomes, once, when a rule looks into it.
//!
//! It also reads what strict parsers turn down. Request bodies reach the log as the client sent
//! them, and `serde_json` refuses deep nesting, half a surrogate pair and numbers beyond `f64`, all
//! of which the API server takes in fields it does not know. If that made the body unreadable, one
//! such field would hide everything else in it from every rule.
//!
//! Nothing is copied and nothing is allocated for a value: a part is where it stands in the text.
//! Of repeated keys the last counts, as for most JSON readers.

use std::borrow::Cow;

#[cfg(test)]
use serde_json::Value;

use super::path::Step;
use super::raw;
use super::spare;
use super::wanted::Place;
use crate::event::{container_end, short_run, string_end, unquote, unquote_into};

/// Values nested deeper than this are left out: the line is not ours, and who walks the value
/// recurses. No field of Kubernetes lies half as deep.
const DEPTH_MAX: usize = 128;

/// A list with more parts than this is given back after its event.
const PARTS_KEPT_MAX: usize = 1 << 16;

/// The parts of one JSON value, each followed by what is in it.
#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: Vec<Part>,
    whole: bool,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    /// Where it stands in the text.
    start: u32,
    end: u32,
    /// The part after this one and all in it. While a container is being read: what it is in.
    next: u32,
    kind: Kind,
    /// Of a string: it has escapes. Of an object: a key has a dot or an escape.
    odd: bool,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    Text,
    Array,
    Object,
    /// Of an object: its value follows.
    Key,
}

/// What nothing is in.
const TOP: u32 = u32::MAX;

/// One value of a [`Parts`]: cheap to copy, like a reference.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree<'t> {
    json: &'t str,
    parts: &'t [Part],
    part: Part,
    at: u32,
}

impl Parts {
    /// Reads a valid JSON text; of any other whatever can be made out.
    pub(super) fn read(&mut self, json: &str) {
        self.parts.clear();
        self.whole = true;
        Reader { bytes: json.as_bytes(), parts: self, open: TOP, depth: 0 }.read(0);
    }

    /// As [`Parts::read`], but of an object that paths only lead through, what is under other keys
    /// is left out. Keys with a dot or an escape are not: they may stand for those of a path.
    pub(super) fn read_wanted(&mut self, json: &str, wanted: Place<'_>) {
        self.parts.clear();
        self.whole = true;
        let mut reader = Reader { bytes: json.as_bytes(), parts: self, open: TOP, depth: 0 };
        reader.read_wanted(0, Some(wanted));
    }

    /// Whether nothing was left out for its depth.
    pub(super) fn whole(&self) -> bool {
        self.whole
    }

    /// Whether the list is small enough to be kept for the next event.
    pub(super) fn worth_keeping(&self) -> bool {
        self.parts.capacity() <= PARTS_KEPT_MAX
    }

    /// The value itself. `json` is the text that was read.
    pub(super) fn tree<'t>(&'t self, json: &'t str) -> Option<Tree<'t>> {
        Some(Tree { json, parts: &self.parts, part: *self.parts.first()?, at: 0 })
    }
}

struct Reader<'r> {
    bytes: &'r [u8],
    parts: &'r mut Parts,
    /// The container being read.
    open: u32,
    depth: usize,
}

impl Reader<'_> {
    /// Reads the value that begins at or after an offset, all of it; gives where it ends.
    fn read(&mut self, mut at: usize) -> usize {
        let outside = self.depth;
        let mut key = false;
        loop {
            at = self.skip(at, &mut key);
            match self.bytes.get(at) {
                None => {
                    self.close_down_to(outside);
                    return at;
                }
                Some(b'"') => at = self.text(at, std::mem::take(&mut key)),
                Some(open @ (b'{' | b'[')) if self.depth < DEPTH_MAX => {
                    key = *open == b'{';
                    at = self.enter(at, if key { Kind::Object } else { Kind::Array });
                    continue;
                }
                Some(b'{' | b'[') => {
                    let end = raw::value_end(self.bytes, at);
                    self.push(at, end, Kind::Null);
                    (self.parts.whole, at) = (false, end);
                }
                Some(b'}' | b']') if self.open != TOP => {
                    at += 1;
                    self.close(at);
                }
                Some(first) => {
                    let end = raw::value_end(self.bytes, at).max(at + 1);
                    self.push(at, end, scalar(*first));
                    at = end;
                }
            }
            if self.depth == outside {
                return at;
            }
        }
    }

    /// Reads what is wanted of the value at an offset, all of it for `None`; gives where it ends.
    fn read_wanted(&mut self, at: usize, wanted: Option<Place<'_>>) -> usize {
        match (self.bytes.get(at), wanted.filter(|it| !it.whole())) {
            (None | Some(b'}' | b']'), _) => at,
            (Some(b'{'), Some(wanted)) if self.depth < DEPTH_MAX => self.wanted_object(at, wanted),
            (Some(b'['), Some(wanted)) if self.depth < DEPTH_MAX => self.wanted_array(at, wanted),
            _ => self.read(at),
        }
    }

    fn wanted_object(&mut self, start: usize, wanted: Place<'_>) -> usize {
        let mut at = self.enter(start, Kind::Object);
        loop {
            at = raw::skip(self.bytes, at);
            if self.bytes.get(at) != Some(&b'"') {
                return self.leave(at);
            }
            let end = string_end(self.bytes, at);
            let written = self.bytes.get(at + 1..end - 1).unwrap_or_default();
            let value = raw::skip(self.bytes, end);
            let below = wanted.below(written);
            // With an escape it may be any key, and with a dot several ones of a path.
            if written.iter().any(|it| matches!(it, b'\\' | b'.')) {
                self.text(at, true);
                at = self.read_wanted(value, None);
            } else if below.is_some() {
                self.text(at, true);
                at = self.read_wanted(value, below);
            } else {
                at = self.pass(value);
            }
        }
    }

    fn wanted_array(&mut self, start: usize, wanted: Place<'_>) -> usize {
        let mut at = self.enter(start, Kind::Array);
        loop {
            at = raw::skip(self.bytes, at);
            if matches!(self.bytes.get(at), None | Some(b'}' | b']')) {
                return self.leave(at);
            }
            at = self.read_wanted(at, Some(wanted));
        }
    }

    /// Passes the value at an offset, and notices how deep it is.
    fn pass(&mut self, at: usize) -> usize {
        if let Some(b'{' | b'[') = self.bytes.get(at) {
            let end = container_end(self.bytes, at, DEPTH_MAX - self.depth);
            self.parts.whole &= !end.deeper;
            return end.at;
        }
        raw::value_end(self.bytes, at)
    }

    /// Opens the container that begins at an offset; gives where its first value may be.
    fn enter(&mut self, at: usize, kind: Kind) -> usize {
        let index = self.push(at, at, kind);
        let outer = self.open;
        self.set(index, |it| it.next = outer);
        (self.open, self.depth) = (index, self.depth + 1);
        at + 1
    }

    /// Closes the container that ends at an offset; gives where what follows begins.
    fn leave(&mut self, at: usize) -> usize {
        let end = (at + 1).min(self.bytes.len());
        self.close(end);
        end
    }

    /// Passes what stands between values. After a comma in an object a key is next.
    fn skip(&self, mut at: usize, key: &mut bool) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') = self.bytes.get(at) {
            if self.bytes.get(at) == Some(&b',') {
                *key = self.get(self.open).is_some_and(|it| it.kind == Kind::Object);
            }
            at += 1;
        }
        at
    }

    fn text(&mut self, start: usize, key: bool) -> usize {
        let (mut at, mut escaped) = (start + 1, false);
        while let Some(run) = self.bytes.get(at..).and_then(short_run) {
            at += run;
            if self.bytes.get(at) == Some(&b'"') {
                break;
            }
            escaped = true;
            at += 2;
        }
        let end = (at + 1).min(self.bytes.len());
        let index = self.push(start, end, if key { Kind::Key } else { Kind::Text });
        if escaped {
            self.set(index, |it| it.odd = true);
        }
        if key && (escaped || self.bytes.get(start..end).is_some_and(|it| it.contains(&b'.'))) {
            self.set(self.open, |it| it.odd = true);
        }
        end
    }

    fn push(&mut self, start: usize, end: usize, kind: Kind) -> u32 {
        // A line is shorter than 4 GiB, and a part has at least one byte of it.
        let number = |it: usize| u32::try_from(it).unwrap_or(TOP);
        let index = number(self.parts.parts.len());
        let (start, end) = (number(start), number(end));
        self.parts.parts.push(Part { start, end, next: index + 1, kind, odd: false });
        index
    }

    fn get(&self, index: u32) -> Option<&Part> {
        self.parts.parts.get(index as usize)
    }

    fn set(&mut self, index: u32, change: impl FnOnce(&mut Part)) {
        if let Some(part) = self.parts.parts.get_mut(index as usize) {
            change(part);
        }
    }

    fn close(&mut self, end: usize) {
        let next = u32::try_from(self.parts.parts.len()).unwrap_or(TOP);
        let outer = self.get(self.open).map_or(TOP, |it| it.next);
        self.set(self.open, |it| {
            it.next = next;
            it.end = u32::try_from(end).unwrap_or(TOP);
        });
        self.open = outer;
        self.depth -= 1;
    }

    fn close_down_to(&mut self, outside: usize) {
        while self.depth > outside {
            self.close(self.bytes.len());
        }
    }
}

fn scalar(first: u8) -> Kind {
    match first {
        b't' => Kind::True,
        b'f' => Kind::False,
        b'0'..=b'9' | b'-' => Kind::Number,
        _ => Kind::Null,
    }
}

impl<'t> Tree<'t> {
    /// What it is; never a key.
    pub(super) fn kind(&self) -> Kind {
        self.part.kind
    }

    pub(super) fn is_null(&self) -> bool {
        self.part.kind == Kind::Null
    }

    pub(super) fn is_array(&self) -> bool {
        self.part.kind == Kind::Array
    }

    /// The value as it is written.
    pub(super) fn json(&self) -> &'t str {
        self.json.get(self.part.start as usize..self.part.end as usize).unwrap_or_default()
    }

    /// Its place among the parts, for [`Tree::at`].
    pub(super) fn place(&self) -> u32 {
        self.at
    }

    /// The value at a place of the same parts.
    pub(super) fn at(&self, place: u32) -> Option<Tree<'t>> {
        Some(Tree { part: *self.parts.get(place as usize)?, at: place, ..*self })
    }

    /// The content of a string that has no escapes.
    pub(super) fn plain(&self) -> Option<&'t str> {
        if self.part.odd || self.part.kind != Kind::Text { None } else { Some(inner(self.json())) }
    }

    /// The members of an array; any other value has none.
    pub(super) fn members(&self) -> Members<'t> {
        let next = if self.is_array() { self.at + 1 } else { self.part.next };
        Members { of: *self, next }
    }

    /// Whether an object has a key with a dot or an escape in it. `false` is sure.
    pub(super) fn odd_keys(&self) -> bool {
        self.part.odd
    }

    /// The value under a key of an object; of repeated keys the last one's.
    pub(super) fn get(&self, key: &str) -> Option<Tree<'t>> {
        self.last(|written| written == key)
    }

    /// The value under the key that the keys of the steps are when they are joined by dots.
    pub(super) fn get_joined(&self, steps: &[Step]) -> Option<Tree<'t>> {
        self.last(|written| {
            let mut rest = Some(written);
            for (index, step) in steps.iter().enumerate() {
                let after =
                    if index == 0 { rest } else { rest.and_then(|it| it.strip_prefix('.')) };
                rest = after.and_then(|it| it.strip_prefix(step.key()));
            }
            rest == Some("")
        })
    }

    fn last(&self, is: impl Fn(&str) -> bool) -> Option<Tree<'t>> {
        let found = self.entries().filter(|(key, _)| {
            if key.part.odd {
                spare::buffer(|text| unquote_into(key.json(), text) && is(text))
            } else {
                is(inner(key.json()))
            }
        });
        found.last().map(|(_, value)| value)
    }

    /// Keys and values of an object in their order, repeated keys as well.
    pub(super) fn fields(&self) -> impl Iterator<Item = (Cow<'t, str>, Tree<'t>)> {
        self.entries().map(|(key, value)| (key.decoded(), value))
    }

    /// Keys and values of an object as they are written, repeated keys as well.
    fn entries(&self) -> Entries<'t> {
        let next = if self.part.kind == Kind::Object { self.at + 1 } else { self.part.next };
        Entries { of: *self, next }
    }

    /// The values of an object, those under a key that is repeated later left out.
    pub(super) fn values(&self) -> impl Iterator<Item = Tree<'t>> {
        let count = self.entries().count();
        // Nearly every object is small, and comparing its keys with each other allocates nothing.
        let many = (count > FEW_KEYS).then(|| {
            let mut last = std::collections::BTreeMap::new();
            last.extend(self.entries().map(|(key, value)| (key.decoded(), value.at)));
            last
        });
        let (all, of) = (self.entries(), *self);
        all.filter_map(move |(key, value)| {
            let repeated = match &many {
                Some(last) => last.get(&key.decoded()) != Some(&value.at),
                None => Entries { of, next: value.part.next }.any(|(it, _)| it.same_key(&key)),
            };
            (!repeated).then_some(value)
        })
    }

    /// The keys of an object; any other value has none.
    pub(super) fn keys(&self) -> impl Iterator<Item = std::borrow::Cow<'t, str>> + use<'t> {
        self.entries().map(|(key, _)| key.decoded())
    }

    fn same_key(&self, other: &Tree<'_>) -> bool {
        if self.part.odd || other.part.odd {
            self.decoded() == other.decoded()
        } else {
            self.json() == other.json()
        }
    }

    fn decoded(&self) -> Cow<'t, str> {
        unquote(self.json()).unwrap_or_default()
    }

    /// The value as `serde_json` has it, to be compared with what that makes of the text. A number beyond `f64` is its text.
    #[cfg(test)]
    pub(super) fn value(&self) -> Value {
        match self.part.kind {
            Kind::Null => Value::Null,
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            Kind::Number => serde_json::from_str(self.json())
                .unwrap_or_else(|_| Value::String(self.json().to_owned())),
            Kind::Text | Kind::Key => Value::String(self.decoded().into_owned()),
            Kind::Array => self.members().map(|it| it.value()).collect(),
            Kind::Object => {
                let entry = |(key, value): (Tree<'_>, Tree<'_>)| {
                    (key.decoded().into_owned(), value.value())
                };
                Value::Object(self.entries().map(entry).collect())
            }
        }
    }
}

/// An object with more keys than this is sorted to find repeated ones.
const FEW_KEYS: usize = 32;

fn inner(quoted: &str) -> &str {
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default()
}

/// See [`Tree::members`].
pub(super) struct Members<'t> {
    of: Tree<'t>,
    next: u32,
}

impl<'t> Iterator for Members<'t> {
    type Item = Tree<'t>;

    fn next(&mut self) -> Option<Tree<'t>> {
        let member = self.of.at(self.next).filter(|_| self.next < self.of.part.next)?;
        self.next = member.part.next;
        Some(member)
    }
}

/// See [`Tree::entries`].
struct Entries<'t> {
    of: Tree<'t>,
    next: u32,
}

impl<'t> Iterator for Entries<'t> {
    type Item = (Tree<'t>, Tree<'t>);

    fn next(&mut self) -> Option<(Tree<'t>, Tree<'t>)> {
        let key = self.of.at(self.next).filter(|it| it.part.kind == Kind::Key)?;
        let value = self.of.at(self.next + 1).filter(|_| self.next + 1 < self.of.part.next)?;
        self.next = value.part.next;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str) -> (Value, bool) {
        let mut parts = Parts::default();
        parts.read(json);
        (parts.tree(json).map_or(Value::Null, |it| it.value()), parts.whole())
    }

    #[test]
    fn no_member_makes_the_others_unreadable() {
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        for (odd, whole) in [(&*deep, false), (r#""\ud83d""#, true), ("1e999", true)] {
            let json = format!(r#"{{"a" : {{"b":[1, {{"c":true}}]}},"odd":{odd} , "d":"x\n"}}"#);
            assert!(serde_json::from_str::<Value>(&json).is_err());
            let (value, all) = read(&json);
            assert_eq!(value["a"], serde_json::json!({"b":[1,{"c":true}]}));
            assert_eq!(value["d"], "x\n");
            assert_eq!(all, whole);
        }
    }

    #[test]
    fn values_nested_128_deep_are_read_and_deeper_ones_are_null() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(128)).1);
        let (value, whole) = read(&nested(129));
        assert!(!whole);
        assert_eq!(value, read(&nested(128).replace('1', "null")).0);
    }

    #[test]
    fn broken_text_ends() {
        for json in [
            "",
            "{",
            "[1,",
            r#"{"a"#,
            r#"{"a":"#,
            "}",
            "[}]",
            r#"{"a":]"#,
            r#"{"a"}"#,
            "\"",
            r#""\"#,
            r#"{1:2}"#,
            "{]",
            "x",
            ",,:",
        ] {
            read(json);
        }
    }

    #[test]
    fn keys_are_found_escaped_repeated_and_joined() {
        let json = r#"{"a":1,"\u0061":2,"b.c":3,"b":{"c":4}}"#;
        let mut parts = Parts::default();
        parts.read(json);
        let tree = parts.tree(json).unwrap();
        assert_eq!(tree.get("a").unwrap().json(), "2");
        let path = crate::rules::path::Path::parse("b.c");
        assert_eq!(tree.get_joined(path.steps()).unwrap().json(), "3");
        assert!(tree.odd_keys() && tree.get("b").is_some_and(|it| !it.odd_keys()));
        let values: Vec<&str> = tree.values().map(|it| it.json()).collect();
        assert_eq!(values, ["2", "3", r#"{"c":4}"#]);
    }

    #[test]
    fn of_repeated_keys_in_a_large_object_the_last_counts() {
        let members: Vec<String> = (0..100).map(|it| format!("\"k{}\":{it}", it % 70)).collect();
        let json = format!("{{{}}}", members.join(","));
        let mut parts = Parts::default();
        parts.read(&json);
        let tree = parts.tree(&json).unwrap();
        let values: Vec<&str> = tree.values().map(|it| it.json()).collect();
        let want: Vec<String> = (30..100).map(|it| it.to_string()).collect();
        assert_eq!(values, want);
    }

    /// JSON with white space, escapes and repeated keys.
    fn texts() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null"),
            Just("true"),
            Just("false"),
            Just("0"),
            Just("-1.5e3"),
            Just("-0"),
            Just("18446744073709551616"),
            Just("\"\""),
            Just("\"a]},:\\\"b\""),
            Just("\"\\ud83d\\ude00\\n\""),
            Just("\"a string of more than thirty-two bytes \\\\\""),
        ]
        .prop_map(str::to_owned);
        let key = prop_oneof![Just("a"), Just("b"), Just("\\u0061"), Just("a.b"), Just("k\\\"")];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            let entry = (key.clone(), inner.clone());
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(|it| format!("[{}]", it.join(" , "))),
                prop::collection::vec(entry, 0..5).prop_map(|it| {
                    let entries: Vec<String> =
                        it.iter().map(|(key, value)| format!("\"{key}\" :{value}")).collect();
                    format!("{{ {} }}", entries.join(","))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn the_value_is_serde_jsons(json in texts()) {
            let theirs: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read(&json), (theirs, true), "{}", json);
        }
    }
}
