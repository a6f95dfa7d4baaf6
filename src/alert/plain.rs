//! Text that somebody else chose -> text that only says what it says: no control characters,
//! no escapes a terminal obeys, nothing that turns the direction of writing, no endless length.

use std::fmt::Write;

/// Characters of one field that are shown; the rest is cut. Longer than any Kubernetes name.
pub const FIELD_CHARS_MAX: usize = 256;

/// One field, made harmless: what a terminal could obey is written out as `\u{1b}`, and what
/// is over [`FIELD_CHARS_MAX`] is cut and marked.
pub fn field(text: &str) -> String {
    text_of(text, FIELD_CHARS_MAX)
}

/// As [`field`], with another bound.
pub fn text_of(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(chars_max));
    for (at, c) in text.chars().enumerate() {
        if at == chars_max {
            out.push('…');
            break;
        }
        if harmful(c) {
            // Writing to a `String` cannot fail.
            if write!(out, "{}", c.escape_unicode()).is_err() {
                break;
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a terminal or a browser would act on it, or show nothing for it.
fn harmful(c: char) -> bool {
    // C0, DEL and C1: among them ESC and the one-byte CSI (U+009B), and every line end, so that
    // a field cannot begin a line of its own.
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'     // soft hyphen, Arabic letter mark, Mongolian separator
            | '\u{200b}'..='\u{200f}'             // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'             // line and paragraph separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'             // word joiner, isolates
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' // byte order mark, interlinear annotation
            | '\u{e0000}'..='\u{e0fff}' // tags: text that is not shown
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(field("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(field("a\u{9b}31m"), "a\\u{9b}31m");
        assert_eq!(field("ok\r\nHIGH forged"), "ok\\u{d}\\u{a}HIGH forged");
        assert_eq!(field("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(field("ad\u{200b}min"), "ad\\u{200b}min");
        assert_eq!(field("Zoë-名前 ✓"), "Zoë-名前 ✓");
    }

    #[test]
    fn a_long_field_is_cut_and_says_so() {
        let long = field(&"é".repeat(FIELD_CHARS_MAX + 1));
        assert_eq!(long.chars().count(), FIELD_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
        assert_eq!(field(&"x".repeat(FIELD_CHARS_MAX)).len(), FIELD_CHARS_MAX);
    }

    #[test]
    fn nothing_that_acts_survives_whatever_the_text() {
        proptest::proptest!(|(text in "\\PC*|[\\x00-\\u{2100}]*")| {
            let shown = field(&text);
            assert!(!shown.chars().any(harmful));
        });
    }
}
