//! The daemon's pipeline: every source followed, every chunk committed within its time.

use std::path::PathBuf;
use std::sync::Arc;

use super::archivist::{Archivist, ArchivistError, Committed};
use super::in_force::InForce;
use super::lanes::{self, Entrance, Received, Width};
use super::stop::{Stop, guarded};
use super::tail::{Follower, Observer, Source};
use super::worker::{Done, Taken, Worker};
use crate::archive::catalog::{Catalog, CatalogError};
use crate::clock::Clock;

/// What the daemon runs.
pub struct Daemon {
    /// The archive's folder.
    pub dir: PathBuf,
    /// What is followed.
    pub sources: Vec<Source>,
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
    /// A commit ended.
    fn committed(&self, committed: &Committed);
}

/// Why the daemon ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The archive could not be written.
    #[error(transparent)]
    Archivist(#[from] ArchivistError),
    /// The catalog could not be opened for the sources.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Runs until asked to stop, then commits what was read.
///
/// # Errors
/// When the archive cannot be written. What was told "kept" is kept, and the next start goes on there.
pub fn run(
    daemon: &Daemon,
    archivist: &mut Archivist,
    watcher: &dyn Watcher,
) -> Result<(), DaemonError> {
    let catalogs: Vec<Catalog> =
        daemon.sources.iter().map(|_| Catalog::open(&daemon.dir)).collect::<Result<_, _>>()?;
    let enter = |entrance: Entrance| {
        std::thread::scope(|scope| {
            for (source, catalog) in daemon.sources.iter().zip(catalogs) {
                let entrance = entrance.clone();
                let (clock, stop) = (&*daemon.clock, &daemon.stop);
                let follower =
                    Follower { source, catalog, clock, entrance, observer: watcher, stop };
                scope.spawn(guarded("source", move || follower.follow()));
            }
        });
    };
    let make = || {
        let mut worker = Worker::storing(Arc::clone(&daemon.clock));
        move |job: lanes::Job| worker.work(&job)
    };
    let result = lanes::run(daemon.width, &daemon.rules, enter, make, |exit| {
        let result = commit_all(exit, archivist, watcher);
        // Whatever ended it, the sources must not go on reading into nothing.
        daemon.stop.ask();
        result
    });
    Ok(result?)
}

fn commit_all(
    exit: &mut lanes::Exit<Done>,
    archivist: &mut Archivist,
    watcher: &dyn Watcher,
) -> Result<(), ArchivistError> {
    let tell = |committed: Option<Committed>| {
        if let Some(committed) = committed {
            watcher.committed(&committed);
        }
    };
    loop {
        match exit.next(archivist.patience()) {
            Received::Done(done) => {
                let taken = done.taken();
                tell(archivist.take(done)?);
                watcher.taken(&taken);
            }
            Received::Idle => {}
            Received::End => {
                tell(Some(archivist.commit()?));
                return Ok(());
            }
        }
        tell(archivist.tick()?);
    }
}
