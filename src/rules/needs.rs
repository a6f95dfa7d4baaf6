//! A rule's expression -> what the cluster's audit policy has to record for it.
//!
//! A field that need not be there asks for nothing: `not`, `null` and `exists: false` hold
//! of an event that records less. So the least level is where the rule can match at all, and
//! the full one is where it sees everything that it looks at.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::compile::{Names, access, array};
use super::ir::{Expr, Mode, Quantifier, Test};
use super::prefilter;
use super::set::{RuleIndex, RuleSet};

/// How much of a request the audit policy records, as `audit.k8s.io` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "the levels are those of the audit policy")]
pub enum AuditLevel {
    Metadata,
    Request,
    RequestResponse,
}

/// Where in a request's life an event is written, as `audit.k8s.io` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "the stages are those of the audit event")]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

const STAGES: [(Stage, &str); 4] = [
    (Stage::RequestReceived, "RequestReceived"),
    (Stage::ResponseStarted, "ResponseStarted"),
    (Stage::ResponseComplete, "ResponseComplete"),
    (Stage::Panic, "Panic"),
];

impl AuditLevel {
    /// The word in an audit policy.
    pub fn as_str(self) -> &'static str {
        match self {
            AuditLevel::Metadata => "Metadata",
            AuditLevel::Request => "Request",
            AuditLevel::RequestResponse => "RequestResponse",
        }
    }
}

impl Stage {
    /// The word in an event.
    pub fn as_str(self) -> &'static str {
        STAGES.iter().find(|(stage, _)| *stage == self).map_or("", |(_, word)| word)
    }
}

/// What a rule needs of the events it is to match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// The least audit level at which it can match.
    pub level: AuditLevel,
    /// The level at which everything is recorded that it looks at.
    pub full_level: AuditLevel,
    /// The stages at which it can match.
    pub stages: BTreeSet<Stage>,
    /// Every field it looks at, by its own name, and where an audit event has it.
    pub fields: BTreeMap<String, Vec<String>>,
    /// What the index requires of an event before the rule is judged, by field: one of these
    /// values, `None` for a field that is missing.
    pub index: BTreeMap<&'static str, Vec<Option<String>>>,
}

/// What the rule needs.
///
/// # Panics
///
/// When the index came from another, larger set: only a bug does that.
pub fn needs(rules: &RuleSet, index: RuleIndex) -> Needs {
    let expr = rules.expr(index);
    let mut fields = BTreeMap::new();
    gather(expr, Names::Event, "", &mut fields);
    let least = Asked::of(expr, Polarity::Holds);
    let all = fields.values().flatten().map(|it| recorded(it)).max();
    Needs {
        level: least.level,
        full_level: all.unwrap_or(AuditLevel::Metadata),
        stages: least.stages,
        fields,
        index: prefilter::told(rules.node(index)).into_iter().collect(),
    }
}

/// The level that records the field at a path.
fn recorded(path: &str) -> AuditLevel {
    match path.split(['.', '[']).next() {
        Some("requestObject") => AuditLevel::Request,
        Some("responseObject") => AuditLevel::RequestResponse,
        _ => AuditLevel::Metadata,
    }
}

/// The stages whose events can have the field at a path. The first one is written before
/// anybody was asked or anything was answered.
fn written(path: &str) -> BTreeSet<Stage> {
    let from = match path.split(['.', '[']).next() {
        Some("responseObject") => return BTreeSet::from([Stage::ResponseComplete]),
        Some("responseStatus" | "requestObject" | "annotations" | "impersonatedUser") => 1,
        _ => 0,
    };
    STAGES.iter().skip(from).map(|(stage, _)| *stage).collect()
}

/// Whether an expression is to hold, or is not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polarity {
    Holds,
    Fails,
}

impl Polarity {
    fn turned(self) -> Polarity {
        match self {
            Polarity::Holds => Polarity::Fails,
            Polarity::Fails => Polarity::Holds,
        }
    }
}

/// What a part of a rule asks of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    level: AuditLevel,
    stages: BTreeSet<Stage>,
}

impl Asked {
    fn nothing() -> Asked {
        let stages = STAGES.iter().map(|(stage, _)| *stage).collect();
        Asked { level: AuditLevel::Metadata, stages }
    }

    /// The field is there.
    fn field(places: &[String]) -> Asked {
        let each = places.iter().map(|it| Asked { level: recorded(it), stages: written(it) });
        each.reduce(Asked::or).unwrap_or_else(Asked::nothing)
    }

    fn and(self, other: Asked) -> Asked {
        let stages = &self.stages & &other.stages;
        Asked { level: self.level.max(other.level), stages }
    }

    fn or(self, other: Asked) -> Asked {
        let stages = &self.stages | &other.stages;
        Asked { level: self.level.min(other.level), stages }
    }

