//! What a Falco rule says of an event: its output, with fields put in.
//!
//! `%ka.user.name`, `%jevt.value[/stage]`, `%tolower(ka.verb)`, `%20ka.verb` (20 characters
//! wide). A field that is missing reads `<NA>`, a list `(a,b)`.

use super::ast;
use super::condition::leading_term;
use super::field::FieldError;
use super::lexer::Lexer;
use super::term::{Term, TermError};
use crate::rules::scratch::Context;

/// An output is cut after this many bytes: a rule may print bodies, and those are long.
pub(in crate::rules) const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// What stands where an output was cut.
const CUT: &str = "...(cut)";

/// What stands for a field that is missing.
const MISSING: &str = "<NA>";

/// A field may be written this wide at most.
const WIDTH_MAX: usize = 4_096;

/// An output, ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::rules) struct Template {
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(Box<str>),
    Term {
        term: Term,
        /// So many characters, cut or filled up with blanks.
        width: Option<usize>,
    },
}

/// Why a text is no output, and the word in it that is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output: {why}")]
pub(in crate::rules) struct OutputError {
    pub(in crate::rules) near: String,
    #[source]
    pub(in crate::rules) why: OutputFault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::rules) enum OutputFault {
    #[error("it is empty")]
    Empty,
    #[error("it ends where a field should follow \"%\"")]
    Unfinished,
    #[error("no field follows \"%\" before \"{0}\"")]
    NoField(String),
    #[error("a field is more than {WIDTH_MAX} characters wide")]
    Width,
    #[error(transparent)]
    Term(#[from] TermError),
}

impl Template {
    /// Reads an output.
    pub(in crate::rules) fn parse(text: &str) -> Result<Template, OutputError> {
        let blame = |near: &str, why| OutputError { near: near.to_owned(), why };
        if text.is_empty() {
            return Err(blame(text, OutputFault::Empty));
        }
        // The asterisk asks for `<NA>` where a field is missing, which is what Falco's own
        // output does without it as well.
        let mut rest = text.strip_prefix('*').unwrap_or(text);
        let mut parts = Vec::new();
        while let Some((before, after)) = rest.split_once('%') {
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            if after.is_empty() {
                return Err(blame("%", OutputFault::Unfinished));
            }
            let (width, after) = width(after).map_err(|why| blame("%", why))?;
            let (term, length) = leading(after)?;
            parts.push(Part::Term { term, width });
            rest = after.get(length..).unwrap_or_default();
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Template { parts: parts.into() })
    }

    /// What the rule says of the event.
    pub(in crate::rules) fn render(&self, context: &Context<'_, '_>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Term { term, width } => written(term, *width, context, &mut out),
            }
            if out.len() > OUTPUT_BYTES_MAX {
                let end = out.floor_char_boundary(OUTPUT_BYTES_MAX - CUT.len());
                out.truncate(end);
                out.push_str(CUT);
                break;
            }
        }
        out
    }
}

/// The number before a field, and what follows it.
fn width(text: &str) -> Result<(Option<usize>, &str), OutputFault> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at_checked(digits).unwrap_or(("", text));
    if number.is_empty() {
        return Ok((None, rest));
    }
    match number.parse() {
        // A width of none is no width.
        Ok(0) => Ok((None, rest)),
        Ok(width) if width <= WIDTH_MAX => Ok((Some(width), rest)),
        _ => Err(OutputFault::Width),
    }
}

/// The field or transformer that a text begins with, and its length. As in Falco, letters
/// that make a known field's name unknown are text behind it: `%ka.verbs`.
fn leading(text: &str) -> Result<(Term, usize), OutputError> {
    let read = leading_term(text).ok().flatten();
    let whole = read.map(|(term, length)| (named(&term), Term::of(&term), length));
    if let Some((_, Ok(term), length)) = whole {
        return Ok((term, length));
    }
    if let Some((near, Err(why @ TermError::Field(FieldError::Needs(_))), _)) = whole {
        return Err(OutputError { near, why: why.into() });
    }
    let name = Lexer::new(text).field().unwrap_or_default();
    let shorter = (1..=name.len()).rev().find_map(|length| {
        let name = name.get(..length)?.to_owned();
        let term = Term::of(&ast::Term::Field { name, argument: None }).ok()?;
        Some((term, length))
    });
    shorter.ok_or_else(|| match whole {
        Some((near, Err(why), _)) => OutputError { near, why: why.into() },
        _ => {
            let shown: String = text.chars().take(20).collect();
            OutputError { near: format!("%{shown}"), why: OutputFault::NoField(shown) }
        }
    })
}

fn named(term: &ast::Term) -> String {
    match term {
        ast::Term::Field { name, .. } | ast::Term::Call { name, .. } => name.clone(),
        ast::Term::Literal(text) => text.clone(),
        ast::Term::List(_) => String::new(),
    }
}

fn written(term: &Term, width: Option<usize>, context: &Context<'_, '_>, out: &mut String) {
    let start = out.len();
    let values = term.values(context);
    if values.is_empty() {
        out.push_str(MISSING);
    } else if term.shape().list {
        out.push('(');
        for (at, value) in values.iter().enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            printable(value, out);
        }
        out.push(')');
    } else {
        values.first().into_iter().for_each(|it| printable(it, out));
    }
    if let Some(width) = width {
        let written = out.split_off(start);
        out.extend(written.chars().chain(std::iter::repeat(' ')).take(width));
    }
}

/// Adds a value to the output. The event is not ours: its control characters are shown by
/// their names, so that nothing in it moves a cursor or begins a line of its own.
fn printable(value: &str, out: &mut String) {
    for c in value.chars() {
        if out.len() > OUTPUT_BYTES_MAX {
            return;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
}
