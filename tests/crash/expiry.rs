//! Segments past their time are removed by the real process, of which each durable step goes wrong. What is gone is
//! in the ledger, once; what is not due stays.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kustos::archive::catalog::{Catalog, Scope, SegmentRow};
use kustos::archive::keep::{Policy, seal_due};
use kustos::archive::recover::Archive;
use kustos::archive::verify::{State, verify};
use kustos::clock::{Clock, SystemClock};

use super::{
    Case, assert_no_left_overs, cases, ends, faults_are_built_in, kustos, steps_of, try_all,
};

/// The cluster whose segments are past their time.
const DUE: &str = "due";

/// The cluster whose segments are not.
const KEPT: &str = "kept";

/// An archive with segments of both, sealed.
fn sealed(case: &Case, archive: &Path) {
    for (cluster, keep) in [(DUE, Duration::ZERO), (KEPT, Duration::from_secs(86_400))] {
        let mut ingest = kustos(&["ingest", "--no-seal", "--cluster", cluster, "--archive"]);
        let log = case.dir.path().join("audit.log");
        assert!(ingest.arg(archive).arg(log).status().unwrap().success());
        let mut opened = Archive::open(archive).unwrap();
        let policy = Policy { keep, ..Policy::default() };
        let now = SystemClock.now();
        assert!(seal_due(&mut opened, &policy, now, true).unwrap() > 0);
    }
}

fn expire(archive: &Path) -> std::process::Command {
    let mut command = kustos(&["archive", "expire", "--apply", "--archive"]);
    command.arg(archive);
    command
}

/// The ledger's entries of removals, by segment.
fn removals(catalog: &Catalog) -> Vec<String> {
    let entries = catalog.ledger().unwrap().into_iter().filter(|it| it.kind == "expiry");
    let of = |text: &str| {
        let entry: serde_json::Value = serde_json::from_str(text).unwrap();
        entry["expired"].as_str().unwrap().to_owned()
    };
    entries.map(|it| of(&it.text)).collect()
}

/// Asserts that a file which is gone was recorded as gone first.
fn assert_nothing_went_unrecorded(archive: &Path) {
    let catalog = Catalog::open(archive).unwrap();
    let told: BTreeSet<String> = removals(&catalog).into_iter().collect();
    for segment in catalog.segments().unwrap() {
        let recorded = segment.expired.is_some();
        assert_eq!(recorded, told.contains(&segment.file.id), "{}", segment.file.id);
        assert!(recorded || segment.file.path.is_file(), "{} is gone", segment.file.id);
    }
}

/// Asserts that what was due is gone, that it was told once, and that nothing else happened.
fn assert_expired(archive: &Path, before: &[SegmentRow]) {
    assert_nothing_went_unrecorded(archive);
    let catalog = Catalog::open(archive).unwrap();
    let after = catalog.segments().unwrap();
    let due = |of: &str| of == DUE;
    assert!(after.iter().all(|it| it.expired.is_some() == due(&it.file.cluster)));
    let mut told = removals(&catalog);
    told.sort_unstable();
    let mut gone: Vec<&str> =
        before.iter().filter(|it| due(&it.file.cluster)).map(|it| &*it.file.id).collect();
    gone.sort_unstable();
    assert_eq!(told, gone, "told once each");
    let rows = |cluster: &str| {
        let files = catalog.files(&Scope::default()).unwrap().into_iter();
        files.filter(|it| it.cluster == cluster).map(|it| it.rows).sum::<u64>()
    };
    let kept = before.iter().filter(|it| !due(&it.file.cluster)).map(|it| it.file.rows).sum();
    assert_eq!((rows(DUE), rows(KEPT)), (0, kept));
    verify(archive, |it| assert_eq!(it.state, State::Whole, "{} {}", it.kind, it.id)).unwrap();
    assert_no_left_overs(archive, &catalog);
}

/// Copies an archive as it lies there.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

#[test]
fn every_durable_step_of_an_expiry_may_fail_be_misreported_or_be_the_last() {
    if !faults_are_built_in() {
        return;
    }
    let case = Case::new(120);
    let path = |name: &str| -> PathBuf { case.dir.path().join(name) };
    sealed(&case, &path("sealed"));
    let before = Catalog::open(&path("sealed")).unwrap().segments().unwrap();
    copy(&path("sealed"), &path("recorded"));
    let recorded = expire(&path("recorded")).env("KUSTOS_FAULT_LOG", path("steps")).status();
    assert!(recorded.unwrap().success());
    assert_expired(&path("recorded"), &before);
    let steps = steps_of(&path("steps"));
    let count = |name: &str| steps.iter().filter(|it| *it == name).count();
    let due = before.iter().filter(|it| it.file.cluster == DUE).count();
    // Of each segment its file, and what the index says of it.
    let removed = (count("an expiry is recorded"), count("a file is removed"));
    assert_eq!(removed, (1, 2 * due), "{steps:?}");
    println!("{} steps", steps.len());
    try_all(cases(&steps, 1..=steps.len()), |step, fault| {
        let archive = path(&format!("{step}-{fault}"));
        copy(&path("sealed"), &archive);
        let said = format!("{step}:{fault}");
        let ended = expire(&archive).env("KUSTOS_FAULT", &said).status().unwrap();
        assert!(ends(fault) || ended.code().is_some_and(|it| it != 0 && it != 101), "{said}");
        println!("{said} {}", steps[step - 1]);
        assert_nothing_went_unrecorded(&archive);
        assert!(expire(&archive).status().unwrap().success(), "after {said}");
        assert_expired(&archive, &before);
        std::fs::remove_dir_all(&archive).unwrap();
    });
}
