//! The Falco front end: rule files for the source `k8s_audit` in, drafts of rules and
//! errors out. See <https://falco.org/docs/concepts/rules/>.
//!
//! `condition` reads a condition into the tree that `ast` describes, by the tokens of
//! `lexer`; `print` writes it back.

mod ast;
mod condition;
mod lexer;
mod print;

#[cfg(test)]
mod tests;
