//! Opening an archive to write: the lock, the folders, and what a crash left behind.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::catalog::{Catalog, CatalogError};
use super::index;
use super::ledger::{Ledger, LedgerError};
use crate::durable::{self, DurableError};

/// The folders of an archive.
const FOLDERS: [&str; 5] = ["parts", "segments", "ledger", "rulesets", index::FOLDER];

/// Why an archive could not be opened to write.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("another kustos is writing the archive {0}: stop it, or give it the files")]
    Locked(PathBuf),
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The ledger refused.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The disk refused.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A folder could not be read.
    #[error("{path} could not be read")]
    Io {
        /// The folder.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: io::Error,
    },
}

/// An archive that this process, and no other, writes.
#[derive(Debug)]
pub struct Archive {
    /// Its folder.
    pub dir: PathBuf,
    /// Its index.
    pub catalog: Catalog,
    /// Its ledger.
    pub ledger: Ledger,
    /// Held as long as the archive is open; the system gives it back when the process ends.
    _lock: File,
}

impl Archive {
    /// Opens the archive at `dir`, makes it if there is none, and removes what a crash left.
    ///
    /// # Errors
    /// When another process writes it, or the disk or the catalog refuses.
    pub fn open(dir: &Path) -> Result<Archive, OpenError> {
        for folder in FOLDERS {
            durable::create_dir_all(&dir.join(folder))?;
        }
        let lock = lock(dir)?;
        let catalog = Catalog::create(dir)?;
        remove_left_overs(dir, &catalog)?;
        let ledger = Ledger::open(dir)?;
        ledger.write_out(&catalog)?;
        Ok(Archive { dir: dir.to_owned(), catalog, ledger, _lock: lock })
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let failed = |source| OpenError::Io { path: path.clone(), source };
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Removes the files that the catalog does not name: the commit they belonged to never ended,
/// so their sources will be read again. Of what else is kept, only what was not finished goes.
fn remove_left_overs(dir: &Path, catalog: &Catalog) -> Result<(), OpenError> {
    let mut named: BTreeSet<PathBuf> = catalog.parts()?.into_iter().map(|it| it.path).collect();
    named.extend(
        catalog.segments()?.into_iter().filter(|it| it.expired.is_none()).map(|it| it.file.path),
    );
    named.extend(catalog.run_files()?);
    let mut there = Vec::new();
    for folder in FOLDERS {
        there.extend(files_below(&dir.join(folder))?);
    }
    for file in there {
        let ours = matches!(
            file.extension().and_then(OsStr::to_str),
            Some("parquet" | "tmp" | index::ENDING)
        );
        if ours && !named.contains(&file) {
            tracing::info!(file = %file.display(), "removed the left-over of an unfinished commit");
            durable::remove(&file)?;
        }
    }
    Ok(())
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}
