//! One event is stored once, however often and in whatever pieces its bytes come; and no event is
//! taken for another because of its audit ID, which clients choose.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

mod common;

use common::daemon::{Site, until};

/// The genuine lines of the tests, each with its line feed.
fn sample() -> Vec<Vec<u8>> {
    let bytes = std::fs::read(common::sample()).unwrap();
    bytes.split_inclusive(|it| *it == b'\n').map(<[u8]>::to_vec).collect()
}

/// An archive, and files to fill it from.
struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Here {
        Here(tempfile::tempdir().unwrap())
    }

    fn archive(&self) -> PathBuf {
        self.0.path().join("archive")
    }

    fn file(&self, name: &str, lines: &[Vec<u8>]) -> PathBuf {
        common::put(&self.0.path().join(name), &lines.concat())
    }

    /// What `ingest` says of these files.
    #[track_caller]
    fn ingest(&self, cluster: &str, files: &[PathBuf]) -> String {
        common::ingest(&self.archive(), cluster, files).ended(0).stderr
    }

    #[track_caller]
    fn assert_holds_once(&self, cluster: &str, lines: &[Vec<u8>]) {
        let mut want = common::Lines::new();
        common::lines(&lines.concat()).for_each(|it| common::count(&mut want, it));
        assert_eq!(common::stored_lines(&self.archive(), Some(cluster)), want);
        common::archive("verify", &self.archive()).ended(0);
    }

    fn findings(&self) -> Vec<Value> {
        let catalog = kustos::archive::catalog::Catalog::open(&self.archive()).unwrap();
        let rows = catalog.findings(u64::MAX).unwrap();
        rows.iter().map(|it| serde_json::from_str(&it.body).unwrap()).collect()
    }

    /// The audit IDs that were used again.
    fn reused(&self) -> Vec<String> {
        let of = |it: &&Value| it["rule"]["id"] == "kustos-audit-id-reused";
        self.findings().iter().filter(of).map(|it| it["output"].to_string()).collect()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.findings().iter().map(|it| it["id"].to_string()).collect()
    }
}

fn event(id: &str, second: u32, user: &str) -> Vec<u8> {
    format!(
        "{{\"kind\":\"Event\",\"auditID\":\"{id}\",\"stage\":\"ResponseComplete\",\"requestURI\":\"/api\",\"verb\":\"get\",\
         \"user\":{{\"username\":\"{user}\"}},\"stageTimestamp\":\"2026-11-23T03:39:{second:02}.554321Z\"}}\n"
    )
    .into_bytes()
}

#[test]
fn what_comes_again_under_other_boundaries_is_stored_once() {
    let (here, lines) = (Here::new(), sample());
    let (first, second) = lines.split_at(900);
    here.ingest("c", &[here.file("1.log", first)]);
    assert!(here.ingest("c", &[here.file("2.log", second)]).contains("kept 890 lines"));
    let ids = here.ids();
    // The whole is known as the first file's stream up to its 900th line; the slice as none.
    let overlapping = [("all.log", &lines[..], 890), ("slice.log", &lines[450..1200], 750)];
    for (name, again, count) in overlapping {
        let said = here.ingest("c", &[here.file(name, again)]);
        assert!(said.contains("kept 0 lines"), "{name}: {said}");
        assert!(said.contains(&format!("{count} events came again")), "{said}");
    }
    // Backwards, and with a line between that is new.
    let mut turned: Vec<Vec<u8>> = lines.iter().rev().cloned().collect();
    let new = event("5f0c6a4e-3c57-4f0e-9a37-0d8f3a4b8c11", 1, "u");
    turned.insert(700, new.clone());
    assert!(here.ingest("c", &[here.file("turned.log", &turned)]).contains("kept 1 line "));
    let all: Vec<Vec<u8>> = lines.iter().cloned().chain([new]).collect();
    here.assert_holds_once("c", &all);
    assert_eq!(here.ids(), ids);
    assert_eq!(here.reused(), Vec::<String>::new());
    // Places have no gaps: a gap would look as if something had been removed.
    let catalog = kustos::archive::catalog::Catalog::open(&here.archive()).unwrap();
    assert_eq!(catalog.next_seq().unwrap(), i64::try_from(all.len()).unwrap());
}

#[test]
fn a_file_that_holds_its_events_twice_is_stored_once_whether_sealed_committed_or_waiting() {
    let (lines, archive) = (sample(), |it: &Here| it.archive());
    let twice: Vec<Vec<u8>> = lines.iter().chain(&lines).cloned().collect();
    for rows in ["100000", "500"] {
        let here = Here::new();
        let file = here.file("twice.log", &twice);
        let dir = archive(&here);
        let args = ["ingest", "-o", "none", "--no-seal", "--cluster", "c", "--part-rows", rows];
        let mut args: Vec<&std::ffi::OsStr> = args.map(std::ffi::OsStr::new).to_vec();
        args.extend(["--archive".as_ref(), dir.as_os_str(), file.as_os_str()]);
        let said = common::kustos(&args).ended(0).stderr;
        assert!(said.contains("kept 1,790 lines"), "{rows}: {said}");
        here.assert_holds_once("c", &lines);
        // Now from parts that another process wrote, then from segments.
        for name in ["parts.log", "segments.log"] {
            let said = here.ingest("c", &[here.file(name, &twice[5..])]);
            assert!(said.contains("kept 0 lines"), "{rows} {name}: {said}");
        }
        here.assert_holds_once("c", &lines);
    }
}

