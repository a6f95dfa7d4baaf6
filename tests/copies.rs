//! Several archives that hold some events in common: `query`, `search` and `hunt` see each event once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::ffi::OsStr;
use std::ops::Range;
use std::path::PathBuf;

use arrow::array::RecordBatchReader;
use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::read;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

mod common;

use common::Ran;

/// A rule, and a correlation that needs three events of one user.
const RULES: &str = "title: Get\nid: get\nlevel: low\nlogsource: {product: kubernetes, service: audit}\n\
    detection: { sel: { verb: get }, condition: sel }\n---\n\
    title: Three\nid: three\nlevel: high\ncorrelation: { type: event_count, rules: [get], generate: true, \
    group-by: [user.username], timespan: 5m, condition: { gte: 3 } }\n";

/// The event of that number: one a second, each user with four of them.
fn event(number: usize) -> Vec<u8> {
    format!(
        "{{\"kind\":\"Event\",\"auditID\":\"id-{number}\",\"stage\":\"ResponseComplete\",\"requestURI\":\"/api\",\
         \"verb\":\"get\",\"user\":{{\"username\":\"u{user}\"}},\"objectRef\":{{\"name\":\"n{number}\"}},\
         \"requestObject\":{{\"spec\":\"{number}\"}},\
         \"stageTimestamp\":\"2026-11-23T03:{minute:02}:{second:02}.554321Z\"}}\n",
        user = number / 4,
        minute = number / 60,
        second = number % 60,
    )
    .into_bytes()
}

fn events(numbers: Range<usize>) -> Vec<Vec<u8>> {
    numbers.map(event).collect()
}

