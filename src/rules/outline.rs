//! A rule's expression -> the same as a tree of conditions that people read.
//!
//! Nothing is judged here. `explain` lays an event beside the same words.

use serde::Serialize;

use super::compile::{Names, access, array};
use super::falco::Term;
use super::ir::{Comparison, Expr, Item, Mode, Piece, Place, Quantifier, Test, TimePart};
use super::set::{RuleIndex, RuleSet};

/// One condition of a rule: what it asks, and of which field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// How its parts are joined, or what it looks at.
    pub kind: Kind,
    /// What is asked, in words; of a field, without its name.
    pub asks: String,
    /// The field, by the rule's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where an audit event has it, when that is not the name itself: any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
}

/// What sort of condition it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Every part holds.
    All,
    /// One part holds.
    Any,
    /// So many parts hold.
    AtLeast,
    /// The part does not hold.
    Not,
    /// A field has such a value.
    Field,
    /// Some value of the whole event is such.
    Keywords,
    /// Members of an array satisfy the part.
    Members,
    /// One member of the array above.
    Member,
}

/// A condition with its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The condition.
    #[serde(flatten)]
    pub condition: Condition,
    /// What it is made of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Outline>,
}

/// What the rule asks of an event, all of it.
///
/// # Panics
///
/// When the index came from another, larger set: only a bug does that.
pub fn outline(rules: &RuleSet, index: RuleIndex) -> Outline {
    outlined(rules.expr(index), Names::Event)
}

/// The expression without joints that join one part alone.
pub(super) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => match parts.as_slice() {
            [only] => bare(only),
            _ => expr,
        },
        _ => expr,
    }
}

fn outlined(expr: &Expr, place: Names) -> Outline {
    let expr = bare(expr);
    let parts = match expr {
        Expr::All(parts) | Expr::Any(parts) | Expr::AtLeast(_, parts) => {
            parts.iter().map(|it| outlined(it, place)).collect()
        }
        Expr::Not(part) => vec![outlined(part, place)],
        Expr::Members { body, .. } => vec![outlined(body, Names::Member)],
        Expr::Item(_) | Expr::Keywords(_) | Expr::Computed { .. } | Expr::Related { .. } => {
            Vec::new()
        }
    };
    Outline { condition: Condition::of(expr, place), parts }
}

impl Condition {
    /// What the expression itself asks, without its parts.
    pub(super) fn of(expr: &Expr, place: Names) -> Condition {
        let plain = |kind, asks: &str| Condition::plain(kind, asks.to_owned());
        match expr {
            Expr::All(parts) if parts.is_empty() => plain(Kind::All, "anything"),
            Expr::All(_) => plain(Kind::All, "all of"),
            Expr::Any(parts) if parts.is_empty() => plain(Kind::Any, "nothing"),
            Expr::Any(_) => plain(Kind::Any, "any of"),
            Expr::AtLeast(count, _) => Condition::plain(Kind::AtLeast, format!("{count} of")),
            Expr::Not(_) => plain(Kind::Not, "not"),
            Expr::Item(item) => Condition::item(item, place),
            Expr::Keywords(item) => Condition::plain(Kind::Keywords, keywords(item)),
            Expr::Computed { term, tests, mode } => Condition::term(term, joined(tests, *mode)),
            Expr::Related { left, operator, right } => {
                let mut condition = Condition::term(left, format!("{} {right}", operator.word()));
                condition.places.extend(right.places());
                condition
            }
            Expr::Members { field, quantifier, .. } => Condition {
                kind: Kind::Members,
                asks: quantified(*quantifier).to_owned(),
                field: Some(field.clone()),
                places: places(field, array(field, place).map(|it| it.places()).ok()),
            },
        }
    }

    pub(super) fn plain(kind: Kind, asks: String) -> Condition {
        Condition { kind, asks, field: None, places: Vec::new() }
    }

    fn term(term: &Term, asks: String) -> Condition {
        let field = Some(term.to_string());
        Condition { kind: Kind::Field, asks, field, places: term.places() }
    }

    fn item(item: &Item, place: Names) -> Condition {
        let field = item.field.as_deref();
        let known = access(field, place).map(|it| it.places()).ok();
        Condition {
            kind: Kind::Field,
            asks: joined(&item.tests, item.mode),
            field: item.field.clone(),
            places: field.map(|it| places(it, known)).unwrap_or_default(),
        }
    }
}

