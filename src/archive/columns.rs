//! Lines of one chunk -> columns of one batch, one row a line.
//!
//! One rule: before a batch leaves, every row has been rebuilt from it and compared with the
//! line it came from; a row that differed is stored verbatim.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BinaryViewBuilder, Int32Builder,
    ListBuilder, StringArray, StringBuilder, TimestampMicrosecondArray,
    TimestampMicrosecondBuilder, new_null_array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field as ArrowField};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::marks::{self, Marks};
use super::schema::{self, CUTS, Cut, Form, SKELETON, VERBATIM};
use super::skeleton::{Gap, ListWriter, Rebuilder, canonical, strip, write_int};
use crate::decode::{Provider, Row};
use crate::event::{self, Event, Field, Flaw, Integrity, Span};

/// Rows of one chunk that share a UTC date.
#[derive(Debug)]
pub struct Batch {
    /// The cluster they are of.
    pub cluster: Arc<str>,
    /// Their UTC date: of the stage time, or of arrival where there is none.
    pub date: String,
    /// The columns of `schema::arriving`.
    pub rows: RecordBatch,
    /// Each row's place among the chunk's lines.
    pub ordinals: Vec<u32>,
    /// Each row's leaf, SHA-256(0x00 ‖ line).
    pub leaves: Vec<[u8; 32]>,
    /// Each row's mark, by which one that came before is looked for.
    pub marks: Vec<u64>,
    /// Bytes of the lines.
    pub bytes_in: u64,
    /// The earliest and the latest stage time, µs.
    pub times: Option<(i64, i64)>,
}

impl Batch {
    /// Bytes of memory that its rows take until they are written, with their lines, which stand in `lines`. Several batches
    /// of one chunk share those: each counts its own.
    pub fn bytes_held(&self, lines: &Buffer) -> u64 {
        let of_column = |column: &ArrayRef| match column.as_binary_view_opt() {
            None => column.get_buffer_memory_size(),
            Some(views) => {
                let own = views.data_buffers().iter().filter(|it| it.as_ptr() != lines.as_ptr());
                own.map(Buffer::capacity).sum::<usize>() + size_of_val(&**views.views())
            }
        };
        let columns = self.rows.columns().iter().map(of_column).sum::<usize>();
        self.bytes_in + (columns + self.ordinals.len() * ROW_BYTES) as u64
    }
}

/// What a row takes beside its columns: its ordinal, leaf and mark, 44 bytes; the key it is sorted by and its place in
/// the order, 120; its leaf twice more on the way into the catalog; and half as much again for gaps.
const ROW_BYTES: usize = 336;

enum Builder {
    Text(StringBuilder),
    Json(Views),
    List(ListBuilder<StringBuilder>),
    Int(Int32Builder),
    Time(TimestampMicrosecondBuilder),
}

impl Builder {
    fn of(form: Form, rows: usize) -> Builder {
        match form {
            Form::Text => Builder::Text(text(rows)),
            Form::Json => Builder::Json(Views::default()),
            Form::List => {
                let item = ArrowField::new("item", DataType::Utf8, false);
                Builder::List(ListBuilder::with_capacity(text(rows), rows).with_field(item))
            }
            Form::Int => Builder::Int(Int32Builder::with_capacity(rows)),
            Form::Time => {
                let times = TimestampMicrosecondBuilder::with_capacity(rows);
                Builder::Time(times.with_timezone("UTC"))
            }
        }
    }

    fn null(&mut self) {
        match self {
            Builder::Text(it) => it.append_null(),
            Builder::Json(it) => it.builder.append_null(),
            Builder::List(it) => it.append_null(),
            Builder::Int(it) => it.append_null(),
            Builder::Time(it) => it.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Text(it) => Arc::new(it.finish()),
            Builder::Json(it) => Arc::new(it.builder.finish()),
            Builder::List(it) => Arc::new(it.finish()),
            Builder::Int(it) => Arc::new(it.finish()),
            Builder::Time(it) => Arc::new(it.finish()),
        }
    }
}

