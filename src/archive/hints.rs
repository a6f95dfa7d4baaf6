//! Rotated files that were read to their end -> hints that spare the next start to read them again.
//!
//! One rule: a hint is no position. It is written after the commit that keeps the last line of its file,
//! and where none fits a file, its content says what it is.

use rusqlite::params;

use super::catalog::{Catalog, CatalogError, lasting, signed, unsigned};
use crate::source::place::{Place, Stamp};

/// A file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// What the file system said of it when its end had been read.
    pub stamp: Stamp,
    /// The leaf of its first line, hex.
    pub first: String,
    /// The stream that it is.
    pub source: i64,
    /// Its uncompressed bytes.
    pub end: u64,
}

impl Catalog {
    /// The files of a log that need not be read again. One of which not everything is kept is not among them.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn hints(&self, cluster: &str, log: &str) -> Result<Vec<Hint>, CatalogError> {
        let sql = "SELECT device, inode, bytes, changed, first_line, source, end FROM hints
                   WHERE cluster = ?1 AND log = ?2
                     AND end <= (SELECT coalesce(max(end), 0) FROM positions WHERE source = hints.source)";
        let read = || -> Result<Vec<Hint>, rusqlite::Error> {
            self.conn.prepare(sql)?.query_map([cluster, log], hint)?.collect()
        };
        read().map_err(self.failed("read"))
    }

    /// Puts these hints in the place of a log's.
    ///
    /// # Errors
    /// When SQLite refuses; then nothing is changed.
    pub fn set_hints(&self, cluster: &str, log: &str, hints: &[Hint]) -> Result<(), CatalogError> {
        let write = || -> Result<(), rusqlite::Error> {
            let tx = self.conn.unchecked_transaction()?;
            tx.execute("DELETE FROM hints WHERE cluster = ?1 AND log = ?2", [cluster, log])?;
            let sql = "INSERT OR REPLACE INTO hints VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            for Hint { stamp: Stamp { place, changed }, first, source, end } in hints {
                // Numbers of a file are not counted with: one with the highest bit set is as good as any.
                let (device, inode) = (place.device.cast_signed(), place.inode.cast_signed());
                tx.prepare_cached(sql)?.execute(params![
                    cluster,
                    log,
                    device,
                    inode,
                    signed(place.bytes),
                    changed,
                    first,
                    source,
                    signed(*end)
                ])?;
            }
            lasting("hints are recorded", || tx.commit())
        };
        write().map_err(self.failed("written"))
    }
}

fn hint(row: &rusqlite::Row<'_>) -> Result<Hint, rusqlite::Error> {
    let number = |at: usize| row.get(at).map(i64::cast_unsigned);
    let place = Place { device: number(0)?, inode: number(1)?, bytes: unsigned(row.get(2)?) };
    Ok(Hint {
        stamp: Stamp { place, changed: row.get(3)? },
        first: row.get(4)?,
        source: row.get(5)?,
        end: unsigned(row.get(6)?),
    })
}