/// A folder of archives.
struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Here {
        Here(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Keeps lines in an archive; each call is a segment of its own.
    fn keep(&self, archive: &str, cluster: &str, lines: &[Vec<u8>]) {
        let log = common::put(&self.path("some.log"), &lines.concat());
        std::fs::create_dir_all(self.path(archive)).unwrap();
        common::ingest(&self.path(archive), cluster, &[log]).ended(0);
    }

    /// Writes the files of an archive again with row groups of a few rows each, as files of many rows have.
    fn regroup(&self, archive: &str, rows: usize) {
        for file in Catalog::open(&self.path(archive)).unwrap().files(&Scope::default()).unwrap() {
            let batches = read::batches(&file.path, &[]).unwrap();
            let properties =
                WriterProperties::builder().set_max_row_group_row_count(Some(rows)).build();
            let mut writer =
                ArrowWriter::try_new(Vec::new(), batches.schema(), Some(properties)).unwrap();
            batches.for_each(|it| writer.write(&it.unwrap()).unwrap());
            let bytes = writer.into_inner().unwrap();
            kustos::durable::write(&file.path, &bytes).unwrap();
            // The reader looks for the footer where the catalog says that the file ends.
            let sql = "UPDATE segments SET bytes_stored = ?1 WHERE id = ?2";
            let catalog = self.path(archive).join("catalog.sqlite");
            let catalog = rusqlite::Connection::open(catalog).unwrap();
            let size = i64::try_from(bytes.len()).unwrap();
            catalog.execute(sql, rusqlite::params![size, file.id]).unwrap();
            let groups = usize::try_from(file.rows).unwrap().div_ceil(rows);
            assert_eq!(read::groups(&file.path).unwrap().len(), groups);
        }
    }

    /// Runs a command over archives.
    #[track_caller]
    fn run(&self, command: &str, archives: &[&str], more: &[&str]) -> Ran {
        let mut arguments = vec![OsStr::new(command)];
        let paths: Vec<PathBuf> = archives.iter().map(|it| self.path(it)).collect();
        for path in &paths {
            arguments.extend([OsStr::new("--archive"), path.as_os_str()]);
        }
        arguments.extend(more.iter().map(OsStr::new));
        common::kustos(&arguments)
    }

    /// The answer to SQL as JSON lines.
    #[track_caller]
    fn sql(&self, archives: &[&str], sql: &str) -> String {
        self.run("query", archives, &[sql]).ended(0).stdout
    }

    #[track_caller]
    fn count(&self, archives: &[&str]) -> (u64, String) {
        let ran = self.run("query", archives, &["SELECT count(*) AS n FROM events"]).ended(0);
        (ran.rows()[0]["n"].as_u64().unwrap(), ran.stderr)
    }
}

/// Three archives: `a` has 0 to 39, `b` 30 to 59, `c` 50 to 69 and 0 to 3, of which `a` has all.
fn three() -> Here {
    let here = Here::new();
    here.keep("a", "c", &events(0..20));
    here.keep("a", "c", &events(20..40));
    here.keep("b", "c", &events(30..60));
    here.keep("c", "c", &events(50..70));
    here.keep("c", "c", &events(0..4));
    here
}

fn told(copies: &str) -> String {
    format!("left out {copies} of events that another of the archives holds; --copies shows them\n")
}

#[test]
fn sql_sees_an_event_that_several_archives_hold_once() {
    let here = three();
    let all = ["a", "b", "c"];
    for (archives, want, copies) in [
        (&["a"][..], 40, 0),
        (&["a", "b"], 60, 10),
        (&["b", "a"], 60, 10),
        (&all, 70, 24),
        (&["c", "b", "a"], 70, 24),
        (&["a", "a"], 40, 0),
    ] {
        let said = if copies == 0 { String::new() } else { told(&format!("{copies} copies")) };
        assert_eq!(here.count(archives), (want, said), "{archives:?}");
    }
    for (sql, want) in [
        ("SELECT count(*) FILTER (WHERE name >= 'n') AS n FROM events", "{\"n\":70}\n"),
        ("SELECT count(DISTINCT audit_id) AS n, sum(1) AS s FROM events", "{\"n\":70,\"s\":70}\n"),
        ("SELECT min(time) AS t FROM events", "{\"t\":\"2026-11-23T03:00:00.554321Z\"}\n"),
        ("SELECT max(time) AS t FROM events", "{\"t\":\"2026-11-23T03:01:09.554321Z\"}\n"),
        (
            "SELECT user, count(*) AS n FROM events GROUP BY user HAVING n <> 4 ORDER BY user",
            "{\"user\":\"u17\",\"n\":2}\n",
        ),
        (
            "SELECT audit_id FROM events ORDER BY time LIMIT 2 OFFSET 49",
            "{\"audit_id\":\"id-49\"}\n{\"audit_id\":\"id-50\"}\n",
        ),
        ("SELECT count(*) AS n FROM (SELECT name FROM events LIMIT 65)", "{\"n\":65}\n"),
        (
            "SELECT count(*) AS n FROM events x JOIN events y ON x.audit_id = y.audit_id",
            "{\"n\":70}\n",
        ),
        ("SELECT count(*) AS n FROM events WHERE raw LIKE '%id-5%'", "{\"n\":11}\n"),
        ("SELECT audit_id FROM events WHERE audit_id = 'id-33'", "{\"audit_id\":\"id-33\"}\n"),
    ] {
        assert_eq!(here.sql(&all, sql), want, "{sql}");
    }
    let raw = here.run("query", &all, &["SELECT raw_bytes FROM events ORDER BY time", "-o", "raw"]);
    assert_eq!(raw.ended(0).stdout.into_bytes(), events(0..70).concat());
    // Of copies outside the time that is asked for nothing is said.
    let within = "SELECT count(*) AS n FROM events WHERE time < '2026-11-23T03:00:32Z'";
    let ran = here.run("query", &all, &[within]).ended(0);
    assert_eq!((ran.rows()[0]["n"].as_u64(), ran.stderr), (Some(32), told("6 copies")));
    let ran = here.run("query", &all, &["--copies", "SELECT count(*) AS n FROM events"]).ended(0);
    assert_eq!((ran.rows()[0]["n"].as_u64(), ran.stderr.as_str()), (Some(94), ""));
}

#[test]
fn copies_are_found_in_every_row_group_of_a_file() {
    let here = three();
    for (archive, rows) in [("a", 7), ("b", 6), ("c", 3)] {
        here.regroup(archive, rows);
    }
    let all = ["a", "b", "c"];
    assert_eq!(here.count(&all), (70, told("24 copies")));
    let lines = "SELECT raw_bytes FROM events ORDER BY time";
    let raw = here.run("query", &all, &[lines, "-o", "raw"]).ended(0);
    assert_eq!(raw.stdout.into_bytes(), events(0..70).concat());
    let found = here.run("search", &all, &["name:n3?", "--columns", "name"]).ended(0);
    let want: String = (30..40).rev().map(|it| format!("{{\"name\":\"n{it}\"}}\n")).collect();
    assert_eq!(found.stdout, want);
    let rules = common::put(&here.path("rules.yml"), RULES.as_bytes());
    let hunted = here.run("hunt", &all, &["--rules", rules.to_str().unwrap()]).ended(0);
    assert_eq!(hunted.rows().len(), 70 + 34);
}

#[test]
fn only_the_same_bytes_of_one_cluster_are_a_copy() {
    let here = Here::new();
    let no_event = b"no event at all\n".to_vec();
    let list = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[]}"#;
    let list = [&list[..], b"\n"].concat();
    here.keep("a", "c", &[events(0..10), vec![no_event.clone(), list.clone()]].concat());
    // The same audit IDs and times in other bytes; another cluster's; and lines that no content identifies.
    let other = |it: &Vec<u8>| {
        let text = String::from_utf8(it.clone()).unwrap();
        text.replace("\"verb\":\"get\"", "\"verb\":\"list\"").into_bytes()
    };
    let others: Vec<Vec<u8>> = events(2..4).iter().map(other).collect();
    here.keep("b", "c", &[others, events(4..6), vec![no_event, list]].concat());
    here.keep("b", "d", &events(0..10));
    let (count, said) = here.count(&["a", "b"]);
    assert_eq!((count, said), (12 + 6 + 10 - 2, told("2 copies")));
    let by_cluster =
        "SELECT cluster, verb, count(*) AS n FROM events GROUP BY ALL ORDER BY cluster, verb";
    assert_eq!(
        here.sql(&["a", "b"], by_cluster),
        "{\"cluster\":\"c\",\"verb\":\"get\",\"n\":10}\n{\"cluster\":\"c\",\"verb\":\"list\",\"n\":2}\n\
         {\"cluster\":\"c\",\"n\":4}\n{\"cluster\":\"d\",\"verb\":\"get\",\"n\":10}\n"
    );
}

