//! An error and what caused it -> one line, as the log, the outbox and a terminal take it.

use std::error::Error;

/// The error's words and those of its causes, outermost first. They are as they came: whoever
/// shows words that a stranger chose makes them harmless first.
pub fn line(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn an_error_is_told_with_every_cause() {
        assert_eq!(line(&Link("alone", None)), "alone");
        let inner = Link("the disk is full", None);
        let middle = Link("the part could not be written", Some(Box::new(inner)));
        let error = Link("the commit failed", Some(Box::new(middle)));
        assert_eq!(
            line(&error),
            "the commit failed: the part could not be written: the disk is full"
        );
    }
}
