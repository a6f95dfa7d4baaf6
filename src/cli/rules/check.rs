//! `kustos rules check`: everything that is wrong with rules, each with its file and line.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{ValueEnum, ValueHint};
use serde_json::json;

use super::lenient::lenient;
use crate::alert::plain;
use crate::cli::output::counted;
use crate::cli::shared::PlaceholderArgs;
use crate::rules::{Loaded, RuleError};

const EXAMPLES: &str = "\
Examples:
  kustos rules check                        # the shipped rules
  kustos rules check ./my-rules ./falco
  kustos rules check --strict -o json ./my-rules

Exit code 1 when a rule is broken; with --strict also when there is a warning.";

/// Characters of one message that are shown: a rule's text can be as long as its author likes.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// Load rules and report everything that is wrong with them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Rule files and folders; the shipped rules when left out.
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    placeholders: PlaceholderArgs,
    /// Exit with 1 on warnings too.
    #[arg(long)]
    strict: bool,
    /// Exit with 0 when at least the other rules load.
    #[arg(long, conflicts_with = "strict")]
    lenient: bool,
    /// How to write what is found.
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

/// How to write what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each, as compilers write it, and a summary.
    Human,
    /// One JSON object a line: severity, file, line, rule, message.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<u8> {
    let loaded = lenient(&args.paths, &args.placeholders)?;
    let mut told: Vec<(Severity, &RuleError)> =
        loaded.errors.iter().map(|it| (Severity::Error, it)).collect();
    told.extend(loaded.warnings.iter().map(|it| (Severity::Warning, it)));
    told.sort_by_key(|(_, it)| (&it.file, it.line));
    for (severity, about) in told {
        match args.output {
            Output::Human => writeln!(out, "{}", line(severity, about))?,
            Output::Json => writeln!(out, "{}", object(severity, about))?,
        }
    }
    if args.output == Output::Human {
        writeln!(out, "{}", summary(&loaded))?;
    }
    let (errors, warnings) = (loaded.errors.len(), loaded.warnings.len());
    let excused = args.lenient && !loaded.rules.is_empty();
    Ok(u8::from((errors > 0 && !excused) || (args.strict && warnings > 0)))
}

/// `rules/x.yml:4: error: rule "T": unknown modifier 're2'`.
fn line(severity: Severity, about: &RuleError) -> String {
    let place = format!("{}:{}", about.file.display(), about.line);
    let rule = about.rule.as_deref().map(|it| format!("rule \"{it}\": ")).unwrap_or_default();
    let text = format!("{place}: {}: {rule}{}", severity.word(), about.reason());
    plain::text_of(&text, MESSAGE_CHARS_MAX)
}

fn object(severity: Severity, about: &RuleError) -> serde_json::Value {
    json!({
        "severity": severity.word(),
        "file": about.file.display().to_string(),
        "line": about.line,
        "rule": about.rule,
        "message": about.reason(),
    })
}

fn summary(loaded: &Loaded) -> String {
    let (good, bad) = (loaded.rules.subjects().count() as u64, loaded.errors.len());
    let warnings = counted(loaded.warnings.len() as u64, "warning");
    format!("{} good, {bad} broken, {warnings}", counted(good, "rule"))
}
