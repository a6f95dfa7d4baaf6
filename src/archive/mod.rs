//! Events and bytes -> parts -> segments: what is kept, where it lies, and when it may go.
//!
//! One rule: a file counts only once the catalog names it. A file that the catalog does not
//! name is the left-over of a crash, and [`recover`] removes it.

pub mod account;
pub mod catalog;
pub mod columns;
pub mod commit;
pub mod copies;
mod group;
pub mod hints;
pub mod index;
pub mod keep;
pub mod known;
pub mod ledger;
pub mod marks;
pub mod merge;
pub mod outbox;
pub mod part;
pub mod read;
pub mod recover;
pub mod replicas;
pub mod retain;
pub mod rulesets;
pub mod schema;
pub mod segment;
pub mod skeleton;
pub mod stored;
pub mod verify;
pub mod windows;
