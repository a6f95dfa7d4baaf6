//! What one group of one correlation remembers, and whether that is too much.
//!
//! A window ends at an event and reaches back. Events are kept in the order of their times, so
//! that one which comes late is put in its place and the windows it falls into are judged again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::rules::correlation::{Correlation, Kind, Shape};

/// One event, or one of its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) time: i64,
    /// The beginning of the event's identity.
    pub(super) mark: u64,
    /// A number's bits, or the beginning of a value's hash.
    pub(super) value: u64,
    /// Which rule matched.
    pub(super) member: u16,
    /// Whether it is the first of its event; the others follow it.
    pub(super) first: bool,
    /// Whether the window that ends here has fired.
    pub(super) fired: bool,
}

/// An event as a finding shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Detail {
    pub(super) time: i64,
    pub(super) mark: u64,
    pub(super) json: Arc<str>,
}

/// What one group remembers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Group {
    /// In the order of their times; those of one event stand together.
    pub(super) entries: VecDeque<Entry>,
    /// The newest, oldest first.
    pub(super) details: Vec<Detail>,
    /// An absence that was told and has not ended.
    pub(super) told: bool,
    /// Whether the last commit knows the group.
    pub(super) stored: bool,
}

/// A window that fires.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// Of the event it ends at.
    pub(super) time: i64,
    pub(super) mark: u64,
    /// Whether that is the event that was counted just now, and not one after it.
    pub(super) own: bool,
    /// When it begins.
    pub(super) since: i64,
    pub(super) value: f64,
    /// How many events are in it.
    pub(super) count: usize,
}

impl Group {
    /// When its newest event happened.
    pub(super) fn newest(&self) -> i64 {
        self.entries.back().map_or(i64::MIN, |it| it.time)
    }

    /// Puts the entries of one event in their place and judges the windows that they change: the
    /// one that ends there and, unless it comes too late, those that end later.
    pub(super) fn insert(
        &mut self,
        correlation: &Correlation,
        event: &[Entry],
        late: bool,
    ) -> Vec<Verdict> {
        let Some(time) = event.first().map(|it| it.time) else { return Vec::new() };
        let place = self.entries.partition_point(|it| it.time <= time);
        if self.entries.capacity() == 0 {
            // Most groups never see a second event.
            self.entries.reserve_exact(event.len());
        }
        for (at, entry) in event.iter().enumerate() {
            self.entries.insert(place + at, Entry { first: at == 0, ..*entry });
        }
        let own = place + event.len() - 1;
        let mut verdicts = Vec::new();
        let last = if late { own } else { self.entries.len() - 1 };
        for at in own..=last {
            if !self.ends_event(at) {
                continue;
            }
            let start = start(correlation, &self.entries, at);
            if start > own {
                break;
            }
            let fired = self.entries.get(at).is_none_or(|it| it.fired);
            let verdict = if fired { None } else { judge(correlation, &self.entries, start, at) };
            if let (Some(verdict), Some(entry)) = (verdict, self.entries.get_mut(at)) {
                entry.fired = true;
                verdicts.push(Verdict { own: at == own, ..verdict });
            }
        }
        verdicts
    }

    /// Whether the entry is the last of its event.
    fn ends_event(&self, at: usize) -> bool {
        self.entries.get(at + 1).is_none_or(|it| it.first)
    }

    /// Forgets what no window needs that can still be judged. Gives how many entries were
    /// forgotten although one does, because there are more than `most`.
    pub(super) fn trim(&mut self, correlation: &Correlation, lateness: i64, most: usize) -> usize {
        let horizon = self.newest().saturating_sub(lateness);
        let at = self.entries.partition_point(|it| it.time <= horizon);
        let keep = match correlation.shape {
            Shape::Session { .. } if at == 0 => 0,
            Shape::Session { .. } => start(correlation, &self.entries, at - 1),
            Shape::Sliding | Shape::Tumbling => {
                let since = since(correlation, horizon);
                self.entries.partition_point(|it| it.time < since)
            }
        };
        self.entries.drain(..keep);
        let over = self.entries.len().saturating_sub(most);
        self.entries.drain(..over);
        if let Some(first) = self.entries.front().map(|it| it.time) {
            self.details.retain(|it| it.time >= first);
        }
        over
    }

    /// Remembers how to show an event, of which there are `most` at most.
    pub(super) fn show(&mut self, detail: Detail, most: usize) {
        let place = self.details.partition_point(|it| it.time <= detail.time);
        if self.details.len() < most {
            self.details.insert(place, detail);
        } else if place > 0 {
            self.details.insert(place, detail);
            self.details.remove(0);
        }
    }
}