/// A column of texts with room for so many rows. Arrow's own default is room for 1,024 of them: a log that
/// is followed comes in batches of a few rows, of which a second's worth wait in memory for their part.
fn text(rows: usize) -> StringBuilder {
    StringBuilder::with_capacity(rows, rows * TEXT_BYTES)
}

/// Bytes of a text for which there is room at once: few columns have more.
const TEXT_BYTES: usize = 8;

/// Bytes of a skeleton for which there is room at once.
const SKELETON_BYTES: usize = 384;

/// Values that stay where they stand: bodies are most of what there is, and need not be copied before they are
/// encoded.
struct Views {
    builder: BinaryViewBuilder,
    /// The bytes that values may stand in, and the builder's number for them.
    within: Option<(Buffer, u32)>,
}

impl Default for Views {
    fn default() -> Views {
        Views { builder: BinaryViewBuilder::with_capacity(0), within: None }
    }
}

impl Views {
    fn over(bytes: &Buffer) -> Views {
        let mut builder = BinaryViewBuilder::with_capacity(0);
        let block = builder.append_block(bytes.clone());
        Views { builder, within: Some((bytes.clone(), block)) }
    }

    fn append(&mut self, value: &[u8]) {
        let place = self.within.as_ref().and_then(|(bytes, block)| {
            let offset = value.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
            let inside = bytes.get(offset..)?.get(..value.len())?;
            // Nothing but the bytes themselves, whatever else lies where.
            let same = std::ptr::eq(inside, value);
            same.then_some((*block, u32::try_from(offset).ok()?, u32::try_from(value.len()).ok()?))
        });
        let viewed = place.is_some_and(|(block, offset, length)| {
            self.builder.try_append_view(block, offset, length).is_ok()
        });
        if !viewed {
            self.builder.append_value(value);
        }
    }
}

/// Builds one batch, a row a line.
pub struct Columns {
    cuts: Vec<Builder>,
    decision: StringBuilder,
    decision_reason: StringBuilder,
    provider: StringBuilder,
    integrity: StringBuilder,
    flaw: StringBuilder,
    wrapped: StringBuilder,
    inferred: Builder,
    skeleton: BinaryBuilder,
    ordinals: Vec<u32>,
    leaves: Vec<[u8; 32]>,
    bytes_in: u64,
    times: Option<(i64, i64)>,
    gaps: Vec<Gap>,
    scratch: Vec<u8>,
}

impl Default for Columns {
    fn default() -> Columns {
        Columns::of(0)
    }
}

