//! The Falco front end: rule files for the source `k8s_audit` in, drafts of rules and
//! errors out. See <https://falco.org/docs/concepts/rules/>.
//!
//! `document` gives a file's entries, `request` says what one asks for (`exception`, `priority`
//! and `require` read parts of it), and `collect` keeps what the files of a set leave of each
//! list, macro and rule. `resolve` then makes every condition whole: `expand` puts lists and
//! macros in, `condition` reads the text by the tokens of `lexer` into the tree that `ast`
//! describes, `print` writes it back, and `caution` looks for what was probably not meant.
//!
//! `lower` brings a whole condition into the form all dialects share: `field` knows the
//! fields and `values` reads them, `transform` changes them, `term` joins the two. `output`
//! writes what a rule says of an event. `draft` does both for every rule about audit events.

mod ast;
mod caution;
mod collect;
mod condition;
mod document;
mod draft;
mod exception;
mod expand;
mod fault;
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
mod priority;
mod relate;
mod request;
mod require;
mod resolve;
mod term;
mod transform;
mod uri;
mod values;

pub(super) use self::ast::Operator;
pub(super) use self::collect::Collector;
pub(super) use self::draft::draft;
pub(super) use self::fault::FalcoFault;
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
