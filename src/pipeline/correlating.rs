//! The correlator among the threads: what workers saw in the chunks, in the order of the chunks -> findings.
//!
//! One rule: nothing here depends on how a stream was cut into chunks, how many workers there were, or how
//! often the process was started, so that the stream, a file and history give the same findings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::glance::Glance;
use super::history::{self, History, HistoryError, Placed, Reader, Run};
use super::stop::Stop;
use crate::archive::catalog::{Catalog, CatalogError, Scope};
use crate::archive::read::{Line, ReadError};
use crate::archive::stored::StoredFile;
use crate::archive::windows::{WindowChanges, WindowRow};
use crate::decode;
use crate::detect::{Changes, Correlator, Counts, Finding, Judged, Limits, Origin, judge};
use crate::event::{Event, Field};
use crate::rules::correlation::Kind;
use crate::rules::{RuleSet, Scratch};

/// Event time goes on in steps of this, µs: the same steps however often somebody looks.
const TICK: i64 = 1_000_000;

/// The name under which event time itself is recorded among the windows: no hash of a correlation.
const CLOCK: &str = "clock";

/// How often the log says how far the learning is: every so many files.
const FILES_TOLD: usize = 100;

/// What is to be known of one event, or of several that matched nothing.
#[derive(Debug, Default)]
pub struct Step {
    /// Event time has come that far, where it has gone on by a tick.
    pub tick: Option<i64>,
    /// What the rules made of the event.
    pub judged: Judged,
}

/// The time of events, in ticks: it only goes on.
#[derive(Debug, Default)]
pub struct Ticks(Option<i64>);

impl Ticks {
    /// Takes an event, makes its step; `None`: there is nothing to be known of it.
    pub fn step(&mut self, event: &Event<'_>, rules: &RuleSet, judged: Judged) -> Option<Step> {
        let time = || event.micros(Field::StageTimestamp).map(floor);
        let tick = if rules.correlations().is_empty() { None } else { time() };
        let tick = tick.filter(|it| self.0.is_none_or(|before| *it > before));
        self.0 = tick.or(self.0);
        let any = !judged.findings.is_empty() || !judged.observations.is_empty();
        (any || tick.is_some()).then_some(Step { tick, judged })
    }
}

fn floor(micros: i64) -> i64 {
    micros.saturating_sub(micros.rem_euclid(TICK))
}

/// Where windows are kept, and what is learned from.
pub(super) struct Kept<'a> {
    pub(super) catalog: &'a Catalog,
    /// Threads that read history.
    pub(super) workers: usize,
}

/// What a window remembers, and the time of its newest event.
type State = (Vec<u8>, i64);

/// Counts what workers saw.
pub struct Correlating {
    limits: Limits,
    correlator: Option<(Arc<RuleSet>, Correlator)>,
    /// How far event time has come, in ticks, by cluster.
    clocks: BTreeMap<Arc<str>, i64>,
    /// What is to be recorded; `None`: the window is gone.
    pending: BTreeMap<(String, Vec<u8>), Option<State>>,
    seeded: Vec<String>,
    told: Counts,
}

impl Correlating {
    /// One that has no rules yet.
    pub fn new(limits: Limits) -> Correlating {
        Correlating {
            limits,
            correlator: None,
            clocks: BTreeMap::new(),
            pending: BTreeMap::new(),
            seeded: Vec::new(),
            told: Counts::default(),
        }
    }

    /// Whether that is another rule set than the one that counts.
    pub(super) fn is_other(&self, rules: &Arc<RuleSet>) -> bool {
        self.correlator.as_ref().is_none_or(|(known, _)| !Arc::ptr_eq(known, rules))
    }