impl Columns {
    /// With room for so many rows.
    fn of(rows: usize) -> Columns {
        Columns {
            cuts: CUTS.iter().map(|it| Builder::of(it.form, rows)).collect(),
            decision: text(rows),
            decision_reason: text(rows),
            provider: text(rows),
            integrity: text(rows),
            flaw: text(0),
            wrapped: text(0),
            inferred: Builder::of(Form::List, 0),
            skeleton: BinaryBuilder::with_capacity(rows, rows * SKELETON_BYTES),
            ordinals: Vec::with_capacity(rows),
            leaves: Vec::with_capacity(rows),
            bytes_in: 0,
            times: None,
            gaps: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// For so many lines, which stand in these bytes: what need not be copied is not.
    pub fn over(bytes: &Buffer, rows: usize) -> Columns {
        let mut columns = Columns::of(rows);
        for builder in &mut columns.cuts {
            if let Builder::Json(views) = builder {
                *views = Views::over(bytes);
            }
        }
        columns
    }

    /// Appends a row. `ordinal` is its place in its chunk, `leaf` its hash.
    pub fn append(&mut self, row: &Row<'_>, ordinal: u32, leaf: [u8; 32]) {
        match &row.event {
            Ok(event) => self.append_object(row, event),
            Err(_) => self.append_bytes(row.raw),
        }
        self.append_origin(row);
        self.ordinals.push(ordinal);
        self.leaves.push(leaf);
        self.bytes_in += row.raw.len() as u64;
    }

    fn append_object(&mut self, row: &Row<'_>, event: &Event<'_>) {
        self.gaps.clear();
        for (cut, builder) in CUTS.iter().zip(&mut self.cuts) {
            if append_cut(cut, builder, event, &mut self.scratch) {
                self.gaps.push(Gap { span: event.span(cut.field), mark: cut.mark });
            }
        }
        self.append_skeleton(row);
        self.decision.append_option(event.text(Field::Decision));
        self.decision_reason.append_option(event.text(Field::DecisionReason));
        if let Some(time) = event.micros(Field::StageTimestamp) {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
    }

    /// The row's bytes without what has a column, if it stands in them as it is.
    fn append_skeleton(&mut self, row: &Row<'_>) {
        let text = row.offset.zip(std::str::from_utf8(row.raw).ok());
        let Some((offset, text)) = text else {
            return self.skeleton.append_value(verbatim(row.raw));
        };
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        if offset > 0 {
            let moved = |it: Span| Span {
                start: it.start.saturating_add(offset),
                end: it.end.saturating_add(offset),
            };
            self.gaps.iter_mut().for_each(|it| it.span = moved(it.span));
        }
        self.scratch.clear();
        strip(text, &mut self.gaps, &mut self.scratch);
        self.skeleton.append_value(&self.scratch);
    }

    fn append_bytes(&mut self, raw: &[u8]) {
        self.cuts.iter_mut().for_each(Builder::null);
        self.decision.append_null();
        self.decision_reason.append_null();
        self.skeleton.append_value(verbatim(raw));
    }

    /// What the row is, and where its event comes from.
    fn append_origin(&mut self, row: &Row<'_>) {
        let flaw = row.flaw();
        let integrity = match flaw {
            _ if row.wrapped.is_envelope() => Integrity::Envelope,
            Some(_) => Integrity::Unparsed,
            None if row.truncated() => Integrity::Truncated,
            None => Integrity::Whole,
        };
        let named = row.provenance.map(|it| it.provider);
        let known = named.or((integrity != Integrity::Unparsed && !row.wrapped.is_envelope())
            .then_some(Provider::Kubernetes));
        self.provider.append_option(known.map(Provider::as_str));
        self.integrity.append_value(integrity.as_str());
        self.flaw.append_option(flaw.map(Flaw::as_str));
        self.wrapped.append_option(row.wrapped.as_str());
        let inferred = row.provenance.map(|it| it.inferred.as_slice()).unwrap_or_default();
        match &mut self.inferred {
            Builder::List(it) if !inferred.is_empty() => {
                inferred.iter().for_each(|field| it.values().append_value(field.path()));
                it.append(true);
            }
            other => other.null(),
        }
    }

    /// The batch. `lines` are the rows' lines, in their order: each row is rebuilt and compared.
    ///
    /// # Errors
    /// When Arrow refuses the columns, which is a bug.
    pub fn finish(
        mut self,
        cluster: &Arc<str>,
        date: String,
        ingested: i64,
        lines: &[&[u8]],
    ) -> Result<Batch, ArrowError> {
        assert_eq!(lines.len(), self.ordinals.len(), "a row a line");
        let mut rows = self.rows(cluster, ingested)?;
        if let Some(mended) = mended(&rows, lines)? {
            let at = rows.schema().index_of(SKELETON)?;
            let mut columns = rows.columns().to_vec();
            columns.splice(at..=at, [Arc::new(mended) as ArrayRef]);
            rows = RecordBatch::try_new(rows.schema(), columns)?;
        }
        let mut marks = Marks::new(&rows)?.of_rows(cluster);
        let envelopes = marks::envelopes(&rows)?;
        // Whatever an envelope says of itself, it is no event.
        marks.iter_mut().zip(envelopes).filter(|(_, is)| *is).for_each(|(it, _)| *it = marks::NONE);
        let Columns { ordinals, leaves, bytes_in, times, .. } = self;
        let cluster = Arc::clone(cluster);
        Ok(Batch { cluster, date, rows, ordinals, leaves, marks, bytes_in, times })
    }

    fn rows(&mut self, cluster: &str, ingested: i64) -> Result<RecordBatch, ArrowError> {
        let count = self.ordinals.len();
        let mut named: Vec<(&str, ArrayRef)> = vec![
            (
                "ingested",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![ingested; count]).with_timezone("UTC"),
                ),
            ),
            (
                "cluster",
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(cluster, count))),
            ),
            ("decision", Arc::new(self.decision.finish())),
            ("decision_reason", Arc::new(self.decision_reason.finish())),
            // A query works it out from the times: see `query/computed.rs`.
            ("latency_us", new_null_array(&DataType::Int64, count)),
            ("provider", Arc::new(self.provider.finish())),
            ("integrity", Arc::new(self.integrity.finish())),
            ("integrity_reason", Arc::new(self.flaw.finish())),
            ("wrapped", Arc::new(self.wrapped.finish())),
            ("inferred", self.inferred.finish()),
            (SKELETON, Arc::new(self.skeleton.finish())),
        ];
        for (cut, builder) in CUTS.iter().zip(&mut self.cuts) {
            named.push((cut.name, builder.finish()));
        }
        let schema = schema::arriving();
        let fields = schema.fields().iter();
        let columns = fields
            .filter_map(|field| named.iter().find(|(name, _)| name == field.name()))
            .map(|(_, array)| Arc::clone(array))
            .collect();
        RecordBatch::try_new(schema, columns)
    }
}

