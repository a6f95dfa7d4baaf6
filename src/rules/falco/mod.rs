//! The Falco front end: rule files for the source `k8s_audit` in, drafts of rules and
//! errors out. See <https://falco.org/docs/concepts/rules/>.
//!
//! `condition` reads a condition into the tree that `ast` describes.

mod ast;
mod field;
mod gke;
mod glob;
mod json;
mod lower;
mod moment;
mod path;
mod pod;
mod posix;
mod relate;
mod term;
mod transform;
mod uri;
mod values;

pub(super) use ast::Operator;
pub(super) use glob::Glob;
pub(super) use path::Above;
pub(super) use relate::holds;
pub(super) use term::{Shape, Term};
