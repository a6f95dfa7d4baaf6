//! Small parts -> one sorted row group of a segment.
//!
//! One rule: decoded columns of more than a given number of bytes are never held. The parts are read again for each few columns
//! instead, and for each stretch of a column that is more by itself.

use std::io::Write;
use std::ops::Range;

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, FieldRef, Fields};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

use super::group;
use super::part::{self, KEY_COLUMNS, Keys, PartError};
use super::read::{self, ReadError};
use super::schema;
use super::segment::SegmentError;
use super::stored::StoredFile;

/// Decoded columns that are held at a time, unless less is to be. A sidecar seals a segment beside all else it does.
pub const HELD_BYTES_MAX: usize = 12 << 20;

/// Merges parts into the next row group of the file.
///
/// # Errors
/// When a part cannot be read, or the file not be written.
pub(super) fn write<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    factory: &ArrowRowGroupWriterFactory,
    parts: &[&StoredFile],
    held_bytes_max: usize,
) -> Result<(), SegmentError> {
    let parts = Parts { parts, held_bytes_max };
    let schema = schema::events();
    let fields = schema.fields();
    let Survey { order, sizes, all } = Survey::of(&parts, fields)?;
    let mut writers = factory.create_column_writers(file.flushed_row_groups().len())?.into_iter();
    let mut out = file.next_row_group()?;
    let mut from = 0;
    while let Some(first) = fields.get(from) {
        let next = fitting(&sizes, from, held_bytes_max);
        let columns = fields.get(from..next).unwrap_or_default();
        let whole = sizes.get(from).is_none_or(|it| *it <= held_bytes_max);
        let all_rows = || std::iter::once(0..order.len()).collect();
        let stretches = if whole { all_rows() } else { stretches(&parts, first, &order)? };
        let mut open: Vec<_> = columns.iter().zip(writers.by_ref().take(columns.len())).collect();
        if open.len() < columns.len() {
            return Err(ParquetError::General("a column too many".to_owned()).into());
        }
        for stretch in stretches {
            let order = order.get(stretch).unwrap_or_default();
            let (read, places);
            let (batches, order) = match &all {
                Some(all) => (all, order),
                None if whole => {
                    read = batches(&parts, columns, |_, it| Ok(it))?;
                    (&read, order)
                }
                None => {
                    (read, places) = chosen(&parts, columns, order)?;
                    (&read, places.as_slice())
                }
            };
            for (field, writer) in &mut open {
                group::encode(field, &pieces(batches, field)?, writer, order)?;
            }
        }
        for (_, writer) in open {
            writer.close()?.append_to_row_group(&mut out)?;
        }
        from = next;
    }
    out.close()?;
    Ok(())
}

/// What is merged, and how much of it may be held.
struct Parts<'p> {
    parts: &'p [&'p StoredFile],
    held_bytes_max: usize,
}

/// A batch, and a row of it.
type Place = (usize, usize);

/// What there is to know of parts before their columns are merged.
struct Survey {
    /// Every row as (batch, row), in the order it is to be written in.
    order: Vec<Place>,
    /// Bytes of each column, decoded.
    sizes: Vec<usize>,
    /// All columns of all parts, where they are few enough to be held.
    all: Option<Vec<RecordBatch>>,
}

impl Survey {
    fn of(parts: &Parts<'_>, fields: &Fields) -> Result<Survey, SegmentError> {
        let mut sizes = vec![0; fields.len()];
        let mut held = Some(Vec::new());
        let keys = batches(parts, fields, |_, batch| {
            for (size, field) in sizes.iter_mut().zip(fields) {
                *size += column(&batch, field)?.get_array_memory_size();
            }
            if sizes.iter().sum::<usize>() > parts.held_bytes_max {
                held = None;
            }
            let keys = KEY_COLUMNS.map(|name| batch.schema().index_of(name));
            let keys = keys.into_iter().collect::<Result<Vec<_>, _>>().map_err(PartError::Arrow)?;
            let keys = batch.project(&keys).map_err(PartError::Arrow)?;
            if let Some(held) = &mut held {
                held.push(batch);
            }
            Ok(keys)
        })?;
        let keys: Result<Vec<_>, _> = keys.iter().map(Keys::of).collect();
        let order = part::order(&keys.map_err(PartError::Arrow)?);
        Ok(Survey { order, sizes, all: held })
    }
}

