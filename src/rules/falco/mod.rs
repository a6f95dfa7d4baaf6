//! The Falco front end: rule files for the source `k8s_audit` in, drafts of rules and
//! errors out. See <https://falco.org/docs/concepts/rules/>.
//!
//! `condition` reads a condition into the tree that `ast` describes, by the tokens of
//! `lexer`; `print` writes it back.
//!
//! `lower` brings a whole condition into the form all dialects share: `field` knows the
//! fields and `values` reads them, `transform` changes them, `term` joins the two. `output`
//! writes what a rule says of an event.

mod ast;
mod condition;
mod field;
mod gke;
mod glob;
mod json;
mod lexer;
mod lower;
mod moment;
mod output;
mod path;
mod pod;
mod posix;
mod print;
mod relate;
mod term;
mod transform;
mod uri;
mod values;

pub(super) use self::ast::Operator;
pub(super) use self::glob::Glob;
pub(super) use self::output::Template;
pub(super) use self::path::Above;
pub(super) use self::relate::holds;
pub(super) use self::term::{Shape, Term};

/// What a rule of this dialect is called in findings.
pub(super) const DIALECT: &str = "falco";

#[cfg(test)]
mod meaning;
#[cfg(test)]
mod tests;
