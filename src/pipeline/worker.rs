//! One chunk in three plain loops: decode every line, run the rules, append the columns.
//! The events borrow from the chunk and never leave this file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::buffer::Buffer;
use bytes::Bytes;

use super::correlating::{Step, Ticks};
use super::lanes::{Job, Lines, Load, Stream};
use crate::archive::columns::{Batch, Columns};
use crate::clock::Clock;
use crate::decode::{self, Opened, Row};
use crate::detect::{Finding, Judged, Origin, Trouble, judge};
use crate::event::{self, Event, Field, Flaw};
use crate::rules::{RuleSet, Scratch};
use crate::seal::leaf::{Hash, leaf};
use crate::source::{Chunk, Framing, Receipt};

/// What became of a load.
#[derive(Debug)]
pub enum Output {
    /// Of lines.
    Done(Box<Done>),
    /// Of what a source found wrong: it goes through as it is.
    Trouble(Trouble, Arc<RuleSet>),
}

/// What became of a chunk.
#[derive(Debug)]
pub struct Done {
    /// What judged it.
    pub rules: Arc<RuleSet>,
    /// The stream it is of.
    pub stream: Arc<Stream>,
    /// Offset in the stream after its last byte.
    pub end: u64,
    /// How the chunk ends.
    pub ending: Ending,
    /// The leaf of every line, in their order; empty where nothing is stored. A line that holds
    /// several events is several rows, and one link of its source's chain.
    pub leaves: Vec<Hash>,
    /// The position of every row in the stream.
    pub positions: Vec<u64>,
    /// The rows, one batch for each date; empty where nothing is stored.
    pub batches: Vec<Batch>,
    /// What its events are to those who count them, each with its place among the rows, in their order.
    pub steps: Vec<(u32, Step)>,
    /// How much there was.
    pub counts: Counts,
    /// To be spent by the commit.
    pub receipt: Option<Receipt>,
}

/// What is told of a chunk: where it came from, how much it held, what was found.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The stream it is of.
    pub stream: Arc<Stream>,
    /// How much there was.
    pub counts: Counts,
    /// What was found.
    pub findings: Vec<Found>,
}

/// The rule and the level of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Rule`")]
pub struct Found {
    pub rule: String,
    pub level: String,
}

impl Found {
    pub(super) fn of(finding: &Finding) -> Found {
        Found { rule: finding.rule.id.clone(), level: finding.rule.level.to_string() }
    }
}

/// How a chunk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a whole line or record.
    Line,
    /// With half a line, which may become a whole one.
    HalfLine,
    /// It is empty: the stream has ended.
    Stream,
}

impl Ending {
    fn of(chunk: &Chunk) -> Ending {
        if chunk.bytes.is_empty() && chunk.framing == Framing::Lines {
            Ending::Stream
        } else if chunk.ends_in_half_a_line() {
            Ending::HalfLine
        } else {
            Ending::Line
        }
    }
}

/// How much a chunk held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows: lines that are not blank, pieces of lines over the limit, and what stands in a line
    /// beside itself.
    pub rows: u64,
    /// Bytes of the rows.
    pub bytes: u64,
    /// Rows that are no audit event, by reason.
    pub marked: BTreeMap<Flaw, u64>,
    /// Bytes of memory that the rows take until they are written.
    pub held: u64,
    /// Audit events by stage.
    pub stages: BTreeMap<String, u64>,
    /// Bodies that a rule asked for and that could not be read.
    pub bodies_unread: u64,
    /// Events that the archive held already: they are in none of the numbers above.
    pub duplicates: u64,
}

/// What a worker does with a chunk.
pub struct Worker {
    scratch: Scratch,
    clock: Arc<dyn Clock>,
    stored: bool,
}

impl Worker {
    /// A worker that only detects.
    pub fn detecting(clock: Arc<dyn Clock>) -> Worker {
        Worker { scratch: Scratch::default(), clock, stored: false }
    }

