//! Batches -> a part: a small Parquet file, synced, sorted so that like lies by like.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::columns::Batch;
use super::commit::NewPart;
use super::group;
use super::schema::{self, SKELETON};
use super::stored::{StoredFile, part_path};
use crate::durable::{self, DurableError};
use crate::hex::hex;
use crate::seal::leaf::digest;

/// Rows of a row group, and so of a full part.
pub const ROWS_MAX: usize = 131_072;

/// Bytes of lines in a part. Arrow's offsets are 31 bits wide, and a part is held in memory.
pub const BYTES_MAX: u64 = 512 << 20;

/// The compression level of every column. docs/decisions/003-skeleton-and-columns.md has the evidence.
const ZSTD_LEVEL: i32 = 3;

/// Bytes of a page of a body column, before compression. Neighbours are of one object and repeat each
/// other, which a page's compressor sees as far as the page goes: pages of 1 MiB make the archive 3 %
/// larger. Pages of 8 MiB make it 1 % smaller, and a merge beside an API server takes 20 MB more for them.
const BODY_PAGE_BYTES: usize = 4 << 20;

/// Why a part was not written.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Arrow refused the batches, which is a bug.
    #[error("the part's columns do not fit together")]
    Arrow(#[from] ArrowError),
    /// The encoder failed.
    #[error("the part could not be encoded")]
    Parquet(#[from] ParquetError),
    /// The disk refused it.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// A batch and the place its chunk's first line has in the archive.
#[derive(Debug)]
pub struct Placed {
    /// The rows.
    pub batch: Batch,
    /// `seq` of the chunk's first line.
    pub first: i64,
}

/// How parts and segments are encoded: they are one format.
pub fn properties() -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(ROWS_MAX))
        .set_created_by(format!("kustos {}", env!("CARGO_PKG_VERSION")));
    // A dictionary of bodies would be a copy of them, and no filter can use their bounds.
    for name in ["request_object", "response_object"] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_data_page_size_limit(ColumnPath::from(name), BODY_PAGE_BYTES);
    }
    // Nearly every value is another one: a dictionary would be the column again. Neighbours are
    // of one object, so that their times and places differ by little.
    for name in ["seq", "time", "received"] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    properties = properties
        .set_column_dictionary_enabled(ColumnPath::from("audit_id"), false)
        .set_column_encoding(ColumnPath::from("audit_id"), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    for name in ["request_object", "response_object", "annotations", "user_extra", SKELETON] {
        properties = properties
            .set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
    }
    Ok(properties.build())
}

/// Writes the part of batches that share a cluster and a date, and gives what the catalog
/// records of it. The batches stand in the order of `seq`.
///
/// # Errors
/// When the columns cannot be encoded or the disk refuses them. Nothing is recorded then; a
/// file that was begun is removed at the next start.
pub fn write(
    dir: &Path,
    placed: &[Placed],
    sources: String,
    now: i64,
) -> Result<NewPart, PartError> {
    let (Some(first), Some(last)) = (placed.first(), placed.last()) else {
        return Err(ArrowError::InvalidArgumentError("a part without rows".to_owned()).into());
    };
    let order = sorted(placed)?;
    let writer = ArrowWriter::try_new(Vec::new(), schema::events(), Some(properties()?))?;
    let (mut file, factory) = writer.into_serialized_writer()?;
    group::write(&mut file, &factory, &columns(placed)?, &order)?;
    let bytes = file.into_inner()?;
    let seq =
        |it: &Placed, ordinal: Option<&u32>| it.first + i64::from(ordinal.copied().unwrap_or(0));
    let seq_first = seq(first, first.batch.ordinals.first());
    let id = format!("{seq_first:016}");
    let path = part_path(dir, &id);
    // A crash after this leaves a file that no row names; `recover` removes it.
    durable::write(&path, &bytes)?;
    let times = || placed.iter().filter_map(|it| it.batch.times);
    let file = StoredFile {
        id,
        path,
        cluster: first.batch.cluster.to_string(),
        date: first.batch.date.clone(),
        rows: order.len() as u64,
        bytes_in: placed.iter().map(|it| it.batch.bytes_in).sum(),
        bytes_stored: bytes.len() as u64,
        seq_first,
        seq_last: seq(last, last.batch.ordinals.last()),
        time_first: times().map(|(first, _)| first).min(),
        time_last: times().map(|(_, last)| last).max(),
        created: now,
        sha256: hex(&digest(&bytes)),
    };
    let leaves = placed.iter().flat_map(|it| it.batch.leaves.as_flattened()).copied().collect();
    Ok(NewPart { file, leaves, sources })
}

