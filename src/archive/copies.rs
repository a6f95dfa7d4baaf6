//! Several archives -> the rows of each that stand in an archive before it too.
//!
//! One rule: a row is a copy only when its cluster, its stage time and every byte are those of a row of an earlier
//! archive (decision 016). Everything here that is smaller than a leaf only says which rows to compare, and what no
//! content identifies is nobody's copy.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;

use super::catalog::{Catalog, CatalogError, Scope};
use super::marks::{self, Marks, NONE};
use super::read::{self, ReadError};
use super::stored::StoredFile;
use crate::seal::leaf::leaf;

/// How often the files are listed anew because a daemon merged some of them meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// Bytes of stage times that are held; what was dropped is read again when it is needed.
const TIMES_BYTES_MAX: usize = 256 << 20;

/// The columns that say what an event is called and whether its content identifies it.
const NAME_COLUMNS: [&str; 4] = ["time", "audit_id", "stage", "integrity"];

/// Why it is not known what stands in several archives.
#[derive(Debug, thiserror::Error)]
pub enum CopiesError {
    /// A catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The files of several archives at one moment, and what is in them more than once.
#[derive(Debug, Default)]
pub struct Compared {
    /// The files of each archive that can hold an event of the scope, newest events first.
    pub archives: Vec<Vec<StoredFile>>,
    /// What each holds that an earlier one has.
    pub copies: Copies,
}

impl Compared {
    /// Lists and compares the archives, of which the first has what any two of them share. Rows outside
    /// the scope's time are not compared.
    ///
    /// # Errors
    /// When a catalog or a file cannot be read.
    pub fn of(dirs: &[impl AsRef<Path>], scope: &Scope) -> Result<Compared, CopiesError> {
        let mut attempt = 1;
        loop {
            let archives = dirs
                .iter()
                .map(|dir| Catalog::open(dir.as_ref())?.files(scope))
                .collect::<Result<Vec<_>, _>>()?;
            match Copies::find(&archives, scope, TIMES_BYTES_MAX) {
                Ok(copies) => return Ok(Compared { archives, copies }),
                // Parts were merged into a segment: the list of now has the segment.
                Err(error) if error.is_missing() && attempt < ATTEMPTS_MAX => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Rows that are left out where an event is to be seen once.
#[derive(Debug, Default)]
pub struct Copies {
    /// Of each archive the places, in order.
    places: Vec<Vec<Range<i64>>>,
    /// Of each file the rows, counted from its first, in order.
    rows: BTreeMap<PathBuf, Vec<Range<usize>>>,
    count: u64,
}

impl Copies {
    /// How many they are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The places (`seq`) of an archive's copies, in order.
    pub fn places(&self, archive: usize) -> &[Range<i64>] {
        self.places.get(archive).map_or(&[], Vec::as_slice)
    }

    /// The rows of a file that are copies, in order; none: it can be read as it is.
    pub fn rows(&self, path: &Path) -> &[Range<usize>] {
        self.rows.get(path).map_or(&[], Vec::as_slice)
    }

    fn find(
        archives: &[Vec<StoredFile>],
        scope: &Scope,
        times_bytes_max: usize,
    ) -> Result<Copies, ReadError> {
        let span = (
            scope.since.unwrap_or(i64::MIN),
            scope.until.map_or(i64::MAX, |it| it.saturating_sub(1)),
        );
        let mut copies = Copies { places: vec![Vec::new(); archives.len()], ..Copies::default() };
        let clusters: BTreeSet<&str> =
            archives.iter().flatten().map(|it| it.cluster.as_str()).collect();
        for cluster in clusters {
            let units = units(archives, cluster, span)?;
            let times = Times { bytes_max: times_bytes_max, span, ..Times::default() };
            copies.sweep(units, times)?;
        }
        copies.places.iter_mut().for_each(|it| *it = joined(std::mem::take(it)));
        copies.rows.values_mut().for_each(|it| *it = joined(std::mem::take(it)));
        Ok(copies)
    }

    /// Compares each row group with those of other archives whose times overlap its own.
    fn sweep(&mut self, mut units: Vec<Unit<'_>>, mut times: Times) -> Result<(), ReadError> {
        units.sort_by_key(|it| it.time.0);
        let mut open: Vec<Unit<'_>> = Vec::new();
        for mut unit in units {
            let (stay, passed) =
                open.into_iter().partition::<Vec<_>, _>(|it| it.time.1 >= unit.time.0);
            passed.into_iter().for_each(|it| self.add(it));
            open = stay;
            for other in &mut open {
                if other.archive < unit.archive {
                    compare(other, &mut unit, &mut times)?;
                } else if other.archive > unit.archive {
                    compare(&unit, other, &mut times)?;
                }
            }
            open.push(unit);
        }
        open.into_iter().for_each(|it| self.add(it));
        Ok(())
    }

    fn add(&mut self, unit: Unit<'_>) {
        // A row that two earlier archives have was found twice.
        let found: BTreeMap<u32, i64> = unit.copies.into_iter().collect();
        if found.is_empty() {
            return;
        }
        self.count += found.len() as u64;
        let row = |it: &u32| unit.first_row + usize::try_from(*it).unwrap_or(usize::MAX);
        let rows = joined(found.keys().map(|it| row(it)..row(it) + 1).collect());
        self.rows.entry(unit.file.path.clone()).or_default().extend(rows);
        let places = joined(found.values().map(|it| *it..*it + 1).collect());
        if let Some(of_archive) = self.places.get_mut(unit.archive) {
            of_archive.extend(places);
        }
    }
}

/// Whether a place is in one of these ranges, which are in order.
pub fn within(ranges: &[Range<i64>], place: i64) -> bool {
    let after = ranges.partition_point(|it| it.start <= place);
    after.checked_sub(1).and_then(|it| ranges.get(it)).is_some_and(|it| it.contains(&place))
}

/// A row group whose rows other archives may have.
#[derive(Debug)]
struct Unit<'f> {
    archive: usize,
    file: &'f StoredFile,
    group: usize,
    /// Rows of the file before it.
    first_row: usize,
    /// Its earliest and its latest stage time, µs.
    time: (i64, i64),
    /// Rows that an earlier archive has, with their places.
    copies: Vec<(u32, i64)>,
}

/// The row groups of a cluster that overlap one of another archive. Only files that overlap are opened.
fn units<'f>(
    archives: &'f [Vec<StoredFile>],
    cluster: &str,
    span: (i64, i64),
) -> Result<Vec<Unit<'f>>, ReadError> {
    let mut of_files = Vec::new();
    for (archive, files) in archives.iter().enumerate() {
        for file in files.iter().filter(|it| it.cluster == cluster) {
            let time = file.time_first.zip(file.time_last).and_then(|it| cut(it, span));
            of_files.extend(time.map(|it| (archive, it, file)));
        }
    }
    let mut of_groups = Vec::new();
    for (archive, time, file) in shared(of_files) {
        let mut first_row = 0;
        for group in read::groups(&file.path)? {
            let unit = Unit {
                archive,
                file,
                group: group.at,
                first_row,
                time: group.time.unwrap_or(time),
                copies: Vec::new(),
            };
            first_row += group.rows;
            of_groups.extend(cut(unit.time, span).map(|it| (archive, it, unit)));
        }
    }
    Ok(shared(of_groups).into_iter().map(|(_, _, unit)| unit).collect())
}

/// The part of a time that is in the span.
fn cut(time: (i64, i64), span: (i64, i64)) -> Option<(i64, i64)> {
    let both = (time.0.max(span.0), time.1.min(span.1));
    (both.0 <= both.1).then_some(both)
}

/// Those of an archive that overlap one of another.
fn shared<T>(all: Vec<(usize, (i64, i64), T)>) -> Vec<(usize, (i64, i64), T)> {
    // Of each archive the beginnings, in order, each with the latest end up to it.
    let mut spans: BTreeMap<usize, Vec<(i64, i64)>> = BTreeMap::new();
    all.iter().for_each(|(archive, time, _)| spans.entry(*archive).or_default().push(*time));
    for span in spans.values_mut() {
        span.sort_unstable();
        let mut latest = i64::MIN;
        for (_, last) in span.iter_mut() {
            latest = latest.max(*last);
            *last = latest;
        }
    }
    let overlaps = |archive: usize, (first, last): (i64, i64)| {
        spans.iter().filter(|(of, _)| **of != archive).any(|(_, span)| {
            let begun = span.partition_point(|it| it.0 <= last);
            begun.checked_sub(1).and_then(|it| span.get(it)).is_some_and(|it| it.1 >= first)
        })
    };
    all.into_iter().filter(|(archive, time, _)| overlaps(*archive, *time)).collect()
}

/// Rows of a row group with what they are compared by, in the order of that.
type Keyed<K> = Vec<(K, u32)>;

/// With their stage times.
type Timed = Keyed<i64>;

/// The stage times that were read last.
#[derive(Debug, Default)]
struct Times {
    held: VecDeque<((PathBuf, usize), Arc<Timed>)>,
    bytes: usize,
    bytes_max: usize,
    span: (i64, i64),
}

impl Times {
    fn of(&mut self, unit: &Unit<'_>) -> Result<Arc<Timed>, ReadError> {
        let mine = |it: &&((PathBuf, usize), _)| it.0.1 == unit.group && it.0.0 == unit.file.path;
        if let Some((_, times)) = self.held.iter().find(mine) {
            return Ok(Arc::clone(times));
        }
        let times = Arc::new(times(unit, self.span)?);
        self.bytes += size_of_val(times.as_slice());
        self.held.push_back(((unit.file.path.clone(), unit.group), Arc::clone(&times)));
        while self.bytes > self.bytes_max
            && let Some((_, gone)) = self.held.pop_front()
        {
            self.bytes -= size_of_val(gone.as_slice());
        }
        Ok(times)
    }
}

fn times(unit: &Unit<'_>, (first, last): (i64, i64)) -> Result<Timed, ReadError> {
    let path = &unit.file.path;
    let failed = ReadError::arrow(path);
    let mut times = Timed::new();
    let mut row: u32 = 0;
    for batch in read::batches_of(path, unit.group, &["time"])? {
        let batch = batch.map_err(&failed)?;
        let column = batch.column_by_name("time");
        let column = column.and_then(|it| it.as_primitive_opt::<TimestampMicrosecondType>());
        let missing = || failed(ArrowError::SchemaError("column time is missing".to_owned()));
        for time in column.ok_or_else(missing)? {
            times.extend(time.filter(|it| (first..=last).contains(it)).map(|it| (it, row)));
            row += 1;
        }
    }
    times.sort_unstable();
    Ok(times)
}

/// Notes the rows of `later` that `earlier`, of another archive, has too. What is cheap to read decides first which
/// rows of what is dear are read: stage times, then audit IDs and stages, then whole lines.
fn compare(earlier: &Unit<'_>, later: &mut Unit<'_>, times: &mut Times) -> Result<(), ReadError> {
    let (mine, theirs) = matching(&times.of(earlier)?, &times.of(later)?);
    if mine.is_empty() {
        return Ok(());
    }
    let (mine, theirs) = matching(&names(earlier, &mine)?, &names(later, &theirs)?);
    if mine.is_empty() {
        return Ok(());
    }
    let mut known = HashSet::new();
    read::lines_at(&earlier.file.path, earlier.group, &mine, |it| {
        known.insert(leaf(it.bytes));
    })?;
    let (mut rows, copies) = (theirs.iter(), &mut later.copies);
    read::lines_at(&later.file.path, later.group, &theirs, |it| {
        let row = rows.next().filter(|_| known.contains(&leaf(it.bytes)));
        copies.extend(row.map(|row| (*row, it.seq)));
    })
}

/// The time and the mark of those of these rows that have one, in order.
fn names(unit: &Unit<'_>, rows: &[u32]) -> Result<Keyed<(i64, u64)>, ReadError> {
    let path = &unit.file.path;
    let failed = ReadError::arrow(path);
    let (mut named, mut rows) = (Vec::new(), rows.iter());
    for batch in read::batches_at(path, unit.group, rows.as_slice(), &NAME_COLUMNS)? {
        let batch = batch.map_err(&failed)?;
        let columns = Marks::new(&batch).map_err(&failed)?;
        let marks = columns.of_rows(&unit.file.cluster);
        let envelopes = marks::envelopes(&batch).map_err(&failed)?;
        let names = columns.times().iter().copied().zip(marks).zip(envelopes).zip(rows.by_ref());
        let known = names.filter(|(((_, mark), envelope), _)| *mark != NONE && !envelope);
        named.extend(known.map(|((name, _), row)| (name, *row)));
    }
    named.sort_unstable();
    Ok(named)
}

/// The rows of both whose keys are in both, each in order. The lists are in the order of their keys.
fn matching<'r, K: Ord + Copy>(
    mut left: &'r [(K, u32)],
    mut right: &'r [(K, u32)],
) -> (Vec<u32>, Vec<u32>) {
    let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
    while let (Some((first, _)), Some((second, _))) = (left.first(), right.first()) {
        let key = *first.max(second);
        let [from_left, from_right] = [left, right].map(|it| from(it, |it| *it < key));
        let [rest_left, rest_right] = [from_left, from_right].map(|it| from(it, |it| *it <= key));
        let same = [from_left.len() - rest_left.len(), from_right.len() - rest_right.len()];
        if same.contains(&0) {
            (left, right) = (from_left, from_right);
            continue;
        }
        of_left.extend(from_left.iter().take(same[0]).map(|it| it.1));
        of_right.extend(from_right.iter().take(same[1]).map(|it| it.1));
        (left, right) = (rest_left, rest_right);
    }
    of_left.sort_unstable();
    of_right.sort_unstable();
    (of_left, of_right)
}

/// The rows behind those whose keys pass.
fn from<K>(list: &[(K, u32)], passes: impl Fn(&K) -> bool) -> &[(K, u32)] {
    list.split_at(list.partition_point(|it| passes(&it.0))).1
}

/// The same ranges in order, those that touch as one.
fn joined<T: Ord + Copy>(mut ranges: Vec<Range<T>>) -> Vec<Range<T>> {
    ranges.sort_unstable_by_key(|it| it.start);
    let mut all: Vec<Range<T>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::columns::Columns;
    use crate::archive::commit::Commit;
    use crate::archive::part::{self, Placed};
    use crate::decode::{self, Row};
    use crate::event::write_micros;

    fn line(number: i64, note: &str) -> String {
        let mut time = Vec::new();
        write_micros(1_795_401_553_250_000 + number * 1_000, &mut time);
        let time = String::from_utf8(time).unwrap();
        format!(r#"{{"auditID":"{number}","stage":"s","verb":"{note}","stageTimestamp":"{time}"}}"#)
    }

    /// An archive with a part for each list of lines.
    fn archive(parts: &[Vec<String>]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("parts")).unwrap();
        let mut catalog = Catalog::create(dir.path()).unwrap();
        let mut first = 0;
        for lines in parts {
            let lines: Vec<&[u8]> = lines.iter().map(|it| it.as_bytes()).collect();
            let mut columns = Columns::default();
            for (ordinal, line) in (0..).zip(&lines) {
                columns.append(&Row::plain(line, decode::line(line)), ordinal, leaf(line));
            }
            let batch = columns.finish(&"c".into(), "2026-11-23".to_owned(), 0, &lines).unwrap();
            let placed = [Placed { batch, first }];
            first += i64::try_from(lines.len()).unwrap();
            let part = part::write(dir.path(), &placed, "{}".to_owned(), 0).unwrap();
            let commit = Commit { parts: vec![part], next_seq: first, ..Commit::default() };
            catalog.commit(&commit).unwrap();
        }
        dir
    }

    fn lines(numbers: Range<i64>) -> Vec<String> {
        numbers.map(|it| line(it, "get")).collect()
    }

    /// The places of each archive's copies.
    fn copies(archives: &[&tempfile::TempDir], scope: &Scope, bytes: usize) -> Vec<Vec<i64>> {
        let dirs: Vec<&Path> = archives.iter().map(|it| it.path()).collect();
        let compared = Compared::of(&dirs, scope).unwrap();
        let found = Copies::find(&compared.archives, scope, bytes).unwrap();
        let places = |it: usize| found.places(it).iter().cloned().flatten().collect::<Vec<i64>>();
        let places: Vec<Vec<i64>> = (0..dirs.len()).map(places).collect();
        let rows: usize = compared
            .archives
            .iter()
            .flatten()
            .flat_map(|it| found.rows(&it.path))
            .map(ExactSizeIterator::len)
            .sum();
        assert_eq!(rows, places.iter().map(Vec::len).sum::<usize>());
        assert_eq!(found.count(), rows as u64);
        places
    }

    #[test]
    fn a_row_is_a_copy_only_of_an_earlier_archive_s_and_of_the_same_bytes() {
        let first = archive(&[lines(0..40), lines(40..60)]);
        let mut other = lines(50..70);
        // One time and one audit ID, other bytes; and what is no event, byte for byte in both.
        other.extend([line(7, "list"), "no event".to_owned()]);
        let second = archive(&[other, lines(30..35)]);
        let third = archive(&[vec!["no event".to_owned()], lines(33..36), lines(69..71)]);
        let all = [&first, &second, &third];
        let places = |it: Range<i64>| it.collect::<Vec<i64>>();
        let of_second = [places(0..10), places(22..27)].concat();
        // Of the third 33 to 35 stand in the first, 69 in the second, and 70 is new.
        let want = vec![vec![], of_second, vec![1, 2, 3, 4]];
        for bytes in [TIMES_BYTES_MAX, 0, 500] {
            assert_eq!(copies(&all, &Scope::default(), bytes), want, "{bytes}");
        }
        let at = |number: i64| Some(1_795_401_553_250_000 + number * 1_000);
        let scope = Scope { since: at(52), until: at(58), ..Scope::default() };
        assert_eq!(copies(&[&first, &second], &scope, 0), [vec![], places(2..8)]);
        let apart = archive(&[lines(100..110)]);
        assert_eq!(copies(&[&first, &apart], &Scope::default(), 0), [vec![], Vec::<i64>::new()]);
    }

    #[test]
    fn archives_that_do_not_overlap_are_not_opened() {
        let (first, second) = (archive(&[lines(0..9)]), archive(&[lines(9..20), lines(5..6)]));
        let dirs = [first.path(), second.path()];
        let compared = Compared::of(&dirs, &Scope::default()).unwrap();
        assert_eq!(compared.copies.count(), 1);
        let newest = &compared.archives[1][0];
        assert_eq!(newest.rows, 11);
        std::fs::remove_file(&newest.path).unwrap();
        // Its times are behind the first archive's, so nothing is asked of it.
        assert_eq!(Compared::of(&dirs, &Scope::default()).unwrap().copies.count(), 1);
        std::fs::remove_file(&compared.archives[0][0].path).unwrap();
        assert!(Compared::of(&dirs, &Scope::default()).is_err());
    }

    #[test]
    fn ranges_are_joined_and_looked_into() {
        let ranges = joined(vec![7..8, 1..2, 2..4, 3..5]);
        assert_eq!(ranges, [1..5, 7..8]);
        let inside: Vec<i64> = (0..10).filter(|it| within(&ranges, *it)).collect();
        assert_eq!(inside, [1, 2, 3, 4, 7]);
    }
}