    /// A worker whose rows are to be stored.
    pub fn storing(clock: Arc<dyn Clock>) -> Worker {
        Worker { scratch: Scratch::default(), clock, stored: true }
    }

    /// Takes one load through; lines through the three loops.
    pub fn work(&mut self, job: Job) -> Output {
        match job.load {
            Load::Lines(lines) => Output::Done(Box::new(self.lines(lines, job.rules))),
            Load::Trouble(trouble) => Output::Trouble(trouble, job.rules),
        }
    }

    fn lines(&mut self, lines: Lines, ruleset: Arc<RuleSet>) -> Done {
        let Lines { stream, chunk, receipt } = lines;
        let chunk = Arc::new(chunk);
        let mut starts = Vec::new();
        let mut lines: Vec<Row<'_>> = Vec::new();
        let mut opened = Vec::new();
        for (start, line) in chunk.lines() {
            let piece = chunk.is_fragment();
            let decoded = if piece { Err(Flaw::Oversize) } else { decode::line(line) };
            if !piece && !decoded.as_ref().is_ok_and(Event::is_audit) {
                opened.extend(decode::open(line, &decoded).map(|it| (starts.len(), it)));
            }
            starts.push(start);
            lines.push(Row::plain(line, decoded));
        }
        let leaves: Vec<Hash> = match self.stored {
            true => lines.iter().map(|it| leaf(it.raw)).collect(),
            false => Vec::new(),
        };
        let (starts, rows) = rows(starts, lines, &opened);
        let unread = self.scratch.bodies_unread();
        let steps = self.judge(&stream, &ruleset, &starts, &rows);
        let mut counts = count(&rows);
        counts.bodies_unread = self.scratch.bodies_unread() - unread;
        let mut batches = Vec::new();
        if self.stored {
            let of_rows: Cow<'_, [Hash]> = match opened.is_empty() {
                true => Cow::Borrowed(&leaves),
                false => rows.iter().map(|it| leaf(it.raw)).collect(),
            };
            // The columns hold on to the chunk: what stands in it is not copied before it is encoded.
            let bytes = Buffer::from(Bytes::from_owner(Held(Arc::clone(&chunk))));
            let now = self.clock.now();
            batches = columns(&stream.cluster, &rows, &of_rows, now, &bytes);
            counts.held = batches.iter().map(|it| it.bytes_held(&bytes)).sum();
        }
        Done {
            end: chunk.end(),
            ending: Ending::of(&chunk),
            rules: ruleset,
            stream,
            receipt,
            leaves,
            batches,
            positions: starts,
            steps,
            counts,
        }
    }

    fn judge(
        &mut self,
        stream: &Stream,
        ruleset: &RuleSet,
        starts: &[u64],
        rows: &[Row<'_>],
    ) -> Vec<(u32, Step)> {
        let (mut steps, mut ticks) = (Vec::new(), Ticks::default());
        for (ordinal, (start, row)) in (0..).zip(starts.iter().zip(rows)) {
            if let Ok(event) = &row.event {
                let origin =
                    Origin { cluster: &stream.cluster, source: &stream.name, position: *start };
                let mut judged = Judged::default();
                judge(event, ruleset, &mut self.scratch, &origin, &mut judged);
                steps.extend(ticks.step(event, ruleset, judged).map(|it| (ordinal, it)));
            }
        }
        steps
    }
}

/// The rows of lines, each with its line's place, with what was found in some of them put in their place.
fn rows<'a>(
    starts: Vec<u64>,
    lines: Vec<Row<'a>>,
    opened: &'a [(usize, Opened)],
) -> (Vec<u64>, Vec<Row<'a>>) {
    if opened.is_empty() {
        return (starts, lines);
    }
    let mut opened = opened.iter().peekable();
    let mut found = (Vec::with_capacity(lines.len()), Vec::with_capacity(lines.len()));
    for (at, (start, line)) in starts.into_iter().zip(lines).enumerate() {
        let within = match opened.next_if(|it| it.0 == at) {
            Some((_, opened)) => opened.rows(line.raw),
            None => vec![line],
        };
        found.0.extend(std::iter::repeat_n(start, within.len()));
        found.1.extend(within);
    }
    found
}

