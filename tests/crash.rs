//! The real process is killed at random moments and started again; and each durable step of it fails, is done
//! and said to have failed, takes a part of its bytes, or is the last. At the end every line is stored exactly once
//! and every finding is in the outbox exactly once.
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

mod common;

#[path = "crash/expiry.rs"]
mod expiry;
#[path = "crash/reload.rs"]
mod reload;

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
    let mut named: BTreeSet<PathBuf> =
        catalog.parts().unwrap().into_iter().map(|it| it.path).collect();
    let sealed = catalog.segments().unwrap().into_iter().filter(|it| it.expired.is_none());
    named.extend(sealed.map(|it| it.file.path));
    let there = files_below(archive);
    named.extend(catalog.run_files().unwrap());
    let ours = |it: &&PathBuf| {
        it.extension()
            .is_some_and(|it| ["parquet", "run", "tmp"].iter().any(|ending| it == *ending))
    };
    assert_eq!(named, there.iter().filter(ours).cloned().collect());
}

fn files_below(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    entries.flat_map(|it| if it.is_dir() { files_below(&it) } else { [it].into() }).collect()
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
    until(|| kept(archive) >= rows);
}

/// How many lines are kept. The daemon makes the catalog when it starts.
fn kept(archive: &Path) -> u64 {
    let files = Catalog::open(archive).and_then(|it| it.files(&Scope::default()));
    files.unwrap_or_default().iter().map(|it| it.rows).sum()
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

/// What becomes of a step. See `durable::fault`: a build without debug assertions has no faults.
const FAULTS: [&str; 3] = ["failed", "reported", "died"];

/// What becomes of a step that fills a file as well: a part of its bytes is in it, or none.
const TORN: [&str; 3] = ["torn:100", "lost:0", "lost:200"];

/// The steps that fill a file.
const FILLING: [&str; 4] =
    ["a file is written", "a file is synced", "a segment is written", "a run is written"];

/// Threads that try cases. They mostly wait for the disk.
const TRIERS: usize = 8;

/// A log, a rule that finds something in it, and what is to be found.
struct Case {
    dir: tempfile::TempDir,
    lines: Vec<String>,
    ids: BTreeSet<String>,
}

impl Case {
    fn new(count: usize) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<String> = lines().into_iter().take(count).collect();
        fs::write(dir.path().join("audit.log"), lines.join("\n") + "\n").unwrap();
        let rule =
            "title: T\nid: t\nlevel: high\ndetection: { s: { verb: create }, condition: s }\n";
        fs::write(dir.path().join("rule.yml"), rule).unwrap();
        let output = kustos(&["detect", "--cluster", "c", "-o", "ndjson", "--rules"])
            .args([dir.path().join("rule.yml"), dir.path().join("audit.log")])
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let id = |it: &str| {
            let finding: serde_json::Value = serde_json::from_str(it).unwrap();
            finding["id"].as_str().unwrap().to_owned()
        };
        let ids: BTreeSet<String> = text.lines().map(id).collect();
        assert!(!ids.is_empty(), "nothing is found, so nothing can be told twice");
        Case { dir, lines, ids }
    }

    fn ingest(&self, archive: &Path) -> Command {
        let mut command = kustos(&["ingest", "--cluster", "c", "--part-rows", "60", "--archive"]);
        command.arg(archive).arg("--rules").arg(self.dir.path().join("rule.yml"));
        command.arg(self.dir.path().join("audit.log"));
        command
    }

    fn configured(&self, archive: &Path) -> PathBuf {
        let text = format!(
            "archive: {{ dir: {}, part_age_max: 20ms, segment_age_max: 1s }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\n\
             rules: [{}]\nreload: {{ watch: false }}\nsources:\n  - {{ kind: file, cluster: c, path: {} }}\n",
            archive.display(),
            self.dir.path().join("rule.yml").display(),
            self.dir.path().join("audit.log").display()
        );
        let path = archive.with_extension("yaml");
        fs::write(&path, text).unwrap();
        path
    }
}

/// The names of the steps that a run took, in their order.
fn steps_of(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|it| it.split_once(' ').unwrap().1.to_owned()).collect()
}

/// Every fault that may come over each of these steps.
fn cases(steps: &[String], chosen: impl IntoIterator<Item = usize>) -> Vec<(usize, &'static str)> {
    let of = |step: usize| {
        let fills = FILLING.contains(&&*steps[step - 1]);
        let faults = FAULTS.into_iter().chain(TORN.into_iter().filter(move |_| fills));
        faults.map(move |it| (step, it))
    };
    chosen.into_iter().flat_map(of).collect()
}

/// Tries every one of these (step, fault), some at a time.
fn try_all(cases: Vec<(usize, &'static str)>, one: impl Fn(usize, &'static str) + Sync) {
    let left = std::sync::Mutex::new(cases);
    std::thread::scope(|scope| {
        for _ in 0..TRIERS {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some((step, fault)) = next else { return };
                    one(step, fault);
                }
            });
        }
    });
}

