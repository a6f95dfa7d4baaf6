//! A segment -> its run; runs of neighbours -> one.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

use super::run::{self, Cursor, Run, RunError, Writer};
use super::wanted::{FIELDS, hash_of};
use crate::archive::read::{self, ReadError};
use crate::durable::{self, DurableError};

/// Entries of all runs that are merged at a time: what fits a cache.
const STEP_ENTRIES: u64 = 16_384;

/// Why a run was not written.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The segment could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A run that is to be merged could not be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A step of the disk failed.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The run could not be written.
    #[error("{path} could not be written")]
    Io {
        /// The run's file.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: io::Error,
    },
}

/// The hashes of what stands in a stored file, some more than once.
///
/// # Errors
/// When the file cannot be read.
pub fn values(path: &Path) -> Result<Vec<u64>, ReadError> {
    let failed = ReadError::arrow(path);
    let mut gathered = Gathered::default();
    for batch in read::distinct_batches(path, &FIELDS)? {
        let batch = batch.map_err(&failed)?;
        for (field, name) in (0..).zip(FIELDS) {
            let missing = || ArrowError::SchemaError(format!("column {name} is missing"));
            let column = batch.column_by_name(name).ok_or_else(missing).map_err(&failed)?;
            gathered.add(field, column).map_err(&failed)?;
        }
    }
    Ok(gathered.hashes)
}

#[derive(Default)]
struct Gathered {
    hashes: Vec<u64>,
    /// Of each field the values that were added last: the batches of a row group share them.
    dictionaries: [Option<ArrayRef>; FIELDS.len()],
    /// Fields that are absent somewhere.
    absent: HashSet<u64>,
}

impl Gathered {
    fn add(&mut self, field: u64, column: &ArrayRef) -> Result<(), ArrowError> {
        if column.null_count() > 0 && self.absent.insert(field) {
            self.hashes.push(hash_of(field, None));
        }
        let column = match column.as_list_opt::<i32>() {
            Some(list) => list.values(),
            None => column,
        };
        if let Some(texts) = column.as_string_opt::<i32>() {
            self.hashes.extend(texts.iter().flatten().map(|it| hash_of(field, Some(it))));
            return Ok(());
        }
        let wrong = || ArrowError::SchemaError(format!("a column has type {}", column.data_type()));
        let values = column.as_dictionary_opt::<Int32Type>().ok_or_else(wrong)?.values();
        let known = usize::try_from(field).ok().and_then(|it| self.dictionaries.get_mut(it));
        let Some(known) = known else { return Ok(()) };
        if known.as_ref().is_some_and(|it| read::is_same_dictionary(it, values)) {
            return Ok(());
        }
        let texts = values.as_string_opt::<i32>().ok_or_else(wrong)?;
        self.hashes.extend(texts.iter().flatten().map(|it| hash_of(field, Some(it))));
        *known = Some(Arc::clone(values));
        Ok(())
    }
}

/// Writes a run of hashes, each with the place of a segment in the run, in order; gives its entries and bytes.
///
/// # Errors
/// When the disk refuses. Nothing lasts then.
pub fn of_values(
    dir: &Path,
    name: &str,
    values: impl IntoIterator<Item = (u64, u64)>,
    slots: u64,
) -> Result<(u64, u64), BuildError> {
    let mut entries: Vec<u64> =
        values.into_iter().map(|(hash, slot)| run::entry(hash, slot)).collect();
    // Hashes that differ may be kept as the same.
    entries.sort_unstable();
    entries.dedup();
    let count = entries.len() as u64;
    let bytes = write(dir, name, |out| {
        let mut writer = Writer::new(out, name, count, slots)?;
        entries.iter().try_for_each(|it| writer.push(*it))?;
        Ok(writer.finish()?)
    })?;
    Ok((count, bytes))
}

/// Writes one run in place of several, each given with how far behind the first one it begins; gives its entries and
/// bytes.
///
/// # Errors
/// When a run cannot be read or the disk refuses. Nothing lasts then.
pub(super) fn of_runs(
    dir: &Path,
    name: &str,
    runs: Vec<(Run, u64)>,
    slots: u64,
) -> Result<(u64, u64), BuildError> {
    let count = runs.iter().map(|(run, _)| run.entries()).sum();
    let mut cursors: Vec<(Cursor, u64)> =
        runs.into_iter().map(|(run, behind)| (Cursor::new(run), behind)).collect();
    let mut step = Vec::new();
    let bytes = write(dir, name, |out| {
        let mut writer = Writer::new(out, name, count, slots)?;
        for bound in run::bounds(count, STEP_ENTRIES) {
            step.clear();
            for (cursor, behind) in &mut cursors {
                cursor.below(bound, |entry| step.push(run::moved(entry, *behind)))?;
            }
            step.sort_unstable();
            step.iter().try_for_each(|it| writer.push(*it))?;
        }
        Ok(writer.finish()?)
    })?;
    Ok((count, bytes))
}

/// What can go wrong while a file is filled.
enum Filling {
    Run(RunError),
    Io(io::Error),
}

impl From<io::Error> for Filling {
    fn from(error: io::Error) -> Filling {
        Filling::Io(error)
    }
}

impl From<RunError> for Filling {
    fn from(error: RunError) -> Filling {
        Filling::Run(error)
    }
}

/// Puts a run at its place, whole or not at all. A crash leaves a file that no row names.
fn write(
    dir: &Path,
    name: &str,
    fill: impl FnOnce(BufWriter<&File>) -> Result<u64, Filling>,
) -> Result<u64, BuildError> {
    let path = run::path_of(dir, name);
    let failed = |source| BuildError::Io { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        durable::create_dir_all(folder)?;
    }
    let beside = path.with_extension("run.tmp");
    let file = durable::step_on("a run is created", || File::create(&beside)).map_err(failed)?;
    let refused = || Filling::Io(io::Error::from(io::ErrorKind::StorageFull));
    let written = durable::step_filling("a run is written", &file, refused, || {
        fill(BufWriter::with_capacity(1 << 20, &file))
    })
    .map_err(|it| match it {
        Filling::Run(error) => BuildError::Run(error),
        Filling::Io(source) => failed(source),
    })
    .and_then(|bytes| durable::sync_file(&file).map(|()| bytes).map_err(failed));
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(error) => {
            // What did not fit on the disk must not keep the next commit from fitting.
            durable::remove(&beside)?;
            return Err(error);
        }
    };
    durable::replace(&beside, &path)?;
    Ok(bytes)
}
