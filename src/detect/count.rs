//! How a correlation of each type counts one event, and what follows when it fires.

use sha2::{Digest, Sha256};
use std::sync::Arc;

use super::absence;
use super::correlate::{Correlator, Sighting, step};
use super::finding::Finding;
use super::fired::{Fired, finding};
use super::table::Spot;
use super::window::{Detail, Entry, Group, Verdict};
use crate::rules::correlation::{Correlation, Kind, Values};

impl Correlator {
    /// Counts an event, and what counts the correlations that fire because of it.
    pub(super) fn sighted(&mut self, sighting: &Sighting, out: &mut Vec<Finding>) {
        let rules = Arc::clone(&self.rules);
        let Some(correlation) = rules.correlations().get(sighting.spot.at) else { return };
        let fired = match correlation.kind {
            Kind::NewTerms => self.new_terms(sighting, correlation),
            Kind::Absence => self.expected_came(sighting, correlation),
            _ => self.window(sighting, correlation),
        };
        for fired in fired {
            self.tell(&sighting.spot, correlation, &fired, out);
        }
    }

    fn window(&mut self, sighting: &Sighting, correlation: &Correlation) -> Vec<Fired> {
        let limits = self.limits;
        let most = match correlation.kind {
            Kind::EventCount => limits.events_max,
            _ => limits.values_max,
        };
        let entries = entries(sighting, correlation.kind);
        let (mut late, mut over) = (false, 0);
        let spot = (&sighting.spot, correlation.kind);
        let fired = self.store.update(spot, &sighting.sight.group, |group| {
            late = sighting.time < group.newest().saturating_sub(limits.lateness);
            let verdicts = group.insert(correlation, &entries, late);
            show(group, sighting, limits.details_max);
            let fired = verdicts.into_iter().map(|it| fired(group, sighting, it)).collect();
            over = group.trim(correlation, limits.lateness, most);
            fired
        });
        self.counts.late += u64::from(late);
        self.counts.dropped += u64::try_from(over).unwrap_or(u64::MAX);
        fired
    }

    fn new_terms(&mut self, sighting: &Sighting, correlation: &Correlation) -> Vec<Fired> {
        let Values::Terms(terms) = &sighting.sight.values else { return Vec::new() };
        let step = step(correlation);
        let mut found = Vec::new();
        for term in terms {
            let key = [&sighting.sight.group[..], &code(term).to_be_bytes()].concat();
            let seen = self.store.get(&sighting.spot, &key).map(Group::newest);
            if seen.is_some_and(|it| sighting.time < it.saturating_add(step)) {
                continue;
            }
            let remembered = correlation.micros.saturating_add(step);
            let new = seen.is_none_or(|it| sighting.time > it.saturating_add(remembered));
            self.store.update((&sighting.spot, correlation.kind), &key, |group| {
                group.entries.clear();
                group.entries.reserve_exact(1);
                group.entries.push_back(entry(sighting, 0, 0));
            });
            if new && !self.learning.contains(&sighting.spot.at) {
                let verdict = Verdict {
                    time: sighting.time,
                    mark: sighting.mark,
                    own: true,
                    since: sighting.time,
                    value: 1.0,
                    count: 1,
                };
                let details = vec![Arc::clone(&sighting.detail)];
                found.push(Fired { verdict, key, details, term: Some(term.clone()) });
            }
        }
        found
    }

    fn expected_came(&mut self, sighting: &Sighting, correlation: &Correlation) -> Vec<Fired> {
        let limits = self.limits;
        let now = self.newest.get(&sighting.spot.cluster).copied().unwrap_or(sighting.time);
        let decided = now.saturating_sub(correlation.micros).saturating_sub(limits.lateness);
        if sighting.time < decided {
            self.counts.late += 1;
            return Vec::new();
        }
        let learning = self.learning.contains(&sighting.spot.at);
        let key = &sighting.sight.group;
        let mut over = 0;
        let fired = self.store.update((&sighting.spot, correlation.kind), key, |group| {
            let entry = entry(sighting, 0, 0);
            if learning {
                absence::learn(group, entry);
                show(group, sighting, limits.details_max);
                return Vec::new();
            }
            absence::note(group, entry);
            show(group, sighting, limits.details_max);
            let verdicts = absence::settle(group, correlation, now, limits.lateness);
            over = group.entries.len().saturating_sub(limits.values_max);
            if over > 0 {
                // Of many that came, the oldest and the newest are enough to see most gaps.
                group.entries.drain(1..=over);
            }
            absent(group, key, verdicts)
        });
        self.counts.dropped += u64::try_from(over).unwrap_or(u64::MAX);
        fired
    }