    /// Goes on with these rules. Windows of correlations that did not change stay.
    pub fn judge_by(&mut self, rules: &Arc<RuleSet>) {
        match &mut self.correlator {
            Some((known, correlator)) => {
                if !Arc::ptr_eq(known, rules) {
                    *known = Arc::clone(rules);
                    correlator.swap(Arc::clone(rules));
                }
            }
            None => {
                let correlator = Correlator::new(Arc::clone(rules), self.limits);
                self.correlator = Some((Arc::clone(rules), correlator));
            }
        }
    }

    /// Goes on with these rules where windows are kept: the first time with those that were left there;
    /// and each correlation that needs it learns once, from the events that are kept. True: there is something to record.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub(super) fn judge_by_kept(
        &mut self,
        rules: &Arc<RuleSet>,
        kept: &Kept<'_>,
    ) -> Result<bool, HistoryError> {
        let first = self.correlator.is_none();
        self.judge_by(rules);
        if first {
            self.restore(kept.catalog)?;
        }
        self.learn(kept)?;
        self.gather();
        Ok(!self.pending.is_empty() || !self.seeded.is_empty())
    }

    fn restore(&mut self, catalog: &Catalog) -> Result<(), CatalogError> {
        let Some((_, correlator)) = &mut self.correlator else { return Ok(()) };
        let (clocks, pending) = (&mut self.clocks, &mut self.pending);
        catalog.windows(|row| {
            if row.correlation == CLOCK {
                clocks.insert(String::from_utf8_lossy(&row.key).into(), row.last);
            } else if !correlator.restore(&row.correlation, &row.key, &row.state) {
                // The rule was removed or changed; what it had counted is of no use any more.
                pending.insert((row.correlation, row.key), None);
            }
        })?;
        for (cluster, clock) in clocks {
            // What this finds was found when the clock came there.
            correlator.advance(cluster, *clock, &mut Vec::new());
        }
        Ok(())
    }

    fn learn(&mut self, kept: &Kept<'_>) -> Result<(), HistoryError> {
        let Some((rules, correlator)) = &mut self.correlator else { return Ok(()) };
        let Some(span) = correlator.learn(&kept.catalog.seeded()?) else { return Ok(()) };
        let files = kept.catalog.files(&Scope::default())?;
        if let Some(newest) = files.iter().filter_map(|it| it.time_last).max() {
            let scope = Scope { since: Some(newest.saturating_sub(span)), ..Scope::default() };
            learn_from(&scope, rules, correlator, kept)?;
        }
        self.seeded.extend(correlator.learned());
        Ok(())
    }

    /// Takes the next step of a cluster; adds what was found, in order.
    pub fn step(&mut self, cluster: &Arc<str>, step: Step, out: &mut Vec<Finding>) {
        let Judged { findings, observations } = step.judged;
        if let Some(tick) = step.tick {
            self.go_on(cluster, tick, out);
        }
        out.extend(findings);
        if let Some((_, correlator)) = &mut self.correlator {
            observations.into_iter().for_each(|it| correlator.observe(it, out));
        }
    }

    /// Time has passed without an event, µs: what is expected by now did not come.
    /// False: that changes nothing.
    pub(super) fn pass(&mut self, cluster: &Arc<str>, micros: i64, out: &mut Vec<Finding>) -> bool {
        let absence =
            |rules: &RuleSet| rules.correlations().iter().any(|it| it.kind == Kind::Absence);
        // Only silence needs a clock. Windows end by the events' own time, as they do in history.
        if self.correlator.as_ref().is_some_and(|(rules, _)| absence(rules)) {
            return self.go_on(cluster, floor(micros), out);
        }
        false
    }

    fn go_on(&mut self, cluster: &Arc<str>, tick: i64, out: &mut Vec<Finding>) -> bool {
        let Some((_, correlator)) = &mut self.correlator else { return false };
        let clock = self.clocks.entry(Arc::clone(cluster)).or_insert(i64::MIN);
        if tick <= *clock {
            return false;
        }
        *clock = tick;
        correlator.advance(cluster, tick, out);
        let key = (CLOCK.to_owned(), cluster.as_bytes().to_vec());
        self.pending.insert(key, Some((Vec::new(), tick)));
        true
    }

    /// What is to be recorded with the events that were taken. It stays so until [`Correlating::written`].
    pub(super) fn changes(&mut self) -> WindowChanges {
        self.gather();
        let mut changes = WindowChanges { seeded: self.seeded.clone(), ..WindowChanges::default() };
        for ((correlation, key), state) in &self.pending {
            let (correlation, key) = (correlation.clone(), key.clone());
            match state {
                Some((state, last)) => {
                    let (state, last) = (state.clone(), *last);
                    changes.set.push(WindowRow { correlation, key, state, last });
                }
                None => changes.gone.push((correlation, key)),
            }
        }
        changes
    }

    fn gather(&mut self) {
        let Some((_, correlator)) = &mut self.correlator else { return };
        let Changes { set, gone } = correlator.changes();
        // A window that went and came back between two commits is in both.
        self.pending.extend(gone.into_iter().map(|it| (it, None)));
        self.pending.extend(
            set.into_iter().map(|it| ((it.correlation, it.key), Some((it.state, it.last)))),
        );
    }

    /// The changes are recorded.
    pub(super) fn written(&mut self) {
        self.pending.clear();
        self.seeded.clear();
    }

    /// What is remembered, and what was forgotten since the last call.
    pub(super) fn counts(&mut self) -> Counts {
        let Some((_, correlator)) = &self.correlator else { return Counts::default() };
        let now = correlator.counts();
        let before = std::mem::replace(&mut self.told, now);
        Counts {
            evicted: now.evicted - before.evicted,
            late: now.late - before.late,
            dropped: now.dropped - before.dropped,
            undetailed: now.undetailed - before.undetailed,
            ..now
        }
    }
}

