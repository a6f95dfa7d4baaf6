//! Questions over the archive: a small search language, SQL, and the tables both read.
//!
//! One rule: nothing here changes an archive. A question is answered from the files that one
//! snapshot of the catalog names, so no event is missing and none comes twice.

pub mod field;
pub mod language;
mod pattern;
mod problem;
mod scan;
pub mod time;

#[cfg(feature = "sql")]
mod answer;
#[cfg(feature = "sql")]
mod computed;
#[cfg(feature = "sql")]
mod dialect;
#[cfg(feature = "sql")]
mod line;
#[cfg(feature = "sql")]
mod listing;
#[cfg(feature = "sql")]
mod lower;
#[cfg(feature = "sql")]
mod scope;
#[cfg(feature = "sql")]
pub mod sql;
#[cfg(feature = "sql")]
mod table;
