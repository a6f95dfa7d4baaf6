//! A correlation, compiled: which rules it counts, what makes a group of their events, and when
//! that is too much. It holds no state; `detect::correlate` does.

use std::sync::Arc;

use super::access::Access;
use super::group::{FieldValues, decode, encode};
use super::{Rule, RuleIndex};

/// Rules that one correlation may count.
pub const MEMBERS_MAX: usize = 1_000;

/// Events that one group can remember; a condition that needs more is refused.
pub const EVENTS_MAX: u32 = 100_000;

/// Correlations of correlations of correlations: how deep.
pub const CHAIN_MAX: usize = 10;

/// A hundred years.
pub const TIMESPAN_SECONDS_MAX: u64 = 36_525 * 86_400;

/// What is done with the events of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are Sigma's words")]
pub enum Kind {
    EventCount,
    ValueCount,
    Temporal,
    TemporalOrdered,
    ValueSum,
    ValueAvg,
    ValuePercentile,
    ValueMedian,
    /// Ours: a value is seen for the first time.
    NewTerms,
    /// Ours: an expected event does not come.
    Absence,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 10] = [
        Kind::EventCount,
        Kind::ValueCount,
        Kind::Temporal,
        Kind::TemporalOrdered,
        Kind::ValueSum,
        Kind::ValueAvg,
        Kind::ValuePercentile,
        Kind::ValueMedian,
        Kind::NewTerms,
        Kind::Absence,
    ];

    /// As rules write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::EventCount => "event_count",
            Kind::ValueCount => "value_count",
            Kind::Temporal => "temporal",
            Kind::TemporalOrdered => "temporal_ordered",
            Kind::ValueSum => "value_sum",
            Kind::ValueAvg => "value_avg",
            Kind::ValuePercentile => "value_percentile",
            Kind::ValueMedian => "value_median",
            Kind::NewTerms => "new_terms",
            Kind::Absence => "absence",
        }
    }

    pub(super) fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Whether it asks which rules matched.
    pub fn is_temporal(self) -> bool {
        matches!(self, Kind::Temporal | Kind::TemporalOrdered)
    }

    /// Whether it adds numbers up.
    pub fn is_numeric(self) -> bool {
        matches!(self, Kind::ValueSum | Kind::ValueAvg | Kind::ValuePercentile | Kind::ValueMedian)
    }

    /// Whether its value is a number of events or values.
    pub(super) fn counts(self) -> bool {
        matches!(self, Kind::EventCount | Kind::ValueCount)
    }

    pub(super) fn needs_field(self) -> bool {
        self.is_numeric() || matches!(self, Kind::ValueCount | Kind::NewTerms)
    }

    pub(super) fn needs_bounds(self) -> bool {
        self.is_numeric() || self.counts()
    }

    pub(super) fn has_bounds(self) -> bool {
        self.needs_bounds() || self.is_temporal()
    }

    /// Whether it looks at the events of a window; the others remember.
    pub fn has_window(self) -> bool {
        !matches!(self, Kind::NewTerms | Kind::Absence)
    }
}

/// Which events count together with the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Those of the timespan before it.
    Sliding,
    /// Those of the same slot of the clock, each as long as the timespan.
    Tumbling,
    /// Those that follow each other with no more than a gap between, for no longer than the timespan.
    Session {
        /// In microseconds.
        gap: i64,
    },
}

/// A comparison in a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are Sigma's words")]
pub enum Operator {
    Lt,
    Lte,
    Gt,
    Gte,
    Eq,
    Neq,
}

impl Operator {
    pub(super) const ALL: [Operator; 6] =
        [Operator::Lt, Operator::Lte, Operator::Gt, Operator::Gte, Operator::Eq, Operator::Neq];

    pub(super) fn name(self) -> &'static str {
        match self {
            Operator::Lt => "lt",
            Operator::Lte => "lte",
            Operator::Gt => "gt",
            Operator::Gte => "gte",
            Operator::Eq => "eq",
            Operator::Neq => "neq",
        }
    }
}

/// One comparison with a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// How.
    pub operator: Operator,
    /// With what.
    pub number: f64,
}

impl Bound {
    /// Whether a value passes.
    #[expect(
        clippy::float_cmp,
        reason = "counts are whole, and a rule that asks for equality gets it"
    )]
    pub fn holds(&self, value: f64) -> bool {
        match self.operator {
            Operator::Lt => value < self.number,
            Operator::Lte => value <= self.number,
            Operator::Gt => value > self.number,
            Operator::Gte => value >= self.number,
            Operator::Eq => value == self.number,
            Operator::Neq => value != self.number,
        }
    }

    /// Whether no count up to `most` passes.
    pub(super) fn never_below(&self, most: u32) -> bool {
        match self.operator {
            Operator::Gt => self.number >= f64::from(most),
            Operator::Gte | Operator::Eq => self.number > f64::from(most),
            Operator::Lt | Operator::Lte | Operator::Neq => false,
        }
    }
}

/// A condition over the rules that matched, by their place among the members.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum Over {
    Member(u16),
    All(Vec<Over>),
    Any(Vec<Over>),
    AtLeast(usize, Vec<Over>),
    Not(Box<Over>),
}

