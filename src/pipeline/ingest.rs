//! A back-fill: inputs through the whole pipeline into an archive, then the end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::archivist::{Archivist, ArchivistError, Committed};
use super::feed::{Feeder, Settle};
use super::in_force::InForce;
use super::lanes::{self, Entrance, Exit, PATIENCE, Received, Width};
use super::resume::ResumeError;
use super::stop::Stop;
use super::worker::{Output, Worker};
use crate::archive::catalog::{Catalog, CatalogError};
use crate::clock::Clock;
use crate::rules::RuleSet;
use crate::source::open::{Input, OpenError};

/// What is to be kept.
pub struct Job {
    /// The inputs, in their order.
    pub inputs: Vec<Input>,
    /// The cluster they are of.
    pub cluster: Arc<str>,
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How many threads.
    pub width: Width,
    /// The longest line that is decoded.
    pub line_bytes_max: usize,
    /// Ends it early; what was read is committed.
    pub stop: Stop,
    /// How far it is.
    pub progress: Arc<Progress>,
}

/// How far a back-fill is; another thread may show it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes read, uncompressed.
    pub read: AtomicU64,
    /// Bytes that were kept before and were passed over.
    pub known: AtomicU64,
    /// NUL bytes before lines, which hold nothing and are not kept.
    pub nul: AtomicU64,
    /// Inputs finished.
    pub inputs: AtomicU64,
}

/// Why an input was not kept to its end.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It could not be opened or read. What was read is kept.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is not known where it goes on.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Standard input or a pipe could not be put aside.
    #[error("{name} could not be put aside in {dir}")]
    Spool {
        /// The input's name.
        name: String,
        /// The archive's folder.
        dir: String,
        /// The operating system's own words.
        #[source]
        source: std::io::Error,
    },
}

/// Keeps every input and hands each commit to `take`, which may use the archive. Gives the inputs
/// that were not kept to their end.
///
/// # Errors
/// When the archive cannot be written, or `take` fails. What was committed stays.
pub fn ingest<E: From<ArchivistError> + Send>(
    job: &Job,
    archivist: &mut Archivist,
    mut take: impl FnMut(&mut Archivist, Committed) -> Result<(), E>,
) -> Result<Vec<InputError>, E> {
    let failures = Mutex::new(Vec::new());
    let dir = archivist.archive().dir.clone();
    let settle = Settle::default();
    let enter = |entrance: Entrance| {
        let failed = |error| failures.lock().unwrap_or_else(PoisonError::into_inner).push(error);
        let catalog = match Catalog::open(&dir) {
            Ok(catalog) => catalog,
            Err(error) => return failed(error.into()),
        };
        let mut feeder = Feeder { job, catalog, entrance, settle: &settle, begun: BTreeSet::new() };
        for input in &job.inputs {
            if let Err(error) = feeder.feed(input) {
                failed(error);
            }
            job.progress.inputs.fetch_add(1, Ordering::Relaxed);
        }
    };
    let make = || {
        let mut worker = Worker::storing(Arc::clone(&job.clock));
        move |job: lanes::Job| worker.work(job)
    };
    // Nothing was taken yet, so that there is nothing to commit before.
    drop(archivist.judge_by(&job.rules)?);
    let result =
        lanes::run(job.width, &InForce::new(Arc::clone(&job.rules)), enter, make, |exit| {
            let result = commit_all(exit, archivist, &settle, &mut take);
            settle.end();
            result
        });
    result.map(|()| failures.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn commit_all<E: From<ArchivistError>>(
    exit: &mut Exit<Output>,
    archivist: &mut Archivist,
    settle: &Settle,
    take: &mut impl FnMut(&mut Archivist, Committed) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        match exit.next(PATIENCE) {
            Received::Done(Output::Trouble(trouble, _)) => drop(archivist.report(&trouble)?),
            Received::Done(Output::Done(done)) => {
                if let Some(committed) = archivist.take(*done)?.committed {
                    take(archivist, committed)?;
                }
            }
            Received::Idle => {}
            Received::End => {
                let committed = archivist.commit()?;
                return take(archivist, committed);
            }
        }
        if settle.wanted() && exit.drained() {
            let committed = archivist.commit()?;
            take(archivist, committed)?;
            settle.done();
        }
    }
}
