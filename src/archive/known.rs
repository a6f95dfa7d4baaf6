//! Which events the archive holds already: asked of every row before it is taken.
//!
//! One rule: a row counts as known only when its leaf was found again, at its stage time and in
//! its cluster. Everything here that is smaller than a leaf only says where to look, and whatever
//! cannot be read back makes a row new: storing an event twice is bad, losing one is worse.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::catalog::{Catalog, CatalogError, Scope};
use super::marks::{GIST_COLUMNS, Gists, MARK_COLUMNS, Marks, NONE};
use super::read::{self, Group, ReadError};
use super::stored::{StoredFile, part_path};
use crate::seal::leaf::{Hash, leaf};

/// Marks that are held, in two generations of half as many. They fill two tables of 2^20 places: 19 MB, and
/// at 1,600 events a second 10 to 19 minutes.
pub const MARKS_MAX: usize = 2 * 917_504;

/// Slices of time of one generation. Genuine logs fill each with thousands of events; without a
/// bound, whoever makes the times up fills the memory with empty ones.
const SLICES_MAX: usize = 65_536;

/// Bytes of what was read back from files and is kept for the next question.
const READ_BYTES_MAX: usize = 16 << 20;

/// Event time is known in slices of this, µs: the first row of one brings in what the files hold of it.
const SLICE: i64 = 60_000_000;

/// The files of a day are looked up at a time, µs.
const DAY: i64 = 86_400_000_000;

/// What a row is looked up by.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Its cluster.
    pub cluster: &'a Arc<str>,
    /// Its stage time, µs.
    pub time: i64,
    /// Its mark; never [`NONE`].
    pub mark: u64,
}

/// A cluster and the number of a slice.
type Slice = (Arc<str>, i64);

/// Marks hash to themselves.
#[derive(Debug, Default, Clone, Copy)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|it| self.0 = self.0.rotate_left(8) ^ u64::from(*it));
    }

    fn write_u64(&mut self, mark: u64) {
        self.0 = mark;
    }
}

#[derive(Debug, Default)]
struct Generation {
    marks: HashSet<u64, BuildHasherDefault<Itself>>,
    /// Of these slices every mark is here, or in the generation after this one.
    slices: HashSet<Slice>,
}

/// What the archive holds, as far as it was asked.
#[derive(Debug)]
pub struct Known {
    young: Generation,
    old: Generation,
    /// The slice of the last row.
    last: Option<Slice>,
    listing: Option<Listing>,
    read: Read,
    marks_max: usize,
    /// Marks are cut to these bits: all of them, but in tests.
    mask: u64,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            young: Generation::default(),
            old: Generation::default(),
            last: None,
            listing: None,
            read: Read::default(),
            marks_max: MARKS_MAX,
            mask: u64::MAX,
        }
    }
}

impl Known {
    /// Holds no more marks than that.
    pub fn holding(marks_max: usize) -> Known {
        Known { marks_max, ..Known::default() }
    }

    /// Cuts marks to a few bits and holds few of them, so that nothing but the comparison of
    /// leaves keeps events apart.
    #[cfg(test)]
    pub(crate) fn forgetful(mask: u64, marks_max: usize) -> Known {
        Known { mask, marks_max, ..Known::default() }
    }

