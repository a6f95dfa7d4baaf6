//! One value of an event, wherever it was found: in the line's text, in a parsed
//! body, or computed. An array stands for each of its members.

use serde_json::Number;

use super::raw;
use super::spare;
use super::tree::{Kind, Tree};
use crate::event::unquote_into;

/// Deeper arrays are not looked into: the line is not ours, and recursion costs stack.
const DEPTH_MAX: usize = 64;

/// A value that has not been looked at yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'v> {
    /// JSON text out of the line.
    Raw(&'v str),
    /// A value of a parsed body.
    Tree(Tree<'v>),
    /// A computed string.
    Text(&'v str),
}

/// A value that tests can judge.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leaf<'v> {
    Text(&'v str),
    /// The number, and how it is written.
    Number(f64, &'v str),
    Bool(bool),
    Null,
    Object,
}

impl Leaf<'_> {
    /// The value as text, when it is a string, a number or a bool.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Leaf::Text(text) | Leaf::Number(_, text) => Some(text),
            Leaf::Bool(true) => Some("true"),
            Leaf::Bool(false) => Some("false"),
            Leaf::Null | Leaf::Object => None,
        }
    }

    /// The value as a number, when it is one or is written like one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Leaf::Number(number, _) => Some(*number),
            Leaf::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            Leaf::Bool(_) | Leaf::Null | Leaf::Object => None,
        }
    }
}

/// Judges one leaf.
pub(super) type Judge<'j> = &'j mut dyn FnMut(&Leaf<'_>) -> bool;

impl View<'_> {
    /// Whether `judge` accepts the value, or any member of it at any depth of arrays.
    pub(super) fn any_leaf(&self, judge: Judge<'_>) -> bool {
        match self {
            View::Text(text) => judge(&Leaf::Text(text)),
            View::Raw(json) => raw_leaf(json, DEPTH_MAX, judge),
            View::Tree(value) => tree_leaf(value, judge),
        }
    }

    /// Whether the value is JSON `null`.
    pub(super) fn is_null(&self) -> bool {
        match self {
            View::Raw(json) => *json == "null",
            View::Tree(value) => value.is_null(),
            View::Text(_) => false,
        }
    }
}

fn raw_leaf(json: &str, depth: usize, judge: Judge<'_>) -> bool {
    match json.as_bytes().first() {
        Some(b'"') => text_leaf(json, judge),
        Some(b'[') if depth == 0 => false,
        Some(b'[') => raw::members(json).any(|member| raw_leaf(member, depth - 1, judge)),
        Some(b'{') => judge(&Leaf::Object),
        Some(b't') => judge(&Leaf::Bool(true)),
        Some(b'f') => judge(&Leaf::Bool(false)),
        Some(b'n') => judge(&Leaf::Null),
        _ => json.parse().is_ok_and(|number| judge(&Leaf::Number(number, json))),
    }
}

fn tree_leaf(value: &Tree<'_>, judge: Judge<'_>) -> bool {
    match value.kind() {
        Kind::Text => match value.plain() {
            Some(text) => judge(&Leaf::Text(text)),
            None => text_leaf(value.json(), judge),
        },
        Kind::Array => value.members().any(|member| tree_leaf(&member, judge)),
        Kind::Object => judge(&Leaf::Object),
        Kind::True => judge(&Leaf::Bool(true)),
        Kind::False => judge(&Leaf::Bool(false)),
        Kind::Number => number_leaf(value.json(), judge),
        Kind::Null | Kind::Key => judge(&Leaf::Null),
    }
}

fn text_leaf(json: &str, judge: Judge<'_>) -> bool {
    let Some(inner) = json.strip_prefix('"').and_then(|it| it.strip_suffix('"')) else {
        return false;
    };
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return judge(&Leaf::Text(inner));
    }
    spare::buffer(|text| unquote_into(json, text) && judge(&Leaf::Text(text)))
}

/// The text of a number in a body is how `serde_json` writes it: `1e2` is `100.0`. Nearly all
/// numbers are integers, which are written in one way only. Beyond `f64` a number is text.
#[expect(clippy::cast_precision_loss, reason = "as serde_json does")]
fn number_leaf(json: &str, judge: Judge<'_>) -> bool {
    let integer = json.parse::<i64>().ok().filter(|_| json != "-0");
    if let Some(integer) = integer {
        return judge(&Leaf::Number(integer as f64, json));
    }
    match serde_json::from_str::<Number>(json) {
        Ok(number) => {
            judge(&Leaf::Number(number.as_f64().unwrap_or(f64::NAN), &number.to_string()))
        }
        Err(_) => judge(&Leaf::Text(json)),
    }
}

/// Whether `judge` accepts any leaf of the value, inside objects too.
pub(super) fn any_leaf_within(value: &Tree<'_>, judge: Judge<'_>) -> bool {
    match value.kind() {
        Kind::Array => value.members().any(|it| any_leaf_within(&it, judge)),
        Kind::Object => value.values().any(|it| any_leaf_within(&it, judge)),
        _ => tree_leaf(value, judge),
    }
}
