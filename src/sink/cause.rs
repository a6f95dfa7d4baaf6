//! An error and what caused it -> one line for the outbox and the log.

use std::error::Error;

use crate::alert::plain;

/// How much of it is kept.
const CHARS_MAX: usize = 300;

/// The error and its causes, on one line, harmless: a destination chose some of the words.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    plain::text_of(&text, CHARS_MAX)
}
