//! Observations in, findings out: counts, group by group, what the correlations of a rule set count.
//!
//! It knows no clock and no file. Time is that of the events; what it remembers is handed out for
//! each commit ([`Correlator::changes`]) and taken back at start ([`Correlator::restore`]), so that a
//! restart changes no finding. The same observations in the same order give the same findings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::Finding;
use super::observe::Observation;
use super::state;
use super::table::{Key, Spot, Store, Table, last};
use super::window::Entry;
use crate::rules::RuleSet;
use crate::rules::correlation::{Correlation, Kind, Sight};
use crate::rules::pack::{Taker, put_bytes};

/// How much may be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For all groups together. Over it the groups that were quiet longest are forgotten.
    pub bytes_max: usize,
    /// Of these, for what findings show of events. Over it the groups that were quiet longest
    /// show none.
    pub detail_bytes_max: usize,
    /// Events that one group remembers of `event_count`; over it the oldest are forgotten.
    pub events_max: usize,
    /// As much for the other types, which look at every event again for each.
    pub values_max: usize,
    /// Events that a finding shows.
    pub details_max: usize,
    /// How late an event may come after a newer one of its group and be put in its place, µs.
    pub lateness: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes_max: 512 << 20,
            detail_bytes_max: 64 << 20,
            events_max: crate::rules::correlation::EVENTS_MAX as usize,
            values_max: 10_000,
            details_max: 10,
            lateness: 60_000_000,
        }
    }
}

/// What is remembered, and what had to be forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Groups that are remembered.
    pub groups: usize,
    /// What they cost.
    pub bytes: usize,
    /// Groups that were forgotten because there were too many.
    pub evicted: u64,
    /// Observations that came later than the lateness bound.
    pub late: u64,
    /// Events that were forgotten because their group had too many, and observations of
    /// correlations that are no more.
    pub dropped: u64,
    /// Groups whose findings show no events, because there were too many.
    pub undetailed: u64,
}

/// One group, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The correlation's hash.
    pub correlation: String,
    /// The group, with its cluster.
    pub key: Vec<u8>,
    /// What it remembers.
    pub state: Vec<u8>,
    /// The time of its newest event, µs.
    pub last: i64,
}

/// What became of the groups since the last commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Groups that are new or have changed.
    pub set: Vec<Window>,
    /// Groups that are no more, as correlation and key.
    pub gone: Vec<(String, Vec<u8>)>,
}

/// Counts what the correlations of a rule set count.
#[derive(Debug)]
pub struct Correlator {
    pub(super) rules: Arc<RuleSet>,
    pub(super) limits: Limits,
    places: BTreeMap<String, usize>,
    pub(super) store: Store,
    /// How far event time has come in each cluster.
    pub(super) newest: BTreeMap<Arc<str>, i64>,
    gone: Vec<(String, Vec<u8>)>,
    /// Correlations that are learning and tell nothing.
    pub(super) learning: BTreeSet<usize>,
    /// Correlations that watch every cluster from its beginning.
    expected: Vec<usize>,
    pub(super) counts: Counts,
}

/// An observation as one correlation of the present set counts it.
pub(super) struct Sighting {
    pub(super) spot: Spot,
    pub(super) sight: Sight,
    pub(super) time: i64,
    pub(super) mark: u64,
    /// Empty where there is none.
    pub(super) detail: Arc<str>,
}

