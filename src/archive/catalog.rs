//! The index of an archive: which parts and segments there are, how far each source is
//! kept, and what was found. SQLite, WAL, `synchronous=FULL`.
//!
//! One rule: a [`Commit`](super::commit::Commit) is one transaction. What it names is durable
//! before it begins, and counts once it has ended.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::index::Wanted;
use super::stored::{self, Boundary, StoredFile};
use crate::durable;

/// How long one writer waits for another before it gives up.
const BUSY_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Pages of the catalog that a connection may hold. A commit of many findings that has no room writes its pages twice.
const CACHE_KIB: u32 = 8 << 10;

/// The version of the tables below; another one is refused.
const FORMAT: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
  id TEXT PRIMARY KEY, cluster TEXT NOT NULL, date TEXT NOT NULL, rows INTEGER NOT NULL,
  bytes_in INTEGER NOT NULL, bytes_stored INTEGER NOT NULL, seq_first INTEGER NOT NULL, seq_last INTEGER NOT NULL,
  time_first INTEGER, time_last INTEGER, created INTEGER NOT NULL, sha256 TEXT NOT NULL, sources TEXT NOT NULL,
  leaves BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segments (
  id TEXT PRIMARY KEY, cluster TEXT NOT NULL, date TEXT NOT NULL, rows INTEGER NOT NULL,
  bytes_in INTEGER NOT NULL, bytes_stored INTEGER NOT NULL, seq_first INTEGER NOT NULL, seq_last INTEGER NOT NULL,
  time_first INTEGER, time_last INTEGER, sealed INTEGER NOT NULL, sha256 TEXT NOT NULL, event_root TEXT NOT NULL,
  manifest TEXT NOT NULL, ledger_index INTEGER NOT NULL, retain_until INTEGER NOT NULL, expired INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS segments_by_time ON segments (time_first, time_last);
CREATE INDEX IF NOT EXISTS segments_by_place ON segments (ledger_index);
CREATE TABLE IF NOT EXISTS runs (
  first INTEGER PRIMARY KEY, last INTEGER NOT NULL, level INTEGER NOT NULL, name TEXT NOT NULL UNIQUE,
  entries INTEGER NOT NULL, bytes INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS sources (
  id INTEGER PRIMARY KEY, cluster TEXT NOT NULL, first_line TEXT NOT NULL, name TEXT NOT NULL, seen INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS sources_by_line ON sources (cluster, first_line);
CREATE TABLE IF NOT EXISTS positions (
  source INTEGER NOT NULL REFERENCES sources(id), end INTEGER NOT NULL, digest TEXT NOT NULL, lasting INTEGER NOT NULL,
  PRIMARY KEY (source, end)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (source INTEGER PRIMARY KEY, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS hints (
  cluster TEXT NOT NULL, log TEXT NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL, bytes INTEGER NOT NULL,
  changed INTEGER NOT NULL, first_line TEXT NOT NULL, source INTEGER NOT NULL REFERENCES sources(id), end INTEGER NOT NULL,
  PRIMARY KEY (cluster, log, device, inode)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS findings (
  id TEXT PRIMARY KEY, rule TEXT NOT NULL, title TEXT NOT NULL, level TEXT NOT NULL, cluster TEXT NOT NULL,
  time TEXT, created INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS outbox (
  place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sink TEXT NOT NULL, finding TEXT NOT NULL REFERENCES findings(id), created INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending', attempts INTEGER NOT NULL DEFAULT 0, due INTEGER NOT NULL, error TEXT
);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (sink, due, place) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS marked (
  cluster TEXT NOT NULL, reason TEXT NOT NULL, lines INTEGER NOT NULL, PRIMARY KEY (cluster, reason)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (leaf_index INTEGER PRIMARY KEY, kind TEXT NOT NULL, entry TEXT NOT NULL, leaf TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS correlations (id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, seeded INTEGER);
CREATE TABLE IF NOT EXISTS windows (
  correlation INTEGER NOT NULL REFERENCES correlations(id), key BLOB NOT NULL, state BLOB NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY (correlation, key)
) WITHOUT ROWID;
";

/// Why the catalog could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// SQLite refused; the archive's disk or file is the cause.
    #[error("the catalog {path} could not be {doing}")]
    Sqlite {
        /// What was being done, as a participle.
        doing: &'static str,
        /// The catalog's file.
        path: PathBuf,
        /// SQLite's own words.
        #[source]
        source: rusqlite::Error,
    },
    /// There is no archive at that place.
    #[error(
        "{0} is no archive: it has no catalog.sqlite (`kustos ingest --archive DIR FILE` makes one)"
    )]
    Missing(PathBuf),
    /// Replicas share the folder, and each has an archive of its own in it.
    #[error("{dir} is shared by replicas: name the archive of one of them, such as {one}")]
    Shared {
        /// The folder.
        dir: PathBuf,
        /// One of the archives.
        one: PathBuf,
    },
    /// A newer kustos wrote it.
    #[error("the catalog {path} has format {found}; this version reads format {FORMAT}")]
    Format {
        /// The catalog's file.
        path: PathBuf,
        /// The format it says it has.
        found: String,
    },
}

/// A sealed file and what the ledger says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// The file.
    pub file: StoredFile,
    /// Merkle root over its events' leaves in `seq` order, hex.
    pub event_root: String,
    /// The manifest whose hash is the ledger's leaf.
    pub manifest: String,
    /// The leaf's place in the ledger.
    pub ledger_index: u64,
    /// Not to be removed before this time, µs.
    pub retain_until: i64,
    /// When it was removed, if it was.
    pub expired: Option<i64>,
}

/// Which files a question can concern. The default concerns all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only events at or after this stage time, µs.
    pub since: Option<i64>,
    /// Only events before this stage time, µs.
    pub until: Option<i64>,
    /// Only this cluster.
    pub cluster: Option<String>,
    /// Only segments that may hold this, as far as the index knows.
    pub wanted: Option<Wanted>,
}

/// A stream of lines the archive has seen: one file under all its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// The catalog's number for it.
    pub id: i64,
    /// Everything kept of it, oldest first.
    pub boundaries: Vec<Boundary>,
}

/// Every place in the ledger.
pub(super) const EVERY_PLACE: (u64, u64) = (0, i64::MAX as u64);

/// An open catalog. One per thread: SQLite orders the writers.
#[derive(Debug)]
pub struct Catalog {
    pub(super) conn: Connection,
    dir: PathBuf,
}

impl Catalog {
    /// Opens the catalog of the archive at `dir`, and makes it if there is none.
    ///
    /// # Errors
    /// When SQLite refuses, or the format is unknown.
    pub fn create(dir: &Path) -> Result<Catalog, CatalogError> {
        let catalog = Catalog::connect(dir, OpenFlags::SQLITE_OPEN_CREATE)?;
        let failed = catalog.failed("made");
        let tables = format!("PRAGMA journal_mode=WAL; {TABLES}");
        lasting("tables are made", || catalog.conn.execute_batch(&tables)).map_err(&failed)?;
        let sql = "INSERT OR IGNORE INTO meta VALUES ('format', ?1)";
        lasting("the format is recorded", || catalog.conn.execute(sql, [FORMAT.to_string()]))
            .map_err(failed)?;
        catalog.check_format()?;
        Ok(catalog)
    }

    /// Opens the catalog of an archive that is there, and writes nothing by itself.
    ///
    /// # Errors
    /// When there is none, SQLite refuses, or the format is unknown.
    pub fn open(dir: &Path) -> Result<Catalog, CatalogError> {
        if !stored::is_archive(dir) {
            return Err(match stored::replicas(dir).unwrap_or_default().into_iter().next() {
                Some(one) => CatalogError::Shared { dir: dir.to_owned(), one },
                None => CatalogError::Missing(dir.to_owned()),
            });
        }
        let catalog = Catalog::connect(dir, OpenFlags::empty())?;
        catalog.check_format()?;
        Ok(catalog)
    }

    fn connect(dir: &Path, more: OpenFlags) -> Result<Catalog, CatalogError> {
        let path = dir.join("catalog.sqlite");
        let failed = |source| CatalogError::Sqlite { doing: "opened", path: path.clone(), source };
        // SQLite itself falls back to reading where the file may not be written.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        let conn = Connection::open_with_flags(&path, flags).map_err(failed)?;
        conn.busy_timeout(BUSY_WAIT).map_err(failed)?;
        let settings = format!(
            "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-{CACHE_KIB};"
        );
        conn.execute_batch(&settings).map_err(failed)?;
        Ok(Catalog { conn, dir: dir.to_owned() })
    }

    /// The archive's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn failed(
        &self,
        doing: &'static str,
    ) -> impl Fn(rusqlite::Error) -> CatalogError + use<> {
        let path = self.dir.join("catalog.sqlite");
        move |source| CatalogError::Sqlite { doing, path: path.clone(), source }
    }

    fn check_format(&self) -> Result<(), CatalogError> {
        let found = self.meta("format")?.unwrap_or_default();
        if found == FORMAT.to_string() {
            return Ok(());
        }
        Err(CatalogError::Format { path: self.dir.join("catalog.sqlite"), found })
    }

    /// A named value.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn meta(&self, key: &str) -> Result<Option<String>, CatalogError> {
        self.conn
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(self.failed("read"))
    }

    /// Sets a named value.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), CatalogError> {
        let sql = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
        lasting("a named value is recorded", || self.conn.execute(sql, [key, value]))
            .map(drop)
            .map_err(self.failed("written"))
    }

    /// The place the next event gets.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn next_seq(&self) -> Result<i64, CatalogError> {
        Ok(self.meta("next_seq")?.and_then(|it| it.parse().ok()).unwrap_or(0))
    }

    /// The source of that cluster whose first line has that hash, one row for each that differs later.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn sources(&self, cluster: &str, first_line: &str) -> Result<Vec<SourceRow>, CatalogError> {
        let read = || -> Result<Vec<SourceRow>, rusqlite::Error> {
            let mut ids = self.conn.prepare(
                "SELECT id FROM sources WHERE cluster = ?1 AND first_line = ?2 ORDER BY id",
            )?;
            let mut ends = self.conn.prepare(
                "SELECT end, digest, lasting FROM positions WHERE source = ?1 ORDER BY end",
            )?;
            let ids: Vec<i64> = ids
                .query_map([cluster, first_line], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            ids.into_iter()
                .map(|id| {
                    let boundaries = ends
                        .query_map([id], |row| {
                            let end = unsigned(row.get(0)?);
                            Ok(Boundary { end, digest: row.get(1)?, lasting: row.get(2)? })
                        })?
                        .collect::<Result<_, _>>()?;
                    Ok(SourceRow { id, boundaries })
                })
                .collect()
        };
        read().map_err(self.failed("read"))
    }

    /// How far a source is kept.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn kept_to(&self, source: i64) -> Result<u64, CatalogError> {
        self.conn
            .prepare_cached("SELECT coalesce(max(end), 0) FROM positions WHERE source = ?1")
            .and_then(|mut it| it.query_row([source], |row| row.get(0)))
            .map(unsigned)
            .map_err(self.failed("read"))
    }

    /// The newest stream whose name begins so and of which something is kept, and up to where;
    /// zeros where there is none.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn last_kept(&self, cluster: &str, name: &str) -> Result<(u64, u64), CatalogError> {
        self.conn
            .query_row(
                "SELECT source, max(end) FROM positions WHERE source =
                   (SELECT max(sources.id) FROM sources JOIN positions ON source = sources.id
                    WHERE cluster = ?1 AND substr(name, 1, length(?2)) = ?2)",
                [cluster, name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map(|(id, end): (Option<i64>, Option<i64>)| {
                (unsigned(id.unwrap_or(0)), unsigned(end.unwrap_or(0)))
            })
            .map_err(self.failed("read"))
    }

    /// Makes a source known, and gives its number.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn add_source(
        &self,
        cluster: &str,
        first_line: &str,
        name: &str,
        now: i64,
    ) -> Result<i64, CatalogError> {
        let sql = "INSERT INTO sources (cluster, first_line, name, seen) VALUES (?1, ?2, ?3, ?4)";
        let row = params![cluster, first_line, name, now];
        lasting("a source is made known", || self.conn.execute(sql, row))
            .map_err(self.failed("written"))?;
        Ok(self.conn.last_insert_rowid())
    }

    /// The parts that are not yet in a segment, in the order of their events.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn parts(&self) -> Result<Vec<StoredFile>, CatalogError> {
        let sql = "SELECT id, cluster, date, rows, bytes_in, bytes_stored, seq_first, seq_last, time_first, time_last,
                   created, sha256 FROM parts ORDER BY seq_first, id";
        let read = || -> Result<Vec<StoredFile>, rusqlite::Error> {
            self.conn.prepare(sql)?.query_map([], |row| part_row(&self.dir, row))?.collect()
        };
        read().map_err(self.failed("read"))
    }

    /// The leaves and the sources of a part, as they were recorded.
    ///
    /// # Errors
    /// When SQLite refuses or there is no such part.
    pub fn part_proof(&self, part: &str) -> Result<(Vec<u8>, String), CatalogError> {
        self.conn
            .query_row("SELECT leaves, sources FROM parts WHERE id = ?1", [part], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(self.failed("read"))
    }

    /// Every segment, also those that have expired, in the order of the ledger.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn segments(&self) -> Result<Vec<SegmentRow>, CatalogError> {
        let sql = "SELECT id, cluster, date, rows, bytes_in, bytes_stored, seq_first, seq_last, time_first, time_last,
                   sealed, sha256, event_root, manifest, ledger_index, retain_until, expired
                   FROM segments ORDER BY ledger_index";
        let read = || -> Result<Vec<SegmentRow>, rusqlite::Error> {
            self.conn.prepare(sql)?.query_map([], |row| segment_row(&self.dir, row))?.collect()
        };
        read().map_err(self.failed("read"))
    }

    /// The files that can hold an event of that scope, newest events first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn files(&self, scope: &Scope) -> Result<Vec<StoredFile>, CatalogError> {
        if let Some(wanted) = &scope.wanted {
            return self.files_with(scope, wanted);
        }
        // Both lists are of one moment, so that an event that is being merged is in one of them.
        let snapshot = self.conn.unchecked_transaction().map_err(self.failed("read"))?;
        let mut files = self.parts_in(scope)?;
        files.extend(self.segments_in(scope, EVERY_PLACE)?.into_iter().map(|it| it.1));
        drop(snapshot);
        files.sort_by_key(|it| Reverse((it.time_last, it.seq_first)));
        Ok(files)
    }

    /// The parts of that scope, whatever is wanted.
    pub(super) fn parts_in(&self, scope: &Scope) -> Result<Vec<StoredFile>, CatalogError> {
        // A file whose events have no time is in every scope of time: leaving it out would hide it.
        let sql = "SELECT id, cluster, date, rows, bytes_in, bytes_stored, seq_first, seq_last, time_first, time_last,
                   created, sha256 FROM parts
                   WHERE (?1 IS NULL OR time_last IS NULL OR time_last >= ?1)
                     AND (?2 IS NULL OR time_first IS NULL OR time_first < ?2) AND (?3 IS NULL OR cluster = ?3)";
        let read = || -> Result<Vec<StoredFile>, rusqlite::Error> {
            self.conn
                .prepare_cached(sql)?
                .query_map(params![scope.since, scope.until, scope.cluster], |row| {
                    part_row(&self.dir, row)
                })?
                .collect()
        };
        read().map_err(self.failed("read"))
    }

    /// The segments of that scope that have not expired and whose places in the ledger are between these, both
    /// included; each after its place.
    pub(super) fn segments_in(
        &self,
        scope: &Scope,
        (first, last): (u64, u64),
    ) -> Result<Vec<(u64, StoredFile)>, CatalogError> {
        // All of them are read in the order in which they stand, which is a hundred times faster a row than to look
        // each up.
        let place = if (first, last) == EVERY_PLACE { "+ledger_index" } else { "ledger_index" };
        let sql = format!(
            "SELECT id, cluster, date, rows, bytes_in, bytes_stored, seq_first, seq_last, time_first, time_last,
             sealed, sha256, ledger_index FROM segments
             WHERE expired IS NULL AND {place} BETWEEN ?4 AND ?5
               AND (?1 IS NULL OR time_last IS NULL OR time_last >= ?1)
               AND (?2 IS NULL OR time_first IS NULL OR time_first < ?2) AND (?3 IS NULL OR cluster = ?3)"
        );
        let places = (signed(first), signed(last));
        let read = || -> Result<Vec<(u64, StoredFile)>, rusqlite::Error> {
            let of = params![scope.since, scope.until, scope.cluster, places.0, places.1];
            self.conn
                .prepare_cached(&sql)?
                .query_map(of, |row| {
                    let mut file = part_row(&self.dir, row)?;
                    file.path =
                        stored::segment_path(&self.dir, &file.cluster, &file.date, &file.id);
                    Ok((unsigned(row.get(12)?), file))
                })?
                .collect()
        };
        read().map_err(self.failed("read"))
    }

    /// Marked lines by cluster and reason.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn marked(&self) -> Result<Vec<(String, String, u64)>, CatalogError> {
        let read = || -> Result<Vec<(String, String, u64)>, rusqlite::Error> {
            self.conn
                .prepare("SELECT cluster, reason, lines FROM marked ORDER BY cluster, reason")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, unsigned(row.get(2)?))))?
                .collect()
        };
        read().map_err(self.failed("read"))
    }
}

