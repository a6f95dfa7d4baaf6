//! (see the following commits)
pub mod rules;
