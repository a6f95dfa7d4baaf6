//! The `correlation` block of a document -> [`Spec`], or what is wrong with it.
//!
//! The parser reads metadata, conditions and timespans. The block itself is read here: the parser
//! passes over what it does not know, and a misspelt key must not make a correlation weaker. It
//! also does not know `new_terms` and `absence`, which are ours.

use std::borrow::Cow;

use rsigma_parser::{
    ConditionExpr, Quantifier, SelectorPattern, Timespan, detection_name_matches, parse_condition,
};
use yaml_serde::{Mapping, Value};

use crate::config::{hint, nearest};
use crate::rules::correlation::{
    Bound, CHAIN_MAX, EVENTS_MAX, Kind, MEMBERS_MAX, Operator, Shape, TIMESPAN_SECONDS_MAX,
};
use crate::rules::ir::{Alias, Named, Spec};

/// What is wrong with a correlation. [`Blame::near`] is the word it is about.
#[derive(Debug, thiserror::Error)]
pub(in crate::rules) enum CorrelationFault {
    #[error("the correlation has no \"{0}\"")]
    Missing(&'static str),
    #[error("\"correlation\" must stand in this document, as a map")]
    NoBlock,
    #[error("unknown key {key:?} in \"{within}\"{}", hint(.nearest.as_deref()))]
    Key { key: String, within: &'static str, nearest: Option<String> },
    #[error("unknown correlation type {kind:?}{}", hint(.nearest.as_deref()))]
    Kind { kind: String, nearest: Option<String> },
    #[error("\"{key}\" must be {wanted}")]
    Shape { key: String, wanted: &'static str },
    #[error("\"{0}\" is no timespan: write a number above 0 and a unit, of s, m, h, d, w, M, y")]
    Timespan(String),
    #[error("the timespan \"{0}\" is longer than 100 years")]
    TooLong(String),
    #[error("a correlation of type {} needs a condition, such as \"gte: 10\"", .0.name())]
    NoCondition(Kind),
    #[error("a correlation of type {} needs \"field\" in its condition", .0.name())]
    NoField(Kind),
    #[error("a correlation of type {} takes a single field", .0.name())]
    ManyFields(Kind),
    #[error("\"{key}\" has no meaning in a correlation of type {}", .kind.name())]
    Meaningless { key: &'static str, kind: Kind },
    #[error("a condition over rules is only for temporal and temporal_ordered")]
    NotTemporal,
    #[error("{why}")]
    Condition { why: String },
    #[error("\"{0}\" stands in \"rules\" and not in the condition")]
    Unused(String),
    #[error("\"{0}\" stands in the condition and not in \"rules\"")]
    Unlisted(String),
    #[error("\"of\" in the condition chooses among \"rules\", and there are none that fit")]
    NoChoice,
    #[error("more than {EVENTS_MAX} events cannot be remembered, so this is never true")]
    Never,
    #[error("more than {MEMBERS_MAX} rules in one correlation")]
    Members,
    #[error("a session needs \"gap\", a timespan; other windows have none")]
    Gap,
    #[error("no rule and no correlation is called {name:?}{}", hint(.nearest.as_deref()))]
    Unknown { name: String, nearest: Option<String> },
    #[error("{count} rules are called {name:?}: refer to one by its id")]
    Ambiguous { name: String, count: usize },
    #[error("the correlation counts itself, by way of {}", .0.join(", "))]
    Cycle(Vec<String>),
    #[error("it is the end of a chain of more than {CHAIN_MAX} correlations")]
    Deep,
    #[error("it refers to a correlation that is broken, {0:?}")]
    Broken(String),
    #[error(
        "{name:?} has no {field:?} in its \"group-by\", and that is all it tells of its events"
    )]
    ChildField { name: String, field: String },
}

/// A fault, and the word in the document that is to blame.
#[derive(Debug)]
pub(in crate::rules) struct Blame {
    pub(in crate::rules) near: String,
    pub(in crate::rules) fault: CorrelationFault,
}

type Read<T> = Result<T, Blame>;

fn blame(near: &str, fault: CorrelationFault) -> Blame {
    Blame { near: near.to_owned(), fault }
}

const KEYS: [&str; 10] = [
    "type",
    "rules",
    "group-by",
    "timespan",
    "timeframe",
    "window",
    "gap",
    "condition",
    "aliases",
    "generate",
];

/// The keys of a condition beside the operators.
const CONDITION_KEYS: [&str; 2] = ["field", "percentile"];

const BLOCK: &str = "correlation";

/// The document for the parser, which then reads its metadata: with a block that it takes.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let Some(mut document) = document(text) else { return Cow::Borrowed(text) };
    for key in ["rsigma.window", "rsigma.gap", "generate"] {
        document.remove(key);
    }
    let block = [("type", "temporal"), ("timespan", "1s")];
    let block: Mapping =
        block.into_iter().map(|(key, value)| (Value::from(key), Value::from(value))).collect();
    document.insert(Value::from(BLOCK), Value::Mapping(block));
    yaml_serde::to_string(&document).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The document, when it is a map with a correlation.
fn document(text: &str) -> Option<Mapping> {
    if !text.contains(BLOCK) {
        return None;
    }
    let document: Mapping = yaml_serde::from_str(text).ok()?;
    document.get(BLOCK).is_some().then_some(document)
}

/// Reads the correlation of a document.
pub(super) fn spec(text: &str) -> Read<Spec> {
    let document = document(text).ok_or_else(|| blame(BLOCK, CorrelationFault::NoBlock))?;
    let block = document.get(BLOCK).and_then(Value::as_mapping);
    let block = block.ok_or_else(|| blame(BLOCK, CorrelationFault::NoBlock))?;
    known(block, "correlation", &KEYS)?;
    let kind = kind(block)?;
    let mut rules = names(block, "rules")?;
    let (timespan, micros) = span(block)?;
    let condition = condition(block, kind, &rules)?;
    if let (Some(named), true) = (&condition.named, rules.is_empty()) {
        mentioned(named, &mut rules);
    }
    if rules.is_empty() {
        return Err(blame(BLOCK, CorrelationFault::Missing("rules")));
    }
    if rules.len() > MEMBERS_MAX {
        return Err(blame("rules", CorrelationFault::Members));
    }
    Ok(Spec {
        kind,
        rules,
        group_by: names(block, "group-by")?,
        timespan,
        micros,
        shape: shape(&document, block, kind)?,
        bounds: condition.bounds,
        fields: condition.fields,
        percentile: condition.percentile.unwrap_or(MEDIAN),
        named: condition.named,
        aliases: aliases(block)?,
        generate: generate(&document, block)?,
    })
}

/// The percentile of a correlation that states none.
const MEDIAN: f64 = 50.0;

fn known(map: &Mapping, within: &'static str, keys: &[&str]) -> Read<()> {
    for key in map.keys() {
        let key = key.as_str().unwrap_or_default();
        if !keys.contains(&key) {
            let fault =
                CorrelationFault::Key { key: key.to_owned(), within, nearest: nearest(key, keys) };
            return Err(blame(key, fault));
        }
    }
    Ok(())
}

fn kind(block: &Mapping) -> Read<Kind> {
    let kind = block.get("type").ok_or_else(|| blame(BLOCK, CorrelationFault::Missing("type")))?;
    let kind = text("type", kind, "the name of a correlation type")?;
    Kind::named(kind).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|it| it.name()).collect();
        let nearest = nearest(kind, &known);
        blame("type", CorrelationFault::Kind { kind: kind.to_owned(), nearest })
    })
}