    fn of(expr: &Expr, polarity: Polarity) -> Asked {
        let holds = polarity == Polarity::Holds;
        match expr {
            Expr::All(parts) if holds => Asked::every(parts, polarity),
            Expr::Any(parts) if !holds => Asked::every(parts, polarity),
            Expr::All(parts) | Expr::Any(parts) => Asked::one(parts, polarity),
            Expr::AtLeast(count, parts) => {
                let fail = (parts.len() + 1).saturating_sub(*count);
                Asked::some(parts, if holds { *count } else { fail }, polarity)
            }
            Expr::Not(part) => Asked::of(part, polarity.turned()),
            Expr::Item(item) => {
                let places = places(item.field.as_deref());
                Asked::tested(&places, &item.tests, item.mode, polarity)
            }
            Expr::Computed { term, tests, mode } => {
                Asked::tested(&term.places(), tests, *mode, polarity)
            }
            Expr::Related { left, right, .. } if holds => {
                Asked::field(&left.places()).and(Asked::field(&right.places()))
            }
            Expr::Related { .. } => Asked::nothing(),
            // Any field may hold the words.
            Expr::Keywords(_) => Asked::nothing(),
            Expr::Members { field, quantifier, .. } => {
                let there = matches!(quantifier, Quantifier::Any | Quantifier::All);
                if there == holds { Asked::field(&array_places(field)) } else { Asked::nothing() }
            }
        }
    }

    fn every(parts: &[Expr], polarity: Polarity) -> Asked {
        let each = parts.iter().map(|it| Asked::of(it, polarity));
        each.fold(Asked::nothing(), Asked::and)
    }

    fn one(parts: &[Expr], polarity: Polarity) -> Asked {
        let each = parts.iter().map(|it| Asked::of(it, polarity));
        each.reduce(Asked::or).unwrap_or_else(Asked::nothing)
    }

    /// So many of the parts: the level is that of the cheapest ones.
    fn some(parts: &[Expr], count: usize, polarity: Polarity) -> Asked {
        let each: Vec<Asked> = parts.iter().map(|it| Asked::of(it, polarity)).collect();
        let mut levels: Vec<AuditLevel> = each.iter().map(|it| it.level).collect();
        levels.sort();
        let level = count.checked_sub(1).and_then(|it| levels.get(it)).copied();
        let Some(level) = level else {
            return Asked::nothing();
        };
        let stages = each.into_iter().flat_map(|it| it.stages).collect();
        Asked { level, stages }
    }

    fn tested(places: &[String], tests: &[Test], mode: Mode, polarity: Polarity) -> Asked {
        let there = || Asked::field(places);
        let each = tests.iter().map(|test| match (test, polarity) {
            (Test::Null | Test::Exists(false), Polarity::Holds) => Asked::nothing(),
            (Test::Null | Test::Exists(false), Polarity::Fails) => there(),
            (_, Polarity::Fails) => Asked::nothing(),
            (Test::SameAs { field, .. }, _) => {
                there().and(Asked::field(&self::places(Some(field))))
            }
            (_, Polarity::Holds) => there(),
        });
        let asked = match (mode, polarity) {
            // What is missing differs from nothing.
            (Mode::None, Polarity::Holds) => Some(there()),
            (Mode::None, Polarity::Fails) => None,
            (Mode::Any | Mode::Every, Polarity::Holds) | (Mode::All, Polarity::Fails) => {
                each.reduce(Asked::or)
            }
            (Mode::All, Polarity::Holds) | (Mode::Any | Mode::Every, Polarity::Fails) => {
                each.reduce(Asked::and)
            }
        };
        let asked = asked.unwrap_or_else(Asked::nothing);
        if polarity == Polarity::Holds && places == ["stage"] {
            asked.at(tests, mode)
        } else {
            asked
        }
    }

    /// Only the stages that the rule names.
    fn at(mut self, tests: &[Test], mode: Mode) -> Asked {
        let named = |stage: &Stage| {
            tests.iter().any(|it| {
                let fits = super::matcher::Matcher::new(it);
                fits.is_ok_and(|it| it.fits(&super::value::Leaf::Text(stage.as_str())))
            })
        };
        self.stages.retain(|it| named(it) != (mode == Mode::None));
        self
    }
}

fn places(field: Option<&str>) -> Vec<String> {
    access(field, Names::Event).map(|it| it.places()).unwrap_or_default()
}

fn array_places(field: &str) -> Vec<String> {
    array(field, Names::Event).map(|it| it.places()).unwrap_or_default()
}

/// Notes every field that the expression looks at; `above` is the array it stands in.
fn gather(expr: &Expr, place: Names, above: &str, fields: &mut BTreeMap<String, Vec<String>>) {
    match expr {
        Expr::All(parts) | Expr::Any(parts) | Expr::AtLeast(_, parts) => {
            parts.iter().for_each(|it| gather(it, place, above, fields));
        }
        Expr::Not(part) => gather(part, place, above, fields),
        Expr::Keywords(_) => {}
        Expr::Computed { term, .. } => term.fields(fields),
        Expr::Related { left, right, .. } => {
            left.fields(fields);
            right.fields(fields);
        }
        Expr::Item(item) => {
            let others = item.tests.iter().filter_map(|it| match it {
                Test::SameAs { field, .. } => Some(field.as_str()),
                _ => None,
            });
            for name in item.field.as_deref().into_iter().chain(others) {
                note(name, place, above, fields);
            }
        }
        Expr::Members { field, body, .. } => {
            let within = note(field, place, above, fields);
            gather(body, Names::Member, &within, fields);
        }
    }
}

