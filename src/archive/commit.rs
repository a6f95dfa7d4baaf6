//! What was read, found and half counted -> one transaction of the catalog.
//!
//! One rule: the files it names are synced before it begins, and whoever waits for "kept" is told
//! after it has ended.

use rusqlite::{Transaction, params};

use super::catalog::{Catalog, CatalogError, lasting, signed};
use super::outbox::{self, FindingRow};
use super::stored::{Boundary, StoredFile};
use super::windows::{self, WindowChanges};

/// Only the newest position within so many bytes of a source is kept: a tail commits every second,
/// and a copy that was cut short is still known up to its last multiple of this.
const POSITIONS_BYTES_MIN: i64 = 16 << 20;

/// A part that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPart {
    /// The file, synced.
    pub file: StoredFile,
    /// Its events' leaves, 32 bytes each, in the order of `seq`; dropped when it is sealed.
    pub leaves: Vec<u8>,
    /// How far which sources had been read, as JSON.
    pub sources: String,
}

/// What one transaction records.
#[derive(Debug, Default)]
pub struct Commit {
    /// Parts that are synced on disk.
    pub parts: Vec<NewPart>,
    /// How far each source is now kept.
    pub positions: Vec<(i64, Boundary)>,
    /// What was found.
    pub findings: Vec<FindingRow>,
    /// What became of the windows of correlations.
    pub windows: WindowChanges,
    /// Marked lines by cluster and reason.
    pub marked: Vec<(String, &'static str, u64)>,
    /// The next event's place.
    pub next_seq: i64,
    /// The time of the commit, µs.
    pub now: i64,
}

impl Catalog {
    /// Records a commit, whole or not at all.
    ///
    /// # Errors
    /// When SQLite refuses; then nothing is recorded.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), CatalogError> {
        let failed = self.failed("written");
        let mut write = || -> Result<(), rusqlite::Error> {
            let tx =
                self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            for part in &commit.parts {
                insert_part(&tx, part)?;
            }
            for (source, boundary) in &commit.positions {
                tx.prepare_cached(
                    "DELETE FROM positions
                     WHERE source = ?1 AND end < ?2 AND end / ?3 = ?2 / ?3 AND lasting = 0",
                )?
                .execute(params![
                    source,
                    signed(boundary.end),
                    POSITIONS_BYTES_MIN
                ])?;
                tx.prepare_cached(
                    "INSERT INTO positions VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET lasting = max(lasting, excluded.lasting)",
                )?
                .execute(params![
                    source,
                    signed(boundary.end),
                    boundary.digest,
                    boundary.lasting
                ])?;
            }
            for (source, _) in &commit.positions {
                tx.prepare_cached("INSERT OR REPLACE INTO kept VALUES (?1, ?2)")?
                    .execute([*source, commit.now])?;
            }
            outbox::insert(&tx, &commit.findings, commit.now)?;
            windows::write(&tx, &commit.windows, commit.now)?;
            for (cluster, reason, lines) in &commit.marked {
                tx.prepare_cached(
                    "INSERT INTO marked VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET lines = lines + excluded.lines",
                )?
                .execute(params![cluster, reason, signed(*lines)])?;
            }
            tx.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('next_seq', ?1)")?
                .execute([commit.next_seq.to_string()])?;
            lasting("a commit is recorded", || tx.commit())
        };
        write().map_err(failed)
    }
}

fn insert_part(tx: &Transaction<'_>, part: &NewPart) -> Result<(), rusqlite::Error> {
    let file = &part.file;
    tx.prepare_cached("INSERT INTO parts VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)")?
        .execute(params![
            file.id,
            file.cluster,
            file.date,
            signed(file.rows),
            signed(file.bytes_in),
            signed(file.bytes_stored),
            file.seq_first,
            file.seq_last,
            file.time_first,
            file.time_last,
            file.created,
            file.sha256,
            part.sources,
            part.leaves
        ])
        .map(drop)
}