fn learn_from(
    scope: &Scope,
    rules: &Arc<RuleSet>,
    correlator: &mut Correlator,
    kept: &Kept<'_>,
) -> Result<(), HistoryError> {
    tracing::info!("correlations that are new learn from the archive");
    let stop = Stop::default();
    let history = History {
        dir: kept.catalog.dir(),
        scope: scope.clone(),
        without: &[],
        seq_last: i64::MAX,
        workers: kept.workers,
        stop: &stop,
    };
    let counted = Arc::default();
    let make = || Stepper::new(rules, scope, &counted);
    let mut told = 0;
    let result = history::read(&history, make, |run: Run<(Arc<str>, Step)>| {
        for (_, (_, step)) in run.made {
            step.judged.observations.into_iter().for_each(|it| correlator.seed(it));
        }
        let (begun, files) = run.files;
        if begun >= told + FILES_TOLD {
            told = begun;
            tracing::info!(files_read = begun, files, "learning from the archive");
        }
        Ok::<(), HistoryError>(())
    });
    let groups = correlator.counts().groups;
    tracing::info!(groups, "correlations have learned from the archive");
    result
}

/// Makes the steps of stored lines.
pub(super) struct Stepper<'r> {
    rules: &'r Arc<RuleSet>,
    scope: &'r Scope,
    scratch: Scratch,
    /// `None`: the rules have to see every line.
    glance: Option<Glance>,
    /// Of the last line.
    cluster: Arc<str>,
    counted: Arc<Counted>,
}

/// What the threads of a hunt have seen.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Events of the scope.
    pub(super) events: AtomicU64,
    /// Those of them whose lines were read: of the others the columns said that no rule matches them.
    pub(super) read: AtomicU64,
}

