//! Finished chunks -> commits: the parts of their rows, their sources' positions, their findings.
//!
//! One rule: a part is synced before the transaction that names it begins, and whoever waits for
//! "kept" is told after it has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::correlating::{Correlating, Kept as Windows};
use super::history::HistoryError;
use super::lanes::{self, Stream};
use super::sealing::Sealing;
use super::sieve::{Open, Sieve};
use super::stall;
use super::worker::{Counts, Done, Ending, Found, Taken};
use crate::archive::catalog::CatalogError;
use crate::archive::commit::Commit;
use crate::archive::keep::{self, Policy, SealError};
use crate::archive::outbox::FindingRow;
use crate::archive::part::{self, PartError, Placed};
use crate::archive::recover::Archive;
use crate::archive::stored::Boundary;
use crate::cause;
use crate::clock::Clock;
use crate::detect::{self, Finding, Limits, Trouble};
use crate::rules::RuleSet;
use crate::seal::leaf::Chain;
use crate::source::Receipt;

/// Clusters and dates that have rows in memory at one time. A shuffled file of many days would
/// otherwise become as many tiny parts at once.
const OPEN_PARTS_MAX: usize = 64;

/// How long sealing rests after it failed, as it does on a full disk: it needs room before it makes any.
const SEAL_PAUSE: Duration = Duration::from_secs(30);

/// Why the archive could not be written. Nothing that was told "kept" is lost by it.
#[derive(Debug, thiserror::Error)]
pub enum ArchivistError {
    /// A part could not be written.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A segment could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What correlations are to learn from could not be read.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// What a commit made durable.
#[derive(Debug, Default)]
pub struct Committed {
    /// What was found in its events.
    pub findings: Vec<FindingRow>,
    /// How much it held.
    pub counts: Counts,
    /// Parts that it recorded.
    pub parts: usize,
    /// Segments that were sealed after it.
    pub segments: usize,
    /// How long it took, sealing left out.
    pub took: Duration,
    /// What correlations remember, and had to forget since the last commit.
    pub correlated: detect::Counts,
}

/// What a chunk came to.
#[derive(Debug)]
pub struct Took {
    /// The commit that had to come before it, if any.
    pub committed: Option<Committed>,
    /// What is told of it.
    pub taken: Taken,
}

/// Which sinks a finding goes to.
pub type Routes = Arc<dyn Fn(&Finding) -> Vec<String> + Send + Sync>;

/// When to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// When a row group is full: a back-fill.
    Full,
    /// When a row group is full or its oldest row has waited that long; findings are recorded at
    /// once, ahead of the part.
    Live(Duration),
}

/// How far a source has been taken.
struct Kept {
    stream: Arc<Stream>,
    chain: Chain,
    end: u64,
    moved: bool,
    /// Whether the stream has ended there.
    ended: bool,
    /// Positions that are kept beside the newest: before half lines, where one that became whole
    /// is read from, and where a stream was opened anew.
    before: Vec<Boundary>,
}

impl Kept {
    fn new(stream: &Arc<Stream>) -> Kept {
        Kept {
            stream: Arc::clone(stream),
            chain: stream.chain.clone(),
            end: stream.start,
            moved: false,
            ended: false,
            before: Vec::new(),
        }
    }

    fn here(&self) -> Boundary {
        Boundary { end: self.end, digest: self.chain.value(), lasting: self.ended }
    }

    fn take(&mut self, done: &Done) {
        if !Arc::ptr_eq(&self.stream, &done.stream) {
            // It was opened anew, maybe before a half line that has become whole: its own chain
            // counts from here on.
            let mut before = std::mem::take(&mut self.before);
            before.extend(self.moved.then(|| self.here()));
            *self = Kept { before, ..Kept::new(&done.stream) };
        }
        if done.ending == Ending::HalfLine && self.end > 0 {
            self.before.push(Boundary { lasting: true, ..self.here() });
        }
        done.leaves.iter().for_each(|it| self.chain.push(it));
        self.end = done.end;
        self.moved = true;
        self.ended = done.ending == Ending::Stream;
    }

