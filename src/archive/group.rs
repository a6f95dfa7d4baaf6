//! Rows in memory -> one row group of a Parquet file, in a given order, a column at a time.
//!
//! One rule: a column is gathered in slices that fit a cache. Gathered whole, the columns of a part would be
//! hundreds of megabytes more, written once and read once.

use std::io::Write;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;
use arrow::datatypes::{Field, FieldRef};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

use super::schema;

/// Rows that are gathered at a time.
const SLICE_ROWS: usize = 2_048;

/// With fewer rows, columns are not worth a thread: a daemon's parts of a second are small.
const THREADED_ROWS_MIN: usize = 16_384;

/// Writes the rows at these places (batch, row) as the next row group. `batches` has one array per batch for
/// each column of `schema::events`, in its order.
///
/// # Errors
/// When the columns cannot be encoded or the file not be written.
pub(super) fn write<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    factory: &ArrowRowGroupWriterFactory,
    columns: &[Vec<ArrayRef>],
    order: &[(usize, usize)],
) -> Result<(), ParquetError> {
    let schema = schema::events();
    let writers = factory.create_column_writers(file.flushed_row_groups().len())?;
    assert_eq!(writers.len(), schema.fields().len(), "each column is one leaf");
    let work = schema.fields().iter().zip(columns).zip(writers).enumerate();
    // The bodies come last and take longest: they are begun first.
    let work: Vec<_> = work.collect();
    let (work, done) = (Mutex::new(work), Mutex::new(Vec::new()));
    let encode_all = || -> Result<(), ParquetError> {
        loop {
            let next = work.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((at, ((field, arrays), mut writer))) = next else { return Ok(()) };
            let pieces: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
            encode(field, &pieces, &mut writer, order)?;
            let chunk = writer.close()?;
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, chunk));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    if order.len() < THREADED_ROWS_MIN || threads == 1 {
        encode_all()?;
    } else {
        std::thread::scope(|scope| {
            let start = |at| {
                let named = Builder::new().name(format!("encoder-{at}"));
                named.spawn_scoped(scope, encode_all).ok()
            };
            // Where a thread cannot be had, this one does its work.
            let others: Vec<_> = (1..threads).filter_map(start).collect();
            let mine = encode_all();
            let theirs = others.into_iter().map(|it| match it.join() {
                Ok(result) => result,
                Err(panic) => resume_unwind(panic),
            });
            theirs.chain([mine]).collect::<Result<(), ParquetError>>()
        })?;
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|it| it.0);
    let mut group = file.next_row_group()?;
    for (_, chunk) in done {
        chunk.append_to_row_group(&mut group)?;
    }
    group.close().map(drop)
}

/// Encodes the next values of one column: those at these places (piece, row) of its pieces.
///
/// # Errors
/// When it cannot be encoded.
pub(super) fn encode(
    field: &FieldRef,
    pieces: &[&dyn Array],
    writer: &mut ArrowColumnWriter,
    order: &[(usize, usize)],
) -> Result<(), ParquetError> {
    // In memory a column may be of another type than in the file: views of lines instead of copies.
    let kind = pieces.first().map_or(field.data_type(), |it| it.data_type());
    let field = Field::new(field.name(), kind.clone(), field.is_nullable());
    for slice in order.chunks(SLICE_ROWS) {
        let gathered = interleave(pieces, slice)?;
        for leaf in compute_leaves(&field, &gathered)? {
            writer.write(&leaf)?;
        }
    }
    Ok(())
}
