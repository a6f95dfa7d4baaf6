//! (see the following commits)

pub mod output;
#[cfg(feature = "sql")]
pub mod query;
#[cfg(feature = "sql")]
pub mod search;