    /// What is to be recorded, oldest first.
    fn boundaries(&self) -> impl Iterator<Item = Boundary> {
        self.before.iter().cloned().chain(self.moved.then(|| self.here()))
    }
}

/// Owns the archive and turns finished chunks into commits.
pub struct Archivist {
    archive: Archive,
    clock: Arc<dyn Clock>,
    policy: Policy,
    routes: Routes,
    pace: Pace,
    rows_max: u64,
    held_max: u64,
    open: Open,
    rows: u64,
    since: Option<Duration>,
    sources: BTreeMap<i64, Kept>,
    findings: Vec<FindingRow>,
    /// Bytes of memory that the findings take.
    findings_held: u64,
    counts: BTreeMap<Arc<str>, Counts>,
    /// Of what was taken since the last commit.
    receipts: Vec<Receipt>,
    next_seq: i64,
    /// A commit up to this place failed, or was said to.
    attempted: Option<i64>,
    correlating: Correlating,
    sieve: Sieve,
    readers: usize,
    seals_aside: bool,
    sealing: Option<Sealing>,
    /// Sealing failed; not before this time, by the clock, is it tried again.
    seal_again: Option<Duration>,
}

impl Archivist {
    /// Takes the archive over.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn new(
        archive: Archive,
        clock: Arc<dyn Clock>,
        mut policy: Policy,
        routes: Routes,
        pace: Pace,
    ) -> Result<Archivist, CatalogError> {
        policy.agree(&archive.catalog)?;
        let budget = Budget::default();
        let next_seq = archive.catalog.next_seq()?;
        Ok(Archivist {
            archive,
            clock,
            policy,
            routes,
            pace,
            rows_max: budget.part_rows_max,
            held_max: budget.part_bytes_max,
            open: BTreeMap::new(),
            rows: 0,
            since: None,
            sources: BTreeMap::new(),
            findings: Vec::new(),
            findings_held: 0,
            counts: BTreeMap::new(),
            receipts: Vec::new(),
            next_seq,
            attempted: None,
            correlating: Correlating::new(Limits::default()),
            sieve: Sieve::default(),
            readers: lanes::Width::default().workers,
            seals_aside: false,
            sealing: None,
            seal_again: None,
        })
    }

    /// Remembers no more than that for correlations.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Archivist {
        self.correlating = Correlating::new(limits);
        self
    }

    /// Writes segments on a thread of their own: what is taken meanwhile does not wait, as an alert must not.
    #[must_use]
    pub fn sealing_aside(mut self) -> Archivist {
        self.seals_aside = true;
        self
    }

    /// Puts these rules in force for what is taken from here on: correlations go on where they were left,
    /// and new ones learn from the archive what they need. Gives the commit that had to come before, if any.
    ///
    /// # Errors
    /// When the archive cannot be written or read.
    pub fn judge_by(&mut self, rules: &Arc<RuleSet>) -> Result<Option<Committed>, ArchivistError> {
        if !self.correlating.is_other(rules) {
            return Ok(None);
        }
        // What was counted so far is recorded by those who counted it, and can be learned from.
        let committed = if self.since.is_some() { Some(self.commit()?) } else { None };
        let kept = Windows { catalog: &self.archive.catalog, workers: self.readers };
        if self.correlating.judge_by_kept(rules, &kept)? {
            self.since.get_or_insert_with(|| self.clock.elapsed());
        }
        self.policy.ruleset = Some(rules.hash().to_owned());
        Ok(committed)
    }

    /// With another memory of what is kept.
    #[cfg(test)]
    pub(super) fn with_sieve(mut self, sieve: Sieve) -> Archivist {
        self.sieve = sieve;
        self
    }

    /// Takes no more memory than that.
    #[must_use]
    pub fn within(mut self, budget: &Budget) -> Archivist {
        self.rows_max = budget.part_rows_max;
        self.held_max = budget.part_bytes_max;
        self.sieve = Sieve::holding(budget.marks_max);
        self.policy = budget.bind(self.policy);
        self.with_limits(budget.correlations)
    }

    /// Commits after fewer rows than a full row group: less memory, larger files.
    #[must_use]
    pub fn with_rows_max(mut self, rows_max: u64) -> Archivist {
        self.rows_max = rows_max.clamp(1, self.rows_max);
        self
    }

    /// Makes the commit that has to come before what these rules judged, or before so many more rows, if any.
    ///
    /// # Errors
    /// When it failed. What it held stays in memory, and the call may be repeated.
    pub fn make_way(
        &mut self,
        rules: &Arc<RuleSet>,
        counts: Option<&Counts>,
    ) -> Result<Option<Committed>, ArchivistError> {
        let full = self.since.is_some() && self.would_be_over(counts);
        let other = self.since.is_some() && self.correlating.is_other(rules);
        // What failed is repeated as it was: only so is it seen whether it had succeeded after all.
        let again = self.attempted.is_some();
        if full || other || again { self.commit().map(Some) } else { Ok(None) }
    }

    /// Whether what is held would be too much with that taken too.
    fn would_be_over(&self, more: Option<&Counts>) -> bool {
        let sum = |of: fn(&Counts) -> u64| self.counts.values().chain(more).map(of).sum::<u64>();
        sum(|it| it.rows) > self.rows_max
            || sum(|it| it.bytes) > part::BYTES_MAX
            || sum(|it| it.held) + self.findings_held > self.held_max
            || self.open.len() > OPEN_PARTS_MAX
    }

    /// Takes a finished chunk, without the events that are kept already.
    ///
    /// # Errors
    /// When a commit that had to come first failed ([`Archivist::make_way`]); the chunk is not taken then.
    pub fn take(&mut self, mut done: Done) -> Result<Took, ArchivistError> {
        let committed = self.make_way(&done.rules, Some(&done.counts))?;
        let other = self.judge_by(&done.rules)?;
        let committed = committed.or(other);
        let reused = self.sieve.sift(&self.archive.catalog, &self.open, &mut done)?;
        self.since.get_or_insert_with(|| self.clock.elapsed());
        let first = self.next_seq;
        self.next_seq += i64::try_from(done.counts.rows).unwrap_or(i64::MAX);
        self.rows += done.counts.rows;
        let kept =
            self.sources.entry(done.stream.source).or_insert_with(|| Kept::new(&done.stream));
        kept.take(&done);
        self.receipts.extend(done.receipt);
        add(self.counts.entry(Arc::clone(&done.stream.cluster)).or_default(), &done.counts);
        let (stream, counts) = (Arc::clone(&done.stream), done.counts.clone());
        let mut findings = Vec::new();
        for (_, step) in done.steps {
            self.correlating.step(&stream.cluster, step, &mut findings);
        }
        let ruleset = done.rules.hash();
        findings.extend(reused.iter().map(|it| it.finding(ruleset)));
        self.record(&findings);
        for batch in done.batches {
            let key = (Arc::clone(&batch.cluster), batch.date.clone());
            self.open.entry(key).or_default().push(Placed { batch, first });
        }
        let findings = findings.iter().map(Found::of).collect();
        Ok(Took { committed, taken: Taken { stream, counts, findings } })
    }

    /// Records what is wrong with a source, as a finding.
    ///
    /// # Errors
    /// When the catalog refuses.
    pub fn report(&mut self, trouble: &Trouble) -> Result<Vec<Found>, ArchivistError> {
        let ruleset = self.policy.ruleset.clone().unwrap_or_default();
        let finding = trouble.finding(&ruleset);
        self.since.get_or_insert_with(|| self.clock.elapsed());
        let found = vec![Found::of(&finding)];
        self.record(&[finding]);
        Ok(found)
    }

    /// Nothing came of a cluster up to that time, µs, by the clock; gives what that came to.
    ///
    /// # Errors
    /// When the catalog refuses.
    pub fn pass(&mut self, cluster: &Arc<str>, micros: i64) -> Result<Vec<Found>, ArchivistError> {
        let mut findings = Vec::new();
        if self.correlating.pass(cluster, micros, &mut findings) {
            // To be recorded, so that a restart does not begin to wait anew.
            self.since.get_or_insert_with(|| self.clock.elapsed());
        }
        self.record(&findings);
        Ok(findings.iter().map(Found::of).collect())
    }

    fn record(&mut self, findings: &[Finding]) {
        let rows: Vec<FindingRow> = findings.iter().map(|it| row(it, (self.routes)(it))).collect();
        if matches!(self.pace, Pace::Live(_)) && !rows.is_empty() {
            // Ahead of the part: an alert does not wait for it. After a crash the chunk comes
            // again and finds the same ids.
            if let Err(error) = self.archive.catalog.add_findings(&rows, self.clock.now()) {
                // The commit has them as well, and is repeated until it succeeds.
                tracing::warn!(error = cause::line(&error), "an alert waits for the next commit");
            }
        }
        self.findings_held += rows.iter().map(FindingRow::bytes_held).sum::<u64>();
        self.findings.extend(rows);
    }

    /// How long the next commit can wait; zero: it is due.
    pub fn patience(&self) -> Duration {
        const IDLE: Duration = Duration::from_millis(500);
        match (self.pace, self.since) {
            (Pace::Live(age_max), Some(since)) => {
                (since + age_max).saturating_sub(self.clock.elapsed()).min(IDLE)
            }
            _ => IDLE,
        }
    }

    /// Commits what has waited long enough, and seals what is old enough.
    ///
    /// # Errors
    /// When the commit failed. What it held stays in memory and is tried again.
    pub fn tick(&mut self) -> Result<Option<Committed>, ArchivistError> {
        if self.since.is_some() && self.patience().is_zero() {
            return self.commit().map(Some);
        }
        if self.since.is_none() && matches!(self.pace, Pace::Live(_)) {
            self.seal_due()?;
        }
        Ok(None)
    }

    /// Seals what is due. What fails and may pass is put off: parts are as good as segments, and the commit
    /// that came before has succeeded.
    fn seal_due(&mut self) -> Result<usize, ArchivistError> {
        let elapsed = self.clock.elapsed();
        if self.seal_again.is_some_and(|it| elapsed < it) {
            return Ok(0);
        }
        self.seal_again = None;
        let sealed = self.seal(false);
        self.put_off(sealed)
    }

    /// What could not be sealed and may be later is tried again after a rest.
    fn put_off(&mut self, sealed: Result<usize, SealError>) -> Result<usize, ArchivistError> {
        match sealed {
            Err(error) if stall::passes(&error) => {
                tracing::warn!(
                    error = cause::line(&error),
                    "a segment could not be sealed; its parts stay, and it is tried again"
                );
                self.seal_again = Some(self.clock.elapsed() + SEAL_PAUSE);
                Ok(0)
            }
            sealed => Ok(sealed?),
        }
    }

    /// Makes everything that was taken durable.
    ///
    /// # Errors
    /// When a part or the transaction failed. Nothing is recorded then, and it may be repeated.
    pub fn commit(&mut self) -> Result<Committed, ArchivistError> {
        let (now, began) = (self.clock.now(), self.clock.elapsed());
        let mut commit = Commit { next_seq: self.next_seq, now, ..Commit::default() };
        let moved = || self.sources.iter().filter(|(_, it)| it.moved);
        let read: Vec<serde_json::Value> = moved()
            .map(|(id, it)| serde_json::json!({"source": id, "name": *it.stream.name, "end": it.end}))
            .collect();
        let read = serde_json::Value::from(read).to_string();
        let recorded = self.is_recorded()?;
        for placed in self.open.values().filter(|_| !recorded) {
            commit.parts.push(part::write(&self.archive.dir, placed, read.clone(), now)?);
        }
        commit.positions =
            moved().flat_map(|(id, it)| it.boundaries().map(move |at| (*id, at))).collect();
        commit.findings.clone_from(&self.findings);
        for (cluster, counts) in self.counts.iter().filter(|_| !recorded) {
            commit.marked.extend(
                counts
                    .marked
                    .iter()
                    .map(|(flaw, lines)| (cluster.to_string(), flaw.as_str(), *lines)),
            );
        }
        commit.windows = self.correlating.changes();
        // The parts are synced. A crash before the next line leaves files that no row names; the
        // next start removes them and the sources are read again from their last position.
        self.attempted = Some(self.next_seq);
        self.archive.catalog.commit(&commit)?;
        self.attempted = None;
        self.correlating.written();
        self.receipts.drain(..).for_each(Receipt::keep);
        let mut committed = Committed {
            findings: std::mem::take(&mut self.findings),
            parts: self.open.len(),
            took: self.clock.elapsed().saturating_sub(began),
            correlated: self.correlating.counts(),
            ..Committed::default()
        };
        std::mem::take(&mut self.counts).values().for_each(|it| add(&mut committed.counts, it));
        self.open.clear();
        self.rows = 0;
        self.findings_held = 0;
        self.since = None;
        self.sources.values_mut().for_each(|it| {
            it.moved = false;
            it.before.clear();
        });
        self.sieve.changed();
        committed.segments = self.seal_due()?;
        Ok(committed)
    }

    /// Whether the rows of a commit that was said to have failed are recorded all the same. SQLite can report a
    /// failure after it is done; everything else of a commit may be repeated.
    fn is_recorded(&self) -> Result<bool, CatalogError> {
        let rows = self.rows > 0 && self.attempted == Some(self.next_seq);
        Ok(rows && self.archive.catalog.next_seq()? == self.next_seq)
    }

    /// Nothing will be committed any more: tells whoever waits for "kept" that it will not come.
    pub fn lose(&mut self) {
        self.receipts.clear();
    }

    /// Seals every part, whatever its age.
    ///
    /// # Errors
    /// When one cannot be sealed.
    pub fn seal_all(&mut self) -> Result<usize, ArchivistError> {
        Ok(self.seal(true)?)
    }

    fn seal(&mut self, all: bool) -> Result<usize, SealError> {
        let sealed = if self.seals_aside && !all { self.seal_aside() } else { self.seal_here(all) };
        // Also when one of several failed: the others took the place of their parts.
        if !matches!(sealed, Ok(0)) {
            self.sieve.changed();
        }
        sealed
    }

    /// Records the segment that has been written aside, or else begins with the next one.
    fn seal_aside(&mut self) -> Result<usize, SealError> {
        if self.sealing.as_ref().is_some_and(Sealing::has_ended) {
            return self.finish_begun();
        }
        if self.sealing.is_none() {
            self.sealing = Sealing::begin(&self.archive, &self.policy, self.clock.now())?;
        }
        Ok(0)
    }

    fn seal_here(&mut self, all: bool) -> Result<usize, SealError> {
        let begun = self.finish_begun()?;
        Ok(begun + keep::seal_due(&mut self.archive, &self.policy, self.clock.now(), all)?)
    }

    /// Waits for the segment that is being written aside, if any, and records it; gives how many that made.
    fn finish_begun(&mut self) -> Result<usize, SealError> {
        let Some(sealing) = self.sealing.take() else { return Ok(0) };
        sealing.finish(&mut self.archive, &self.policy)?;
        Ok(1)
    }

    /// Waits for the segment that is being written aside, if any, and records it: an end leaves nothing half done.
    ///
    /// # Errors
    /// When the catalog refuses. One that could not be written is left to the next start, with its parts.
    pub fn finish_sealing(&mut self) -> Result<usize, ArchivistError> {
        let sealed = self.finish_begun();
        self.sieve.changed();
        self.put_off(sealed)
    }

    /// The archive, for what is done between commits.
    pub fn archive(&mut self) -> &mut Archive {
        &mut self.archive
    }
}

fn row(finding: &Finding, sinks: Vec<String>) -> FindingRow {
    FindingRow {
        id: finding.id.clone(),
        rule: finding.rule.id.clone(),
        title: finding.rule.title.clone(),
        level: finding.rule.level.to_string(),
        cluster: finding.cluster.clone(),
        time: finding.time.clone(),
        body: serde_json::to_string(finding).unwrap_or_default(),
        sinks,
    }
}

fn add(sum: &mut Counts, more: &Counts) {
    sum.rows += more.rows;
    sum.bytes += more.bytes;
    sum.held += more.held;
    sum.bodies_unread += more.bodies_unread;
    sum.duplicates += more.duplicates;
    more.marked.iter().for_each(|(flaw, lines)| *sum.marked.entry(*flaw).or_default() += lines);
    more.stages
        .iter()
        .for_each(|(stage, events)| *sum.stages.entry(stage.clone()).or_default() += events);
}
