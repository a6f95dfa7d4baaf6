//! The Falco front end: rule files for the source `k8s_audit` in, drafts of rules and
//! errors out. See <https://falco.org/docs/concepts/rules/>.
//!
//! `document` gives a file's entries, `request` says what one asks for (`exception`, `priority`
//! and `require` read parts of it), and `collect` keeps what the files of a set leave of each
//! list, macro and rule. `resolve` then makes every condition whole: `expand` puts lists and
//! macros in, `condition` reads the text by the tokens of `lexer` into the tree that `ast`
//! describes, `print` writes it back, and `caution` looks for what was probably not meant.

mod ast;
mod caution;
mod collect;
mod condition;
mod document;
mod exception;
mod expand;
mod fault;
mod lexer;
mod print;
mod priority;
mod request;
mod require;
mod resolve;

pub(super) use self::collect::Collector;
pub(super) use self::fault::FalcoFault;

#[cfg(test)]
mod tests;
