//! The command line: which command, and what its end means as an exit code.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | findings or a failed check, where the command is a check |
//! | 2 | wrong usage or configuration |
//! | 3 | done, but an input could not be read to its end |
//! | 4 | failed: the disk, the archive or the network |
//! | 101 | a bug: a thread panicked; the next start recovers |

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;
use crate::rules::{LoadError, PlaceholderError};

/// Wrong usage or configuration.
const USAGE: u8 = 2;
/// The disk, the archive or the network.
const FAILED: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  kustos detect /var/log/kubernetes/audit/audit.log
  kustos ingest --archive /var/lib/kustos --cluster prod /var/log/kubernetes/audit
  kustos search --archive /var/lib/kustos 'verb:get resource:secrets -user:system:*' --since 7d
  kustos run --config /etc/kustos/kustos.yaml

Exit codes: 0 done; 1 findings or a failed check, where the command is a check; 2 wrong usage or
configuration; 3 done, but an input could not be read to its end; 4 failed; 101 a bug.";

/// Reads Kubernetes audit events, alerts on attacks, and keeps every event provably unaltered.
#[derive(Debug, Parser)]
#[command(name = "kustos", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(super::run::Args),
    Ingest(super::ingest::Args),
    Detect(super::detect::Args),
    Hunt(super::hunt::Args),
    #[cfg(feature = "sql")]
    Search(super::search::Args),
    #[cfg(feature = "sql")]
    Query(super::query::Args),
    Rules(super::rules::Args),
    Archive(super::archive::Args),
    Config(super::config::Args),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // An API server writes its audit log for its own user alone; what is made of it is no
    // less secret.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let result = match &cli.command {
        Command::Run(args) => super::run::run(args),
        Command::Ingest(args) => super::ingest::run(args),
        Command::Detect(args) => super::detect::run(args),
        Command::Hunt(args) => super::hunt::run(args),
        #[cfg(feature = "sql")]
        Command::Search(args) => super::search::run(args),
        #[cfg(feature = "sql")]
        Command::Query(args) => super::query::run(args),
        Command::Rules(args) => super::rules::run(args),
        Command::Archive(args) => super::archive::run(args),
        Command::Config(args) => super::config::run(args),
    };
    match super::output::unless_closed(result) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // If even this cannot be written there is nobody to tell.
            drop(writeln!(stderr(), "kustos: {error:#}"));
            ExitCode::from(code(&error))
        }
    }
}

fn code(error: &anyhow::Error) -> u8 {
    let usage = error.chain().any(|it| {
        it.is::<ConfigError>()
            || it.is::<LoadError>()
            || it.is::<PlaceholderError>()
            || it.is::<super::shared::Usage>()
    });
    if usage { USAGE } else { FAILED }
}
