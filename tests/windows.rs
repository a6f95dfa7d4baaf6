//! Correlations through the real program: the same findings from a stream, a file and history, with any number of
//! workers, and however often the process is killed between.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that cannot go on should stop, and says what it skips"
)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

mod common;

use common::daemon::{Site, until};
use common::{Ran, corpus, files, kustos, put, sample};
use kustos::archive::catalog::Catalog;
use kustos::archive::outbox::FindingRow;
use kustos::event;
use serde_json::Value;

/// Rules that count what is common in any log, and no finding of the rules they count.
const RULES: &str = "\
title: Any request
name: any
detection: { sel: { verb|exists: true }, condition: sel }
---
title: Read
name: read
detection: { sel: { verb: [get, list, watch] }, condition: sel }
---
title: Write
name: write
detection: { sel: { verb: [create, update, patch, delete] }, condition: sel }
---
title: Refused
id: refused
level: low
detection: { sel: { responseStatus.code: [401, 409] }, condition: sel }
---
title: Much of one user
id: much
correlation:
  type: event_count
  rules: [any]
  group-by: [user.username]
  timespan: 1m
  condition: { eq: 40 }
---
title: Many things of one user
id: many
correlation:
  type: value_count
  rules: [read]
  group-by: [user.username]
  timespan: 1m
  condition: { field: objectRef.resource, eq: 5 }
---
title: Read, then written
id: then
correlation:
  type: temporal_ordered
  rules: [read, write]
  group-by: [objectRef.resource, objectRef.namespace, user.username]
  timespan: 2s
---
title: First use
id: first
correlation:
  type: new_terms
  rules: [any]
  group-by: [user.username]
  timespan: 1d
  condition: { field: objectRef.resource }
---
title: Silent
id: silent
correlation:
  type: absence
  rules: [write]
  group-by: [user.username]
  timespan: 20s
";

/// Three events of one user within a minute.
const THREE: &str = "\
title: Get
name: get
detection: { sel: { verb: get }, condition: sel }
---
title: Three
id: three
level: high
correlation:
  type: event_count
  rules: [get]
  group-by: [user.username]
  timespan: 1m
  condition: { gte: 3 }
";

/// An event of one user, so many milliseconds after a moment.
fn at(start: i64, millis: i64, verb: &str, user: &str) -> String {
    let mut time = Vec::new();
    event::write_micros(start + millis * 1_000, &mut time);
    let time = String::from_utf8(time).unwrap();
    format!(
        "{{\"kind\":\"Event\",\"auditID\":\"{millis}-{user}-{verb}\",\"stage\":\"ResponseComplete\",\"verb\":\"{verb}\",\
         \"user\":{{\"username\":\"{user}\"}},\"objectRef\":{{\"resource\":\"r{}\"}},\"stageTimestamp\":\"{time}\"}}\n",
        millis % 7
    )
}

/// Half an hour before midnight: what follows has two dates.
fn evening() -> i64 {
    event::micros("2026-11-23T23:30:00Z").unwrap()
}

fn run(arguments: &[&OsStr]) -> Ran {
    kustos(arguments).ended(0)
}

