//! `kustos archive`: what is kept, whether it is whole, and when it may go.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use comfy_table::presets;
use serde_json::{Value, json};

use super::output::{counted, fitting_table};
use super::status;
use crate::archive::catalog::Catalog;
use crate::archive::recover::Archive;
use crate::archive::retain::{self, Verdict};
use crate::archive::stored::StoredFile;
use crate::archive::verify::{State, verify};
use crate::clock::{Clock, SystemClock};
use crate::event;

const EXAMPLES: &str = "\
Examples:
  kustos archive status --archive /var/lib/kustos
  kustos archive list --archive /var/lib/kustos -o ndjson
  kustos archive verify --archive /var/lib/kustos
  kustos archive expire --archive /var/lib/kustos            # prints the plan
  kustos archive expire --archive /var/lib/kustos --apply    # carries it out

verify exits with 1 when anything is altered or missing.";

/// Every column of a table, in its order: what it is, what is in it, what becomes of it, and last
/// what only a program compares.
const COLUMNS: [&str; 15] = [
    "kind",
    "id",
    "cluster",
    "date",
    "events",
    "bytes_in",
    "bytes_stored",
    "from",
    "to",
    "state",
    "why",
    "verdict",
    "at",
    "retain_until",
    "sha256",
];

/// Show, check and expire what is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// How to write an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Columns, for people.
    Table,
    /// One JSON object a line.
    Ndjson,
}

#[derive(Debug, clap::Args)]
struct Of {
    /// The archive's folder.
    #[arg(long, value_name = "DIR")]
    archive: PathBuf,
    /// How to write the answer [default: table on a terminal, else ndjson].
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

impl Of {
    fn is_table(&self) -> bool {
        self.output.map_or_else(|| stdout().is_terminal(), |it| it == Output::Table)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How much is kept, what was marked, how far each source is, what kustos found wrong, what waits to be sent.
    Status(Of),
    /// Every part and segment.
    List(Of),
    /// Read everything back and compare it with the ledger.
    Verify(Of),
    /// Say which segments are past their time; remove them with --apply.
    Expire {
        #[command(flatten)]
        of: Of,
        /// Carry the plan out.
        #[arg(long)]
        apply: bool,
    },
}

/// Runs the command; gives its exit code.
///
/// # Errors
/// When there is no archive, or it cannot be read or written.
pub fn run(args: &Args) -> Result<u8> {
    super::log::start("warn", None);
    match &args.command {
        Command::Status(of) => status::run(&of.archive, of.is_table()),
        Command::List(of) => list(of),
        Command::Verify(of) => check(of),
        Command::Expire { of, apply } => expire(of, *apply),
    }
}

/// Writes rows as a table or as JSON.
fn show(rows: &[Value], output: Option<Output>) -> Result<()> {
    let terminal = stdout().is_terminal();
    let mut out = stdout().lock();
    let fitting = if terminal { Output::Table } else { Output::Ndjson };
    if output.unwrap_or(fitting) == Output::Ndjson {
        return rows.iter().try_for_each(|it| writeln!(out, "{it}").map_err(Into::into));
    }
    let names = columns(rows);
    let mut table = fitting_table(presets::NOTHING);
    table.set_header(names.iter().map(|it| it.to_uppercase()));
    for row in rows {
        table.add_row(names.iter().map(|name| match row.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }));
    }
    writeln!(out, "{}", table.trim_fmt())?;
    Ok(())
}

/// The columns of a table: those of [`COLUMNS`] in which a row has something.
fn columns(rows: &[Value]) -> Vec<&'static str> {
    let mut keys = rows.iter().filter_map(Value::as_object).flat_map(|it| it.keys());
    let filled = |it: &Value| !it.is_null();
    assert!(
        keys.all(|it| COLUMNS.contains(&it.as_str())),
        "a key has no place in a table: add it to COLUMNS"
    );
    COLUMNS
        .into_iter()
        .filter(|name| rows.iter().any(|row| row.get(name).is_some_and(filled)))
        .collect()
}

pub(super) fn time(micros: i64) -> String {
    let mut text = Vec::new();
    event::write_micros(micros, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn describe(kind: &str, file: &StoredFile) -> serde_json::Map<String, Value> {
    let row = json!({
        "kind": kind, "id": file.id, "cluster": file.cluster, "date": file.date, "events": file.rows,
        "bytes_in": file.bytes_in, "bytes_stored": file.bytes_stored,
        "from": file.time_first.map(time), "to": file.time_last.map(time),
    });
    row.as_object().cloned().unwrap_or_default()
}

fn list(of: &Of) -> Result<u8> {
    let catalog = Catalog::open(&of.archive)?;
    let mut rows = Vec::new();
    for segment in catalog.segments()? {
        let kind = if segment.expired.is_some() { "expired" } else { "segment" };
        let mut row = describe(kind, &segment.file);
        row.insert("retain_until".to_owned(), time(segment.retain_until).into());
        row.insert("sha256".to_owned(), segment.file.sha256.clone().into());
        rows.push(Value::Object(row));
    }
    rows.extend(catalog.parts()?.iter().map(|it| Value::Object(describe("part", it))));
    show(&rows, of.output)?;
    Ok(0)
}

fn check(of: &Of) -> Result<u8> {
    let (mut rows, mut bad) = (Vec::new(), 0);
    let terminal = stderr().is_terminal();
    let mut told = Ok(());
    verify(&of.archive, |report| {
        let (state, why) = match report.state {
            State::Whole => ("whole", None),
            State::Altered(why) => ("altered", Some(why)),
            State::Missing => ("missing", None),
        };
        bad += u64::from(state != "whole");
        if terminal && told.is_ok() {
            told = writeln!(stderr(), "{} {}: {state}", report.kind, report.id);
        }
        rows.push(json!({"kind": report.kind, "id": report.id, "events": report.events, "state": state, "why": why}));
    })?;
    told?;
    show(&rows, of.output)?;
    Ok(u8::from(bad > 0))
}

fn expire(of: &Of, apply: bool) -> Result<u8> {
    let now = SystemClock.now();
    let plan = |catalog: &Catalog| anyhow::Ok(retain::plan(catalog.segments()?, now));
    let (planned, removed) = if apply {
        // Opening to write would make an archive where there is none.
        drop(Catalog::open(&of.archive)?);
        let mut archive = Archive::open(&of.archive)?;
        let planned = plan(&archive.catalog)?;
        let removed = retain::apply(&mut archive, &planned, now)?;
        (planned, removed)
    } else {
        (plan(&Catalog::open(&of.archive)?)?, 0)
    };
    let rows: Vec<Value> = planned
        .iter()
        .map(|(segment, verdict)| {
            let mut row = describe("segment", &segment.file);
            let (word, at) = match verdict {
                Verdict::Young { until } => ("keep", *until),
                Verdict::Expire if apply => ("expired", now),
                Verdict::Expire => ("expire", segment.retain_until),
                Verdict::Gone { at } => ("gone", *at),
            };
            row.insert("verdict".to_owned(), word.into());
            row.insert("at".to_owned(), time(at).into());
            Value::Object(row)
        })
        .collect();
    show(&rows, of.output)?;
    let due = planned.iter().filter(|(_, verdict)| *verdict == Verdict::Expire).count();
    if apply {
        let removed = counted(removed as u64, "segment");
        writeln!(stderr(), "{removed} removed and recorded in the ledger")?;
    } else {
        let due = counted(due as u64, "segment");
        writeln!(stderr(), "{due} would be removed; --apply removes them")?;
    }
    Ok(0)
}