/// Notes one field by its whole name, and gives that.
fn note(
    name: &str,
    place: Names,
    above: &str,
    fields: &mut BTreeMap<String, Vec<String>>,
) -> String {
    let (name, places) = match place {
        Names::Event => (name.to_owned(), places(Some(name))),
        Names::Member => {
            let within: Vec<String> = fields.get(above).cloned().unwrap_or_default();
            let whole = within.iter().map(|it| format!("{it}.{name}")).collect();
            (format!("{above}.{name}"), whole)
        }
    };
    fields.entry(name.clone()).or_insert(places);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{LoadOptions, load_text};

    fn needed(detection: &str) -> Needs {
        let detection = detection.replace('\n', "\n  ");
        let text = format!("title: T\nsigma-version: 3\ndetection:\n  {detection}\n");
        let rules = load_text([("t.yml", &*text)], &LoadOptions::default());
        let rules = rules.unwrap_or_else(|error| panic!("{detection}: {error}")).rules;
        needs(&rules, RuleIndex::new(0))
    }

    fn levels(detection: &str) -> (&'static str, &'static str) {
        let needs = needed(detection);
        (needs.level.as_str(), needs.full_level.as_str())
    }

    #[test]
    fn and_takes_the_most_or_the_least_and_what_may_be_missing_takes_nothing() {
        for (detection, least, full) in [
            ("a:\n  verb: get\ncondition: a", "Metadata", "Metadata"),
            ("a:\n  verb: get\n  requestObject.x: y\ncondition: a", "Request", "Request"),
            ("a:\n  requestObject.x: y\nb:\n  verb: get\ncondition: a or b", "Metadata", "Request"),
            (
                "a:\n  requestObject.x: y\nb:\n  responseObject.x: y\ncondition: a or b",
                "Request",
                "RequestResponse",
            ),
            (
                "a:\n  verb: get\nb:\n  responseObject.x: y\ncondition: a and not b",
                "Metadata",
                "RequestResponse",
            ),
            (
                "b:\n  responseObject.x: null\ncondition: not b",
                "RequestResponse",
                "RequestResponse",
            ),
            ("a:\n  requestObject.x|exists: false\ncondition: a", "Metadata", "Request"),
            ("a:\n  requestObject.x|neq: y\ncondition: a", "Request", "Request"),
            ("a:\n  hostPath: y\ncondition: a", "Request", "Request"),
            ("a:\n  kustos.rbacRole: y\ncondition: a", "Metadata", "Metadata"),
            ("a:\n  requestObject.rules[any]:\n    verbs: x\ncondition: a", "Request", "Request"),
            ("a:\n  requestObject.rules[none]:\n    verbs: x\ncondition: a", "Metadata", "Request"),
            (
                "a1:\n  requestObject.x: y\na2:\n  verb: x\na3:\n  verb: y\ncondition: 2 of a*",
                "Metadata",
                "Request",
            ),
            (
                "a1:\n  requestObject.x: y\na2:\n  verb: x\na3:\n  verb: y\ncondition: 3 of a*",
                "Request",
                "Request",
            ),
        ] {
            assert_eq!(levels(detection), (least, full), "{detection}");
        }
    }

    #[test]
    fn a_rule_can_match_only_at_stages_that_have_its_fields() {
        let stages = |detection: &str| {
            let stages = needed(detection).stages;
            stages.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(" ")
        };
        let all = "RequestReceived ResponseStarted ResponseComplete Panic";
        let later = "ResponseStarted ResponseComplete Panic";
        assert_eq!(stages("a:\n  verb: get\ncondition: a"), all);
        assert_eq!(stages("a:\n  stage: responsecomplete\ncondition: a"), "ResponseComplete");
        assert_eq!(
            stages("a:\n  stage|startswith: Response\ncondition: a"),
            later.replace(" Panic", "")
        );
        assert_eq!(stages("a:\n  code: 403\ncondition: a"), later);
        assert_eq!(stages("a:\n  responseObject.x: y\ncondition: a"), "ResponseComplete");
        assert_eq!(stages("a:\n  code: 403\ncondition: not a"), all);
    }

    #[test]
    fn fields_are_named_with_their_places_and_the_index_with_its_values() {
        let needs = needed(
            "a:\n  verb: [Get, list]\n  objectRef.subresource: null\n  requestObject.rules[any]:\n    verbs: x\ncondition: a",
        );
        let names: Vec<&str> = needs.fields.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["objectRef.subresource", "requestObject.rules", "requestObject.rules.verbs", "verb"]
        );
        assert_eq!(needs.index["verb"], [Some("get".to_owned()), Some("list".to_owned())]);
        assert_eq!(needs.index["objectRef.subresource"], [None]);
    }
}