/// The earliest time of a window that ends at `time`, when it is not a session.
fn since(correlation: &Correlation, time: i64) -> i64 {
    match correlation.shape {
        Shape::Tumbling => time.saturating_sub(time.rem_euclid(correlation.micros)),
        Shape::Sliding | Shape::Session { .. } => time.saturating_sub(correlation.micros),
    }
}

/// The first entry of the window that ends with the entry `at`.
fn start(correlation: &Correlation, entries: &VecDeque<Entry>, at: usize) -> usize {
    let Some(time) = entries.get(at).map(|it| it.time) else { return at };
    let Shape::Session { gap } = correlation.shape else {
        let since = since(correlation, time);
        return entries.partition_point(|it| it.time < since);
    };
    let (mut start, mut began, mut before) = (0, i64::MIN, i64::MIN);
    for (index, entry) in entries.iter().take(at + 1).enumerate() {
        let apart = entry.time.saturating_sub(before) > gap;
        if apart || entry.time.saturating_sub(began) > correlation.micros {
            (start, began) = (index, entry.time);
        }
        before = entry.time;
    }
    start
}

/// Judges the window of the entries from `start` to `at`.
fn judge(
    correlation: &Correlation,
    entries: &VecDeque<Entry>,
    start: usize,
    at: usize,
) -> Option<Verdict> {
    let window = || entries.range(start..=at);
    let value = match correlation.kind {
        Kind::EventCount => float(at + 1 - start),
        Kind::ValueCount => {
            let mut values: Vec<u64> = window().map(|it| it.value).collect();
            values.sort_unstable();
            values.dedup();
            float(values.len())
        }
        Kind::Temporal | Kind::TemporalOrdered => matched(correlation, window())?,
        Kind::ValueSum => window().map(|it| f64::from_bits(it.value)).sum(),
        Kind::ValueAvg => {
            window().map(|it| f64::from_bits(it.value)).sum::<f64>() / float(at + 1 - start)
        }
        Kind::ValuePercentile | Kind::ValueMedian => percentile(
            window().map(|it| f64::from_bits(it.value)).collect(),
            correlation.percentile,
        ),
        Kind::NewTerms | Kind::Absence => return None,
    };
    if !correlation.bounds.iter().all(|it| it.holds(value)) {
        return None;
    }
    let (first, last) = (entries.get(start)?, entries.get(at)?);
    let count = window().filter(|it| it.first).count();
    let (time, mark, since) = (last.time, last.mark, first.time);
    Some(Verdict { time, mark, own: false, since, value, count })
}

/// How many rules matched, when that is enough.
fn matched<'e>(
    correlation: &Correlation,
    window: impl Iterator<Item = &'e Entry> + Clone,
) -> Option<f64> {
    let seen: BTreeSet<u16> = window.clone().map(|it| it.member).collect();
    if correlation.over.as_ref().is_some_and(|it| !it.holds(&|member| seen.contains(&member))) {
        return None;
    }
    if correlation.kind == Kind::TemporalOrdered {
        return ordered(&correlation.order, window).then(|| float(correlation.order.len()));
    }
    let all = correlation.over.is_some()
        || !correlation.bounds.is_empty()
        || seen.len() == correlation.members();
    all.then(|| float(seen.len()))
}

/// Whether the members matched one after the other. Events of one moment are in any order.
fn ordered<'e>(order: &[u16], window: impl Iterator<Item = &'e Entry> + Clone) -> bool {
    let mut used: BTreeSet<usize> = BTreeSet::new();
    let mut since = i64::MIN;
    for member in order {
        let next = window.clone().enumerate().find(|(at, entry)| {
            entry.member == *member && entry.time >= since && !used.contains(at)
        });
        let Some((at, entry)) = next else { return false };
        used.insert(at);
        since = entry.time;
    }
    true
}

/// The value at a percentile, between two values in proportion.
fn percentile(mut values: Vec<f64>, percentile: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = percentile / 100.0 * float(values.len().saturating_sub(1));
    let below = values.iter().zip(0_u32..).take_while(|(_, at)| f64::from(*at) <= rank).last();
    let Some((low, at)) = below else { return 0.0 };
    let high = usize::try_from(at + 1).ok().and_then(|it| values.get(it)).unwrap_or(low);
    low + (rank - f64::from(at)) * (high - low)
}

fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
