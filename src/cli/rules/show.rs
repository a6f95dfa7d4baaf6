//! `kustos rules show`: everything that is known about one rule.

use std::io::{self, Write};

use anyhow::Result;
use clap::ValueEnum;
use serde_json::json;

use super::tree;
use crate::alert::plain;
use crate::cli::shared::{RuleArgs, Usage};
use crate::rules::counting::{Counting, counting};
use crate::rules::{Needs, Outline, Profile, Rule, RuleSet, Subject, needs, outline};

const EXAMPLES: &str = "\
Examples:
  kustos rules show 672b3875-e7a8-4170-bd60-87022a9ee663
  kustos rules show 'Secret read by a person' -o json
  kustos rules show --rules ./my-rules my-rule";

/// Places of one field that are shown; the JSON has all.
const PLACES_MAX: usize = 3;

/// Values that the index requires of one field and that are shown; the JSON has all.
const VALUES_MAX: usize = 12;

/// Everything that is known about one rule: what it asks, what it needs, and its text.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The rule's id or title.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    rules: RuleArgs,
    /// How to write it.
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

/// How to write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Text, for people.
    Human,
    /// One JSON object.
    Json,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<u8> {
    let rules = args.rules.load_or(Profile::Paranoid)?;
    let subject = rules.find(&args.id).map_err(|error| Usage(error.to_string()))?;
    let rule = rules.about(subject);
    let text = text(&rules, rule);
    if args.output == Output::Json {
        writeln!(out, "{}", object(&rules, subject, text.as_deref()))?;
        return Ok(0);
    }
    writeln!(out, "{}\n", plain::field(&rule.title))?;
    about_rows(rule, out)?;
    counters(&rules, subject, out)?;
    match subject {
        Subject::Rule(index) => {
            let needs = needs(&rules, index);
            recorded(&needs, out)?;
            logic(&outline(&rules, index), &needs, out)?;
        }
        Subject::Correlation(at) => {
            if let Some(counting) = counting(&rules, at) {
                counts(&rules, &counting, out)?;
            }
        }
    }
    if let Some(condition) = &rule.condition {
        writeln!(out, "\nWith macros, lists and exceptions\n")?;
        writeln!(out, "  {}", plain::text_of(condition, usize::MAX))?;
    }
    if let Some(text) = text {
        writeln!(out, "\nText\n")?;
        for line in text.lines() {
            writeln!(out, "  {}", plain::text_of(line, usize::MAX))?;
        }
    }
    Ok(0)
}

fn object(rules: &RuleSet, subject: Subject, text: Option<&str>) -> serde_json::Value {
    let ids = |places: Vec<usize>| -> Vec<&str> {
        places.into_iter().map(|at| rules.about(Subject::Correlation(at)).id.as_str()).collect()
    };
    let mut object = json!({
        "rule": about(rules.about(subject)),
        "only_counted": rules.only_counted(subject),
        "counted_by": ids(rules.counted_by(subject)),
        "text": text,
    });
    match subject {
        Subject::Rule(index) => {
            object["condition"] = json!(outline(rules, index));
            object["needs"] = json!(needs(rules, index));
        }
        Subject::Correlation(at) => object["correlation"] = json!(counting(rules, at)),
    }
    object
}

fn about(rule: &Rule) -> serde_json::Value {
    json!({
        "id": rule.id,
        "title": rule.title,
        "level": rule.level,
        "dialect": rule.dialect,
        "status": rule.status,
        "tags": rule.tags,
        "description": rule.description,
        "falsepositives": rule.falsepositives,
        "references": rule.references,
        "runbook": rule.runbook,
        "profile": rule.profile.map(Profile::as_str),
        "behaviours": rule.behaviours,
        "priority": rule.priority,
        "output": rule.output,
        "compiled": rule.condition,
        "file": rule.file.display().to_string(),
        "line": rule.line,
    })
}

fn about_rows(rule: &Rule, out: &mut impl Write) -> io::Result<()> {
    let rows = [
        ("id", plain::field(&rule.id)),
        ("level", rule.level.to_string()),
        ("dialect", rule.dialect.to_owned()),
        ("priority", rule.priority.unwrap_or_default().to_owned()),
        ("output", plain::text_of(rule.output.as_deref().unwrap_or_default(), usize::MAX)),
        ("status", plain::field(rule.status.as_deref().unwrap_or_default())),
        ("profile", rule.profile.map(|it| it.to_string()).unwrap_or_default()),
        ("tags", plain::text_of(&rule.tags.join(", "), usize::MAX)),
        ("file", format!("{}:{}", rule.file.display(), rule.line)),
    ];
    written(&rows, out)
}

