//! Threads and lanes that join sources, workers and the archivist.
//!
//! One rule: a lane is bounded, and a full one makes the source wait. Nothing is dropped to go
//! faster.

pub mod archivist;
mod backlog;
pub mod budget;
pub mod correlating;
pub mod daemon;
pub mod detect;
mod episode;
mod feed;
pub mod files;
mod following;
mod glance;
pub mod headroom;
pub mod history;
pub mod hunt;
pub mod in_force;
pub mod ingest;
pub mod intake;
mod integrity;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod lanes;
mod merged;
mod quiet;
mod recall;
pub mod reload;
pub mod resume;
mod sealing;
mod sieve;
pub mod silence;
pub mod stall;
pub mod stop;
pub mod tail;
pub mod watch;
pub mod webhook;
pub mod worker;

pub use stop::Stop;
