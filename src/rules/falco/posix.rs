//! Falco's regular expressions: RE2 in POSIX mode, of which the `regex` crate reads a
//! few spellings otherwise. They are respelled here, and wrapped so that the whole value
//! must match.

use crate::rules::matcher::{self, MatcherError};

/// The same language in the `regex` crate's spelling, for the whole of a value.
///
/// `^` and `$` are at lines' ends in this mode, and `.` is any character but a line's end.
pub(super) fn whole(source: &str) -> Result<String, MatcherError> {
    let inner = respelled(source);
    // Judged on its own: `a)|(b` becomes whole only by the brackets put around it.
    matcher::regex(&inner).map_err(|error| error.about(source))?;
    Ok(format!(r"\A(?m:{inner})\z"))
}

fn respelled(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '[' => class(rest, &mut out),
            '\\' => escape(rest, &mut out),
            '{' if !repeats(rest) => {
                out.push_str(r"\{");
                1
            }
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// `\<` and `\>` are signs there, and ends of words here.
fn escape(text: &str, out: &mut String) -> usize {
    let length = text.chars().take(2).map(char::len_utf8).sum();
    match text.get(1..length) {
        Some(sign @ ("<" | ">")) => out.push_str(sign),
        _ => out.push_str(text.get(..length).unwrap_or(text)),
    }
    length
}

/// Whether a brace begins a repetition; else it is a sign.
fn repeats(text: &str) -> bool {
    let inner = text.strip_prefix('{').and_then(|it| it.split_once('}'));
    inner.is_some_and(|(inner, _)| {
        let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
        let digits = |text: &str| text.bytes().all(|it| it.is_ascii_digit());
        !low.is_empty() && digits(low) && digits(high)
    })
}

/// A bracket expression. Within it `[`, `&`, `~` and `-` mean operations on sets to
/// the crate, and nothing to RE2.
fn class(text: &str, out: &mut String) -> usize {
    let start = out.len();
    out.push('[');
    let mut at = 1;
    let from = |at: usize| text.get(at..).unwrap_or_default();
    if from(at).starts_with('^') {
        out.push('^');
        at += 1;
    }
    let first = at;
    while let Some(c) = from(at).chars().next() {
        let named = from(at).starts_with("[:").then(|| from(at).find(":]")).flatten();
        match (c, named) {
            (']', _) if at > first => {
                out.push(']');
                return at + 1;
            }
            (']', _) => out.push_str(r"\]"),
            (_, Some(end)) => {
                out.push_str(from(at).get(..end + 2).unwrap_or_default());
                at += end + 2;
                continue;
            }
            ('\\', _) => {
                at += escape(from(at), out);
                continue;
            }
            ('[' | '&' | '~', _) => out.extend(['\\', c]),
            ('-', _) if at == first || from(at + 1).starts_with(']') => out.push_str(r"\-"),
            (other, _) => out.push(other),
        }
        at += c.len_utf8();
    }
    // Never closed: left as it is, for the crate to say so.
    out.truncate(start);
    out.push_str(text);
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(source: &str, text: &str) -> bool {
        regex::Regex::new(&whole(source).unwrap()).unwrap().is_match(text)
    }

    #[test]
    fn the_whole_value_must_match() {
        assert!(fits("a|ab", "ab") && fits("a+", "aa") && !fits("a+", "xaa") && !fits("a", "a\n"));
        assert!(fits("^system:.*$", "system:node") && !fits("system:", "system:node"));
        assert!(!fits(".*", "a\nb") && fits("[^x]*", "a\nb") && fits("a$\n^b", "a\nb"));
    }

    #[test]
    fn what_the_crate_spells_otherwise_is_respelled() {
        for (source, yes, no) in [
            (r"\<a\>", "<a>", "a"),
            ("[a[b]", "[", "c"),
            ("[]a]", "]", "b"),
            ("[^]a]", "b", "]"),
            ("[a&&b]", "&", "c"),
            ("[-a]", "-", "b"),
            ("[a-]", "-", "b"),
            ("[[:alpha:]_]+", "a_b", "1"),
            (r"[\]x]", "]", r"\"),
            ("a{", "a{", "a"),
            ("a{,2}", "a{,2}", "aa"),
            ("a{2}", "aa", "a{2}"),
            ("a{1,}", "aaa", ""),
            ("ä[ö-ü]", "äö", "ä"),
        ] {
            assert!(fits(source, yes), "{source} {yes}");
            assert!(!fits(source, no), "{source} {no}");
        }
    }

    #[test]
    fn broken_expressions_stay_broken() {
        for source in ["[a", "a(", "*a", "[z-a]", r"a\", "a)|(b"] {
            let error = whole(source).unwrap_err().to_string();
            assert!(error.starts_with(&format!("regular expression \"{source}\": ")), "{error}");
        }
        let error = whole(&"(a{1,500}){1,50}".repeat(20)).unwrap_err();
        assert!(matches!(error, MatcherError::RegexTooBig { .. }), "{error}");
    }
}
