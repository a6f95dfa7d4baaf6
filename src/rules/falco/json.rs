//! JSON as Falco's fields are read from it, and as they write it.
//!
//! Falco gives objects and arrays to rules as text, in the order and with the numbers
//! of the event.

use std::borrow::Cow;

use crate::event::{string_end, unquote};
use crate::rules::raw;
use crate::rules::scratch::{Context, Root};
use crate::rules::tree::{Kind, Tree};

/// One JSON value of a parsed body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json<'j>(Tree<'j>);

impl<'j> Json<'j> {
    /// The value at a root of the event.
    pub(super) fn root(context: &Context<'j, 'j>, root: Root) -> Option<Json<'j>> {
        context.tree(root).map(Json)
    }

    /// The member of an object by its key, of an array by its place.
    pub(super) fn get(self, key: &str) -> Option<Json<'j>> {
        let found =
            if self.is_array() { self.0.members().nth(key.parse().ok()?) } else { self.0.get(key) };
        found.map(Json)
    }

    /// The value under several keys, outermost first.
    pub(super) fn at(self, keys: &[impl AsRef<str>]) -> Option<Json<'j>> {
        keys.iter().try_fold(self, |json, key| json.get(key.as_ref()))
    }

    pub(super) fn is_array(self) -> bool {
        self.0.is_array()
    }

    pub(super) fn is_object(self) -> bool {
        self.0.kind() == Kind::Object
    }

    pub(super) fn is_true(self) -> bool {
        self.0.kind() == Kind::True
    }

    /// The members of an array; any other value has none.
    pub(super) fn members(self) -> impl Iterator<Item = Json<'j>> {
        self.0.members().map(Json)
    }

    /// The keys of an object; any other value has none.
    pub(super) fn keys(self) -> impl Iterator<Item = Cow<'j, str>> + use<'j> {
        self.0.keys()
    }

    /// The content of a string; `None` for any other value.
    pub(super) fn string(self) -> Option<Cow<'j, str>> {
        unquote(self.0.json())
    }

    /// The value as Falco shows it to rules.
    pub(super) fn text(self) -> Cow<'j, str> {
        text(self.0.json())
    }
}

/// A value as Falco shows it to rules: a string without its quotes, all else as JSON
/// without white space.
pub(super) fn text(json: &str) -> Cow<'_, str> {
    match unquote(json) {
        Some(text) => text,
        None if json.starts_with(['{', '[']) => Cow::Owned(written(json, None)),
        None => Cow::Borrowed(json),
    }
}

/// A value as JSON over several lines.
pub(super) fn indented(json: &str) -> String {
    written(json, Some("  "))
}

/// Writes JSON anew: without white space, or with line breaks and this indent. Strings
/// get the shortest escapes, so that no spelling of a text hides it.
fn written(json: &str, indent: Option<&str>) -> String {
    let bytes = json.as_bytes();
    let mut out = String::with_capacity(json.len());
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let end = if byte == b'"' { string_end(bytes, at) } else { at + 1 };
        let token = json.get(at..end).unwrap_or_default();
        at = end;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'"' => out.push_str(&requoted(token)),
            b'{' | b'[' => {
                out.push_str(token);
                let close = raw::skip(bytes, at);
                if matches!(bytes.get(close), Some(b'}' | b']')) {
                    out.push_str(json.get(close..=close).unwrap_or_default());
                    at = close + 1;
                } else {
                    depth += 1;
                    broken(&mut out, depth, indent);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                broken(&mut out, depth, indent);
                out.push_str(token);
            }
            b',' => {
                out.push(',');
                broken(&mut out, depth, indent);
            }
            b':' => out.push_str(if indent.is_some() { ": " } else { ":" }),
            _ => {
                // A number or a word, up to what ends it.
                let whole = raw::value_end(bytes, at - 1).max(at);
                out.push_str(json.get(at - 1..whole).unwrap_or_default());
                at = whole;
            }
        }
    }
    out
}

fn broken(out: &mut String, depth: usize, indent: Option<&str>) {
    if let Some(indent) = indent {
        out.push('\n');
        (0..depth).for_each(|_| out.push_str(indent));
    }
}

fn requoted(token: &str) -> Cow<'_, str> {
    if !token.contains('\\') {
        return Cow::Borrowed(token);
    }
    let text = unquote(token).unwrap_or_default();
    serde_json::to_string(&text).map_or(Cow::Borrowed(token), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::rules::Scratch;

    const BODY: &str = r#"{ "b" : [ 1.0, {"x/y":"a\u003c\n"} , null ], "a":{}, "e\u0031":true, "n":1e3, "a": [ ] }"#;

    #[test]
    fn values_are_found_by_key_and_place() {
        let (event, scratch) = (Event::of(BODY), Scratch::default());
        let json = Json::root(&Context::new(&event, &scratch), Root::Line).unwrap();
        let text = |keys: &[&str]| json.at(keys).map(|it| it.text().into_owned());
        assert_eq!(text(&["b", "0"]).as_deref(), Some("1.0"));
        assert_eq!(text(&["b", "1", "x/y"]).as_deref(), Some("a<\n"));
        assert_eq!(text(&["b", "2"]).as_deref(), Some("null"));
        assert_eq!(text(&["e1"]).as_deref(), Some("true"));
        assert_eq!(text(&["a"]).as_deref(), Some("[]"), "the last of a repeated key counts");
        for keys in [&["c"] as &[&str], &["b", "x"], &["b", "3"], &["b", "-1"], &["n", "x"]] {
            assert_eq!(text(keys), None, "{keys:?}");
        }
    }

    #[test]
    fn json_is_written_in_its_own_order_and_numbers() {
        assert_eq!(
            text(BODY),
            r#"{"b":[1.0,{"x/y":"a<\n"},null],"a":{},"e1":true,"n":1e3,"a":[]}"#
        );
        assert_eq!(
            indented(r#"{"a":[1,{}],"b":"x"}"#),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"x\"\n}"
        );
    }

    #[test]
    fn deep_and_broken_text_ends() {
        let deep = "[".repeat(100_000);
        assert_eq!(text(&deep).len(), deep.len());
        for broken in ["", "{", "{\"a", "{\"a\":", "[1,", "}", "tru", "\"\\", "[}"] {
            text(broken);
            indented(broken);
        }
    }
}
