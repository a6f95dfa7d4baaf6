//! The state of correlations: windows that are half full when a commit is made.
//!
//! One rule: a window is recorded in the transaction that records the events it has counted, so
//! that a restart neither forgets an event nor counts one twice.

use rusqlite::{Transaction, params};

use super::catalog::{Catalog, CatalogError};

/// One group of one correlation, as the correlator encoded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRow {
    /// The hash of the correlation, with all that it refers to: one that was changed starts anew.
    pub correlation: String,
    /// The group.
    pub key: Vec<u8>,
    /// What it remembers.
    pub state: Vec<u8>,
    /// The time of its newest event, µs.
    pub last: i64,
}

/// What became of the windows since the last commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WindowChanges {
    /// Windows that are new or have changed.
    pub set: Vec<WindowRow>,
    /// Windows that have ended, as correlation and group.
    pub gone: Vec<(String, Vec<u8>)>,
    /// Correlations that have learned from the archive what they need; they do so once.
    pub seeded: Vec<String>,
}

impl WindowChanges {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.gone.is_empty() && self.seeded.is_empty()
    }
}

pub(super) fn write(
    tx: &Transaction<'_>,
    changes: &WindowChanges,
    now: i64,
) -> Result<(), rusqlite::Error> {
    let mut known = tx.prepare_cached("INSERT OR IGNORE INTO correlations (hash) VALUES (?1)")?;
    let mut set = tx.prepare_cached(
        "INSERT OR REPLACE INTO windows SELECT id, ?2, ?3, ?4 FROM correlations WHERE hash = ?1",
    )?;
    let mut last = "";
    for row in &changes.set {
        if row.correlation != last {
            known.execute([&row.correlation])?;
            last = &row.correlation;
        }
        set.execute(params![row.correlation, row.key, row.state, row.last])?;
    }
    let mut remove = tx.prepare_cached(
        "DELETE FROM windows WHERE correlation = (SELECT id FROM correlations WHERE hash = ?1) AND key = ?2",
    )?;
    for (correlation, key) in &changes.gone {
        remove.execute(params![correlation, key])?;
    }
    let mut seeded = tx.prepare_cached("UPDATE correlations SET seeded = ?2 WHERE hash = ?1")?;
    for correlation in &changes.seeded {
        known.execute([correlation])?;
        seeded.execute(params![correlation, now])?;
    }
    Ok(())
}

impl Catalog {
    /// Shows every window to `take`, correlation by correlation, the one that was quiet longest first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn windows(&self, mut take: impl FnMut(WindowRow)) -> Result<(), CatalogError> {
        let sql = "SELECT hash, key, state, last FROM windows JOIN correlations ON id = correlation ORDER BY id, last, key";
        let mut read = || -> Result<(), rusqlite::Error> {
            let mut statement = self.conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                take(WindowRow {
                    correlation: row.get(0)?,
                    key: row.get(1)?,
                    state: row.get(2)?,
                    last: row.get(3)?,
                });
            }
            Ok(())
        };
        read().map_err(self.failed("read"))
    }

    /// The correlations that have learned from the archive what they need.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn seeded(&self) -> Result<Vec<String>, CatalogError> {
        let sql = "SELECT hash FROM correlations WHERE seeded IS NOT NULL ORDER BY hash";
        let read = || -> Result<Vec<String>, rusqlite::Error> {
            self.conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(self.failed("read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::commit::Commit;

    fn row(correlation: &str, key: &[u8], last: i64) -> WindowRow {
        WindowRow {
            correlation: correlation.to_owned(),
            key: key.to_vec(),
            state: vec![1, 0, 255],
            last,
        }
    }

    fn all(catalog: &Catalog) -> Vec<WindowRow> {
        let mut found = Vec::new();
        catalog.windows(|it| found.push(it)).unwrap();
        found
    }

    #[test]
    fn windows_come_back_as_the_last_commit_left_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::create(dir.path()).unwrap();
        let windows = WindowChanges {
            set: vec![row("a", b"2", 20), row("a", b"1", 10), row("b", b"1", 5)],
            seeded: vec!["b".to_owned(), "c".to_owned()],
            ..WindowChanges::default()
        };
        assert!(!windows.is_empty());
        catalog.commit(&Commit { windows, ..Commit::default() }).unwrap();
        assert_eq!(all(&catalog), [row("a", b"1", 10), row("a", b"2", 20), row("b", b"1", 5)]);
        assert_eq!(catalog.seeded().unwrap(), ["b", "c"]);
        let windows = WindowChanges {
            set: vec![row("a", b"1", 30)],
            gone: vec![("b".to_owned(), b"1".to_vec()), ("x".to_owned(), b"1".to_vec())],
            ..WindowChanges::default()
        };
        catalog.commit(&Commit { windows, ..Commit::default() }).unwrap();
        assert_eq!(all(&catalog), [row("a", b"2", 20), row("a", b"1", 30)]);
        assert_eq!(catalog.seeded().unwrap(), ["b", "c"]);
    }
}