#[test]
fn a_daemon_and_a_back_fill_share_what_they_know() {
    let (site, lines) = (Site::new(""), sample());
    let text = |lines: &[Vec<u8>]| String::from_utf8(lines.concat()).unwrap();
    site.rule("rule.yml", "title: T\ndetection: { s: { verb: none }, condition: s }\n");
    site.append(&text(&lines[..1000]));
    let daemon = site.start();
    until(|| (events(&site) == 1000).then_some(()));
    daemon.end();
    let copy = common::put(&site.path("copy.log"), &lines[300..].concat());
    let said = common::ingest(&site.archive(), "c", &[copy]).ended(0).stderr;
    assert!(said.contains("kept 790 lines"), "{said}");
    // And the daemon again, on a log that begins elsewhere.
    std::fs::remove_file(site.path("audit.log")).unwrap();
    site.append(&text(&lines[100..]));
    site.append(&text(&[event("new", 1, "u")]));
    let daemon = site.start();
    until(|| (events(&site) == 1791).then_some(()));
    let (_, metrics) = daemon.ask("GET", "/metrics");
    let duplicates = metrics.lines().find(|it| it.starts_with("kustos_events_duplicate_total{"));
    assert!(duplicates.unwrap().ends_with("cluster=\"c\"} 1690"), "{duplicates:?}");
    daemon.end();
    assert_eq!(events(&site), 1791);
    common::archive("verify", &site.archive()).ended(0);
}

fn events(site: &Site) -> u64 {
    let catalog = kustos::archive::catalog::Catalog::open(&site.archive()).unwrap();
    catalog.files(&Default::default()).unwrap().iter().map(|it| it.rows).sum()
}

#[test]
fn an_audit_id_that_is_used_again_hides_nothing_and_is_told_once() {
    let here = Here::new();
    let first = event("chosen", 7, "alice");
    let forged = [
        event("chosen", 7, "mallory"),
        event("chosen", 8, "mallory"),
        event("chosen", 9, "mallory"),
    ];
    here.ingest("c", &[here.file("1.log", std::slice::from_ref(&first))]);
    let said = here.ingest("c", &[here.file("2.log", &forged)]);
    assert!(said.contains("kept 3 lines"), "{said}");
    let all: Vec<Vec<u8>> = [&[first][..], &forged].concat();
    here.assert_holds_once("c", &all);
    let reused = here.reused();
    assert_eq!(reused.len(), 1, "{reused:?}");
    assert!(reused[0].contains("chosen") && reused[0].contains("mallory"), "{reused:?}");
    here.ingest(
        "c",
        &[here.file("3.log", &[event("else", 1, "u"), forged[2].clone(), forged[0].clone()])],
    );
    assert_eq!(here.reused().len(), 1);
    assert_eq!(common::status(&here.archive())["events"], 5);
}

#[test]
fn the_stages_of_a_request_and_a_copy_in_other_bytes_are_no_reuse() {
    let here = Here::new();
    let complete = event("a", 7, "alice");
    let text = String::from_utf8(complete.clone()).unwrap();
    let received = text.replace("ResponseComplete", "RequestReceived").into_bytes();
    // As the webhook writes it: an item of a list has no kind.
    let item = text.replace("\"kind\":\"Event\",", "").into_bytes();
    let all = [complete, received, item];
    here.ingest("c", &[here.file("1.log", &all[..2])]);
    here.ingest("c", &[here.file("2.log", &all[2..])]);
    let both =
        [event("b", 9, "u"), event("b", 9, "u").into_iter().filter(|it| *it != b' ').collect()];
    here.ingest("c", &[here.file("3.log", &both)]);
    assert_eq!(here.reused(), Vec::<String>::new());
    here.assert_holds_once("c", &[&all[..], &both[..1]].concat());
}

#[test]
fn the_same_bytes_in_two_clusters_are_two_events() {
    let (here, lines) = (Here::new(), sample());
    let lines = &lines[..50];
    here.ingest("one", &[here.file("1.log", lines)]);
    assert!(here.ingest("two", &[here.file("2.log", lines)]).contains("kept 50 lines"));
    here.assert_holds_once("one", lines);
    here.assert_holds_once("two", lines);
    assert_eq!(here.reused(), Vec::<String>::new());
}

