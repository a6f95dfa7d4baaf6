//! Genuine logs into an archive and back: nothing lost, nothing changed, nothing kept twice, and
//! nothing altered afterwards without `archive verify` saying so.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{Lines, archive, corpus, count, files, ingest, kustos, lines, sample, status};
use serde_json::Value;
use tempfile::TempDir;

/// Inputs that go into the archive under one name.
struct Cluster {
    name: String,
    inputs: Vec<PathBuf>,
}

/// What the inputs of a cluster hold, told without the program.
#[derive(Default)]
struct Held {
    /// Line feeds: what `wc -l` says.
    feeds: usize,
    lines: Lines,
    json: bool,
}

#[test]
fn the_sample_comes_back_byte_for_byte() {
    let cluster = Cluster { name: "sample".to_owned(), inputs: vec![sample()] };
    round_trip(&[cluster]);
}

#[test]
fn every_genuine_log_comes_back_byte_for_byte() {
    let Some(corpus) = corpus() else { return };
    let mut clusters = Vec::new();
    for (folder, endings) in [("logs", &["zst", "gz", "log"][..]), ("webhook", &["body"])] {
        let mut runs: Vec<PathBuf> =
            fs::read_dir(corpus.join(folder)).unwrap().map(|it| it.unwrap().path()).collect();
        runs.sort();
        for run in runs {
            let name = format!("{folder}-{}", run.file_name().unwrap().to_str().unwrap());
            clusters.push(Cluster { name, inputs: files(&run, endings) });
        }
    }
    let samples = files(&corpus.join("samples"), &["json", "txt"]);
    clusters.push(Cluster { name: "samples".to_owned(), inputs: samples });
    assert!(clusters.len() >= 10 && clusters.iter().all(|it| !it.inputs.is_empty()));
    let dir = round_trip(&clusters);
    // `--audit-log-format=legacy` is text, and its events are read like any other.
    assert!(common::marked(dir.path(), "logs-W-blocking-webhook").is_empty());
    assert!(common::marked(dir.path(), "logs-B-mixed").is_empty());
}

/// Keeps every cluster, compares what is kept with what was given, and keeps it all again.
fn round_trip(clusters: &[Cluster]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    for cluster in clusters {
        let held = held(cluster);
        let ran = ingest(dir.path(), &cluster.name, &cluster.inputs).ended(0);
        assert!(ran.stderr.starts_with("kept "), "{}: {}", cluster.name, ran.stderr);
        let rows = common::stored(dir.path(), &cluster.name);
        total += rows.len();
        let mut stored = Lines::new();
        common::unwrapped(&rows).iter().for_each(|it| count(&mut stored, it));
        assert!(stored == held.lines, "{}: other lines came back", cluster.name);
        if held.json {
            assert_eq!(counted(dir.path(), &cluster.name), held.feeds, "{}", cluster.name);
        }
    }
    assert_eq!(status(dir.path())["events"], total);
    let verified = archive("verify", dir.path()).ended(0).rows();
    assert!(verified.iter().all(|it| it["state"] == "whole"), "{verified:?}");
    for cluster in clusters {
        let again = ingest(dir.path(), &cluster.name, &cluster.inputs).ended(0);
        assert!(again.stderr.starts_with("kept 0 lines"), "{}: {}", cluster.name, again.stderr);
    }
    assert_eq!(status(dir.path())["events"], total);
    dir
}

/// What a cluster's inputs hold. A POST that was repeated is a file with the same bytes: it is
/// kept once.
fn held(cluster: &Cluster) -> Held {
    let mut held = Held { json: cluster.name.starts_with("logs-"), ..Held::default() };
    let mut seen = std::collections::BTreeSet::new();
    for input in &cluster.inputs {
        let log = common::uncompressed(input);
        if !seen.insert(kustos::seal::leaf::digest(&log)) {
            continue;
        }
        held.feeds += log.iter().filter(|it| **it == b'\n').count();
        lines(&log).for_each(|it| count(&mut held.lines, it));
    }
    held
}

fn counted(dir: &Path, cluster: &str) -> usize {
    let sql = format!("SELECT count(*) AS n FROM events WHERE cluster = '{cluster}'");
    let arguments =
        [OsStr::new("query"), "-o".as_ref(), "ndjson".as_ref(), "--archive".as_ref(), dir.as_ref()];
    let ran = kustos(&[&arguments[..], &[OsStr::new(&sql)]].concat()).ended(0);
    usize::try_from(ran.rows()[0]["n"].as_u64().unwrap()).unwrap()
}

#[test]
fn the_same_file_twice_in_one_run_does_not_spoil_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let one = common::put(&dir.path().join("one.log"), b"{\"a\":1}\n{\"a\":2}\n");
    let copy = common::put(&dir.path().join("copy.log"), b"{\"a\":1}\n{\"a\":2}\n");
    // The same first line, and then another.
    let other = common::put(&dir.path().join("other.log"), b"{\"a\":1}\n{\"b\":2}\n");
    let kept = dir.path().join("archive");
    let inputs = [one, copy, other];
    ingest(&kept, "c", &inputs).ended(0);
    let held = common::stored_lines(&kept, None);
    let mut want = Lines::new();
    for text in [&b"{\"a\":1}"[..], b"{\"a\":1}", b"{\"a\":2}", b"{\"b\":2}"] {
        count(&mut want, text);
    }
    assert!(held == want, "the copy is kept once, the other file whole");
    let again = ingest(&kept, "c", &inputs).ended(0);
    assert!(again.stderr.starts_with("kept 0 lines"), "{}", again.stderr);
}

