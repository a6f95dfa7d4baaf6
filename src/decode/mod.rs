//! Here is a line; this gives the [`Event`](crate::event::Event) in it, or says why there is none.

mod line;
mod scan;

pub use line::line;