impl<'r> Stepper<'r> {
    /// Of the events of that scope's times; counts them.
    pub(super) fn new(
        rules: &'r Arc<RuleSet>,
        scope: &'r Scope,
        counted: &Arc<Counted>,
    ) -> Stepper<'r> {
        let (scratch, counted) = (Scratch::default(), Arc::clone(counted));
        let glance = Glance::of(rules);
        Stepper { rules, scope, scratch, glance, cluster: "".into(), counted }
    }

    fn is_of(&mut self, file: &StoredFile) {
        if *self.cluster != *file.cluster {
            self.cluster = file.cluster.as_str().into();
        }
    }

    fn step(&mut self, file: &StoredFile, seq: i64, event: &Event<'_>) -> Option<Step> {
        if !within(self.scope, event) {
            return None;
        }
        self.counted.events.fetch_add(1, Ordering::Relaxed);
        self.counted.read.fetch_add(1, Ordering::Relaxed);
        self.is_of(file);
        let position = u64::try_from(seq).unwrap_or(0);
        let origin = Origin { cluster: &file.cluster, source: "archive", position };
        let mut judged = Judged::default();
        judge(event, self.rules, &mut self.scratch, &origin, &mut judged);
        // The lines are not in their order yet: each with a time is a step, thinned out once they are.
        Ticks::default().step(event, self.rules, judged)
    }
}

impl Reader for Stepper<'_> {
    type Made = (Arc<str>, Step);

    fn glance(
        &mut self,
        file: &StoredFile,
        group: usize,
        reads: &dyn Fn(i64) -> bool,
        made: &mut Vec<Placed<Self::Made>>,
    ) -> Result<Option<Vec<u32>>, ReadError> {
        let Some(glance) = &mut self.glance else { return Ok(None) };
        let Some(seen) = glance.rows(file, group)? else { return Ok(None) };
        self.is_of(file);
        let ticks = !self.rules.correlations().is_empty();
        let mut events = 0;
        for (seq, time) in seen.passed.into_iter().filter(|(seq, _)| reads(*seq)) {
            if is_within(self.scope, time) {
                events += 1;
                let step = Step { tick: Some(floor(time)), judged: Judged::default() };
                made.extend(ticks.then(|| (seq, (Arc::clone(&self.cluster), step))));
            }
        }
        self.counted.events.fetch_add(events, Ordering::Relaxed);
        Ok(Some(seen.wanted))
    }

    fn read(&mut self, file: &StoredFile, line: Line<'_>, made: &mut Vec<Placed<Self::Made>>) {
        let step = decode::stored(line.bytes, |event| self.step(file, line.seq, event)).flatten();
        made.extend(step.map(|step| (line.seq, (Arc::clone(&self.cluster), step))));
    }

    fn thin(&self, made: &mut Vec<Placed<Self::Made>>) {
        let mut newest = i64::MIN;
        made.retain_mut(|(_, (_, step))| {
            step.tick = step.tick.filter(|it| *it > newest);
            newest = step.tick.unwrap_or(newest);
            let judged = &step.judged;
            step.tick.is_some() || !judged.findings.is_empty() || !judged.observations.is_empty()
        });
    }
}

/// Whether an event is of the scope's time. One without a time is of every time.
fn within(scope: &Scope, event: &Event<'_>) -> bool {
    if scope.since.is_none() && scope.until.is_none() {
        return true;
    }
    event.micros(Field::StageTimestamp).is_none_or(|time| is_within(scope, time))
}