pub(super) fn part_row(dir: &Path, row: &rusqlite::Row<'_>) -> Result<StoredFile, rusqlite::Error> {
    let id: String = row.get(0)?;
    Ok(StoredFile {
        path: stored::part_path(dir, &id),
        id,
        cluster: row.get(1)?,
        date: row.get(2)?,
        rows: unsigned(row.get(3)?),
        bytes_in: unsigned(row.get(4)?),
        bytes_stored: unsigned(row.get(5)?),
        seq_first: row.get(6)?,
        seq_last: row.get(7)?,
        time_first: row.get(8)?,
        time_last: row.get(9)?,
        created: row.get(10)?,
        sha256: row.get(11)?,
    })
}

fn segment_row(dir: &Path, row: &rusqlite::Row<'_>) -> Result<SegmentRow, rusqlite::Error> {
    let mut file = part_row(dir, row)?;
    file.path = stored::segment_path(dir, &file.cluster, &file.date, &file.id);
    Ok(SegmentRow {
        file,
        event_root: row.get(12)?,
        manifest: row.get(13)?,
        ledger_index: unsigned(row.get(14)?),
        retain_until: row.get(15)?,
        expired: row.get(16)?,
    })
}

/// A write of SQLite's that lasts once it has ended; `act` is one statement, or the end of a transaction.
pub(super) fn lasting<T>(
    name: &'static str,
    act: impl FnOnce() -> Result<T, rusqlite::Error>,
) -> Result<T, rusqlite::Error> {
    let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    durable::step(name, || rusqlite::Error::SqliteFailure(full, None), act)
}

/// SQLite's integers are signed; no count here reaches 2^63.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The inverse of [`signed`].
pub(super) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
