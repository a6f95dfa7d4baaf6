//! Stored events, in the order they came in, with little memory: cluster by cluster and date by date they lie in
//! files whose places overlap, and within a row group they are sorted by what they are about.
//!
//! One rule: a row group is read as soon as no other holds an earlier place, and what was read of it is
//! handed on once no unread one can. So memory holds a row group for each file that overlaps, and
//! not the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::stop::{Stop, guarded};
use crate::archive::catalog::{Catalog, CatalogError, Scope};
use crate::archive::copies::{self, CopiesError};
use crate::archive::read::{self, Line, ReadError};
use crate::archive::stored::StoredFile;

/// How often the list of files is read again because a daemon merged some of them meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// Row groups that are under way at one time, for each thread.
const GROUPS_EACH: usize = 2;

/// Why history was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<CopiesError> for HistoryError {
    fn from(error: CopiesError) -> HistoryError {
        match error {
            CopiesError::Catalog(error) => HistoryError::Catalog(error),
            CopiesError::Read(error) => HistoryError::Read(error),
        }
    }
}

/// Which history, and how it is read.
pub struct History<'a> {
    /// The archive.
    pub dir: &'a Path,
    /// Files that can hold an event of this scope are read.
    pub scope: Scope,
    /// Of the lines, those of other places; the places are in order.
    pub without: &'a [Range<i64>],
    /// Lines behind this place came later and are not read.
    pub seq_last: i64,
    /// How many threads.
    pub workers: usize,
    /// Ends it early.
    pub stop: &'a Stop,
}

impl History<'_> {
    fn reads(&self, seq: i64) -> bool {
        seq <= self.seq_last && !copies::within(self.without, seq)
    }
}

/// What was made of one line, and the place of the line in the archive.
pub type Placed<T> = (i64, T);

/// A run of lines that follow those before it.
#[derive(Debug)]
pub struct Run<T> {
    /// What was made of them, in their order.
    pub made: Vec<Placed<T>>,
    /// Files begun, and files there are.
    pub files: (usize, usize),
}

/// Takes lines of a file; adds what it makes of them. It is made once for each thread.
pub trait Reader: Send {
    /// What is made of a line.
    type Made: Send;
    /// Looks at the columns of a row group for the rows that are to be read: makes what is to be made of the others
    /// without their lines, and gives the rows whose lines are needed. `None`: all of them are.
    ///
    /// # Errors
    /// When the columns cannot be read.
    fn glance(
        &mut self,
        _file: &StoredFile,
        _group: usize,
        _reads: &dyn Fn(i64) -> bool,
        _made: &mut Vec<Placed<Self::Made>>,
    ) -> Result<Option<Vec<u32>>, ReadError> {
        Ok(None)
    }
    /// Reads one line.
    fn read(&mut self, file: &StoredFile, line: Line<'_>, made: &mut Vec<Placed<Self::Made>>);
    /// Leaves out what is not needed, once what was made of a row group is in its order.
    fn thin(&self, made: &mut Vec<Placed<Self::Made>>);
}

/// Reads history and hands what the readers made of it to `take`, in the order of `seq`.
///
/// # Errors
/// When a file cannot be read, or `take` fails.
pub fn read<R: Reader, E: From<HistoryError>>(
    history: &History<'_>,
    make: impl Fn() -> R,
    mut take: impl FnMut(Run<R::Made>) -> Result<(), E>,
) -> Result<(), E> {
    // Everything before this place was handed over.
    let mut done = i64::MIN;
    for attempt in 1.. {
        match over(history, &make, &mut done, &mut take) {
            // Parts were merged into a segment while they were read: the list of now has the segment.
            Err(Failed::Here(HistoryError::Read(error)))
                if error.is_missing() && attempt < ATTEMPTS_MAX => {}
            Err(Failed::Here(error)) => return Err(error.into()),
            Err(Failed::Taking(error)) => return Err(error),
            Ok(()) => break,
        }
    }
    Ok(())
}

enum Failed<E> {
    Here(HistoryError),
    Taking(E),
}

/// One row group to be read.
#[derive(Debug)]
struct Unit {
    /// Its number in the order of units.
    index: usize,
    /// The place of its file in the list.
    file: usize,
    group: usize,
    /// The smallest `seq` of all that is to be read after it; `None`: nothing is.
    next: Option<i64>,
}

/// Gives row groups out in the order of their first places. A file is opened when its turn has come.
struct Units<'f> {
    files: &'f [StoredFile],
    opened: usize,
    given: usize,
    /// First place, file, row group.
    open: BTreeSet<(i64, usize, usize)>,
    done: i64,
}

impl Units<'_> {
    fn next(&mut self) -> Result<Option<Unit>, ReadError> {
        while let Some(file) = self.files.get(self.opened) {
            if self.open.first().is_some_and(|(first, ..)| *first < file.seq_first) {
                break;
            }
            for group in read::groups(&file.path)? {
                let (first, last) = group.seq.unwrap_or((file.seq_first, file.seq_last));
                if last >= self.done {
                    self.open.insert((first, self.opened, group.at));
                }
            }
            self.opened += 1;
        }
        let Some((_, file, group)) = self.open.pop_first() else { return Ok(None) };
        let index = self.given;
        self.given += 1;
        let of_open = self.open.first().map(|(first, ..)| *first);
        let of_file = self.files.get(self.opened).map(|it| it.seq_first);
        let next = of_open.into_iter().chain(of_file).min();
        Ok(Some(Unit { index, file, group, next }))
    }
}