#[test]
fn lines_that_no_content_identifies_are_kept_as_often_as_they_come() {
    let here = Here::new();
    let timeless = event("a", 7, "u");
    let timeless = String::from_utf8(timeless).unwrap().replace("2026-11-23T03:39:07.554321Z", "");
    let lines: Vec<Vec<u8>> = [
        b"not json\n".to_vec(),
        timeless.into_bytes(),
        b"{\"stageTimestamp\":\"2026-11-23T03:39:07Z\"}\n".to_vec(),
    ]
    .to_vec();
    let twice = [&lines[..], &lines[..]].concat();
    here.ingest("c", &[here.file("1.log", &twice)]);
    here.assert_holds_once("c", &twice);
}

#[test]
fn a_list_of_events_that_comes_again_is_stored_once_with_its_envelope() {
    let here = Here::new();
    let list = |events: &[Vec<u8>]| {
        let items: Vec<String> = events
            .iter()
            .map(|it| String::from_utf8(it.clone()).unwrap().trim().to_owned())
            .collect();
        format!("{{\"kind\":\"EventList\",\"items\":[{}]}}\n", items.join(",")).into_bytes()
    };
    let events: Vec<Vec<u8>> = (1..5).map(|it| event(&format!("e{it}"), it, "u")).collect();
    here.ingest("c", &[here.file("1.log", &[list(&events[..3])])]);
    let rows = common::status(&here.archive())["events"].as_u64().unwrap();
    let said = here.ingest("c", &[here.file("2.log", &[event("x", 9, "u"), list(&events[..3])])]);
    assert!(said.contains("kept 1 line "), "{said}");
    // One of these events is new: it comes with its envelope.
    let said = here.ingest("c", &[here.file("3.log", &[list(&events[1..])])]);
    assert!(said.contains("2 events came again"), "{said}");
    let stored = common::stored(&here.archive(), "c");
    for event in &events {
        let event = event.strip_suffix(b"\n").unwrap();
        assert_eq!(stored.iter().filter(|it| *it == event).count(), 1);
    }
    assert_eq!(stored.len() as u64, rows + 1 + 2);
    common::archive("verify", &here.archive()).ended(0);
}

#[test]
fn the_status_tells_what_could_not_be_read_how_far_sources_are_and_what_was_wrong() {
    let here = Here::new();
    let lines =
        [event("a", 1, "u"), b"not json\n".to_vec(), event("a", 2, "v"), b"{\"a\":1}\n".to_vec()];
    let file = here.file("1.log", &lines);
    here.ingest("c", &[file.clone(), here.file("2.log", &[event("b", 3, "u")])]);
    let status = common::status(&here.archive());
    let marked = common::marked(&here.archive(), "c");
    let want = [("not_an_event".to_owned(), 1), ("not_json".to_owned(), 1)];
    assert_eq!(marked, want.into());
    let sources = status["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 2, "{status}");
    let first = sources.iter().find(|it| it["name"] == file.display().to_string()).unwrap();
    assert_eq!(
        (&first["cluster"], &first["position"]),
        (&"c".into(), &lines.concat().len().into())
    );
    assert!(first["kept"].as_str().unwrap().starts_with("20"), "{first}");
    let trouble = &status["troubles"][0];
    assert_eq!(trouble["rule"], "kustos-audit-id-reused", "{status}");
    assert_eq!((&trouble["findings"], &trouble["cluster"]), (&1.into(), &"c".into()));
    assert_eq!(trouble["newest"], "2026-11-23T03:39:02.554321Z");
    let table = ["archive", "status", "-o", "table", "--archive"].map(std::ffi::OsStr::new);
    let shown =
        common::kustos(&[&table[..], &[here.archive().as_os_str()]].concat()).ended(0).stdout;
    for want in [
        "marked     1 line of cluster c: not_json",
        "1.log of cluster c: kept to ",
        "trouble    1 finding of kustos-audit-id-reused of cluster c",
    ] {
        assert!(shown.contains(want), "{want} is not in\n{shown}");
    }
}

#[test]
fn genuine_logs_reuse_audit_ids_only_where_an_attacker_did() {
    let Some(corpus) = common::corpus() else { return };
    let here = Here::new();
    let spoofed: BTreeSet<String> = std::fs::read_to_string(corpus.join("labels.jsonl"))
        .unwrap()
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).unwrap())
        .filter(|it| it["scenario"] == "audit_id_spoofed")
        .flat_map(|it| it["audit_ids"].as_array().unwrap().clone())
        .map(|it| it.as_str().unwrap().chars().take(100).collect())
        .collect();
    let files = common::files(&corpus.join("logs/E-request-stages-gz"), &["log", "gz", "zst"]);
    here.ingest("c", &files);
    let reused = here.reused();
    assert_eq!(reused.len(), 1, "{reused:?}");
    assert!(
        reused.iter().all(|it| spoofed.iter().any(|id| it.contains(id.as_str()))),
        "{reused:?}"
    );
}
