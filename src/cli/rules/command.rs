//! `kustos rules`: which sub-command, and the rules that it is about.

use std::io;

use anyhow::Result;
use clap::Subcommand;

const EXAMPLES: &str = "\
Examples:
  kustos rules check ./my-rules
  kustos rules test ./my-rules --junit report.xml
  kustos rules list --level high --tag attack.persistence
  kustos rules show 672b3875-e7a8-4170-bd60-87022a9ee663
  kustos rules explain 672b3875-e7a8-4170-bd60-87022a9ee663 audit.log:17
  kustos rules coverage --navigator layer.json

check and test exit with 1 when a rule is broken or does not do what its test says; explain exits
with 1 when the rule does not match.";

/// Check, test, list, show and explain rules, and say what they cover.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(super::check::Args),
    Test(super::test::Args),
    List(super::list::Args),
    Show(super::show::Args),
    Explain(super::explain::Args),
    Coverage(super::coverage::Args),
}

/// Runs the command; gives its exit code.
///
/// # Errors
/// When rules, an event or a test cannot be read, or the output is gone.
pub fn run(args: &Args) -> Result<u8> {
    crate::cli::log::start("warn", None);
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Check(args) => super::check::run(args, &mut out),
        Command::Test(args) => super::test::run(args, &mut out),
        Command::List(args) => super::list::run(args, &mut out),
        Command::Show(args) => super::show::run(args, &mut out),
        Command::Explain(args) => super::explain::run(args, &mut out),
        Command::Coverage(args) => super::coverage::run(args, &mut out),
    }
}
