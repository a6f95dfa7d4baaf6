//! The log of what was sealed and what was removed: one leaf each, one signed checkpoint after each.
//!
//! One rule: the catalog's row comes first, in the transaction that changes the archive. The files
//! here are written from it, and again at the next start if a crash came between.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::{SigningKey, VerifyingKey};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, CatalogError, SegmentRow, lasting, signed, unsigned};
use super::index::Made;
use super::stored::StoredFile;
use crate::durable::{self, DurableError};
use crate::hex::{hex, unhex};
use crate::seal::checkpoint::{Checkpoint, NoteError, read_verifier, verifier};
use crate::seal::leaf::{Hash, leaf};
use crate::seal::tree;

/// The name in the checkpoints of an archive that was given none.
const ORIGIN: &str = "kustos";

/// Why the ledger could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The disk refused.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A file could not be read.
    #[error("{path} could not be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: io::Error,
    },
    /// The signing key is damaged.
    #[error("{0} holds no Ed25519 key of 32 bytes in hexadecimal")]
    Key(PathBuf),
    /// The checkpoint is not what the key signed, or there is none.
    #[error("{path} is not the archive's checkpoint")]
    Note {
        /// The checkpoint's file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: NoteError,
    },
}

/// What is hashed into the ledger when a segment is sealed. Its JSON is the leaf's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The form of this manifest.
    pub version: u32,
    /// The segment's name.
    pub id: String,
    /// Its cluster.
    pub cluster: String,
    /// Its UTC date.
    pub date: String,
    /// How many events it holds.
    pub rows: u64,
    /// Bytes of their lines.
    pub bytes_in: u64,
    /// The first event's place.
    pub seq_first: i64,
    /// The last event's place.
    pub seq_last: i64,
    /// The earliest stage time, µs.
    pub time_first: Option<i64>,
    /// The latest stage time, µs.
    pub time_last: Option<i64>,
    /// Merkle root over the events' leaves in `seq` order, hex.
    pub event_root: String,
    /// SHA-256 of the file, hex.
    pub file_sha256: String,
    /// How far which sources had been read, one entry a part.
    pub sources: Vec<serde_json::Value>,
    /// The hash of the rule set in force when it was sealed, if there was one.
    pub ruleset: Option<String>,
    /// Not to be removed before this time, µs.
    pub retain_until: i64,
    /// The leaf of the ledger's entry before this one, hex.
    pub previous: Option<String>,
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `segment` or `expiry`.
    pub kind: String,
    /// The leaf's bytes.
    pub text: String,
    /// The leaf, hex.
    pub leaf: String,
}

/// The ledger's files and its key.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    key: SigningKey,
}

impl Ledger {
    /// Opens the ledger of the archive at `dir`; makes its key if there is none.
    ///
    /// # Errors
    /// When the key cannot be read or written.
    pub fn open(dir: &Path) -> Result<Ledger, LedgerError> {
        let dir = dir.join("ledger");
        for folder in ["leaves", "checkpoints"] {
            durable::create_dir_all(&dir.join(folder))?;
        }
        let path = dir.join("signing-key");
        let key = match fs::read_to_string(&path) {
            Ok(text) => {
                let seed = unhex(text.trim()).ok_or_else(|| LedgerError::Key(path.clone()))?;
                // A crash after the key was made and before it was made private.
                private(&path).map_err(|source| LedgerError::Io { path: path.clone(), source })?;
                SigningKey::from_bytes(&seed)
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => make_key(&path)?,
            Err(source) => return Err(LedgerError::Io { path, source }),
        };
        let ledger = Ledger { dir, key };
        let public = ledger.dir.join("key.pub");
        let line = verifier(ORIGIN, &ledger.key.verifying_key()) + "\n";
        if fs::read_to_string(&public).ok().as_deref() != Some(&line) {
            durable::write(&public, line.as_bytes())?;
        }
        Ok(ledger)
    }

    /// Writes the leaf and checkpoint files that the catalog's entries lack.
    ///
    /// # Errors
    /// When the catalog or the disk refuses.
    pub fn write_out(&self, catalog: &Catalog) -> Result<(), LedgerError> {
        let entries = catalog.ledger()?;
        let written = |size: usize| self.dir.join("checkpoints").join(size.to_string()).is_file();
        let size = entries.len();
        if size == 0 || written(size) {
            return Ok(());
        }
        let missing = (1..size).rev().find(|it| written(*it)).unwrap_or(0);
        for (index, entry) in entries.iter().enumerate().skip(missing) {
            durable::write(
                &self.dir.join("leaves").join(format!("{index}.json")),
                entry.text.as_bytes(),
            )?;
        }
        let size = entries.len();
        if !written(size) {
            let leaves = entries.iter().filter_map(|it| unhex(&it.leaf));
            let checkpoint = Checkpoint {
                origin: ORIGIN.to_owned(),
                size: size as u64,
                root: tree::root(leaves),
            };
            let note = checkpoint.sign(&self.key);
            durable::write(&self.dir.join("checkpoints").join(size.to_string()), note.as_bytes())?;
        }
        Ok(())
    }
}

/// The newest checkpoint of the archive at `dir`, its signature checked with the public key.
///
/// # Errors
/// When a file cannot be read or the signature is wrong.
pub fn newest_checkpoint(dir: &Path, size: usize) -> Result<Checkpoint, LedgerError> {
    let read = |path: PathBuf| {
        fs::read_to_string(&path).map_err(|source| LedgerError::Io { path, source })
    };
    let key = public_key(dir)?;
    let path = dir.join("ledger").join("checkpoints").join(size.to_string());
    let note = read(path.clone())?;
    Checkpoint::open(&note, &key).map_err(|source| LedgerError::Note { path, source })
}

fn public_key(dir: &Path) -> Result<VerifyingKey, LedgerError> {
    let path = dir.join("ledger").join("key.pub");
    let text = fs::read_to_string(&path)
        .map_err(|source| LedgerError::Io { path: path.clone(), source })?;
    read_verifier(&text).map(|(_, key)| key).ok_or(LedgerError::Key(path))
}

#[cfg(unix)]
fn private(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(file)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let permissions = fs::Permissions::from_mode(0o600);
    durable::step_on("a key is made private", || fs::set_permissions(file, permissions))
}

#[cfg(not(unix))]
fn private(_: &Path) -> io::Result<()> {
    Ok(())
}

fn make_key(path: &Path) -> Result<SigningKey, LedgerError> {
    let mut seed: Hash = [0; 32];
    let failed = |source| LedgerError::Io { path: path.to_owned(), source };
    let mut random = fs::File::open("/dev/urandom").map_err(failed)?;
    io::Read::read_exact(&mut random, &mut seed).map_err(failed)?;
    durable::write(path, (hex(&seed) + "\n").as_bytes())?;
    private(path).map_err(failed)?;
    Ok(SigningKey::from_bytes(&seed))
}

impl Catalog {
    /// Every entry of the ledger, oldest first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn ledger(&self) -> Result<Vec<Entry>, CatalogError> {
        let read = || -> Result<Vec<Entry>, rusqlite::Error> {
            self.conn
                .prepare("SELECT kind, entry, leaf FROM ledger ORDER BY leaf_index")?
                .query_map([], |row| {
                    Ok(Entry { kind: row.get(0)?, text: row.get(1)?, leaf: row.get(2)? })
                })?
                .collect()
        };
        read().map_err(self.failed("read"))
    }

