//! The daemon's pipeline: every source followed, every chunk committed within its time.

use std::path::PathBuf;
use std::sync::Arc;

use super::archivist::{Archivist, ArchivistError, Committed};
use super::in_force::InForce;
use super::intake::{Intake, Observer, Source, SourceName};
use super::lanes::{self, Entrance, Received, Width};
use super::quiet::Quiet;
use super::silence::{Expected, Silence};
use super::stall::{Insistence, Stall};
use super::stop::{Stop, guarded};
use super::worker::{Found, Output, Taken, Worker};
use crate::archive::catalog::{Catalog, CatalogError};
use crate::clock::Clock;

/// What the daemon runs.
pub struct Daemon {
    /// The archive's folder.
    pub dir: PathBuf,
    /// Where lines come from.
    pub sources: Vec<Box<dyn Source>>,
    /// What is to be told when nothing comes.
    pub expected: Vec<Expected>,
    /// The rules. They may be exchanged while it runs.
    pub rules: InForce,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How many threads.
    pub width: Width,
    /// Ends it.
    pub stop: Stop,
}

/// What the daemon tells of its work. Calls come from the thread that commits: they are short.
pub trait Watcher: Observer {
    /// A chunk was taken; its findings, if any, are recorded and can be sent.
    fn taken(&self, taken: &Taken);
    /// Something was found because nothing came; it is recorded and can be sent.
    fn found(&self, found: &[Found]);
    /// A commit ended.
    fn committed(&self, committed: &Committed);
    /// A source has fallen silent, or is heard again.
    fn silent(&self, source: &SourceName, silent: bool);
    /// The archive cannot be written, and why; or it can be again.
    fn stalled(&self, why: Option<&str>);
}

/// Why the daemon ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The archive could not be written, and that will not pass; or it was asked to stop meanwhile.
    #[error(transparent)]
    Archivist(#[from] ArchivistError),
    /// The catalog could not be opened for the sources.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Runs until asked to stop, then commits what was read. An archive that cannot be written at the moment, as on
/// a full disk, is waited for.
///
/// # Errors
/// When the archive cannot be written for good, or not at the stop. What was told "kept" is kept, and the next
/// start goes on there.
pub fn run(
    daemon: &Daemon,
    archivist: &mut Archivist,
    watcher: &dyn Watcher,
) -> Result<(), DaemonError> {
    let catalogs: Vec<Catalog> =
        daemon.sources.iter().map(|_| Catalog::open(&daemon.dir)).collect::<Result<_, _>>()?;
    let quiet = Quiet::new(&daemon.sources, watcher);
    let stall = Stall::default();
    let enter = |entrance: Entrance| {
        std::thread::scope(|scope| {
            for (source, catalog) in daemon.sources.iter().zip(catalogs) {
                let entrance = entrance.clone();
                let (clock, stop, stall) = (&*daemon.clock, &daemon.stop, &stall);
                let intake = Intake { catalog, clock, entrance, observer: &quiet, stop, stall };
                scope.spawn(guarded("source", move || source.run(intake)));
            }
        });
    };
    let make = || {
        let mut worker = Worker::storing(Arc::clone(&daemon.clock));
        move |job: lanes::Job| worker.work(job)
    };
    let result = lanes::run(daemon.width, &daemon.rules, enter, make, |exit| {
        let insistence =
            Insistence { clock: &*daemon.clock, stop: &daemon.stop, stall: &stall, watcher };
        let result = commit_all(daemon, exit, (archivist, &insistence), &quiet);
        if result.is_err() {
            archivist.lose();
        }
        // Whatever ended it, the sources must not go on reading into nothing.
        daemon.stop.ask();
        result
    });
    Ok(result?)
}

fn commit_all(
    daemon: &Daemon,
    exit: &mut lanes::Exit<Output>,
    (archivist, insistence): (&mut Archivist, &Insistence<'_>),
    quiet: &Quiet<'_>,
) -> Result<(), ArchivistError> {
    let watcher = quiet.watcher();
    let tell = |committed: Option<Committed>| {
        if let Some(committed) = committed {
            watcher.committed(&committed);
        }
    };
    // Before the first chunk: what is still missing may be missed while nothing comes.
    tell(archivist.judge_by(&daemon.rules.rules())?);
    let mut silence = Silence::new(&daemon.expected, daemon.clock.elapsed());
    loop {
        match exit.next(archivist.patience()) {
            Received::Done(Output::Trouble(trouble, rules)) => {
                tell(insistence.until(archivist, |it| it.make_way(&rules, None))?);
                tell(archivist.judge_by(&rules)?);
                watcher.found(&archivist.report(&trouble)?);
            }
            Received::Done(Output::Done(done)) => {
                let (stream, now) = (&done.stream, daemon.clock.elapsed());
                quiet.heard(&stream.cluster, now);
                if done.counts.rows > 0 {
                    silence.heard(&stream.cluster, &stream.name, now, watcher);
                }
                let counts = Some(&done.counts);
                tell(insistence.until(archivist, |it| it.make_way(&done.rules, counts))?);
                let took = archivist.take(*done)?;
                tell(took.committed);
                watcher.taken(&took.taken);
            }
            Received::Idle => {
                if let Some(rules) = exit.drained_to() {
                    tell(insistence.until(archivist, |it| it.make_way(&rules, None))?);
                    tell(archivist.judge_by(&rules)?);
                    for cluster in quiet.silent(daemon.clock.elapsed()) {
                        let found = archivist.pass(&cluster, Quiet::known(daemon.clock.now()))?;
                        if !found.is_empty() {
                            watcher.found(&found);
                        }
                    }
                }
            }
            Received::End => {
                tell(Some(insistence.until(archivist, Archivist::commit)?));
                archivist.finish_sealing()?;
                return Ok(());
            }
        }
        silence.tell(archivist, &*daemon.clock, watcher)?;
        tell(insistence.until(archivist, Archivist::tick)?);
    }
}
