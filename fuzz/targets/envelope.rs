//! Any chunk, its lines opened and put into columns as a worker does: no line of it may go missing.
//!
//! The rows are rebuilt from the columns and put together again: in the row of a list a byte stands for
//! each of its members, which follow it, and what was unpacked from a row is beside what was given.
#![no_main]

use std::sync::Arc;

use kustos::archive::columns::Columns;
use kustos::archive::skeleton::Rebuilder;
use kustos::decode::{self, Row, Wrapped};
use kustos::event::Event;
use kustos::source::{Chunk, Framing};

/// Stands for a member in the row of a list.
const ITEM: u8 = 0x1e;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let chunk = Chunk { start: 0, bytes: bytes.to_vec(), framing: Framing::Lines };
    for (_, line) in chunk.lines() {
        kept(line);
    }
});

/// Whether a line comes back from the rows it became.
fn kept(line: &[u8]) {
    let first = decode::line(line);
    let opened = match &first {
        Ok(event) if event.is_audit() => None,
        first => decode::open(line, first),
    };
    let rows = match &opened {
        None => vec![Row::plain(line, first)],
        Some(opened) => opened.rows(line),
    };
    for row in &rows {
        look(row);
    }
    let stored = through_columns(&rows);
    let given = rows.iter().zip(stored).filter(|(row, _)| row.wrapped != Wrapped::Unpacked);
    let mut given = given.map(|(row, stored)| (row.wrapped, stored));
    let mut whole = Vec::new();
    put_together(&mut given, &mut whole);
    assert!(given.next().is_none(), "more rows than the line has members");
    assert!(whole == line, "a line that came to {} rows does not come back", rows.len());
}

/// Everything a rule or a column may ask of a row.
fn look(row: &Row<'_>) {
    let _ = (row.flaw(), row.truncated());
    if let Ok(event) = &row.event {
        let _ = (event.is_audit(), Event::truncated(event));
    }
}

/// The rows' bytes as the archive gives them back.
fn through_columns(rows: &[Row<'_>]) -> Vec<Vec<u8>> {
    let mut columns = Columns::default();
    for (ordinal, row) in (0..).zip(rows) {
        columns.append(row, ordinal, [0; 32]);
    }
    let lines: Vec<&[u8]> = rows.iter().map(|it| it.raw).collect();
    let cluster: Arc<str> = "c".into();
    let batch = columns.finish(&cluster, "2026-11-23".to_owned(), 0, &lines).expect("columns fit");
    let rebuilder = Rebuilder::new(&batch.rows).expect("a batch has every column");
    let back = |row| {
        let mut bytes = Vec::new();
        rebuilder.rebuild(row, &mut bytes);
        bytes
    };
    (0..rows.len()).map(back).collect()
}

fn put_together(rows: &mut impl Iterator<Item = (Wrapped, Vec<u8>)>, whole: &mut Vec<u8>) {
    let (wrapped, bytes) = rows.next().expect("a member has a row");
    for byte in bytes {
        match (wrapped, byte) {
            (Wrapped::List, ITEM) => put_together(rows, whole),
            _ => whole.push(byte),
        }
    }
}
