//! One value of an event, wherever it was found: in the line's text, in a parsed
//! body, or computed. An array stands for each of its members.

use serde_json::Value;

use super::raw;
use crate::event::unquote;

/// Deeper arrays are not looked into: the line is not ours, and recursion costs stack.
const DEPTH_MAX: usize = 64;

/// A value that has not been looked at yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'v> {
    /// JSON text out of the line.
    Raw(&'v str),
    /// A value of a parsed body.
    Tree(&'v Value),
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
        Some(b'"') => unquote(json).is_some_and(|text| judge(&Leaf::Text(&text))),
        Some(b'[') if depth == 0 => false,
        Some(b'[') => raw::members(json).any(|member| raw_leaf(member, depth - 1, judge)),
        Some(b'{') => judge(&Leaf::Object),
        Some(b't') => judge(&Leaf::Bool(true)),
        Some(b'f') => judge(&Leaf::Bool(false)),
        Some(b'n') => judge(&Leaf::Null),
        _ => json.parse().is_ok_and(|number| judge(&Leaf::Number(number, json))),
    }
}

fn tree_leaf(value: &Value, judge: Judge<'_>) -> bool {
    match value {
        Value::String(text) => judge(&Leaf::Text(text)),
        Value::Array(members) => members.iter().any(|member| tree_leaf(member, judge)),
        Value::Object(_) => judge(&Leaf::Object),
        Value::Bool(yes) => judge(&Leaf::Bool(*yes)),
        Value::Null => judge(&Leaf::Null),
        Value::Number(number) => {
            let text = number.to_string();
            judge(&Leaf::Number(number.as_f64().unwrap_or(f64::NAN), &text))
        }
    }
}

/// Whether `judge` accepts any leaf of the value, inside objects too.
pub(super) fn any_leaf_within(value: &Value, judge: Judge<'_>) -> bool {
    match value {
        Value::Array(members) => members.iter().any(|it| any_leaf_within(it, judge)),
        Value::Object(members) => members.values().any(|it| any_leaf_within(it, judge)),
        other => tree_leaf(other, judge),
    }
}
