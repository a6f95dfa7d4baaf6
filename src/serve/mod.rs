//! HTTP for machines that watch kustos: is it alive, is it ready, how is it doing.
//!
//! One rule: nothing here changes anything, and nothing here waits for the pipeline, so that a
//! stuck pipeline can still say that it is stuck.

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
}

/// Where the server is to listen.
pub type Listen = SocketAddr;
