//! One file per command.

pub mod archive;
pub mod config;
pub mod detect;
pub mod hunt;
pub mod ingest;
pub mod log;
pub mod output;
#[cfg(feature = "sql")]
pub mod query;
pub mod rules;
pub mod run;
#[cfg(feature = "sql")]
pub mod search;
pub mod shared;

mod command;
mod reloading;
mod webhooks;

pub use command::main;
