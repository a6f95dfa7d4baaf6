//! A correlation -> what it counts, and when that is too much, in words.

use serde::Serialize;

use super::correlation::{Bound, Correlation, Kind, Operator, Over, Shape, Target};
use super::lookup::Subject;
use super::set::RuleSet;

/// What a correlation asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counting {
    /// `event_count`, `temporal` and so on.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The rules and correlations it counts.
    pub counts: Vec<Counted>,
    /// The fields that make a group; empty: all events of a cluster are one.
    pub group_by: Vec<String>,
    /// The fields whose values are looked at.
    pub fields: Vec<String>,
    /// As written: `5m`.
    pub timespan: String,
    /// Which events count together, in words.
    pub window: String,
    /// When it fires, in words.
    pub condition: String,
}

/// A rule or correlation that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Which.
    #[serde(skip)]
    pub subject: Subject,
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
}

/// What the correlation at that place of [`RuleSet::correlations`] asks; `None`: there is none.
pub fn counting(rules: &RuleSet, at: usize) -> Option<Counting> {
    let correlation = rules.correlations().get(at)?;
    let counts: Vec<Counted> =
        correlation.members.iter().map(|it| counted(rules, it.target)).collect();
    Some(Counting {
        kind: correlation.kind.name(),
        group_by: correlation.group_by.clone(),
        fields: correlation.fields.clone(),
        timespan: correlation.timespan.clone(),
        window: window(correlation),
        condition: condition(correlation, &counts),
        counts,
    })
}

impl RuleSet {
    /// The places of the correlations that count it, not by way of another one.
    pub fn counted_by(&self, subject: Subject) -> Vec<usize> {
        let counts = |it: &Correlation| {
            it.members.iter().any(|member| self::subject(member.target) == subject)
        };
        let all = self.correlations().iter().enumerate();
        all.filter(|(_, it)| counts(it)).map(|(at, _)| at).collect()
    }
}

fn subject(target: Target) -> Subject {
    match target {
        Target::Rule(index) => Subject::Rule(index),
        Target::Correlation(at) => Subject::Correlation(at),
    }
}

fn counted(rules: &RuleSet, target: Target) -> Counted {
    let subject = subject(target);
    let rule = rules.about(subject);
    Counted { subject, id: rule.id.clone(), title: rule.title.clone() }
}

fn window(correlation: &Correlation) -> String {
    let span = &correlation.timespan;
    match correlation.shape {
        _ if correlation.kind == Kind::NewTerms => format!("seen within {span} before"),
        _ if correlation.kind == Kind::Absence => format!("within {span} after each event"),
        Shape::Sliding => format!("the {span} before each event"),
        Shape::Tumbling => format!("each {span} of the clock"),
        Shape::Session { gap } => {
            let seconds = gap / 1_000_000;
            format!("no more than {seconds} s between two events, {span} in all")
        }
    }
}

fn condition(correlation: &Correlation, counts: &[Counted]) -> String {
    if let Some(over) = &correlation.over {
        return format!("matched: {}", joined(over, counts));
    }
    match correlation.kind {
        Kind::NewTerms => format!("a value of {} is new", correlation.fields.join(", ")),
        Kind::Absence => "the next event does not come".to_owned(),
        Kind::Temporal if correlation.bounds.is_empty() => "all of them match".to_owned(),
        Kind::TemporalOrdered if correlation.bounds.is_empty() => {
            let order: Vec<String> =
                correlation.order.iter().map(|it| title(*it, counts)).collect();
            format!("they match in this order: {}", order.join(", "))
        }
        kind => format!("{} {}", measure(kind, correlation), bounded(&correlation.bounds)),
    }
}

/// What the number is that the condition is held against.
fn measure(kind: Kind, correlation: &Correlation) -> String {
    let fields = correlation.fields.join(", ");
    match kind {
        Kind::ValueCount => format!("different values of {fields}"),
        Kind::Temporal | Kind::TemporalOrdered => "rules that match".to_owned(),
        Kind::ValueSum => format!("sum of {fields}"),
        Kind::ValueAvg => format!("average of {fields}"),
        Kind::ValuePercentile => format!("percentile {} of {fields}", correlation.percentile),
        Kind::ValueMedian => format!("median of {fields}"),
        Kind::EventCount | Kind::NewTerms | Kind::Absence => "events".to_owned(),
    }
}

fn bounded(bounds: &[Bound]) -> String {
    let told: Vec<String> =
        bounds.iter().map(|it| format!("{} {}", sign(it.operator), it.number)).collect();
    told.join(" and ")
}

fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Lt => "<",
        Operator::Lte => "<=",
        Operator::Gt => ">",
        Operator::Gte => ">=",
        Operator::Eq => "=",
        Operator::Neq => "!=",
    }
}

fn title(member: u16, counts: &[Counted]) -> String {
    let counted = counts.get(usize::from(member));
    counted.map(|it| format!("\"{}\"", it.title)).unwrap_or_default()
}

fn joined(over: &Over, counts: &[Counted]) -> String {
    let parts = |parts: &[Over], word: &str| {
        let told: Vec<String> = parts.iter().map(|it| joined(it, counts)).collect();
        format!("({})", told.join(word))
    };
    match over {
        Over::Member(member) => title(*member, counts),
        Over::All(all) => parts(all, " and "),
        Over::Any(any) => parts(any, " or "),
        Over::AtLeast(count, of) => format!("{count} of {}", parts(of, ", ")),
        Over::Not(part) => format!("not {}", joined(part, counts)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{LoadOptions, load_text};

    const RULES: &str = "title: A\nname: a\ndetection:\n  x:\n    verb: get\n  condition: x\n---\ntitle: B\nname: b\ndetection:\n  x:\n    verb: list\n  condition: x\n";

    fn told(correlation: &str) -> (String, String) {
        let correlation = correlation.replace('\n', "\n  ");
        let text = format!("{RULES}---\ntitle: C\ncorrelation:\n  {correlation}\n");
        let rules = load_text([("t.yml", &*text)], &LoadOptions::default());
        let rules = rules.unwrap_or_else(|error| panic!("{error}")).rules;
        let counting = counting(&rules, 0).unwrap();
        let first = counting.counts[0].subject;
        assert_eq!((counting.counts[0].title.as_str(), rules.counted_by(first)), ("A", vec![0]));
        (counting.window, counting.condition)
    }

    #[test]
    fn every_type_says_what_it_counts_and_when_it_fires() {
        for (correlation, window, condition) in [
            (
                "type: event_count\nrules: [a]\ntimespan: 5m\ncondition: {gte: 3, lt: 9}",
                "the 5m before each event",
                "events < 9 and >= 3",
            ),
            (
                "type: value_count\nrules: [a, b]\ntimespan: 1h\ncondition: {field: verb, gt: 1}",
                "the 1h before each event",
                "different values of verb > 1",
            ),
            (
                "type: temporal\nrules: [a, b]\ntimespan: 1m",
                "the 1m before each event",
                "all of them match",
            ),
            (
                "type: temporal_ordered\nrules: [a, b]\ntimespan: 1m",
                "the 1m before each event",
                "they match in this order: \"A\", \"B\"",
            ),
            (
                "type: temporal\nrules: [a, b]\ntimespan: 1m\ncondition: a and not b",
                "the 1m before each event",
                "matched: (\"A\" and not \"B\")",
            ),
        ] {
            let (told_window, told_condition) = told(correlation);
            assert_eq!((&*told_window, &*told_condition), (window, condition), "{correlation}");
        }
    }
}
