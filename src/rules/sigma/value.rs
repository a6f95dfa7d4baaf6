//! A Sigma string as pattern pieces: wildcards, escapes and placeholders.

use super::Placeholders;
use super::item::SigmaFault;
use crate::config::placeholders::is_name;
use crate::rules::ir::{DASHES, Piece};

/// One value of a rule may stand for at most this many, after placeholders and dashes.
pub(super) const VARIANTS_MAX: usize = 4_096;

/// A string as the rule's author meant it. A backslash takes the meaning of `*`,
/// `?` and of another backslash away; before anything else it is a backslash.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '\\' => {
                let escaped = chars.next_if(|it| matches!(it, '*' | '?' | '\\'));
                Piece::Char(escaped.unwrap_or('\\'))
            }
            '*' => Piece::Many,
            '?' => Piece::One,
            other => Piece::Char(other),
        });
    }
    pieces
}

/// As [`pieces`], for every combination of values its placeholders (`%name%`) have.
/// `\%` is a percent sign.
pub(super) fn expanded(
    text: &str,
    placeholders: &Placeholders,
) -> Result<Vec<Vec<Piece>>, SigmaFault> {
    let mut results: Vec<Vec<Piece>> = vec![Vec::new()];
    for part in parts(text) {
        let variants: Vec<Vec<Piece>> = match part {
            Part::Text(text) => vec![pieces(&text)],
            Part::Placeholder(name) => placeholders
                .get(&name)
                .filter(|it| !it.is_empty())
                .ok_or_else(|| SigmaFault::Placeholder(name.clone()))?
                .iter()
                .map(|it| pieces(it))
                .collect(),
        };
        if results.len().saturating_mul(variants.len()) > VARIANTS_MAX {
            return Err(SigmaFault::Variants);
        }
        results = results
            .iter()
            .flat_map(|start| variants.iter().map(|end| [start.as_slice(), end].concat()))
            .collect();
    }
    Ok(results)
}

/// The text that these pieces were read from, where nothing in it was escaped.
pub(super) fn written(pieces: &[Piece]) -> String {
    let letter = |it: &Piece| match it {
        Piece::Char(letter) => *letter,
        Piece::Many => '*',
        Piece::One => '?',
        Piece::Dash => '-',
    };
    pieces.iter().map(letter).collect()
}

enum Part {
    Text(String),
    Placeholder(String),
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\\%") {
            plain.push('%');
            rest = after;
        } else if let Some((name, after)) = placeholder(rest) {
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Placeholder(name.to_owned()));
            rest = after;
        } else {
            plain.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    parts.push(Part::Text(plain));
    parts
}

/// The name between percent signs at the start of `text`, and what follows.
fn placeholder(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('%')?.split_once('%')?;
    is_name(name).then_some((name, after))
}

/// Replaces dashes that introduce an option (before a word, after no word) by any dash,
/// whichever of the five they are written as.
pub(super) fn windash(pieces: &[Piece]) -> Vec<Piece> {
    let word = |at: Option<usize>| match at.and_then(|it| pieces.get(it)) {
        Some(Piece::Char(c)) => c.is_alphanumeric() || *c == '_',
        _ => false,
    };
    let dash = |(at, piece): (usize, &Piece)| match piece {
        Piece::Char(c) if DASHES.contains(c) && !word(at.checked_sub(1)) && word(Some(at + 1)) => {
            Piece::Dash
        }
        other => *other,
    };
    pieces.iter().enumerate().map(dash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[Piece]) -> String {
        let show = |piece: &Piece| match piece {
            Piece::Char(c) => *c,
            Piece::One => '¿',
            Piece::Many => '×',
            Piece::Dash => '~',
        };
        pieces.iter().map(show).collect()
    }

    #[test]
    fn backslashes_escape_wildcards_and_themselves() {
        for (text, want) in [
            ("a*?", "a×¿"),
            (r"\*\?", "*?"),
            (r"\\*", r"\×"),
            (r"\\\*", r"\*"),
            (r"C:\Windows\x", r"C:\Windows\x"),
            (r"\\\x", r"\\x"),
            (r"\\\\x", r"\\x"),
            (r"end\", r"end\"),
        ] {
            assert_eq!(shown(&pieces(text)), want, "{text}");
        }
    }

    #[test]
    fn placeholders_are_replaced_by_each_of_their_values() {
        let known = Placeholders::from([("x".into(), vec!["1".into(), "2*".into()])]);
        let found = expanded(r"a%x%b\%c 5% d", &known).unwrap();
        let found: Vec<String> = found.iter().map(|it| shown(it)).collect();
        assert_eq!(found, ["a1b%c 5% d", "a2×b%c 5% d"]);
        assert!(matches!(expanded("%y%", &known), Err(SigmaFault::Placeholder(_))));
        let many = "%x%".repeat(13);
        assert!(matches!(expanded(&many, &known), Err(SigmaFault::Variants)));
    }

    #[test]
    fn only_dashes_before_options_are_exchanged() {
        assert_eq!(shown(&windash(&pieces("-enc a-b /x - /"))), "~enc a-b ~x - /");
        assert_eq!(shown(&windash(&pieces("\u{2013}a \u{2015}b c\u{2014}d"))), "~a ~b c\u{2014}d");
    }
}
