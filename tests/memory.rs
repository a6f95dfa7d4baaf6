//! `ingest --memory SIZE`: the process stays under the size it was given, whatever the shape of the log.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot run its program should stop, and tells what it measured"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

mod common;
use common::{Ran, archive, kustos};

/// The least that `ingest` takes.
const LEAST: &str = "140MB";
const LEAST_BYTES: u64 = 140_000_000;

/// Hundredths of the budget that a build for development may take beyond it: its code is not optimised and larger.
const BEYOND: u64 = if cfg!(debug_assertions) { 10 } else { 0 };

/// Writes a log of that many lines.
fn log(path: &Path, lines: u32, line: impl Fn(u32, &mut dyn Write)) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    (0..lines).for_each(|it| line(it, &mut out));
    out.flush().unwrap();
}

/// An event as an API server writes it of a change, with both bodies.
fn change(at: u32, out: &mut dyn Write) {
    let (second, object) = (at / 100 % 60, at % 97);
    let body: String =
        (0..24).map(|it| format!(r#""key-{it}":"{}-{at}","#, "v".repeat(40))).collect();
    let body = format!(
        r#"{{"kind":"ConfigMap","metadata":{{"name":"map-{object}"}},"data":{{{body}"last":"{at}"}}}}"#
    );
    writeln!(
        out,
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"{at:08}-0000-4000-8000-000000000000","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/n/configmaps/map-{object}","verb":"update","user":{{"username":"system:serviceaccount:n:controller","groups":["system:authenticated"]}},"sourceIPs":["10.0.0.1"],"objectRef":{{"resource":"configmaps","namespace":"n","name":"map-{object}","apiVersion":"v1"}},"responseStatus":{{"code":200}},"requestObject":{body},"responseObject":{body},"requestReceivedTimestamp":"2026-11-23T10:00:{second:02}.{at:06}Z","stageTimestamp":"2026-11-23T10:00:{second:02}.{at:06}Z"}}"#
    )
    .unwrap();
}

/// An event that a shipped rule finds something in.
fn found(at: u32, out: &mut dyn Write) {
    let second = at / 1_000 % 60;
    writeln!(
        out,
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"{at:08}-0000-4000-8000-000000000000","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/kube-system/secrets","verb":"list","user":{{"username":"someone"}},"sourceIPs":["10.0.0.1"],"objectRef":{{"resource":"secrets","namespace":"kube-system","apiVersion":"v1"}},"responseStatus":{{"code":200}},"stageTimestamp":"2026-11-23T10:00:{second:02}.{at:06}Z"}}"#
    )
    .unwrap();
}

fn ingest(dir: &Path, log: &Path, memory: &[&str]) -> Ran {
    let mut arguments = vec![OsStr::new("ingest"), OsStr::new("-o"), OsStr::new("none")];
    arguments.extend(memory.iter().map(OsStr::new));
    arguments.extend([OsStr::new("--archive"), dir.as_os_str(), log.as_os_str()]);
    let ran = kustos(&arguments).ended(0);
    println!("{memory:?}, {}: {} MB", log.display(), ran.memory_kib * 1024 / 1_000_000);
    ran
}

/// Ingests a log with the least budget; it is kept whole and the budget is kept to.
fn bounded(lines: u32, line: impl Fn(u32, &mut dyn Write)) {
    let dir = tempfile::tempdir().unwrap();
    let (path, kept) = (dir.path().join("audit.log"), dir.path().join("archive"));
    log(&path, lines, line);
    let ran = ingest(&kept, &path, &["--memory", LEAST]);
    let most = LEAST_BYTES / 100 * (100 + BEYOND);
    assert!(ran.memory_kib > 0 && ran.memory_kib * 1024 < most, "{} KiB", ran.memory_kib);
    archive("verify", &kept).ended(0);
}

#[test]
fn a_log_with_bodies_is_kept_within_the_least_budget() {
    bounded(32_000, change);
}

#[test]
fn a_log_of_tiny_lines_is_kept_within_the_least_budget() {
    bounded(1_000_000, |_, out| out.write_all(b"1\n").unwrap());
}

#[test]
fn a_log_full_of_findings_is_kept_within_the_least_budget() {
    bounded(60_000, found);
}

#[test]
fn without_a_budget_that_small_more_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    log(&path, 32_000, change);
    let ran = ingest(&dir.path().join("archive"), &path, &[]);
    // Or else the tests above hold nothing.
    assert!(ran.memory_kib * 1024 > LEAST_BYTES / 100 * (100 + BEYOND), "{} KiB", ran.memory_kib);
}

#[test]
fn a_budget_that_is_too_small_or_no_size_is_refused() {
    for (memory, why) in [
        ("99MB", "--memory: 99MB of memory is too little; the least is 140MB"),
        ("200", "--memory: 200B of memory is too little; the least is 140MB"),
        ("much", "\"much\" is no size; write it like \"64MiB\""),
    ] {
        let arguments = ["ingest", "--archive", "a", "--memory", memory, "x"].map(OsStr::new);
        let ran = kustos(&arguments).ended(2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}