    /// Decides, in one cluster, which events did not come.
    pub(super) fn settle(
        &mut self,
        spot: &Spot,
        correlation: &Arc<Correlation>,
        now: i64,
        out: &mut Vec<Finding>,
    ) {
        let lateness = self.limits.lateness;
        let due = now.saturating_sub(correlation.micros).saturating_sub(lateness);
        let Some(table) = self.store.tables.get(spot) else { return };
        let waiting = table.quiet.iter().take_while(|(last, _)| *last <= due);
        let waiting: Vec<_> = waiting.map(|(_, key)| Arc::clone(key)).collect();
        for key in waiting {
            if self.store.get(spot, &key).is_none_or(|it| it.told) {
                continue;
            }
            let fired = self.store.update((spot, correlation.kind), &key, |group| {
                let verdicts = absence::settle(group, correlation, now, lateness);
                absent(group, &key, verdicts)
            });
            for fired in fired {
                self.tell(spot, correlation, &fired, out);
            }
        }
    }

    /// Tells a finding, and the correlations that count this one.
    fn tell(
        &mut self,
        spot: &Spot,
        correlation: &Arc<Correlation>,
        fired: &Fired,
        out: &mut Vec<Finding>,
    ) {
        let found = finding(self.rules.hash(), correlation, &spot.cluster, fired);
        let mark = found.id.get(..16).and_then(|it| u64::from_str_radix(it, 16).ok());
        if !correlation.silent {
            out.push(found);
        }
        let rules = Arc::clone(&self.rules);
        for (at, member) in &correlation.parents {
            let Some(parent) = rules.correlations().get(*at) else { continue };
            let Some(sight) = parent.sight_of(*member, correlation, &fired.key) else { continue };
            let sighting = Sighting {
                spot: Spot { at: *at, cluster: Arc::clone(&spot.cluster) },
                sight,
                time: fired.verdict.time,
                mark: mark.unwrap_or(0),
                detail: fired.details.last().cloned().unwrap_or_else(|| "".into()),
            };
            self.sighted(&sighting, out);
        }
    }

    /// Keeps to the limits: what was quiet longest is forgotten first.
    pub(super) fn forget(&mut self) {
        while self.store.cost.details > self.limits.detail_bytes_max {
            let Some((spot, key)) = self.store.quietest_detailed() else { break };
            let kind = self.kind(&spot);
            self.store.update((&spot, kind), &key, |group| group.details = Vec::new());
            self.counts.undetailed += 1;
        }
        while self.store.cost.bytes > self.limits.bytes_max {
            let Some((spot, key)) = self.store.quietest() else { break };
            let kind = self.kind(&spot);
            self.store.remove(&spot, kind, &key);
            self.counts.evicted += 1;
        }
    }

    fn kind(&self, spot: &Spot) -> Kind {
        self.rules.correlations().get(spot.at).map_or(Kind::EventCount, |it| it.kind)
    }
}

fn entry(sighting: &Sighting, member: u16, value: u64) -> Entry {
    let (time, mark) = (sighting.time, sighting.mark);
    Entry { time, mark, value, member, first: true, fired: false }
}

/// What a window remembers of an event.
fn entries(sighting: &Sighting, kind: Kind) -> Vec<Entry> {
    if kind.is_temporal() {
        return sighting.sight.members.iter().map(|it| entry(sighting, *it, 0)).collect();
    }
    match &sighting.sight.values {
        Values::None => vec![entry(sighting, 0, 0)],
        Values::Terms(terms) => terms.iter().map(|it| entry(sighting, 0, code(it))).collect(),
        Values::Numbers(numbers) => {
            numbers.iter().map(|it| entry(sighting, 0, it.to_bits())).collect()
        }
    }
}

/// Stands for a value; two values never share one but by an accident of one in 2^64.
fn code(term: &[u8]) -> u64 {
    let hash = Sha256::digest(term);
    u64::from_be_bytes(*hash.first_chunk::<8>().unwrap_or(&[0; 8]))
}

fn show(group: &mut Group, sighting: &Sighting, most: usize) {
    if !sighting.detail.is_empty() {
        let (time, mark) = (sighting.time, sighting.mark);
        group.show(Detail { time, mark, json: Arc::clone(&sighting.detail) }, most);
    }
}

/// A window that fires, with the events that can be shown of it.
fn fired(group: &Group, sighting: &Sighting, verdict: Verdict) -> Fired {
    let within =
        group.details.iter().filter(|it| (verdict.since..=verdict.time).contains(&it.time));
    let mut details: Vec<Arc<str>> = within.map(|it| Arc::clone(&it.json)).collect();
    let shown = details.last().is_some_and(|it| Arc::ptr_eq(it, &sighting.detail));
    if verdict.own && !shown && !sighting.detail.is_empty() {
        details.retain(|it| !Arc::ptr_eq(it, &sighting.detail));
        details.push(Arc::clone(&sighting.detail));
    }
    Fired { verdict, key: sighting.sight.group.clone(), details, term: None }
}

/// Absences, each with the event after which nothing came.
fn absent(group: &Group, key: &[u8], verdicts: Vec<Verdict>) -> Vec<Fired> {
    let of = |verdict: Verdict| {
        let last = group.details.iter().rev().find(|it| it.time <= verdict.since);
        let details = last.map(|it| Arc::clone(&it.json)).into_iter().collect();
        Fired { verdict, key: key.to_vec(), details, term: None }
    };
    verdicts.into_iter().map(of).collect()
}
