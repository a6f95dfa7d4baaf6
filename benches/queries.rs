//! What questions cost: wall and CPU seconds, the median of some rounds, one line a figure.
//!
//! `CORPUS=FILE cargo bench --bench queries` takes another file than the genuine sample; `ARCHIVE=DIR` asks an archive
//! that is there. The eight queries are those that every log store is asked: one event, one user's hour, who read
//! secrets, counts, a text in bodies. Then one event is looked up in a simulated catalog of six years.
//!
//! `QUESTIONS=FILE` asks the eight alone and writes each one's SQL, seconds and rows there as JSON, for who asks another
//! engine the same.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on should stop"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::archive::archived;
use common::asking::{self, Cost, rows};
use common::simulated::{self, Simulated};
use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::index::{self, Wanted};
use kustos::pipeline::history::HistoryError;
use kustos::pipeline::hunt::{Hunt, Hunted, hunt};
use kustos::query::sql::Engine;
use kustos::rules;
use rustix::time::ClockId;

/// How often each query is asked after it was asked once.
const ROUNDS: usize = 9;

/// Segments of the simulated catalog: one every quarter of an hour for six years.
const SEGMENTS: u64 = 210_000;

fn main() {
    let scratch = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = match std::env::var_os("ARCHIVE") {
        Some(dir) => PathBuf::from(dir),
        None => made(scratch.path()),
    };
    let engine = Engine::open(&dir).unwrap();
    let asked = Asked::of(&runtime, &engine);
    let bytes: u64 = Catalog::open(&dir)
        .unwrap()
        .files(&Scope::default())
        .unwrap()
        .iter()
        .map(|it| it.bytes_in)
        .sum();
    println!("{} MB of lines; {} rounds", bytes / 1_000_000, ROUNDS);
    println!("{:<34} {:>10} {:>10} {:>8}", "query", "wall s", "CPU s", "rows");
    let mut told = serde_json::Map::new();
    for (name, sql) in asked.queries() {
        let cost = print(name, || asking::count(&runtime, &engine, &sql));
        let answer = serde_json::json!({"sql": sql, "seconds": cost.wall, "rows": cost.rows});
        told.insert(name.to_owned(), answer);
    }
    if let Some(path) = std::env::var_os("QUESTIONS") {
        return serde_json::to_writer(std::fs::File::create(path).unwrap(), &told).unwrap();
    }
    segments(&dir);
    hunted(&dir, bytes);
    six_years(&runtime);
}

fn print(name: &str, ask: impl FnMut() -> usize) -> Cost {
    let cost = asking::cost(ROUNDS, ask);
    println!("{name:<34} {:>10.4} {:>10.4} {:>8}", cost.wall, cost.cpu, cost.rows);
    cost
}

/// An archive of the corpus, sealed.
fn made(scratch: &Path) -> PathBuf {
    let log = std::env::var_os("CORPUS").map_or_else(
        || {
            let log = scratch.join("audit.log");
            std::fs::File::create(&log)
                .and_then(|mut it| std::io::Write::write_all(&mut it, &common::corpus()))
                .unwrap();
            log
        },
        PathBuf::from,
    );
    let dir = scratch.join("archive");
    let rules = Arc::new(rules::shipped(rules::Profile::Standard).unwrap());
    archived(&dir, &rules, [log]);
    dir
}

/// What the queries ask for, which the archive itself tells.
struct Asked {
    audit_id: String,
    user: String,
    from: String,
    to: String,
}

impl Asked {
    fn of(runtime: &tokio::runtime::Runtime, engine: &Engine) -> Asked {
        let one = |sql: &str| rows(runtime, engine, sql).pop().unwrap();
        let user = "SELECT user FROM events WHERE user NOT LIKE 'system:%' GROUP BY user ORDER BY count(*) DESC, user LIMIT 1";
        let user = one(user);
        let middle = "SELECT CAST(to_timestamp_micros((min(CAST(time AS BIGINT)) + max(CAST(time AS BIGINT))) / 2) AS VARCHAR) FROM events";
        let hour = "SELECT CAST(max(time) - INTERVAL '1 hour' AS VARCHAR) FROM events";
        Asked {
            audit_id: one(
                "SELECT audit_id FROM events WHERE audit_id IS NOT NULL ORDER BY seq DESC LIMIT 1 OFFSET 1000",
            ),
            from: one(hour),
            to: one(middle).max(one("SELECT CAST(max(time) AS VARCHAR) FROM events")),
            user,
        }
    }

