//! `kustos rules test`: each rule over the `*.test.jsonl` beside it.

use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::ValueHint;

use super::junit;
use super::lenient::lenient;
use super::tree::{self, Marks};
use crate::alert::plain;
use crate::cli::output::counted;
use crate::cli::shared::PlaceholderArgs;
use crate::detect::trial::{Outcome, Suite, Trial, suites};
use crate::rules::{Loaded, RuleSet};

const EXAMPLES: &str = "\
Examples:
  kustos rules test ./my-rules
  kustos rules test --junit report.xml ./my-rules
  kustos rules test --allow-untested ./falco-rules

Beside x.yml lies x.test.jsonl, a case a line:
  {\"match\":true,\"why\":\"a person reads one\",\"event\":{...}}
  {\"match\":false,\"why\":\"a controller does\",\"rule\":\"ID or title\",\"event\":{...}}
  {\"match\":true,\"why\":\"five within a minute\",\"events\":[{...},{...}]}

Exit code 1 when a rule does not do what a case says, is broken, or lacks a case that it must match
or one that it must not.";

/// Folder of rules when none is named.
const STANDARD: &str = "rules";

/// Run each rule over the `*.test.jsonl` beside it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Rule files and folders; `rules` when left out.
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    placeholders: PlaceholderArgs,
    /// Write a report in JUnit's XML as well.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    junit: Option<PathBuf>,
    /// Say what has no test, and exit with 0 all the same.
    #[arg(long)]
    allow_untested: bool,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<u8> {
    let standard = [PathBuf::from(STANDARD)];
    let Loaded { rules, errors, .. } =
        lenient(if args.paths.is_empty() { &standard } else { &args.paths }, &args.placeholders)?;
    let rules = Arc::new(rules);
    let suites = suites(&rules)?;
    for error in &errors {
        writeln!(
            out,
            "{}:{}: broken: {}",
            error.file.display(),
            error.line,
            shown(&error.reason())
        )?;
    }
    for suite in &suites {
        report(suite, args.allow_untested, out)?;
    }
    writeln!(out, "\n{}", summary(&rules, errors.len(), &suites))?;
    if let Some(file) = &args.junit {
        junit::write(file, &errors, &suites)?;
    }
    let wrong = suites.iter().any(|it| failed(it, args.allow_untested));
    Ok(u8::from(wrong || !errors.is_empty() || rules.is_empty()))
}

fn failed(suite: &Suite, allow_untested: bool) -> bool {
    suite.trials.iter().any(|it| !it.passed()) || !(suite.untested.is_empty() || allow_untested)
}

fn report(suite: &Suite, allow_untested: bool, out: &mut impl Write) -> Result<()> {
    let verdict = if failed(suite, allow_untested) { "FAILED" } else { "ok" };
    let cases = counted(suite.trials.len() as u64, "case");
    writeln!(out, "{} ... {verdict} ({cases})", suite.rules.display())?;
    for trial in suite.trials.iter().filter(|it| !it.passed()) {
        case(suite, trial, out)?;
    }
    suite.untested.iter().try_for_each(|it| writeln!(out, "  untested: {}", shown(it)))?;
    Ok(())
}

fn case(suite: &Suite, trial: &Trial, out: &mut impl Write) -> Result<()> {
    let place = format!("{}:{}", suite.tests.display(), trial.line);
    writeln!(out, "  {place}: {}", shown(&trial.told()))?;
    if let Outcome::Failed { because, .. } = &trial.outcome {
        let marks = Marks::fitting(stdout().is_terminal());
        for (title, weighed) in because {
            if because.len() > 1 {
                writeln!(out, "    rule \"{}\"", plain::field(title))?;
            }
            let mut tree = Vec::new();
            tree::weighed(&mut tree, weighed, marks, 0)?;
            for line in String::from_utf8_lossy(&tree).lines() {
                writeln!(out, "    {line}")?;
            }
        }
    }
    Ok(())
}

fn shown(text: &str) -> String {
    plain::text_of(text, 2_000)
}

fn summary(rules: &RuleSet, broken: usize, suites: &[Suite]) -> String {
    let trials = || suites.iter().flat_map(|it| &it.trials);
    let failed = trials().filter(|it| !it.passed()).count();
    let untested: usize = suites.iter().map(|it| it.untested.len()).sum();
    let (cases, files) = (trials().count() as u64, suites.len() as u64);
    format!(
        "{} of {} in {}: {} passed, {failed} failed, {untested} untested, {broken} broken",
        counted(cases, "case"),
        counted(rules.subjects().count() as u64, "rule"),
        counted(files, "file"),
        cases - failed as u64,
    )
}
