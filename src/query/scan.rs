//! The text of a search -> its pieces: words, quoted texts, wildcards, regular expressions.
//!
//! One rule: what stands in quotes or after a backslash is only ever itself.

use super::pattern::{Pattern, Piece};
use super::problem::{Problem, QueryError};

/// A place in the text of a search.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// An error at the place where the scanner stands.
    pub(super) fn error(&self, problem: Problem) -> QueryError {
        self.error_at(self.at, problem)
    }

    pub(super) fn error_at(&self, at: usize, problem: Problem) -> QueryError {
        let before = self.text.get(..at).unwrap_or(self.text);
        QueryError { column: before.chars().count() + 1, problem }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let found = self.peek()?;
        self.at += found.len_utf8();
        Some(found)
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    /// Takes `mark` if it stands here.
    pub(super) fn take(&mut self, mark: &str) -> bool {
        let here = self.rest().starts_with(mark);
        if here {
            self.at += mark.len();
        }
        here
    }

    /// Takes `word` in any case, if it stands here as a word of its own.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let Some(found) = self.rest().get(..word.len()) else { return false };
        let ends = self.rest().get(word.len()..).unwrap_or("");
        let alone = ends.chars().next().is_none_or(|it| it.is_whitespace() || "()".contains(it));
        let here = found.eq_ignore_ascii_case(word) && alone;
        if here {
            self.at += word.len();
        }
        here
    }

    /// Takes `name:`, if a name and a colon stand here.
    pub(super) fn take_field(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let ends = rest.find(|it: char| {
            !(it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '/' | '\\'))
        })?;
        let (name, after) = rest.split_at(ends);
        if name.is_empty() || name.starts_with('/') || !after.starts_with(':') {
            return None;
        }
        self.at += name.len() + 1;
        Some(name)
    }

    /// Takes `/regex/`, if one stands here. It ends with the word it is in, so that a path
    /// (`/api/v1/pods`) is none; a blank in it is written `\s`.
    pub(super) fn take_regex(&mut self) -> Option<&'a str> {
        let word = self.rest().split(char::is_whitespace).next().unwrap_or("");
        let inner = word.trim_end_matches(')').strip_prefix('/')?.strip_suffix('/')?;
        if inner.is_empty() {
            return None;
        }
        self.at += inner.len() + 2;
        Some(inner)
    }

    /// Takes a value up to a blank, a closing parenthesis or, in a list, a comma.
    pub(super) fn take_pattern(&mut self, in_list: bool) -> Result<Pattern, QueryError> {
        let start = self.at;
        let mut pattern = Pattern::default();
        while let Some(here) = self.peek() {
            match here {
                ')' => break,
                ',' if in_list => break,
                it if it.is_whitespace() => break,
                '(' => return Err(self.error(Problem::OpenInValue)),
                '"' => {
                    let quoted = self.take_quoted()?;
                    pattern.push_text(&quoted);
                    continue;
                }
                '*' => pattern.0.push(Piece::Any),
                '?' => pattern.0.push(Piece::One),
                '\\' => {
                    self.next();
                    let Some(meant) = self.peek() else {
                        return Err(self.error(Problem::BackslashAtEnd));
                    };
                    pattern.push_text(meant.encode_utf8(&mut [0; 4]));
                }
                other => pattern.push_text(other.encode_utf8(&mut [0; 4])),
            }
            self.next();
        }
        if self.at == start {
            return Err(self.error(Problem::NoValue));
        }
        Ok(pattern)
    }

    fn take_quoted(&mut self) -> Result<String, QueryError> {
        let start = self.at;
        self.next();
        let mut quoted = String::new();
        while let Some(here) = self.next() {
            match here {
                '"' => return Ok(quoted),
                '\\' => match self.next() {
                    Some(meant) => quoted.push(meant),
                    None => break,
                },
                other => quoted.push(other),
            }
        }
        Err(self.error_at(start, Problem::QuoteOpen))
    }
}