impl Correlator {
    /// One that remembers nothing.
    pub fn new(rules: Arc<RuleSet>, limits: Limits) -> Correlator {
        Correlator {
            places: places(&rules),
            expected: expected(&rules),
            rules,
            limits,
            store: Store::default(),
            newest: BTreeMap::new(),
            gone: Vec::new(),
            learning: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Counts one observation and adds what that comes to. To be called in the order of the events.
    pub fn observe(&mut self, observation: Observation, out: &mut Vec<Finding>) {
        let Some(sighting) = self.sighting(observation) else { return };
        self.go_on(&sighting.spot.cluster, sighting.time);
        self.sighted(&sighting, out);
        self.forget();
    }

    /// Event time has come this far in a cluster: absences are told, and what no window needs is
    /// forgotten. To be called after the observations up to that time. Going back does nothing.
    pub fn advance(&mut self, cluster: &str, micros: i64, out: &mut Vec<Finding>) {
        let cluster = self.cluster(cluster);
        self.go_on(&cluster, micros);
        let now = self.newest.get(&cluster).copied().unwrap_or(micros);
        let rules = Arc::clone(&self.rules);
        for (at, correlation) in rules.correlations().iter().enumerate() {
            let spot = Spot { at, cluster: Arc::clone(&cluster) };
            if correlation.kind == Kind::Absence {
                self.settle(&spot, correlation, now, out);
            } else {
                self.expire(&spot, correlation, now);
            }
        }
        self.forget();
    }

    /// Takes back a group that was recorded. `false`: there is no such correlation any more, or
    /// the state is of a later version; it may be removed.
    pub fn restore(&mut self, correlation: &str, key: &[u8], state: &[u8]) -> bool {
        let Some(at) = self.places.get(correlation).copied() else { return false };
        let Some(kind) = self.rules.correlations().get(at).map(|it| it.kind) else { return false };
        let (Some((cluster, key)), Some(group)) = (split(key), state::decode(state)) else {
            return false;
        };
        let cluster = self.cluster(cluster);
        let newest = self.newest.entry(Arc::clone(&cluster)).or_insert(i64::MIN);
        *newest = group.newest().max(*newest);
        if !group.entries.is_empty() {
            self.store.put(&Spot { at, cluster }, kind, Key::from(key), group);
        }
        true
    }

    /// What has changed since the last call, in a fixed order: to be recorded in the commit of the
    /// events that were observed.
    pub fn changes(&mut self) -> Changes {
        let mut changes = Changes { gone: std::mem::take(&mut self.gone), ..Changes::default() };
        for (spot, key) in self.store.changed() {
            let Some(correlation) = self.rules.correlations().get(spot.at) else { continue };
            let row = row(&spot.cluster, &key);
            match self.store.recorded(&spot, &key) {
                Some(group) => {
                    let since = group.newest().saturating_sub(self.limits.lateness);
                    changes.set.push(Window {
                        correlation: correlation.hash.clone(),
                        key: row,
                        state: state::encode(group, since),
                        last: last(correlation.kind, group),
                    });
                }
                None => changes.gone.push((correlation.hash.clone(), row)),
            }
        }
        changes
    }

    /// Starts to learn from history, for correlations that need it and are not among `seeded`:
    /// how much of it they want, µs. `None`: there is nothing to learn.
    pub fn learn(&mut self, seeded: &[String]) -> Option<i64> {
        let wanted = |it: &Correlation| {
            matches!(it.kind, Kind::NewTerms | Kind::Absence) && !seeded.contains(&it.hash)
        };
        let correlations = self.rules.correlations();
        let learning = correlations.iter().enumerate().filter(|(_, it)| wanted(it));
        self.learning = learning.map(|(at, _)| at).collect();
        let spans = self.learning.iter().filter_map(|at| correlations.get(*at));
        spans.map(|it| it.micros).max()
    }

    /// Learns from one observation of history, and tells nothing.
    pub fn seed(&mut self, observation: Observation) {
        let Some(sighting) = self.sighting(observation) else { return };
        if self.learning.contains(&sighting.spot.at) {
            let newest = self.newest.entry(Arc::clone(&sighting.spot.cluster)).or_insert(i64::MIN);
            *newest = sighting.time.max(*newest);
            self.sighted(&sighting, &mut Vec::new());
            self.forget();
        }
    }

    /// Ends the learning: the hashes of the correlations that have learned, to be recorded.
    pub fn learned(&mut self) -> Vec<String> {
        let learning = std::mem::take(&mut self.learning);
        let correlations = self.rules.correlations();
        learning.iter().filter_map(|at| correlations.get(*at)).map(|it| it.hash.clone()).collect()
    }

    /// Goes on with other rules. What correlations remember that are in both stays.
    pub fn swap(&mut self, rules: Arc<RuleSet>) {
        let old = std::mem::replace(&mut self.rules, rules);
        self.places = places(&self.rules);
        self.expected = expected(&self.rules);
        let hash = |at: usize| old.correlations().get(at).map_or("", |it| it.hash.as_str());
        let place = |at: usize| self.places.get(hash(at)).copied();
        let kind =
            |at: usize| self.rules.correlations().get(at).map_or(Kind::EventCount, |it| it.kind);
        let gone = self.store.move_to(&place, &kind);
        let rows =
            gone.iter().map(|(spot, key)| (hash(spot.at).to_owned(), row(&spot.cluster, key)));
        self.gone.extend(rows);
        self.learning.clear();
    }

    /// What is remembered, and what had to be forgotten.
    pub fn counts(&self) -> Counts {
        Counts { groups: self.store.groups, bytes: self.store.cost.bytes, ..self.counts }
    }

    fn sighting(&mut self, observation: Observation) -> Option<Sighting> {
        let Observation { sight, cluster, time, mark, detail } = observation;
        let Some(at) = self.places.get(&sight.correlation.hash).copied() else {
            self.counts.dropped += 1;
            return None;
        };
        let cluster = self.cluster(&cluster);
        let time = time.or_else(|| self.newest.get(&cluster).copied()).unwrap_or(0);
        Some(Sighting { spot: Spot { at, cluster }, sight, time, mark, detail })
    }

    /// One text for each cluster, shared by its groups.
    fn cluster(&self, name: &str) -> Arc<str> {
        self.newest.get_key_value(name).map_or_else(|| name.into(), |(it, _)| Arc::clone(it))
    }

    /// Event time goes on. Where a cluster is new, so is the watch for what is always expected.
    fn go_on(&mut self, cluster: &Arc<str>, time: i64) {
        let newest = self.newest.entry(Arc::clone(cluster)).or_insert(time);
        *newest = time.max(*newest);
        for at in &self.expected {
            let spot = Spot { at: *at, cluster: Arc::clone(cluster) };
            if self.store.get(&spot, &[]).is_none() {
                let (mark, value, member) = (0, 0, 0);
                let start = Entry { time, mark, value, member, first: true, fired: false };
                self.store.update((&spot, Kind::Absence), &[], |it| it.entries.push_back(start));
            }
        }
    }

    /// How long a group is remembered after its newest event.
    fn remembered(&self, correlation: &Correlation) -> i64 {
        match correlation.kind {
            Kind::NewTerms => correlation.micros.saturating_add(step(correlation)),
            _ => correlation.micros.saturating_add(self.limits.lateness),
        }
    }

    fn expire(&mut self, spot: &Spot, correlation: &Correlation, now: i64) {
        let end = now.saturating_sub(self.remembered(correlation));
        while let Some((last, key)) = self.store.tables.get(spot).and_then(Table::quietest) {
            if *last >= end {
                break;
            }
            let key = Arc::clone(key);
            self.store.remove(spot, correlation.kind, &key);
        }
    }
}

fn places(rules: &RuleSet) -> BTreeMap<String, usize> {
    rules.correlations().iter().map(|it| it.hash.clone()).zip(0..).collect()
}

/// The correlations that watch a cluster from its beginning.
fn expected(rules: &RuleSet) -> Vec<usize> {
    let expects = |it: &Correlation| it.kind == Kind::Absence && it.group_by.is_empty();
    let correlations = rules.correlations().iter().enumerate();
    correlations.filter(|(_, it)| expects(it)).map(|(at, _)| at).collect()
}

/// How exactly it is remembered when a term was last seen: a row that is written for each sight
/// would cost more than it is worth.
pub(super) fn step(correlation: &Correlation) -> i64 {
    correlation.micros / 128
}

/// The key of a group, with its cluster.
pub(super) fn row(cluster: &str, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(cluster.len() + key.len() + 2);
    put_bytes(&mut row, cluster.as_bytes());
    row.extend_from_slice(key);
    row
}

fn split(row: &[u8]) -> Option<(&str, &[u8])> {
    let mut from = Taker(row);
    let cluster = from.text()?;
    Some((cluster, from.0))
}