fn text<'v>(key: &str, value: &'v Value, wanted: &'static str) -> Read<&'v str> {
    value.as_str().ok_or_else(|| blame(key, CorrelationFault::Shape { key: key.into(), wanted }))
}

/// A name or a list of names; none when the key is absent.
fn names(map: &Mapping, key: &str) -> Read<Vec<String>> {
    let wanted = "a name or a list of names";
    let wrong = || blame(key, CorrelationFault::Shape { key: key.to_owned(), wanted });
    let named = |value: &Value| match value {
        Value::String(name) if !name.is_empty() => Ok(name.clone()),
        _ => Err(wrong()),
    };
    match map.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Sequence(list)) => list.iter().map(named).collect(),
        Some(value) => Ok(vec![named(value)?]),
    }
}

fn span(block: &Mapping) -> Read<(String, i64)> {
    let given = ["timespan", "timeframe"].into_iter().find_map(|it| Some((it, block.get(it)?)));
    let (key, value) = given.ok_or_else(|| blame(BLOCK, CorrelationFault::Missing("timespan")))?;
    micros(key, value)
}

fn micros(key: &str, value: &Value) -> Read<(String, i64)> {
    let shown = match value {
        Value::String(text) => text.clone(),
        other => yaml_serde::to_string(other).unwrap_or_default().trim().to_owned(),
    };
    let parsed = value.as_str().and_then(|it| Timespan::parse(it).ok());
    match parsed.filter(|it| it.seconds > 0) {
        None => Err(blame(key, CorrelationFault::Timespan(shown))),
        Some(it) if it.seconds > TIMESPAN_SECONDS_MAX => {
            Err(blame(key, CorrelationFault::TooLong(shown)))
        }
        Some(it) => Ok((shown, i64::try_from(it.seconds).unwrap_or(i64::MAX) * 1_000_000)),
    }
}

