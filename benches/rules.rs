//! What rules cost on top of decoding: CPU seconds per GB, with the shipped rules and with 3,000.
//!
//! `CORPUS=FILE cargo bench --bench rules` takes another file than the genuine sample. Every round
//! decodes the corpus alone and then decodes and matches it, so that a row's figure is a difference
//! of neighbours in time; the median over the rounds is printed. As in a worker, a chunk's lines are all
//! decoded before the first is matched. `rsigma-eval` runs the same rules
//! over the first events of the same corpus. Matches are counted, and must be as many as trying every
//! rule on every event gives.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on should stop"
)]

mod common;

use common::family;
use common::matching::{self, Added, matched, set};
use kustos::decode;
use kustos::rules::{RuleSet, Scratch};
use rsigma_eval::Engine;
use rsigma_eval::event::JsonEvent;
use rsigma_parser::parse_sigma_yaml;
use rustix::time::ClockId;

/// Pairs of runs per row; the median pair is printed.
const ROUNDS: usize = 7;

/// Lines that every rule is tried on, and bytes that `rsigma-eval` is given: both are slow.
const CHECKED_LINES: usize = 20_000;
const PEER_BYTES: usize = 16 << 20;

/// Rules of the family beside the shipped ones.
const HUNDRED: usize = 81;
const THOUSANDS: usize = 2_981;
const FOREIGN: usize = 1_000;

fn main() {
    let corpus = common::corpus();
    let lines = matching::lines(&corpus);
    println!(
        "{} MB, {} events; CPU time of one thread, median of {ROUNDS} pairs",
        corpus.len() / 1_000_000,
        lines.len()
    );
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>10} {:>9}",
        "rules", "CPU s/GB", "added", "ns/event", "of decode", "matches"
    );
    let family = |count| (0..count).map(family::rule).collect::<Vec<_>>();
    let foreign: Vec<String> = (0..FOREIGN).map(family::foreign).collect();
    let hundred = set(true, &family(HUNDRED));
    let rows = [
        ("none: decode", set(false, &[])),
        ("shipped", set(true, &[])),
        ("shipped and family", hundred),
        ("and 1,000 that cannot match", set(true, &[family(HUNDRED), foreign].concat())),
        ("shipped and family", set(true, &family(THOUSANDS))),
    ];
    let only = std::env::var("ROW").ok().and_then(|it| it.parse().ok());
    for (_, (name, rules)) in
        rows.iter().enumerate().filter(|(at, _)| only.is_none_or(|it: usize| it == *at))
    {
        row(&corpus, &lines, &format!("{}: {name}", rules.len()), rules);
        if only.is_none() {
            check(&lines, rules);
        }
    }
    if only.is_some() {
        return;
    }
    for count in [HUNDRED, THOUSANDS] {
        peer(&lines, &family(count));
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn row(corpus: &[u8], lines: &[&[u8]], name: &str, rules: &RuleSet) {
    let pairs = (0..ROUNDS).map(|_| matching::added(rules, lines)).collect();
    let Added { decode, added, matches } = matching::median(pairs);
    let gigabytes = corpus.len() as f64 / 1e9;
    println!(
        "{name:<44} {:>9.3} {:>9.3} {:>9.0} {:>9.2}x {matches:>9}",
        (decode + added) / gigabytes,
        added / gigabytes,
        added * 1e9 / lines.len() as f64,
        added / decode
    );
}

/// The index may leave no match out.
fn check(lines: &[&[u8]], rules: &RuleSet) {
    let (mut scratch, mut found, mut all) = (Scratch::default(), Vec::new(), Vec::new());
    for line in lines.iter().take(CHECKED_LINES) {
        let Ok(event) = decode::line(line) else { continue };
        rules.matches(&event, &mut scratch, &mut found);
        rules.matches_unindexed(&event, &mut scratch, &mut all);
        assert_eq!(found, all, "{}", String::from_utf8_lossy(line));
    }
}

/// The same rules and events through `rsigma-eval`.
#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn peer(lines: &[&[u8]], texts: &[String]) {
    let mut bytes = 0;
    let enough = |line: &&&[u8]| {
        bytes += line.len() + 1;
        bytes <= PEER_BYTES
    };
    let lines: Vec<&[u8]> = lines.iter().take_while(enough).copied().collect();
    let gigabytes = lines.iter().map(|it| it.len() + 1).sum::<usize>() as f64 / 1e9;
    let mut engine = Engine::new();
    for text in texts {
        engine.add_collection(&parse_sigma_yaml(text).unwrap()).unwrap();
    }
    let (mut theirs, mut ours) = (0, 0);
    let peer = common::seconds(ClockId::ThreadCPUTime, || {
        for line in &lines {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            theirs += engine.evaluate(&JsonEvent::borrow(&value)).len();
        }
    });
    let rules = set(false, texts);
    let own = common::seconds(ClockId::ThreadCPUTime, || {
        ours = matched(&rules, &mut Scratch::default(), &lines);
    });
    println!(
        "rsigma-eval, {} rules of the family: {:.2} CPU s/GB, {theirs} matches; kustos, the same: {:.2}, {ours}; {:.0}x",
        texts.len(),
        peer / gigabytes,
        own / gigabytes,
        peer / own
    );
    assert_eq!(ours, theirs);
}
