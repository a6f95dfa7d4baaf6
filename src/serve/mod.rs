//! HTTP for machines that watch kustos: is it alive, is it ready, how is it doing.
//!
//! One rule: nothing here waits for the pipeline, so that a stuck pipeline can still say that it is
//! stuck. And nothing a request says counts: all it can do is have the rules loaded again from where the
//! configuration says.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::metrics::Metrics;

mod api;
mod ready;
mod start;

pub use ready::{Part, Readiness};
pub use start::{ServeError, Serving, start};

/// What the answers are made of. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/api/v1/status`. It is called on a thread that may block.
    pub status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// For `POST /api/v1/reload`. It is called on a thread that may block.
    pub reload: Arc<dyn Fn() -> Answer + Send + Sync>,
}

/// What was asked for, or why it was not done.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It was done.
    Done(serde_json::Value),
    /// It cannot be done as things are: whoever asked can change that.
    Refused(serde_json::Value),
    /// It failed here.
    Failed(serde_json::Value),
}

/// Where the server is to listen.
pub type Listen = SocketAddr;
