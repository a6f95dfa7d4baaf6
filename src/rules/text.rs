//! Text patterns: literal text at a place, or wildcards, with or without regard to case.
//!
//! Sigma compares without regard to case, character by character in Unicode's
//! simple sense; text that is all ASCII, which is nearly all there is, takes a
//! path that copies nothing.

use std::borrow::Cow;

use super::ir::{DASHES, Piece, Place};
use super::wildcard;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    shape: Shape,
    cased: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    /// Literal text at a place; lower-case unless the pattern is cased.
    Literal(Place, Box<str>),
    /// Anything with `*` or `?` inside.
    Glob(Box<[Piece]>),
    /// `*`: any text at all.
    Anything,
}

impl Pattern {
    pub(super) fn new(pieces: &[Piece], cased: bool) -> Pattern {
        Pattern { shape: shape(pieces, cased), cased }
    }

    /// The whole literal text this stands for, in lower case: what the prefilter can look up.
    pub(super) fn exact(&self) -> Option<String> {
        match &self.shape {
            Shape::Literal(Place::Whole, text) => Some(lower(text).into_owned()),
            _ => None,
        }
    }

    /// The literal text, in lower case, and its place, where that and nothing else decides.
    pub(super) fn plain(&self) -> Option<(Place, &str)> {
        match &self.shape {
            Shape::Literal(place, text) if !self.cased => Some((*place, text)),
            _ => None,
        }
    }

    /// A literal, in lower case, that every text has which fits, and where. The longest one.
    pub(super) fn literal(&self) -> Option<(Place, String)> {
        match &self.shape {
            Shape::Literal(place, text) => Some((*place, lower(text).into_owned())),
            Shape::Glob(pieces) => {
                let run = |pieces: &[Piece]| -> String {
                    let char = |piece: &Piece| match piece {
                        Piece::Char(c) => Some(*c),
                        Piece::One | Piece::Many | Piece::Dash => None,
                    };
                    pieces.iter().filter_map(char).collect()
                };
                let runs = pieces.split(|it| !matches!(it, Piece::Char(_))).map(run);
                let longest = runs.max_by_key(String::len).filter(|it| !it.is_empty())?;
                Some((Place::Anywhere, lower(&longest).into_owned()))
            }
            Shape::Anything => None,
        }
    }

    /// Whether `text` fits.
    pub(super) fn fits(&self, text: &str) -> bool {
        if self.begins_otherwise(text) {
            return false;
        }
        if self.cased || text.is_ascii() {
            self.fits_folded(text)
        } else {
            self.fits_folded(&lower(text))
        }
    }

    /// Whether the first character alone tells that `text` does not fit. An ASCII one is the same
    /// letter in lower case; of others nothing is said.
    fn begins_otherwise(&self, text: &str) -> bool {
        let Shape::Literal(Place::Whole | Place::Start, literal) = &self.shape else {
            return false;
        };
        match (literal.as_bytes().first(), text.as_bytes().first()) {
            (Some(want), Some(have)) => have.is_ascii() && !want.eq_ignore_ascii_case(have),
            _ => false,
        }
    }

    fn fits_folded(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Anything => true,
            Shape::Literal(place, literal) => literally(*place, text, literal, self.cased),
            Shape::Glob(pieces) => wildcard::fits(pieces, text, self.cased),
        }
    }
}

