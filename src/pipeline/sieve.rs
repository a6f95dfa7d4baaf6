//! A finished chunk -> the same without the events that the archive holds already.
//!
//! One rule: an event is the same only when its cluster, stage, stage time and every byte are. Its audit ID
//! is chosen by the client, so that one which comes again with other content is kept, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

use super::archivist::ArchivistError;
use super::worker::Done;
use crate::archive::catalog::Catalog;
use crate::archive::columns::Batch;
use crate::archive::known::{Key, Known};
use crate::archive::marks::{self, Gists, Marks, NONE};
use crate::archive::part::{PartError, Placed};
use crate::archive::skeleton::Rebuilder;
use crate::detect::Trouble;
use crate::detect::trouble::kind;

/// Audit IDs that are remembered as told. One that is told again is the same finding: this only
/// saves the writing.
const TOLD_MAX: usize = 4_096;

/// Characters of a field that a finding shows.
const SHOWN_CHARS: usize = 200;

/// Rows that are not committed yet, by cluster and date.
pub(super) type Open = BTreeMap<(Arc<str>, String), Vec<Placed>>;

/// What a row with a known audit ID and stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The same event: its bytes are kept.
    Duplicate,
    /// The same event in other bytes, as the log and the webhook write it.
    Copy,
    /// Another event.
    Reused,
}

/// Takes out what is known.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    known: Known,
    told: BTreeSet<(Arc<str>, String)>,
}

impl Sieve {
    /// Remembers no more marks than that.
    pub(super) fn holding(marks_max: usize) -> Sieve {
        Sieve { known: Known::holding(marks_max), ..Sieve::default() }
    }

    /// Files of the archive came or went.
    pub(super) fn changed(&mut self) {
        self.known.changed();
    }

    /// Takes the rows that are known out of a chunk, and what was found in them; tells of audit IDs that
    /// were used again. Positions stay what they were: what is known is kept.
    pub(super) fn sift(
        &mut self,
        catalog: &Catalog,
        open: &Open,
        done: &mut Done,
    ) -> Result<Vec<Trouble>, ArchivistError> {
        let (mut known, mut reused) = (BTreeSet::new(), Vec::new());
        for batch in &done.batches {
            for (row, verdict) in self.judge(catalog, open, batch)? {
                let Some(ordinal) = batch.ordinals.get(row).copied() else { continue };
                match verdict {
                    Verdict::Duplicate => drop(known.insert(ordinal)),
                    Verdict::Reused => reused.push((ordinal, told(batch, row)?)),
                    Verdict::Copy => {}
                }
            }
        }
        let troubles = reused.into_iter().filter_map(|(at, told)| self.trouble(done, at, told));
        let troubles = troubles.collect();
        if !known.is_empty() {
            done.counts.duplicates += known.len() as u64;
            let envelopes = emptied(done, &known).map_err(PartError::from)?;
            known.extend(envelopes);
            take_out(done, &known).map_err(PartError::from)?;
        }
        Ok(troubles)
    }

    /// The rows of a batch that are not new.
    fn judge(
        &mut self,
        catalog: &Catalog,
        open: &Open,
        batch: &Batch,
    ) -> Result<Vec<(usize, Verdict)>, ArchivistError> {
        let columns = Marks::new(&batch.rows).map_err(PartError::from)?;
        let mut judged = Vec::new();
        for (row, (mark, time)) in batch.marks.iter().zip(columns.times()).enumerate() {
            let key = Key { cluster: &batch.cluster, time: *time, mark: *mark };
            if *mark != NONE && !self.known.is_new(catalog, &key)? {
                judged.push((row, self.verdict(catalog, open, batch, (row, &key))?));
            }
        }
        Ok(judged)
    }

