//! What can be wrong with a search, where, and what to write instead.

use super::time::TimeError;

/// The longest search that is read.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;

/// How deep parentheses and negations may nest.
pub const DEPTH_MAX: usize = 32;

/// How many terms a search may have.
pub const TERMS_MAX: usize = 256;

/// Why a search was not understood, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct QueryError {
    /// The character of the text it is about, counted from one.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant is")]
pub enum Problem {
    #[error("unknown field {name:?}: {}", remedy(*nearest))]
    UnknownField { name: String, nearest: Option<&'static str> },
    #[error("a value is missing: write `field:value`, or `field:*` for any")]
    NoValue,
    #[error("this quote is not closed: add `\"`, or write `\\\"` for the quote itself")]
    QuoteOpen,
    #[error("a parenthesis in a value: put the value in quotes")]
    OpenInValue,
    #[error("nothing follows the backslash: write `\\\\` for the backslash itself")]
    BackslashAtEnd,
    #[error("this parenthesis is not closed: add `)`")]
    Unclosed,
    #[error("this parenthesis closes nothing: remove it, or put it in quotes")]
    Unopened,
    #[error("a term is missing here: write one, or put the word before it in quotes")]
    NoTerm,
    #[error("in a list, values are divided by commas: `verb:(get,list,watch)`")]
    List,
    #[error("{column:?} holds text, which has no order: put the value in quotes if it begins so")]
    NoOrder { column: &'static str },
    #[error(
        "{column:?} holds numbers: write `{column}:400`, `{column}:>=400` or `{column}:400..499`"
    )]
    NoNumber { column: &'static str },
    #[error("{0}")]
    Time(TimeError),
    #[error("{column:?} holds no text: write a range, as in `{column}:A..B`")]
    NoText { column: &'static str },
    #[error("the regular expression is not valid: {why}")]
    Regex { why: String },
    #[error("the search is longer than {TEXT_BYTES_MAX} bytes: use SQL (`kustos query`)")]
    TooLong,
    #[error("more than {TERMS_MAX} terms: use a wildcard or a regular expression for many values")]
    TooMany,
    #[error("more than {DEPTH_MAX} levels of parentheses and negations: use fewer")]
    TooDeep,
}

fn remedy(nearest: Option<&str>) -> String {
    let quoting = "put it in quotes to search for it as text";
    match nearest {
        Some(known) => format!("did you mean `{known}:`? Or {quoting}"),
        None => format!("docs/search.md lists the fields; {quoting}"),
    }
}