/// The places, unless they say no more than the name does.
fn places(name: &str, known: Option<Vec<String>>) -> Vec<String> {
    let same = |it: &String| it.replace('\\', "") == name.replace('\\', "");
    known.filter(|it| !it.iter().all(same)).unwrap_or_default()
}

fn quantified(quantifier: Quantifier) -> &'static str {
    match quantifier {
        Quantifier::Any => "has a member with",
        Quantifier::All => "has members, and each has",
        Quantifier::AllOrEmpty => "has no member without",
        Quantifier::None => "has no member with",
    }
}

/// The tests of a field in one sentence, to be read after its name.
fn joined(tests: &[Test], mode: Mode) -> String {
    match mode {
        _ if tests.is_empty() => "is nothing".to_owned(),
        Mode::Any => alternatives(tests),
        Mode::All => {
            let tests: Vec<String> = tests.iter().map(asked).collect();
            tests.join(" and ")
        }
        Mode::None => format!("is there, and no value of it {}", alternatives(tests)),
        Mode::Every => format!("is there, and each value of it {}", alternatives(tests)),
    }
}

fn keywords(item: &Item) -> String {
    match item.mode {
        Mode::Any | Mode::Every => {
            format!("some value of the event {}", alternatives(&item.tests))
        }
        Mode::All => {
            let tests: Vec<String> = item.tests.iter().map(asked).collect();
            format!("some value of the event {}", tests.join(", and one "))
        }
        Mode::None => format!("no value of the event {}", alternatives(&item.tests)),
    }
}

/// Tests of which one is enough: `is "get" or "list", or starts with "x"`.
fn alternatives(tests: &[Test]) -> String {
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for test in tests {
        let (how, value) = parts(test);
        match told.iter_mut().find(|(it, _)| *it == how) {
            Some((_, values)) => values.push(value),
            None => told.push((how, vec![value])),
        }
    }
    let told: Vec<String> = told.iter().map(|(how, values)| sentence(how, values)).collect();
    told.join(", or ")
}

fn sentence(how: &str, values: &[String]) -> String {
    let values = match values {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        values => values.concat(),
    };
    format!("{how} {values}").trim_end().to_owned()
}

/// One test, to be read after the field's name.
fn asked(test: &Test) -> String {
    let (how, value) = parts(test);
    sentence(&how, &[value])
}

/// One test as what is asked, and of which value; the value may be empty.
fn parts(test: &Test) -> (String, String) {
    let of = |how: &str, value: String| (how.to_owned(), value);
    match test {
        Test::Text { pattern, cased } => {
            let (how, text) = patterned(pattern);
            let case = if *cased { " exactly" } else { "" };
            (format!("{how}{case}"), text)
        }
        Test::Number(number) => of("is", number.to_string()),
        Test::Bool(yes) => of("is", yes.to_string()),
        Test::Null => of("is missing or null", String::new()),
        Test::Exists(true) => of("is there", String::new()),
        Test::Exists(false) => of("is missing", String::new()),
        Test::Regex(source) => of("fits", format!("/{source}/")),
        Test::Cidr(network) => of("lies in", network.clone()),
        Test::Compare(comparison, number) => of(sign(*comparison), number.to_string()),
        Test::Count(comparison, number) => of(sign(*comparison), number.to_string()),
        Test::Order(comparison, text) => {
            (format!("is {} in byte order", sign(*comparison)), format!("{text:?}"))
        }
        Test::Glob { pattern, cased } => {
            let case = if *cased { " exactly" } else { "" };
            (format!("is like{case}"), format!("{pattern:?}"))
        }
        Test::Path(path) => of("lies at or below", format!("{path:?}")),
        Test::Time { part, comparison, number } => {
            of(&format!("has {} {}", named(*part), sign(*comparison)), format!("{number} (UTC)"))
        }
        Test::SameAs { field, place, cased } => {
            let case = if *cased { " exactly" } else { "" };
            let how = match place {
                Place::Whole => "is the same as",
                Place::Start => "starts with",
                Place::End => "ends with",
                Place::Anywhere => "contains",
            };
            (format!("{how}{case} the field"), field.clone())
        }
    }
}

/// A text pattern: its literal text where it is one at a place, else with its wildcards.
fn patterned(pattern: &[Piece]) -> (&'static str, String) {
    if !pattern.is_empty() && pattern.iter().all(|it| *it == Piece::Many) {
        return ("has any text", String::new());
    }
    let (starts, inner) = match pattern {
        [Piece::Many, inner @ ..] => (true, inner),
        inner => (false, inner),
    };
    let (ends, inner) = match inner {
        [inner @ .., Piece::Many] => (true, inner),
        inner => (false, inner),
    };
    let literal: Option<String> = inner.iter().map(|it| literal(*it)).collect();
    let Some(text) = literal else {
        let text: String = pattern.iter().map(|it| written(*it)).collect();
        return ("is like", quoted(&text));
    };
    let how = match (starts, ends) {
        (false, false) => "is",
        (false, true) => "starts with",
        (true, false) => "ends with",
        (true, true) => "contains",
    };
    (how, quoted(&text))
}

