//! Hashes -> a signed checkpoint. Pure: no files, no clock.

pub mod checkpoint;
pub mod leaf;
pub mod tree;
