//! Which runs there are, which are to be merged, and which segments have none: planned from the catalog, carried out
//! aside, recorded with a segment.
//!
//! One rule: a run counts once the transaction that names it has ended, and a file is removed only after the one
//! that names it no more.

use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, Transaction, params};

use super::build::{self, BuildError};
use super::run::{self, Run, RunError, SLOTS_MAX};
use super::values;
use crate::archive::catalog::{Catalog, CatalogError, EVERY_PLACE, Scope, signed, unsigned};
use crate::archive::stored::StoredFile;
use crate::durable::{self, DurableError};

/// Runs of so many segments are merged into one, and runs of so many times as many again.
pub const FANOUT: u64 = 32;

/// A run of so many merged runs is not merged again: 1,024 segments of a gibibyte are 700 MB.
const LEVEL_MAX: u32 = 2;

/// So many segments that have no run get one beside a new segment: half a second of work where they are large.
const MENDED_MAX: usize = 16;

/// No run is made that has more entries: to merge it would keep the next segment waiting for minutes.
const ENTRIES_MAX: u64 = 1 << 30;

/// A run as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// The place in the ledger of the first segment it speaks of.
    pub first: u64,
    /// The place of the last one. It speaks of every segment between.
    pub last: u64,
    /// How often what is in it was merged.
    pub level: u32,
    /// Its file's name without the ending.
    pub name: String,
    /// How many hashes of how many segments.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What is to be done beside the next segment.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// Neighbours that are to be one run.
    merge: Vec<RunRow>,
    /// Segments that no run speaks of, each after its place in the ledger.
    missing: Vec<(u64, StoredFile)>,
}

/// Runs that were written and count for nothing yet.
#[derive(Debug, Default)]
pub struct Made {
    /// The new segment's, without its place.
    segment: Option<RunRow>,
    others: Vec<RunRow>,
    /// Runs that are merged, or no good.
    gone: Vec<RunRow>,
}

impl Upkeep {
    /// What is to be done.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn due(catalog: &Catalog) -> Result<Upkeep, CatalogError> {
        let runs = catalog.runs()?;
        let gaps = Gaps::of(&runs);
        let mut missing = Vec::new();
        for (first, last) in &gaps.0 {
            missing.extend(catalog.segments_in(&Scope::default(), (*first, *last))?);
        }
        let without: Vec<u64> = missing.iter().map(|(place, _)| *place).collect();
        // One that cannot be read must not be in the way of the others.
        let turn = usize::try_from(catalog.next_seq()?).unwrap_or(0) % missing.len().max(1);
        missing.rotate_left(turn);
        missing.truncate(MENDED_MAX);
        Ok(Upkeep { merge: mergeable(&runs, &without), missing })
    }

    /// Writes the run of a new segment, and does what is due.
    ///
    /// # Errors
    /// When the segment cannot be read, or the disk refuses.
    pub fn carry_out(self, dir: &Path, segment: &StoredFile) -> Result<Made, BuildError> {
        let mut made = Made { segment: Some(of_segment(dir, segment, 0)?), ..Made::default() };
        for (place, older) in self.missing {
            match of_segment(dir, &older, place) {
                Ok(row) => made.others.push(row),
                Err(BuildError::Read(error)) => {
                    warn("a segment cannot be indexed; every query reads it", &error)
                }
                Err(error) => return Err(error),
            }
        }
        if !self.merge.is_empty() {
            made.merge(dir, self.merge)?;
        }
        Ok(made)
    }
}

fn warn(what: &str, error: &dyn std::error::Error) {
    tracing::warn!(error = crate::cause::line(error), "{what}");
}

fn of_segment(dir: &Path, segment: &StoredFile, place: u64) -> Result<RunRow, BuildError> {
    let name = segment.id.clone();
    let (entries, bytes) =
        build::of_values(dir, &name, values(&segment.path)?.into_iter().map(|it| (it, 0)), 1)?;
    Ok(RunRow { first: place, last: place, level: 0, name, entries, bytes })
}

