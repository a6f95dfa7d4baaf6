//! A file source of the daemon: follows one path from where it is kept.

use std::path::PathBuf;
use std::sync::Arc;

use super::lanes::{Entrance, Stream};
use super::resume::{Located, Named, ResumeError, locate};
use super::stop::Stop;
use crate::archive::catalog::Catalog;
use crate::clock::Clock;
use crate::source::tail::{Step, Tail};

/// One path to follow.
#[derive(Debug, Clone)]
pub struct Source {
    /// The cluster it is of.
    pub cluster: Arc<str>,
    /// Its name in findings and metrics.
    pub name: Arc<str>,
    /// The file.
    pub path: PathBuf,
    /// The longest line that is decoded.
    pub line_bytes_max: usize,
}

/// What the daemon is told of a source.
pub trait Observer: Send + Sync {
    /// How many bytes the file holds that were not yet read.
    fn lag(&self, source: &Source, bytes: u64);
    /// The source works again, or does not.
    fn state(&self, source: &Source, failure: Option<&str>);
}

/// Follows one path into the pipeline.
pub struct Follower<'a> {
    /// The path.
    pub source: &'a Source,
    /// Says where a file goes on.
    pub catalog: Catalog,
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Where chunks go.
    pub entrance: Entrance,
    /// Whom to tell.
    pub observer: &'a dyn Observer,
    /// Ends it.
    pub stop: &'a Stop,
}

impl Follower<'_> {
    /// Follows the path until asked to stop or the pipeline has ended. Failures of the file are
    /// reported and tried again for ever: a source never gives up on its own.
    pub fn follow(&self) {
        let source = self.source;
        let mut tail = Tail::new(&source.path, source.line_bytes_max);
        let mut stream: Option<Arc<Stream>> = None;
        let mut failing = true;
        while !self.stop.asked() {
            match self.advance(&mut tail, &mut stream) {
                Ok(Advance::Went) => {}
                Ok(Advance::Closed) => return,
                Ok(Advance::Waits) => {
                    if std::mem::take(&mut failing) {
                        self.observer.state(source, None);
                    }
                    self.observer.lag(source, tail.lag());
                    tail.wait();
                }
                Err(error) => {
                    let words = full(&error);
                    tracing::error!(path = %source.path.display(), error = words, "the source cannot be read; trying again");
                    self.observer.state(source, Some(&words));
                    failing = true;
                    tail.reopen();
                    stream = None;
                    tail.wait();
                }
            }
        }
    }

    fn advance(
        &self,
        tail: &mut Tail,
        stream: &mut Option<Arc<Stream>>,
    ) -> Result<Advance, ResumeError> {
        let (of, chunk) = match tail.step().map_err(|it| self.failed(it))? {
            Step::Idle => return Ok(Advance::Waits),
            Step::Opened => {
                *stream = self.place(tail)?;
                return Ok(if stream.is_some() { Advance::Went } else { Advance::Waits });
            }
            Step::Chunk(chunk) => (stream.clone(), chunk),
            Step::Ended(end) => {
                let of = stream.take();
                let open = of.is_none_or(|of| self.entrance.end(&of, end));
                return Ok(if open { Advance::Went } else { Advance::Closed });
            }
        };
        let open = of.is_none_or(|of| self.entrance.put(&of, chunk));
        Ok(if open { Advance::Went } else { Advance::Closed })
    }

    /// Finds where the open file goes on. `None`: it has no whole line yet.
    fn place(&self, tail: &mut Tail) -> Result<Option<Arc<Stream>>, ResumeError> {
        let source = self.source;
        let mut file = tail.from_start().map_err(|it| self.failed(it))?;
        let named = Named {
            cluster: &source.cluster,
            name: &source.name,
            line_bytes_max: source.line_bytes_max,
            growing: true,
        };
        let Some(located) = locate(&self.catalog, &named, &mut file, self.clock.now())? else {
            // It may be replaced before it has a line: look at the path again next time.
            tail.reopen();
            return Ok(None);
        };
        tail.place(located.offset).map_err(|it| self.failed(it))?;
        let (cluster, name) = (Arc::clone(&source.cluster), Arc::clone(&source.name));
        let Located { source, offset: start, chain, .. } = located;
        Ok(Some(Arc::new(Stream { source, cluster, name, start, chain })))
    }

    fn failed(&self, error: std::io::Error) -> ResumeError {
        ResumeError::Read { name: self.source.path.display().to_string(), source: error }
    }
}

/// An error with its causes, in one line.
fn full(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

enum Advance {
    Went,
    Waits,
    Closed,
}