impl Over {
    /// Whether it holds when `seen` are the members that matched.
    pub fn holds(&self, seen: &dyn Fn(u16) -> bool) -> bool {
        match self {
            Over::Member(member) => seen(*member),
            Over::All(parts) => parts.iter().all(|it| it.holds(seen)),
            Over::Any(parts) => parts.iter().any(|it| it.holds(seen)),
            Over::AtLeast(count, parts) => {
                parts.iter().filter(|it| it.holds(seen)).count() >= *count
            }
            Over::Not(part) => !part.holds(seen),
        }
    }
}

/// One correlation, immutable.
#[derive(Debug)]
pub struct Correlation {
    /// What people are told about it.
    pub rule: Rule,
    /// SHA-256, in hex, over what it counts and how, with all that it refers to: windows of one
    /// that was changed start anew.
    pub hash: String,
    /// What is done with the events.
    pub kind: Kind,
    /// The fields that make a group.
    pub group_by: Vec<String>,
    /// As written: `5m`.
    pub timespan: String,
    /// The timespan.
    pub micros: i64,
    /// Which events count together.
    pub shape: Shape,
    /// What the value must be; all must hold.
    pub bounds: Vec<Bound>,
    /// What must have matched, in place of bounds.
    pub over: Option<Over>,
    /// The members in the order they must match in; may name one twice.
    pub order: Vec<u16>,
    /// The fields whose values are looked at.
    pub fields: Vec<String>,
    /// Which percentile.
    pub percentile: f64,
    /// Whether its findings are for its parents alone.
    pub silent: bool,
    /// The correlations that count this one: places in the set, and which member it is there.
    pub parents: Vec<(usize, u16)>,
    pub(super) members: Vec<Member>,
}

/// One rule or correlation that is counted.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) target: Target,
    pub(super) group: Vec<Way>,
    pub(super) values: Vec<Way>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Rule(RuleIndex),
    Correlation(usize),
}

/// The way to the values of a field.
#[derive(Debug)]
pub(super) enum Way {
    Event(Access),
    /// The place of a field in the group of the correlation that is counted. `None`: it has none such.
    Child(Option<usize>),
}

/// What a correlation looks at in an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Nothing.
    None,
    /// Combinations of its fields' values, each as a key.
    Terms(Vec<Vec<u8>>),
    /// Numbers.
    Numbers(Vec<f64>),
}

/// A correlation counts an event: which members matched, and in which group.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Which correlation.
    pub correlation: Arc<Correlation>,
    /// Which of its members.
    pub members: Vec<u16>,
    /// The group's key, without the cluster.
    pub group: Vec<u8>,
    /// What else is looked at.
    pub values: Values,
}

impl Correlation {
    /// How many rules and correlations it counts.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The places in the set of the rules it counts itself, not by way of another correlation.
    pub fn rules(&self) -> impl Iterator<Item = RuleIndex> {
        self.members.iter().filter_map(|it| match it.target {
            Target::Rule(index) => Some(index),
            Target::Correlation(_) => None,
        })
    }

    /// As a parent sees a correlation it counts fire for a group. `None`: it has not the values
    /// that the parent looks at.
    pub fn sight_of(
        self: &Arc<Correlation>,
        member: u16,
        child: &Correlation,
        group: &[u8],
    ) -> Option<Sight> {
        let fields = decode(group, child.group_by.len())?;
        let ways = self.members.get(usize::from(member))?;
        let of = |way: &Way| match way {
            Way::Child(Some(at)) => fields.get(*at).cloned().unwrap_or_default(),
            Way::Child(None) | Way::Event(_) => FieldValues::new(),
        };
        let values: Vec<FieldValues> = ways.values.iter().map(of).collect();
        Some(Sight {
            members: vec![member],
            group: encode(&ways.group.iter().map(of).collect::<Vec<_>>()),
            values: self.values(&values)?,
            correlation: Arc::clone(self),
        })
    }

    /// What is looked at, from the values of its fields. `None`: they are missing.
    pub(super) fn values(&self, fields: &[FieldValues]) -> Option<Values> {
        if fields.is_empty() {
            return Some(Values::None);
        }
        if self.kind.is_numeric() {
            let numbers: Vec<f64> = fields
                .iter()
                .flatten()
                .filter_map(|it| it.trim().parse().ok().filter(|it: &f64| it.is_finite()))
                .collect();
            return (!numbers.is_empty()).then_some(Values::Numbers(numbers));
        }
        let terms = combinations(fields);
        (!terms.is_empty()).then_some(Values::Terms(terms))
    }
}

/// Combinations of values that one event may have: further ones are not looked at.
pub const COMBINATIONS_MAX: usize = 64;

/// Every combination of one value of each field, as keys.
fn combinations(fields: &[FieldValues]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<FieldValues>> = vec![Vec::new()];
    for values in fields {
        found = found
            .iter()
            .flat_map(|start| {
                values.iter().map(|it| [start.as_slice(), &[vec![it.clone()]]].concat())
            })
            .take(COMBINATIONS_MAX)
            .collect();
    }
    let mut keys: Vec<Vec<u8>> = found.iter().map(|it| encode(it)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