/// Appends the value of one column; true when it can be cut out of the line.
fn append_cut(cut: &Cut, builder: &mut Builder, event: &Event<'_>, scratch: &mut Vec<u8>) -> bool {
    let json = match event.json(cut.field) {
        Some(json) if json != "null" => json,
        _ => {
            builder.null();
            return false;
        }
    };
    match builder {
        Builder::Json(it) => {
            it.append(json.as_bytes());
            true
        }
        Builder::Text(it) => {
            let text = event::unquote(json);
            it.append_option(text.as_deref());
            text.is_some_and(|it| canonical(json, &it))
        }
        Builder::Int(it) => {
            let number = json.parse::<i32>().ok();
            it.append_option(number);
            number.is_some_and(|it| {
                scratch.clear();
                write_int(it, scratch);
                scratch == json.as_bytes()
            })
        }
        Builder::Time(it) => {
            let text = event::unquote(json);
            it.append_option(text.as_deref().and_then(event::micros));
            // A canonical time holds no escape, so the quotes are all that surrounds it.
            text.is_some_and(|it| {
                json.len() == it.len() + 2 && event::canonical_micros(&it).is_some()
            })
        }
        Builder::List(it) => append_list(it, json, scratch),
    }
}

fn append_list(
    builder: &mut ListBuilder<StringBuilder>,
    json: &str,
    scratch: &mut Vec<u8>,
) -> bool {
    scratch.clear();
    let mut list = ListWriter::begin(scratch);
    event::strings(json, |member| {
        builder.values().append_value(&member);
        list.member(&member);
    });
    list.end();
    builder.append(true);
    scratch == json.as_bytes()
}

fn verbatim(line: &[u8]) -> Vec<u8> {
    [&[VERBATIM], line].concat()
}

