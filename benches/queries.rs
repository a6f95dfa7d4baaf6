//! What questions cost: wall and CPU seconds, the median of some rounds, one line a figure.
//!
//! `CORPUS=FILE cargo bench --bench queries` takes another file than the genuine sample; `ARCHIVE=DIR` asks an archive
//! that is there. The eight queries are those that every log store is asked: one event, one user's hour, who read
//! secrets, counts, a text in bodies. Then one event is looked up in a simulated catalog of six years.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on should stop"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::index::{self, FANOUT, Wanted};
use kustos::archive::keep::Policy;
use kustos::archive::recover::Archive;
use kustos::clock::SystemClock;
use kustos::pipeline::archivist::{Archivist, ArchivistError, Pace};
use kustos::pipeline::history::HistoryError;
use kustos::pipeline::hunt::{Hunt, Hunted, hunt};
use kustos::pipeline::ingest::{Job, ingest};
use kustos::pipeline::lanes::Width;
use kustos::query::sql::Engine;
use kustos::rules;
use kustos::source::LINE_BYTES_MAX;
use kustos::source::open::Input;
use rustix::time::ClockId;

/// How often each query is asked after it was asked once.
const ROUNDS: usize = 9;

/// Segments of the simulated catalog: one every quarter of an hour for six years.
const SEGMENTS: u64 = 210_000;

/// Values of each of them in the index. A look-up reads one bucket of a run, however many there are.
const VALUES: u64 = 200;

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
    for (name, sql) in asked.queries() {
        print(name, || rows(&runtime, &engine, &sql).len());
    }
    segments(&dir);
    hunted(&dir, bytes);
    six_years(&runtime);
}

fn print(name: &str, mut ask: impl FnMut() -> usize) {
    let count = ask();
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut wall = 0.0;
        cpus.push(common::seconds(ClockId::ProcessCPUTime, || {
            wall = common::seconds(ClockId::Monotonic, || assert_eq!(ask(), count));
        }));
        walls.push(wall);
    }
    println!("{name:<34} {:>10.4} {:>10.4} {count:>8}", median(walls), median(cpus));
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// An archive of the corpus, sealed.
fn made(scratch: &Path) -> PathBuf {
    let log = match std::env::var_os("CORPUS") {
        Some(path) => PathBuf::from(path),
        None => {
            let log = scratch.join("audit.log");
            std::fs::File::create(&log)
                .and_then(|mut it| std::io::Write::write_all(&mut it, &common::corpus()))
                .unwrap();
            log
        }
    };
    let dir = scratch.join("archive");
    let clock = Arc::new(SystemClock);
    let routes = Arc::new(|_: &kustos::detect::Finding| Vec::new());
    let archive = Archive::open(&dir).unwrap();
    let mut archivist =
        Archivist::new(archive, clock.clone(), Policy::default(), routes, Pace::Full).unwrap();
    let job = Job {
        inputs: vec![Input::File(log)],
        cluster: "bench".into(),
        rules: Arc::new(rules::shipped(rules::Profile::Standard).unwrap()),
        clock,
        width: Width::default(),
        line_bytes_max: LINE_BYTES_MAX,
        stop: kustos::pipeline::Stop::default(),
        progress: Arc::default(),
    };
    let failures = ingest(&job, &mut archivist, |_, _| Ok::<(), ArchivistError>(())).unwrap();
    assert!(failures.is_empty());
    archivist.seal_all().unwrap();
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
        vec![
            ("a needle by audit ID", format!("SELECT time, verb, user, name FROM events WHERE audit_id = '{audit_id}'")),
            (
                "b one user, one hour",
                format!("SELECT time, verb, resource, namespace, name, code FROM events WHERE user = '{user}' AND time >= '{from}' AND time <= '{to}' ORDER BY time"),
            ),
            (
                "c secret reads by people",
                "SELECT time, user, verb, namespace, name FROM events WHERE resource = 'secrets' AND verb IN ('get', 'list', 'watch')
                 AND user NOT LIKE 'system:%' ORDER BY time DESC LIMIT 100".to_owned(),
            ),
            ("d count by verb, resource", "SELECT verb, resource, count(*) AS n FROM events GROUP BY verb, resource ORDER BY n DESC".to_owned()),
            (
                "e histogram for a user",
                format!("SELECT date_trunc('minute', time) AS m, count(*) AS n FROM events WHERE user = '{user}' GROUP BY m ORDER BY m"),
            ),
            ("f substring in bodies", "SELECT count(*) FROM events WHERE request_object LIKE '%privileged%'".to_owned()),
            ("g top users by 403", "SELECT user, count(*) AS n FROM events WHERE code = 403 GROUP BY user ORDER BY n DESC LIMIT 10".to_owned()),
            ("h first (user, resource)", "SELECT user, resource, min(time) AS t FROM events GROUP BY user, resource".to_owned()),
        ]
    }
}

