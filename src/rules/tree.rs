//! Builds a tree of a JSON value, also of one that strict parsers turn down.
//!
//! Request bodies reach the log as the client sent them. `serde_json` refuses
//! deep nesting, half a surrogate pair and numbers beyond `f64`, all of which the
//! API server takes in fields it does not know. If that made the body unreadable,
//! one such field would hide everything else in it from every rule.

use serde_json::{Map, Value};

use super::raw;
use crate::event::unquote;

/// Values nested deeper than this are left out; recursion costs stack, and the
/// line is not ours. No field of Kubernetes lies half as deep.
const DEPTH_MAX: usize = 128;

/// The value, and whether all of it is there. `json` is valid JSON.
pub(super) fn parse(json: &str) -> (Value, bool) {
    match serde_json::from_str(json) {
        Ok(value) => (value, true),
        Err(_) => {
            let mut parser = Parser { json, at: 0, whole: true };
            let value = parser.value(DEPTH_MAX);
            (value, parser.whole)
        }
    }
}

struct Parser<'j> {
    json: &'j str,
    at: usize,
    whole: bool,
}

impl<'j> Parser<'j> {
    fn value(&mut self, depth: usize) -> Value {
        self.at = raw::skip(self.json.as_bytes(), self.at);
        match self.peek() {
            Some(b'{') if depth > 0 => self.object(depth),
            Some(b'[') if depth > 0 => self.array(depth),
            Some(b'{' | b'[') => {
                self.whole = false;
                self.take();
                Value::Null
            }
            Some(b'"') => unquote(self.take()).map_or(Value::Null, |it| it.into_owned().into()),
            _ => {
                let text = self.take();
                // Beyond f64 a number is kept as it is written.
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        let mut map = Map::new();
        self.at += 1;
        while let Some(key) = self.member().then(|| self.take()).and_then(unquote) {
            let value = self.value(depth - 1);
            map.insert(key.into_owned(), value);
        }
        self.at += 1;
        Value::Object(map)
    }

    fn array(&mut self, depth: usize) -> Value {
        let mut members = Vec::new();
        self.at += 1;
        while self.member() {
            members.push(self.value(depth - 1));
        }
        self.at += 1;
        Value::Array(members)
    }

    /// Whether another member follows; stands before it then, else before the end.
    fn member(&mut self) -> bool {
        self.at = raw::skip(self.json.as_bytes(), self.at);
        !matches!(self.peek(), None | Some(b'}' | b']'))
    }

    /// The text of the value that starts here. Always moves on.
    fn take(&mut self) -> &'j str {
        let end = raw::value_end(self.json.as_bytes(), self.at).max(self.at + 1);
        let text = self.json.get(self.at..end).unwrap_or_default();
        self.at = end;
        text
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_member_makes_the_others_unreadable() {
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        for (odd, whole) in [(&*deep, false), (r#""\ud83d""#, true), ("1e999", true)] {
            let json = format!(r#"{{"a" : {{"b":[1, {{"c":true}}]}},"odd":{odd} , "d":"x\n"}}"#);
            assert!(serde_json::from_str::<Value>(&json).is_err());
            let (value, all) = parse(&json);
            assert_eq!(value["a"], serde_json::json!({"b":[1,{"c":true}]}));
            assert_eq!(value["d"], "x\n");
            assert_eq!(all, whole);
        }
    }

    #[test]
    fn the_fallback_reads_what_serde_json_reads() {
        for json in ["{}", "[]", "[ {} , [ ] ]", r#"{"a":[null,true,-1.5e3,"\"]"],"b":{"c":{}}}"#] {
            let mut parser = Parser { json, at: 0, whole: true };
            assert_eq!(parser.value(DEPTH_MAX), serde_json::from_str::<Value>(json).unwrap());
        }
    }

    #[test]
    fn broken_text_ends() {
        for json in ["", "{", "[1,", r#"{"a"#, r#"{"a":"#, "}", "[}]", r#"{"a":]"#] {
            parse(json);
        }
    }
}
