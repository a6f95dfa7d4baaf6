//! An archive that cannot be written -> a pipeline that waits, says so, and goes on by itself.
//!
//! One rule: while it waits nothing is told "kept" and nothing is taken, so that lanes fill, sources stop and
//! senders are asked to come again. What was taken stays in memory, and the same commit is tried again.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::archivist::{Archivist, ArchivistError};
use super::daemon::Watcher;
use super::stop::Stop;
use crate::cause;
use crate::clock::Clock;
use crate::detect::Trouble;
use crate::detect::trouble::kind;

/// How long after the first failure it is tried again; each time twice as long, up to the other.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a pause lasts before it looks whether it was asked to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the archive cannot be written at the moment. Cheap to clone; all clones say the same.
#[derive(Debug, Clone, Default)]
pub struct Stall(Arc<AtomicBool>);

impl Stall {
    /// Whether it is so.
    pub fn lasts(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn set(&self, lasts: bool) {
        self.0.store(lasts, Ordering::SeqCst);
    }
}

/// Whether a failure may pass without anybody starting the program anew: the disk is full or refuses, another
/// process holds the catalog. What the catalog says is wrong with it, and what only a bug brings about, does not.
pub(super) fn passes(error: &(dyn Error + 'static)) -> bool {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, ReadOnly,
        SystemIoFailure,
    };
    let mut causes = Some(error);
    std::iter::from_fn(|| {
        let it = causes?;
        causes = it.source();
        Some(it)
    })
    .any(|it| {
        let catalog = it.downcast_ref::<rusqlite::Error>().and_then(|it| it.sqlite_error_code());
        let passing = matches!(
            catalog,
            Some(
                CannotOpen
                    | DatabaseBusy
                    | DatabaseLocked
                    | DiskFull
                    | FileLockingProtocolFailed
                    | ReadOnly
                    | SystemIoFailure
            )
        );
        passing || it.is::<io::Error>()
    })
}

/// What an attempt needs that may have to be repeated.
pub(super) struct Insistence<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) stop: &'a Stop,
    pub(super) stall: &'a Stall,
    /// Told why the archive cannot be written, and when it can be again.
    pub(super) watcher: &'a dyn Watcher,
}

impl Insistence<'_> {
    /// Does that until it succeeds, fails for good, or the daemon is asked to stop.
    ///
    /// # Errors
    /// The last failure. Nothing that was told "kept" is lost by it.
    pub(super) fn until<T>(
        &self,
        archivist: &mut Archivist,
        mut act: impl FnMut(&mut Archivist) -> Result<T, ArchivistError>,
    ) -> Result<T, ArchivistError> {
        let (mut pause, mut since) = (PAUSE.0, None);
        loop {
            let error = match act(archivist) {
                Ok(done) => {
                    if let Some((since, micros)) = since {
                        self.resume(archivist, since, micros)?;
                    }
                    return Ok(done);
                }
                Err(error) if self.stop.asked() || !passes(&error) => return Err(error),
                Err(error) => cause::line(&error),
            };
            if since.is_none() {
                since = Some((self.clock.elapsed(), self.clock.now()));
                self.begin(archivist, &error)?;
            } else {
                tracing::warn!(error, "the archive still cannot be written; trying again");
            }
            self.wait(pause);
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn begin(&self, archivist: &mut Archivist, error: &str) -> Result<(), ArchivistError> {
        self.stall.set(true);
        tracing::error!(
            error,
            "the archive cannot be written: nothing is acknowledged until it can; trying again"
        );
        self.watcher.stalled(Some(error));
        let detail = format!(
            "the archive cannot be written: {error}; nothing is acknowledged until it can, sources wait and senders are put off"
        );
        // Sent at once if the catalog still has room, else with the first commit that succeeds.
        self.report(archivist, "kustos-archive-stalled", self.clock.now(), detail)
    }

    fn resume(
        &self,
        archivist: &mut Archivist,
        since: Duration,
        micros: i64,
    ) -> Result<(), ArchivistError> {
        let seconds = self.clock.elapsed().saturating_sub(since).as_secs();
        self.stall.set(false);
        tracing::info!(seconds, "the archive can be written again");
        self.watcher.stalled(None);
        let detail = format!(
            "the archive can be written again after {seconds} s; an API server that could not deliver for so long may have dropped events"
        );
        self.report(archivist, "kustos-archive-resumed", micros, detail)
    }

    fn report(
        &self,
        archivist: &mut Archivist,
        id: &str,
        key: i64,
        detail: String,
    ) -> Result<(), ArchivistError> {
        let trouble = Trouble {
            kind: kind(id),
            cluster: String::new(),
            source: "archive".to_owned(),
            position: 0,
            time: self.clock.now(),
            detail,
            key: key.to_be_bytes().to_vec(),
        };
        self.watcher.found(&archivist.report(&trouble)?);
        Ok(())
    }

    fn wait(&self, pause: Duration) {
        let until = self.clock.elapsed() + pause;
        while !self.stop.asked() && self.clock.elapsed() < until {
            std::thread::sleep(LOOK.min(pause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::DurableError;

    #[test]
    fn a_full_disk_passes_and_a_broken_catalog_does_not() {
        let disk = DurableError {
            doing: "written",
            path: "part".into(),
            source: io::Error::from(io::ErrorKind::StorageFull),
        };
        assert!(passes(&ArchivistError::from(crate::archive::part::PartError::from(disk))));
        let catalog = |code| {
            let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let path = "catalog.sqlite".into();
            ArchivistError::from(crate::archive::catalog::CatalogError::Sqlite {
                doing: "written",
                path,
                source,
            })
        };
        assert!(passes(&catalog(rusqlite::ffi::SQLITE_FULL)));
        assert!(passes(&catalog(rusqlite::ffi::SQLITE_IOERR)));
        assert!(!passes(&catalog(rusqlite::ffi::SQLITE_CORRUPT)));
        assert!(!passes(&catalog(rusqlite::ffi::SQLITE_CONSTRAINT)));
    }
}