/// The skeletons with those replaced that do not give their line back; `None`: all do.
fn mended(rows: &RecordBatch, lines: &[&[u8]]) -> Result<Option<BinaryArray>, ArrowError> {
    let rebuilder = Rebuilder::new(rows)?;
    let mut scratch = Vec::new();
    let differs =
        |(row, want): (usize, &&[u8])| (!rebuilder.gives(row, want, &mut scratch)).then_some(row);
    let differing: Vec<usize> = lines.iter().enumerate().filter_map(differs).collect();
    if differing.is_empty() {
        return Ok(None);
    }
    let skeletons =
        rows.column_by_name(SKELETON).and_then(|it| it.as_any().downcast_ref::<BinaryArray>());
    let Some(skeletons) = skeletons else { return Ok(None) };
    let mut mended = BinaryBuilder::new();
    for (row, want) in lines.iter().enumerate() {
        if differing.binary_search(&row).is_ok() {
            mended.append_value(verbatim(want));
        } else {
            mended.append_value(skeletons.value(row));
        }
    }
    Ok(Some(mended.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    /// Lines in, lines rebuilt from the batch out, with each row's skeleton.
    fn through(lines: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut columns = Columns::default();
        for (index, line) in lines.iter().enumerate() {
            let row = Row::plain(line, decode::line(line));
            columns.append(&row, u32::try_from(index).unwrap(), [0; 32]);
        }
        let batch = columns.finish(&"c".into(), "2026-11-23".to_owned(), 0, lines).unwrap();
        let rebuilder = Rebuilder::new(&batch.rows).unwrap();
        let skeletons = batch.rows.column_by_name(SKELETON).unwrap();
        let skeletons = skeletons.as_any().downcast_ref::<BinaryArray>().unwrap();
        (0..lines.len())
            .map(|row| {
                let mut line = Vec::new();
                rebuilder.rebuild(row, &mut line);
                (line, skeletons.value(row).to_vec())
            })
            .collect()
    }

    #[test]
    fn every_line_comes_back_byte_for_byte() {
        let lines: Vec<&[u8]> = vec![
            br#"{"kind":"Event","auditID":"a","stage":"ResponseComplete","verb":"get","user":{"username":"u\u003c","groups":["g","h"]},"sourceIPs":["::1"],"objectRef":{"resource":"pods"},"responseStatus":{"metadata":{},"code":200},"stageTimestamp":"2026-11-23T03:39:13.554321Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#,
            br#"{"verb" : "get", "verb":5,"user":null,"sourceIPs":[ "a"],"code":1e3,"responseStatus":{"code":0200}}"#,
            br#"{"responseStatus":{"code":-0},"stageTimestamp":"2026-11-23T03:39:13Z","requestObject":{"a" : [1]}}"#,
            br#"{"user":{"groups":["a",["b"]],"username":"\ud800"},"sourceIPs":["a",1]}"#,
            b"{\"a\":\"\x01\"}",
            b"not json \xff\x00",
            b"\x00\x01",
            b"{}\r",
            b"",
        ];
        for (line, (back, _)) in lines.iter().zip(through(&lines)) {
            assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(line));
            assert_eq!(back, *line);
        }
    }

    #[test]
    fn a_batch_of_one_row_takes_no_room_for_a_thousand() {
        let line = br#"{"auditID":"a","stage":"s","verb":"get","sourceIPs":["::1"],"code":200}"#;
        let mut columns = Columns::default();
        columns.append(&Row::plain(line, decode::line(line)), 0, [0; 32]);
        let batch = columns.finish(&"c".into(), "2026-11-23".to_owned(), 0, &[line]).unwrap();
        let bytes = batch.rows.get_array_memory_size();
        assert!(bytes < 24 << 10, "{bytes} bytes for {}", line.len());
    }

    #[test]
    fn a_skeleton_holds_none_of_what_the_columns_say() {
        let line = br#"{"auditID":"a","stage":"s","verb":"get","objectRef":{"name":"n\u0026"},"requestObject":{"x":[1]}}"#;
        let (_, skeleton) = through(&[line]).remove(0);
        assert_eq!(
            String::from_utf8(skeleton).unwrap(),
            "{\"auditID\":\u{2},\"stage\":\u{3},\"verb\":\u{5},\"objectRef\":{\"name\":\u{13}},\"requestObject\":\u{1b}}"
        );
    }
}
