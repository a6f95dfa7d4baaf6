//! A file source of the daemon: follows one path from where it is kept.

use std::path::Path;
use std::sync::Arc;

use super::lanes::{Entrance, Stream};
use super::resume::{Named, ResumeError, locate};
use super::stop::Stop;
use crate::archive::catalog::Catalog;
use crate::clock::Clock;
use crate::source::tail::{Step, Tail};

/// One path to follow.
#[derive(Debug, Clone)]
pub struct Source {
    /// The cluster it is of.
    pub cluster: Arc<str>,
    /// The file.
    pub path: std::path::PathBuf,
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

/// Follows the path until asked to stop or the pipeline has ended. Failures of the file are
/// reported and tried again for ever: a source never gives up on its own.
pub fn follow(
    source: &Source,
    catalog: &Catalog,
    clock: &dyn Clock,
    entrance: &Entrance,
    observer: &dyn Observer,
    stop: &Stop,
) {
    let mut tail = Tail::new(&source.path, source.line_bytes_max);
    let mut stream: Option<Arc<Stream>> = None;
    let mut failing = false;
    while !stop.asked() {
        match advance(source, catalog, clock, &mut tail, &mut stream, entrance) {
            Ok(Advance::Went) => {}
            Ok(Advance::Closed) => return,
            Ok(Advance::Waits) => {
                if std::mem::take(&mut failing) {
                    observer.state(source, None);
                }
                observer.lag(source, tail.lag());
                tail.wait();
            }
            Err(error) => {
                let words = full(&error);
                tracing::error!(path = %source.path.display(), error = words, "the source cannot be read; trying again");
                observer.state(source, Some(&words));
                failing = true;
                tail.reopen();
                stream = None;
                tail.wait();
            }
        }
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

fn advance(
    source: &Source,
    catalog: &Catalog,
    clock: &dyn Clock,
    tail: &mut Tail,
    stream: &mut Option<Arc<Stream>>,
    entrance: &Entrance,
) -> Result<Advance, ResumeError> {
    let failed = |it| ResumeError::Read { name: source.path.display().to_string(), source: it };
    let (of, chunk) = match tail.step().map_err(failed)? {
        Step::Idle => return Ok(Advance::Waits),
        Step::Opened => {
            *stream = place(source, catalog, clock, tail)?;
            return Ok(if stream.is_some() { Advance::Went } else { Advance::Waits });
        }
        Step::Chunk(chunk) => (stream.clone(), Some(chunk)),
        Step::Ended(rest) => (stream.take(), rest),
    };
    let (Some(of), Some(chunk)) = (of, chunk) else { return Ok(Advance::Went) };
    Ok(if entrance.put(&of, chunk) { Advance::Went } else { Advance::Closed })
}

/// Finds where the open file goes on. `None`: it has no whole line yet.
fn place(
    source: &Source,
    catalog: &Catalog,
    clock: &dyn Clock,
    tail: &mut Tail,
) -> Result<Option<Arc<Stream>>, ResumeError> {
    let name = name(&source.path);
    let failed = |it| ResumeError::Read { name: name.to_string(), source: it };
    let mut file = tail.from_start().map_err(failed)?;
    let named = Named {
        cluster: &source.cluster,
        name: &name,
        line_bytes_max: source.line_bytes_max,
        growing: true,
    };
    let Some(located) = locate(catalog, &named, &mut file, clock.now())? else {
        // It may be replaced before it has a line: look at the path again next time.
        tail.reopen();
        return Ok(None);
    };
    tail.place(located.offset).map_err(failed)?;
    let cluster = Arc::clone(&source.cluster);
    Ok(Some(Arc::new(Stream { source: located.source, cluster, name, chain: located.chain })))
}

fn name(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}