    /// Whether no event with that audit ID and stage is known; from here on there is one. If it is
    /// not new, [`Known::holds`] says whether it is the same event.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn is_new(&mut self, catalog: &Catalog, key: &Key<'_>) -> Result<bool, CatalogError> {
        let slice = key.time.div_euclid(SLICE);
        let same = |it: &Slice| it.1 == slice && *it.0 == **key.cluster;
        if !self.last.as_ref().is_some_and(same) {
            self.fill(catalog, (Arc::clone(key.cluster), slice))?;
        }
        let mark = key.mark & self.mask;
        Ok(self.young.marks.insert(mark) && !self.old.marks.contains(&mark))
    }

    /// Whether a file of the archive holds an event with that leaf and stage time.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn holds(
        &mut self,
        catalog: &Catalog,
        key: &Key<'_>,
        leaf: &Hash,
    ) -> Result<bool, CatalogError> {
        let files = self.files(catalog, key.cluster, (key.time, key.time))?;
        Ok(files.iter().any(|it| self.read.has_leaf(catalog, it, key.time, leaf)))
    }

    /// Whether a file of the archive holds an event with that stage time and gist.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn holds_gist(
        &mut self,
        catalog: &Catalog,
        key: &Key<'_>,
        gist: u64,
    ) -> Result<bool, CatalogError> {
        let files = self.files(catalog, key.cluster, (key.time, key.time))?;
        Ok(files.iter().any(|it| self.read.has_gist(it, key.time, gist)))
    }

    /// Files came or went, and every row that was taken lies in one: what is too much to remember
    /// is forgotten here, and can be read back.
    pub fn changed(&mut self) {
        self.listing = None;
        if self.young.marks.len() >= self.marks_max / 2 || self.young.slices.len() >= SLICES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.last = None;
        }
    }

    /// Makes every mark of a slice known.
    fn fill(&mut self, catalog: &Catalog, slice: Slice) -> Result<(), CatalogError> {
        if !self.young.slices.contains(&slice) && !self.old.slices.contains(&slice) {
            let first = slice.1.saturating_mul(SLICE);
            let last = first.saturating_add(SLICE - 1);
            for file in self.files(catalog, &slice.0, (first, last))? {
                let (marks, mask) = (&mut self.young.marks, self.mask);
                self.read.marks(&file, (first, last), |mark| {
                    marks.insert(mark & mask);
                });
            }
            self.young.slices.insert(slice.clone());
        }
        self.last = Some(slice);
        Ok(())
    }

    /// The files that hold events of that cluster between these two times, which are of one day.
    fn files(
        &mut self,
        catalog: &Catalog,
        cluster: &Arc<str>,
        (first, last): (i64, i64),
    ) -> Result<Vec<StoredFile>, CatalogError> {
        let day = first.div_euclid(DAY);
        let fits = |it: &Listing| it.day == day && *it.cluster == **cluster;
        let listing = match self.listing.take().filter(fits) {
            Some(listing) => listing,
            None => Listing::of(catalog, cluster, day)?,
        };
        let within = |it: &&StoredFile| {
            it.time_first.is_some_and(|it| it <= last) && it.time_last.is_some_and(|it| it >= first)
        };
        let files = listing.files.iter().filter(within).cloned().collect();
        self.listing = Some(listing);
        Ok(files)
    }
}

/// The files of one cluster that hold events of one day.
#[derive(Debug)]
struct Listing {
    cluster: Arc<str>,
    day: i64,
    files: Vec<StoredFile>,
}

impl Listing {
    fn of(catalog: &Catalog, cluster: &Arc<str>, day: i64) -> Result<Listing, CatalogError> {
        let scope = Scope {
            since: Some(day.saturating_mul(DAY)),
            until: Some(day.saturating_add(1).saturating_mul(DAY)),
            cluster: Some(cluster.to_string()),
            wanted: None,
        };
        Ok(Listing { cluster: Arc::clone(cluster), day, files: catalog.files(&scope)? })
    }
}

/// What is read back of a row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Marks,
    Gists,
    Leaves,
}

/// One row group of one file, read back and sorted.
#[derive(Debug, Default)]
struct Piece {
    /// Times and marks, or times and gists.
    pairs: Vec<(i64, u64)>,
    leaves: Vec<Hash>,
}

impl Piece {
    fn bytes(&self) -> usize {
        self.pairs.len() * size_of::<(i64, u64)>() + self.leaves.len() * size_of::<Hash>()
    }
}

/// The pieces that were read last, the newest at the end; and the row groups of the files they are of.
#[derive(Debug, Default)]
struct Read {
    pieces: Vec<(String, usize, What, Piece)>,
    groups: Option<(String, Vec<Group>)>,
    bytes: usize,
}

impl Read {
    fn marks(&mut self, file: &StoredFile, (first, last): (i64, i64), mut take: impl FnMut(u64)) {
        for group in self.groups(file, (first, last)) {
            let load = || pairs(file, group, &MARK_COLUMNS, |_, marks| Ok(marks));
            let piece = self.piece(file, group, What::Marks, load);
            let from = piece.pairs.partition_point(|it| it.0 < first);
            let pairs = piece.pairs.iter().skip(from).take_while(|it| it.0 <= last);
            pairs.for_each(|(_, mark)| take(*mark));
        }
    }