fn ids(ran: &Ran) -> Vec<String> {
    ran.rows().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

fn rows(rows: &[FindingRow]) -> BTreeSet<String> {
    rows.iter().map(|it| it.id.clone()).collect()
}

/// `detect` or `ingest` with rules, as NDJSON.
fn judge(command: &str, rules: &Path, more: &[&OsStr], inputs: &[PathBuf]) -> Ran {
    let mut arguments: Vec<&OsStr> = [command, "-o", "ndjson", "--rules"].map(OsStr::new).to_vec();
    arguments.push(rules.as_os_str());
    arguments.extend(more);
    arguments.extend(inputs.iter().map(|it| it.as_os_str()));
    run(&arguments)
}

fn hunt(archive: &Path, rules: &Path, more: &[&str]) -> Ran {
    let mut arguments: Vec<&OsStr> = ["hunt", "-o", "ndjson", "--archive"].map(OsStr::new).to_vec();
    arguments.extend([archive.as_os_str(), OsStr::new("--rules"), rules.as_os_str()]);
    arguments.extend(more.iter().map(OsStr::new));
    run(&arguments)
}

/// Which rules found something.
fn by_rule(ran: &Ran) -> BTreeSet<String> {
    ran.rows().iter().map(|it| it["rule"]["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_genuine_log_has_the_same_findings_with_one_worker_and_with_two_and_in_history() {
    let (dir, inputs) = (tempfile::tempdir().unwrap(), genuine());
    let rules = put(&dir.path().join("r.yml"), RULES.as_bytes());
    let with =
        |workers: &str| judge("detect", &rules, &["--workers", workers].map(OsStr::new), &inputs);
    let one = with("1");
    assert!(one.stdout == with("2").stdout, "other findings, or another order");
    let found = by_rule(&one);
    let all = ["first", "many", "much", "refused", "silent", "then"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(all));
    println!("{} findings", one.rows().len());

    // A part of it is enough to compare the ways with.
    let inputs = inputs.get(..1).unwrap();
    let one = judge("detect", &rules, &[], inputs);
    let archive = dir.path().join("archive");
    let options = [
        OsStr::new("--archive"),
        archive.as_os_str(),
        OsStr::new("--part-rows"),
        OsStr::new("700"),
    ];
    let kept = judge("ingest", &rules, &options, inputs);
    assert_eq!(ids(&kept), ids(&one));
    assert_eq!(ids(&hunt(&archive, &rules, &[])), ids(&one));
}

/// A run of genuine logs; the sample, where there is none.
fn genuine() -> Vec<PathBuf> {
    match corpus() {
        Some(corpus) => files(&corpus.join("logs/A-metadata"), &["zst", "gz", "log"]),
        None => vec![sample()],
    }
}

#[test]
fn history_of_several_clusters_and_dates_has_the_findings_of_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let rules = put(&dir.path().join("r.yml"), RULES.as_bytes());
    let archive = dir.path().join("archive");
    let mut streamed = BTreeSet::new();
    // Pieces of two clusters in turn, each with two dates and now and then an event that comes late.
    for piece in 0..6_i64 {
        for cluster in ["a", "b"] {
            let event = |it: i64| {
                let late = if it % 11 == 0 { 30_000 } else { 0 };
                let millis = piece * 600_000 + it * 1_500 - late;
                let verb = ["get", "list", "create"][usize::try_from(it % 3).unwrap()];
                at(evening(), millis, verb, ["u", "v"][usize::try_from(it / 50 % 2).unwrap()])
            };
            let log: String = (0..300).map(event).collect();
            let log = put(&dir.path().join(format!("{cluster}{piece}.log")), log.as_bytes());
            let options = ["--cluster", cluster, "--part-rows", "100", "--archive"];
            let options = [&options.map(OsStr::new)[..], &[archive.as_os_str()]].concat();
            let found = ids(&judge("ingest", &rules, &options, &[log]));
            let known = streamed.len();
            streamed.extend(found.iter().cloned());
            assert_eq!(streamed.len(), known + found.len(), "an id was told twice");
        }
    }
    let dates: BTreeSet<String> = Catalog::open(&archive)
        .unwrap()
        .files(&Default::default())
        .unwrap()
        .into_iter()
        .map(|it| format!("{}/{}", it.cluster, it.date))
        .collect();
    assert_eq!(dates.len(), 4);
    let hunted = hunt(&archive, &rules, &[]);
    assert_eq!(by_rule(&hunted).len(), 5, "{:?}", by_rule(&hunted));
    assert_eq!(ids(&hunted).len(), streamed.len());
    assert_eq!(ids(&hunted).into_iter().collect::<BTreeSet<_>>(), streamed);
    // A window that begins before the scope is not taken for an empty one.
    let since = "2026-11-24T00:00:00Z";
    let late = hunt(&archive, &rules, &["--since", since]);
    let expected: Vec<String> = hunted
        .rows()
        .iter()
        .filter(|it| it["time"].as_str().unwrap() >= since)
        .map(|it| it["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(ids(&late), expected);
}

#[test]
fn a_window_that_is_half_full_when_the_process_is_killed_goes_on_after_it() {
    let site = Site::new("");
    site.rule("r.yml", THREE);
    let start = evening();
    let mut all = String::new();
    let mut daemon = site.start();
    for round in 0..24 {
        let user = format!("u{}", round / 6);
        let line = at(start, round * 2_000, "get", &user);
        site.append(&line);
        all.push_str(&line);
        // Now and then it is killed before anything can have been recorded.
        if round % 4 != 3 {
            let kept = usize::try_from(round + 1).unwrap();
            until(|| (events(&site) >= kept).then_some(()));
        }
        daemon.kill();
        daemon = site.start();
    }
    until(|| (events(&site) == 24).then_some(()));
    daemon.end();
    let log = put(&site.path("all.log"), all.as_bytes());
    let rules = site.path("rules");
    let uninterrupted = judge("detect", &rules, &["--cluster", "c"].map(OsStr::new), &[log]);
    assert!(uninterrupted.rows().len() >= 8, "{}", uninterrupted.stdout);
    let found = site.findings();
    assert_eq!(found.len(), uninterrupted.rows().len());
    assert_eq!(rows(&found), ids(&uninterrupted).into_iter().collect());
    assert_eq!(
        ids(&hunt(&site.archive(), &rules, &[])).into_iter().collect::<BTreeSet<_>>(),
        rows(&found)
    );
}

/// How many events are kept.
fn events(site: &Site) -> usize {
    let files = Catalog::open(&site.archive()).unwrap().files(&Default::default()).unwrap();
    files.iter().map(|it| usize::try_from(it.rows).unwrap()).sum()
}

#[test]
fn a_back_fill_that_ends_within_a_window_is_gone_on_with_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let rules = put(&dir.path().join("r.yml"), THREE.as_bytes());
    let archive = dir.path().join("archive");
    let options = [OsStr::new("--archive"), archive.as_os_str()];
    let mut found = Vec::new();
    for piece in 0..5_i64 {
        let lines: String =
            (0..2).map(|it| at(evening(), (piece * 2 + it) * 1_000, "get", "u")).collect();
        let log = put(&dir.path().join(format!("{piece}.log")), lines.as_bytes());
        found.push(judge("ingest", &rules, &options, &[log]).rows().len());
    }
    assert_eq!(found[0], 0);
    assert!(found[1] > 0, "{found:?}");
    let ids = ids(&hunt(&archive, &rules, &[]));
    assert_eq!(ids.len(), found.iter().sum::<usize>());
}

#[test]
fn what_a_removed_rule_remembered_is_removed_with_it() {
    let site = Site::new("");
    site.rule("r.yml", THREE);
    let daemon = site.start();
    site.append(&at(evening(), 0, "get", "u"));
    let windows = || {
        let mut found = 0;
        let count = |it: kustos::archive::windows::WindowRow| {
            found += usize::from(it.correlation.len() == 64)
        };
        Catalog::open(&site.archive()).unwrap().windows(count).unwrap();
        found
    };
    until(|| (windows() == 1).then_some(()));
    site.rule("r.yml", "title: Get\nid: g\ndetection: { sel: { verb: get }, condition: sel }\n");
    until(|| (windows() == 0).then_some(()));
    daemon.end();
}

#[test]
fn a_reload_keeps_the_windows_of_rules_that_did_not_change() {
    let site = Site::new("");
    site.rule("r.yml", THREE);
    let daemon = site.start();
    site.append(&at(evening(), 0, "get", "u"));
    site.append(&at(evening(), 1_000, "get", "u"));
    until(|| (events(&site) == 2).then_some(()));
    site.rule(
        "other.yml",
        "title: Del\nid: d\ndetection: { sel: { verb: delete }, condition: sel }\n",
    );
    daemon.logged("the rules were loaded again: reloaded");
    site.append(&at(evening(), 2_000, "get", "u"));
    let found: Value = serde_json::from_str(&site.wait_for(1)[0].body).unwrap();
    assert_eq!(
        (&found["rule"]["id"], &found["correlation"]["count"]),
        (&"three".into(), &3.into())
    );
    daemon.end();
}

/// A value of one user that was not seen for a week.
const NEW: &str = "\
title: Any
name: any
detection: { sel: { verb|exists: true }, condition: sel }
---
title: New
id: new
correlation:
  type: new_terms
  rules: [any]
  group-by: [user.username]
  timespan: 7d
  condition: { field: verb }
";

#[test]
fn a_rule_that_asks_what_is_new_has_learned_the_archive_on_its_first_day() {
    let site = Site::new("");
    site.rule(
        "r.yml",
        "title: None\nid: none\ndetection: { sel: { verb: none }, condition: sel }\n",
    );
    let daemon = site.start();
    let known: String =
        ["get", "list"].iter().zip(0..).map(|(verb, at_)| at(evening(), at_, verb, "u")).collect();
    site.append(&known);
    until(|| (events(&site) == 2).then_some(()));
    site.rule("new.yml", NEW);
    daemon.logged("correlations have learned from the archive");
    site.append(&(at(evening(), 60_000, "get", "u") + &at(evening(), 61_000, "delete", "u")));
    let found: Value = serde_json::from_str(&site.wait_for(1)[0].body).unwrap();
    assert_eq!(found["events"][0]["verb"], "delete");
    until(|| (events(&site) == 4).then_some(()));
    daemon.kill();
    // It has learned once: after a restart it goes on with what it remembers.
    let daemon = site.start();
    site.append(&(at(evening(), 70_000, "list", "u") + &at(evening(), 71_000, "patch", "u")));
    let found: Value = serde_json::from_str(&site.wait_for(2)[1].body).unwrap();
    assert_eq!(found["events"][0]["verb"], "patch");
    assert_eq!(site.findings().len(), 2);
    assert_eq!(Catalog::open(&site.archive()).unwrap().seeded().unwrap().len(), 1);
    daemon.end();
}

#[test]
fn what_is_expected_and_does_not_come_is_told_while_the_source_is_silent() {
    let site = Site::new("correlations: { lateness_max: 0ms }");
    site.rule(
        "r.yml",
        "title: Beat\nname: beat\ndetection: { sel: { verb: beat }, condition: sel }\n---\n\
         title: Silent\nid: silent\ncorrelation: { type: absence, rules: [beat], group-by: [user.username], timespan: 1s }\n",
    );
    let daemon = site.start();
    let now = kustos::clock::Clock::now(&kustos::clock::SystemClock);
    site.append(&at(now, 0, "beat", "u"));
    let found: Value = serde_json::from_str(&site.wait_for(1)[0].body).unwrap();
    assert_eq!(found["rule"]["id"], "silent");
    assert_eq!(
        daemon.metric("kustos_findings_total{rule=\"silent\",level=\"medium\"}").as_deref(),
        Some("1")
    );
    daemon.kill();
    // It is not told again.
    let daemon = site.start();
    site.append(&at(now, 60_000, "other", "u"));
    until(|| (events(&site) == 2).then_some(()));
    assert_eq!(site.findings().len(), 1);
    daemon.end();
}