#[test]
fn a_search_shows_the_newest_events_of_all_archives_once() {
    let here = three();
    let names = |ran: Ran| -> Vec<String> {
        ran.rows().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    let want = |numbers: Range<usize>| -> Vec<String> {
        numbers.rev().map(|it| format!("n{it}")).collect()
    };
    let all = ["a", "b", "c"];
    let search = |more: &[&str]| here.run("search", &all, more).ended(0);
    assert_eq!(names(search(&["--limit", "25"])), want(45..70));
    assert_eq!(names(search(&["--limit", "100", "verb:get"])), want(0..70));
    let until = ["--until", "2026-11-23T03:00:35Z", "--limit", "3", "-user:u7"];
    assert_eq!(names(search(&until)), want(32..35));
    let ran = search(&["name:n33", "-o", "raw"]);
    assert_eq!((ran.stdout.into_bytes(), ran.stderr), (event(33), told("24 copies")));
    assert_eq!(names(search(&["--copies", "name:(n33,n5?)", "--limit", "100"])).len(), 22);
}

#[test]
fn a_folder_that_replicas_share_is_all_their_archives() {
    let here = Here::new();
    here.keep("shared/replicas/a", "c", &events(0..10));
    here.keep("shared/replicas/b", "c", &events(8..20));
    here.keep("old", "c", &events(20..23));
    assert_eq!(here.count(&["shared"]), (20, told("2 copies")));
    assert_eq!(here.count(&["shared", "old", "shared/replicas/b"]), (23, told("2 copies")));
    // What was kept before the folder was shared lies beside the replicas' archives.
    here.keep("shared", "c", &events(30..31));
    assert_eq!(here.count(&["shared"]).0, 21);
    let segments = here.sql(&["shared"], "SELECT path FROM segments");
    assert_eq!(segments.lines().count(), 3);
    let none = here.run("query", &["shared", "none"], &["SELECT 1"]).ended(4);
    assert!(none.stderr.contains("none is no archive"), "{}", none.stderr);
    here.run("query", &[], &["SELECT 1"]).ended(2);
}

#[test]
fn a_copy_is_hunted_once_and_counted_once() {
    let here = three();
    let rules = common::put(&here.path("rules.yml"), RULES.as_bytes());
    let rules = ["--rules", rules.to_str().unwrap()];
    let ids = |ran: &Ran| -> Vec<String> {
        let mut ids: Vec<String> = ran.rows().iter().map(|it| it["id"].to_string()).collect();
        ids.sort();
        ids
    };
    // What one archive with all the events tells.
    here.keep("one", "c", &events(0..70));
    let one = here.run("hunt", &["one"], &rules).ended(0);
    let of =
        |ran: &Ran, rule: &str| ran.rows().iter().filter(|it| it["rule"]["id"] == rule).count();
    assert_eq!((of(&one, "get"), of(&one, "three")), (70, 34));
    for archives in [["a", "b", "c"], ["c", "a", "b"]] {
        let ran = here.run("hunt", &archives, &rules).ended(0);
        assert_eq!(ids(&ran), ids(&one), "{archives:?}");
        let said = "left out 24 copies of events that another of the archives holds\n";
        assert_eq!(ran.stderr, said);
    }
    // Three events of one user, of which two are one event in two archives: no window fires.
    here.keep("x", "c", &events(0..2));
    here.keep("y", "c", &events(1..2));
    let ran = here.run("hunt", &["x", "y"], &rules).ended(0);
    assert_eq!((of(&ran, "get"), of(&ran, "three")), (2, 0));
    // And three of which each archive has a part do fire, though neither archive alone tells.
    here.keep("z", "c", &events(2..3));
    let ran = here.run("hunt", &["z", "x"], &rules).ended(0);
    assert_eq!((of(&ran, "get"), of(&ran, "three")), (3, 1));
    let times =
        |ran: &Ran| -> Vec<Value> { ran.rows().iter().map(|it| it["time"].clone()).collect() };
    assert!(times(&ran).is_sorted_by_key(ToString::to_string), "{:?}", times(&ran));
}

#[test]
fn an_alert_that_several_archives_have_is_one() {
    let here = Here::new();
    let rules = common::put(&here.path("rules.yml"), RULES.as_bytes());
    for (archive, numbers) in [("a", 0..3), ("b", 2..5)] {
        let log = common::put(&here.path("some.log"), &events(numbers).concat());
        let archive = here.path(archive);
        let paths = [
            OsStr::new("--archive"),
            archive.as_os_str(),
            OsStr::new("--rules"),
            rules.as_os_str(),
            log.as_os_str(),
        ];
        let command = ["ingest", "-o", "none", "--cluster", "c"].map(OsStr::new);
        common::kustos(&[&command[..], &paths].concat()).ended(0);
    }
    let of_rule = "SELECT rule, count(*) AS n, count(DISTINCT id) AS ids FROM alerts GROUP BY rule ORDER BY rule";
    assert_eq!(
        here.sql(&["a", "b"], of_rule),
        "{\"rule\":\"get\",\"n\":5,\"ids\":5}\n{\"rule\":\"three\",\"n\":1,\"ids\":1}\n"
    );
}
