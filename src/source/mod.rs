//! Outside -> [`Chunk`]: whole lines with their position. A source never parses.

pub mod chunk;
mod document;
pub mod find;
pub mod glob;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod open;
pub mod place;
pub mod receipt;
pub mod rotated;
pub mod tail;
pub mod webhook;

pub use chunk::{Chunk, Chunker, Framing, LINE_BYTES_MAX, Record};
pub use receipt::{Fate, Receipt};
