//! A window that fires -> the [`Finding`] that people see.

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::correlate::row;
use super::finding::{Finding, FoundCorrelation, FoundMember, FoundRule, id_of_group};
use super::observe::text;
use super::window::Verdict;
use crate::rules::Correlation;
use crate::rules::correlation::Kind;
use crate::rules::group::{FieldValues, decode};

/// A correlation that fires for a group.
pub(super) struct Fired {
    pub(super) verdict: Verdict,
    /// Of the group.
    pub(super) key: Vec<u8>,
    /// The events that can be shown, the one that made it fire last.
    pub(super) details: Vec<Arc<str>>,
    /// The value that is new.
    pub(super) term: Option<Vec<u8>>,
}

/// `ruleset` is the hash of the set the correlation is from.
pub(super) fn finding(
    ruleset: &str,
    correlation: &Correlation,
    cluster: &str,
    fired: &Fired,
) -> Finding {
    let verdict = &fired.verdict;
    let shown = fired.details.iter().filter_map(|it| serde_json::from_str(it).ok());
    let events: Vec<FoundMember> = shown.collect();
    let last = events.last().cloned();
    // An absence has no event of its own: it is of the moment when one was due.
    let absent = correlation.kind == Kind::Absence;
    let time = match &last {
        Some(last) if !absent => last.time.clone(),
        _ => Some(text(verdict.time)),
    };
    Finding {
        id: id_of_group(
            &correlation.rule.id,
            &row(cluster, &fired.key),
            verdict.time,
            verdict.mark,
        ),
        rule: FoundRule::of(&correlation.rule),
        time,
        cluster: cluster.to_owned(),
        event: None,
        events: Some(events),
        correlation: Some(FoundCorrelation {
            kind: correlation.kind.name().to_owned(),
            group: fields(&correlation.group_by, &fired.key),
            value: number(verdict.value),
            timespan: correlation.timespan.clone(),
            count: u64::try_from(verdict.count).unwrap_or(u64::MAX),
            terms: fired.term.as_ref().map(|it| fields(&correlation.fields, it)),
        }),
        source: last.map(|it| it.source).unwrap_or_default(),
        ruleset: ruleset.to_owned(),
        output: None,
    }
}

fn fields(names: &[String], key: &[u8]) -> Map<String, Value> {
    let values = decode(key, names.len()).unwrap_or_default();
    let shown = |mut values: FieldValues| match values.len() {
        0 => Value::Null,
        1 => Value::from(values.swap_remove(0)),
        _ => Value::from(values),
    };
    names.iter().cloned().zip(values.into_iter().map(shown)).collect()
}

/// A whole number is shown as one.
#[expect(clippy::cast_possible_truncation, reason = "the number is whole and small enough")]
fn number(value: f64) -> Option<Number> {
    /// Whole numbers up to here are exact.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= WHOLE_MAX {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}