    /// How many entries the ledger has, and the newest one's leaf.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn ledger_head(&self) -> Result<(u64, Option<String>), CatalogError> {
        let read = || -> Result<(u64, Option<String>), rusqlite::Error> {
            let count = self
                .conn
                .query_row("SELECT count(*) FROM ledger", [], |row| row.get(0))
                .map(unsigned)?;
            let newest = self
                .conn
                .prepare("SELECT leaf FROM ledger ORDER BY leaf_index DESC LIMIT 1")?
                .query([])?
                .next()?
                .map(|row| row.get(0))
                .transpose()?;
            Ok((count, newest))
        };
        read().map_err(self.failed("read"))
    }

    /// Records a segment in place of its parts, with its entry in the ledger and what the index says of it.
    ///
    /// # Errors
    /// When SQLite refuses; then nothing is recorded.
    pub fn seal(
        &mut self,
        segment: &SegmentRow,
        parts: &[StoredFile],
        runs: &Made,
    ) -> Result<(), CatalogError> {
        let failed = self.failed("written");
        let mut write = || -> Result<(), rusqlite::Error> {
            let tx =
                self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let file = &segment.file;
            tx.execute(
                "INSERT INTO segments VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,NULL)",
                params![
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
                    segment.event_root,
                    segment.manifest,
                    signed(segment.ledger_index),
                    segment.retain_until
                ],
            )?;
            add_entry(&tx, segment.ledger_index, "segment", &segment.manifest)?;
            for part in parts {
                tx.prepare_cached("DELETE FROM parts WHERE id = ?1")?.execute([&part.id])?;
            }
            runs.record(&tx, segment.ledger_index)?;
            lasting("a segment is recorded", || tx.commit())
        };
        write().map_err(failed)
    }

    /// Records that segments are removed, with an entry in the ledger for each; gives the files of the index that
    /// speak of no segment any more.
    ///
    /// # Errors
    /// When SQLite refuses; then nothing is recorded.
    pub fn expire(
        &mut self,
        segments: &[&SegmentRow],
        now: i64,
    ) -> Result<Vec<PathBuf>, CatalogError> {
        let failed = self.failed("written");
        let dir = self.dir().to_owned();
        let mut write = || -> Result<Vec<PathBuf>, rusqlite::Error> {
            let tx =
                self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let next =
                tx.query_row("SELECT count(*) FROM ledger", [], |row| row.get(0)).map(unsigned)?;
            for (index, segment) in (next..).zip(segments) {
                tx.execute(
                    "UPDATE segments SET expired = ?2 WHERE id = ?1",
                    params![segment.file.id, now],
                )?;
                let entry = serde_json::json!({
                    "version": 1, "expired": segment.file.id, "at": now, "retainUntil": segment.retain_until,
                    "fileSha256": segment.file.sha256, "ledgerIndex": segment.ledger_index,
                });
                add_entry(&tx, index, "expiry", &entry.to_string())?;
            }
            let runs = Catalog::drop_empty_runs(&tx, &dir)?;
            lasting("an expiry is recorded", || tx.commit()).map(|()| runs)
        };
        write().map_err(failed)
    }
}

fn add_entry(
    tx: &rusqlite::Transaction<'_>,
    index: u64,
    kind: &str,
    text: &str,
) -> Result<(), rusqlite::Error> {
    let hash = hex(&leaf(text.as_bytes()));
    tx.execute("INSERT INTO ledger VALUES (?1,?2,?3,?4)", params![signed(index), kind, text, hash])
        .map(drop)
}
