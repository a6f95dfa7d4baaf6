//! Inputs of a back-fill -> chunks in the lane, from where each is kept.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::ingest::{InputError, Job, Progress};
use super::lanes::{Entrance, Stream};
use super::resume::{Located, Named, ResumeError, locate};
use super::stop::Stop;
use crate::archive::catalog::Catalog;
use crate::source::Chunk;
use crate::source::chunk::{Chunker, Next};
use crate::source::open::{Input, OpenError, open, open_at};

/// Hands what a stream holds to `put`, until it ends, `put` says no, or it is asked to stop.
///
/// # Errors
/// When the stream cannot be read. What was read before is sent.
pub(super) fn pump(
    stream: &mut dyn Read,
    chunker: &mut Chunker,
    stop: &Stop,
    put: &mut dyn FnMut(Chunk) -> bool,
) -> io::Result<()> {
    while !stop.asked() {
        let (chunk, error) = match chunker.next(stream) {
            Ok(Next::Chunk(chunk)) => (Some(chunk), None),
            Ok(Next::Pending) => (chunker.finish(), None),
            Err(error) => (chunker.finish(), Some(error)),
        };
        let more = chunk.is_some_and(&mut *put);
        if let Some(error) = error {
            return Err(error);
        }
        if !more {
            return Ok(());
        }
    }
    Ok(())
}

/// How a source asks that everything it sent is committed, and waits for it.
#[derive(Debug, Default)]
pub(super) struct Settle(AtomicU8);

const IDLE: u8 = 0;
const WANTED: u8 = 1;
const ENDED: u8 = 2;

/// How long a source sleeps between two looks whether its lines are committed.
const LOOK: Duration = Duration::from_millis(2);

impl Settle {
    /// Waits until everything that was sent is committed, or the pipeline has ended.
    fn wait(&self) {
        let asked = self.0.compare_exchange(IDLE, WANTED, Ordering::SeqCst, Ordering::SeqCst);
        while asked.is_ok() && self.wanted() {
            std::thread::sleep(LOOK);
        }
    }

    /// Whether a source waits.
    pub(super) fn wanted(&self) -> bool {
        self.0.load(Ordering::SeqCst) == WANTED
    }

    /// Everything that was sent is committed.
    pub(super) fn done(&self) {
        self.0.store(IDLE, Ordering::SeqCst);
    }

    /// Nothing more will be committed.
    pub(super) fn end(&self) {
        self.0.store(ENDED, Ordering::SeqCst);
    }
}

/// Sends the inputs of a back-fill, one after the other.
pub(super) struct Feeder<'a> {
    pub(super) job: &'a Job,
    pub(super) catalog: Catalog,
    pub(super) entrance: Entrance,
    pub(super) settle: &'a Settle,
    /// The first lines of the inputs that were sent, as leaves.
    pub(super) begun: BTreeSet<String>,
}

impl Feeder<'_> {
    /// Sends what is not yet kept of an input.
    ///
    /// # Errors
    /// When it cannot be read to its end; what was read is sent.
    pub(super) fn feed(&mut self, input: &Input) -> Result<(), InputError> {
        let name = input.name();
        let spooled;
        let path: &Path = match input {
            Input::File(path) if std::fs::metadata(path).is_ok_and(|it| it.is_file()) => path,
            once => {
                spooled = spool(self.catalog.dir(), once)?;
                &spooled.0
            }
        };
        let Some(mut located) = self.place(&name, path)? else { return Ok(()) };
        if !self.begun.insert(located.first.clone()) {
            // An input of this run began with the same line, and may be the same one under
            // another name: that is known only once its lines are committed.
            self.settle.wait();
            located = self.place(&name, path)?.unwrap_or(located);
        }
        self.job.progress.known.fetch_add(located.offset, Ordering::Relaxed);
        Ok(self.send(located, &name, path)?)
    }

    /// Where the input goes on; `None`: it has no line.
    fn place(&self, name: &str, path: &Path) -> Result<Option<Located>, InputError> {
        let named = Named {
            cluster: &self.job.cluster,
            name,
            line_bytes_max: self.job.line_bytes_max,
            growing: false,
            documents: true,
        };
        let find =
            |stream: &mut dyn Read| locate(&self.catalog, &named, stream, self.job.clock.now());
        let reopen = || open(&Input::File(path.to_owned()));
        match find(&mut reopen()?.bytes) {
            // A damaged end of a compressed file: what stands before it is still to be kept.
            Err(error @ ResumeError::Read { .. }) => {
                match find(&mut UntilError(reopen()?.bytes))? {
                    Some(located) => Ok(Some(located)),
                    None => Err(error.into()),
                }
            }
            result => Ok(result?),
        }
    }

    fn send(&self, located: Located, name: &str, path: &Path) -> Result<(), OpenError> {
        let failed = |source| OpenError { name: name.to_owned(), doing: "read to its end", source };
        let mut stream = open_at(path, located.offset)?;
        let mut chunker =
            Chunker::at(located.offset, self.job.line_bytes_max).with_documents(located.documents);
        let of = Arc::new(Stream {
            source: located.source,
            cluster: Arc::clone(&self.job.cluster),
            name: name.into(),
            start: located.offset,
            chain: located.chain,
        });
        let Progress { read, nul, .. } = &*self.job.progress;
        let mut end = located.offset;
        let mut put = |chunk: Chunk| {
            read.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            nul.fetch_add(chunk.nul_runs().map(|it| it.1 as u64).sum(), Ordering::Relaxed);
            end = chunk.end();
            self.entrance.put(&of, chunk)
        };
        pump(&mut stream.bytes, &mut chunker, &self.job.stop, &mut put).map_err(failed)?;
        if !self.job.stop.asked() && end > located.offset {
            // Where it ended is remembered for ever: a longer copy goes on there.
            self.entrance.end(&of, end);
        }
        Ok(())
    }
}

/// A stream that ends where it would fail.
pub(super) struct UntilError(pub(super) Box<dyn Read + Send>);

impl Read for UntilError {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read(buffer).unwrap_or(0))
    }
}

/// A copy of a stream that goes when it is dropped.
struct Spooled(PathBuf);

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
        Input::Stdin => Box::new(io::stdin().lock()),
    };
    let spooled = Spooled(dir.join("parts").join("stdin.tmp"));
    let mut file = std::fs::File::create(&spooled.0).map_err(failed)?;
    io::copy(&mut stream, &mut file).map_err(failed)?;
    Ok(spooled)
}