fn shape(document: &Mapping, block: &Mapping, kind: Kind) -> Read<Shape> {
    let get = |key: &'static str, other| document.get(other).or_else(|| block.get(key));
    let (window, gap) = (get("window", "rsigma.window"), get("gap", "rsigma.gap"));
    let window = window.map(|it| text("window", it, "sliding, tumbling or session")).transpose()?;
    if window.is_some() && !kind.has_window() {
        return Err(blame("window", CorrelationFault::Meaningless { key: "window", kind }));
    }
    match (window.unwrap_or("sliding"), gap) {
        ("sliding", None) => Ok(Shape::Sliding),
        ("tumbling", None) => Ok(Shape::Tumbling),
        ("session", Some(gap)) => Ok(Shape::Session { gap: micros("gap", gap)?.1 }),
        ("sliding" | "tumbling", Some(_)) => Err(blame("gap", CorrelationFault::Gap)),
        ("session", None) => Err(blame("window", CorrelationFault::Gap)),
        _ => {
            let wanted = "sliding, tumbling or session";
            Err(blame("window", CorrelationFault::Shape { key: "window".into(), wanted }))
        }
    }
}

fn generate(document: &Mapping, block: &Mapping) -> Read<bool> {
    match document.get("generate").or_else(|| block.get("generate")) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| {
            let wanted = "true or false";
            blame("generate", CorrelationFault::Shape { key: "generate".into(), wanted })
        }),
    }
}

fn aliases(block: &Mapping) -> Read<Vec<Alias>> {
    let wanted = "a map of names to maps of rules to fields";
    let wrong = || blame("aliases", CorrelationFault::Shape { key: "aliases".into(), wanted });
    let Some(value) = block.get("aliases") else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (name, map) in value.as_mapping().ok_or_else(wrong)? {
        let name = name.as_str().ok_or_else(wrong)?.to_owned();
        let mut fields = Vec::new();
        for (rule, field) in map.as_mapping().ok_or_else(wrong)? {
            let (rule, field) = rule.as_str().zip(field.as_str()).ok_or_else(wrong)?;
            fields.push((rule.to_owned(), field.to_owned()));
        }
        found.push(Alias { name, fields });
    }
    Ok(found)
}

#[derive(Default)]
struct Condition {
    bounds: Vec<Bound>,
    fields: Vec<String>,
    percentile: Option<f64>,
    named: Option<Named>,
}

fn condition(block: &Mapping, kind: Kind, rules: &[String]) -> Read<Condition> {
    let condition = match block.get("condition") {
        None => Condition::default(),
        Some(Value::Mapping(map)) => bounds(map, kind)?,
        Some(Value::String(text)) if kind.is_temporal() => {
            let named = extended(text, rules)?;
            return Ok(Condition { named: Some(named), ..Condition::default() });
        }
        Some(Value::String(_)) => return Err(blame("condition", CorrelationFault::NotTemporal)),
        Some(_) => {
            let wanted = "a map of operators, or a text over rules";
            let fault = CorrelationFault::Shape { key: "condition".into(), wanted };
            return Err(blame("condition", fault));
        }
    };
    let meaningless = |key| Err(blame(key, CorrelationFault::Meaningless { key, kind }));
    if condition.bounds.is_empty() && kind.needs_bounds() {
        return Err(blame("condition", CorrelationFault::NoCondition(kind)));
    }
    if !condition.bounds.is_empty() && !kind.has_bounds() {
        return meaningless("condition");
    }
    if condition.fields.is_empty() && kind.needs_field() {
        return Err(blame("condition", CorrelationFault::NoField(kind)));
    }
    if !condition.fields.is_empty() && !kind.needs_field() {
        return meaningless("field");
    }
    if condition.fields.len() > 1 && kind.is_numeric() {
        return Err(blame("field", CorrelationFault::ManyFields(kind)));
    }
    if condition.percentile.is_some() && kind != Kind::ValuePercentile {
        return meaningless("percentile");
    }
    Ok(condition)
}

