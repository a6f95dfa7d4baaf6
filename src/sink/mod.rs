//! Message -> a destination: one file for each kind, and the outbox that feeds them.
//!
//! One rule: a message is sent at least once, always under one id. So a sink passes
//! [`Message::id`] on as the destination's own dedupe key, and answers `Ok` only when the
//! destination said that it has the message.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::alert::Level;
use crate::config::Settings;

mod backoff;
mod build;
mod cause;
mod notices;
pub mod outbox;
mod routes;
mod stdout;
mod webhook;

pub use backoff::Backoff;
pub use build::{BuildError, WhyNot, build};
pub use routes::Routes;

/// Every kind, in the order of the documentation.
pub const KINDS: &[Kind] = &[stdout::KIND, webhook::KIND];

/// A kind of destination: all that the rest of the program knows of it.
pub struct Kind {
    /// The `kind:` a user writes.
    pub name: &'static str,
    /// A whole, valid block; a test builds every one.
    pub example: &'static str,
    /// The JSON Schema of the kind's own settings.
    pub schema: fn() -> serde_json::Value,
    /// Checks the settings and builds the sink; does no I/O.
    pub build: fn(&Settings) -> Result<Box<dyn Sink>, WhyNot>,
}

/// What one destination is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same on every retry and after every restart.
    pub id: String,
    /// The id of the finding it is about.
    pub finding: String,
    /// The finding as `kustos detect` prints it.
    pub body: String,
}

/// The end of one try.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), DeliverError>> + Send + 'a>>;

/// Why a batch was not taken, told as what the outbox does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// Again, no sooner than `after`.
    #[error("not taken yet: {why}")]
    Retry {
        /// What the destination asked for, if it did.
        after: Option<Duration>,
        /// What it said.
        why: String,
    },
    /// Never: to the dead letters, and a metric.
    #[error("the destination refused: {why}")]
    Rejected {
        /// What it said.
        why: String,
    },
}

/// How many messages a destination takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Messages in one call of [`Sink::deliver`]. They succeed or fail together.
    pub batch_max: u32,
    /// Calls that may be under way at the same time.
    pub calls_max: u32,
}

/// A destination.
///
/// The outbox repeats a batch until the answer is `Ok` or `Rejected`, also after a crash. It may
/// drop a delivery that takes too long: the batch is then repeated.
pub trait Sink: Send + Sync {
    /// Gives the batch to the destination.
    fn deliver<'a>(&'a self, batch: &'a [Message]) -> Delivery<'a>;

    /// How much it takes at once. Default: one by one.
    fn pace(&self) -> Pace {
        Pace { batch_max: 1, calls_max: 1 }
    }
}

/// A sink under the name that metrics and the outbox know it by.
#[derive(Clone)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The lowest level it is sent.
    pub min_level: Level,
    /// The sink.
    pub sink: Arc<dyn Sink>,
}
