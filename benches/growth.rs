//! How cost grows: with the length of the log, with the number of rules, with the age of the archive.
//!
//! `CORPUS=FILE cargo bench --bench growth` takes another file than the genuine sample; `GIB_MAX=8` goes on to logs of
//! 8 GiB. A log is the file again and again with other audit IDs, 256 MiB at a time: more of it is never there. What is
//! printed is the cost of one unit (a GB of log, an event looked up), which ought to stay the same however many there
//! are, and the exit code is 1 where it grows by more than is promised. The figures and their plot go to
//! `benches/results/`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on should stop"
)]

#[path = "growth/axis.rs"]
mod axis;
mod common;
#[path = "growth/plot.rs"]
mod plot;
#[path = "growth/results.rs"]
mod results;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use axis::{Axis, Promise};
use common::archive::archived;
use common::log::Log;
use common::matching;
use common::simulated::{self, Simulated};
use common::{asking, family};
use kustos::rules::{self, Profile, RuleSet, Scratch};
use rustix::time::ClockId;

/// Bytes of a log that are there at a time: about what an API server keeps of a rotated one.
const PIECE_BYTES: usize = 256 << 20;

/// Lengths of logs, in pieces, and how far they go unless `GIB_MAX` says otherwise.
const PIECES: [usize; 6] = [1, 2, 4, 8, 16, 32];
const GIB_MAX: usize = 2;
const PIECES_OF_A_GIB: usize = (1 << 30) / PIECE_BYTES;

/// Each log is measured so often; the least counts, which other work on the machine disturbs least.
const LOG_ROUNDS: usize = 3;
/// What a GB costs may differ between the lengths by this factor.
const LENGTHS_FACTOR_MAX: f64 = 1.15;

/// How many rules that cannot match.
const RULES: [usize; 6] = [10, 30, 100, 300, 1_000, 3_000];
/// Pairs of runs, with and without rules; the median counts.
const RULE_ROUNDS: usize = 9;
/// The most that 3,000 rules may cost on top of decoding, as a multiple of what 100 cost.
const RULES_FACTOR_MAX: f64 = 2.0;

/// Segments of the simulated catalogs. The last are six years of one every quarter of an hour.
const SEGMENTS: [usize; 5] = [100, 1_000, 10_000, 100_000, 210_000];
/// How often an event is looked up in each; the median counts.
const LOOK_UPS: usize = 21;
/// The most that a look-up may cost among the most segments, as a multiple of one among the fewest.
const SEGMENTS_FACTOR_MAX: f64 = 3.0;

fn main() -> ExitCode {
    let results = results::Results::begin();
    println!("{}", results.of_what());
    let (mut axes, mut kept) = (Vec::new(), 0);
    for measure in [lengths, rules_that_cannot_match, segments] {
        for axis in measure() {
            kept += usize::from(axis.report());
            axes.push(axis);
        }
    }
    let path = results.write(&axes);
    println!("{}", path.display());
    ExitCode::from(u8::from(kept < axes.len()))
}

/// What a GB costs in logs of more and more of them: to find what matches, and to keep it all.
fn lengths() -> Vec<Axis> {
    let gib_max = std::env::var("GIB_MAX").map_or(GIB_MAX, |it| it.parse().unwrap());
    let rules = Arc::new(rules::shipped(Profile::Standard).unwrap());
    let lengths = PIECES.into_iter().filter(|it| *it <= gib_max * PIECES_OF_A_GIB);
    let mut least: Vec<(usize, [f64; 2])> = lengths.map(|it| (it, [f64::INFINITY; 2])).collect();
    // All lengths in each round, so that a busy minute is not one length's alone.
    for _ in 0..LOG_ROUNDS {
        for (pieces, [detect, ingest]) in &mut least {
            *detect = detect.min(detected(&rules, *pieces));
            *ingest = ingest.min(ingested(&rules, *pieces));
        }
    }
    let promise = Promise::Within(LENGTHS_FACTOR_MAX);
    let axis = |name| Axis::new(name, "GiB of log", "CPU s/GB", promise);
    let mut axes = vec![axis("detect"), axis("ingest")];
    for (pieces, costs) in least {
        for (axis, cost) in axes.iter_mut().zip(costs) {
            axis.add(ratio(pieces, PIECES_OF_A_GIB), cost);
        }
    }
    axes
}

