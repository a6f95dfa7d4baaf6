//! Parts that are old or large enough -> segments in the ledger.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::catalog::{Catalog, CatalogError, SegmentRow};
use super::index::{BuildError, Made, Upkeep};
use super::ledger::{LedgerError, Manifest};
use super::merge;
use super::part;
use super::recover::Archive;
use super::retain;
use super::segment::{self, SegmentError};
use super::stored::StoredFile;
use crate::durable::{self, DurableError};
use crate::hex::hex;
use crate::seal::tree::Tree;

/// Rows of a segment, unless it is to have fewer: sixteen full row groups are more than a segment of audit events has.
const SEGMENT_ROWS_MAX: u64 = 16 * part::ROWS_MAX as u64;

/// When parts become a segment, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Bytes of lines after which a segment is sealed.
    pub segment_bytes_max: u64,
    /// Rows after which a segment is sealed, however few bytes they have.
    pub segment_rows_max: u64,
    /// Bytes of decoded columns that are held while parts are merged.
    pub merge_bytes_max: usize,
    /// Age of the oldest part after which a segment is sealed.
    pub segment_age_max: Duration,
    /// How long events are kept.
    pub keep: Duration,
    /// The hash of the rule set in force.
    pub ruleset: Option<String>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            segment_bytes_max: 1 << 30,
            segment_rows_max: SEGMENT_ROWS_MAX,
            merge_bytes_max: merge::HELD_BYTES_MAX,
            segment_age_max: Duration::from_secs(15 * 60),
            keep: retain::KEEP_DEFAULT,
            ruleset: None,
        }
    }
}

