//! The tokens of a Falco condition, taken from the front of a text one at a time.
//!
//! What a token may be depends on what the grammar expects, so there is no list of
//! tokens: `condition` asks for the one it wants. Nothing is taken when it is not there.

use super::condition::ConditionFault;

/// The rest of a condition.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'t> {
    rest: &'t str,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Lexer<'t> {
        Lexer { rest: text }
    }

    pub(super) fn rest(&self) -> &'t str {
        self.rest
    }

    /// Takes white space; whether there was any.
    pub(super) fn blank(&mut self) -> bool {
        let after = self.rest.trim_start_matches([' ', '\t', '\u{8}', '\r', '\n']);
        let found = after.len() < self.rest.len();
        self.rest = after;
        found
    }

    /// Takes exactly this text.
    pub(super) fn text(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(after) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    /// Takes a word and the white space that must follow it.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let before = self.clone();
        let found = self.text(word) && self.blank();
        if !found {
            *self = before;
        }
        found
    }

    /// Takes a word and the bracket that must follow it at once.
    pub(super) fn opening(&mut self, word: &str) -> bool {
        let before = self.clone();
        let found = self.text(word) && self.text("(");
        if !found {
            *self = before;
        }
        found
    }

    /// The name of a macro or list.
    pub(super) fn identifier(&mut self) -> Option<&'t str> {
        let length = identifier(self.rest)?;
        self.take(length)
    }

    /// The name of a field: identifiers joined by dots, two at least.
    pub(super) fn field(&mut self) -> Option<&'t str> {
        let first = identifier(self.rest)?;
        let mut length = first;
        while let Some(after) = self.rest.get(length..).and_then(|it| it.strip_prefix('.')) {
            match identifier(after) {
                Some(more) => length += 1 + more,
                None => break,
            }
        }
        if length == first { None } else { self.take(length) }
    }

    /// A field's argument without quotes.
    pub(super) fn bare_argument(&mut self) -> Option<&'t str> {
        self.until(|c| matches!(c, '[' | ']' | '"' | '\'') || is_space(c))
    }

    /// A value without quotes.
    pub(super) fn bare(&mut self) -> Option<&'t str> {
        self.until(ends_bare)
    }

    /// A number, as it is written: hexadecimal or decimal.
    pub(super) fn number(&mut self) -> Option<&'t str> {
        let length = hexadecimal(self.rest).or_else(|| decimal(self.rest))?;
        self.take(length)
    }

    /// A value in quotes, unescaped. An unclosed one is none.
    pub(super) fn quoted(&mut self) -> Result<Option<String>, ConditionFault> {
        let Some(quote @ ('"' | '\'')) = self.rest.chars().next() else {
            return Ok(None);
        };
        let inner = self.rest.get(1..).unwrap_or_default();
        let mut last = quote;
        for (at, c) in inner.char_indices() {
            // A quote behind a backslash never ends the text, not even when that is escaped.
            if c == quote && last != '\\' {
                let text = inner.get(..at).unwrap_or_default();
                self.rest = inner.get(at + 1..).unwrap_or_default();
                return unescape(text, quote).map(Some);
            }
            last = c;
        }
        Ok(None)
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> Option<&'t str> {
        let length = self.rest.find(end).unwrap_or(self.rest.len());
        if length == 0 { None } else { self.take(length) }
    }

    fn take(&mut self, length: usize) -> Option<&'t str> {
        let (token, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(token)
    }
}

/// POSIX's `[:space:]`.
pub(super) fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

/// Whether a value without quotes ends before this character.
pub(super) fn ends_bare(c: char) -> bool {
    matches!(c, '(' | ')' | '"' | '\'' | '=' | ',') || is_space(c)
}

/// The length of the identifier that a text begins with.
pub(super) fn identifier(text: &str) -> Option<usize> {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        .then(|| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len()))
}

fn hexadecimal(text: &str) -> Option<usize> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let count = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    (count > 0).then_some(count + 2)
}

fn decimal(text: &str) -> Option<usize> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let from = |at: usize| text.get(at..).unwrap_or_default();
    let sign = usize::from(text.starts_with(['+', '-']));
    let whole = digits(from(sign));
    if whole == 0 {
        return None;
    }
    let mut length = sign + whole;
    length += usize::from(from(length).starts_with('.'));
    length += digits(from(length));
    let exponent = from(length).strip_prefix(['e', 'E']).and_then(|it| it.strip_prefix(['+', '-']));
    let power = exponent.map_or(0, digits);
    Some(if power > 0 { length + 2 + power } else { length })
}

fn unescape(text: &str, quote: char) -> Result<String, ConditionFault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let mut buffer = [0; 4];
        if c != '\\' {
            bytes.extend(c.encode_utf8(&mut buffer).bytes());
            continue;
        }
        match chars.next() {
            Some('b') => bytes.push(8),
            Some('f') => bytes.push(12),
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('t') => bytes.push(b'\t'),
            // Falco takes a backslash before a blank for a backslash, for the sake of old rules.
            Some(' ' | '\\') => bytes.push(b'\\'),
            Some('/') => bytes.push(b'/'),
            Some(same) if same == quote => bytes.extend(same.encode_utf8(&mut buffer).bytes()),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                let value = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
                bytes.push(value.ok_or_else(|| ConditionFault::Escape(format!("x{digits}")))?);
            }
            Some(other) => return Err(ConditionFault::Escape(other.to_string())),
            None => return Err(ConditionFault::Escape(String::new())),
        }
    }
    String::from_utf8(bytes).map_err(|_| ConditionFault::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_where_falcos_do() {
        let mut lexer = Lexer::new("jevt.value[/a] ka.1 x");
        assert_eq!(lexer.field(), Some("jevt.value"));
        assert!(lexer.text("["));
        assert_eq!(lexer.bare_argument(), Some("/a"));
        assert!(lexer.text("]") && lexer.blank());
        assert_eq!(lexer.field(), None);
        assert_eq!((lexer.identifier(), lexer.rest()), (Some("ka"), ".1 x"));
        for (text, number) in
            [("0x1fG", "0x1f"), ("0xG", "0"), ("-1.2e+3x", "-1.2e+3"), ("1.e-", "1."), ("1e5", "1")]
        {
            assert_eq!(Lexer::new(text).number(), Some(number), "{text}");
        }
        assert_eq!(Lexer::new("+x").number(), None);
    }

    #[test]
    fn quotes_are_taken_off_and_escapes_put_in() {
        for (text, want) in [
            (r#""a b" rest"#, "a b"),
            (r#"'it\'s'"#, "it's"),
            (r#""\x41\n\/\ .""#, "A\n/\\."),
            (r#""\\""#, "\\"),
        ] {
            let found = Lexer::new(text).quoted();
            if text == r#""\\""# {
                assert_eq!(found, Ok(None), "the second backslash keeps the quote");
            } else {
                assert_eq!(found, Ok(Some(want.to_owned())), "{text}");
            }
        }
        for text in [r#""\q""#, r#""\x4""#, r#""\'""#] {
            assert!(matches!(Lexer::new(text).quoted(), Err(ConditionFault::Escape(_))), "{text}");
        }
        assert_eq!(Lexer::new(r#""\xff""#).quoted(), Err(ConditionFault::NotUtf8));
    }
}
