//! Rows -> text on standard output: a table for people, NDJSON for programs.
//!
//! One rule: what an event says is data. In a table, control characters in it are shown and
//! never sent to the terminal.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{EncoderOptions, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::HumanCount;

/// Rows that one table holds; the next ones come in a table of their own, so that memory is
/// bounded and the first rows do not wait for the last.
const TABLE_ROWS_MAX: usize = 1_000;

/// Characters of a value that a table shows.
const CELL_CHARS_MAX: usize = 300;

/// Columns of a terminal that does not say how many it has.
const WIDTH_UNKNOWN: u16 = 120;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table that fits the terminal.
    Table,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header; lists as JSON.
    Csv,
    /// The original lines, byte for byte.
    Raw,
}

impl Format {
    /// What was asked for, or else a table on a terminal and NDJSON when piped.
    pub fn or_fitting(asked: Option<Format>, terminal: bool) -> Format {
        asked.unwrap_or(if terminal { Format::Table } else { Format::Ndjson })
    }
}

/// Writes batches of one schema.
pub struct Rows<'a> {
    out: &'a mut dyn Write,
    format: Format,
    schema: SchemaRef,
    table: Vec<Vec<String>>,
    count: u64,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("format", &self.format).finish_non_exhaustive()
    }
}

impl<'a> Rows<'a> {
    /// A writer to `out`.
    pub fn new(out: &'a mut dyn Write, format: Format, schema: &SchemaRef) -> Rows<'a> {
        Rows { out, format, schema: Arc::clone(schema), table: Vec::new(), count: 0 }
    }

    /// Writes the next rows.
    ///
    /// # Errors
    /// When they cannot be written so, or the reader of the output has gone.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        match self.format {
            Format::Table => self.write_table(&universal(batch)?)?,
            Format::Json | Format::Ndjson => self.write_json(&universal(batch)?)?,
            Format::Csv => self.write_csv(&universal(batch)?)?,
            Format::Raw => self.write_raw(batch)?,
        }
        self.count += batch.num_rows() as u64;
        Ok(())
    }

    /// Writes what comes after the last row, and gives how many there were.
    ///
    /// # Errors
    /// When the reader of the output has gone.
    pub fn finish(mut self) -> Result<u64> {
        match self.format {
            Format::Table if self.count == 0 || !self.table.is_empty() => self.flush_table()?,
            Format::Json => {
                let end: &[u8] = if self.count == 0 { b"[]\n" } else { b"\n]\n" };
                self.out.write_all(end)?;
            }
            Format::Csv if self.count == 0 => {
                self.write_csv(&universal(&RecordBatch::new_empty(Arc::clone(&self.schema)))?)?;
            }
            _ => {}
        }
        self.out.flush()?;
        Ok(self.count)
    }

    fn write_json(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut lines = Vec::new();
        let mut writer = LineDelimitedWriter::new(&mut lines);
        writer.write(batch)?;
        writer.finish()?;
        if self.format == Format::Ndjson {
            return Ok(self.out.write_all(&lines)?);
        }
        let rows = lines.split(|it| *it == b'\n').filter(|it| !it.is_empty());
        for (index, row) in rows.enumerate() {
            let before: &[u8] = if self.count == 0 && index == 0 { b"[\n" } else { b",\n" };
            self.out.write_all(before)?;
            self.out.write_all(row)?;
        }
        Ok(())
    }

    fn write_csv(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().map(|it| flat(it)).collect::<Result<Vec<_>>>()?;
        let named = batch.schema();
        let fields = named.fields().iter().zip(&columns);
        let fields: Vec<Field> = fields
            .map(|(it, column)| Field::new(it.name(), column.data_type().clone(), true))
            .collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let mut text = Vec::new();
        CsvBuilder::new().with_header(self.count == 0).build(&mut text).write(&batch)?;
        Ok(self.out.write_all(&text)?)
    }

    fn write_table(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().map(|it| flat(it)).collect::<Result<Vec<_>>>()?;
        let options = FormatOptions::new();
        let shown = columns
            .iter()
            .map(|it| ArrayFormatter::try_new(it.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            if self.table.len() == TABLE_ROWS_MAX {
                self.flush_table()?;
            }
            self.table.push(shown.iter().map(|it| cell(&it.value(row).to_string())).collect());
        }
        Ok(())
    }

    fn flush_table(&mut self) -> Result<()> {
        let mut table = fitting_table(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(self.schema.fields().iter().map(|it| it.name()));
        table.add_rows(self.table.drain(..));
        writeln!(self.out, "{}", table.trim_fmt())?;
        Ok(())
    }

    fn write_raw(&mut self, batch: &RecordBatch) -> Result<()> {
        let lines = batch
            .column_by_name("raw_bytes")
            .or_else(|| batch.column_by_name("raw"))
            .or_else(|| batch.columns().first().filter(|_| batch.num_columns() == 1));
        let Some(lines) = lines else {
            bail!("`-o raw` writes the column `raw_bytes`, `raw` or the only one: select it")
        };
        for row in (0..lines.len()).filter(|it| lines.is_valid(*it)) {
            let line: &[u8] = match lines.data_type() {
                DataType::BinaryView => lines.as_binary_view().value(row),
                DataType::Binary => lines.as_binary::<i32>().value(row),
                DataType::Utf8View => lines.as_string_view().value(row).as_bytes(),
                DataType::Utf8 => lines.as_string::<i32>().value(row).as_bytes(),
                other => bail!("`-o raw` writes text or bytes, and the column holds {other}"),
            };
            self.out.write_all(line)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// A number of things, in words: `1 segment`, `2 segments`.
pub fn counted(count: u64, thing: &str) -> String {
    format!("{} {thing}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

/// A table that fits the terminal, in that style of lines.
pub fn fitting_table(lines: &str) -> Table {
    let mut table = Table::new();
    table.load_preset(lines).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = usable(table.width()) {
        table.set_width(width);
    }
    table
}

/// The width a table is given. A terminal that says 0 does not know its own: taken at its word,
/// every cell would be a column of single characters. `None`: no terminal, and no bound.
fn usable(said: Option<u16>) -> Option<u16> {
    said.map(|it| if it == 0 { WIDTH_UNKNOWN } else { it })
}

/// What a command gives when its reader may have gone (`| head`): that is no failure.
///
/// # Errors
/// Every error that is not a closed pipe.
pub fn unless_closed(result: Result<u8>) -> Result<u8> {
    let closed = |it: &anyhow::Error| {
        it.chain().filter_map(|it| it.downcast_ref::<io::Error>()).any(is_closed)
    };
    match result {
        Err(error) if closed(&error) => Ok(0),
        other => other,
    }
}

fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// The same rows with times as every build of Arrow can write them: one without a table of
/// time zones does not know `UTC`.
fn universal(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column = match field.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
                let times = column.as_primitive::<TimestampMicrosecondType>().clone();
                Arc::new(TimestampMicrosecondArray::with_timezone(times, "+00:00")) as ArrayRef
            }
            _ => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// A column without nesting: lists and the like become JSON text.
fn flat(column: &ArrayRef) -> Result<ArrayRef> {
    if !column.data_type().is_nested() {
        return Ok(Arc::clone(column));
    }
    let field = Arc::new(Field::new("it", column.data_type().clone(), true));
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(&field, column.as_ref(), &options)?;
    let mut texts = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        let mut json = Vec::new();
        if column.is_valid(row) {
            encoder.encode(row, &mut json);
        }
        let json = String::from_utf8(json).context("a list was not written as text")?;
        texts.push(column.is_valid(row).then_some(json));
    }
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    Ok(cast(&texts, &DataType::Utf8)?)
}

/// A value as a table shows it.
fn cell(value: &str) -> String {
    let mut shown = String::with_capacity(value.len().min(CELL_CHARS_MAX));
    for (index, letter) in value.chars().enumerate() {
        if index == CELL_CHARS_MAX {
            shown.push('…');
            break;
        }
        // Also what turns the direction of writing: it would show a name as another one.
        let turns = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || turns {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BinaryViewArray, Int32Array, ListBuilder, StringBuilder, StringViewArray};

    fn batch() -> RecordBatch {
        let times = TimestampMicrosecondArray::from(vec![Some(1_795_442_400_000_000), None]);
        let mut groups = ListBuilder::new(StringBuilder::new());
        groups.append_value([Some("a,b"), Some("c\"")]);
        groups.append_null();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("time", Arc::new(times.with_timezone("UTC"))),
            ("user", Arc::new(StringViewArray::from(vec![Some("bo\u{1b}[1mb"), None]))),
            ("code", Arc::new(Int32Array::from(vec![Some(200), None]))),
            ("groups", Arc::new(groups.finish())),
            ("raw_bytes", Arc::new(BinaryViewArray::from(vec![b"{}".as_slice(), b"\xff"]))),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, it)| (name, it, true)),
        )
        .unwrap()
    }

    fn written(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rows = Rows::new(&mut out, format, &batch().schema());
        for batch in batches {
            rows.write(batch).unwrap();
        }
        rows.finish().unwrap();
        out
    }

    fn text(format: Format, batches: &[RecordBatch]) -> String {
        String::from_utf8(written(format, batches)).unwrap()
    }

    const FIRST: &str = r#"{"time":"2026-11-23T14:00:00Z","user":"bo\u001b[1mb","code":200,"groups":["a,b","c\""],"raw_bytes":"7b7d"}"#;
    const SECOND: &str = r#"{"raw_bytes":"ff"}"#;

    #[test]
    fn json_leaves_out_what_is_absent() {
        assert_eq!(text(Format::Ndjson, &[batch()]), format!("{FIRST}\n{SECOND}\n"));
        let both = format!("{FIRST},\n{SECOND}");
        assert_eq!(text(Format::Json, &[batch(), batch()]), format!("[\n{both},\n{both}\n]\n"));
        assert_eq!(text(Format::Json, &[]), "[]\n");
        assert_eq!(text(Format::Ndjson, &[]), "");
    }

    #[test]
    fn csv_has_one_header_and_lists_as_json() {
        let header = "time,user,code,groups,raw_bytes\n";
        let rows = "2026-11-23T14:00:00Z,bo\u{1b}[1mb,200,\"[\"\"a,b\"\",\"\"c\\\"\"\"\"]\",7b7d\n,,,,ff\n";
        assert_eq!(text(Format::Csv, &[batch(), batch()]), format!("{header}{rows}{rows}"));
        assert_eq!(text(Format::Csv, &[]), header);
    }

    #[test]
    fn raw_is_the_lines_byte_for_byte() {
        assert_eq!(written(Format::Raw, &[batch()]), b"{}\n\xff\n");
        let mut out = Vec::new();
        let two = batch().project(&[1, 2]).unwrap();
        let error = Rows::new(&mut out, Format::Raw, &two.schema()).write(&two).unwrap_err();
        assert!(error.to_string().contains("select it"), "{error}");
    }

    #[test]
    fn a_table_shows_control_characters_and_sends_none() {
        let shown = text(Format::Table, &[batch()]);
        assert!(shown.contains("bo\\u{1b}[1mb"), "{shown}");
        assert!(shown.contains("2026-11-23T14:00:00Z"), "{shown}");
        assert!(!shown.chars().any(|it| it.is_control() && it != '\n'), "{shown}");
        assert!(text(Format::Table, &[]).contains("user"));
        assert_eq!(cell("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(cell(&"x".repeat(CELL_CHARS_MAX + 5)).chars().count(), CELL_CHARS_MAX + 1);
    }

    #[test]
    fn a_long_answer_comes_in_tables_of_bounded_length() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1; TABLE_ROWS_MAX + 1]));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let mut out = Vec::new();
        let mut rows = Rows::new(&mut out, Format::Table, &batch.schema());
        rows.write(&batch).unwrap();
        assert_eq!(rows.finish().unwrap(), TABLE_ROWS_MAX as u64 + 1);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.matches('n').count(), 2, "two headers");
        assert_eq!(out.matches('1').count(), TABLE_ROWS_MAX + 1);
    }

    #[test]
    fn a_terminal_without_a_width_is_given_one() {
        assert_eq!(usable(Some(0)), Some(WIDTH_UNKNOWN));
        assert_eq!(usable(Some(80)), Some(80));
        assert_eq!(usable(None), None);
    }

    #[test]
    fn one_thing_is_no_plural() {
        let words = [0, 1, 2, 1_790].map(|it| counted(it, "line"));
        assert_eq!(words, ["0 lines", "1 line", "2 lines", "1,790 lines"]);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(unless_closed(Err(closed.context("writing"))).unwrap(), 0);
        assert!(unless_closed(Err(anyhow::anyhow!("other"))).is_err());
        assert_eq!(Format::or_fitting(None, true), Format::Table);
        assert_eq!(Format::or_fitting(None, false), Format::Ndjson);
        assert_eq!(Format::or_fitting(Some(Format::Csv), true), Format::Csv);
    }
}
