//! Rules over history: the matcher and the correlator of the stream, over the lines of an archive.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::correlating::{Correlating, Step, Stepper};
use super::history::{self, History, HistoryError, Run};
use super::stop::Stop;
use crate::archive::catalog::Scope;
use crate::detect::{Finding, Limits};
use crate::event;
use crate::rules::RuleSet;

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
    let scope = warm(&hunt.scope, hunt.rules);
    let history =
        History { dir: hunt.dir, scope: scope.clone(), workers: hunt.workers, stop: hunt.stop };
    let events = Arc::new(AtomicU64::new(0));
    let make = || Stepper::new(hunt.rules, &scope, &events);
    let mut correlating = Correlating::new(Limits::default());
    correlating.judge_by(hunt.rules);
    history::read(&history, make, |run: Run<(Arc<str>, Step)>| {
        let mut findings = Vec::new();
        for (_, (cluster, step)) in run.made {
            correlating.step(&cluster, step, &mut findings);
        }
        findings.retain(|it| hunt.scope.since.is_none_or(|since| !is_before(it, since)));
        take(Hunted { findings, events: events.swap(0, Ordering::Relaxed), files: run.files })
    })
}

/// The scope with what correlations have to know of the time before it, so that a window which
/// is half full when it begins is not taken for an empty one.
fn warm(scope: &Scope, rules: &RuleSet) -> Scope {
    let span = rules.correlations().iter().map(|it| it.micros).max().unwrap_or(0);
    Scope { since: scope.since.map(|it| it.saturating_sub(span)), ..scope.clone() }
}

fn is_before(finding: &Finding, since: i64) -> bool {
    finding.time.as_deref().and_then(event::micros).is_some_and(|it| it < since)
}
