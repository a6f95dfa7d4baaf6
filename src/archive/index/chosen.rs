//! What is wanted -> the files that may hold it.

use std::cmp::Reverse;

use super::run::{Run, RunError};
use super::upkeep::{Gaps, RunRow};
use super::wanted::Wanted;
use crate::archive::catalog::{Catalog, CatalogError, EVERY_PLACE, Scope};
use crate::archive::stored::StoredFile;

/// How often the runs are listed anew because a daemon merged some of them meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// With more ranges than this the whole list is read, and what is not in them left out.
const RANGES_MAX: usize = 4_096;

/// Places in the ledger, in order, both ends included.
type Ranges = Vec<(u64, u64)>;

impl Catalog {
    /// The files that can hold an event of that scope and may hold what is wanted, newest events first.
    pub(in crate::archive) fn files_with(
        &self,
        scope: &Scope,
        wanted: &Wanted,
    ) -> Result<Vec<StoredFile>, CatalogError> {
        for attempt in 1.. {
            // The runs and the files are those of one moment.
            let snapshot = self.conn.unchecked_transaction().map_err(self.failed("read"))?;
            let runs = self.runs()?;
            let Some(ranges) = self.ranges(&runs, wanted, attempt == ATTEMPTS_MAX) else {
                continue;
            };
            let mut files = self.parts_in(scope)?;
            if ranges.len() <= RANGES_MAX {
                for range in &ranges {
                    files.extend(self.segments_in(scope, *range)?.into_iter().map(|it| it.1));
                }
            } else {
                let all = self.segments_in(scope, EVERY_PLACE)?;
                files.extend(all.into_iter().filter(|it| within(&ranges, it.0)).map(|it| it.1));
            }
            drop(snapshot);
            files.sort_by_key(|it| Reverse((it.time_last, it.seq_first)));
            return Ok(files);
        }
        unreachable!("the last attempt gives an answer")
    }

    /// The places of segments that may hold it. `None`: a run is not there any more, and it is not the `last` attempt.
    fn ranges(&self, runs: &[RunRow], wanted: &Wanted, last: bool) -> Option<Ranges> {
        let mut ranges = Gaps::of(runs).0;
        for row in runs {
            match self.places(row, wanted) {
                Ok(places) => {
                    ranges.extend(places.into_iter().map(|it| (row.first + it, row.first + it)))
                }
                Err(error) if error.is_missing() && !last => return None,
                Err(error) => {
                    tracing::warn!(
                        error = crate::cause::line(&error),
                        "a file of the index cannot be read; the segments it speaks of are all read"
                    );
                    ranges.push((row.first, row.last));
                }
            }
        }
        ranges.sort_unstable();
        Some(joined(ranges))
    }

    fn places(&self, row: &RunRow, wanted: &Wanted) -> Result<Vec<u64>, RunError> {
        let run = Run::open(self.dir(), &row.name)?;
        wanted.places(&mut |hash| run.find(hash))
    }
}

/// The same places with neighbours as one range.
fn joined(ranges: Ranges) -> Ranges {
    let mut all = Ranges::new();
    for (first, last) in ranges {
        match all.last_mut() {
            Some(before) if before.1.saturating_add(1) >= first => before.1 = before.1.max(last),
            _ => all.push((first, last)),
        }
    }
    all
}

fn within(ranges: &[(u64, u64)], place: u64) -> bool {
    let after = ranges.partition_point(|it| it.0 <= place);
    after.checked_sub(1).and_then(|it| ranges.get(it)).is_some_and(|it| it.1 >= place)
}
