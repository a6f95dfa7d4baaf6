//! `kustos hunt`: rules over an archive or several.

use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::ingest::Show;
use super::output::counted;
use super::shared::{ArchiveArgs, RuleArgs, ScopeArgs, stop_on_signal, tell_copies};
use crate::clock::{Clock, SystemClock};
use crate::pipeline::hunt::{Hunt, hunt};
use crate::pipeline::lanes::Width;

const EXAMPLES: &str = "\
Examples:
  kustos hunt --archive /var/lib/kustos --since 90d
  kustos hunt --archive /var/lib/kustos --rules ./new-rule.yml --since 2024-01-01 --until 2024-02-01
  kustos hunt --archive /data/replica-a --archive /data/replica-b --since 1d

A rule finds in the archive what it would have found when the events came, under the same ids. Of
several archives, an event that more than one of them holds is judged once.";

/// Run rules over the archive, or several; print the findings.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    archives: ArchiveArgs,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    /// How to write findings [default: human on a terminal, else ndjson].
    #[arg(short, long, value_enum)]
    output: Option<Show>,
}

/// Runs the command; gives its exit code.
///
/// # Errors
/// When rules are broken, there is no archive, or it cannot be read.
pub fn run(args: &Args) -> Result<u8> {
    super::log::start("warn", None);
    let scope = args.scope.scope(SystemClock.now())?;
    let rules = args.rules.load()?;
    let stop = stop_on_signal()?;
    let dirs = args.archives.find()?;
    let job =
        Hunt { dirs: &dirs, scope, rules: &rules, workers: Width::default().workers, stop: &stop };
    let terminal = stdout().is_terminal();
    let show = args.output.unwrap_or(Show::fitting(terminal));
    let mut out = BufWriter::new(stdout().lock());
    let bar = if stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} files, {msg}, {elapsed}")?);
    let (mut events, mut found) = (0, 0);
    let copies = hunt(&job, |hunted| {
        events += hunted.events;
        found += hunted.findings.len() as u64;
        bar.set_length(hunted.files.1 as u64);
        bar.set_position(hunted.files.0 as u64);
        bar.set_message(format!("{}, {}", counted(events, "event"), counted(found, "finding")));
        for finding in &hunted.findings {
            show.write(&serde_json::to_string(finding)?, terminal, &mut out)?;
        }
        out.flush()?;
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    tell_copies(copies, "", &mut stderr().lock())?;
    if stderr().is_terminal() {
        writeln!(stderr(), "{} in {}", counted(found, "finding"), counted(events, "event"))?;
    }
    Ok(0)
}
