//! What the correlations of a set see in an event that their rules match.

use std::sync::Arc;

use super::access::{Access, Scope};
use super::correlation::{Correlation, Sight, Values, Way};
use super::group::{FIELD_VALUES_MAX, FieldValues, clipped, encode};
use super::memo::Numbers;
use super::scratch::Scratch;
use super::{RuleIndex, RuleSet};
use crate::event::{self, Event, Field};

/// The correlations of a rule set, and which of them counts which rule.
#[derive(Debug, Default)]
pub(super) struct Correlations {
    pub(super) list: Vec<Arc<Correlation>>,
    /// For each rule: the correlation, and which member the rule is there.
    pub(super) counted: Vec<Vec<(usize, u16)>>,
    /// For each rule: whether it is only there to be counted.
    pub(super) silent: Vec<bool>,
    /// Where the time of an object that is no audit event may be.
    pub(super) times: Vec<Access>,
}

/// Fields that may hold the time of an object that is no audit event.
pub(super) const TIMES: [&str; 2] = ["@timestamp", "timestamp"];

impl Correlations {
    /// Numbers the paths, as those of the rules are. To be called while nobody else has a correlation.
    pub(super) fn number(&mut self, numbers: &mut Numbers) {
        self.times.iter_mut().for_each(|it| it.number(numbers));
        for member in self.list.iter_mut().filter_map(Arc::get_mut).flat_map(|it| &mut it.members) {
            for way in member.group.iter_mut().chain(&mut member.values) {
                if let Way::Event(access) = way {
                    access.number(numbers);
                }
            }
        }
    }
}

impl RuleSet {
    /// The correlations, in the order of their files.
    pub fn correlations(&self) -> &[Arc<Correlation>] {
        &self.correlations.list
    }

    /// Whether a rule gives no finding of its own, because correlations count it.
    pub fn is_silent(&self, index: RuleIndex) -> bool {
        self.correlations.silent.get(index.get()).copied().unwrap_or(false)
    }

    /// Adds to `out` what the correlations see in an event. `found` and `scratch` are as
    /// [`RuleSet::matches`] left them for this event. Each correlation sees an event once for each
    /// group, however many of its rules match.
    pub fn sights(
        &self,
        event: &Event<'_>,
        scratch: &Scratch,
        found: &[RuleIndex],
        out: &mut Vec<Sight>,
    ) {
        let start = out.len();
        let context = self.context(event, scratch);
        let scope = Scope { context: &context, member: None };
        for index in found {
            for (at, member) in self.correlations.counted.get(index.get()).into_iter().flatten() {
                let Some(correlation) = self.correlations.list.get(*at) else { continue };
                let Some(sight) = sight(correlation, *member, scope) else { continue };
                let same = out.iter_mut().skip(start).find(|it| {
                    Arc::ptr_eq(&it.correlation, correlation) && it.group == sight.group
                });
                match same {
                    Some(same) => join(same, sight),
                    None => out.push(sight),
                }
            }
        }
    }

    /// When an event happened, µs. `None`: it does not say.
    pub fn time(&self, event: &Event<'_>, scratch: &Scratch) -> Option<i64> {
        let stated =
            event.micros(Field::StageTimestamp).or_else(|| event.micros(Field::RequestReceived));
        if stated.is_some() || event.is_audit() {
            return stated;
        }
        let context = self.context(event, scratch);
        let scope = Scope { context: &context, member: None };
        self.correlations.times.iter().find_map(|access| {
            let mut time = None;
            access.visit(scope, &mut |view| {
                view.any_leaf(&mut |leaf| {
                    time = leaf.text().and_then(moment);
                    time.is_some()
                })
            });
            time
        })
    }
}

fn sight(correlation: &Arc<Correlation>, member: u16, scope: Scope<'_, '_>) -> Option<Sight> {
    let ways = correlation.members.get(usize::from(member))?;
    let of = |way: &Way| match way {
        Way::Event(access) => leaves(access, scope),
        Way::Child(_) => FieldValues::new(),
    };
    let values: Vec<FieldValues> = ways.values.iter().map(of).collect();
    Some(Sight {
        members: vec![member],
        values: correlation.values(&values)?,
        group: encode(&ways.group.iter().map(of).collect::<Vec<_>>()),
        correlation: Arc::clone(correlation),
    })
}

/// The same event by way of another rule: it is one event all the same.
fn join(same: &mut Sight, other: Sight) {
    same.members.extend(other.members);
    if let (Values::Terms(terms), Values::Terms(more)) = (&mut same.values, other.values) {
        terms.extend(more);
        terms.sort_unstable();
        terms.dedup();
    }
}

fn leaves(access: &Access, scope: Scope<'_, '_>) -> FieldValues {
    let mut values = FieldValues::new();
    access.visit(scope, &mut |view| {
        view.any_leaf(&mut |leaf| {
            values.extend(leaf.text().map(clipped));
            values.len() >= FIELD_VALUES_MAX
        })
    });
    values
}

/// A time as text, or as a number of seconds, milliseconds, microseconds or nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a number of this size has no fraction of a microsecond to lose"
)]
fn moment(text: &str) -> Option<i64> {
    /// From here on a number of seconds would be a year beyond 5000.
    const SECONDS_MAX: f64 = 1e11;
    let Ok(number) = text.parse::<f64>() else { return event::micros(text) };
    let mut micros = number * 1e6;
    let mut most = SECONDS_MAX;
    for _ in 0..3 {
        if number.abs() >= most {
            micros /= 1e3;
        }
        most *= 1e3;
    }
    micros.is_finite().then_some(micros.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_unit() {
        let want = Some(1_795_401_553_000_000);
        for text in [
            "2026-11-23T02:39:13Z",
            "1795401553",
            "1795401553000",
            "1795401553000000",
            "1795401553000000000",
        ] {
            assert_eq!(moment(text), want, "{text}");
        }
        assert_eq!(moment("1000.5"), Some(1_000_500_000));
        assert_eq!(moment("yesterday"), None);
        assert_eq!(moment("NaN"), None);
    }
}
