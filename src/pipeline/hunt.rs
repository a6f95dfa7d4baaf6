//! Rules over history: the matcher of the stream, over the lines of an archive.

use std::path::Path;
use std::sync::Arc;

use super::history::{self, History, HistoryError, Placed, Reader, Run};
use super::stop::Stop;
use crate::archive::catalog::Scope;
use crate::archive::read::Line;
use crate::archive::stored::StoredFile;
use crate::decode;
use crate::detect::{Finding, Origin, scan};
use crate::event::{Event, Field};
use crate::rules::{RuleSet, Scratch};

/// What is hunted.
pub struct Hunt<'a> {
    /// The archive.
    pub dir: &'a Path,
    /// Which events.
    pub scope: Scope,
    /// The rules.
    pub rules: &'a Arc<RuleSet>,
    /// How many threads.
    pub workers: usize,
    /// Ends it early.
    pub stop: &'a Stop,
}

/// What was found in events that follow those before them.
#[derive(Debug, Default)]
pub struct Hunted {
    /// In the order of the events.
    pub findings: Vec<Finding>,
    /// Events that were judged.
    pub events: u64,
    /// Files begun, and files to be read.
    pub files: (usize, usize),
}

/// Runs the rules over the archive and hands the findings to `take`, in the order in which the events came.
///
/// # Errors
/// When a file cannot be read, or `take` fails.
pub fn hunt<E: From<HistoryError>>(
    hunt: &Hunt<'_>,
    mut take: impl FnMut(Hunted) -> Result<(), E>,
) -> Result<(), E> {
    let history = History {
        dir: hunt.dir,
        scope: hunt.scope.clone(),
        workers: hunt.workers,
        stop: hunt.stop,
    };
    let make = || Hunter { hunt, scratch: Scratch::default() };
    history::read(&history, make, |run: Run<Vec<Finding>>| {
        let events = run.made.len() as u64;
        let findings = run.made.into_iter().flat_map(|(_, it)| it).collect();
        take(Hunted { findings, events, files: run.files })
    })
}

struct Hunter<'h> {
    hunt: &'h Hunt<'h>,
    scratch: Scratch,
}

impl Reader for Hunter<'_> {
    type Made = Vec<Finding>;

    fn read(&mut self, file: &StoredFile, line: Line<'_>, made: &mut Vec<Placed<Self::Made>>) {
        let Ok(event) = decode::line(line.bytes) else { return };
        if !within(&self.hunt.scope, &event) {
            return;
        }
        let position = u64::try_from(line.seq).unwrap_or(0);
        let origin = Origin { cluster: &file.cluster, source: "archive", position };
        let mut findings = Vec::new();
        scan(&event, self.hunt.rules, &mut self.scratch, &origin, &mut findings);
        made.push((line.seq, findings));
    }
}

/// Whether an event is of the scope's time. One without a time is of every time.
fn within(scope: &Scope, event: &Event<'_>) -> bool {
    if scope.since.is_none() && scope.until.is_none() {
        return true;
    }
    event.micros(Field::StageTimestamp).is_none_or(|time| {
        scope.since.is_none_or(|since| time >= since)
            && scope.until.is_none_or(|until| time < until)
    })
}
