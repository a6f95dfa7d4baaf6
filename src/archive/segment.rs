//! Parts -> a segment: one sealed file, hashed into the ledger.
//!
//! One rule: the parts are removed only after the transaction that records the segment. A crash
//! before it leaves a file without a row, one after it leaves parts without a row; `recover`
//! removes either.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};

use parquet::arrow::ArrowWriter;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::writer::SerializedFileWriter;
use sha2::{Digest, Sha256};

use super::merge;
use super::part::{self, PartError};
use super::read::ReadError;
use super::schema;
use super::stored::{StoredFile, segment_path};
use crate::durable;
use crate::hex::hex;

/// A part with at least this many rows is spliced in as it is; smaller ones are merged.
const SPLICED_ROWS_MIN: u64 = part::ROWS_MAX as u64 / 2;

/// Why a segment was not written.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// A part could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file could not be encoded or written.
    #[error(transparent)]
    Write(#[from] PartError),
    /// The file could not be written or read back.
    #[error("{path} could not be written")]
    Io {
        /// The segment's file.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: io::Error,
    },
}

impl From<ParquetError> for SegmentError {
    fn from(source: ParquetError) -> SegmentError {
        SegmentError::Write(PartError::Parquet(source))
    }
}

/// Writes the segment of parts that share a cluster and a date and stand in the order of `seq`;
/// syncs it, and gives what there is to record of it.
///
/// # Errors
/// When a part cannot be read or the file not be written. Nothing is recorded then.
pub fn write(
    dir: &Path,
    parts: &[StoredFile],
    merge_bytes_max: usize,
    now: i64,
) -> Result<StoredFile, SegmentError> {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
        return Err(ParquetError::General("a segment without parts".to_owned()).into());
    };
    let id = format!("{:016}-{:016}", first.seq_first, last.seq_last);
    let path = segment_path(dir, &first.cluster, &first.date, &id);
    let failed = |source| SegmentError::Io { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        durable::create_dir_all(folder).map_err(PartError::from)?;
    }
    let beside = path.with_extension("parquet.tmp");
    let file =
        durable::step_on("a segment is created", || File::create(&beside)).map_err(failed)?;
    let refused = || failed(io::Error::from(io::ErrorKind::StorageFull));
    let written = durable::step_filling("a segment is written", &file, refused, || {
        encode(&file, parts, merge_bytes_max)
    })
    .and_then(|()| durable::sync_file(&file).map_err(failed));
    if let Err(error) = written {
        // What did not fit on the disk must not keep the next commit from fitting.
        durable::remove(&beside).map_err(PartError::from)?;
        return Err(error);
    }
    durable::replace(&beside, &path).map_err(PartError::from)?;
    let (sha256, bytes_stored) = digest(&path).map_err(failed)?;
    let mut permissions = file.metadata().map_err(failed)?.permissions();
    permissions.set_readonly(true);
    durable::step_on("a segment is made read-only", || fs::set_permissions(&path, permissions))
        .map_err(failed)?;
    Ok(StoredFile {
        id,
        cluster: first.cluster.clone(),
        date: first.date.clone(),
        rows: parts.iter().map(|it| it.rows).sum(),
        bytes_in: parts.iter().map(|it| it.bytes_in).sum(),
        bytes_stored,
        seq_first: first.seq_first,
        seq_last: parts.iter().map(|it| it.seq_last).max().unwrap_or(last.seq_last),
        time_first: parts.iter().filter_map(|it| it.time_first).min(),
        time_last: parts.iter().filter_map(|it| it.time_last).max(),
        created: now,
        sha256,
        path: path.clone(),
    })
}

/// SHA-256 of a file, hex, and its size.
pub fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hex(&hasher.finalize()), size));
        }
        size += count as u64;
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

fn encode(file: &File, parts: &[StoredFile], merge_bytes_max: usize) -> Result<(), SegmentError> {
    let writer =
        ArrowWriter::try_new(BufWriter::new(file), schema::events(), Some(part::properties()?))?;
    let (mut writer, factory) = writer.into_serialized_writer()?;
    let mut small: Vec<&StoredFile> = Vec::new();
    for part in parts {
        if part.rows >= SPLICED_ROWS_MIN {
            splice(&mut writer, part)?;
            continue;
        }
        let (rows, bytes) =
            small.iter().fold((0, 0), |(rows, bytes), it| (rows + it.rows, bytes + it.bytes_in));
        if rows + part.rows > part::ROWS_MAX as u64 || bytes + part.bytes_in > part::BYTES_MAX {
            merge::write(&mut writer, &factory, &small, merge_bytes_max)?;
            small.clear();
        }
        small.push(part);
    }
    if !small.is_empty() {
        merge::write(&mut writer, &factory, &small, merge_bytes_max)?;
    }
    writer.close()?;
    Ok(())
}

