//! Here is an event and a rule set; this gives the [`Finding`]s.
//!
//! `scan` judges one event, `observe` takes out of it what correlations count, and `correlate` counts:
//! in the `table` of each correlation and cluster, group by group (`window`), with a `state` that
//! outlives the process.

mod absence;
pub mod correlate;
mod count;
pub mod finding;
mod fired;
pub mod observe;
pub mod scan;
mod state;
mod table;
pub mod trial;
pub mod trouble;
mod window;

pub use correlate::{Changes, Correlator, Counts, Limits, Window};
pub use finding::{Finding, Origin};
pub use observe::{Judged, Observation};
pub use scan::{judge, scan};
pub use trouble::Trouble;
