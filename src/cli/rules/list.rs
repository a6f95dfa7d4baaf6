//! `kustos rules list`: a line for each rule.

use std::io::{IsTerminal, Write, stdout};
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    ArrayRef, BooleanArray, ListBuilder, RecordBatch, StringArray, StringBuilder, UInt32Array,
};
use clap::ValueEnum;

use crate::cli::output::{Format, Rows};
use crate::cli::shared::RuleArgs;
use crate::rules::{Level, Profile, Rule};

const EXAMPLES: &str = "\
Examples:
  kustos rules list
  kustos rules list --rules ./my-rules --level high --level critical
  kustos rules list --profile paranoid
  kustos rules list --tag attack.t1098 -o csv";

/// What is noted of a rule that correlations count and that gives no finding of its own.
const ONLY_COUNTED: &str = "only counted";

/// What is noted of a Falco rule that is turned off.
const DISABLED: &str = "disabled";

/// A line for each rule and correlation.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    rules: RuleArgs,
    /// Only rules of this level; may be repeated.
    #[arg(long = "level", value_name = "LEVEL")]
    levels: Vec<Level>,
    /// Only rules with this tag or one below it (`attack.t1098` has `attack.t1098.006`); may be
    /// repeated: any of them.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// How to write the rules [default: table on a terminal, else ndjson].
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

/// How to write the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table that fits the terminal.
    Table,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header; tags as JSON.
    Csv,
}

impl Output {
    fn format(self) -> Format {
        match self {
            Output::Table => Format::Table,
            Output::Json => Format::Json,
            Output::Ndjson => Format::Ndjson,
            Output::Csv => Format::Csv,
        }
    }
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<u8> {
    let format = Format::or_fitting(args.output.map(Output::format), stdout().is_terminal());
    let rules = args.rules.load()?;
    let judging = rules.subjects().map(|(it, rule)| {
        let only_counted = rules.only_counted(it);
        Listed { rule, only_counted, disabled: false }
    });
    let turned_off =
        rules.disabled().iter().map(|rule| Listed { rule, only_counted: false, disabled: true });
    let listed: Vec<Listed<'_>> =
        judging.chain(turned_off).filter(|it| args.wants(it.rule)).collect();
    let batch = if format == Format::Table { table(&listed)? } else { columns(&listed)? };
    let mut rows = Rows::new(out, format, &batch.schema());
    rows.write(&batch)?;
    rows.finish()?;
    Ok(0)
}

impl Args {
    fn wants(&self, rule: &Rule) -> bool {
        let level = self.levels.is_empty() || self.levels.contains(&rule.level);
        let tagged = |want: &String| rule.tags.iter().any(|it| lies_below(it, want));
        level && (self.tags.is_empty() || self.tags.iter().any(tagged))
    }
}

/// A rule, and whether it gives no finding of its own.
struct Listed<'r> {
    rule: &'r Rule,
    only_counted: bool,
    disabled: bool,
}

/// Whether the tag is this one, or a part of it.
fn lies_below(tag: &str, above: &str) -> bool {
    let (tag, above) = (tag.to_lowercase(), above.to_lowercase());
    tag.strip_prefix(&*above).is_some_and(|it| it.is_empty() || it.starts_with(['.', '-']))
}

fn texts(rules: &[Listed<'_>], of: impl Fn(&Rule) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rules.iter().map(|it| of(it.rule))))
}

/// The smallest profile that has the rule, of shipped ones.
fn profiles(rules: &[Listed<'_>]) -> ArrayRef {
    let names = rules.iter().map(|it| it.rule.profile.map(Profile::as_str));
    Arc::new(names.collect::<StringArray>())
}

/// For people: what identifies a rule, and a place that an editor opens.
fn table(rules: &[Listed<'_>]) -> Result<RecordBatch> {
    let notes = rules.iter().map(|it| match (it.only_counted, it.disabled) {
        (_, true) => DISABLED,
        (true, false) => ONLY_COUNTED,
        (false, false) => "",
    });
    Ok(RecordBatch::try_from_iter([
        ("level", texts(rules, |it| it.level.to_string())),
        ("id", texts(rules, |it| it.id.clone())),
        ("title", texts(rules, |it| it.title.clone())),
        ("dialect", texts(rules, |it| it.dialect.to_owned())),
        ("profile", profiles(rules)),
        ("note", Arc::new(StringArray::from_iter_values(notes)) as ArrayRef),
        ("tags", texts(rules, |it| it.tags.join(" "))),
        ("file", texts(rules, |it| format!("{}:{}", it.file.display(), it.line))),
    ])?)
}

/// For programs: every fact in a column of its own.
fn columns(rules: &[Listed<'_>]) -> Result<RecordBatch> {
    let mut tags = ListBuilder::new(StringBuilder::new());
    for rule in rules {
        tags.append_value(rule.rule.tags.iter().map(Some));
    }
    let only_counted: BooleanArray = rules.iter().map(|it| Some(it.only_counted)).collect();
    let disabled: BooleanArray = rules.iter().map(|it| Some(it.disabled)).collect();
    Ok(RecordBatch::try_from_iter([
        ("level", texts(rules, |it| it.level.to_string())),
        ("id", texts(rules, |it| it.id.clone())),
        ("title", texts(rules, |it| it.title.clone())),
        ("dialect", texts(rules, |it| it.dialect.to_owned())),
        ("profile", profiles(rules)),
        ("only_counted", Arc::new(only_counted) as ArrayRef),
        ("disabled", Arc::new(disabled) as ArrayRef),
        ("tags", Arc::new(tags.finish()) as ArrayRef),
        ("file", texts(rules, |it| it.file.display().to_string())),
        ("line", Arc::new(UInt32Array::from_iter_values(rules.iter().map(|it| it.rule.line)))),
    ])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_those_below_it_and_no_longer_word() {
        assert!(lies_below("attack.t1098.006", "attack.t1098") && lies_below("k8s", "K8s"));
        assert!(lies_below("hipaa.164.312-a-1", "hipaa.164.312"));
        assert!(!lies_below("attack.t1098", "attack.t109") && !lies_below("k8s", "k8s.x"));
    }
}
