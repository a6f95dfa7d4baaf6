//! Rules over history: the matcher and the correlator of the stream, over the lines of an archive or of several.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::correlating::{Correlating, Counted, Step, Stepper};
use super::history::{History, HistoryError, Run};
use super::merged;
use super::stop::Stop;
use crate::archive::catalog::Scope;
use crate::archive::copies::{Compared, CopiesError};
use crate::archive::stored::StoredFile;
use crate::detect::{Finding, Limits};
use crate::event;
use crate::rules::RuleSet;

/// What is hunted.
pub struct Hunt<'a> {
    /// The archives. An event that several of them hold is the first one's.
    pub dirs: &'a [PathBuf],
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
    /// Those of them whose lines were read: of the others the columns said that no rule matches them.
    pub read: u64,
    /// Files begun, and files to be read.
    pub files: (usize, usize),
}

/// Runs the rules over the archives and hands the findings to `take`, in the order in which the events came; of several
/// archives cluster by cluster, and there in the order of time. Gives how many events were left out because an archive
/// before theirs holds them too.
///
/// # Errors
/// When a file cannot be read, or `take` fails.
pub fn hunt<E: From<HistoryError>>(
    hunt: &Hunt<'_>,
    mut take: impl FnMut(Hunted) -> Result<(), E>,
) -> Result<u64, E> {
    let scope = warm(&hunt.scope, hunt.rules);
    let plan = plan(hunt.dirs, &scope).map_err(HistoryError::from)?;
    let counted = Arc::new(Counted::default());
    let make = || Stepper::new(hunt.rules, &scope, &counted);
    let mut correlating = Correlating::new(Limits::default());
    correlating.judge_by(hunt.rules);
    let mut files_before = 0;
    for scope in plan.scopes {
        let of_archive = hunt.dirs.iter().enumerate().map(|(at, dir)| History {
            dir,
            scope: scope.clone(),
            without: plan.compared.copies.places(at),
            seq_last: plan.seq_last.get(at).copied().unwrap_or(i64::MAX),
            workers: (hunt.workers / hunt.dirs.len()).max(1),
            stop: hunt.stop,
        });
        let histories: Vec<History<'_>> = of_archive.collect();
        let mut files_here = 0;
        merged::read(&histories, make, when, |run: Run<(Arc<str>, Step)>| {
            let mut findings = Vec::new();
            for (_, (cluster, step)) in run.made {
                correlating.step(&cluster, step, &mut findings);
            }
            findings.retain(|it| hunt.scope.since.is_none_or(|since| !is_before(it, since)));
            files_here = run.files.1;
            let files = (files_before + run.files.0, plan.files.unwrap_or(files_here));
            let [events, read] =
                [&counted.events, &counted.read].map(|it| it.swap(0, Ordering::Relaxed));
            take(Hunted { findings, events, read, files })
        })?;
        files_before += files_here;
    }
    Ok(plan.compared.copies.count())
}

/// What is read, of which archive, and in which turn.
struct Plan {
    compared: Compared,
    /// Of each archive the last place that was compared.
    seq_last: Vec<i64>,
    /// How many files they are; `None`: whoever reads them tells.
    files: Option<usize>,
    /// One after the other.
    scopes: Vec<Scope>,
}

fn plan(dirs: &[PathBuf], scope: &Scope) -> Result<Plan, CopiesError> {
    if dirs.len() == 1 {
        let scopes = vec![scope.clone()];
        return Ok(Plan {
            compared: Compared::default(),
            seq_last: Vec::new(),
            files: None,
            scopes,
        });
    }
    let compared = Compared::of(dirs, scope)?;
    let newest = |files: &Vec<StoredFile>| files.iter().map(|it| it.seq_last).max().unwrap_or(-1);
    let all = || compared.archives.iter().flatten();
    // Times of one cluster say nothing of when another one's events came.
    let clusters: BTreeSet<&String> = all().map(|it| &it.cluster).collect();
    let of_cluster = |it: &String| Scope { cluster: Some(it.clone()), ..scope.clone() };
    Ok(Plan {
        seq_last: compared.archives.iter().map(newest).collect(),
        files: Some(all().count()),
        scopes: clusters.into_iter().map(of_cluster).collect(),
        compared,
    })
}

/// When the event of a step happened, as far as it says.
fn when((_, step): &(Arc<str>, Step)) -> Option<i64> {
    let time = || step.judged.findings.first()?.time.as_deref().and_then(event::micros);
    step.tick.or_else(time)
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
