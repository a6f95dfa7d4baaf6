//! Writes a condition as Falco does when it is asked what a rule compiled to.
//!
//! **Invariant:** what is written reads back as the same condition. Falco's writer does
//! not keep that; here a value that would read as something else is put in quotes.

use super::ast::{Check, Condition, Right, Term};
use super::condition::{operator_word, quantity_word};
use super::lexer::{Lexer, ends_bare};

/// The text of a condition, fully bracketed.
pub(super) fn canonical(condition: &Condition) -> String {
    let mut text = String::new();
    write(condition, &mut text);
    text
}

fn write(condition: &Condition, text: &mut String) {
    match condition {
        Condition::All(parts) => joined(parts, " and ", text),
        Condition::Any(parts) => joined(parts, " or ", text),
        Condition::Not(part) => {
            text.push_str("not ");
            let again = matches!(**part, Condition::Not(_));
            text.push_str(if again { "(" } else { "" });
            write(part, text);
            text.push_str(if again { ")" } else { "" });
        }
        Condition::Check(check) => write_check(check, text),
        Condition::Macro(name) => text.push_str(name),
    }
}

fn joined(parts: &[Condition], word: &str, text: &mut String) {
    text.push('(');
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            text.push_str(word);
        }
        write(part, text);
    }
    text.push(')');
}

fn write_check(check: &Check, text: &mut String) {
    write_term(&check.left, text);
    text.push(' ');
    text.push_str(operator_word(check.operator));
    match &check.right {
        Right::None => {}
        Right::Value(value) => {
            text.push(' ');
            text.push_str(&quoted(value));
        }
        Right::List(values) => {
            text.push(' ');
            write_list(values, text);
        }
        Right::Each(quantity, values) => {
            text.push(' ');
            text.push_str(quantity_word(*quantity));
            text.push(' ');
            write_list(values, text);
        }
        Right::Term(term) => {
            text.push(' ');
            write_term(term, text);
        }
    }
}

fn write_list(values: &[String], text: &mut String) {
    let values: Vec<String> = values.iter().map(|it| quoted(it)).collect();
    text.push('(');
    text.push_str(&values.join(", "));
    text.push(')');
}

fn write_term(term: &Term, text: &mut String) {
    match term {
        Term::Field { name, argument } => {
            text.push_str(name);
            write_argument(argument.as_deref(), text);
        }
        Term::Call { name, arguments, argument } => {
            text.push_str(name);
            write_terms(arguments, text);
            write_argument(argument.as_deref(), text);
        }
        Term::Literal(value) => {
            let mut lexer = Lexer::new(value);
            let number = lexer.number().is_some() && lexer.rest().is_empty();
            text.push_str(&written(value, |_| !number));
        }
        Term::List(terms) => write_terms(terms, text),
    }
}

fn write_terms(terms: &[Term], text: &mut String) {
    text.push('(');
    for (at, term) in terms.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write_term(term, text);
    }
    text.push(')');
}

fn write_argument(argument: Option<&str>, text: &mut String) {
    if let Some(argument) = argument {
        text.push('[');
        text.push_str(&written(argument, |c| matches!(c, '[' | ']')));
        text.push(']');
    }
}

/// A value, in quotes where it must be.
pub(super) fn quoted(value: &str) -> String {
    written(value, ends_bare)
}

/// A text, in quotes when it is empty or holds a blank, `=`, a quote, an escape or
/// another character that is `special`.
fn written(value: &str, special: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(value.len());
    let mut quotes = value.is_empty();
    for c in value.chars() {
        let escape = match c {
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\\' => "\\\\",
            '"' => "\\\"",
            other => {
                quotes |= matches!(other, ' ' | '=' | '\'' | '\0' | '\u{b}') || special(other);
                text.push(other);
                continue;
            }
        };
        quotes = true;
        text.push_str(escape);
    }
    // A quote behind a backslash would not end the text.
    if value.ends_with('\\') {
        text.truncate(text.len() - 1);
        text.push_str("x5c");
    }
    if quotes { format!("\"{text}\"") } else { text }
}
