//! `kustos ingest`: a back-fill into an archive.

use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use super::output::counted;
use super::shared::{InputArgs, RuleArgs, Usage, stop_on_signal};
use crate::alert::render;
use crate::archive::keep::Policy;
use crate::archive::outbox::Outcome;
use crate::archive::recover::Archive;
use crate::archive::rulesets;
use crate::cause;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, ByteSize};
use crate::pipeline::archivist::{Archivist, Committed, Pace};
use crate::pipeline::budget::{self, Budget};
use crate::pipeline::ingest::{Job, Progress, ingest};
use crate::pipeline::lanes::Width;
use crate::rules::Level;
use crate::source::LINE_BYTES_MAX;
use crate::source::open::Input;

/// The exit code when an input could not be read to its end.
pub const UNREAD: u8 = 3;

/// The sink a back-fill prints to: its messages are in the outbox like any other's.
const SINK: &str = "stdout";

/// Messages that are printed and settled at a time.
const MESSAGES: u32 = 10_000;

const EXAMPLES: &str = "\
Examples:
  kustos ingest --archive /var/lib/kustos --cluster prod /var/log/kubernetes/audit
  kustos ingest --archive ./archive --rules ./my-rules audit-2026-*.log.gz
  kustos ingest --archive ./archive --memory 200MB audit-2026-*.log.gz
  zcat old.gz | kustos ingest --archive ./archive --cluster prod -

What was kept before is passed over, also after it was renamed or compressed. A line that is no
audit event is kept and marked. Exit code 3: an input could not be read to its end.";

/// Keep every event of files in an archive, run the rules over them, then exit.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The archive's folder; made if it is not there.
    #[arg(long, value_name = "DIR")]
    archive: PathBuf,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// The cluster the events are of. Part of every event's identity.
    #[arg(long, value_name = "NAME", default_value = "default")]
    cluster: String,
    /// How to write findings [default: human on a terminal, else ndjson].
    #[arg(short, long, value_enum)]
    output: Option<Show>,
    /// Print only findings of this level or worse; all are recorded.
    #[arg(long, value_name = "LEVEL", default_value = "informational")]
    min_level: Level,
    /// Threads that decode and match [default: one for each core].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// The most memory the process is to take, such as 200MB or 1GiB. Less makes smaller parts, and so more of them to
    /// merge. Lines of more than a megabyte, and rules of one's own by the thousand, come on top.
    #[arg(long, value_name = "SIZE", default_value_t = budget::DEFAULT)]
    memory: ByteSize,
    /// Rows after which a part is committed, if it was not for the sake of --memory before.
    #[arg(long, value_name = "N", default_value_t = crate::archive::part::ROWS_MAX as u64)]
    part_rows: u64,
    /// Leave the new parts for a later run to seal, instead of sealing them at the end.
    #[arg(long)]
    no_seal: bool,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// Two lines a finding, for people.
    Human,
    /// One JSON object a line.
    Ndjson,
    /// Not at all.
    None,
}

impl Show {
    /// What fits where it is written to.
    pub fn fitting(terminal: bool) -> Show {
        if terminal { Show::Human } else { Show::Ndjson }
    }

    /// Writes a finding that is given as its JSON.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(self, body: &str, color: bool, out: &mut impl Write) -> std::io::Result<()> {
        match self {
            Show::Human => writeln!(out, "{}", render::body(body, color)),
            Show::Ndjson => writeln!(out, "{body}"),
            Show::None => Ok(()),
        }
    }
}

/// Says what could not be read; gives the exit code.
pub fn report_failures<E: std::error::Error>(failures: &[E]) -> u8 {
    for error in failures {
        drop(writeln!(stderr(), "kustos: {}", cause::line(error)));
    }
    if failures.is_empty() { 0 } else { UNREAD }
}

/// Runs the command; gives its exit code.
///
/// # Errors
/// When rules are broken, an input is not there, or the archive cannot be written.
pub fn run(args: &Args) -> Result<u8> {
    super::log::start("warn", None);
    // A name that no folder can have would fail at the seal, and at every later one.
    if let Some(why) = config::misnamed(&args.cluster) {
        return Err(Usage(format!("--cluster {why}")).into());
    }
    let budget = Budget::of(args.memory).map_err(|it| Usage(format!("--memory: {it}")))?;
    let rules = args.rules.load()?;
    let inputs = args.inputs.find()?;
    let clock = Arc::new(SystemClock);
    let archive = Archive::open(&args.archive)?;
    rulesets::keep(&archive.dir, rules.hash(), rules.texts())?;
    let policy = Policy { ruleset: Some(rules.hash().to_owned()), ..Policy::default() };
    let routes = Arc::new(|_: &crate::detect::Finding| vec![SINK.to_owned()]);
    let archivist = Archivist::new(archive, clock.clone(), policy, routes, Pace::Full)?;
    let mut archivist = archivist.within(&budget).with_rows_max(args.part_rows);
    let width = Width::default();
    let job = Job {
        inputs,
        cluster: args.cluster.as_str().into(),
        rules,
        clock,
        width: Width {
            workers: args.workers.unwrap_or(width.workers),
            bytes_in_flight_max: budget.in_flight_bytes_max,
            ..width
        },
        line_bytes_max: LINE_BYTES_MAX,
        stop: stop_on_signal()?,
        progress: Arc::default(),
    };
    let bar = bar(&job)?;
    let mut printer = Printer::new(args);
    let mut total = Committed::default();
    // What a run that died had recorded and not printed comes first.
    printer.print(&mut archivist)?;
    let failures = ingest(&job, &mut archivist, |archivist, committed: Committed| {
        printer.print(archivist)?;
        add(&mut total, &committed);
        anyhow::Ok(())
    })?;
    if !args.no_seal {
        total.segments += archivist.seal_all()?;
    }
    bar.finish_and_clear();
    summary(&job, &total, printer.printed)?;
    Ok(report_failures(&failures))
}

