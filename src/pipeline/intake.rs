//! What the daemon takes lines from: every kind of source behind one trait, each on a thread of its own.
//!
//! One rule: a source never gives up by itself. What fails is told to the observer and tried again until the
//! daemon is asked to stop or the pipeline has ended.

use std::sync::Arc;

use super::lanes::Entrance;
use super::stall::Stall;
use super::stop::Stop;
use crate::archive::catalog::Catalog;
use crate::clock::Clock;

/// What a source is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceName {
    /// The cluster it is of, unless an event's own place says otherwise.
    pub cluster: Arc<str>,
    /// Its name in findings and metrics; no other source of the daemon has it.
    pub name: Arc<str>,
}

/// A place that lines come from.
pub trait Source: Send + Sync {
    /// What it is called.
    fn name(&self) -> &SourceName;

    /// Hands lines over until it is asked to stop or the pipeline has ended.
    fn run(&self, intake: Intake<'_>);
}

/// What a source works with.
pub struct Intake<'a> {
    /// Says how far a stream is kept.
    pub catalog: Catalog,
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Where lines go.
    pub entrance: Entrance,
    /// Whom to tell.
    pub observer: &'a dyn Observer,
    /// Ends it.
    pub stop: &'a Stop,
    /// Says whether what is handed over now would only wait.
    pub stall: &'a Stall,
}

/// What the daemon is told of a source.
pub trait Observer: Send + Sync {
    /// It has handed over what there was and waits; so many bytes are there that it could not hand over yet.
    fn lag(&self, source: &SourceName, bytes: u64);
    /// There are so many records that it has not read yet, of all that are for it to read; at none it waits.
    /// `None`: nothing is for it to read.
    fn behind(&self, source: &SourceName, records: Option<u64>);
    /// It came upon something that is worth counting, once.
    fn note(&self, source: &SourceName, note: Note);
    /// The source works again, or does not.
    fn state(&self, source: &SourceName, failure: Option<&str>);
    /// In so many seconds its writer begins to delete what was not handed over.
    fn headroom(&self, source: &SourceName, seconds: f64);
    /// So many NUL bytes stood before a line.
    fn nul_bytes(&self, source: &SourceName, bytes: u64);
}

/// What is worth counting of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// It holds nothing, so there is nothing to keep.
    Empty,
    /// It should name its cluster and does not.
    Unnamed,
}
