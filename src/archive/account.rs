//! What the catalog can tell of where events came from: how far each source is kept, and what was wrong with it.

use rusqlite::params;

use super::catalog::{Catalog, CatalogError, unsigned};

/// A source and how far it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSource {
    /// Its cluster.
    pub cluster: String,
    /// The name a person knows it by.
    pub name: String,
    /// The position after the last that is kept: bytes of a log, records of a partition or a webhook.
    pub position: u64,
    /// When the last commit moved it, µs; `None`: before that was recorded.
    pub kept: Option<i64>,
}

/// Findings of one kind that kustos itself made: of gaps and of what threatens to become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Troubles {
    /// The kind.
    pub rule: String,
    /// What it is, in a line.
    pub title: String,
    /// The cluster; empty where it concerns all.
    pub cluster: String,
    /// How many there are.
    pub findings: u64,
    /// The time of the newest.
    pub newest: Option<String>,
}

impl Catalog {
    /// Every source that has something kept, the one that moved last first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn kept_sources(&self) -> Result<Vec<KeptSource>, CatalogError> {
        let sql = "SELECT cluster, name, max(end), kept.at FROM sources JOIN positions ON positions.source = sources.id
                   LEFT JOIN kept ON kept.source = sources.id GROUP BY sources.id ORDER BY kept.at DESC, sources.id DESC";
        // An archive that an older kustos wrote gets the table when it is next written to.
        let bare = "SELECT cluster, name, max(end), NULL FROM sources JOIN positions ON positions.source = sources.id
                    GROUP BY sources.id ORDER BY sources.id DESC";
        let read = || -> Result<Vec<KeptSource>, rusqlite::Error> {
            let known = "SELECT count(*) FROM sqlite_master WHERE name = 'kept'";
            let known = self.conn.query_row(known, [], |row| row.get::<_, i64>(0))? > 0;
            let sql = if known { sql } else { bare };
            let row = |row: &rusqlite::Row<'_>| {
                let (cluster, name) = (row.get(0)?, row.get(1)?);
                Ok(KeptSource { cluster, name, position: unsigned(row.get(2)?), kept: row.get(3)? })
            };
            self.conn.prepare(sql)?.query_map(params![], row)?.collect()
        };
        read().map_err(self.failed("read"))
    }

    /// What kustos itself found wrong, by kind and cluster.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn troubles(&self) -> Result<Vec<Troubles>, CatalogError> {
        let sql = "SELECT rule, max(title), cluster, count(*), max(time) FROM findings
                   WHERE rule >= 'kustos-' AND rule < 'kustos.' AND json_extract(body, '$.rule.dialect') = 'kustos'
                   GROUP BY rule, cluster ORDER BY rule, cluster";
        let read = || -> Result<Vec<Troubles>, rusqlite::Error> {
            let row = |row: &rusqlite::Row<'_>| {
                let (rule, title, cluster) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let (findings, newest) = (unsigned(row.get(3)?), row.get(4)?);
                Ok(Troubles { rule, title, cluster, findings, newest })
            };
            self.conn.prepare(sql)?.query_map(params![], row)?.collect()
        };
        read().map_err(self.failed("read"))
    }
}