    fn verdict(
        &mut self,
        catalog: &Catalog,
        open: &Open,
        batch: &Batch,
        (row, key): (usize, &Key<'_>),
    ) -> Result<Verdict, ArchivistError> {
        let Some(leaf) = batch.leaves.get(row) else { return Ok(Verdict::Copy) };
        // Rows that share a stage time and a cluster may stand in batches of two dates.
        let near = || {
            let of_cluster = open.iter().filter(|((cluster, _), _)| cluster == key.cluster);
            let batches = of_cluster.flat_map(|(_, placed)| placed).map(|it| &it.batch);
            batches.filter(|it| it.times.is_some_and(|it| it.0 <= key.time && it.1 >= key.time))
        };
        let before = batch.leaves.get(..row).unwrap_or_default();
        if before.contains(leaf)
            || near().any(|it| it.leaves.contains(leaf))
            || self.known.holds(catalog, key, leaf)?
        {
            return Ok(Verdict::Duplicate);
        }
        let arrow = |error: ArrowError| PartError::from(error);
        let gist = Gists::new(&batch.rows).map_err(arrow)?.of(row, key.mark);
        let mut copy = has_gist(batch, row, key, gist).map_err(arrow)?;
        for it in near() {
            copy = copy || has_gist(it, it.marks.len(), key, gist).map_err(arrow)?;
        }
        let copy = copy || self.known.holds_gist(catalog, key, gist)?;
        Ok(if copy { Verdict::Copy } else { Verdict::Reused })
    }

    fn trouble(&mut self, done: &Done, ordinal: u32, told: Told) -> Option<Trouble> {
        let cluster = &done.stream.cluster;
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        if !self.told.insert((Arc::clone(cluster), told.audit_id.clone())) {
            return None;
        }
        let place = usize::try_from(ordinal).ok().and_then(|it| done.positions.get(it));
        Some(Trouble {
            kind: kind("kustos-audit-id-reused"),
            cluster: cluster.to_string(),
            source: done.stream.name.to_string(),
            position: place.copied().unwrap_or(done.end),
            time: told.time,
            detail: told.detail,
            key: told.audit_id.into_bytes(),
        })
    }
}

/// Whether one of the first rows of a batch is that event in other bytes.
fn has_gist(batch: &Batch, rows: usize, key: &Key<'_>, gist: u64) -> Result<bool, ArrowError> {
    let (columns, gists) = (Marks::new(&batch.rows)?, Gists::new(&batch.rows)?);
    let mut rows = batch.marks.iter().zip(columns.times()).enumerate().take(rows);
    Ok(rows.any(|(row, (mark, time))| {
        *mark == key.mark && *time == key.time && gists.of(row, *mark) == gist
    }))
}

/// What a finding says of an audit ID that was used again.
struct Told {
    audit_id: String,
    time: i64,
    detail: String,
}

fn told(batch: &Batch, row: usize) -> Result<Told, ArchivistError> {
    let columns = Marks::new(&batch.rows).map_err(PartError::from)?;
    let (audit_id, stage) = columns.named(row);
    let shown = |text: &str| text.chars().take(SHOWN_CHARS).collect::<String>();
    let gists = Gists::new(&batch.rows).map_err(PartError::from)?;
    let [user, verb, uri] = gists.told(row).map(|it| shown(it.unwrap_or("-")));
    let detail = format!(
        "audit ID {:?}, stage {stage:?}, came again with other content: user {user:?}, verb {verb:?}, URI {uri:?}; \
         every event is kept",
        shown(audit_id),
        stage = shown(stage)
    );
    let time = columns.times().get(row).copied().unwrap_or_default();
    Ok(Told { audit_id: audit_id.to_owned(), time, detail })
}

/// The envelopes that would hold nothing any more: every event that came in them is known, and nothing
/// else did. All rows of one line have one position.
fn emptied(done: &Done, known: &BTreeSet<u32>) -> Result<Vec<u32>, ArrowError> {
    let mut envelopes = BTreeSet::new();
    for batch in &done.batches {
        let rows = batch.ordinals.iter().zip(marks::envelopes(&batch.rows)?);
        envelopes.extend(rows.filter(|(_, is)| *is).map(|(ordinal, _)| *ordinal));
    }
    let mut full: BTreeSet<u64> = BTreeSet::new();
    let mut with_known: BTreeSet<u64> = BTreeSet::new();
    for (ordinal, position) in (0_u32..).zip(&done.positions) {
        if known.contains(&ordinal) {
            with_known.insert(*position);
        } else if !envelopes.contains(&ordinal) {
            full.insert(*position);
        }
    }
    let position = |it: &u32| done.positions.get(usize::try_from(*it).ok()?);
    let is_emptied =
        |it: &u32| position(it).is_some_and(|it| with_known.contains(it) && !full.contains(it));
    Ok(envelopes.into_iter().filter(is_emptied).collect())
}

/// Takes rows out of a chunk and closes the gaps they leave: places in the archive have none. They are few, or
/// a replay: only then does any of this cost.
fn take_out(done: &mut Done, gone: &BTreeSet<u32>) -> Result<(), ArrowError> {
    for batch in &mut done.batches {
        let stays: Vec<bool> = batch.ordinals.iter().map(|it| !gone.contains(it)).collect();
        if stays.iter().all(|it| *it) {
            continue;
        }
        let (rebuilder, columns) = (Rebuilder::new(&batch.rows)?, Marks::new(&batch.rows)?);
        let (mut bytes, mut line) = (0, Vec::new());
        for (row, _) in stays.iter().enumerate().filter(|(_, stays)| !**stays) {
            line.clear();
            rebuilder.rebuild(row, &mut line);
            bytes += line.len() as u64;
            if let Some(count) = done.counts.stages.get_mut(columns.named(row).1) {
                *count = count.saturating_sub(1);
            }
        }
        batch.rows = filter_record_batch(&batch.rows, &BooleanArray::from(stays.clone()))?;
        batch.ordinals = kept(&batch.ordinals, &stays);
        batch.leaves = kept(&batch.leaves, &stays);
        batch.marks = kept(&batch.marks, &stays);
        batch.bytes_in -= bytes;
        batch.times = times(&batch.rows)?;
        done.counts.bytes -= bytes;
    }
    done.batches.retain(|it| !it.ordinals.is_empty());
    if done.batches.is_empty() {
        // As long as one row is left, its batch holds on to the whole chunk.
        done.counts.held = 0;
    }
    let before: Vec<u32> = gone.iter().copied().collect();
    for ordinal in done.batches.iter_mut().flat_map(|it| &mut it.ordinals) {
        let before = before.partition_point(|it| it < ordinal);
        *ordinal -= u32::try_from(before).unwrap_or(0);
    }
    for (ordinal, step) in &mut done.steps {
        if gone.contains(ordinal) {
            // Found and counted when the event came first. That time has come so far stays true.
            step.judged = Default::default();
        }
    }
    done.counts.rows -= gone.len() as u64;
    Ok(())
}

fn kept<T: Copy>(all: &[T], stays: &[bool]) -> Vec<T> {
    all.iter().zip(stays).filter(|(_, stays)| **stays).map(|(it, _)| *it).collect()
}

fn times(rows: &RecordBatch) -> Result<Option<(i64, i64)>, ArrowError> {
    let known = Marks::new(rows)?.stage_times();
    Ok(known.fold(None, |range: Option<(i64, i64)>, time| {
        let (first, last) = range.unwrap_or((time, time));
        Some((first.min(time), last.max(time)))
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::archive::catalog::Scope;
    use crate::archive::keep::Policy;
    use crate::archive::read;
    use crate::archive::recover::Archive;
    use crate::clock::StandingClock;
    use crate::event::write_micros;
    use crate::pipeline::archivist::{Archivist, Pace};
    use crate::pipeline::in_force::InForce;
    use crate::pipeline::lanes::{self, Received, Stream, Width};
    use crate::pipeline::worker::{Output, Worker};
    use crate::rules::{LoadOptions, load_text};
    use crate::seal::leaf::Chain;
    use crate::source::Chunk;

    /// Events of some minutes; every third has the audit ID of another.
    fn lines(count: i64) -> Vec<String> {
        let line = |index: i64| {
            let mut time = Vec::new();
            write_micros(1_795_401_553_250_000 + index * 1_400_000, &mut time);
            let (time, id) = (String::from_utf8(time).unwrap(), index - index % 3);
            format!(
                r#"{{"auditID":"{id}","stage":"s","verb":"{index}","stageTimestamp":"{time}"}}"#
            )
        };
        (0..count).map(line).collect()
    }

    /// Takes the lines as they come, so many a chunk; gives how many were stored, and came again.
    fn take(dir: &Path, sieve: Sieve, lines: &[String], per_chunk: usize) -> (u64, u64) {
        let clock = Arc::new(StandingClock::at(0));
        let rules = load_text([], &LoadOptions::default()).unwrap().rules;
        let rules = InForce::new(Arc::new(rules));
        let archive = Archive::open(dir).unwrap();
        let source = archive.catalog.add_source("c", "first", "n", 0).unwrap();
        let archivist = Archivist::new(
            archive,
            clock.clone(),
            Policy::default(),
            Arc::new(|_| Vec::new()),
            Pace::Full,
        );
        let mut archivist = archivist.unwrap().with_rows_max(50).with_sieve(sieve);
        let enter = |entrance: lanes::Entrance| {
            let (name, cluster) = (Arc::from("n"), Arc::from("c"));
            let stream = Stream { source, cluster, name, start: 0, chain: Chain::default() };
            let stream = Arc::new(stream);
            for (start, lines) in (0..).zip(lines.chunks(per_chunk)) {
                let records = (start..).zip(lines.iter().map(|it| it.as_bytes()));
                assert!(entrance.put(&stream, Chunk::of_records(start, records)));
            }
        };
        let make = || {
            let mut worker = Worker::storing(clock.clone());
            move |job| worker.work(job)
        };
        lanes::run(
            Width { workers: 2, lane_chunks_max: 2, ..Width::default() },
            &rules,
            enter,
            make,
            |exit| {
                let (mut rows, mut duplicates) = (0, 0);
                loop {
                    match exit.next(Duration::from_secs(60)) {
                        Received::Done(Output::Done(done)) => {
                            let taken = archivist.take(*done).unwrap().taken;
                            rows += taken.counts.rows;
                            duplicates += taken.counts.duplicates;
                        }
                        Received::End => break,
                        _ => panic!("nothing else was put in"),
                    }
                }
                archivist.commit().unwrap();
                (rows, duplicates)
            },
        )
    }

    fn assert_once(dir: &Path, lines: &[String]) {
        let mut stored: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let archive = Archive::open(dir).unwrap();
        for file in archive.catalog.files(&Scope::default()).unwrap() {
            read::lines(&file.path, |it| *stored.entry(it.bytes.to_vec()).or_default() += 1)
                .unwrap();
        }
        let want = lines.iter().map(|it| (it.clone().into_bytes(), 1)).collect();
        assert_eq!(stored, want);
    }

    #[test]
    fn marks_that_collide_and_are_forgotten_neither_drop_an_event_nor_store_it_twice() {
        let lines = lines(400);
        for (mask, marks_max) in [(0, 10), (3, 10), (u64::MAX, 10), (7, 1_000), (u64::MAX, 1_000)] {
            let sieve = || Sieve { known: Known::forgetful(mask, marks_max), ..Sieve::default() };
            let dir = tempfile::tempdir().unwrap();
            let count = lines.len() as u64;
            assert_eq!(take(dir.path(), sieve(), &lines, 7), (count, 0), "{mask} {marks_max}");
            let again: Vec<String> = lines.iter().skip(13).cloned().collect();
            assert_eq!(take(dir.path(), sieve(), &again, 11), (0, count - 13));
            let twice: Vec<String> = lines.iter().chain(&lines).cloned().collect();
            assert_eq!(take(dir.path(), sieve(), &twice, 5), (0, 2 * count));
            assert_once(dir.path(), &lines);
        }
    }
}