    fn has_gist(&mut self, file: &StoredFile, time: i64, gist: u64) -> bool {
        self.groups(file, (time, time)).into_iter().any(|group| {
            let load = || {
                pairs(file, group, &GIST_COLUMNS, |batch, marks| {
                    let gists = Gists::new(batch)?;
                    let of = |(row, mark): (usize, u64)| {
                        if mark == NONE { NONE } else { gists.of(row, mark).max(1) }
                    };
                    Ok(marks.into_iter().enumerate().map(of).collect())
                })
            };
            let piece = self.piece(file, group, What::Gists, load);
            piece.pairs.binary_search(&(time, gist.max(1))).is_ok()
        })
    }

    fn has_leaf(&mut self, catalog: &Catalog, file: &StoredFile, time: i64, wanted: &Hash) -> bool {
        let is_part = file.path == part_path(catalog.dir(), &file.id);
        let groups = if is_part { vec![0] } else { self.groups(file, (time, time)) };
        groups.into_iter().any(|group| {
            let load = || {
                let mut leaves: Vec<Hash> = Vec::new();
                // The catalog has the leaves of parts.
                match catalog.part_proof(&file.id) {
                    Ok((of_part, _)) if is_part => leaves.extend(of_part.as_chunks().0),
                    _ => read::lines_of(&file.path, group, |it| leaves.push(leaf(it.bytes)))?,
                }
                leaves.sort_unstable();
                Ok(Piece { leaves, ..Piece::default() })
            };
            self.piece(file, group, What::Leaves, load).leaves.binary_search(wanted).is_ok()
        })
    }

    /// The row groups that can hold an event of these times.
    fn groups(&mut self, file: &StoredFile, (first, last): (i64, i64)) -> Vec<usize> {
        if self.groups.as_ref().is_none_or(|(id, _)| *id != file.id) {
            let groups = read::groups(&file.path).unwrap_or_else(|error| {
                unreadable(file, &error);
                Vec::new()
            });
            self.groups = Some((file.id.clone(), groups));
        }
        let within = |it: &&Group| it.time.is_none_or(|it| it.0 <= last && it.1 >= first);
        let groups = self.groups.iter().flat_map(|(_, groups)| groups);
        groups.filter(within).map(|it| it.at).collect()
    }

    fn piece(
        &mut self,
        file: &StoredFile,
        group: usize,
        what: What,
        load: impl FnOnce() -> Result<Piece, ReadError>,
    ) -> &Piece {
        let mine =
            |it: &(String, usize, What, Piece)| it.1 == group && it.2 == what && it.0 == file.id;
        let piece = match self.pieces.iter().position(mine) {
            Some(at) => self.pieces.remove(at).3,
            None => {
                let piece = load().unwrap_or_else(|error| {
                    unreadable(file, &error);
                    Piece::default()
                });
                self.bytes += piece.bytes();
                piece
            }
        };
        while self.bytes > READ_BYTES_MAX && !self.pieces.is_empty() {
            self.bytes -= self.pieces.remove(0).3.bytes();
        }
        self.pieces.push((file.id.clone(), group, what, piece));
        self.pieces.last().map_or(const { &EMPTY }, |it| &it.3)
    }
}

static EMPTY: Piece = Piece { pairs: Vec::new(), leaves: Vec::new() };

fn unreadable(file: &StoredFile, error: &ReadError) {
    tracing::warn!(
        file = %file.path.display(),
        error = crate::cause::line(error),
        "a stored file cannot be compared with what arrives; an event that it holds would be stored again"
    );
}

/// The times of a row group, and what `make` makes of each row, sorted; without those of [`NONE`].
fn pairs(
    file: &StoredFile,
    group: usize,
    columns: &[&str],
    make: impl Fn(&RecordBatch, Vec<u64>) -> Result<Vec<u64>, ArrowError>,
) -> Result<Piece, ReadError> {
    let failed = ReadError::arrow(&file.path);
    let mut pairs = Vec::new();
    for batch in read::batches_of(&file.path, group, columns)? {
        let batch = batch.map_err(&failed)?;
        let marks = Marks::new(&batch).map_err(&failed)?;
        let made = make(&batch, marks.of_rows(&file.cluster)).map_err(&failed)?;
        pairs.extend(marks.times().iter().copied().zip(made).filter(|it| it.1 != NONE));
    }
    pairs.sort_unstable();
    Ok(Piece { pairs, ..Piece::default() })
}