/// What came of a unit.
struct Outcome<T> {
    made: Vec<Placed<T>>,
    next: Option<i64>,
    begun: usize,
}

/// The number of a unit, and what came of it.
type Numbered<T> = (usize, Result<Outcome<T>, ReadError>);

fn over<R: Reader, E>(
    history: &History<'_>,
    make: &impl Fn() -> R,
    done: &mut i64,
    take: &mut impl FnMut(Run<R::Made>) -> Result<(), E>,
) -> Result<(), Failed<E>> {
    let files = files(history, *done).map_err(Failed::Here)?;
    let units = Units { files: &files, opened: 0, given: 0, open: BTreeSet::new(), done: *done };
    let (units, from) = (Mutex::new(units), *done);
    let threads = history.workers.max(1);
    std::thread::scope(|scope| {
        let (sender, outcomes) = sync_channel(threads);
        // A permit is taken before a unit and given back when the unit's turn has passed: one slow
        // unit does not let the others pile up.
        let (permit, permits) = sync_channel(threads * GROUPS_EACH);
        (0..threads * GROUPS_EACH).for_each(|_| permit.try_send(()).unwrap_or(()));
        let permits = std::sync::Arc::new(Mutex::new(permits));
        for index in 0..threads {
            let (sender, permits, units) = (sender.clone(), permits.clone(), &units);
            let (files, mut reader) = (&files, make());
            scope.spawn(guarded(&format!("history-{index}"), move || {
                while !history.stop.asked() && taken(&permits) {
                    let of = |seq| seq >= from && history.reads(seq);
                    let Some((at, outcome)) = one(files, units, of, &mut reader) else { return };
                    let failed = outcome.is_err();
                    if sender.send((at, outcome)).is_err() || failed {
                        return;
                    }
                }
            }));
        }
        drop((sender, permits));
        let passed = || permit.try_send(()).unwrap_or(());
        hand_over(&outcomes, passed, (done, files.len()), take)
    })
}

/// Waits for a permit; false: nobody takes what is read any more.
fn taken(permits: &Mutex<Receiver<()>>) -> bool {
    permits.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok()
}

/// The files that may hold what was not handed over, in the order of their first places.
fn files(history: &History<'_>, done: i64) -> Result<Vec<StoredFile>, HistoryError> {
    let mut files = Catalog::open(history.dir)?.files(&history.scope)?;
    files.retain(|it| it.seq_last >= done);
    files.sort_by(|left, right| (left.seq_first, &left.id).cmp(&(right.seq_first, &right.id)));
    Ok(files)
}

/// Reads the next unit. `None`: there is none.
fn one<R: Reader>(
    files: &[StoredFile],
    units: &Mutex<Units<'_>>,
    reads: impl Fn(i64) -> bool,
    reader: &mut R,
) -> Option<Numbered<R::Made>> {
    let (unit, begun) = {
        let mut units = units.lock().unwrap_or_else(PoisonError::into_inner);
        let index = units.given;
        match units.next() {
            Ok(unit) => (unit?, units.opened),
            Err(error) => {
                // Its place in the order, so that what came before it is handed over first.
                units.given += 1;
                return Some((index, Err(error)));
            }
        }
    };
    let file = files.get(unit.file)?;
    let mut made = Vec::new();
    let result = reader.glance(file, unit.group, &reads, &mut made).and_then(|rows| {
        let mut take = |line: Line<'_>| {
            if reads(line.seq) {
                reader.read(file, line, &mut made);
            }
        };
        match rows {
            None => read::lines_of(&file.path, unit.group, take),
            Some(rows) if rows.is_empty() => Ok(()),
            Some(rows) => read::lines_at(&file.path, unit.group, &rows, &mut take),
        }
    });
    made.sort_by_key(|(seq, _)| *seq);
    reader.thin(&mut made);
    Some((unit.index, result.map(|()| Outcome { made, next: unit.next, begun })))
}

/// Hands over what no unread unit can come before.
fn hand_over<T, E>(
    outcomes: &Receiver<Numbered<T>>,
    passed: impl Fn(),
    (done, files): (&mut i64, usize),
    take: &mut impl FnMut(Run<T>) -> Result<(), E>,
) -> Result<(), Failed<E>> {
    let mut early = BTreeMap::new();
    let mut held: Vec<Placed<T>> = Vec::new();
    let mut turn = 0;
    for (index, outcome) in outcomes {
        early.insert(index, outcome);
        while let Some(outcome) = early.remove(&turn) {
            turn += 1;
            let Outcome { made, next, begun } =
                outcome.map_err(|error| Failed::Here(error.into()))?;
            held.extend(made);
            // Runs that are in order already: this merges them.
            held.sort_by_key(|(seq, _)| *seq);
            let bound = next.unwrap_or(i64::MAX);
            let ready = held.partition_point(|(seq, _)| *seq < bound);
            let rest = held.split_off(ready);
            let made = std::mem::replace(&mut held, rest);
            take(Run { made, files: (begun, files) }).map_err(Failed::Taking)?;
            *done = bound;
            passed();
        }
    }
    Ok(())
}
