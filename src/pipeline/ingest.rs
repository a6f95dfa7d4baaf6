//! A back-fill: inputs through the whole pipeline into an archive, then the end.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::archivist::{Archivist, ArchivistError, Committed};
use super::detect::PATIENCE;
use super::lanes::{self, Entrance, Received, Stream, Width};
use super::resume::{Located, Named, ResumeError, locate};
use super::stop::Stop;
use super::worker::Worker;
use crate::archive::catalog::{Catalog, CatalogError};
use crate::clock::Clock;
use crate::rules::RuleSet;
use crate::source::chunk::{Chunker, Next};
use crate::source::open::{Input, OpenError, open, open_at};

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
    let enter = |entrance: Entrance| {
        let failed = |error| failures.lock().unwrap_or_else(PoisonError::into_inner).push(error);
        let catalog = match Catalog::open(&dir) {
            Ok(catalog) => catalog,
            Err(error) => return failed(error.into()),
        };
        let mut begun = BTreeSet::new();
        for input in &job.inputs {
            if let Err(error) = feed(job, &catalog, input, &entrance, &mut begun) {
                failed(error);
            }
            job.progress.inputs.fetch_add(1, Ordering::Relaxed);
        }
    };
    let make = || {
        let mut worker = Worker::storing(Arc::clone(&job.rules), Arc::clone(&job.clock));
        move |job: lanes::Job| worker.work(&job)
    };
    let result = lanes::run(job.width, enter, make, |exit| {
        loop {
            let committed = match exit.next(PATIENCE) {
                Received::Done(done) => archivist.take(done)?,
                Received::Idle => None,
                Received::End => break,
            };
            if let Some(committed) = committed {
                take(archivist, committed)?;
            }
        }
        let committed = archivist.commit()?;
        take(archivist, committed)
    });
    result.map(|()| failures.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn feed(
    job: &Job,
    catalog: &Catalog,
    input: &Input,
    entrance: &Entrance,
    begun: &mut BTreeSet<i64>,
) -> Result<(), InputError> {
    let name = input.name();
    let named = Named {
        cluster: &job.cluster,
        name: &name,
        line_bytes_max: job.line_bytes_max,
        growing: false,
    };
    let spooled;
    let path: &Path = match input {
        Input::File(path) if std::fs::metadata(path).is_ok_and(|it| it.is_file()) => path,
        once => {
            spooled = spool(catalog.dir(), once)?;
            spooled.path()
        }
    };
    let mut stream = open(&Input::File(path.to_owned()))?;
    let mut located = match locate(catalog, &named, &mut stream.bytes, job.clock.now()) {
        Ok(Some(located)) => located,
        Ok(None) => return Ok(()),
        // A damaged end of a compressed file: what stands before it is still to be kept.
        Err(error @ ResumeError::Read { .. }) => match salvage(job, catalog, &named, path)? {
            Some(located) => located,
            None => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    };
    // A copy of an input of this run, whose lines are not committed yet, is found to be the same
    // source. On one chain they would follow each other and neither would be known again.
    if begun.contains(&located.source) {
        let known = catalog.sources(&job.cluster, &located.first)?;
        let unused = known.iter().find(|it| it.boundaries.is_empty() && !begun.contains(&it.id));
        located.source = match unused {
            Some(it) => it.id,
            None => catalog.add_source(&job.cluster, &located.first, &name, job.clock.now())?,
        };
    }
    begun.insert(located.source);
    job.progress.known.fetch_add(located.offset, Ordering::Relaxed);
    Ok(send(job, located, path, &name, entrance)?)
}

/// Locates a stream that cannot be read to its end by what can be read of it.
fn salvage(
    job: &Job,
    catalog: &Catalog,
    named: &Named<'_>,
    path: &Path,
) -> Result<Option<Located>, InputError> {
    let mut readable = UntilError(open(&Input::File(path.to_owned()))?.bytes);
    Ok(locate(catalog, named, &mut readable, job.clock.now())?)
}

/// A stream that ends where it would fail.
struct UntilError(Box<dyn Read + Send>);

impl Read for UntilError {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(self.0.read(buffer).unwrap_or(0))
    }
}

fn send(
    job: &Job,
    located: Located,
    path: &Path,
    name: &str,
    entrance: &Entrance,
) -> Result<(), OpenError> {
    let failed = |source| OpenError { name: name.to_owned(), doing: "read to its end", source };
    let mut stream = open_at(path, located.offset)?;
    let mut chunker = Chunker::at(located.offset, job.line_bytes_max);
    let cluster = Arc::clone(&job.cluster);
    let of = Arc::new(Stream {
        source: located.source,
        cluster,
        name: name.into(),
        chain: located.chain,
    });
    while !job.stop.asked() {
        let (chunk, error) = match chunker.next(&mut stream.bytes) {
            Ok(Next::Chunk(chunk)) => (Some(chunk), None),
            Ok(Next::Pending) => (chunker.finish(), None),
            Err(error) => (chunker.finish(), Some(error)),
        };
        let more = chunk.is_some();
        if let Some(chunk) = chunk {
            job.progress.read.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            if !entrance.put(&of, chunk) {
                return Ok(());
            }
        }
        if let Some(error) = error {
            return Err(failed(error));
        }
        if !more {
            return Ok(());
        }
    }
    Ok(())
}

/// A copy of a stream that goes when it is dropped.
struct Spooled(std::path::PathBuf);

impl Spooled {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        // What stays behind after a failure here, or a crash, is removed at the next start.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Puts a stream aside that can be read once: to know whether it was kept before, it has to be
/// read twice.
fn spool(dir: &Path, input: &Input) -> Result<Spooled, InputError> {
    let failed =
        |source| InputError::Spool { name: input.name(), dir: dir.display().to_string(), source };
    let mut stream: Box<dyn Read> = match input {
        Input::File(path) => Box::new(std::fs::File::open(path).map_err(failed)?),
        Input::Stdin => Box::new(std::io::stdin().lock()),
    };
    let spooled = Spooled(dir.join("parts").join("stdin.tmp"));
    let mut file = std::fs::File::create(&spooled.0).map_err(failed)?;
    std::io::copy(&mut stream, &mut file).map_err(failed)?;
    Ok(spooled)
}