/// CPU seconds for a GB: lines are decoded and judged by the shipped rules, by one thread.
fn detected(rules: &RuleSet, pieces: usize) -> f64 {
    let (mut log, mut scratch) = (Log::of_corpus(), Scratch::default());
    let (mut seconds, mut bytes) = (0.0, 0);
    for _ in 0..pieces {
        let piece = log.next(PIECE_BYTES);
        let lines = matching::lines(&piece);
        seconds += common::seconds(ClockId::ThreadCPUTime, || {
            std::hint::black_box(matching::matched(rules, &mut scratch, &lines));
        });
        bytes += piece.len();
    }
    per_gb(seconds, bytes)
}

/// CPU seconds for a GB: all that `kustos ingest` does, by all threads, without what it took to make the log.
fn ingested(rules: &Arc<RuleSet>, pieces: usize) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::of_corpus();
    let (mut making, mut bytes) = (0.0, 0);
    let logs = (0..pieces).map(|at| {
        let mut made = PathBuf::new();
        making += common::seconds(ClockId::ThreadCPUTime, || {
            let piece = log.next(PIECE_BYTES);
            bytes += piece.len();
            made = rotated(dir.path(), at, &piece);
        });
        made
    });
    let all = common::seconds(ClockId::ProcessCPUTime, || {
        archived(&dir.path().join("archive"), rules, logs);
    });
    per_gb(all - making, bytes)
}

/// The next file of a log, in the place of the one before.
fn rotated(dir: &Path, at: usize, piece: &[u8]) -> PathBuf {
    let path = |at: usize| dir.join(format!("audit-{at}.log"));
    if at > 0 {
        std::fs::remove_file(path(at - 1)).unwrap();
    }
    std::fs::File::create(path(at))
        .and_then(|mut it| std::io::Write::write_all(&mut it, piece))
        .unwrap();
    path(at)
}

/// What rules cost that no event meets, on top of decoding.
fn rules_that_cannot_match() -> Vec<Axis> {
    let piece = Log::of_corpus().next(PIECE_BYTES);
    let lines = matching::lines(&piece);
    let promise = Promise::Times { from: 100.0, most: RULES_FACTOR_MAX };
    let mut axis = Axis::new("rules that cannot match", "rules", "CPU s/GB", promise);
    for count in RULES {
        let texts: Vec<String> = (0..count).map(family::foreign).collect();
        let rules = matching::set(false, &texts);
        let pairs = (0..RULE_ROUNDS).map(|_| matching::added(&rules, &lines)).collect();
        let pair = matching::median(pairs);
        assert_eq!(pair.matches, 0);
        axis.add(ratio(count, 1), per_gb(pair.added, piece.len()));
    }
    vec![axis]
}

/// What it costs to look an event up by its audit ID, from opening the archive to the event.
fn segments() -> Vec<Axis> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let promise = Promise::Times { from: ratio(SEGMENTS[0], 1), most: SEGMENTS_FACTOR_MAX };
    let mut axis = Axis::new("an event by its audit ID", "segments", "CPU ms", promise);
    for count in SEGMENTS {
        let scratch = tempfile::tempdir().unwrap();
        let Simulated { dir, audit_id } = Simulated::make(&runtime, scratch.path(), count as u64);
        let cost = asking::cost(LOOK_UPS, || simulated::found(&runtime, &dir, &audit_id));
        assert!(cost.rows > 0);
        axis.add(ratio(count, 1), cost.cpu * 1e3);
    }
    vec![axis]
}

fn per_gb(seconds: f64, bytes: usize) -> f64 {
    seconds / ratio(bytes, 1_000_000_000)
}

#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn ratio(of: usize, to: usize) -> f64 {
    of as f64 / to as f64
}
