//! What stands in which segment: a value of a field -> the segments that may hold it.
//!
//! Of every sealed segment the hashes of some fields' values are written, sorted, into a *run*, and runs of
//! neighbours are merged as they become many. To look a value up is a read or two in each run: no
//! segment is opened, and none is listed that cannot hold it.
//!
//! **Invariant:** the answer may be too many segments, never too few. What no run speaks of, and what a run that is
//! missing or damaged speaks of, is read. So nothing here is evidence, and all of it can be made again.

mod bits;
mod build;
mod chosen;
mod run;
mod upkeep;
mod wanted;

#[cfg(test)]
mod tests;

pub use build::{BuildError, of_values, values};
pub use run::{Found, Run, RunError};
pub use upkeep::{FANOUT, Made, RunRow, Upkeep};
pub use wanted::{FIELDS, HASHES_MAX, Wanted, hash_of, index_field};

/// The folder of the runs.
pub(super) const FOLDER: &str = "index";

/// What a run's name ends with.
pub(super) const ENDING: &str = "run";
