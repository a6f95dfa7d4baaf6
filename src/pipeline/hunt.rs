//! Rules over history: the matcher of the stream, over the lines of an archive.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use super::stop::{Stop, guarded};
use crate::archive::catalog::{Catalog, CatalogError, Scope};
use crate::archive::read::{ReadError, lines};
use crate::archive::stored::StoredFile;
use crate::decode;
use crate::detect::{Finding, Origin, scan};
use crate::event::{Event, Field};
use crate::rules::{RuleSet, Scratch};

/// How often the list of files is read again because a daemon merged some of them meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// Why a hunt did not end.
#[derive(Debug, thiserror::Error)]
pub enum HuntError {
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What is hunted.
pub struct Hunt<'a> {
    /// The archive.
    pub dir: &'a Path,
    /// Which events.
    pub scope: Scope,
    /// The rules.
    pub rules: &'a RuleSet,
    /// How many threads.
    pub workers: usize,
    /// Ends it early.
    pub stop: &'a Stop,
}

/// What was read of one file.
#[derive(Debug, Default)]
pub struct Hunted {
    /// What was found, in the order of the events.
    pub findings: Vec<Finding>,
    /// Events that were judged.
    pub events: u64,
    /// Files read, and files to be read.
    pub files: (usize, usize),
}

/// Runs the rules over the archive and hands the findings to `take`, file by file, oldest first.
///
/// # Errors
/// When a file cannot be read, or `take` fails.
pub fn hunt<E: From<HuntError>>(
    hunt: &Hunt<'_>,
    mut take: impl FnMut(Hunted) -> Result<(), E>,
) -> Result<(), E> {
    let mut done: Vec<Seen> = Vec::new();
    for attempt in 1.. {
        let files = files(hunt, &done).map_err(E::from)?;
        match over(hunt, &files, &mut done, &mut take) {
            // Parts were merged into a segment while they were read. The list of now has the
            // segment; what was handed over already is left out of it, event by event.
            Err(Failed::Here(HuntError::Read(error)))
                if error.is_missing() && attempt < ATTEMPTS_MAX => {}
            Err(Failed::Here(error)) => return Err(error.into()),
            Err(Failed::Taking(error)) => return Err(error),
            Ok(()) => break,
        }
    }
    Ok(())
}

enum Failed<E> {
    Here(HuntError),
    Taking(E),
}

/// A file that was handed over: of files of one cluster and date, no two share a place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    cluster: String,
    date: String,
    seq_first: i64,
    seq_last: i64,
}

impl Seen {
    fn of(file: &StoredFile) -> Seen {
        let (cluster, date) = (file.cluster.clone(), file.date.clone());
        Seen { cluster, date, seq_first: file.seq_first, seq_last: file.seq_last }
    }

    fn holds(&self, file: &StoredFile, seq: i64) -> bool {
        self.cluster == file.cluster
            && self.date == file.date
            && (self.seq_first..=self.seq_last).contains(&seq)
    }
}

/// The files of the scope, oldest first, without those that were read.
fn files(hunt: &Hunt<'_>, done: &[Seen]) -> Result<Vec<StoredFile>, HuntError> {
    let mut files = Catalog::open(hunt.dir)?.files(&hunt.scope)?;
    files.retain(|it| !done.contains(&Seen::of(it)));
    files.sort_by_key(|it| it.seq_first);
    Ok(files)
}

fn over<E>(
    hunt: &Hunt<'_>,
    files: &[StoredFile],
    done: &mut Vec<Seen>,
    take: &mut impl FnMut(Hunted) -> Result<(), E>,
) -> Result<(), Failed<E>> {
    let next = AtomicUsize::new(0);
    let known = done.clone();
    std::thread::scope(|scope| {
        let (sender, results) = sync_channel(hunt.workers.max(1));
        for index in 0..hunt.workers.max(1) {
            let (sender, next, known) = (sender.clone(), &next, &known);
            scope.spawn(guarded(&format!("hunter-{index}"), move || {
                let mut scratch = Scratch::default();
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some(file) = files.get(at).filter(|_| !hunt.stop.asked()) else { return };
                    if sender.send((at, one(hunt, file, known, &mut scratch))).is_err() {
                        return;
                    }
                }
            }));
        }
        drop(sender);
        let mut early = BTreeMap::new();
        for (at, result) in results {
            early.insert(at, result);
            while let Some(result) = early.remove(&(done.len() - known.len())) {
                let read = done.len() - known.len();
                let mut hunted = result.map_err(Failed::Here)?;
                hunted.files = (read + 1, files.len());
                take(hunted).map_err(Failed::Taking)?;
                done.extend(files.get(read).map(Seen::of));
            }
        }
        Ok(())
    })
}

/// The findings of one file. Events of files that were read before are left out.
fn one(
    hunt: &Hunt<'_>,
    file: &StoredFile,
    known: &[Seen],
    scratch: &mut Scratch,
) -> Result<Hunted, HuntError> {
    let mut found: Vec<(i64, Finding)> = Vec::new();
    let mut hunted = Hunted::default();
    let mut findings = Vec::new();
    lines(&file.path, |line| {
        let Ok(event) = decode::line(line.bytes) else { return };
        let before = known.iter().any(|it| it.holds(file, line.seq));
        if before || !within(&hunt.scope, &event) {
            return;
        }
        hunted.events += 1;
        let position = u64::try_from(line.seq).unwrap_or(0);
        let origin = Origin { cluster: &file.cluster, source: "archive", position };
        scan(&event, hunt.rules, scratch, &origin, &mut findings);
        found.extend(findings.drain(..).map(|it| (line.seq, it)));
    })?;
    // Rows lie sorted by what they are about; findings come out in the order of the events.
    found.sort_by_key(|(seq, _)| *seq);
    hunted.findings = found.into_iter().map(|(_, it)| it).collect();
    Ok(hunted)
}

/// Whether an event is of the scope's time. One without a time is of every time.
fn within(scope: &Scope, event: &Event<'_>) -> bool {
    if scope.since.is_none() && scope.until.is_none() {
        return true;
    }
    event.micros(Field::StageTimestamp).is_none_or(|time| {
        scope.since.is_none_or(|since| time >= since)
            && scope.until.is_none_or(|until| time < until)
    })
}
