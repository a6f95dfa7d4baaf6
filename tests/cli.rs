//! The real binary in an empty folder: what it prints, and what its exit code says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

mod common;

use common::Ran;

/// The genuine log of the tests.
fn sample() -> Vec<u8> {
    std::fs::read(common::sample()).unwrap()
}

/// Its first lines.
fn first_lines(count: usize) -> Vec<u8> {
    sample().split_inclusive(|it| *it == b'\n').take(count).flatten().copied().collect()
}

/// Enough of it for a dozen findings.
fn some_lines() -> Vec<u8> {
    first_lines(300)
}

/// An empty folder to run the binary in.
struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Here {
        Here(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        kustos::durable::write(&self.path(name), bytes.as_ref()).unwrap();
    }

    fn folder(&self, name: &str) {
        kustos::durable::create_dir_all(&self.path(name)).unwrap();
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    #[track_caller]
    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        common::kustos_in(self.0.path(), &arguments, input)
    }

    /// Keeps a file in the archive `a`; gives what the last line on standard error says was kept.
    fn ingest(&self, file: &str) -> String {
        let ran = self.run(&["ingest", "--archive", "a", "--cluster", "c", "-o", "none", file]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    }

    fn status(&self) -> Value {
        self.run(&["archive", "status", "--archive", "a"]).rows().remove(0)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    list.lines()
        .take_while(|it| !it.is_empty())
        .filter_map(|it| it.split_whitespace().next())
        .filter(|it| *it != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_help_of_every_command_shows_examples_of_it() {
    let here = Here::new();
    let help = here.run(&["--help"]);
    assert!(help.stdout.contains("Exit codes: 0 done"), "{}", help.stdout);
    let mut lacking = Vec::new();
    for command in commands(&help.stdout) {
        let help = here.run(&[command.as_str(), "--help"]);
        let examples = help.stdout.split("Examples:\n").nth(1).unwrap_or_default();
        if help.code != 0 || !examples.contains(&format!("kustos {command}")) {
            lacking.push(command);
        }
    }
    assert!(lacking.is_empty(), "no examples: {lacking:?}");
}

#[test]
fn a_broken_rule_is_named_with_its_file_line_and_reason() {
    let here = Here::new();
    here.write("log", some_lines());
    here.write("bad.yml", "title: T\ndetection:\n  a:\n    verb|re2: x\n  condition: a\n");
    here.write("good.yml", "title: G\nid: g\ndetection:\n  a:\n    verb: get\n  condition: a\n");
    for command in
        [&["detect", "log"][..], &["ingest", "--archive", "a", "log"], &["hunt", "--archive", "a"]]
    {
        let ran = here.run(&[command, &["--rules", "bad.yml", "--rules", "good.yml"]].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{command:?}");
        assert!(ran.stderr.contains("bad.yml"), "{}", ran.stderr);
        assert!(ran.stderr.contains("line 4: unknown modifier 're2'"), "{}", ran.stderr);
    }
    assert!(!here.path("a").exists(), "a refused run makes no archive");
    let ran =
        here.run(&["detect", "--rules", "bad.yml", "--rules", "good.yml", "--lenient", "log"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("bad.yml") && !ran.stdout.is_empty(), "{}", ran.stderr);
    let ran = here.run(&["rules", "check", "bad.yml"]);
    assert_eq!(ran.code, 1);
    let want = "bad.yml:4: error: rule \"T\": unknown modifier 're2'";
    assert!(ran.stdout.contains(want), "{}", ran.stdout);
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let here = Here::new();
    here.write("k.yaml", "archive: { dir: a }\nsuorces: []\n");
    for command in [&["run"][..], &["config", "check"], &["config", "show"]] {
        let ran = here.run(&[command, &["--config", "k.yaml"]].concat());
        assert_eq!(ran.code, 2, "{command:?}");
        let want = "k.yaml, line 2: unknown key \"suorces\"; did you mean \"sources\"?";
        assert!(ran.stderr.contains(want), "{command:?}: {}", ran.stderr);
    }
    assert_eq!(here.run(&["run", "--config", "none.yaml"]).code, 2);
}

#[test]
fn wrong_usage_is_code_2() {
    let here = Here::new();
    here.write("log", some_lines());
    here.ingest("log");
    here.folder("empty/below");
    here.write("empty/below/notes.txt", some_lines());
    here.folder("other");
    let mut wrong = Vec::new();
    let mut lines = vec![
        vec!["detect"],
        vec!["detect", "--no-such-flag", "log"],
        vec!["no-such-command"],
        vec!["ingest", "--archive", "b", "--cluster", "", "log"],
        vec!["hunt", "--archive", "a", "--since", "soon"],
        vec!["rules", "show", "no-such-rule"],
        vec!["detect", "empty"],
        vec!["detect", "empty", "other"],
        vec!["ingest", "--archive", "b", "empty"],
    ];
    if cfg!(feature = "sql") {
        lines.push(vec!["search", "--archive", "a", "resorce:x"]);
        lines.push(vec!["search", "--archive", "a", "", "--since", "soon"]);
        lines.push(vec!["query", "--archive", "a", "SELEC 1"]);
        lines.push(vec!["query", "--archive", "a", "DELETE FROM events"]);
    }
    for line in lines {
        let ran = here.run(&line);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{line:?}: {ran:?}");
        if ran.code != 2 {
            wrong.push(format!("{line:?} gave {}: {}", ran.code, ran.stderr.trim_end()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(!here.path("b").exists(), "a refused run makes no archive");
    let said = here.run(&["detect", "empty", "other"]).stderr;
    assert!(said.contains("no log was found in empty, other") && said.contains(".zst"), "{said}");
}

#[test]
fn without_an_archive_the_code_is_4_and_none_is_made() {
    let here = Here::new();
    let mut lines = vec![
        vec!["archive", "status"],
        vec!["archive", "list"],
        vec!["archive", "verify"],
        vec!["archive", "expire"],
        vec!["archive", "expire", "--apply"],
        vec!["hunt"],
    ];
    if cfg!(feature = "sql") {
        lines.extend([vec!["search"], vec!["query", "SELECT 1"]]);
    }
    for line in lines {
        let ran = here.run(&[line.as_slice(), &["--archive", "none"]].concat());
        assert_eq!(ran.code, 4, "{line:?}: {ran:?}");
        assert!(ran.stderr.contains("none is no archive"), "{line:?}: {}", ran.stderr);
        assert!(!here.path("none").exists(), "{line:?} made an archive");
    }
}

#[test]
fn of_a_compressed_file_that_was_cut_short_the_readable_lines_count() {
    let here = Here::new();
    let whole = gzip(&some_lines());
    here.write("cut.log.gz", whole.get(..whole.len() / 2).unwrap());
    let ran = here.run(&["ingest", "--archive", "a", "cut.log.gz"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("cut.log.gz could not be read to its end"), "{}", ran.stderr);
    let kept = here.status()["events"].as_u64().unwrap();
    assert!((20..300).contains(&kept), "{kept}");
    assert!(!ran.stdout.is_empty());
    assert_eq!(here.run(&["archive", "verify", "--archive", "a"]).code, 0);

    let detected = here.run(&["detect", "cut.log.gz"]);
    assert_eq!(detected.code, 3);
    assert_eq!(ids(&detected), ids(&ran));
}

#[test]
fn of_a_file_that_ended_in_half_a_line_only_the_rest_is_added() {
    let here = Here::new();
    let lines = some_lines();
    let half = lines.len() / 2;
    assert_ne!(lines.get(half - 1), Some(&b'\n'));
    here.write("log", lines.get(..half).unwrap());
    here.ingest("log");
    here.write("log", &lines);
    here.ingest("log");
    // The line that was cut is kept twice: as the half that was there, and whole.
    assert_eq!(here.status()["events"], 301, "{}", here.status());
}

fn ids(ran: &Ran) -> BTreeSet<String> {
    ran.rows().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn findings_are_a_code_only_where_they_were_asked_to_be() {
    let here = Here::new();
    here.write("log", some_lines());
    assert_eq!(here.run(&["detect", "log"]).code, 0);
    assert_eq!(here.run(&["detect", "--fail-on", "high", "log"]).code, 1);
    assert_eq!(here.run(&["detect", "--fail-on", "critical", "log"]).code, 0);
}

/// What a finding says of an event.
fn assert_event(event: &Value) {
    for field in ["auditID", "stage", "verb", "user", "requestURI"] {
        assert!(event[field].is_string(), "{field}: {event}");
    }
    // Not every refusal carries one.
    let refused = event["code"].as_u64().is_some_and(|it| it >= 400);
    assert!(event["decision"].is_string() || refused, "{event}");
    assert!(event["sourceIPs"].is_array(), "{event}");
    assert!(event["objectRef"].is_object(), "{event}");
    assert!(event["code"].is_u64(), "{event}");
}

#[test]
fn a_finding_has_the_fields_that_are_promised() {
    let here = Here::new();
    here.write("log", sample());
    let ran = here.run(&["detect", "--cluster", "prod-eu", "log"]);
    let findings = ran.rows();
    assert!(findings.len() > 100, "{}", findings.len());
    for finding in &findings {
        let text = |place: &str| {
            let value = finding.pointer(place).unwrap_or_else(|| panic!("{place}: {finding}"));
            value.as_str().unwrap_or_else(|| panic!("{place}: {finding}")).to_owned()
        };
        for place in ["/id", "/rule/id", "/rule/title", "/time"] {
            assert!(!text(place).is_empty(), "{place}: {finding}");
        }
        let levels = ["informational", "low", "medium", "high", "critical"];
        assert!(levels.contains(&text("/rule/level").as_str()), "{finding}");
        assert_eq!(text("/rule/dialect"), "sigma");
        assert_eq!(text("/cluster"), "prod-eu");
        assert_eq!(text("/source/name"), "log");
        assert!(finding["rule"]["tags"].is_array(), "{finding}");
        assert!(finding["source"]["position"].is_u64(), "{finding}");
        // A rule is about one event, a correlation about several.
        let events = match finding.get("correlation") {
            Some(_) => finding["events"].as_array().unwrap().iter().collect(),
            None => vec![&finding["event"]],
        };
        assert!(!events.is_empty(), "{finding}");
        events.into_iter().for_each(assert_event);
    }
    let unlike: BTreeSet<&str> = findings.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(unlike.len(), findings.len(), "an id twice");
}

#[test]
fn the_same_lines_give_the_same_findings_whatever_they_come_in() {
    let here = Here::new();
    let lines = some_lines();
    here.write("audit.log", &lines);
    here.write("audit.log.gz", gzip(&lines));
    here.write("audit.zst", zstd::stream::encode_all(&*lines, 1).unwrap());
    kustos::durable::create_dir_all(&here.path("dir/below")).unwrap();
    here.write("dir/below/audit.json", &lines);
    let findings = |ran: Ran| {
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let mut found = ran.rows();
        for finding in &mut found {
            finding["source"]["name"] = Value::Null;
            let counted = finding.get_mut("events").and_then(Value::as_array_mut);
            counted.into_iter().flatten().for_each(|it| it["source"]["name"] = Value::Null);
        }
        found
    };
    let want = findings(here.run(&["detect", "audit.log"]));
    assert!(want.len() > 5);
    for name in ["audit.log.gz", "audit.zst", "dir"] {
        assert_eq!(findings(here.run(&["detect", name])), want, "{name}");
    }
    assert_eq!(findings(here.run_with(&["detect", "-"], &lines)), want);
    assert_eq!(findings(here.run_with(&["detect", "-"], &gzip(&lines))), want);
    assert_eq!(findings(here.run(&["detect", "--workers", "1", "audit.log"])), want);
}

#[test]
fn what_is_kept_is_not_kept_twice_under_another_name_or_compressed() {
    let here = Here::new();
    let lines = some_lines();
    here.write("audit.log", &lines);
    assert!(here.ingest("audit.log").contains("kept 300 lines"));
    assert!(here.ingest("audit.log").contains("kept 0 lines"));
    here.write("audit-2026-11-23T03-39-13.554.log", &lines);
    here.write("rotated.gz", gzip(&lines));
    here.write("rotated.zst", zstd::stream::encode_all(&*lines, 1).unwrap());
    for name in ["audit-2026-11-23T03-39-13.554.log", "rotated.gz", "rotated.zst"] {
        assert!(here.ingest(name).contains("kept 0 lines"), "{name}");
    }
    let ran = here.run_with(&["ingest", "--archive", "a", "--cluster", "c", "-"], &lines);
    assert!(ran.stderr.contains("kept 0 lines"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "what was printed once is not printed again");

    // A file that grew is kept from where it was left.
    here.write("audit.log", first_lines(310));
    assert!(here.ingest("audit.log").contains("kept 10 lines"));
    assert_eq!(here.status()["events"], 310);

    // The cluster is part of an event's identity: another one's log is another log.
    let ran = here.run(&["ingest", "--archive", "a", "--cluster", "d", "-o", "none", "rotated.gz"]);
    assert!(ran.stderr.contains("kept 300 lines"), "{}", ran.stderr);
}

#[test]
fn one_log_under_three_names_is_kept_once_by_one_run() {
    let here = Here::new();
    let lines = some_lines();
    let half: Vec<u8> =
        lines.split_inclusive(|it| *it == b'\n').take(100).flatten().copied().collect();
    std::fs::create_dir(here.path("logs")).unwrap();
    here.write("logs/audit-2026-11-23T03-39-13.554.log", half);
    here.write("logs/audit-2026-11-23T03-39-14.554.log.gz", gzip(&lines));
    here.write("logs/audit.log", &lines);
    assert!(here.ingest("logs").contains("kept 300 lines"));
    assert!(here.ingest("logs").contains("kept 0 lines"));
}

#[test]
fn what_is_no_audit_event_is_kept_and_marked() {
    let here = Here::new();
    let mut lines = some_lines();
    lines.extend_from_slice(b"not json\n{\"a\":1}\n[1]\n\xff\xfe\n\n{\"kind\":\"Ev");
    here.write("log", &lines);
    let err = here.ingest("log");
    assert!(
        err.contains("kept 305 lines") && err.contains("5 of them are no audit event"),
        "{err}"
    );
    assert_eq!(here.run(&["archive", "verify", "--archive", "a"]).code, 0);
}

#[test]
fn the_archive_says_what_it_holds_and_whether_it_is_whole() {
    let here = Here::new();
    here.write("log", some_lines());
    here.ingest("log");
    let status = here.status();
    assert_eq!((&status["events"], &status["segments"]), (&300.into(), &1.into()));
    let bytes = some_lines().len() as u64 - 300;
    assert_eq!(status["bytes_in"], bytes, "line feeds are not counted");

    let verified = here.run(&["archive", "verify", "--archive", "a"]);
    assert_eq!(verified.code, 0);
    assert!(verified.rows().iter().all(|it| it["state"] == "whole"), "{}", verified.stdout);

    let listed = here.run(&["archive", "list", "--archive", "a"]).rows();
    let id = listed.first().unwrap()["id"].as_str().unwrap();
    let file = here.path(&format!("a/segments/cluster=c/date=2026-11-23/{id}.parquet"));
    let mut bytes = std::fs::read(&file).unwrap();
    assert!(std::fs::metadata(&file).unwrap().permissions().readonly());
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).unwrap() ^= 1;
    kustos::durable::write(&file, &bytes).unwrap();
    let altered = here.run(&["archive", "verify", "--archive", "a"]);
    assert_eq!(altered.code, 1);
    assert_eq!(altered.rows().first().unwrap()["state"], "altered");
    kustos::durable::remove(&file).unwrap();
    let missing = here.run(&["archive", "verify", "--archive", "a"]);
    assert_eq!(missing.code, 1);
    assert_eq!(missing.rows().first().unwrap()["state"], "missing");
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_an_archive() {
    use std::os::unix::fs::PermissionsExt;
    let here = Here::new();
    here.write("audit.log", some_lines());
    here.ingest("audit.log");
    let mut left = vec![here.path("a")];
    while let Some(path) = left.pop() {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        }
    }
}

#[test]
fn tables_have_their_columns_in_one_order_and_words_in_the_right_number() {
    let here = Here::new();
    here.write("log", some_lines());
    assert!(here.ingest("log").contains(" of 1 input; "));
    let run = |command: &[&str]| {
        here.run(&[&["archive"], command, &["--archive", "a", "-o", "table"]].concat())
    };
    let header = |command: &str| {
        let shown = run(&[command]).stdout;
        shown.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let what = "KIND ID CLUSTER DATE EVENTS BYTES_IN BYTES_STORED FROM TO";
    assert_eq!(header("list"), format!("{what} RETAIN_UNTIL SHA256"));
    assert_eq!(header("verify"), "KIND ID EVENTS STATE");
    assert_eq!(header("expire"), format!("{what} VERDICT AT"));
    let status = run(&["status"]).stdout;
    let files = "files      1 segment (0 more expired), 0 parts, 1 ledger entry\n";
    assert!(status.contains(files) && status.contains("time       2026-"), "{status}");

    here.write("empty.log", "");
    here.run(&["ingest", "--archive", "none", "empty.log"]);
    let status = here.run(&["archive", "status", "--archive", "none", "-o", "table"]).stdout;
    assert!(status.contains("events     0") && !status.contains("time"), "{status}");
}

#[test]
fn a_young_segment_is_planned_to_be_kept_and_is_kept() {
    let here = Here::new();
    here.write("log", some_lines());
    here.ingest("log");
    for line in [vec!["archive", "expire"], vec!["archive", "expire", "--apply"]] {
        let ran = here.run(&[line.as_slice(), &["--archive", "a"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let plan = ran.rows();
        assert_eq!(plan.len(), 1);
        assert_eq!(plan.first().unwrap()["verdict"], "keep");
        let until = plan.first().unwrap()["at"].as_str().unwrap();
        assert!(until >= "2032-11-22", "six years: {until}");
    }
    assert_eq!(here.status()["events"], 300);
}

#[test]
fn a_hunt_finds_what_the_stream_found_under_the_same_ids() {
    let here = Here::new();
    here.write("log", sample());
    let found = here.run(&["detect", "--cluster", "c", "log"]);
    here.ingest("log");
    let hunted = here.run(&["hunt", "--archive", "a"]);
    assert_eq!(hunted.code, 0, "{}", hunted.stderr);
    assert_eq!(ids(&hunted), ids(&found));
    assert_eq!(hunted.rows().len(), found.rows().len());
    let ran = here.run(&["hunt", "--archive", "a", "--cluster", "other"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    let until = here.run(&["hunt", "--archive", "a", "--until", "2026-11-23T03:39:00Z"]);
    let since = here.run(&["hunt", "--archive", "a", "--since", "2026-11-23T03:39:00Z"]);
    let (until, since) = (ids(&until), ids(&since));
    assert!(!until.is_empty() && !since.is_empty() && until.is_disjoint(&since));
    assert_eq!(until.len() + since.len(), found.rows().len());
}

#[test]
fn findings_come_in_the_order_of_their_events() {
    let here = Here::new();
    here.write("log", some_lines());
    let order = |ran: Ran| {
        let ids = ran.rows();
        ids.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let detected = order(here.run(&["detect", "--cluster", "c", "log"]));
    let ingested = order(here.run(&["ingest", "--archive", "a", "--cluster", "c", "log"]));
    let hunted = order(here.run(&["hunt", "--archive", "a"]));
    assert_eq!(hunted, detected);
    assert_eq!(ingested, detected);
}

#[cfg(feature = "sql")]
#[test]
fn search_and_query_agree_with_the_lines() {
    let here = Here::new();
    here.write("log", sample());
    here.ingest("log");
    let text = String::from_utf8(sample()).unwrap();
    let lines: BTreeSet<&str> = text.lines().collect();
    let rows = |ran: Ran| {
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    };
    let search = |search: &str| {
        rows(here.run(&["search", "--archive", "a", search, "--limit", "5000", "-o", "raw"]))
    };
    let query = |sql: &str| {
        let ran = rows(here.run(&["query", "--archive", "a", sql]));
        ran.rows().first().unwrap()["n"].as_u64().unwrap()
    };
    assert_eq!(query("SELECT count(*) AS n FROM events"), lines.len() as u64);
    // Every stored line comes back byte for byte.
    assert_eq!(search("").stdout.lines().collect::<BTreeSet<_>>(), lines);

    let parsed: Vec<(Value, &str)> =
        lines.iter().map(|it| (serde_json::from_str(it).unwrap(), *it)).collect();
    let reads = |it: &Value| {
        it["objectRef"]["resource"] == "secrets"
            && ["get", "list"].contains(&it["verb"].as_str().unwrap())
    };
    let want: BTreeSet<&str> =
        parsed.iter().filter(|(it, _)| reads(it)).map(|(_, line)| *line).collect();
    assert!(want.len() > 10);
    let found = search("resource:secrets verb:(get,list)").stdout;
    assert_eq!(found.lines().collect::<BTreeSet<_>>(), want);
    let sql =
        "SELECT count(*) AS n FROM events WHERE resource = 'secrets' AND verb IN ('get','list')";
    assert_eq!(query(sql), want.len() as u64);

    let refused = parsed.iter().filter(|(it, _)| it["responseStatus"]["code"] == 403).count();
    assert_eq!(search("code:403").stdout.lines().count(), refused);
    assert_eq!(query("SELECT count(*) AS n FROM events WHERE code = 403"), refused as u64);

    let found = here.run(&["detect", "--cluster", "c", "log"]).rows().len();
    assert_eq!(query("SELECT count(*) AS n FROM alerts"), found as u64);
    assert_eq!(query("SELECT sum(rows) AS n FROM segments"), lines.len() as u64);
}