impl Made {
    fn merge(&mut self, dir: &Path, runs: Vec<RunRow>) -> Result<(), BuildError> {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(()) };
        let level = runs.iter().map(|it| it.level).max().unwrap_or(0) + 1;
        let (first, last) = (first.first, last.last);
        let name = format!("{first:016}-{last:016}-{level}");
        let mut open = Vec::new();
        for row in &runs {
            match Run::open(dir, &row.name) {
                Ok(run) => open.push((run, row.first - first)),
                Err(error) => {
                    self.drop_run(row, &error);
                    return Ok(());
                }
            }
        }
        match build::of_runs(dir, &name, open, last - first + 1) {
            Ok((entries, bytes)) => {
                self.others.push(RunRow { first, last, level, name, entries, bytes });
                self.gone.extend(runs);
                Ok(())
            }
            // Which one it is, is in the error; the others are merged the next time.
            Err(BuildError::Run(error)) => {
                let damaged = runs.iter().find(|it| error.path() == run::path_of(dir, &it.name));
                damaged.into_iter().for_each(|it| self.drop_run(it, &error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// What cannot be read is of no use: its segments get new runs, one by one.
    fn drop_run(&mut self, row: &RunRow, error: &RunError) {
        warn("a file of the index is made again", error);
        self.gone.push(row.clone());
    }

    /// Records them, in the transaction that records the segment at that place of the ledger.
    pub(in crate::archive) fn record(
        &self,
        tx: &Transaction<'_>,
        place: u64,
    ) -> Result<(), rusqlite::Error> {
        for row in &self.gone {
            tx.prepare_cached("DELETE FROM runs WHERE name = ?1")?.execute([&row.name])?;
        }
        let segment =
            self.segment.iter().map(|it| RunRow { first: place, last: place, ..it.clone() });
        for row in segment.chain(self.others.iter().cloned()) {
            tx.prepare_cached("INSERT OR REPLACE INTO runs VALUES (?1,?2,?3,?4,?5,?6)")?.execute(
                params![
                    signed(row.first),
                    signed(row.last),
                    row.level,
                    row.name,
                    signed(row.entries),
                    signed(row.bytes)
                ],
            )?;
        }
        Ok(())
    }

    /// Removes the files that no row names any more.
    ///
    /// # Errors
    /// When the disk refuses; the next start removes what is left.
    pub(in crate::archive) fn clear(&self, dir: &Path) -> Result<(), DurableError> {
        let kept = |it: &&RunRow| self.others.iter().all(|other| other.name != it.name);
        self.gone
            .iter()
            .filter(kept)
            .try_for_each(|it| durable::remove(&run::path_of(dir, &it.name)))
    }
}

/// The oldest neighbours that are to be one run; none: there is nothing to merge. Between two neighbours there is no
/// segment `without` a run.
fn mergeable(runs: &[RunRow], without: &[u64]) -> Vec<RunRow> {
    for level in 0..LEVEL_MAX {
        let enough = FANOUT.pow(level + 1);
        let mut stretch: Vec<RunRow> = Vec::new();
        let mut entries = 0;
        for row in runs {
            let apart = stretch
                .last()
                .is_some_and(|it| without.iter().any(|place| (it.last..row.first).contains(place)));
            if row.level > level || apart || entries + row.entries > ENTRIES_MAX {
                stretch.clear();
                entries = 0;
            }
            if row.level > level {
                continue;
            }
            entries += row.entries;
            stretch.push(row.clone());
            let places = stretch.first().map_or(0, |it| row.last - it.first + 1);
            if stretch.len() > 1 && places >= enough && places <= SLOTS_MAX {
                return stretch;
            }
        }
    }
    Vec::new()
}

/// The places of the ledger that no run speaks of, both ends included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gaps(pub(super) Vec<(u64, u64)>);

impl Gaps {
    pub(super) fn of(runs: &[RunRow]) -> Gaps {
        let starts = std::iter::once(0).chain(runs.iter().map(|it| it.last + 1));
        let ends = runs.iter().map(|it| it.first.checked_sub(1)).chain([Some(EVERY_PLACE.1)]);
        let gaps = starts.zip(ends).filter_map(|(first, last)| Some((first, last?)));
        Gaps(gaps.filter(|(first, last)| first <= last).collect())
    }
}

impl Catalog {
    /// The runs of the index, in the order of what they speak of. An archive of an older kustos has none.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn runs(&self) -> Result<Vec<RunRow>, CatalogError> {
        let read = || -> Result<Vec<RunRow>, rusqlite::Error> {
            let there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'runs'";
            if self.conn.query_row(there, [], |_| Ok(())).optional()?.is_none() {
                return Ok(Vec::new());
            }
            let sql = "SELECT first, last, level, name, entries, bytes FROM runs ORDER BY first";
            let row = |row: &rusqlite::Row<'_>| {
                Ok(RunRow {
                    first: unsigned(row.get(0)?),
                    last: unsigned(row.get(1)?),
                    level: row.get(2)?,
                    name: row.get(3)?,
                    entries: unsigned(row.get(4)?),
                    bytes: unsigned(row.get(5)?),
                })
            };
            self.conn.prepare_cached(sql)?.query_map([], row)?.collect()
        };
        read().map_err(self.failed("read"))
    }

    /// The files of the index.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn run_files(&self) -> Result<Vec<PathBuf>, CatalogError> {
        Ok(self.runs()?.iter().map(|it| run::path_of(self.dir(), &it.name)).collect())
    }

    /// Removes the rows of runs that speak of no segment that is kept; gives the files that are then to be removed.
    pub(in crate::archive) fn drop_empty_runs(
        tx: &Transaction<'_>,
        dir: &Path,
    ) -> Result<Vec<PathBuf>, rusqlite::Error> {
        let sql = "DELETE FROM runs WHERE NOT EXISTS (SELECT 1 FROM segments WHERE expired IS NULL
                   AND ledger_index BETWEEN runs.first AND runs.last) RETURNING name";
        let name = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        let names: Vec<String> = tx.prepare(sql)?.query_map([], name)?.collect::<Result<_, _>>()?;
        Ok(names.iter().map(|it| run::path_of(dir, it)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first: u64, last: u64, level: u32) -> RunRow {
        RunRow { first, last, level, name: format!("{first}"), entries: 100, bytes: 0 }
    }

    fn merged(runs: &[RunRow], without: &[u64]) -> Option<(u64, u64)> {
        let runs = mergeable(runs, without);
        runs.first().zip(runs.last()).map(|(first, last)| (first.first, last.last))
    }

    #[test]
    fn neighbours_are_merged_as_soon_as_they_are_enough() {
        let single: Vec<RunRow> = (0..FANOUT + 3).map(|it| row(it, it, 0)).collect();
        assert_eq!(merged(&single, &[]), Some((0, FANOUT - 1)));
        assert_eq!(merged(&single[4..], &[]), None);
        let of = |count: u64| (0..count).map(|it| row(it * FANOUT, (it + 1) * FANOUT - 1, 1));
        let many: Vec<RunRow> = of(FANOUT).collect();
        assert_eq!(merged(&many, &[]), Some((0, FANOUT * FANOUT - 1)));
        assert_eq!(merged(&many[1..], &[]), None);
        let whole = [row(0, FANOUT * FANOUT - 1, 2), row(FANOUT * FANOUT, 2 * FANOUT * FANOUT, 2)];
        assert_eq!(merged(&whole, &[]), None);
    }

    #[test]
    fn a_run_that_was_made_again_is_merged_with_its_older_neighbours() {
        let mut runs: Vec<RunRow> =
            (0..FANOUT).map(|it| row(it * FANOUT, (it + 1) * FANOUT - 1, 1)).collect();
        runs.splice(3..4, (96..128).map(|it| row(it, it, 0)));
        assert_eq!(merged(&runs, &[]), Some((96, 127)));
        runs.drain(4..35);
        assert_eq!(merged(&runs, &[]), Some((0, FANOUT * FANOUT - 1)));
    }

    #[test]
    fn runs_are_not_merged_over_a_segment_that_has_none() {
        // Entry 5 of the ledger is an expiry; entry 9 a segment that could not be read.
        let runs: Vec<RunRow> =
            (0..FANOUT + 12).filter(|it| ![5, 9].contains(it)).map(|it| row(it, it, 0)).collect();
        assert_eq!(merged(&runs, &[]), Some((0, FANOUT - 1)));
        assert_eq!(merged(&runs, &[9]), Some((10, FANOUT + 9)));
    }

    #[test]
    fn no_run_becomes_larger_than_may_be() {
        let runs: Vec<RunRow> = (0..2 * FANOUT)
            .map(|it| RunRow { entries: ENTRIES_MAX / 20, ..row(it, it, 0) })
            .collect();
        assert_eq!(merged(&runs, &[]), None);
    }

    #[test]
    fn what_no_run_speaks_of_is_known() {
        let end = EVERY_PLACE.1;
        assert_eq!(Gaps::of(&[]).0, [(0, end)]);
        assert_eq!(Gaps::of(&[row(0, 3, 1), row(4, 4, 0)]).0, [(5, end)]);
        assert_eq!(Gaps::of(&[row(2, 3, 1), row(7, 7, 0)]).0, [(0, 1), (4, 6), (8, end)]);
    }
}
