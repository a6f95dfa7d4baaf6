//! (see the following commits)
