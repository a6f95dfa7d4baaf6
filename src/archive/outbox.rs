//! The outbox: which finding is still to be sent to which sink. Its rows are written with the
//! finding and settled one by one, so a message is sent at least once, always under one id.

use rusqlite::{Transaction, params};

use super::catalog::{Catalog, CatalogError, lasting, signed};

/// A finding as the catalog keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingRow {
    /// Hash of the rule and the event: the same after every replay.
    pub id: String,
    /// The rule's id.
    pub rule: String,
    /// The rule's title.
    pub title: String,
    /// The rule's level.
    pub level: String,
    /// The event's cluster.
    pub cluster: String,
    /// The event's stage time, RFC 3339.
    pub time: Option<String>,
    /// The finding as `kustos detect` prints it.
    pub body: String,
    /// The sinks it is to be sent to.
    pub sinks: Vec<String>,
}

impl FindingRow {
    /// Bytes of memory that it takes until it is recorded: the commit has a copy of it.
    pub fn bytes_held(&self) -> u64 {
        let texts = [&self.id, &self.rule, &self.title, &self.level, &self.cluster, &self.body];
        let length = |it: &String| size_of::<String>() + it.len();
        let held =
            texts.into_iter().chain(&self.time).chain(&self.sinks).map(length).sum::<usize>();
        2 * held as u64
    }
}

/// A finding that is to be sent to one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The message's id: the finding's and the sink's. It survives retries and restarts.
    pub id: String,
    /// The finding's id.
    pub finding: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The level of the finding's rule.
    pub level: String,
    /// The finding as `kustos detect` prints it.
    pub body: String,
}

/// How one try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it.
    Sent,
    /// Again at that time, µs.
    Retry {
        /// When to try again, µs.
        due: i64,
        /// What the destination said.
        error: String,
    },
    /// Never: it is kept as a dead letter.
    Dead {
        /// What the destination said.
        error: String,
    },
}

/// How many messages of the outbox are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Still to be sent.
    pub pending: u64,
    /// Sent.
    pub sent: u64,
    /// Refused for good.
    pub dead: u64,
}

pub(super) fn insert(
    tx: &Transaction<'_>,
    findings: &[FindingRow],
    now: i64,
) -> Result<(), rusqlite::Error> {
    // A replayed chunk finds the same ids: both statements then change nothing.
    let mut finding =
        tx.prepare_cached("INSERT OR IGNORE INTO findings VALUES (?1,?2,?3,?4,?5,?6,?7,?8)")?;
    let mut message = tx.prepare_cached(
        "INSERT OR IGNORE INTO outbox (id, sink, finding, created, due) VALUES (?1,?2,?3,?4,?4)",
    )?;
    for it in findings {
        finding.execute(params![
            it.id, it.rule, it.title, it.level, it.cluster, it.time, now, it.body
        ])?;
        for sink in &it.sinks {
            message.execute(params![format!("{}.{sink}", it.id), sink, it.id, now])?;
        }
    }
    Ok(())
}

impl Catalog {
    /// Records findings ahead of the part that holds their events, so that they can be sent at once.
    ///
    /// # Errors
    /// When SQLite refuses; then none is recorded.
    pub fn add_findings(&mut self, findings: &[FindingRow], now: i64) -> Result<(), CatalogError> {
        let failed = self.failed("written");
        let mut write = || -> Result<(), rusqlite::Error> {
            let tx =
                self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            insert(&tx, findings, now)?;
            lasting("findings are recorded", || tx.commit())
        };
        write().map_err(failed)
    }

    /// The messages of one sink that are due, oldest first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn due(&self, sink: &str, now: i64, limit: u32) -> Result<Vec<Pending>, CatalogError> {
        let sql = "SELECT outbox.id, finding, attempts, level, body FROM outbox JOIN findings ON findings.id = finding
                   WHERE sink = ?1 AND state = 'pending' AND due <= ?2 ORDER BY due, place LIMIT ?3";
        let read = || -> Result<Vec<Pending>, rusqlite::Error> {
            self.conn
                .prepare_cached(sql)?
                .query_map(params![sink, now, limit], |row| {
                    Ok(Pending {
                        id: row.get(0)?,
                        finding: row.get(1)?,
                        attempts: row.get(2)?,
                        level: row.get(3)?,
                        body: row.get(4)?,
                    })
                })?
                .collect()
        };
        read().map_err(self.failed("read"))
    }

    /// Records how tries ended.
    ///
    /// # Errors
    /// When SQLite refuses; then the messages are tried again under the same ids.
    pub fn settle(&mut self, outcomes: &[(String, Outcome)]) -> Result<(), CatalogError> {
        let failed = self.failed("written");
        let mut write = || -> Result<(), rusqlite::Error> {
            let tx =
                self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            for (id, outcome) in outcomes {
                let (state, due, error) = match outcome {
                    Outcome::Sent => ("sent", None, None),
                    Outcome::Retry { due, error } => ("pending", Some(due), Some(error)),
                    Outcome::Dead { error } => ("dead", None, Some(error)),
                };
                tx.prepare_cached(
                    "UPDATE outbox SET state = ?2, due = coalesce(?3, due), error = ?4, attempts = attempts + 1
                     WHERE id = ?1 AND state = 'pending'",
                )?
                .execute(params![id, state, due, error])?;
            }
            lasting("deliveries are recorded", || tx.commit())
        };
        write().map_err(failed)
    }

    /// How many messages are in each state.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn outbox_counts(&self) -> Result<Counts, CatalogError> {
        let sql = "SELECT coalesce(sum(state = 'pending'), 0), coalesce(sum(state = 'sent'), 0),
                   coalesce(sum(state = 'dead'), 0) FROM outbox";
        self.conn
            .query_row(sql, [], |row| {
                let count = |at| row.get::<_, i64>(at).map(super::catalog::unsigned);
                Ok(Counts { pending: count(0)?, sent: count(1)?, dead: count(2)? })
            })
            .map_err(self.failed("read"))
    }

    /// The newest findings, newest first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn findings(&self, limit: u64) -> Result<Vec<FindingRow>, CatalogError> {
        let sql = "SELECT id, rule, title, level, cluster, time, body FROM findings ORDER BY time DESC, id LIMIT ?1";
        let read = || -> Result<Vec<FindingRow>, rusqlite::Error> {
            self.conn
                .prepare(sql)?
                .query_map([signed(limit)], |row| {
                    Ok(FindingRow {
                        id: row.get(0)?,
                        rule: row.get(1)?,
                        title: row.get(2)?,
                        level: row.get(3)?,
                        cluster: row.get(4)?,
                        time: row.get(5)?,
                        body: row.get(6)?,
                        sinks: Vec::new(),
                    })
                })?
                .collect()
        };
        read().map_err(self.failed("read"))
    }
}