/// Why parts were not sealed. They stay what they were.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The segment could not be written.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The index could not be written.
    #[error(transparent)]
    Index(#[from] BuildError),
    /// The ledger refused.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A part could not be removed after its segment was sealed.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The manifest could not be written as JSON, which is a bug.
    #[error("the manifest of {0} is no JSON")]
    Manifest(PathBuf, #[source] serde_json::Error),
}

impl Policy {
    /// Takes the archive's own time of keeping into account: it only ever grows. The first time
    /// that is configured counts until there are events, the longest one from then on.
    ///
    /// # Errors
    /// When the catalog refuses.
    pub fn agree(&mut self, catalog: &Catalog) -> Result<(), CatalogError> {
        let known = catalog.meta(KEEP)?.and_then(|it| it.parse().ok()).map(Duration::from_secs);
        if let Some(known) = known.filter(|it| *it > self.keep)
            && catalog.next_seq()? > 0
        {
            tracing::warn!(
                configured_days = self.keep.as_secs() / 86_400,
                kept_days = known.as_secs() / 86_400,
                "the archive has events that are to be kept longer than configured; the longer time counts"
            );
            self.keep = known;
        }
        if known == Some(self.keep) {
            // Nothing is written where nothing changes: a start has to succeed on a full disk as well.
            return Ok(());
        }
        catalog.set_meta(KEEP, &self.keep.as_secs().to_string())
    }
}

/// The catalog's name for how long events are kept, in seconds.
const KEEP: &str = "keep_seconds";

/// Seals every group of parts that is due, or all of them; gives how many segments that made.
///
/// # Errors
/// When one cannot be sealed; those before it are.
pub fn seal_due(
    archive: &mut Archive,
    policy: &Policy,
    now: i64,
    all: bool,
) -> Result<usize, SealError> {
    let groups = due(archive, policy, now, all)?;
    for group in &groups {
        // A crash up to `catalog.seal` leaves a file without a row and the parts as they were.
        let upkeep = Upkeep::due(&archive.catalog)?;
        let written = write(&archive.dir, group, upkeep, policy.merge_bytes_max, now)?;
        record(archive, policy, group, written)?;
    }
    Ok(groups.len())
}

/// Parts that are to be sealed now, or all of them: each group is to be one segment.
///
/// # Errors
/// When the catalog refuses.
pub fn due(
    archive: &Archive,
    policy: &Policy,
    now: i64,
    all: bool,
) -> Result<Vec<Vec<StoredFile>>, CatalogError> {
    Ok(groups(archive.catalog.parts()?, policy, now, all))
}

/// Parts that are to be one segment each: one cluster, one date, in the order of `seq`.
fn groups(parts: Vec<StoredFile>, policy: &Policy, now: i64, all: bool) -> Vec<Vec<StoredFile>> {
    let mut open: Vec<Vec<StoredFile>> = Vec::new();
    let mut full = Vec::new();
    for part in parts {
        let mine = |it: &Vec<StoredFile>| {
            it.first().is_some_and(|first| first.cluster == part.cluster && first.date == part.date)
        };
        let at = open.iter().position(mine).unwrap_or_else(|| {
            open.push(Vec::new());
            open.len() - 1
        });
        let Some(group) = open.get_mut(at) else { continue };
        group.push(part);
        let (rows, bytes) =
            group.iter().fold((0, 0), |(rows, bytes), it| (rows + it.rows, bytes + it.bytes_in));
        if bytes >= policy.segment_bytes_max || rows >= policy.segment_rows_max {
            full.push(open.swap_remove(at));
        }
    }
    let age = i64::try_from(policy.segment_age_max.as_micros()).unwrap_or(i64::MAX);
    let old = |it: &Vec<StoredFile>| it.iter().any(|part| now.saturating_sub(part.created) >= age);
    full.extend(open.into_iter().filter(|it| all || old(it)));
    full
}

/// A segment and what the index says of it, on the disk; neither counts yet.
#[derive(Debug)]
pub struct Written {
    file: StoredFile,
    runs: Made,
}

/// Writes the segment of parts, and what is due in the index.
///
/// # Errors
/// When a part cannot be read or a file not be written. Nothing is recorded then.
pub fn write(
    dir: &Path,
    parts: &[StoredFile],
    upkeep: Upkeep,
    merge_bytes_max: usize,
    now: i64,
) -> Result<Written, SealError> {
    let file = segment::write(dir, parts, merge_bytes_max, now)?;
    let runs = upkeep.carry_out(dir, &file)?;
    Ok(Written { file, runs })
}

/// Makes a segment count that was written of these parts: it takes their place in the catalog and an entry in
/// the ledger.
///
/// # Errors
/// When the catalog or the ledger refuses. If it was not recorded, the parts stay what they were.
pub fn record(
    archive: &mut Archive,
    policy: &Policy,
    parts: &[StoredFile],
    Written { file, runs }: Written,
) -> Result<(), SealError> {
    let mut events = Tree::default();
    let mut sources = Vec::new();
    for part in parts {
        // The leaves of one part at a time: all of a segment are more than its merge may hold.
        let (leaves, read) = archive.catalog.part_proof(&part.id)?;
        let (hashes, rest) = leaves.as_chunks::<32>();
        assert!(rest.is_empty() && hashes.len() as u64 == part.rows, "a leaf a row");
        hashes.iter().for_each(|it| events.push(*it));
        sources.push(serde_json::from_str(&read).unwrap_or(serde_json::Value::Null));
    }
    assert_eq!(file.rows, parts.iter().map(|it| it.rows).sum::<u64>(), "a row of a part each");
    let event_root = hex(&events.root());
    let (ledger_index, previous) = archive.catalog.ledger_head()?;
    let retain_until = retain::until(&file, policy.keep);
    let manifest = Manifest {
        version: 1,
        id: file.id.clone(),
        cluster: file.cluster.clone(),
        date: file.date.clone(),
        rows: file.rows,
        bytes_in: file.bytes_in,
        seq_first: file.seq_first,
        seq_last: file.seq_last,
        time_first: file.time_first,
        time_last: file.time_last,
        event_root: event_root.clone(),
        file_sha256: file.sha256.clone(),
        sources,
        ruleset: policy.ruleset.clone(),
        retain_until,
        previous,
    };
    let manifest = serde_json::to_string(&manifest)
        .map_err(|source| SealError::Manifest(file.path.clone(), source))?;
    let row = SegmentRow { file, event_root, manifest, ledger_index, retain_until, expired: None };
    archive.catalog.seal(&row, parts, &runs)?;
    // From here on the segment counts. A crash leaves parts without rows and no checkpoint
    // file: the next start removes the former and writes the latter.
    let written = archive.ledger.write_out(&archive.catalog);
    // On a full disk the checkpoint may not fit before the parts are gone.
    for part in parts {
        durable::remove(&part.path)?;
    }
    runs.clear(&archive.dir)?;
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::commit::Commit;

    #[test]
    fn the_time_of_keeping_only_grows_once_there_are_events() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::create(dir.path()).unwrap();
        let agreed = |catalog: &Catalog, days: u64| {
            let keep = Duration::from_secs(days * 86_400);
            let mut policy = Policy { keep, ..Policy::default() };
            policy.agree(catalog).unwrap();
            policy.keep.as_secs() / 86_400
        };
        assert_eq!(agreed(&catalog, 2_192), 2_192);
        assert_eq!(agreed(&catalog, 30), 30);
        catalog.commit(&Commit { next_seq: 1, ..Commit::default() }).unwrap();
        assert_eq!(agreed(&catalog, 7), 30);
        assert_eq!(agreed(&catalog, 3_000), 3_000);
        assert_eq!(agreed(&catalog, 2_192), 3_000);
    }
}
