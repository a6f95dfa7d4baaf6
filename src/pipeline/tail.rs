//! A file source of the daemon: follows one path from where it is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::feed::pump;
use super::intake::{Intake, Source, SourceName};
use super::lanes::Stream;
use super::resume::{Located, Named, ResumeError, locate};
use crate::cause;
use crate::source::chunk::Chunker;
use crate::source::open::{Input, OpenError, open, open_at};
use crate::source::rotated::{Rotated, rotated};
use crate::source::tail::{Step, Tail};
use crate::source::{self, Chunk};

/// One path to follow.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// What it is called.
    pub name: SourceName,
    /// The file.
    pub path: PathBuf,
    /// The longest line that is decoded.
    pub line_bytes_max: usize,
}

impl Source for FileSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn run(&self, intake: Intake<'_>) {
        Follower { source: self, intake }.follow();
    }
}

/// Follows one path into the pipeline.
struct Follower<'a> {
    source: &'a FileSource,
    intake: Intake<'a>,
}

/// What a follower knows while it follows.
struct State {
    tail: Tail,
    /// The open file's stream.
    stream: Option<Arc<Stream>>,
    /// How far each source was sent: it may not be committed yet.
    sent: BTreeMap<i64, u64>,
    /// Rotated files that were sent, by their names without `.gz`.
    rotated: BTreeSet<String>,
    /// Whether there may be rotated files that were not.
    behind: bool,
}

/// How long a source sleeps between two looks whether its lines are committed.
const LOOK: Duration = Duration::from_millis(10);