    fn queries(&self) -> Vec<(&'static str, String)> {
        let Asked { audit_id, user, from, to } = self;
        // `user` in quotes: to DuckDB, which is asked the same, the bare word is who asks.
        vec![
            ("a needle by audit ID", format!(r#"SELECT time, verb, "user", name FROM events WHERE audit_id = '{audit_id}'"#)),
            (
                "b one user, one hour",
                format!(r#"SELECT time, verb, resource, namespace, name, code FROM events WHERE "user" = '{user}' AND time >= '{from}' AND time <= '{to}' ORDER BY time"#),
            ),
            (
                "c secret reads by people",
                r#"SELECT time, "user", verb, namespace, name FROM events WHERE resource = 'secrets' AND verb IN ('get', 'list', 'watch')
                 AND "user" NOT LIKE 'system:%' ORDER BY time DESC LIMIT 100"#.to_owned(),
            ),
            ("d count by verb, resource", "SELECT verb, resource, count(*) AS n FROM events GROUP BY verb, resource ORDER BY n DESC".to_owned()),
            (
                "e histogram for a user",
                format!(r#"SELECT date_trunc('minute', time) AS m, count(*) AS n FROM events WHERE "user" = '{user}' GROUP BY m ORDER BY m"#),
            ),
            ("f substring in bodies", "SELECT count(*) FROM events WHERE request_object LIKE '%privileged%'".to_owned()),
            ("g top users by 403", r#"SELECT "user", count(*) AS n FROM events WHERE code = 403 GROUP BY "user" ORDER BY n DESC LIMIT 10"#.to_owned()),
            ("h first (user, resource)", r#"SELECT "user", resource, min(time) AS t FROM events GROUP BY "user", resource"#.to_owned()),
        ]
    }
}

/// What the index costs: to make it of the archive's segments, and its bytes.
fn segments(dir: &Path) {
    let catalog = Catalog::open(dir).unwrap();
    let files = catalog.files(&Scope::default()).unwrap();
    let bytes_in: u64 = files.iter().map(|it| it.bytes_in).sum();
    let scratch = tempfile::tempdir().unwrap();
    let mut entries = 0;
    let seconds = common::seconds(ClockId::ProcessCPUTime, || {
        for (at, file) in files.iter().enumerate() {
            let values = index::values(&file.path).unwrap();
            let values = values.into_iter().map(|it| (it, 0));
            entries += index::of_values(scratch.path(), &at.to_string(), values, 1).unwrap().0;
        }
    });
    let stored: u64 = catalog.runs().unwrap().iter().map(|it| it.bytes).sum();
    let events: u64 = files.iter().map(|it| it.rows).sum();
    println!(
        "index: {:.4} CPU s/GB of lines, {entries} entries of {events} events",
        per_gb(seconds, bytes_in)
    );
    #[expect(clippy::cast_precision_loss, reason = "two digits are printed")]
    let each = stored as f64 / events as f64;
    println!("index: {each:.2} bytes an event");
}

#[expect(clippy::cast_precision_loss, reason = "four digits are printed")]
fn per_gb(seconds: f64, bytes: u64) -> f64 {
    seconds / (bytes as f64 / 1e9)
}

/// A hunt with a hundred rules.
fn hunted(dir: &Path, bytes: u64) {
    let family = (0..HUNTED_FAMILY).map(common::family::rule);
    let texts = family.enumerate().map(|(at, it)| (format!("rule-{at}.yml"), it));
    let texts: Vec<(String, String)> = texts.collect();
    let shipped = rules::shipped(rules::Profile::Standard).unwrap();
    let texts = texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let texts = shipped.texts().chain(texts);
    let rules = rules::load_text(texts, &rules::LoadOptions::default()).unwrap().rules;
    let rules = Arc::new(rules);
    let (mut found, mut read, mut events) = (0, 0, 0);
    let mut costs = Vec::new();
    for _ in 0..3 {
        (found, read, events) = (0, 0, 0);
        costs.push(common::seconds(ClockId::ProcessCPUTime, || {
            let job = Hunt {
                dirs: &[dir.to_owned()],
                scope: Scope::default(),
                rules: &rules,
                workers: 1,
                stop: &kustos::pipeline::Stop::default(),
            };
            let take = |it: Hunted| {
                found += it.findings.len();
                read += it.read;
                events += it.events;
                Ok::<(), HistoryError>(())
            };
            hunt(&job, take).unwrap();
        }));
    }
    let cost = per_gb(common::median(costs), bytes);
    println!(
        "hunt, {} rules: {cost:.3} CPU s/GB, {found} findings, {read} of {events} lines read",
        rules.len()
    );
}

/// Rules that, with the shipped ones, make about a hundred.
const HUNTED_FAMILY: usize = 81;

/// One event among the segments of six years.
fn six_years(runtime: &tokio::runtime::Runtime) {
    let scratch = tempfile::tempdir().unwrap();
    let Simulated { dir, audit_id } = Simulated::make(runtime, scratch.path(), SEGMENTS);
    println!(
        "{:<34} {:>10} {:>10} {:>8}",
        format!("{SEGMENTS} segments"),
        "wall s",
        "CPU s",
        "found"
    );
    let chosen = || {
        let wanted = Wanted::of("audit_id", [Some(audit_id.as_str())]);
        let scope = Scope { wanted, ..Scope::default() };
        Catalog::open(&dir).unwrap().files(&scope).unwrap().len()
    };
    print("files that may hold an audit ID", chosen);
    print("the event, a new process's way", || simulated::found(runtime, &dir, &audit_id));
    let engine = Engine::open(&dir).unwrap();
    let sql = simulated::question(&audit_id);
    print("the event, asked again", || asking::count(runtime, &engine, &sql));
    let all = || Catalog::open(&dir).unwrap().files(&Scope::default()).unwrap().len();
    print("all files, not narrowed", all);
}
