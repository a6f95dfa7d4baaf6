//! `kustos rules`: one file per sub-command.

mod check;
mod command;
mod coverage;
mod explain;
mod junit;
mod lenient;
mod list;
mod show;
mod test;
mod tree;

pub use command::{Args, run};
