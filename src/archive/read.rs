//! A stored file -> its rows and lines, as they were written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatchReader};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use super::skeleton::Rebuilder;

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 4_096;

/// Rows that are decoded at a time with their bodies. Of more rows they are tens of megabytes, which the allocator takes
/// from the system and gives back each time; to have the pages cleared takes a quarter of the time of reading.
const LINE_ROWS: usize = 256;

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

    pub(crate) fn arrow(path: &Path) -> impl Fn(ArrowError) -> ReadError + use<> {
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
    let builder = chosen(open(path)?.with_batch_size(BATCH_ROWS), group, rows);
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    builder.with_projection(mask).build().map_err(ReadError::parquet(path))
}

/// As [`batches`], with texts as the file's own dictionaries where it has them: of each row group a value is
/// decoded once, and not for each row.
///
/// # Errors
/// As [`batches`].
pub fn distinct_batches(
    path: &Path,
    columns: &[&str],
) -> Result<ParquetRecordBatchReader, ReadError> {
    distinct(path, columns)?.build().map_err(ReadError::parquet(path))
}

/// As [`distinct_batches`], of one row group.
///
/// # Errors
/// As [`batches`].
pub fn distinct_batches_of(
    path: &Path,
    group: usize,
    columns: &[&str],
) -> Result<ParquetRecordBatchReader, ReadError> {
    let builder = distinct(path, columns)?.with_row_groups(vec![group]);
    builder.build().map_err(ReadError::parquet(path))
}

fn distinct(path: &Path, columns: &[&str]) -> Result<Builder, ReadError> {
    let kind = |field: &Field| match DIVERSE.contains(&field.name().as_str()) {
        true => field.data_type().clone(),
        false => distinct_type(field.data_type()),
    };
    let builder = open_as(path, kind)?.with_batch_size(BATCH_ROWS);
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    Ok(builder.with_projection(mask))
}

/// Whether both are one dictionary: of a row group that [`distinct_batches`] reads, the batches share theirs.
pub fn is_same_dictionary(one: &ArrayRef, other: &ArrayRef) -> bool {
    Arc::ptr_eq(one, other) || one.to_data().ptr_eq(&other.to_data())
}

/// Columns of texts of which nearly each is another one: the file has no whole dictionary of them.
const DIVERSE: [&str; 5] = ["audit_id", "request_uri", "name", "object_uid", "resource_version"];

fn distinct_type(stored: &DataType) -> DataType {
    match stored {
        DataType::Utf8 | DataType::Binary => {
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(stored.clone()))
        }
        DataType::List(item) => {
            let kind = distinct_type(item.data_type());
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(kind)))
        }
        other => other.clone(),
    }
}

type Builder = ParquetRecordBatchReaderBuilder<File>;

fn chosen(builder: Builder, group: usize, rows: &[u32]) -> Builder {
    let of_group = builder.metadata().row_groups().get(group).map_or(0, RowGroupMetaData::num_rows);
    let rows = rows.iter().filter_map(|it| usize::try_from(*it).ok());
    let of_group = usize::try_from(of_group).unwrap_or(0);
    let rows = rows.filter(|it| *it < of_group);
    let selection = RowSelection::from_consecutive_ranges(rows.map(|it| it..it + 1), of_group);
    builder.with_row_groups(vec![group]).with_row_selection(selection)
}

fn open(path: &Path) -> Result<Builder, ReadError> {
    let file =
        File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
    Builder::try_new(file).map_err(ReadError::parquet(path))
}

/// With the places of the pages, so that those without a chosen row are passed over, and with bodies as views of
/// their pages, so that they are copied once and not twice.
fn open_for_lines(path: &Path) -> Result<Builder, ReadError> {
    let kind = |field: &Field| match field.name().as_str() {
        "request_object" | "response_object" => DataType::Utf8View,
        _ => field.data_type().clone(),
    };
    Ok(open_as(path, kind)?.with_batch_size(LINE_ROWS))
}

/// With columns of other types than the file says; its columns may be those of another version.
fn open_as(path: &Path, kind: impl Fn(&Field) -> DataType) -> Result<Builder, ReadError> {
    let failed = ReadError::parquet(path);
    let file =
        File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
    let pages = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let told = ArrowReaderMetadata::load(&file, pages).map_err(&failed)?;
    let fields =
        told.schema().fields().iter().map(|it| it.as_ref().clone().with_data_type(kind(it)));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(told.metadata()), options);
    Ok(Builder::new_with_metadata(file, metadata.map_err(failed)?))
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
    let builder = open_for_lines(path)?;
    each_of(path, builder.build().map_err(ReadError::parquet(path))?, &mut take)
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
    let builder = open_for_lines(path)?.with_row_groups(vec![group]);
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
    let builder = chosen(open_for_lines(path)?, group, rows);
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
