//! What each stage costs, over one corpus: CPU seconds per GB, MB per CPU second, ns per event.
//!
//! `make bench`; `CORPUS=FILE make bench` takes another file than the genuine sample. The figures
//! are CPU time, which other work on the machine moves little. `zstd -3` of the same bytes is in
//! the table as a measure of the machine.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on should stop"
)]

mod common;

use std::sync::Arc;

use kustos::archive::columns::Columns;
use kustos::archive::part::{self, Placed};
use kustos::decode::{self, Row};
use kustos::rules::{self, Scratch};
use kustos::seal::leaf::{Hash, leaf};
use kustos::source::chunk::CHUNK_BYTES;
use rustix::time::ClockId;

/// Each stage is measured so often; the least is printed, which other work disturbs least.
const ROUNDS: usize = 3;

fn main() {
    let corpus = common::corpus();
    let lines = common::matching::lines(&corpus);
    let table = Table { bytes: corpus.len(), events: lines.len() };
    println!(
        "{} MB, {} events, CPU time of one thread (ingest: of the process)",
        corpus.len() / 1_000_000,
        lines.len()
    );
    println!("{:<34} {:>10} {:>10} {:>10}", "stage", "CPU s/GB", "MB/s", "ns/event");
    table.row("decode", || lines.iter().filter(|it| decode::line(it).is_ok()).count());
    let decoded: Vec<Row<'_>> = lines.iter().map(|it| Row::plain(it, decode::line(it))).collect();
    let rules = Arc::new(rules::shipped(rules::Profile::Standard).unwrap());
    table.row(&format!("match, {} shipped rules", rules.len()), || {
        let (mut scratch, mut found, mut sum) = (Scratch::default(), Vec::new(), 0);
        for row in &decoded {
            if let Ok(event) = &row.event {
                rules.matches(event, &mut scratch, &mut found);
                sum += found.len();
            }
        }
        sum
    });
    table.row("leaves (SHA-256)", || lines.iter().map(|it| usize::from(leaf(it)[0])).sum());
    let leaves: Vec<Hash> = lines.iter().map(|it| leaf(it)).collect();
    table.row("columns, each row rebuilt", || batches(&decoded, &leaves).len());
    encode(&table, &decoded, &leaves);
    table.row("zstd -3 of the whole, in process", || {
        zstd::bulk::compress(&corpus, 3).unwrap().len()
    });
    whole(&table, &corpus, &rules);
}

struct Table {
    bytes: usize,
    events: usize,
}

impl Table {
    fn row(&self, stage: &str, mut work: impl FnMut() -> usize) {
        self.print(
            stage,
            least(ClockId::ThreadCPUTime, || {
                std::hint::black_box(work());
            }),
        );
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    fn print(&self, stage: &str, seconds: f64) {
        let gigabytes = self.bytes as f64 / 1e9;
        println!(
            "{stage:<34} {:>10.2} {:>10.0} {:>10.0}",
            seconds / gigabytes,
            gigabytes * 1e3 / seconds,
            seconds * 1e9 / self.events as f64
        );
    }
}

fn least(clock: ClockId, mut work: impl FnMut()) -> f64 {
    (0..ROUNDS).map(|_| common::seconds(clock, &mut work)).fold(f64::INFINITY, f64::min)
}

/// Batches of about a chunk each, as the workers make them.
fn batches(decoded: &[Row<'_>], leaves: &[Hash]) -> Vec<Placed> {
    let cluster: Arc<str> = "bench".into();
    let bytes: usize = decoded.iter().map(|it| it.raw.len()).sum();
    let rows = decoded.len() / (bytes / CHUNK_BYTES).max(1) + 1;
    let mut first = 0;
    let mut placed = Vec::new();
    for (decoded, leaves) in decoded.chunks(rows).zip(leaves.chunks(rows)) {
        let mut columns = Columns::default();
        for (ordinal, (row, leaf)) in (0..).zip(decoded.iter().zip(leaves)) {
            columns.append(row, ordinal, *leaf);
        }
        let lines: Vec<&[u8]> = decoded.iter().map(|it| it.raw).collect();
        let batch = columns.finish(&cluster, "2026-11-23".to_owned(), 0, &lines).unwrap();
        placed.push(Placed { batch, first });
        first += i64::try_from(decoded.len()).unwrap();
    }
    placed
}

fn encode(table: &Table, decoded: &[Row<'_>], leaves: &[Hash]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("parts")).unwrap();
    let groups: Vec<Vec<Placed>> = decoded
        .chunks(part::ROWS_MAX)
        .zip(leaves.chunks(part::ROWS_MAX))
        .map(|(decoded, leaves)| batches(decoded, leaves))
        .collect();
    let mut stored = 0;
    table.row("encode: sort, Parquet, zstd, fsync", || {
        let write = |it: &Vec<Placed>| {
            part::write(dir.path(), it, "[]".to_owned(), 0).unwrap().file.bytes_stored
        };
        stored = groups.iter().map(write).sum::<u64>();
        groups.len()
    });
    println!("{:<34} 1/{:.1} of the lines", "  stored", table.bytes as f64 / stored as f64);
}

fn whole(table: &Table, corpus: &[u8], rules: &Arc<rules::RuleSet>) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    std::fs::File::create(&log)
        .and_then(|mut it| std::io::Write::write_all(&mut it, corpus))
        .unwrap();
    let mut round = 0;
    let seconds = least(ClockId::ProcessCPUTime, || {
        round += 1;
        let archive = dir.path().join(format!("archive-{round}"));
        common::archive::archived(&archive, rules, [log.clone()]);
    });
    table.print("ingest, all of it, sealed", seconds);
}
