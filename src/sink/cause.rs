//! An error and what caused it -> one line for the outbox and the log.

use std::error::Error;

use crate::alert::plain;
use crate::cause;

/// How much of it is kept.
const CHARS_MAX: usize = 300;

/// The error and its causes, on one line, harmless: a destination chose some of the words.
pub(super) fn causes(error: &dyn Error) -> String {
    plain::text_of(&cause::line(error), CHARS_MAX)
}