impl Follower<'_> {
    fn follow(&self) {
        let source = self.source;
        let mut state = State {
            tail: Tail::new(&source.path, source.line_bytes_max),
            stream: None,
            sent: BTreeMap::new(),
            rotated: BTreeSet::new(),
            behind: true,
        };
        let mut failing = true;
        while !self.intake.stop.asked() {
            match self.advance(&mut state) {
                Ok(Advance::Went) => {}
                Ok(Advance::Closed) => return,
                Ok(Advance::Waits) => {
                    if std::mem::take(&mut failing) {
                        self.intake.observer.state(&source.name, None);
                    }
                    self.intake.observer.lag(&source.name, state.tail.lag());
                    state.tail.wait();
                }
                Err(error) => {
                    let words = cause::line(&error);
                    tracing::error!(path = %source.path.display(), error = words, "the source cannot be read; trying again");
                    self.intake.observer.state(&source.name, Some(&words));
                    failing = true;
                    state.tail.reopen();
                    state.stream = None;
                    state.tail.wait();
                }
            }
        }
    }

    fn advance(&self, state: &mut State) -> Result<Advance, ResumeError> {
        if state.behind && !state.tail.is_open() {
            return self.catch_up(state);
        }
        let open = match state.tail.step().map_err(|it| self.failed(it))? {
            Step::Idle => return Ok(Advance::Waits),
            Step::Opened => {
                state.stream = self.place(state)?;
                return Ok(if state.stream.is_some() { Advance::Went } else { Advance::Waits });
            }
            Step::Chunk(chunk) => {
                let of = state.stream.clone();
                of.is_none_or(|of| self.put(&mut state.sent, &of, chunk))
            }
            Step::Ended(end) => {
                let (known, of) = (self.name_of_open(&state.tail), state.stream.take());
                state.rotated.extend(known);
                state.tail.reopen();
                state.behind = true;
                of.is_none_or(|of| self.intake.entrance.end(&of, end))
            }
        };
        Ok(if open { Advance::Went } else { Advance::Closed })
    }

    fn put(&self, sent: &mut BTreeMap<i64, u64>, of: &Arc<Stream>, chunk: Chunk) -> bool {
        sent.insert(of.source, chunk.end());
        self.intake.entrance.put(of, chunk)
    }

    /// What the open file is called since it was rotated, if it still lies there.
    fn name_of_open(&self, tail: &Tail) -> Option<String> {
        let rotated = rotated(&self.source.path).unwrap_or_default();
        rotated.into_iter().find(|it| tail.has_open(&it.path)).map(|it| it.stem)
    }

    /// Sends what was rotated away unread: while the daemon was down, or twice between two looks.
    fn catch_up(&self, state: &mut State) -> Result<Advance, ResumeError> {
        state.behind = false;
        let mut all = match rotated(&self.source.path) {
            Ok(all) => all,
            // A folder that is not there yet holds nothing to catch up with.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(self.failed(error)),
        };
        state.rotated.retain(|known| all.iter().any(|it| it.stem == *known));
        all.retain(|it| !state.rotated.contains(&it.stem));
        for Rotated { stem, path } in all {
            match self.send_whole(state, &path) {
                Ok(Advance::Closed) => return Ok(Advance::Closed),
                Ok(_) => drop(state.rotated.insert(stem)),
                // Half written, or deleted meanwhile: looked at again after the next rotation.
                Err(error) => {
                    tracing::warn!(path = %path.display(), error = cause::line(&error), "a rotated file was not read to its end")
                }
            }
        }
        Ok(Advance::Went)
    }

    /// Sends what is not yet kept of a file that does not grow any more.
    fn send_whole(&self, state: &mut State, path: &Path) -> Result<Advance, ResumeError> {
        let input = Input::File(path.to_owned());
        let opened = |result: Result<source::open::Stream, OpenError>| {
            result.map(|it| it.bytes).map_err(|it| self.failed(it.source))
        };
        let Some(located) = self.locate(state, false, || opened(open(&input)))? else {
            return Ok(Advance::Went);
        };
        let mut bytes = opened(open_at(path, located.offset))?;
        let mut chunker = Chunker::at(located.offset, self.source.line_bytes_max);
        let (of, mut end) = (self.stream(located), None);
        let mut put = |chunk: Chunk| {
            end = Some(chunk.end());
            self.put(&mut state.sent, &of, chunk)
        };
        pump(&mut bytes, &mut chunker, self.intake.stop, &mut put).map_err(|it| self.failed(it))?;
        let open =
            end.is_none_or(|end| self.intake.stop.asked() || self.intake.entrance.end(&of, end));
        Ok(if open { Advance::Went } else { Advance::Closed })
    }

    /// Finds where the open file goes on. `None`: it has no whole line yet.
    fn place(&self, state: &mut State) -> Result<Option<Arc<Stream>>, ResumeError> {
        let file = || state.tail.from_start().map(|it| Box::new(it) as Box<dyn Read + Send>);
        let Some(located) = self.locate(state, true, || file().map_err(|it| self.failed(it)))?
        else {
            // It may be replaced before it has a line: look at the path again next time.
            state.tail.reopen();
            return Ok(None);
        };
        state.tail.place(located.offset).map_err(|it| self.failed(it))?;
        Ok(Some(self.stream(located)))
    }

    fn stream(&self, located: Located) -> Arc<Stream> {
        let SourceName { cluster, name } = self.source.name.clone();
        let Located { source, offset: start, chain, .. } = located;
        Arc::new(Stream { source, cluster, name, start, chain })
    }

    fn locate(
        &self,
        state: &State,
        growing: bool,
        begin: impl Fn() -> Result<Box<dyn Read + Send>, ResumeError>,
    ) -> Result<Option<Located>, ResumeError> {
        let named = Named {
            cluster: &self.source.name.cluster,
            name: &self.source.name.name,
            line_bytes_max: self.source.line_bytes_max,
            growing,
        };
        let find = || locate(&self.intake.catalog, &named, &mut *begin()?, self.intake.clock.now());
        let Some(found) = find()? else { return Ok(None) };
        match state.sent.get(&found.source) {
            Some(sent) if found.offset < *sent => {
                // More of this source was sent than is committed: to go on from what is committed
                // now would send that twice.
                self.wait_until_kept(found.source, *sent)?;
                find()
            }
            _ => Ok(Some(found)),
        }
    }

    fn wait_until_kept(&self, source: i64, end: u64) -> Result<(), ResumeError> {
        while !self.intake.stop.asked() && self.intake.catalog.kept_to(source)? < end {
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> ResumeError {
        ResumeError::Read { name: self.source.path.display().to_string(), source: error }
    }
}

enum Advance {
    Went,
    Waits,
    Closed,
}
