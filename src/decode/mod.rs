//! Here is a line; this gives the [`Event`](crate::event::Event) in it, or says why there is none.
//!
//! Most lines are one event as the API server writes it, and [`line`] is all there is to them. The others
//! are looked into by [`open`]: what providers wrap events in, lists, and the API server's text format.

mod envelope;
mod line;
mod row;
mod scan;

pub use envelope::{Opened, UNPACKED_BYTES_MAX, open, stored, texts};
pub use line::line;
pub use row::{Provenance, Provider, Row, Wrapped};
