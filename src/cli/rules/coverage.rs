//! `kustos rules coverage`: what rules cover of MITRE ATT&CK, of the HIPAA Security Rule and of the
//! catalogue of behaviours.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueHint;
use comfy_table::presets;

use super::show::Output;
use crate::alert::plain;
use crate::cli::output::{counted, fitting_table};
use crate::cli::shared::RuleArgs;
use crate::durable;
use crate::rules::catalogue::{Behaviour, catalogue};
use crate::rules::coverage::{By, Coverage, Covered, coverage, navigator_layer};
use crate::rules::{Profile, Rule};

const EXAMPLES: &str = "\
Examples:
  kustos rules coverage
  kustos rules coverage --rules ./my-rules -o json
  kustos rules coverage --navigator layer.json    # open it in the ATT&CK Navigator";

/// The name of a layer in the ATT&CK Navigator.
const LAYER: &str = "kustos rules";

/// Say what rules cover of MITRE ATT&CK and of the HIPAA Security Rule, by their tags, and of the
/// catalogue of behaviours.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    rules: RuleArgs,
    /// How to write it.
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
    /// Write a layer for the ATT&CK Navigator (format 4.5) as well.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    navigator: Option<PathBuf>,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<u8> {
    let rules = args.rules.load_or(Profile::Paranoid)?;
    let telling: Vec<&Rule> =
        rules.subjects().filter(|(it, _)| !rules.only_counted(*it)).map(|(_, rule)| rule).collect();
    let coverage = coverage(telling.iter().copied());
    if let Some(file) = &args.navigator {
        let layer = serde_json::to_vec_pretty(&navigator_layer(&coverage, LAYER))?;
        durable::write(file, &layer)?;
    }
    let behaviours = catalogue(telling.iter().copied())?;
    match args.output {
        Output::Json => {
            let mut object = serde_json::to_value(&coverage)?;
            object["behaviours"] = serde_json::to_value(&behaviours)?;
            writeln!(out, "{object}")?;
        }
        Output::Human => {
            self::behaviours(&behaviours, out)?;
            tables(&coverage, telling.len(), out)?;
            told(&behaviours, out)?;
        }
    }
    Ok(0)
}

fn tables(coverage: &Coverage, rules: usize, out: &mut impl Write) -> io::Result<()> {
    table("ATT&CK tactic", &coverage.tactics, out)?;
    table("ATT&CK technique", &coverage.techniques, out)?;
    table("HIPAA, 45 CFR", &coverage.hipaa, out)?;
    if !coverage.unknown_tags.is_empty() {
        table("unknown tag", &coverage.unknown_tags, out)?;
    }
    let covered = |of: &[Covered]| of.iter().filter(|it| !it.rules.is_empty()).count() as u64;
    writeln!(
        out,
        "{}: {} of {} tactics, {}, {}; {} without a technique",
        counted(rules as u64, "rule"),
        covered(&coverage.tactics),
        coverage.tactics.len(),
        counted(covered(&coverage.techniques), "technique"),
        counted(covered(&coverage.hipaa), "safeguard"),
        coverage.without_technique.len(),
    )
}

/// Each behaviour of the catalogue: by which rules it is found, or why by none.
fn behaviours(behaviours: &[Behaviour], out: &mut impl Write) -> io::Result<()> {
    let mut table = fitting_table(presets::NOTHING);
    table.set_header(["NO.", "CHAPTER", "BEHAVIOUR", "FOUND BY"]);
    for row in behaviours {
        table.add_row([
            row.number.to_string(),
            row.chapter.clone(),
            row.behaviour.clone(),
            row.found_by(|rule| plain::field(&rule.title)),
        ]);
    }
    writeln!(out, "{}\n", table.trim_fmt())
}

/// How many behaviours are found, and how many cannot be.
fn told(behaviours: &[Behaviour], out: &mut impl Write) -> io::Result<()> {
    let found = behaviours.iter().filter(|it| it.is_found()).count();
    let unseen = behaviours.iter().filter(|it| it.unseen.is_some()).count();
    writeln!(
        out,
        "{}: {found} found, {unseen} that no audit event shows, {} left",
        counted(behaviours.len() as u64, "behaviour"),
        behaviours.len() - found - unseen,
    )
}

fn table(what: &str, covered: &[Covered], out: &mut impl Write) -> io::Result<()> {
    let mut table = fitting_table(presets::NOTHING);
    table.set_header([&what.to_uppercase(), "NAME", "RULES", "WORST", "TITLES"]);
    for row in covered {
        let titles: Vec<String> =
            row.rules.iter().map(|By { title, .. }| plain::field(title)).collect();
        table.add_row([
            plain::field(&row.id),
            row.name.clone(),
            row.rules.len().to_string(),
            row.level.map(|it| it.to_string()).unwrap_or_default(),
            titles.join("; "),
        ]);
    }
    writeln!(out, "{}\n", table.trim_fmt())
}