/// Prints what the outbox holds for standard output.
struct Printer {
    show: Show,
    min_level: Level,
    terminal: bool,
    printed: u64,
}

impl Printer {
    fn new(args: &Args) -> Printer {
        let terminal = stdout().is_terminal();
        let show = args.output.unwrap_or(Show::fitting(terminal));
        Printer { show, min_level: args.min_level, terminal, printed: 0 }
    }

    fn print(&mut self, archivist: &mut Archivist) -> Result<()> {
        let catalog = &mut archivist.archive().catalog;
        loop {
            let due = catalog.due(SINK, SystemClock.now(), MESSAGES)?;
            if due.is_empty() {
                return Ok(());
            }
            let mut out = BufWriter::new(stdout().lock());
            for message in &due {
                if message.level.parse::<Level>().is_ok_and(|it| it >= self.min_level) {
                    self.show.write(&message.body, self.terminal, &mut out)?;
                    self.printed += 1;
                }
            }
            out.flush()?;
            // A crash before this prints them again at the next start: at least once.
            let sent: Vec<(String, Outcome)> =
                due.into_iter().map(|it| (it.id, Outcome::Sent)).collect();
            catalog.settle(&sent)?;
        }
    }
}

fn add(total: &mut Committed, more: &Committed) {
    total.segments += more.segments;
    total.counts.rows += more.counts.rows;
    total.counts.bytes += more.counts.bytes;
    total.counts.duplicates += more.counts.duplicates;
    for (flaw, lines) in &more.counts.marked {
        *total.counts.marked.entry(*flaw).or_default() += lines;
    }
}

/// A bar on standard error over the bytes of all inputs, where it is a terminal.
fn bar(job: &Job) -> Result<ProgressBar> {
    let bar =
        if stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let style = "{spinner} {msg}  {elapsed}";
    bar.set_style(ProgressStyle::with_template(style)?);
    if bar.is_hidden() {
        return Ok(bar);
    }
    let (shown, progress, inputs) = (bar.clone(), Arc::clone(&job.progress), job.inputs.len());
    bar.enable_steady_tick(Duration::from_millis(100));
    let show = move || {
        while !shown.is_finished() {
            shown.set_message(words(&progress, inputs));
            std::thread::park_timeout(Duration::from_millis(100));
        }
    };
    drop(crate::pipeline::stop::spawn("progress", show));
    Ok(bar)
}

fn words(progress: &Progress, inputs: usize) -> String {
    let (read, known) =
        (progress.read.load(Ordering::Relaxed), progress.known.load(Ordering::Relaxed));
    let files = progress.inputs.load(Ordering::Relaxed);
    format!(
        "{files}/{}, {} read, {} known before",
        counted(inputs as u64, "input"),
        HumanBytes(read),
        HumanBytes(known)
    )
}

/// What was done, on standard error: standard output has the findings.
fn summary(job: &Job, total: &Committed, printed: u64) -> Result<()> {
    let marked: u64 = total.counts.marked.values().sum();
    let known = job.progress.known.load(Ordering::Relaxed);
    let are = if marked == 1 { "is" } else { "are" };
    let mut err = stderr();
    writeln!(
        err,
        "kept {} ({}) of {}; {} of them {} no audit event and {} marked; {} were kept before; {}; {} sealed",
        counted(total.counts.rows, "line"),
        HumanBytes(total.counts.bytes),
        counted(job.inputs.len() as u64, "input"),
        HumanCount(marked),
        are,
        are,
        HumanBytes(known),
        counted(printed, "finding"),
        counted(total.segments as u64, "segment")
    )?;
    if total.counts.duplicates > 0 {
        let events = counted(total.counts.duplicates, "event");
        writeln!(err, "  {events} came again, byte for byte, and stayed stored once")?;
    }
    let nul = job.progress.nul.load(Ordering::Relaxed);
    if nul > 0 {
        writeln!(
            err,
            "  {} before lines hold nothing and were left out",
            counted(nul, "NUL byte")
        )?;
    }
    for (flaw, lines) in &total.counts.marked {
        writeln!(err, "  marked {flaw}: {}", HumanCount(*lines))?;
    }
    if job.inputs.contains(&Input::Stdin) && job.stop.asked() {
        writeln!(err, "stopped before the end of standard input")?;
    }
    Ok(())
}
