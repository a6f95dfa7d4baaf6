//! `kustos rules explain`: why a rule matches an event, or does not.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::show::{Output, named};
use super::tree::{self, Marks};
use crate::cli::shared::{RuleArgs, Usage};
use crate::decode;
use crate::rules::counting::counting;
use crate::rules::{Explanation, Profile, RuleIndex, RuleSet, Subject, explain, needs};
use crate::source::LINE_BYTES_MAX;
use crate::source::open::{Input, open};

const EXAMPLES: &str = "\
Examples:
  kustos rules explain 672b3875-e7a8-4170-bd60-87022a9ee663 audit.log:17
  kustos rules explain my-rule --rules ./my-rules '{\"verb\":\"get\"}'
  grep 0f3e4b6a audit.log | kustos rules explain my-rule -

Of a correlation, the rules that it counts are explained. Exit code 0 when the rule, or one of
them, matches; 1 when not.";

/// Say condition by condition why a rule matches an event, or does not.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The rule's id or title.
    #[arg(value_name = "ID")]
    id: String,
    /// The event: a file that holds it alone, FILE:LINE, `-` for standard input, or the JSON itself.
    #[arg(value_name = "EVENT", value_hint = clap::ValueHint::FilePath)]
    event: String,
    #[command(flatten)]
    rules: RuleArgs,
    /// How to write it.
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<u8> {
    let rules = args.rules.load_or(Profile::Paranoid)?;
    let subject = rules.find(&args.id).map_err(|error| Usage(error.to_string()))?;
    let bytes = event(&args.event)?;
    let told = |flaw| Usage(format!("the event is {flaw}"));
    let texts = decode::texts(&bytes).map_err(told)?;
    let [text] = texts.as_slice() else {
        return Err(Usage(format!("there are {} events in it: name one", texts.len())).into());
    };
    let event = decode::line(text.as_bytes()).map_err(told)?;
    let indexes = judging(&rules, subject);
    if args.output == Output::Human && matches!(subject, Subject::Correlation(_)) {
        writeln!(out, "{} counts what these find:\n", named(&rules, subject))?;
    }
    let mut matched = false;
    for (at, index) in indexes.into_iter().enumerate() {
        let explained = explain(&rules, index, &event);
        matched |= explained.matches;
        match args.output {
            Output::Json => writeln!(out, "{}", object(&rules, index, &explained))?,
            Output::Human => {
                write!(out, "{}", if at > 0 { "\n" } else { "" })?;
                human(&rules, index, &explained, out)?;
            }
        }
    }
    Ok(u8::from(!matched))
}

/// The rules that judge single events for it: of a correlation all that it counts, also by way
/// of others.
fn judging(rules: &RuleSet, subject: Subject) -> Vec<RuleIndex> {
    let mut found = Vec::new();
    // A correlation never counts itself, not by way of others either.
    let mut open = vec![subject];
    while let Some(subject) = open.pop() {
        match subject {
            Subject::Rule(index) if !found.contains(&index) => found.push(index),
            Subject::Rule(_) => {}
            Subject::Correlation(at) => {
                let counts = counting(rules, at).map(|it| it.counts).unwrap_or_default();
                open.extend(counts.iter().rev().map(|it| it.subject));
            }
        }
    }
    found
}

fn object(rules: &RuleSet, index: RuleIndex, explained: &Explanation) -> serde_json::Value {
    let rule = rules.rule(index);
    let mut object = json!(explained);
    object["rule"] = json!({ "id": rule.id, "title": rule.title });
    object
}

fn human(
    rules: &RuleSet,
    index: RuleIndex,
    explained: &Explanation,
    out: &mut impl Write,
) -> Result<()> {
    let verdict = if explained.matches { "match" } else { "no match" };
    writeln!(out, "{verdict}: {}", named(rules, Subject::Rule(index)))?;
    if !explained.reached {
        let asked: Vec<&str> = needs(rules, index).index.into_keys().collect();
        let asked = asked.join(", ");
        writeln!(out, "the index passed it over: it requires certain values of {asked}")?;
    }
    writeln!(out)?;
    tree::weighed(out, &explained.condition, Marks::fitting(stdout().is_terminal()), 0)?;
    Ok(())
}

/// The bytes of the event that is meant.
fn event(named: &str) -> Result<Vec<u8>> {
    if named.trim_start().starts_with('{') {
        return Ok(named.trim().as_bytes().to_vec());
    }
    if named == "-" {
        return alone(&Input::Stdin);
    }
    if let Some((file, line)) = placed(named) {
        return at_line(&file, line);
    }
    alone(&Input::File(PathBuf::from(named)))
}

/// `FILE:LINE`, unless there is a file of that whole name.
fn placed(named: &str) -> Option<(PathBuf, u64)> {
    let (file, line) = named.rsplit_once(':')?;
    let line = line.parse().ok()?;
    (!Path::new(named).exists()).then(|| (PathBuf::from(file), line))
}

/// The one event that an input holds, on one line or over several.
fn alone(input: &Input) -> Result<Vec<u8>> {
    let most = LINE_BYTES_MAX as u64;
    let mut bytes = Vec::new();
    let mut stream = opened(input)?.take(most + 1);
    stream.read_to_end(&mut bytes).with_context(|| input.name())?;
    let several = bytes.len() as u64 > most
        || (lines(&bytes) > 1 && decode::line(bytes.trim_ascii()).is_err());
    if several {
        let why = format!("{} holds more than one event: name one as FILE:LINE", input.name());
        return Err(Usage(why).into());
    }
    Ok(bytes.trim_ascii().to_vec())
}

fn lines(bytes: &[u8]) -> usize {
    bytes.split(|it| *it == b'\n').filter(|it| !it.trim_ascii().is_empty()).count()
}

/// A line of a file, counted from 1.
fn at_line(file: &Path, line: u64) -> Result<Vec<u8>> {
    let name = || file.display().to_string();
    let mut stream = BufReader::new(opened(&Input::File(file.to_owned()))?);
    for _ in 1..line {
        if stream.skip_until(b'\n').with_context(name)? == 0 {
            break;
        }
    }
    let mut bytes = Vec::new();
    let most = LINE_BYTES_MAX as u64 + 1;
    stream.take(most).read_until(b'\n', &mut bytes).with_context(name)?;
    if line == 0 || bytes.trim_ascii().is_empty() {
        return Err(Usage(format!("{} has nothing on line {line}", name())).into());
    }
    Ok(bytes.trim_ascii().to_vec())
}

fn opened(input: &Input) -> Result<Box<dyn Read + Send>> {
    match open(input) {
        Ok(stream) => Ok(stream.bytes),
        Err(error) => Err(Usage(crate::cause::line(&error)).into()),
    }
}