type Writer<'a> = SerializedFileWriter<BufWriter<&'a File>>;

/// Copies a part's row groups without encoding them again.
fn splice(writer: &mut Writer<'_>, part: &StoredFile) -> Result<(), SegmentError> {
    let failed = ReadError::parquet(&part.path);
    let file = File::open(&part.path)
        .map_err(|source| ReadError::Open { path: part.path.clone(), source })?;
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = reader.parse_and_finish(&file).map_err(&failed)?;
    for (at, group) in metadata.row_groups().iter().enumerate() {
        let mut copy = writer.next_row_group()?;
        for (column, chunk) in group.columns().iter().enumerate() {
            let result = ColumnCloseResult {
                bytes_written: u64::try_from(chunk.compressed_size()).unwrap_or(0),
                rows_written: u64::try_from(group.num_rows()).unwrap_or(0),
                metadata: chunk.clone(),
                bloom_filter: None,
                // The writer moves the offsets to where the pages come to lie.
                column_index: metadata
                    .column_index()
                    .and_then(|it| it.get(at)?.get(column))
                    .cloned(),
                offset_index: metadata
                    .offset_index()
                    .and_then(|it| it.get(at)?.get(column))
                    .cloned(),
            };
            copy.append_column(&file, result)?;
        }
        copy.close()?;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::cast_sign_loss, clippy::cast_possible_wrap, reason = "the counts are small")]
mod tests {
    use super::*;
    use crate::archive::columns::Columns;
    use crate::archive::part::Placed;
    use crate::archive::read;
    use crate::decode::{self, Row};

    fn part(dir: &Path, first: i64, lines: &[String]) -> StoredFile {
        let mut columns = Columns::default();
        for (ordinal, line) in (0..).zip(lines) {
            let row = Row::plain(line.as_bytes(), decode::line(line.as_bytes()));
            columns.append(&row, ordinal, [0; 32]);
        }
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let batch = columns.finish(&"c".into(), "2026-11-23".to_owned(), 0, &lines).unwrap();
        part::write(dir, &[Placed { batch, first }], "[]".to_owned(), 0).unwrap().file
    }

    #[test]
    fn large_parts_are_spliced_and_small_ones_merged_in_one_segment() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("parts")).unwrap();
        let line = |seq: i64| {
            format!(r#"{{"auditID":"{seq}","stage":"s","objectRef":{{"name":"n{}"}}}}"#, seq % 7)
        };
        let bounds =
            [0, 10, 10 + i64::try_from(SPLICED_ROWS_MIN).unwrap(), SPLICED_ROWS_MIN as i64 + 40];
        let parts: Vec<StoredFile> = bounds
            .windows(2)
            .map(|it| part(dir.path(), it[0], &(it[0]..it[1]).map(line).collect::<Vec<_>>()))
            .collect();
        let segment = write(dir.path(), &parts, merge::HELD_BYTES_MAX, 0).unwrap();
        assert_eq!(segment.rows, bounds[3] as u64);
        let mut seen = std::collections::BTreeSet::new();
        read::lines(&segment.path, |it| {
            assert_eq!(it.bytes, line(it.seq).as_bytes());
            assert!(seen.insert(it.seq));
        })
        .unwrap();
        assert_eq!(seen.len() as u64, segment.rows);
        let groups = read::groups(&segment.path).unwrap();
        let mut of_groups = 0;
        for group in &groups {
            let (first, last) = group.seq.unwrap();
            read::lines_of(&segment.path, group.at, |it| {
                assert!((first..=last).contains(&it.seq));
                of_groups += 1;
            })
            .unwrap();
        }
        assert_eq!((groups.len(), of_groups), (2, segment.rows));
    }

    #[test]
    fn a_column_that_is_too_much_to_hold_is_merged_in_stretches() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("parts")).unwrap();
        let body = "x".repeat(merge::HELD_BYTES_MAX / 16);
        let line = |seq: i64| {
            format!(r#"{{"auditID":"{seq}","stage":"s","requestObject":{{"{seq}":"{body}"}}}}"#)
        };
        let parts: Vec<StoredFile> = (0..2)
            .map(|it| part(dir.path(), it * 9, &(it * 9..it * 9 + 9).map(line).collect::<Vec<_>>()))
            .collect();
        assert!(parts.iter().map(|it| it.bytes_in).sum::<u64>() > merge::HELD_BYTES_MAX as u64);
        let segment = write(dir.path(), &parts, merge::HELD_BYTES_MAX, 0).unwrap();
        let mut seen = 0;
        read::lines(&segment.path, |it| {
            assert_eq!(it.bytes, line(it.seq).as_bytes());
            seen += 1;
        })
        .unwrap();
        assert_eq!(seen, 18);
    }
}