/// Whether the process ends over a step with that fault.
fn ends(fault: &str) -> bool {
    fault == "died" || fault.starts_with("lost")
}

fn faults_are_built_in() -> bool {
    let built_in = cfg!(debug_assertions);
    if !built_in {
        println!("skipped: this build has no faults");
    }
    built_in
}

#[test]
fn every_durable_step_of_a_back_fill_may_fail_be_misreported_or_be_the_last() {
    if !faults_are_built_in() {
        return;
    }
    let case = Case::new(150);
    let recorded = case.dir.path().join("recorded");
    let log = case.dir.path().join("steps");
    let mut command = case.ingest(&recorded);
    assert!(command.env("KUSTOS_FAULT_LOG", &log).status().unwrap().success());
    assert_kept_once(&recorded, &case.lines, &case.ids);
    let steps = steps_of(&log);
    for name in
        ["a commit is recorded", "a run is written", "a segment is recorded", "a file is removed"]
    {
        assert!(steps.iter().any(|it| it == name), "{name} is no step of {steps:?}");
    }
    println!("{} steps", steps.len());
    try_all(cases(&steps, 1..=steps.len()), |step, fault| {
        let archive = case.dir.path().join(format!("{step}-{fault}"));
        let said = format!("{step}:{fault}");
        let ended = case.ingest(&archive).env("KUSTOS_FAULT", &said).status().unwrap();
        assert!(ends(fault) || ended.code().is_some_and(|it| it != 101), "{said}: {ended}");
        let again = case.ingest(&archive).status().unwrap();
        assert!(again.success(), "after {said} ({}): {again}", steps[step - 1]);
        println!("{said} {}", steps[step - 1]);
        assert_kept_once(&archive, &case.lines, &case.ids);
        fs::remove_dir_all(&archive).unwrap();
    });
}

#[test]
fn every_durable_step_of_a_daemon_may_fail_be_misreported_or_be_the_last() {
    if !faults_are_built_in() {
        return;
    }
    let case = Case::new(60);
    let rows = case.lines.len() as u64;
    let log = case.dir.path().join("steps");
    let recorded = case.dir.path().join("recorded");
    let run = |archive: &Path, environment: &[(&str, &std::ffi::OsStr)]| {
        let mut command = kustos(&["run", "--config"]);
        command.arg(case.configured(archive)).envs(environment.iter().copied()).spawn().unwrap()
    };
    let mut child = run(&recorded, &[("KUSTOS_FAULT_LOG", log.as_os_str())]);
    wait_until_kept(&recorded, rows);
    until(|| sealed(&recorded));
    end(&mut child);
    let steps = steps_of(&log);
    println!("{} steps", steps.len());
    try_all(cases(&steps, 1..=steps.len()), |step, fault| {
        let archive = case.dir.path().join(format!("{step}-{fault}"));
        let said = format!("{step}:{fault}");
        let log = archive.with_extension("steps");
        let mut child = run(
            &archive,
            &[("KUSTOS_FAULT", said.as_ref()), ("KUSTOS_FAULT_LOG", log.as_os_str())],
        );
        // Until it has ended over it, or has met it and keeps every line all the same. It may have taken
        // fewer steps than the run that was recorded, and have done its work.
        let met = || (steps_of(&log).len() >= step || sealed(&archive)) && kept(&archive) >= rows;
        until(|| child.try_wait().unwrap().is_some() || met());
        kill(&mut child);
        println!("{said} {}", steps[step - 1]);
        // Opens what is left, reads on where it was left, and says when it has done so.
        let again = case.ingest(&archive).status().unwrap();
        assert!(again.success(), "after {said} ({}): {again}", steps[step - 1]);
        assert_kept_once(&archive, &case.lines, &without_kustos_own(&archive, &case.ids));
        fs::remove_dir_all(&archive).unwrap();
    });
}

/// What is to be found, and what kustos says of the archive itself where it could not be written.
fn without_kustos_own(archive: &Path, ids: &BTreeSet<String>) -> BTreeSet<String> {
    let found = Catalog::open(archive).unwrap().findings(u64::MAX).unwrap();
    let own = found.into_iter().filter(|it| it.rule.starts_with("kustos-archive-"));
    ids.iter().cloned().chain(own.map(|it| it.id)).collect()
}

fn sealed(archive: &Path) -> bool {
    let Ok(catalog) = Catalog::open(archive) else { return false };
    catalog.segments().is_ok_and(|it| !it.is_empty())
        && catalog.parts().is_ok_and(|it| it.is_empty())
}

fn until(mut true_at_last: impl FnMut() -> bool) {
    let since = Instant::now();
    while !true_at_last() {
        assert!(since.elapsed() < Duration::from_secs(60), "it did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}