/// Where each row of all batches goes.
fn sorted(placed: &[Placed]) -> Result<Vec<(usize, usize)>, ArrowError> {
    let keys: Result<Vec<Keys<'_>>, _> = placed.iter().map(|it| Keys::of(&it.batch.rows)).collect();
    Ok(order(&keys?))
}

/// The arrays of each column of `schema::events`, one a batch.
fn columns(placed: &[Placed]) -> Result<Vec<Vec<ArrayRef>>, ArrowError> {
    let schema = schema::events();
    let of = |name: &str| -> Result<Vec<ArrayRef>, ArrowError> {
        placed.iter().map(|it| if name == "seq" { Ok(seqs(it)) } else { named(it, name) }).collect()
    };
    schema.fields().iter().map(|field| of(field.name())).collect()
}

fn seqs(placed: &Placed) -> ArrayRef {
    let seqs = placed.batch.ordinals.iter().map(|it| placed.first + i64::from(*it));
    Arc::new(Int64Array::from_iter_values(seqs))
}

fn named(placed: &Placed, name: &str) -> Result<ArrayRef, ArrowError> {
    let missing = || ArrowError::SchemaError(format!("column {name} is missing"));
    placed.batch.rows.column_by_name(name).cloned().ok_or_else(missing)
}

/// The columns that rows are sorted by.
pub(super) struct Keys<'a> {
    user: &'a StringArray,
    resource: &'a StringArray,
    namespace: &'a StringArray,
    name: &'a StringArray,
}

/// The names of [`Keys`]' columns.
pub(super) const KEY_COLUMNS: [&str; 4] = ["user", "resource", "namespace", "name"];

impl<'a> Keys<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Keys<'a>, ArrowError> {
        let text = |name: &str| {
            batch
                .column_by_name(name)
                .and_then(|it| it.as_string_opt())
                .ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing")))
        };
        let [user, resource, namespace, name] = KEY_COLUMNS;
        Ok(Keys {
            user: text(user)?,
            resource: text(resource)?,
            namespace: text(namespace)?,
            name: text(name)?,
        })
    }

    fn len(&self) -> usize {
        use arrow::array::Array;
        self.user.len()
    }

    fn key(&self, row: usize) -> Key<'_> {
        let text = |array: &'a StringArray| {
            use arrow::array::Array;
            (!array.is_null(row)).then(|| array.value(row))
        };
        let person = text(self.user).filter(|it| !it.starts_with("system:"));
        Key {
            machine: person.is_none(),
            person,
            resource: text(self.resource),
            namespace: text(self.namespace),
            name: text(self.name),
        }
    }
}

/// People first, by user: they are few, and most questions are about them. Then by object,
/// so that the bodies of one object lie side by side.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    machine: bool,
    person: Option<&'a str>,
    resource: Option<&'a str>,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
}

/// Every row of several batches as (batch, row), in the order they are stored in.
pub(super) fn order(keys: &[Keys<'_>]) -> Vec<(usize, usize)> {
    let rows = keys
        .iter()
        .enumerate()
        .flat_map(|(batch, keys)| (0..keys.len()).map(move |row| (batch, row)));
    let mut sorted: Vec<(Key<'_>, (usize, usize))> = rows
        .filter_map(|(batch, row)| keys.get(batch).map(|it| (it.key(row), (batch, row))))
        .collect();
    // The place is part of the key, so rows of one object keep the order they came in.
    sorted.sort_unstable();
    sorted.into_iter().map(|(_, place)| place).collect()
}
