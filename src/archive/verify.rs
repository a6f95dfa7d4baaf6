//! Is every stored event still what arrived? Re-reads, rebuilds and re-hashes; repairs nothing.

use std::collections::BTreeSet;
use std::path::Path;

use super::catalog::{Catalog, CatalogError, SegmentRow};
use super::ledger::{Entry, Manifest, newest_checkpoint};
use super::read::lines;
use super::segment::digest;
use super::stored::StoredFile;
use crate::hex::{hex, unhex};
use crate::seal::leaf::{Hash, leaf};
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
    // Looked up first: what a daemon seals meanwhile has its row before its checkpoint.
    let signed = newest_size(dir);
    let snapshot = catalog.conn.unchecked_transaction().map_err(catalog.failed("read"))?;
    let (segments, entries) = (catalog.segments()?, catalog.ledger()?);
    drop(snapshot);
    for part in catalog.parts()? {
        let proof = catalog.part_proof(&part.id);
        let report = proof.as_ref().ok().map(|(leaves, _)| {
            let root = hex(&tree::root(leaves.as_chunks::<32>().0.iter().copied()));
            file(&part, "part", &root)
        });
        // A daemon may have sealed it into a segment since it was listed; that segment is in the
        // ledger and is verified the next time.
        if report.as_ref().is_some_and(|it| it.state == State::Whole)
            || catalog.parts()?.iter().any(|it| it.id == part.id)
        {
            proof?;
            report.into_iter().for_each(&mut take);
        }
    }
    let logged = Logged::of(&entries);
    for segment in segments.iter().filter(|it| !logged.removed(it)) {
        let mut report = file(&segment.file, "segment", &segment.event_root);
        if report.state == State::Whole && !manifest_agrees(segment) {
            report.state =
                State::Altered("the catalog's row is not what the manifest says".to_owned());
        }
        if report.state == State::Whole && !logged.sealed.contains(segment.manifest.as_str()) {
            report.state = State::Altered("the manifest is not the ledger's".to_owned());
        }
        take(report);
    }
    let rows: BTreeSet<&str> = segments.iter().map(|it| it.manifest.as_str()).collect();
    for text in logged.sealed.difference(&rows) {
        let id = serde_json::from_str::<Manifest>(text)
            .map_or_else(|_| hex(&leaf(text.as_bytes())), |it| it.id);
        take(Report { id, kind: "segment", events: 0, state: State::Missing });
    }
    take(ledger(dir, &entries, signed));
    Ok(())
}

/// What the ledger says was sealed and removed.
struct Logged<'a> {
    /// The manifests.
    sealed: BTreeSet<&'a str>,
    /// The names of segments.
    removed: BTreeSet<String>,
}

impl Logged<'_> {
    fn of(entries: &[Entry]) -> Logged<'_> {
        let of_kind = |kind| entries.iter().filter(move |it| it.kind == kind).map(|it| &it.text);
        let removed = of_kind("expiry").filter_map(|it| {
            let entry: serde_json::Value = serde_json::from_str(it).ok()?;
            Some(entry.get("expired")?.as_str()?.to_owned())
        });
        Logged {
            sealed: of_kind("segment").map(String::as_str).collect(),
            removed: removed.collect(),
        }
    }

    /// Whether the segment was removed and the ledger says so. Gone without it, it is missing.
    fn removed(&self, segment: &SegmentRow) -> bool {
        segment.expired.is_some() && self.removed.contains(&segment.file.id)
    }
}

/// How many entries the newest checkpoint file speaks of.
fn newest_size(dir: &Path) -> usize {
    let Ok(files) = std::fs::read_dir(dir.join("ledger").join("checkpoints")) else { return 0 };
    files.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok()).max().unwrap_or(0)
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
    let Ok(manifest) = serde_json::from_str::<Manifest>(&segment.manifest) else {
        return false;
    };
    let file = &segment.file;
    manifest.event_root == segment.event_root
        && manifest.file_sha256 == file.sha256
        && manifest.id == file.id
        && manifest.cluster == file.cluster
        && manifest.date == file.date
        && (manifest.rows, manifest.bytes_in) == (file.rows, file.bytes_in)
        && (manifest.seq_first, manifest.seq_last) == (file.seq_first, file.seq_last)
        && (manifest.time_first, manifest.time_last) == (file.time_first, file.time_last)
        && manifest.retain_until <= segment.retain_until
}

/// Checks the entries against their leaves and the leaves against the signed checkpoint.
fn ledger(dir: &Path, entries: &[Entry], signed: usize) -> Report {
    let report = |state| Report { id: "ledger".to_owned(), kind: "ledger", events: 0, state };
    if signed > entries.len() {
        return report(State::Altered(format!("{signed} entries were signed")));
    }
    if entries.is_empty() {
        return report(State::Whole);
    }
    for (index, entry) in entries.iter().enumerate() {
        if hex(&leaf(entry.text.as_bytes())) != entry.leaf {
            return report(State::Altered(format!("entry {index} is not what its leaf says")));
        }
    }
    let root = tree::root(entries.iter().filter_map(|it| unhex(&it.leaf)));
    report(match newest_checkpoint(dir, entries.len()) {
        Ok(checkpoint) if checkpoint.root == root && checkpoint.size == entries.len() as u64 => {
            State::Whole
        }
        Ok(_) => State::Altered("the signed checkpoint has another root".to_owned()),
        Err(error) => State::Altered(error.to_string()),
    })
}
