//! An event that a correlation counts -> an [`Observation`] that outlives the line.

use std::sync::Arc;

use super::finding::{Finding, FoundEvent, FoundMember, FoundSource, Origin};
use crate::event::{self, Event, Field};
use crate::rules::correlation::Sight;
use crate::rules::{RuleIndex, RuleSet, Scratch};
use crate::seal::leaf::Hash;

/// The most that is kept of an event to show it in a finding.
pub const DETAIL_BYTES_MAX: usize = 4_096;

/// Characters of each field that are left of an event that is larger.
const CLIPPED_CHARS: usize = 200;

/// What a correlation has to know of one event. It may be of a rule set that has been replaced.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Which correlation counts it, in which group.
    pub sight: Sight,
    /// The cluster the event came from. Nothing is counted across clusters.
    pub cluster: Arc<str>,
    /// When it happened, µs; `None`: it does not say, and counts as of the newest event before it.
    pub time: Option<i64>,
    /// The beginning of the event's identity.
    pub mark: u64,
    /// The event as a finding shows it: JSON of a [`FoundMember`].
    pub detail: Arc<str>,
}

/// What rules make of events: findings, and what is for the correlator to count.
#[derive(Debug, Default)]
pub struct Judged {
    /// In the order of the events, of one event in that of the rules.
    pub findings: Vec<Finding>,
    /// In the order of the events.
    pub observations: Vec<Observation>,
}

/// An event that rules matched.
pub(super) struct Seen<'s, 'e> {
    pub(super) event: &'s Event<'e>,
    pub(super) rules: &'s RuleSet,
    pub(super) origin: &'s Origin<'s>,
    pub(super) identity: &'s Hash,
}

/// Adds what the correlations have to know to `out`. `scratch` is as the match left it.
pub(super) fn observe(
    seen: &Seen<'_, '_>,
    scratch: &Scratch,
    found: &[RuleIndex],
    out: &mut Judged,
) {
    let mut sights = Vec::new();
    seen.rules.sights(seen.event, scratch, found, &mut sights);
    if sights.is_empty() {
        return;
    }
    let time = seen.rules.time(seen.event, scratch);
    let detail: Arc<str> = detail(seen, time).into();
    let cluster: Arc<str> = seen.origin.cluster.into();
    let (mark, _) = seen.identity.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    out.observations.extend(sights.into_iter().map(|sight| Observation {
        sight,
        cluster: Arc::clone(&cluster),
        time,
        mark: u64::from_be_bytes(*mark),
        detail: Arc::clone(&detail),
    }));
}

fn detail(seen: &Seen<'_, '_>, time: Option<i64>) -> String {
    let stated = seen.event.text(Field::StageTimestamp).filter(|_| time.is_some());
    let mut shown = FoundMember {
        time: stated.map(|it| it.into_owned()).or(time.map(text)),
        event: FoundEvent::of(seen.event),
        source: FoundSource { name: seen.origin.source.to_owned(), position: seen.origin.position },
    };
    let json = serde_json::to_string(&shown).unwrap_or_default();
    if json.len() <= DETAIL_BYTES_MAX {
        return json;
    }
    shown.event.object_ref = None;
    shown.event.source_ips = None;
    shown.event.decision = None;
    for field in [
        &mut shown.event.audit_id,
        &mut shown.event.stage,
        &mut shown.event.verb,
        &mut shown.event.user,
        &mut shown.event.request_uri,
    ] {
        *field = field.take().map(|it| it.chars().take(CLIPPED_CHARS).collect());
    }
    serde_json::to_string(&shown).unwrap_or_default()
}

/// A time as the API server writes it.
pub(super) fn text(micros: i64) -> String {
    let mut out = Vec::new();
    event::write_micros(micros, &mut out);
    String::from_utf8(out).unwrap_or_default()
}
