//! API servers that post their audit events -> whole bodies, each with a receipt.
//!
//! One rule: a request is answered 200 only after the commit that keeps its body, and every request is
//! answered within a bounded time with bounded memory: an API server that waits, or whose batches are not
//! taken, drops events and grows. What is not taken is said so early, and comes again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Receipt;
use crate::config::Secret;

mod answer;
mod body;
mod inflight;
mod port;
mod serve;
mod tls;

pub use port::{Port, PortError};
pub use serve::serve;
pub use tls::TlsError;

/// What is configured for a whole port.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Address and port.
    pub listen: std::net::SocketAddr,
    /// Its certificate and key; plain HTTP without.
    pub tls: Option<Pair>,
    /// Connections at one time.
    pub connections_max: usize,
}

/// A certificate's file and its key's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `config::webhook::Tls`")]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What is configured for a path.
#[derive(Debug, Clone)]
pub struct Place {
    /// The source's name, for metrics and the log.
    pub source: Arc<str>,
    /// The path.
    pub path: String,
    /// Who signs the certificates of those who may post; nobody is asked for one without.
    pub client_ca: Option<PathBuf>,
    /// What they must say; nothing without.
    pub token: Option<Secret>,
    /// The largest body, uncompressed.
    pub body_bytes_max: usize,
    /// Bytes of bodies that are not yet durable.
    pub inflight_bytes_max: usize,
    /// How long a body waits for its commit.
    pub answer_within: Duration,
}

/// Where bodies are handed over. None of it may wait: the port's one thread calls it.
pub struct Desk {
    /// Takes a body, or hands it back.
    pub take: Box<dyn Fn(Vec<u8>, Receipt) -> Handed + Send + Sync>,
    /// Whether what is taken now would only wait.
    pub stalled: Box<dyn Fn() -> bool + Send + Sync>,
    /// Told of each request that was refused for its credentials.
    pub refused: Box<dyn Fn(&str) + Send + Sync>,
}

/// What became of a body at the desk.
#[derive(Debug)]
pub enum Handed {
    /// It is on its way; the receipt says what becomes of it.
    Over,
    /// There is no room now.
    Back(Vec<u8>, Receipt),
    /// There will be none any more.
    Ended,
}
