//! Here is an event and a rule set; this gives the [`Finding`]s.

pub mod finding;
pub mod scan;
pub mod trial;

pub use finding::Finding;
pub use scan::{Origin, scan};
