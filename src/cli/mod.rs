//! (see the following commits)
pub mod config;
