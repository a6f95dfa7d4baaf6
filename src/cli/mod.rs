//! (see the following commits)
pub mod config;
pub mod rules;