/// In quotes, and otherwise as it is: whoever shows it makes it harmless.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn literal(piece: Piece) -> Option<char> {
    match piece {
        Piece::Char(c) => Some(c),
        Piece::One | Piece::Many | Piece::Dash => None,
    }
}

fn written(piece: Piece) -> char {
    match piece {
        Piece::Char(c) => c,
        Piece::One => '?',
        Piece::Many => '*',
        Piece::Dash => '-',
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

fn named(part: TimePart) -> &'static str {
    match part {
        TimePart::Minute => "minute",
        TimePart::Hour => "hour",
        TimePart::Day => "day",
        TimePart::Week => "week",
        TimePart::Month => "month",
        TimePart::Year => "year",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{LoadOptions, load_text};

    fn told(detection: &str) -> Vec<String> {
        let text = format!("title: T\nsigma-version: 3\ndetection:\n{detection}");
        let rules = load_text([("t.yml", &*text)], &LoadOptions::default());
        let rules = rules.unwrap_or_else(|error| panic!("{error}")).rules;
        let mut lines = Vec::new();
        lines_of(&outline(&rules, RuleIndex::new(0)), 0, &mut lines);
        lines
    }

    fn lines_of(outline: &Outline, depth: usize, lines: &mut Vec<String>) {
        let field = outline.condition.field.as_deref().map(|it| format!("{it} "));
        let field = field.unwrap_or_default();
        lines.push(format!("{}{field}{}", "  ".repeat(depth), outline.condition.asks));
        outline.parts.iter().for_each(|it| lines_of(it, depth + 1, lines));
    }

    #[test]
    fn a_rule_reads_as_a_tree_of_sentences() {
        let detection = "  sel:\n    verb: [get, list]\n    code|gte: 400\n    user.username|startswith: 'system:'\n  \
            filter:\n    a|re: '^x'\n  condition: sel and not filter\n";
        assert_eq!(
            told(detection),
            [
                "all of",
                "  all of",
                "    verb is \"get\" or \"list\"",
                "    code >= 400",
                "    user.username starts with \"system:\"",
                "  not",
                "    a fits /^x/",
            ]
        );
    }

    #[test]
    fn every_test_has_its_words() {
        for (line, want) in [
            ("a: null", "is missing or null"),
            ("a|exists: false", "is missing"),
            ("a|exists: true", "is there"),
            ("a: 'x*y?'", "is like \"x*y?\""),
            ("a: '*'", "has any text"),
            ("a|contains: x", "contains \"x\""),
            ("a|endswith|cased: X", "ends with exactly \"X\""),
            ("a|cidr: 10.0.0.0/8", "lies in 10.0.0.0/8"),
            ("a|neq: x", "is there, and no value of it is \"x\""),
            ("a|hour|gte: 18", "has hour >= 18 (UTC)"),
            ("a|fieldref: b", "is the same as the field b"),
            ("a: true", "is true"),
            ("a: [x, 1, 'y*', z]", "is \"x\", 1 or \"z\", or starts with \"y\""),
            ("a|contains|all: [x, y]", "contains \"x\" and contains \"y\""),
        ] {
            let told = told(&format!("  sel:\n    {line}\n  condition: sel\n")).join("\n");
            assert!(told.trim().ends_with(&format!("a {want}")), "{line}: {told}");
        }
        let members = "  sel:\n    c[any]:\n      p: tcp\n  condition: sel\n";
        assert!(told(members).join("\n").contains("c has a member with\n"), "{:?}", told(members));
    }

    #[test]
    fn a_name_that_stands_for_another_says_so() {
        let text = "title: T\ndetection:\n  sel:\n    hostPath: x\n  condition: sel\n";
        let rules = load_text([("t.yml", text)], &LoadOptions::default()).unwrap().rules;
        let json = serde_json::to_string(&outline(&rules, RuleIndex::new(0))).unwrap();
        assert!(json.contains("\"requestObject.spec.volumes.hostPath.path\""), "{json}");
        assert!(json.contains("\"field\":\"hostPath\""), "{json}");
    }
}
