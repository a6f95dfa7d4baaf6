//! When a segment may go. Decide first, act second: [`plan`] touches nothing, [`apply`] does
//! what the plan says and writes it into the ledger.

use std::time::Duration;

use super::catalog::{CatalogError, SegmentRow};
use super::ledger::{Ledger, LedgerError};
use super::recover::Archive;
use super::stored::StoredFile;
use crate::durable::{self, DurableError};

/// Six years, the time HIPAA asks to keep documentation (45 CFR 164.316(b)(2)(i)): 2,192 days
/// hold two leap days, as any six years may.
pub const KEEP_DEFAULT: Duration = Duration::from_secs(2_192 * 86_400);

/// What is to become of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its time has not come.
    Young {
        /// Not to be removed before this time, µs.
        until: i64,
    },
    /// It is past its time and is removed.
    Expire,
    /// It has been removed.
    Gone {
        /// When, µs.
        at: i64,
    },
}

/// Why a plan was not carried out to its end. What was carried out is recorded.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The ledger refused.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file could not be removed.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// Until when the events of a file must be kept: its newest event, or where none has a time its
/// arrival, plus `keep`.
pub fn until(file: &StoredFile, keep: Duration) -> i64 {
    // A source with a clock in the past must not shorten the time: the later of the two counts.
    let newest = file.time_last.unwrap_or(file.created).max(file.created);
    newest.saturating_add(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX))
}

/// Decides; touches nothing. `now` is a parameter so that six years fit in a test.
pub fn verdict(segment: &SegmentRow, now: i64) -> Verdict {
    if let Some(at) = segment.expired {
        return Verdict::Gone { at };
    }
    if segment.retain_until > now {
        return Verdict::Young { until: segment.retain_until };
    }
    Verdict::Expire
}

/// The verdict on every segment, in the order of the ledger.
pub fn plan(segments: Vec<SegmentRow>, now: i64) -> Vec<(SegmentRow, Verdict)> {
    segments
        .into_iter()
        .map(|it| (verdict(&it, now), it))
        .map(|(verdict, it)| (it, verdict))
        .collect()
}

/// Removes what the plan says is to be removed; gives how many segments that were.
///
/// # Errors
/// When the catalog or the disk refuses. A segment is recorded as removed before its file is:
/// a crash between leaves a file without a row, which the next start removes.
pub fn apply(
    archive: &mut Archive,
    plan: &[(SegmentRow, Verdict)],
    now: i64,
) -> Result<usize, ApplyError> {
    let expired: Vec<&SegmentRow> =
        plan.iter().filter(|(_, verdict)| *verdict == Verdict::Expire).map(|(it, _)| it).collect();
    let runs = archive.catalog.expire(&expired, now)?;
    let ledger: &Ledger = &archive.ledger;
    ledger.write_out(&archive.catalog)?;
    for segment in &expired {
        durable::remove(&segment.file.path)?;
    }
    for run in runs {
        durable::remove(&run)?;
    }
    Ok(expired.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(retain_until: i64, expired: Option<i64>) -> SegmentRow {
        let file = StoredFile {
            id: "a".to_owned(),
            path: "a.parquet".into(),
            cluster: "c".to_owned(),
            date: "2026-11-23".to_owned(),
            rows: 1,
            bytes_in: 1,
            bytes_stored: 1,
            seq_first: 0,
            seq_last: 0,
            time_first: Some(5),
            time_last: Some(10),
            created: 20,
            sha256: String::new(),
        };
        SegmentRow {
            file,
            event_root: String::new(),
            manifest: String::new(),
            ledger_index: 0,
            retain_until,
            expired,
        }
    }

    #[test]
    fn a_segment_goes_when_its_time_has_come_and_not_before() {
        assert_eq!(verdict(&segment(100, None), 99), Verdict::Young { until: 100 });
        assert_eq!(verdict(&segment(100, None), 100), Verdict::Expire);
        assert_eq!(verdict(&segment(100, Some(7)), 500), Verdict::Gone { at: 7 });
    }

    #[test]
    fn a_clock_in_the_past_does_not_shorten_the_time() {
        let day = Duration::from_micros(1_000);
        assert_eq!(until(&segment(0, None).file, day), 1_020);
    }
}