#[test]
fn a_copy_that_is_compressed_or_renamed_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("archive");
    ingest(&kept, "c", &[sample()]).ended(0);
    let log = fs::read(sample()).unwrap();
    let copy = dir.path().join("renamed.log.zst");
    common::put(&copy, &zstd::encode_all(&log[..], 1).unwrap());
    let again = ingest(&kept, "c", &[copy]).ended(0);
    assert!(again.stderr.starts_with("kept 0 lines"), "{}", again.stderr);
}

/// An archive of the sample with a segment in it.
fn sealed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    ingest(dir.path(), "c", &[sample()]).ended(0);
    dir
}

/// The segment's file.
fn segment(dir: &Path) -> PathBuf {
    let mut folders = vec![dir.join("segments")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "parquet") {
                return path;
            }
        }
    }
    panic!("no segment below {}", dir.display());
}

/// What `archive verify` finds fault with: kind and state.
#[track_caller]
fn faults(dir: &Path) -> Vec<(String, String)> {
    let ran = archive("verify", dir).ended(1);
    let text = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    let rows = ran.rows();
    let bad = rows.iter().filter(|it| it["state"] != "whole");
    bad.map(|it| (text(it, "kind"), text(it, "state"))).collect()
}

fn sql(dir: &Path, statement: &str) {
    let catalog = rusqlite::Connection::open(dir.join("catalog.sqlite")).unwrap();
    assert!(catalog.execute(statement, []).unwrap() > 0, "{statement} changed nothing");
}

fn pair(kind: &str, state: &str) -> Vec<(String, String)> {
    vec![(kind.to_owned(), state.to_owned())]
}

#[test]
fn one_byte_of_a_segment_changed_is_told() {
    let dir = sealed();
    let file = segment(dir.path());
    let whole = fs::read(&file).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    for at in [4, whole.len() / 2, whole.len() - 9] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        common::put(&file, &bytes);
        assert_eq!(faults(dir.path()), pair("segment", "altered"), "byte {at}");
        let rows = archive("verify", dir.path()).rows();
        let named = rows.iter().find(|it| it["state"] == "altered").unwrap();
        assert!(file.to_str().unwrap().contains(named["id"].as_str().unwrap()), "{named}");
    }
    common::put(&file, &whole);
    archive("verify", dir.path()).ended(0);
}

#[test]
fn a_segment_that_was_deleted_is_told() {
    let dir = sealed();
    fs::remove_file(segment(dir.path())).unwrap();
    assert_eq!(faults(dir.path()), pair("segment", "missing"));
}

#[test]
fn a_segment_that_was_deleted_with_its_row_is_told() {
    let dir = sealed();
    fs::remove_file(segment(dir.path())).unwrap();
    sql(dir.path(), "DELETE FROM segments");
    assert!(!faults(dir.path()).is_empty());
}

#[test]
fn a_removal_that_the_ledger_does_not_know_is_told() {
    let dir = sealed();
    fs::remove_file(segment(dir.path())).unwrap();
    sql(dir.path(), "UPDATE segments SET expired = 1");
    assert!(!faults(dir.path()).is_empty());
}

#[test]
fn a_row_and_a_manifest_that_agree_and_are_not_the_ledgers_are_told() {
    let dir = sealed();
    sql(
        dir.path(),
        "UPDATE segments SET retain_until = 1, manifest = json_set(manifest, '$.retainUntil', 1)",
    );
    assert!(!faults(dir.path()).is_empty());
}

#[test]
fn a_row_that_hides_a_segment_from_a_time_is_told() {
    let dir = sealed();
    sql(dir.path(), "UPDATE segments SET time_first = 1, time_last = 2");
    assert!(!faults(dir.path()).is_empty());
}

#[test]
fn an_entry_of_the_ledger_changed_is_told() {
    let dir = sealed();
    sql(dir.path(), "UPDATE ledger SET entry = replace(entry, '\"rows\":', '\"rows\": ')");
    let found = faults(dir.path());
    assert!(found.contains(&("ledger".to_owned(), "altered".to_owned())), "{found:?}");
}

#[test]
fn an_entry_and_its_leaf_changed_are_told() {
    let dir = sealed();
    sql(dir.path(), "UPDATE ledger SET entry = 'x', leaf = replace(leaf, 'a', 'b')");
    let found = faults(dir.path());
    assert!(found.contains(&("ledger".to_owned(), "altered".to_owned())), "{found:?}");
}

#[test]
fn the_newest_entries_cut_off_are_told() {
    let dir = sealed();
    let more =
        common::put(&dir.path().join("more.log"), b"{\"auditID\":\"a\",\"stage\":\"Panic\"}\n");
    ingest(dir.path(), "c", &[more]).ended(0);
    let newest = "(SELECT max(leaf_index) FROM ledger)";
    sql(dir.path(), &format!("DELETE FROM segments WHERE ledger_index = {newest}"));
    sql(dir.path(), &format!("DELETE FROM ledger WHERE leaf_index = {newest}"));
    assert!(!faults(dir.path()).is_empty());
}

#[test]
fn a_checkpoint_signed_by_another_key_is_told() {
    let (dir, other) = (sealed(), sealed());
    let names: BTreeSet<_> = fs::read_dir(dir.path().join("ledger/checkpoints"))
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    for name in names {
        let place = Path::new("ledger/checkpoints").join(name);
        let note = fs::read(other.path().join(&place)).unwrap();
        common::put(&dir.path().join(&place), &note);
    }
    assert_eq!(faults(dir.path()), pair("ledger", "altered"));
}