fn count(rows: &[Row<'_>]) -> Counts {
    let mut counts = Counts::default();
    for row in rows {
        counts.rows += 1;
        counts.bytes += row.raw.len() as u64;
        if let Some(flaw) = row.flaw() {
            *counts.marked.entry(flaw).or_default() += 1;
        } else if let Ok(event) = &row.event {
            let stage = event.json(Field::Stage).unwrap_or_default().trim_matches('"');
            match counts.stages.get_mut(stage) {
                Some(count) => *count += 1,
                None => drop(counts.stages.insert(stage.to_owned(), 1)),
            }
        }
    }
    counts
}

/// A chunk whose bytes outlive its worker.
struct Held(Arc<Chunk>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// The rows as batches, one for each UTC date. `bytes` are those that most of them stand in.
fn columns(
    cluster: &Arc<str>,
    rows: &[Row<'_>],
    leaves: &[Hash],
    now: i64,
    bytes: &Buffer,
) -> Vec<Batch> {
    // Nearly every chunk has one date; a map would cost more than it finds.
    let mut dates: Vec<(i64, Columns, Vec<&[u8]>)> = Vec::new();
    for (ordinal, (row, leaf)) in (0_u32..).zip(rows.iter().zip(leaves)) {
        let mut day = day(row.event.as_ref().ok(), now);
        if dates.len() >= DATES_MAX && !dates.iter().any(|it| it.0 == day) {
            day = now.div_euclid(DAY);
        }
        let at = dates.iter().position(|it| it.0 == day).unwrap_or_else(|| {
            // A chunk of several dates is rare: each has room for what is left.
            let left = rows.len() - ordinal as usize;
            dates.push((day, Columns::over(bytes, left), Vec::with_capacity(left)));
            dates.len() - 1
        });
        if let Some((_, columns, lines)) = dates.get_mut(at) {
            columns.append(row, ordinal, *leaf);
            lines.push(row.raw);
        }
    }
    let finish = |(day, columns, lines): (i64, Columns, Vec<&[u8]>)| {
        #[expect(
            clippy::expect_used,
            reason = "columns built from one table fit it, or the program is wrong"
        )]
        columns
            .finish(cluster, event::date(day * DAY), now, &lines)
            .expect("the columns fit their schema")
    };
    dates.into_iter().map(finish).collect()
}

/// Dates that one chunk may be filed under; rows of further ones are filed under their arrival.
/// Genuine logs have one or two. Without a bound, whoever makes the times up makes a file of
/// each. Searches go by the rows' own times and find them all the same.
const DATES_MAX: usize = 16;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The day an event is filed under: of its stage time, or of its arrival where it has none or one
/// that no calendar has.
fn day(event: Option<&Event<'_>>, now: i64) -> i64 {
    let time = event.and_then(|it| it.micros(Field::StageTimestamp));
    time.unwrap_or(now).div_euclid(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_dates_do_not_become_a_file_each() {
        let line = |day: i64| {
            let mut time = Vec::new();
            event::write_micros(day * DAY, &mut time);
            let time = String::from_utf8(time).unwrap();
            format!(r#"{{"auditID":"a","stage":"s","stageTimestamp":"{time}"}}"#)
        };
        let lines: Vec<String> = (0..500).map(line).collect();
        let rows: Vec<Row<'_>> =
            lines.iter().map(|it| Row::plain(it.as_bytes(), decode::line(it.as_bytes()))).collect();
        let leaves = vec![[0; 32]; rows.len()];
        let batches = columns(&"c".into(), &rows, &leaves, 20_000 * DAY, &Buffer::default());
        assert_eq!(batches.len(), DATES_MAX + 1);
        assert_eq!(batches.iter().map(|it| it.rows.num_rows()).sum::<usize>(), 500);
        assert_eq!(batches.last().unwrap().date, event::date(20_000 * DAY));
    }
}
