//! Walks JSON text that is known to be valid, without building anything.
//!
//! The decoder has parsed the line already, so these functions need not detect
//! errors; on broken text they stop early and never panic.

use std::ops::Range;

use crate::event::{container_end, string_end};

/// The members of a JSON array, each as its own JSON text. Any other value has none.
pub(super) fn members(json: &str) -> Members<'_> {
    let at = if json.starts_with('[') { 1 } else { json.len() };
    Members { json, at }
}

pub(super) struct Members<'j> {
    json: &'j str,
    at: usize,
}

impl<'j> Iterator for Members<'j> {
    type Item = &'j str;

    fn next(&mut self) -> Option<&'j str> {
        let start = skip(self.json.as_bytes(), self.at);
        let end = value_end(self.json.as_bytes(), start);
        self.at = end;
        self.json.get(start..end).filter(|it| !it.is_empty())
    }
}

/// Where the keys of a JSON object stand, with their quotes. Any other value has none.
pub(super) fn keys(json: &str) -> Keys<'_> {
    let at = if json.starts_with('{') { 1 } else { json.len() };
    Keys { json, at }
}

pub(super) struct Keys<'j> {
    json: &'j str,
    at: usize,
}

impl Iterator for Keys<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let bytes = self.json.as_bytes();
        let start = skip(bytes, self.at);
        if bytes.get(start) != Some(&b'"') {
            return None;
        }
        let end = string_end(bytes, start);
        self.at = value_end(bytes, skip(bytes, end));
        Some(start..end)
    }
}

/// The offset of the next byte that is no white space, comma or colon.
pub(super) fn skip(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')) {
        at += 1;
    }
    at
}

/// The offset after the value that starts at `at`; `at` itself when a container ends there.
pub(super) fn value_end(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at),
        Some(b'{' | b'[') => container_end(bytes, at, usize::MAX).at,
        _ => {
            let mut end = at;
            while !matches!(
                bytes.get(end),
                None | Some(b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r')
            ) {
                end += 1;
            }
            end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_keys_come_one_by_one() {
        let json = r#"[ 1, "a]b" ,{"x":[2]}, null ]"#;
        let found: Vec<&str> = members(json).collect();
        assert_eq!(found, ["1", "\"a]b\"", "{\"x\":[2]}", "null"]);
        let json = r#"{"a" : {"b":"}"} , "c":[1,2], "d":3}"#;
        let found: Vec<&str> = keys(json).filter_map(|it| json.get(it)).collect();
        assert_eq!(found, ["\"a\"", "\"c\"", "\"d\""]);
        assert_eq!(members("{}").count() + keys("[]").count() + members("[]").count(), 0);
    }
}
