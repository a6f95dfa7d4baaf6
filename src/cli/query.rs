//! `kustos query`: SQL over an archive or several.

use std::io::{IsTerminal, Write, stderr, stdout};

use anyhow::{Context, Result};

use super::output::{Format, Rows, unless_closed};
use super::shared::{ArchiveArgs, Usage, tell_copies};
use crate::query::sql::{Answer, Engine, Settings, SqlError};

const EXAMPLES: &str = "\
Examples:
  kustos query --archive /var/lib/kustos 'SELECT verb, resource, count(*) AS n FROM events GROUP BY ALL ORDER BY n DESC LIMIT 20'
  kustos query --archive /var/lib/kustos \"SELECT time, user, name FROM events WHERE resource = 'secrets' AND time >= '2026-11-23'\"
  kustos query --archive /var/lib/kustos \"SELECT raw FROM events WHERE audit_id = '…'\" -o raw
  kustos query --archive /var/lib/kustos 'DESCRIBE events'
  kustos query --archive /data/replica-a --archive /data/replica-b 'SELECT count(*) FROM events'

Tables: events, alerts, segments. An archive is only read. Of several archives, an event that more than one of them
holds is there once. docs/search.md lists the columns.";

/// Ask an archive, or several, in SQL.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    archives: ArchiveArgs,
    #[command(flatten)]
    copies: CopiesArgs,
    /// One statement: SELECT, EXPLAIN, DESCRIBE or SHOW TABLES.
    #[arg(value_name = "SQL")]
    sql: String,
    /// How to write the rows [default: table on a terminal, else ndjson].
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

/// What becomes of events that several archives hold.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct CopiesArgs {
    /// Show an event that several archives hold as often as they hold it, not once.
    #[arg(long)]
    copies: bool,
}

/// Runs the command; gives its exit code.
///
/// # Errors
/// When there is no archive, the statement is wrong or would write, or reading fails.
pub fn run(args: &Args) -> Result<u8> {
    let mut out = stdout().lock();
    let format = Format::or_fitting(args.output, out.is_terminal());
    unless_closed(write(args, format, &mut out))
}

fn write(args: &Args, format: Format, out: &mut dyn Write) -> Result<u8> {
    let asked = async |engine: Engine| engine.sql(&args.sql).await;
    show((&args.archives, args.copies), format, out, asked).map(|_| 0)
}

/// Asks and writes the answer; gives how many rows it had.
pub(super) fn show(
    (archives, copies): (&ArchiveArgs, CopiesArgs),
    format: Format,
    out: &mut dyn Write,
    ask: impl AsyncFnOnce(Engine) -> Result<Answer, SqlError>,
) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the query's threads could not be started")?;
    let settings = Settings { copies: copies.copies, ..Settings::default() };
    let engine = Engine::open_with(&archives.find()?, &settings)?;
    runtime.block_on(async {
        let mut answer = ask(engine).await.map_err(told)?;
        let mut rows = Rows::new(out, format, answer.schema());
        while let Some(batch) = answer.next().await? {
            rows.write(&batch)?;
        }
        let count = rows.finish()?;
        tell_copies(answer.copies(), "; --copies shows them", &mut stderr().lock())?;
        Ok(count)
    })
}

/// A wrong question is wrong usage, and has an exit code of its own.
fn told(error: SqlError) -> anyhow::Error {
    let usage = error.is_usage();
    let error = anyhow::Error::from(error);
    if usage { Usage(format!("{error:#}")).into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::catalog::Catalog;
    use clap::Parser;
    use std::ffi::OsStr;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn an_answer_is_written_and_an_error_has_its_cause() {
        let dir = tempfile::tempdir().unwrap();
        let ask = |sql: &str| {
            let words = [OsStr::new("query"), OsStr::new("--archive"), dir.path().as_os_str()];
            let args = Line::try_parse_from(words.into_iter().chain([OsStr::new(sql)])).unwrap();
            let args = args.args;
            let mut out = Vec::new();
            match write(&args, Format::Ndjson, &mut out) {
                Ok(_) => String::from_utf8(out).unwrap(),
                Err(error) if error.is::<Usage>() => format!("usage: {error:#}"),
                Err(error) => format!("{error:#}"),
            }
        };
        assert!(ask("SELECT 1").contains("is no archive"), "{}", ask("SELECT 1"));
        Catalog::create(dir.path()).unwrap();
        assert_eq!(ask("SELECT count(*) AS n FROM events"), "{\"n\":0}\n");
        for (wrong, why) in [
            ("SELECT nmae FROM events", "nmae"),
            ("SELEC 1", "SELEC"),
            ("SELECT * FROM nowhere", "nowhere"),
            ("DROP TABLE events", "DROP TABLE is refused"),
        ] {
            let error = ask(wrong);
            assert!(error.starts_with("usage: ") && error.contains(why), "{error}");
        }
    }
}