fn bounds(map: &Mapping, kind: Kind) -> Read<Condition> {
    let operators = Operator::ALL.map(Operator::name);
    known(map, "condition", &[&operators[..], &CONDITION_KEYS].concat())?;
    let mut condition = Condition { fields: names(map, "field")?, ..Condition::default() };
    let number = |key: &str, value: &Value| {
        let number = value.as_f64().filter(|it| it.is_finite());
        let fault = CorrelationFault::Shape { key: key.to_owned(), wanted: "a number" };
        number.ok_or_else(|| blame(key, fault))
    };
    for operator in Operator::ALL {
        let key = operator.name();
        let Some(value) = map.get(key) else { continue };
        let bound = Bound { operator, number: number(key, value)? };
        if kind.counts() && bound.never_below(EVENTS_MAX) {
            return Err(blame(key, CorrelationFault::Never));
        }
        condition.bounds.push(bound);
    }
    if let Some(value) = map.get("percentile") {
        let percentile = number("percentile", value)?;
        if !(0.0..=100.0).contains(&percentile) {
            let wanted = "a number from 0 to 100";
            let fault = CorrelationFault::Shape { key: "percentile".into(), wanted };
            return Err(blame("percentile", fault));
        }
        condition.percentile = Some(percentile);
    }
    Ok(condition)
}

/// A condition over the names of rules.
fn extended(text: &str, rules: &[String]) -> Read<Named> {
    let parsed = parse_condition(text).map_err(|error| {
        blame("condition", CorrelationFault::Condition { why: error.to_string() })
    })?;
    let named = named(&parsed, rules)?;
    let mut used = Vec::new();
    mentioned(&named, &mut used);
    if rules.is_empty() {
        return Ok(named);
    }
    if let Some(rule) = rules.iter().find(|it| !used.contains(it)) {
        return Err(blame(rule, CorrelationFault::Unused(rule.clone())));
    }
    match used.iter().find(|it| !rules.contains(it)) {
        Some(rule) => Err(blame("condition", CorrelationFault::Unlisted(rule.clone()))),
        None => Ok(named),
    }
}

fn named(expr: &ConditionExpr, rules: &[String]) -> Read<Named> {
    let each =
        |parts: &[ConditionExpr]| parts.iter().map(|it| named(it, rules)).collect::<Read<Vec<_>>>();
    Ok(match expr {
        ConditionExpr::And(parts) => Named::All(each(parts)?),
        ConditionExpr::Or(parts) => Named::Any(each(parts)?),
        ConditionExpr::Not(part) => Named::Not(Box::new(named(part, rules)?)),
        ConditionExpr::Identifier(name) => Named::Rule(name.clone()),
        ConditionExpr::Selector { quantifier, pattern } => {
            let fits = |name: &&String| match pattern {
                SelectorPattern::Them => true,
                SelectorPattern::Pattern(pattern) => detection_name_matches(pattern, name),
            };
            let chosen: Vec<Named> =
                rules.iter().filter(fits).map(|it| Named::Rule(it.clone())).collect();
            if chosen.is_empty() {
                return Err(blame("condition", CorrelationFault::NoChoice));
            }
            match quantifier {
                Quantifier::Any => Named::Any(chosen),
                Quantifier::All => Named::All(chosen),
                Quantifier::Count(count) => {
                    Named::AtLeast(usize::try_from(*count).unwrap_or(usize::MAX), chosen)
                }
            }
        }
    })
}

/// Adds the rules a condition names, in the order it names them.
fn mentioned(named: &Named, names: &mut Vec<String>) {
    match named {
        Named::Rule(name) if names.contains(name) => {}
        Named::Rule(name) => names.push(name.clone()),
        Named::Not(part) => mentioned(part, names),
        Named::All(parts) | Named::Any(parts) | Named::AtLeast(_, parts) => {
            parts.iter().for_each(|it| mentioned(it, names));
        }
    }
}
