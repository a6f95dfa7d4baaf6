//! An expected event that does not come.
//!
//! From every event on the next one is expected within the timespan. Whether it came is decided
//! when event time has gone on by the timespan and the lateness bound, so that an event which
//! comes late is no alarm. It is told once; the next event starts the watch anew.

use super::window::{Entry, Group, Verdict};
use crate::rules::correlation::Correlation;

/// Takes note of an event.
pub(super) fn note(group: &mut Group, entry: Entry) {
    if group.told {
        if group.newest() >= entry.time {
            return;
        }
        group.told = false;
        group.entries.clear();
    }
    let place = group.entries.partition_point(|it| it.time <= entry.time);
    group.entries.insert(place, entry);
}

/// Decides what can be decided when event time has come to `now`. The group is left without an
/// entry when it need not be watched any longer.
pub(super) fn settle(
    group: &mut Group,
    correlation: &Correlation,
    now: i64,
    lateness: i64,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let horizon = now.saturating_sub(lateness);
    while let (Some(first), false) = (group.entries.front().copied(), group.told) {
        let due = first.time.saturating_add(correlation.micros);
        let next = group.entries.get(1).map(|it| it.time);
        match next {
            // It came, and nothing can come between any more.
            Some(next) if next <= due && next <= horizon => drop(group.entries.pop_front()),
            _ if due > horizon => break,
            // It came in time, though what is still to come may lie between.
            Some(next) if next <= due => break,
            after => {
                verdicts.push(Verdict {
                    time: due,
                    // The id is of the time alone: the mark of an old event is not kept.
                    mark: 0,
                    own: false,
                    since: first.time,
                    value: 0.0,
                    count: 0,
                });
                if after.is_some() || !correlation.group_by.is_empty() {
                    group.entries.pop_front();
                } else {
                    group.told = true;
                }
            }
        }
    }
    verdicts
}

/// Keeps the newest event and tells nothing: what came before is history.
pub(super) fn learn(group: &mut Group, entry: Entry) {
    note(group, entry);
    let last = group.entries.len().saturating_sub(1);
    group.entries.drain(..last);
}