fn is_within(scope: &Scope, time: i64) -> bool {
    scope.since.is_none_or(|since| time >= since) && scope.until.is_none_or(|until| time < until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::write_micros;
    use crate::rules::{LoadOptions, load_text};

    const RULES: &str = "title: Get\nname: get\ndetection: { sel: { verb: get }, condition: sel }\n---\n\
        title: Three\nid: three\ncorrelation: { type: event_count, rules: [get], timespan: 15s, condition: { gte: 3 } }\n---\n\
        title: Silent\nid: silent\ncorrelation: { type: absence, rules: [get], timespan: 20s }\n---\n\
        title: List\nid: list\ndetection: { sel: { verb: list }, condition: sel }\n";

    fn rules() -> Arc<RuleSet> {
        Arc::new(load_text([("r.yml", RULES)], &LoadOptions::default()).unwrap().rules)
    }

    fn line(second: i64, verb: &str) -> String {
        let mut time = Vec::new();
        write_micros(1_795_401_553_250_000 + second * 1_000_000, &mut time);
        let time = String::from_utf8(time).unwrap();
        format!(
            r#"{{"auditID":"{second}","stage":"ResponseComplete","stageTimestamp":"{time}","verb":"{verb}"}}"#
        )
    }

    /// What is found in lines that come in chunks of that many.
    fn found(correlating: &mut Correlating, lines: &[String], chunk: usize) -> Vec<String> {
        let (rules, cluster, mut out) = (rules(), Arc::from("c"), Vec::new());
        if correlating.correlator.is_none() {
            correlating.judge_by(&rules);
        }
        for lines in lines.chunks(chunk) {
            let mut ticks = Ticks::default();
            for line in lines {
                let event = decode::line(line.as_bytes()).unwrap();
                let origin = Origin { cluster: "c", source: "s", position: 0 };
                let mut judged = Judged::default();
                judge(&event, &rules, &mut Scratch::default(), &origin, &mut judged);
                if let Some(step) = ticks.step(&event, &rules, judged) {
                    correlating.step(&cluster, step, &mut out);
                }
            }
        }
        out.iter().map(|it| serde_json::to_string(it).unwrap()).collect()
    }

    /// Bursts, gaps, and events that come up to two minutes late.
    fn stream() -> Vec<String> {
        let verb = |it: i64| ["get", "list", "other", "get"][usize::try_from(it % 4).unwrap()];
        let second = |it: i64| it * 3 + it / 20 * 60 - if it % 13 == 5 { it * 7 % 120 } else { 0 };
        (0..400).map(|it| line(second(it), verb(it))).collect()
    }

    #[test]
    fn where_a_stream_is_cut_changes_no_finding() {
        let lines = stream();
        let whole = found(&mut Correlating::new(Limits::default()), &lines, lines.len());
        let rule = |id: &str| whole.iter().filter(|it| it.contains(&format!("{id:?}"))).count();
        let told = [rule("three"), rule("silent"), rule("list")];
        assert!(told.iter().all(|it| *it > 5), "{told:?}");
        for chunk in [1, 7, 50] {
            let cut = found(&mut Correlating::new(Limits::default()), &lines, chunk);
            assert!(cut == whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn what_no_commit_recorded_is_in_the_next_one() {
        let mut correlating = Correlating::new(Limits::default());
        found(&mut correlating, &[line(0, "get")], 1);
        let first = correlating.changes();
        assert!(!first.set.is_empty());
        // The commit failed; meanwhile more has come.
        found(&mut correlating, &[line(1, "get")], 1);
        let second = correlating.changes();
        let key = |it: &WindowRow| (it.correlation.clone(), it.key.clone());
        assert!(first.set.iter().all(|it| second.set.iter().any(|now| key(now) == key(it))));
        correlating.written();
        assert!(correlating.changes().is_empty());
    }

    #[test]
    fn windows_that_were_kept_go_on_as_if_nothing_had_been() {
        use crate::archive::commit::Commit;
        let lines = stream();
        let whole = found(&mut Correlating::new(Limits::default()), &lines, 9);
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::create(dir.path()).unwrap();
        let mut pieces = Vec::new();
        for piece in lines.chunks(23) {
            let mut correlating = Correlating::new(Limits::default());
            let kept = Kept { catalog: &catalog, workers: 1 };
            correlating.judge_by_kept(&rules(), &kept).unwrap();
            pieces.extend(found(&mut correlating, piece, 9));
            let windows = correlating.changes();
            catalog.commit(&Commit { windows, ..Commit::default() }).unwrap();
        }
        assert!(pieces == whole, "{} findings, not {}", pieces.len(), whole.len());
    }
}