/// The first column of an answer, as text.
fn rows(runtime: &tokio::runtime::Runtime, engine: &Engine, sql: &str) -> Vec<String> {
    runtime.block_on(async {
        let mut answer = engine.sql(sql).await.unwrap();
        let mut all = Vec::new();
        while let Some(batch) = answer.next().await.unwrap() {
            let first = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8);
            let first = first.unwrap();
            let texts = first.as_string::<i32>();
            all.extend((0..texts.len()).map(|it| texts.value(it).to_owned()));
        }
        all
    })
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
    let cost = per_gb(median(costs), bytes);
    println!(
        "hunt, {} rules: {cost:.3} CPU s/GB, {found} findings, {read} of {events} lines read",
        rules.len()
    );
}

/// Rules that, with the shipped ones, make about a hundred.
const HUNTED_FAMILY: usize = 81;

/// One event among the segments of six years. The catalog and the index are real; of the segments one is.
fn six_years(runtime: &tokio::runtime::Runtime) {
    let scratch = tempfile::tempdir().unwrap();
    let sample = include_str!("../tests/data/audit-sample.log");
    std::fs::File::create(scratch.path().join("sample.log"))
        .and_then(|mut it| std::io::Write::write_all(&mut it, sample.as_bytes()))
        .unwrap();
    let dir = {
        let archive = scratch.path().join("archive");
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_kustos"))
            .args(["ingest", "--cluster", "c", "--archive"])
            .arg(&archive)
            .arg(scratch.path().join("sample.log"))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.code().is_some_and(|it| it < 2));
        archive
    };
    let audit_id = {
        let engine = Engine::open(&dir).unwrap();
        rows(runtime, &engine, "SELECT audit_id FROM events WHERE audit_id IS NOT NULL ORDER BY seq LIMIT 1 OFFSET 900")
            .pop()
            .unwrap()
    };
    simulate(&dir);
    let wanted = || Wanted::of("audit_id", [Some(audit_id.as_str())]);
    println!(
        "{:<34} {:>10} {:>10} {:>8}",
        format!("{SEGMENTS} segments"),
        "wall s",
        "CPU s",
        "found"
    );
    let chosen = || {
        let scope = Scope { wanted: wanted(), ..Scope::default() };
        Catalog::open(&dir).unwrap().files(&scope).unwrap().len()
    };
    print("files that may hold an audit ID", chosen);
    let sql = format!("SELECT * FROM events WHERE audit_id = '{audit_id}'");
    print("the event, a new process's way", || {
        rows(runtime, &Engine::open(&dir).unwrap(), &sql).len()
    });
    let engine = Engine::open(&dir).unwrap();
    print("the event, asked again", || rows(runtime, &engine, &sql).len());
    let all = || Catalog::open(&dir).unwrap().files(&Scope::default()).unwrap().len();
    print("all files, not narrowed", all);
}

/// Puts the rows and runs of other segments behind those of the archive.
fn simulate(dir: &Path) {
    let catalog = Catalog::open(dir).unwrap();
    let first = catalog.ledger_head().unwrap().0;
    let mut conn = rusqlite::Connection::open(dir.join("catalog.sqlite")).unwrap();
    let tx = conn.transaction().unwrap();
    let manifest = "m".repeat(1_200);
    let signed = |it: u64| i64::try_from(it).unwrap();
    for place in first..SEGMENTS {
        let seq = signed(place * 300_000);
        let time = 1_700_000_000_000_000 + signed(place) * 900_000_000;
        tx.prepare_cached(
            "INSERT INTO segments VALUES (?1,'c','2024-01-01',300000,1,1,?2,?3,?4,?5,?5,?6,?6,?7,?8,0,NULL)",
        )
        .unwrap()
        .execute(rusqlite::params![
            format!("{seq:016}-{:016}", seq + 299_999),
            seq,
            seq + 299_999,
            time,
            time + 900_000_000,
            "0".repeat(64),
            manifest,
            signed(place)
        ])
        .unwrap();
    }
    let mut from = first;
    for slots in [FANOUT * FANOUT, FANOUT, 1] {
        while from + slots <= SEGMENTS {
            let name = format!("simulated-{from}");
            let values = (0..slots * VALUES).map(|it| (mixed(from * VALUES + it), it % slots));
            let (entries, bytes) = index::of_values(dir, &name, values, slots).unwrap();
            tx.execute(
                "INSERT INTO runs VALUES (?1,?2,0,?3,?4,?5)",
                rusqlite::params![
                    signed(from),
                    signed(from + slots - 1),
                    name,
                    signed(entries),
                    signed(bytes)
                ],
            )
            .unwrap();
            from += slots;
        }
    }
    tx.commit().unwrap();
}

/// Spreads numbers as hashes are spread (the finisher of SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