/// Up to which column those from this one on may be held together; one at least.
fn fitting(sizes: &[usize], from: usize, held_bytes_max: usize) -> usize {
    let mut sum = 0;
    let fit = sizes.iter().skip(from).take_while(|it| {
        sum += **it;
        sum <= held_bytes_max
    });
    from + fit.count().max(1)
}

/// Every batch of some columns of the parts, in their order, as what `make` makes of it. The same rows are in the same
/// batch whatever the columns are.
fn batches<T>(
    parts: &Parts<'_>,
    columns: &[FieldRef],
    mut make: impl FnMut(usize, RecordBatch) -> Result<T, SegmentError>,
) -> Result<Vec<T>, SegmentError> {
    let names: Vec<&str> = columns.iter().map(|it| it.name().as_str()).collect();
    let mut made = Vec::new();
    for part in parts.parts {
        let each = part.bytes_in.div_ceil(part.rows.max(1)).max(1);
        let rows = usize::try_from(parts.held_bytes_max as u64 / 4 / each).unwrap_or(usize::MAX);
        for batch in read::batches_by(&part.path, &names, rows.max(1))? {
            made.push(make(made.len(), batch.map_err(ReadError::arrow(&part.path))?)?);
        }
    }
    Ok(made)
}

/// The rows at these places of a column, and the places they have now.
fn chosen(
    parts: &Parts<'_>,
    columns: &[FieldRef],
    order: &[Place],
) -> Result<(Vec<RecordBatch>, Vec<Place>), SegmentError> {
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let places = order.iter().map(|&(batch, row)| {
        if rows.len() <= batch {
            rows.resize(batch + 1, Vec::new());
        }
        let Some(rows) = rows.get_mut(batch) else { return (batch, 0) };
        rows.push(u32::try_from(row).unwrap_or(u32::MAX));
        (batch, rows.len() - 1)
    });
    let places = places.collect();
    let taken = batches(parts, columns, |at, batch| {
        let rows = UInt32Array::from(rows.get_mut(at).map(std::mem::take).unwrap_or_default());
        Ok(take_record_batch(&batch, &rows).map_err(PartError::Arrow)?)
    })?;
    Ok((taken, places))
}

/// The order in stretches of which each holds no more of a column than may be held, or one row.
fn stretches(
    parts: &Parts<'_>,
    field: &FieldRef,
    order: &[Place],
) -> Result<Vec<Range<usize>>, SegmentError> {
    let lengths = batches(parts, std::slice::from_ref(field), |_, batch| {
        Ok(lengths(column(&batch, field)?))
    })?;
    let (mut found, mut from, mut sum) = (Vec::new(), 0, 0);
    for (at, (batch, row)) in order.iter().enumerate() {
        let length = lengths.get(*batch).and_then(|it| it.get(*row)).copied().unwrap_or(0) as usize;
        if sum + length > parts.held_bytes_max && at > from {
            found.push(from..at);
            (from, sum) = (at, 0);
        }
        sum += length;
    }
    found.push(from..order.len());
    Ok(found)
}

/// The bytes of each value; of lists and the like, what is one's share.
fn lengths(array: &dyn Array) -> Vec<u32> {
    let of = |offsets: &[i32]| {
        offsets
            .windows(2)
            .map(|it| it.last().zip(it.first()).map_or(0, |(end, start)| end.abs_diff(*start)))
            .collect()
    };
    if let Some(array) = array.as_string_opt::<i32>() {
        return of(array.value_offsets());
    }
    if let Some(array) = array.as_binary_opt::<i32>() {
        return of(array.value_offsets());
    }
    let share = array.get_array_memory_size() / array.len().max(1);
    vec![u32::try_from(share).unwrap_or(u32::MAX); array.len()]
}

fn pieces<'b>(
    batches: &'b [RecordBatch],
    field: &Field,
) -> Result<Vec<&'b dyn Array>, SegmentError> {
    batches.iter().map(|it| column(it, field)).collect()
}

fn column<'b>(batch: &'b RecordBatch, field: &Field) -> Result<&'b dyn Array, SegmentError> {
    let missing = || ParquetError::General("a column is missing".to_owned());
    Ok(batch.column_by_name(field.name()).ok_or_else(missing)?)
}
