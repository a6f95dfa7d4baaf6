//! Is every stored event still what arrived? Re-reads, rebuilds and re-hashes; repairs nothing.

use std::path::Path;

use super::catalog::{Catalog, CatalogError, SegmentRow, StoredFile};
use super::ledger::newest_checkpoint;
use super::read::lines;
use super::segment::digest;
use crate::seal::leaf::{Hash, hex, leaf, unhex};
use crate::seal::tree;

/// What was found of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// File, events and ledger agree.
    Whole,
    /// It is there, and is not what was sealed.
    Altered(String),
    /// The catalog names it, and it is not there.
    Missing,
}

/// The verdict on one part or segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file's name.
    pub id: String,
    /// `part` or `segment`.
    pub kind: &'static str,
    /// How many events were read back.
    pub events: u64,
    /// What was found.
    pub state: State,
}

/// Checks every part and segment, then the ledger; hands each verdict to `take` as it is reached.
///
/// # Errors
/// When the catalog cannot be read. Damage to the evidence is a verdict, not an error.
pub fn verify(dir: &Path, mut take: impl FnMut(Report)) -> Result<(), CatalogError> {
    let catalog = Catalog::open(dir)?;
    for part in catalog.parts()? {
        let (leaves, _) = catalog.part_proof(&part.id)?;
        let root = hex(&tree::root(leaves.as_chunks::<32>().0.iter().copied()));
        take(file(&part, "part", &root));
    }
    for segment in catalog.segments()?.into_iter().filter(|it| it.expired.is_none()) {
        let mut report = file(&segment.file, "segment", &segment.event_root);
        if report.state == State::Whole && !manifest_agrees(&segment) {
            report.state =
                State::Altered("the catalog's row is not what the manifest says".to_owned());
        }
        take(report);
    }
    take(ledger(dir, &catalog)?);
    Ok(())
}

fn file(file: &StoredFile, kind: &'static str, event_root: &str) -> Report {
    let (events, state) = match digest(&file.path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (0, State::Missing),
        Err(error) => (0, State::Altered(error.to_string())),
        Ok((sha256, _)) if sha256 != file.sha256 => {
            (0, State::Altered("the file's hash differs".to_owned()))
        }
        Ok(_) => events(file, event_root),
    };
    Report { id: file.id.clone(), kind, events, state }
}

fn events(file: &StoredFile, event_root: &str) -> (u64, State) {
    let mut leaves: Vec<(i64, Hash)> = Vec::new();
    let read = lines(&file.path, |line| leaves.push((line.seq, leaf(line.bytes))));
    let count = leaves.len() as u64;
    if let Err(error) = read {
        return (count, State::Altered(error.to_string()));
    }
    leaves.sort_unstable();
    let root = hex(&tree::root(leaves.into_iter().map(|(_, leaf)| leaf)));
    if count != file.rows || root != event_root {
        return (count, State::Altered("the events' hash differs".to_owned()));
    }
    (count, State::Whole)
}

fn manifest_agrees(segment: &SegmentRow) -> bool {
    let Ok(manifest) = serde_json::from_str::<super::ledger::Manifest>(&segment.manifest) else {
        return false;
    };
    manifest.event_root == segment.event_root
        && manifest.file_sha256 == segment.file.sha256
        && manifest.rows == segment.file.rows
        && manifest.retain_until <= segment.retain_until
}

/// Checks the entries against their leaves and the leaves against the signed checkpoint.
fn ledger(dir: &Path, catalog: &Catalog) -> Result<Report, CatalogError> {
    let entries = catalog.ledger()?;
    let report = |state| Report { id: "ledger".to_owned(), kind: "ledger", events: 0, state };
    if entries.is_empty() {
        return Ok(report(State::Whole));
    }
    for (index, entry) in entries.iter().enumerate() {
        if hex(&leaf(entry.text.as_bytes())) != entry.leaf {
            return Ok(report(State::Altered(format!("entry {index} is not what its leaf says"))));
        }
    }
    let root = tree::root(entries.iter().filter_map(|it| unhex(&it.leaf)));
    Ok(report(match newest_checkpoint(dir, entries.len()) {
        Ok(checkpoint) if checkpoint.root == root && checkpoint.size == entries.len() as u64 => {
            State::Whole
        }
        Ok(_) => State::Altered("the signed checkpoint has another root".to_owned()),
        Err(error) => State::Altered(error.to_string()),
    }))
}