/// Lower case, character by character: no rule about word ends, so that a pattern
/// fits the same text wherever it stands.
pub(super) fn lower(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| c.is_uppercase() || (!c.is_ascii() && !c.is_lowercase())) {
        Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn shape(pieces: &[Piece], cased: bool) -> Shape {
    if !pieces.is_empty() && pieces.iter().all(|it| *it == Piece::Many) {
        return Shape::Anything;
    }
    let starts = pieces.first() == Some(&Piece::Many);
    let ends = pieces.last() == Some(&Piece::Many);
    let inner = pieces.strip_prefix(&[Piece::Many]).unwrap_or(pieces);
    let inner = inner.strip_suffix(&[Piece::Many]).unwrap_or(inner);
    let mut text = String::new();
    for piece in inner {
        let Piece::Char(c) = piece else {
            return Shape::Glob(folded(pieces, cased));
        };
        text.push(*c);
    }
    let place = match (starts, ends) {
        (false, false) => Place::Whole,
        (false, true) => Place::Start,
        (true, false) => Place::End,
        (true, true) => Place::Anywhere,
    };
    let text = if cased { text } else { lower(&text).into_owned() };
    Shape::Literal(place, text.into())
}

fn folded(pieces: &[Piece], cased: bool) -> Box<[Piece]> {
    let fold = |piece: &Piece| match piece {
        Piece::Char(c) if !cased => c.to_lowercase().map(Piece::Char).collect(),
        other => vec![*other],
    };
    pieces.iter().flat_map(fold).collect()
}

/// `text` is in lower case already, or ASCII, unless `cased`.
pub(super) fn literally(place: Place, text: &str, literal: &str, cased: bool) -> bool {
    let (text, literal) = (text.as_bytes(), literal.as_bytes());
    let Some(spare) = text.len().checked_sub(literal.len()) else {
        return false;
    };
    let same = |part: Option<&[u8]>| {
        part.is_some_and(|it| if cased { it == literal } else { it.eq_ignore_ascii_case(literal) })
    };
    match place {
        Place::Whole => spare == 0 && same(Some(text)),
        Place::Start => same(text.get(..literal.len())),
        Place::End => same(text.get(spare..)),
        Place::Anywhere => anywhere(text, literal, &same),
    }
}

fn anywhere(text: &[u8], literal: &[u8], same: &dyn Fn(Option<&[u8]>) -> bool) -> bool {
    let Some(first) = literal.first() else {
        return true;
    };
    let (small, big) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    memchr::memchr2_iter(small, big, text).any(|at| same(text.get(at..at + literal.len())))
}

impl wildcard::Step for Piece {
    fn is_many(&self) -> bool {
        matches!(self, Piece::Many)
    }

    fn fits(&self, c: char, cased: bool) -> bool {
        match self {
            Piece::One => true,
            Piece::Dash => DASHES.contains(&c),
            Piece::Char(want) if cased => *want == c,
            Piece::Char(want) => *want == c.to_ascii_lowercase(),
            Piece::Many => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        text.chars()
            .map(|c| match c {
                '*' => Piece::Many,
                '?' => Piece::One,
                '~' => Piece::Dash,
                other => Piece::Char(other),
            })
            .collect()
    }

    fn fits(pattern: &str, text: &str) -> bool {
        Pattern::new(&pieces(pattern), false).fits(text)
    }

    #[test]
    fn literals_stand_at_their_place_in_any_case() {
        assert!(fits("Cmd.EXE", "cmd.exe") && !fits("cmd.exe", "cmd.exe "));
        assert!(fits("ab*", "ABc") && !fits("ab*", "cab"));
        assert!(fits("*ab", "cAb") && !fits("*ab", "abc"));
        assert!(fits("*ärzte*", "gruppe ÄRZTE west") && fits("*Ärzte*", "ärzte"));
        assert!(fits("*σ*", "ΣΊΓΜΑ") && fits("*k*", "\u{212a}"));
        assert!(fits("", "") && !fits("", "x") && fits("*", "") && fits("**", "x"));
    }

    #[test]
    fn cased_patterns_keep_the_case() {
        let pattern = Pattern::new(&pieces("*WhoAmi*"), true);
        assert!(pattern.fits("prefix WhoAmi") && !pattern.fits("prefix whoami"));
        assert_eq!(pattern.exact(), None);
        assert_eq!(Pattern::new(&pieces("Get"), true).exact().unwrap(), "get");
    }

    #[test]
    fn wildcards_fit_inside() {
        assert!(fits("a*c", "abbbc") && !fits("a*c", "abcd"));
        assert!(fits("a?c", "aÄc") && !fits("a?c", "ac"));
        assert!(fits("*a*b*c", "xxaxbxbxc") && !fits("*a*b*c", "cba"));
        assert!(fits("~enc", "/ENC") && fits("~enc", "\u{2015}enc") && !fits("~enc", "+enc"));
        let long = "a".repeat(20_000);
        assert!(!fits("*a*a*a*a*a*a*b", &long));
    }
}
