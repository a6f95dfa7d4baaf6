//! `kustos search`: the search language over an archive or several.

use std::io::{IsTerminal, Write, stderr, stdout};

use anyhow::{Context, Result};

use super::output::{Format, unless_closed};
use super::query::{CopiesArgs, show};
use super::shared::{ArchiveArgs, ScopeArgs, Usage};
use crate::clock::{Clock, SystemClock};
use crate::query::field::RAW_BYTES;
use crate::query::language::Query;
use crate::query::sql::{Engine, SEARCH_COLUMNS, SEARCH_ROWS, Search};

const EXAMPLES: &str = "\
Examples:
  kustos search --archive /var/lib/kustos 'verb:get resource:secrets -user:system:*' --since 7d
  kustos search --archive /var/lib/kustos 'groups:system:masters code:>=400' --columns time,user,requestURI,code
  kustos search --archive /var/lib/kustos 'resource:pods subresource:(exec,attach) (ns:prod OR ns:kube-system)'
  kustos search --archive /var/lib/kustos '\"/var/run/docker.sock\"' --limit 5 -o raw
  kustos search --archive /data/replica-a --archive /data/replica-b 'user:alice' --since 1h

Terms are ANDed; `-` or `not` negates; `field:value` compares exactly, with `*` and `?` as wildcards;
words without a field are looked for in the whole line. A search that begins with `-o` needs `--`
before it. docs/search.md has the language on one page.";

/// Search an archive, or several; the newest events come first.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    archives: ArchiveArgs,
    #[command(flatten)]
    copies: CopiesArgs,
    /// What to look for, in quotes; left out: everything.
    #[arg(
        value_name = "SEARCH",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    search: String,
    #[command(flatten)]
    scope: ScopeArgs,
    /// How many events to show, the newest ones.
    #[arg(long, value_name = "N", default_value_t = SEARCH_ROWS)]
    limit: usize,
    /// The columns to show, divided by commas; `raw` is the whole line.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// How to write the events [default: table on a terminal, else ndjson].
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

/// Runs the command; gives its exit code.
///
/// # Errors
/// When there is no archive, the search is not understood, or reading fails.
pub fn run(args: &Args) -> Result<u8> {
    let mut out = stdout().lock();
    let terminal = out.is_terminal();
    let format = Format::or_fitting(args.output, terminal);
    let found = write(args, format, SystemClock.now(), &mut out);
    if terminal && found.as_ref().is_ok_and(|it| *it == args.limit as u64) {
        let note = "These are the newest; `--limit N` shows more.";
        writeln!(stderr().lock(), "{note}")?;
    }
    unless_closed(found.map(|_| 0))
}

fn write(args: &Args, format: Format, now: i64, out: &mut dyn Write) -> Result<u64> {
    let search = asked(args, format, now).map_err(|it| Usage(format!("{it:#}")))?;
    let from = (&args.archives, args.copies);
    show(from, format, out, async |engine: Engine| engine.search(&search).await)
}

/// What the arguments ask for.
fn asked(args: &Args, format: Format, now: i64) -> Result<Search> {
    let columns = match format {
        Format::Raw => vec![RAW_BYTES.to_owned()],
        _ if args.columns.is_empty() => SEARCH_COLUMNS.map(str::to_owned).to_vec(),
        _ => args.columns.iter().map(|it| it.trim().to_owned()).collect(),
    };
    Ok(Search {
        query: Query::parse(&args.search, now).context("the search is not understood")?,
        scope: args.scope.scope(now)?,
        rows_max: args.limit,
        columns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn read(line: &[&str]) -> Result<Search> {
        let words = ["search", "--archive", "a"].into_iter().chain(line.iter().copied());
        let args = Line::try_parse_from(words)?.args;
        asked(&args, Format::or_fitting(args.output, false), 1_795_442_400_000_000)
    }

    #[test]
    fn arguments_become_a_search() {
        let search = read(&["-user:bob verb:get", "--since", "1d", "--limit", "7"]).unwrap();
        assert_eq!(search.query.to_string(), r#"(-user:"bob" verb:"get")"#);
        assert_eq!(search.scope.since, Some(1_795_356_000_000_000));
        assert_eq!((search.rows_max, search.columns.len()), (7, SEARCH_COLUMNS.len()));
        let search = read(&["", "--columns", "user, verb", "--cluster", "prod"]).unwrap();
        assert_eq!(search.columns, ["user", "verb"]);
        assert_eq!(search.scope.cluster.as_deref(), Some("prod"));
        assert_eq!(read(&["-o", "raw"]).unwrap().columns, [RAW_BYTES]);
    }

    #[test]
    fn an_error_names_the_argument_and_a_remedy() {
        for (line, want) in [
            (vec!["resorce:x"], "the search is not understood: column 1: unknown field"),
            (vec!["", "--since", "soon"], "--since: \"soon\" is no time: write an age"),
            (vec!["", "-o", "xml"], "invalid value 'xml'"),
        ] {
            let error = format!("{:#}", read(&line).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }
}
