//! `kustos detect`: rules over inputs; findings on standard output; nothing is stored.

use std::io::{BufWriter, IsTerminal, Write, stdout};
use std::sync::Arc;

use anyhow::Result;

use super::ingest::Show;
use super::shared::{InputArgs, RuleArgs, stop_on_signal};
use crate::clock::SystemClock;
use crate::pipeline::detect::{Job, detect};
use crate::pipeline::lanes::Width;
use crate::source::LINE_BYTES_MAX;

const EXAMPLES: &str = "\
Examples:
  kustos detect /var/log/kubernetes/audit/audit.log
  kustos detect --rules ./my-rules audit-*.log.gz
  kubectl logs -n kube-system audit-shipper | kustos detect - -o ndjson

Every line is judged that is a JSON object. Exit code 0 whether or not there are findings;
--fail-on LEVEL makes findings of that level or worse exit with 1.";

/// Run rules over files; print the findings; store nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// The cluster the events are of.
    #[arg(long, value_name = "NAME", default_value = "default")]
    cluster: String,
    /// How to write findings [default: human on a terminal, else ndjson].
    #[arg(short, long, value_enum)]
    output: Option<Show>,
    /// Exit with 1 when there is a finding of this level or worse.
    #[arg(long, value_name = "LEVEL")]
    fail_on: Option<crate::rules::Level>,
    /// Threads that decode and match [default: one for each core].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
}

/// Runs the command; gives its exit code.
///
/// # Errors
/// When rules are broken, an input is not there, or standard output is gone.
pub fn run(args: &Args) -> Result<u8> {
    super::log::start("warn", None);
    let width = Width::default();
    let job = Job {
        inputs: args.inputs.find()?,
        cluster: args.cluster.as_str().into(),
        rules: args.rules.load()?,
        clock: Arc::new(SystemClock),
        width: Width { workers: args.workers.unwrap_or(width.workers), ..width },
        line_bytes_max: LINE_BYTES_MAX,
        stop: stop_on_signal()?,
    };
    let terminal = stdout().is_terminal();
    let show = args.output.unwrap_or(Show::fitting(terminal));
    let mut out = BufWriter::new(stdout().lock());
    let mut failed = false;
    let failures = detect(&job, |findings, _| {
        for finding in &findings {
            failed |= args.fail_on.is_some_and(|it| finding.rule.level >= it);
            show.write(&serde_json::to_string(finding)?, terminal, &mut out)?;
        }
        if !findings.is_empty() {
            out.flush()?;
        }
        anyhow::Ok(())
    })?;
    out.flush()?;
    Ok(super::ingest::report_failures(&failures).max(u8::from(failed)))
}
