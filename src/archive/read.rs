//! A stored file -> its rows and lines, as they were written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatchReader};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::skeleton::Rebuilder;

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 4_096;

/// Why a stored file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be opened.
    #[error("{path} could not be opened")]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: io::Error,
    },
    /// It is no Parquet file of events, or a damaged one.
    #[error("{path} is no whole Parquet file of events")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The decoder's own words.
        #[source]
        source: ParquetError,
    },
    /// Its columns are not those of `events`.
    #[error("{path} lacks columns of table events")]
    Arrow {
        /// The file.
        path: PathBuf,
        /// Arrow's own words.
        #[source]
        source: ArrowError,
    },
}

impl ReadError {
    /// Whether the file was not there: a daemon may have merged it into a segment meanwhile.
    pub fn is_missing(&self) -> bool {
        matches!(self, ReadError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    pub(super) fn parquet(path: &Path) -> impl Fn(ParquetError) -> ReadError + use<> {
        let path = path.to_owned();
        move |source| ReadError::Parquet { path: path.clone(), source }
    }

    pub(super) fn arrow(path: &Path) -> impl Fn(ArrowError) -> ReadError + use<> {
        let path = path.to_owned();
        move |source| ReadError::Arrow { path: path.clone(), source }
    }
}

/// The rows of a stored file, some thousand at a time; of the named columns only, if any are named.
///
/// # Errors
/// When the file cannot be opened or is not Parquet.
pub fn batches(path: &Path, columns: &[&str]) -> Result<ParquetRecordBatchReader, ReadError> {
    batches_by(path, columns, BATCH_ROWS)
}

/// As [`batches`], at most so many rows at a time.
pub(super) fn batches_by(
    path: &Path,
    columns: &[&str],
    rows: usize,
) -> Result<ParquetRecordBatchReader, ReadError> {
    let failed = ReadError::parquet(path);
    let mut builder = open(path)?.with_batch_size(rows.min(BATCH_ROWS));
    if !columns.is_empty() {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    builder.build().map_err(failed)
}

/// As [`batches`], of one row group.
///
/// # Errors
/// As [`batches`].
pub fn batches_of(
    path: &Path,
    group: usize,
    columns: &[&str],
) -> Result<ParquetRecordBatchReader, ReadError> {
    let builder = open(path)?.with_batch_size(BATCH_ROWS).with_row_groups(vec![group]);
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    builder.with_projection(mask).build().map_err(ReadError::parquet(path))
}

/// As [`batches_of`], of some rows of the group, which are given in order.
///
/// # Errors
/// As [`batches`].
pub fn batches_at(
    path: &Path,
    group: usize,
    rows: &[u32],
    columns: &[&str],
) -> Result<ParquetRecordBatchReader, ReadError> {
    let builder = chosen(open(path)?, group, rows);
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    builder.with_projection(mask).build().map_err(ReadError::parquet(path))
}

type Builder = ParquetRecordBatchReaderBuilder<File>;

fn chosen(builder: Builder, group: usize, rows: &[u32]) -> Builder {
    let of_group = builder.metadata().row_groups().get(group).map_or(0, RowGroupMetaData::num_rows);
    let rows = rows.iter().filter_map(|it| usize::try_from(*it).ok());
    let of_group = usize::try_from(of_group).unwrap_or(0);
    let rows = rows.filter(|it| *it < of_group);
    let selection = RowSelection::from_consecutive_ranges(rows.map(|it| it..it + 1), of_group);
    builder.with_batch_size(BATCH_ROWS).with_row_groups(vec![group]).with_row_selection(selection)
}

fn open(path: &Path) -> Result<Builder, ReadError> {
    let file =
        File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(ReadError::parquet(path))
}

/// A row group: up to 131,072 rows that are sorted among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Its number in the file.
    pub at: usize,
    /// The smallest and the largest `seq` of its rows; `None`: the file does not say.
    pub seq: Option<(i64, i64)>,
    /// The earliest and the latest stage time, µs; `None`: the file does not say.
    pub time: Option<(i64, i64)>,
    /// How many rows it has.
    pub rows: usize,
}

/// The row groups of a stored file.
///
/// # Errors
/// When the file cannot be opened or is not Parquet.
pub fn groups(path: &Path) -> Result<Vec<Group>, ReadError> {
    let builder = open(path)?;
    // Columns of the schema and of the file are the same up to the first list.
    let place = |name| builder.schema().index_of(name).map_err(ReadError::arrow(path));
    let (seq, time) = (place("seq")?, place("time")?);
    let bounds =
        |group: &RowGroupMetaData, of: usize| match group.columns().get(of)?.statistics()? {
            Statistics::Int64(it) => it.min_opt().copied().zip(it.max_opt().copied()),
            _ => None,
        };
    let groups = builder.metadata().row_groups().iter().enumerate();
    let group = |(at, group): (usize, &RowGroupMetaData)| Group {
        at,
        seq: bounds(group, seq),
        time: bounds(group, time),
        rows: usize::try_from(group.num_rows()).unwrap_or(0),
    };
    Ok(groups.map(group).collect())
}

/// One stored line.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its place in the archive.
    pub seq: i64,
    /// Its bytes, as they arrived.
    pub bytes: &'a [u8],
}

/// Hands every line of a stored file to `take`, in the order they are stored in (not of `seq`).
///
/// # Errors
/// When the file cannot be read whole; lines before the damage were handed over.
pub fn lines(path: &Path, mut take: impl FnMut(Line<'_>)) -> Result<(), ReadError> {
    each_of(path, batches(path, &[])?, &mut take)
}

/// Hands every line of one row group to `take`, in the order they are stored in.
///
/// # Errors
/// As [`lines`].
pub fn lines_of(
    path: &Path,
    group: usize,
    mut take: impl FnMut(Line<'_>),
) -> Result<(), ReadError> {
    let builder = open(path)?.with_batch_size(BATCH_ROWS).with_row_groups(vec![group]);
    each_of(path, builder.build().map_err(ReadError::parquet(path))?, &mut take)
}

/// Hands some lines of one row group to `take`; the rows are given in order.
///
/// # Errors
/// As [`lines`].
pub fn lines_at(
    path: &Path,
    group: usize,
    rows: &[u32],
    mut take: impl FnMut(Line<'_>),
) -> Result<(), ReadError> {
    let builder = chosen(open(path)?, group, rows);
    each_of(path, builder.build().map_err(ReadError::parquet(path))?, &mut take)
}

fn each_of(
    path: &Path,
    reader: ParquetRecordBatchReader,
    take: &mut impl FnMut(Line<'_>),
) -> Result<(), ReadError> {
    debug_assert!(reader.schema().field_with_name("seq").is_ok());
    let mut bytes = Vec::new();
    for batch in reader {
        each_line(&batch.map_err(ReadError::arrow(path))?, &mut bytes, take)
            .map_err(ReadError::arrow(path))?;
    }
    Ok(())
}

fn each_line(
    batch: &RecordBatch,
    bytes: &mut Vec<u8>,
    take: &mut impl FnMut(Line<'_>),
) -> Result<(), ArrowError> {
    let rebuilder = Rebuilder::new(batch)?;
    let seqs = batch
        .column_by_name("seq")
        .and_then(|it| it.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| ArrowError::SchemaError("column seq is missing".to_owned()))?;
    for (row, seq) in seqs.values().iter().enumerate() {
        bytes.clear();
        rebuilder.rebuild(row, bytes);
        take(Line { seq: *seq, bytes });
    }
    Ok(())
}
