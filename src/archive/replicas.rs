//! Replicas that share a folder: each has its own archive in it, and each event is in one of them.
//!
//! One rule: a stream is read only by whoever holds its lock, from the moment its position is looked up in every
//! replica's catalog until all that was read of it is kept or lost. The system gives the lock of a process that dies
//! back, and not before that process can no longer write.
//!
//! The folder has to be on a file system that all replicas see as one machine does: SQLite's WAL and `flock` are not
//! for network file systems (docs/decisions/014-replicas.md).

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::catalog::{Catalog, CatalogError};
use super::stored::{self, plain_name};
use crate::durable::{self, DurableError};

/// Where the locks are.
const PARTITIONS: &str = "partitions";

/// Why it is not known what the other replicas have.
#[derive(Debug, thiserror::Error)]
pub enum ReplicasError {
    /// A catalog could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A folder could not be made.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The shared folder could not be read.
    #[error("{path} could not be read")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: io::Error,
    },
}

/// Takes the lock of a stream; `None`: another replica has it, or this process itself still does.
/// It is held as long as the file is open.
///
/// # Errors
/// When the lock cannot be made.
pub fn lock(shared: &Path, stream: &str) -> Result<Option<File>, ReplicasError> {
    let dir = shared.join(PARTITIONS);
    durable::create_dir_all(&dir)?;
    let path = dir.join(format!("{}.lock", plain_name(stream)));
    let failed = |source| ReplicasError::Io { path: path.clone(), source };
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Every catalog that may know how far a stream is kept: this process's own, and those of the other
/// replicas. To be asked for while the stream's lock is held.
///
/// # Errors
/// When one cannot be opened.
pub fn catalogs(own: &Catalog, shared: Option<&Path>) -> Result<Vec<Catalog>, ReplicasError> {
    let mut all = vec![Catalog::open(own.dir())?];
    let Some(shared) = shared else { return Ok(all) };
    let failed = |source| ReplicasError::Io { path: shared.to_owned(), source };
    for archive in stored::replicas(shared).map_err(failed)? {
        if archive != own.dir() {
            all.push(Catalog::open(&archive)?);
        }
    }
    Ok(all)
}

/// The archives in folders that somebody names: each folder's own, and those of the replicas that share it. An archive
/// that is named twice is there once; a folder without any is given back, for whoever opens it to say so.
///
/// # Errors
/// When a folder cannot be read.
pub fn archives(named: &[PathBuf]) -> Result<Vec<PathBuf>, ReplicasError> {
    let mut all = Vec::new();
    for dir in named {
        let failed = |source| ReplicasError::Io { path: dir.clone(), source };
        let within = stored::replicas(dir).map_err(failed)?;
        // Whoever came to have replicas has what was kept before beside them.
        if within.is_empty() || stored::is_archive(dir) {
            all.push(dir.clone());
        }
        all.extend(within);
    }
    let mut seen = BTreeSet::new();
    all.retain(|it| seen.insert(it.canonicalize().unwrap_or_else(|_| it.clone())));
    Ok(all)
}

/// How far the furthest of them keeps a stream; `None`: none knows it.
///
/// # Errors
/// When one cannot be read.
pub fn kept_to(
    catalogs: &[Catalog],
    cluster: &str,
    stream: &str,
) -> Result<Option<u64>, CatalogError> {
    let mut furthest = None;
    for catalog in catalogs {
        for source in catalog.sources(cluster, stream)? {
            furthest = furthest.max(source.boundaries.last().map(|it| it.end));
        }
    }
    Ok(furthest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::commit::Commit;
    use crate::archive::stored::Boundary;

    #[test]
    fn the_furthest_position_of_all_replicas_counts() {
        let dir = tempfile::tempdir().unwrap();
        let shared = Some(dir.path());
        let make = |replica: &str, end: u64| {
            let home = stored::replica_path(dir.path(), replica);
            durable::create_dir_all(&home).unwrap();
            let mut catalog = Catalog::create(&home).unwrap();
            let source = catalog.add_source("c", "s", "n", 0).unwrap();
            let at = Boundary { end, digest: String::new(), lasting: false };
            catalog.commit(&Commit { positions: vec![(source, at)], ..Commit::default() }).unwrap();
            catalog
        };
        let own = make("a", 7);
        drop(make("b", 9));
        durable::create_dir_all(&stored::replica_path(dir.path(), "c")).unwrap();
        let all = catalogs(&own, shared).unwrap();
        assert_eq!(all.len(), 2);
        let error = Catalog::open(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("replicas/a"), "{error}");
        assert_eq!(kept_to(&all, "c", "s").unwrap(), Some(9));
        assert_eq!(kept_to(&all, "c", "other").unwrap(), None);
        assert_eq!(kept_to(&catalogs(&own, None).unwrap(), "c", "s").unwrap(), Some(7));
        let named = |dirs: &[&Path]| {
            let dirs: Vec<PathBuf> = dirs.iter().map(|it| it.to_path_buf()).collect();
            let found = archives(&dirs).unwrap();
            let short = |it: PathBuf| it.strip_prefix(dir.path()).unwrap().display().to_string();
            found.into_iter().map(short).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(named(&[dir.path()]), "replicas/a replicas/b");
        let [again, none] = ["replicas/../replicas/b", "none"].map(|it| dir.path().join(it));
        assert_eq!(named(&[&again, &none, dir.path()]), "replicas/../replicas/b none replicas/a");
        drop(Catalog::create(dir.path()).unwrap());
        assert_eq!(named(&[dir.path()]), " replicas/a replicas/b");
    }

    #[test]
    fn a_stream_has_one_reader_until_it_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path(), "kafka:x/audit/0").unwrap();
        assert!(first.is_some());
        assert!(lock(dir.path(), "kafka:x/audit/0").unwrap().is_none());
        assert!(lock(dir.path(), "kafka:x/audit/1").unwrap().is_some());
        drop(first);
        assert!(lock(dir.path(), "kafka:x/audit/0").unwrap().is_some());
    }
}