/// Rows of a name and a value; those without a value are left out.
fn written(rows: &[(&str, String)], out: &mut impl Write) -> io::Result<()> {
    let mut told = rows.iter().filter(|(_, value)| !value.is_empty());
    told.try_for_each(|(name, value)| writeln!(out, "{name:<10} {value}"))
}

/// The correlations that count it.
fn counters(rules: &RuleSet, subject: Subject, out: &mut impl Write) -> io::Result<()> {
    let names: Vec<String> = rules
        .counted_by(subject)
        .into_iter()
        .map(|at| named(rules, Subject::Correlation(at)))
        .collect();
    let silent = if rules.only_counted(subject) { "; it gives no finding of its own" } else { "" };
    let counted = if names.is_empty() { String::new() } else { names.join(", ") + silent };
    written(&[("counted by", counted)], out)
}

/// What the audit policy has to record.
fn recorded(needs: &Needs, out: &mut impl Write) -> io::Result<()> {
    let stages: Vec<&str> = needs.stages.iter().map(|it| it.as_str()).collect();
    let never = "none: it can match no event";
    let stages = if stages.is_empty() { never.to_owned() } else { stages.join(", ") };
    written(&[("needs", audit_level(needs)), ("stages", stages)], out)
}

/// What a correlation counts.
fn counts(rules: &RuleSet, counting: &Counting, out: &mut impl Write) -> io::Result<()> {
    let rows = [
        ("type", counting.kind.to_owned()),
        ("group by", plain::text_of(&counting.group_by.join(", "), usize::MAX)),
        ("window", plain::field(&counting.window)),
        ("fires when", plain::text_of(&counting.condition, usize::MAX)),
    ];
    written(&rows, out)?;
    writeln!(out, "\nCounts\n")?;
    for counted in &counting.counts {
        let level = match counted.subject {
            Subject::Rule(index) => format!(": {}", audit_level(&needs(rules, index))),
            Subject::Correlation(_) => String::new(),
        };
        writeln!(out, "  {}{level}", named(rules, counted.subject))?;
    }
    Ok(())
}

fn audit_level(needs: &Needs) -> String {
    let (least, full) = (needs.level.as_str(), needs.full_level.as_str());
    if least == full {
        return format!("audit level {least}");
    }
    format!("audit level {least}; {full} to see all that it looks at")
}

fn logic(asks: &Outline, needs: &Needs, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nCondition\n")?;
    tree::outline(out, asks, 1)?;
    writeln!(out, "\nFields\n")?;
    let width = needs.fields.keys().map(|it| it.chars().count()).max().unwrap_or(0);
    for (name, places) in &needs.fields {
        let name = plain::field(name);
        let places = if itself(&name, places) { String::new() } else { short(places, PLACES_MAX) };
        writeln!(out, "{}", format!("  {name:<width$}  {places}").trim_end())?;
    }
    if needs.fields.is_empty() {
        writeln!(out, "  any: it searches the whole event, or asks for nothing")?;
    }
    writeln!(out, "\nIndex: only an event that has one of these in each field is judged\n")?;
    for (field, values) in &needs.index {
        let missing = || "(missing)".to_owned();
        let values: Vec<String> =
            values.iter().map(|it| it.as_deref().map_or_else(missing, plain::field)).collect();
        writeln!(out, "  {field}: {}", short(&values, VALUES_MAX))?;
    }
    if needs.index.is_empty() {
        writeln!(out, "  nothing is required: every event is judged")?;
    }
    Ok(())
}

/// Whether the name says the place already.
fn itself(name: &str, places: &[String]) -> bool {
    matches!(places, [only] if only.replace('\\', "") == name.replace('\\', ""))
}

fn short(values: &[String], most: usize) -> String {
    let shown = values.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    match values.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The rule's own text: its file from the rule's line to the next rule's.
fn text(rules: &RuleSet, rule: &Rule) -> Option<String> {
    let file = rule.file.display().to_string();
    let (_, text) = rules.texts().find(|(path, _)| *path == file)?;
    let beside = rules.subjects().filter(|(_, it)| it.file == rule.file);
    let starts: Vec<u32> = beside.map(|(_, it)| it.line).collect();
    if starts.len() == 1 {
        return Some(text.trim_end().to_owned());
    }
    let at = |line: u32| usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    let end = starts.into_iter().filter(|it| *it > rule.line).min().map_or(usize::MAX, at);
    let own: Vec<&str> = text.lines().take(end).skip(at(rule.line)).collect();
    let own = own.join("\n");
    Some(own.trim_end_matches(['\n', ' ', '-']).to_owned())
}

/// A rule as a line names it.
pub(super) fn named(rules: &RuleSet, subject: Subject) -> String {
    let rule = rules.about(subject);
    format!("\"{}\" ({})", plain::field(&rule.title), plain::field(&rule.id))
}
