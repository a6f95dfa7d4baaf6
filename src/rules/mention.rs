//! Whether a JSON object may have a key, told without reading it: most events' annotations are read
//! by nobody then.

use std::fmt;

use memchr::memmem::Finder;

/// A key that is looked for.
#[derive(Clone)]
pub(super) struct Mention {
    finder: Finder<'static>,
}

impl Mention {
    pub(super) fn of(key: &str) -> Mention {
        Mention { finder: Finder::new(key).into_owned() }
    }

    /// False is sure: the key is nowhere in the text, however it is written.
    pub(super) fn may_be_in(&self, json: &str) -> bool {
        let key = self.finder.needle();
        self.finder.find(json.as_bytes()).is_some() || key.contains(&b'"') || respells(json)
    }
}

impl fmt::Debug for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.finder.needle()))
    }
}

/// Whether any character of the text but a quote may be written as an escape.
fn respells(json: &str) -> bool {
    let mut rest = json.as_bytes();
    while let Some(at) = memchr::memchr(b'\\', rest) {
        if rest.get(at + 1) != Some(&b'"') {
            return true;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_is_never_denied() {
        for (key, json, may) in [
            ("a/b", r#"{"a/b":1}"#, true),
            ("a/b", r#"{"a/c":1}"#, false),
            ("a/b", r#"{"x":"said \"a/c\""}"#, false),
            ("a/b", r#"{"a\/b":1}"#, true),
            ("a/b", r#"{"\u0061/b":1}"#, true),
            ("a\"b", r#"{"a\"b":1}"#, true),
            ("a\\b", r#"{"a\\b":1}"#, true),
            ("", "{}", true),
        ] {
            assert_eq!(Mention::of(key).may_be_in(json), may, "{key} in {json}");
        }
    }
}
