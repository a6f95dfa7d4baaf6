//! The real process is killed at random moments and started again. At the end every line is
//! stored exactly once and every finding is in the outbox exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that cannot go on should stop"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::read;
use kustos::archive::verify::{State, verify};
use kustos::seal::leaf::leaf;

/// How often each process is killed.
const KILLS: u32 = 50;

/// How often the genuine sample is repeated, each time with other audit IDs.
const COPIES: usize = 12;

/// A seeded generator (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    /// `KUSTOS_SEED` repeats a run.
    fn seeded() -> Random {
        let seed = std::env::var("KUSTOS_SEED")
            .ok()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0x9e37_79b9_7f4a_7c15);
        println!("KUSTOS_SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

fn lines() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audit-sample.log");
    let sample: Vec<String> =
        BufReader::new(File::open(path).unwrap()).lines().map(Result::unwrap).collect();
    let copy = |copy: usize| {
        sample
            .iter()
            .map(move |it| it.replacen("\"auditID\":\"", &format!("\"auditID\":\"{copy}-"), 1))
    };
    (0..COPIES).flat_map(copy).collect()
}

fn kustos(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kustos"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The ids that `detect` finds in a file.
fn ids(file: &Path, cluster: &str) -> BTreeSet<String> {
    let output = kustos(&["detect", "--cluster", cluster, "-o", "ndjson"])
        .arg(file)
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let id = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

/// Asserts that the archive holds exactly these lines and findings, each once, and is whole.
fn assert_kept_once(archive: &Path, lines: &[String], ids: &BTreeSet<String>) {
    let catalog = Catalog::open(archive).unwrap();
    let mut stored: BTreeMap<[u8; 32], i64> = BTreeMap::new();
    let mut places = BTreeSet::new();
    for file in catalog.files(&Scope::default()).unwrap() {
        read::lines(&file.path, |line| {
            *stored.entry(leaf(line.bytes)).or_default() += 1;
            assert!(places.insert(line.seq), "two events have the place {}", line.seq);
        })
        .unwrap();
    }
    for line in lines {
        *stored.entry(leaf(line.as_bytes())).or_default() -= 1;
    }
    let lost = stored.values().filter(|it| **it < 0).count();
    let doubled = stored.values().filter(|it| **it > 0).count();
    assert_eq!((lost, doubled), (0, 0), "lines lost, lines stored twice or unknown");
    let found: Vec<String> =
        catalog.findings(u64::MAX).unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(found.len(), ids.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), *ids);
    let outbox = catalog.outbox_counts().unwrap();
    assert_eq!(outbox.pending + outbox.sent + outbox.dead, ids.len() as u64);
    verify(archive, |report| {
        assert_eq!(report.state, State::Whole, "{} {}", report.kind, report.id)
    })
    .unwrap();
    assert_no_left_overs(archive, &catalog);
}

fn assert_no_left_overs(archive: &Path, catalog: &Catalog) {
    let named: BTreeSet<PathBuf> = catalog.parts().unwrap().into_iter().map(|it| it.path).collect();
    let there: BTreeSet<PathBuf> =
        fs::read_dir(archive.join("parts")).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(named, there);
}

#[test]
fn a_back_fill_that_is_killed_keeps_every_line_once() {
    let (dir, lines, mut random) = (tempfile::tempdir().unwrap(), lines(), Random::seeded());
    let (log, archive) = (dir.path().join("audit.log"), dir.path().join("archive"));
    fs::write(&log, lines.join("\n") + "\n").unwrap();
    let ingest = || {
        let mut command = kustos(&["ingest", "--cluster", "c", "--part-rows", "500", "--archive"]);
        command.arg(&archive).arg(&log);
        command
    };
    let mut killed = 0;
    for _ in 0..KILLS {
        let mut child = ingest().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(250)));
        if child.try_wait().unwrap().is_none() {
            killed += 1;
        }
        kill(&mut child);
    }
    assert!(killed >= 10, "only {killed} of {KILLS} processes lived long enough to be killed");
    assert!(ingest().status().unwrap().success());
    assert_kept_once(&archive, &lines, &ids(&log, "c"));
}

#[test]
fn a_daemon_that_is_killed_keeps_every_line_of_a_growing_file_once() {
    let (dir, lines, mut random) = (tempfile::tempdir().unwrap(), lines(), Random::seeded());
    let (log, archive) = (dir.path().join("audit.log"), dir.path().join("archive"));
    let config = dir.path().join("kustos.yaml");
    let text = format!(
        "archive: {{ dir: {}, part_age_max: 50ms, segment_age_max: 1s }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\n\
         sources:\n  - {{ kind: file, cluster: c, path: {} }}\n",
        archive.display(),
        log.display()
    );
    fs::write(&config, text).unwrap();
    let run = || kustos(&["run", "--config"]).arg(&config).spawn().unwrap();
    let mut written = lines.chunks(lines.len() / KILLS as usize + 1);
    for round in 0..KILLS {
        let mut child = run();
        let mut file = File::options().create(true).append(true).open(&log).unwrap();
        let batch = written.next().unwrap_or_default().join("\n") + "\n";
        // In two writes, cut anywhere: the first leaves half a line.
        let (first, second) = batch.as_bytes().split_at(batch.len() / 2);
        file.write_all(first).unwrap();
        std::thread::sleep(Duration::from_millis(random.below(200)));
        file.write_all(second).unwrap();
        std::thread::sleep(Duration::from_millis(random.below(200)));
        // Now and then the log is rotated as an API server does it: before the process dies, and
        // more often while it is dead.
        if round % 7 == 3 {
            rotate(&log, round);
        }
        kill(&mut child);
        if round % 5 == 2 {
            rotate(&log, round);
        }
    }
    let mut child = run();
    let rest: String = written.flatten().map(|it| it.clone() + "\n").collect();
    File::options()
        .create(true)
        .append(true)
        .open(&log)
        .unwrap()
        .write_all(rest.as_bytes())
        .unwrap();
    wait_until_kept(&archive, lines.iter().filter(|it| !it.is_empty()).count() as u64);
    end(&mut child);
    let all = dir.path().join("all.log");
    fs::write(&all, lines.join("\n") + "\n").unwrap();
    assert_kept_once(&archive, &lines, &ids(&all, "c"));
}

/// Renames the log to the moment of its rotation, as lumberjack does.
fn rotate(log: &Path, round: u32) {
    if log.exists() {
        fs::rename(log, log.with_file_name(format!("audit-2026-11-23T03-{round:02}-00.000.log")))
            .unwrap();
    }
}

fn wait_until_kept(archive: &Path, rows: u64) {
    let since = Instant::now();
    loop {
        let kept: u64 = Catalog::open(archive)
            .unwrap()
            .files(&Scope::default())
            .unwrap()
            .iter()
            .map(|it| it.rows)
            .sum();
        if kept >= rows {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{kept} of {rows} lines are kept");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `kill -9`: nothing the process could do about it.
fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// SIGTERM, and the end it asks for.
fn end(child: &mut Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}
