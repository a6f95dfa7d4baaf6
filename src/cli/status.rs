//! `kustos archive status`: how much is kept, what of it no one could read, and whether anything is missing.

use std::io::{Write, stdout};
use std::path::Path;

use anyhow::Result;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::archive::time;
use super::output::counted;
use crate::alert::plain::field;
use crate::archive::account::{KeptSource, Troubles};
use crate::archive::catalog::Catalog;
use crate::archive::outbox;
use crate::archive::stored::StoredFile;

/// Sources that a table shows: a log that is rotated is another one each time. JSON has them all.
const SOURCES_SHOWN: usize = 10;

/// Everything that is told.
struct Status {
    archive: String,
    events: u64,
    bytes_in: u64,
    bytes_stored: u64,
    oldest: Option<String>,
    newest: Option<String>,
    segments: u64,
    expired: u64,
    parts: u64,
    ledger_entries: u64,
    index: (usize, u64),
    marked: Vec<(String, String, u64)>,
    sources: Vec<KeptSource>,
    troubles: Vec<Troubles>,
    outbox: outbox::Counts,
}

/// Tells it, as a table or as one JSON object; gives the exit code.
pub(super) fn run(dir: &Path, table: bool) -> Result<u8> {
    let status = Status::of(dir)?;
    let mut out = stdout().lock();
    if table {
        status.write(&mut out)?;
    } else {
        writeln!(out, "{}", status.json())?;
    }
    Ok(0)
}

impl Status {
    fn of(dir: &Path) -> Result<Status> {
        let catalog = Catalog::open(dir)?;
        let (parts, segments, runs) = (catalog.parts()?, catalog.segments()?, catalog.runs()?);
        let (live, expired): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|it| it.expired.is_none());
        let files: Vec<&StoredFile> = live.iter().map(|it| &it.file).chain(&parts).collect();
        Ok(Status {
            archive: dir.display().to_string(),
            events: files.iter().map(|it| it.rows).sum(),
            bytes_in: files.iter().map(|it| it.bytes_in).sum(),
            bytes_stored: files.iter().map(|it| it.bytes_stored).sum(),
            oldest: files.iter().filter_map(|it| it.time_first).min().map(time),
            newest: files.iter().filter_map(|it| it.time_last).max().map(time),
            segments: live.len() as u64,
            expired: expired.len() as u64,
            parts: parts.len() as u64,
            ledger_entries: catalog.ledger_head()?.0,
            index: (runs.len(), runs.iter().map(|it| it.bytes).sum()),
            marked: catalog.marked()?,
            sources: catalog.kept_sources()?,
            troubles: catalog.troubles()?,
            outbox: catalog.outbox_counts()?,
        })
    }

    fn json(&self) -> Value {
        let marked = self.marked.iter().map(|(cluster, reason, lines)| {
            json!({"cluster": cluster, "reason": reason, "lines": lines})
        });
        let sources = self.sources.iter().map(|it| {
            json!({"cluster": it.cluster, "name": it.name, "position": it.position, "kept": it.kept.map(time)})
        });
        let troubles = self.troubles.iter().map(|it| {
            json!({"rule": it.rule, "title": it.title, "cluster": it.cluster, "findings": it.findings, "newest": it.newest})
        });
        json!({
            "archive": self.archive, "events": self.events, "bytes_in": self.bytes_in, "bytes_stored": self.bytes_stored,
            "oldest": self.oldest, "newest": self.newest, "segments": self.segments,
            "segments_expired": self.expired, "parts": self.parts, "ledger_entries": self.ledger_entries,
            "index_bytes": self.index.1,
            "marked": marked.collect::<Vec<_>>(), "sources": sources.collect::<Vec<_>>(),
            "troubles": troubles.collect::<Vec<_>>(),
            "outbox": {"pending": self.outbox.pending, "sent": self.outbox.sent, "dead": self.outbox.dead},
        })
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "archive    {}", self.archive)?;
        writeln!(
            out,
            "events     {}, {} of lines in {} of files",
            HumanCount(self.events),
            HumanBytes(self.bytes_in),
            HumanBytes(self.bytes_stored)
        )?;
        if let (Some(oldest), Some(newest)) = (&self.oldest, &self.newest) {
            writeln!(out, "time       {oldest} to {newest}")?;
        }
        writeln!(
            out,
            "files      {} ({} more expired), {}, {} ledger {}",
            counted(self.segments, "segment"),
            self.expired,
            counted(self.parts, "part"),
            self.ledger_entries,
            if self.ledger_entries == 1 { "entry" } else { "entries" }
        )?;
        let (files, bytes) = self.index;
        writeln!(out, "index      {} in {}", HumanBytes(bytes), counted(files as u64, "file"))?;
        for (cluster, reason, lines) in &self.marked {
            let lines = counted(*lines, "line");
            writeln!(out, "marked     {lines} of cluster {}: {reason}", field(cluster))?;
        }
        self.write_sources(out)?;
        for it in &self.troubles {
            let of = if it.cluster.is_empty() {
                String::new()
            } else {
                format!(" of cluster {}", field(&it.cluster))
            };
            let newest = it.newest.as_deref().unwrap_or("an unknown time");
            writeln!(
                out,
                "trouble    {} of {}{of}, the newest of {newest}: {}",
                counted(it.findings, "finding"),
                it.rule,
                it.title
            )?;
        }
        let outbox::Counts { pending, sent, dead } = self.outbox;
        writeln!(out, "outbox     {pending} pending, {sent} sent, {dead} dead")
    }

    fn write_sources(&self, out: &mut impl Write) -> std::io::Result<()> {
        for it in self.sources.iter().take(SOURCES_SHOWN) {
            let at = it.kept.map_or_else(|| "an unknown time".to_owned(), time);
            let (name, cluster) = (field(&it.name), field(&it.cluster));
            writeln!(
                out,
                "source     {name} of cluster {cluster}: kept to {} at {at}",
                it.position
            )?;
        }
        let more = self.sources.len().saturating_sub(SOURCES_SHOWN) as u64;
        if more > 0 {
            writeln!(out, "           and {} that moved earlier", counted(more, "source"))?;
        }
        Ok(())
    }
}
