//! What providers wrap audit events in, through the program: each file is ingested and its rows are read back;
//! the expected values were read off the files by a person.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::json::LineDelimitedWriter;
use common::{archive, corpus, detect, files, ingest, kustos, marked, put, shared, uncompressed};
use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::read;
use serde_json::{Map, Value, json};

/// A column that is not stored.
const LATENCY: &str = "latency_us";

/// Stands for a member in the row of a list.
const ITEM: u8 = 0x1e;

/// One row of an archive: its columns, and its bytes.
struct Row {
    columns: Map<String, Value>,
    raw: Vec<u8>,
}

impl Row {
    fn is(&self, column: &str, value: &str) -> bool {
        self.columns.get(column).is_some_and(|it| it == value)
    }
}

/// Every row, in the order of arrival.
fn rows(dir: &Path) -> Vec<Row> {
    let mut found: BTreeMap<i64, Row> = BTreeMap::new();
    for file in Catalog::open(dir).unwrap().files(&Scope::default()).unwrap() {
        let mut writer = LineDelimitedWriter::new(Vec::new());
        for batch in read::batches(&file.path, &[]).unwrap() {
            let batch = batch.unwrap();
            let schema = batch.schema();
            let named = schema.fields().iter().zip(batch.columns());
            let named = named.filter(|(field, _)| field.name() != "skeleton");
            let named = named.map(|(field, column)| (field.name(), without_zone(column)));
            writer.write(&RecordBatch::try_from_iter(named).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let text = String::from_utf8(writer.into_inner()).unwrap();
        for line in text.lines() {
            let columns: Map<String, Value> = serde_json::from_str(line).unwrap();
            let seq = columns["seq"].as_i64().unwrap();
            assert!(found.insert(seq, Row { columns, raw: Vec::new() }).is_none());
        }
        read::lines(&file.path, |line| {
            found.get_mut(&line.seq).unwrap().raw = line.bytes.to_vec();
        })
        .unwrap();
    }
    found.into_values().collect()
}

/// Times as UTC without saying so: that can be written without a table of time zones.
fn without_zone(column: &ArrayRef) -> ArrayRef {
    match column.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) => Arc::new(times.clone().with_timezone_opt(None::<String>)),
        None => Arc::clone(column),
    }
}

/// The lines that rows came from, by the rule of docs/envelopes.md.
fn lines(rows: &[Row]) -> Vec<Vec<u8>> {
    let mut rows = rows.iter().filter(|it| !it.is("wrapped", "unpacked")).peekable();
    let mut found = Vec::new();
    while rows.peek().is_some() {
        let mut line = Vec::new();
        line_of(&mut rows, &mut line);
        found.push(line);
    }
    found
}

fn line_of<'r>(rows: &mut impl Iterator<Item = &'r Row>, out: &mut Vec<u8>) {
    let row = rows.next().unwrap();
    if !row.is("wrapped", "list") {
        return out.extend(&row.raw);
    }
    for byte in &row.raw {
        if *byte == ITEM { line_of(rows, out) } else { out.push(*byte) }
    }
}

/// The lines of a file; one that is a single JSON text over several lines is one.
fn lines_in(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.starts_with(b"{\n") || bytes.starts_with(b"[\n") {
        return vec![bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec()];
    }
    common::lines(bytes).map(<[u8]>::to_vec).collect()
}

/// Ingests files into a new archive; gives its rows. They come back byte for byte.
#[track_caller]
fn ingested(inputs: &[PathBuf]) -> Vec<Row> {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("archive");
    ingest(&kept, "c", inputs).ended(0);
    let mut rows = rows(&kept);
    let mut computed = computed(&kept);
    for row in &mut rows {
        let seq = row.columns.get("seq").and_then(Value::as_i64).unwrap();
        let latency = computed.remove(&seq).filter(|it| !it.is_null());
        row.columns.extend(latency.map(|it| (LATENCY.to_owned(), it)));
    }
    let want: Vec<Vec<u8>> = inputs.iter().flat_map(|it| lines_in(&uncompressed(it))).collect();
    assert!(lines(&rows) == want, "the lines do not come back");
    archive("verify", &kept).ended(0);
    rows
}

/// The columns that only a query has, by the row's place in the archive; without SQL none is known.
fn computed(kept: &Path) -> BTreeMap<i64, Value> {
    if !cfg!(feature = "sql") {
        return BTreeMap::new();
    }
    let sql = format!("SELECT seq, {LATENCY} FROM events");
    let arguments = ["query", "--archive", kept.to_str().unwrap(), &sql].map(OsStr::new);
    let rows = kustos(&arguments).ended(0).rows();
    rows.iter().map(|it| (it["seq"].as_i64().unwrap(), it[LATENCY].clone())).collect()
}

/// Times without their zone and the zeros that are not written.
fn plain(value: &Value) -> Value {
    match value.as_str() {
        Some(it) if it.starts_with("20") && it.contains("T") && it.len() > 20 => {
            json!(it.trim_end_matches(['Z', '0']))
        }
        _ => value.clone(),
    }
}

#[track_caller]
fn holds(row: &Row, want: &Map<String, Value>, at: &str) {
    for (column, value) in want {
        if column == LATENCY && !cfg!(feature = "sql") {
            continue;
        }
        let have = row.columns.get(column).map_or(Value::Null, plain);
        assert_eq!(have, plain(value), "{at}: {column}");
    }
}

/// What a row of the table says; some name an event that several files hold.
fn expected(table: &Value, entry: &Value) -> Map<String, Value> {
    let Some(named) = entry.as_str() else { return entry.as_object().unwrap().clone() };
    let (how, event) = named.split_once(' ').unwrap();
    let mut want = table["events"][event].as_object().unwrap().clone();
    let (wrapped, provider) = match how {
        "native" => (Value::Null, "kubernetes"),
        "listed" => (json!("item"), "kubernetes"),
        other => (json!(other), "eks"),
    };
    want.insert("wrapped".to_owned(), wrapped);
    want.insert("provider".to_owned(), json!(provider));
    want
}

#[test]
fn every_format_has_the_fields_that_it_holds() {
    let Some(folder) = shared("formats") else { return };
    let table: Value = serde_json::from_str(include_str!("data/formats-expected.json")).unwrap();
    let mut seen = 0;
    for (name, want) in table.as_object().unwrap() {
        let Some(want) = want.as_array() else { continue };
        let rows = ingested(&[folder.join(name)]);
        assert_eq!(rows.len(), want.len(), "{name}");
        for (at, (row, entry)) in rows.iter().zip(want).enumerate() {
            holds(row, &expected(&table, entry), &format!("{name}, row {at}"));
        }
        for column in table["absent"][name].as_array().into_iter().flatten() {
            let last = rows.last().unwrap();
            assert!(!last.columns.contains_key(column.as_str().unwrap()), "{name}: {column}");
        }
        seen += rows.len();
    }
    assert!(seen > 50, "{seen} rows");
}

#[test]
fn every_sample_has_the_fields_that_it_holds() {
    let Some(corpus) = corpus() else { return };
    let table: Vec<Vec<Value>> =
        serde_json::from_str(include_str!("data/samples-expected.json")).unwrap();
    let (columns, table) = table.split_first().unwrap();
    let inputs = files(&corpus.join("samples"), &["json"]);
    let names: BTreeSet<&str> = table.iter().map(|it| it[0].as_str().unwrap()).collect();
    let stems = inputs.iter().map(|it| it.file_stem().unwrap().to_str().unwrap());
    assert_eq!(names, stems.collect());
    // In one archive, so that the program starts once. Some samples are the same line.
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("archive");
    ingest(&kept, "c", &inputs).ended(0);
    let rows = rows(&kept);
    for input in &inputs {
        let name = input.file_stem().unwrap().to_str().unwrap();
        let want = table.iter().find(|it| it[0] == name).unwrap();
        let want = columns.iter().zip(want).skip(1);
        let want = want.map(|(key, value)| (key.as_str().unwrap().to_owned(), value.clone()));
        let line = lines_in(&fs::read(input).unwrap()).remove(0);
        let row = rows.iter().find(|it| it.raw == line);
        holds(row.unwrap_or_else(|| panic!("{name} is lost")), &want.collect(), name);
    }
}

#[test]
fn the_text_format_says_what_the_webhook_says_of_the_same_events() {
    let Some(corpus) = corpus() else { return };
    let rows = ingested(&files(&corpus.join("logs/W-blocking-webhook"), &["zst"]));
    assert_eq!(rows.len(), 1_563);
    assert!(rows.iter().all(|it| it.is("integrity", "whole") && it.is("provider", "kubernetes")));
    let bodies = ingested(&files(&corpus.join("webhook/W-blocking-webhook"), &["body"]));
    let key = |it: &Row| (it.columns["audit_id"].clone(), it.columns["stage"].clone());
    let told: BTreeMap<_, _> =
        rows.iter().map(|it| (key(it).0.to_string() + &key(it).1.to_string(), it)).collect();
    let mut compared = 0;
    for event in bodies.iter().filter(|it| it.is("wrapped", "item")) {
        let Some(row) = told.get(&(key(event).0.to_string() + &key(event).1.to_string())) else {
            continue;
        };
        for column in [
            "verb",
            "user",
            "groups",
            "user_agent",
            "request_uri",
            "resource",
            "subresource",
            "api_group",
            "api_version",
            "namespace",
            "code",
            "received",
            "impersonated_user",
        ] {
            assert_eq!(row.columns.get(column), event.columns.get(column), "{column}");
        }
        for column in ["decision", "level", "request_object", LATENCY] {
            assert!(!row.columns.contains_key(column), "{column} was invented");
        }
        compared += 1;
    }
    assert!(compared > 30, "{compared} events are in both");
}

#[test]
fn bodies_of_the_webhook_become_their_events_and_come_back() {
    let Some(corpus) = corpus() else { return };
    let inputs = files(&corpus.join("webhook/B-mixed"), &["body"]);
    let inputs = &inputs[..inputs.len().min(5)];
    let mut events = 0;
    for input in inputs {
        let body: Value = serde_json::from_slice(&fs::read(input).unwrap()).unwrap();
        events += body["items"].as_array().unwrap().len();
    }
    let rows = ingested(inputs);
    assert_eq!(rows.iter().filter(|it| it.is("wrapped", "list")).count(), inputs.len());
    assert_eq!(rows.iter().filter(|it| it.is("integrity", "whole")).count(), events);
    assert_eq!(rows.len(), events + inputs.len());
}

fn event(name: &str, second: u32) -> String {
    format!(
        r#"{{"auditID":"{name}","stage":"ResponseComplete","verb":"get","user":{{"username":"eve"}},"objectRef":{{"resource":"secrets","name":"{name}"}},"responseStatus":{{"code":200}},"stageTimestamp":"2026-11-23T03:39:{second:02}.000000Z"}}"#
    )
}

#[test]
fn a_list_that_is_read_twice_is_kept_once_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let list = |names: &[&str]| {
        let items: Vec<String> = names.iter().map(|it| event(it, 1)).collect();
        format!("{{\"kind\":\"EventList\",\"items\":[{}]}}\n", items.join(" , "))
    };
    let first = list(&["a", "b"]) + &event("c", 2) + "\n";
    let file = put(&dir.path().join("a.log"), first.as_bytes());
    let kept = dir.path().join("archive");
    let inputs = std::slice::from_ref(&file);
    ingest(&kept, "c", inputs).ended(0);
    ingest(&kept, "c", inputs).ended(0);
    assert_eq!(rows(&kept).len(), 4);
    let more = first + &list(&["d"]);
    put(&file, more.as_bytes());
    ingest(&kept, "c", inputs).ended(0);
    let rows = rows(&kept);
    let ids: Vec<&str> =
        rows.iter().filter_map(|it| it.columns.get("audit_id")?.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    let back: Vec<u8> = lines(&rows).iter().flat_map(|it| [it, &b"\n"[..]].concat()).collect();
    assert_eq!(String::from_utf8(back).unwrap(), more);
    archive("verify", &kept).ended(0);
}

#[test]
fn an_export_over_many_lines_is_opened_and_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let events: Vec<Value> =
        ["a", "b"].iter().map(|it| serde_json::from_str(&event(it, 1)).unwrap()).collect();
    let texts = [json!(events), events[1].clone(), json!({"kind": "EventList", "items": events})];
    let export: String = texts.iter().map(|it| format!("{it:#}\n")).collect();
    let file = put(&dir.path().join("export.json"), export.as_bytes());
    let kept = dir.path().join("archive");
    for _ in 0..2 {
        ingest(&kept, "c", std::slice::from_ref(&file)).ended(0);
        let rows = rows(&kept);
        assert_eq!(rows.iter().filter(|it| it.is("integrity", "whole")).count(), 5);
        assert_eq!(rows.len(), 7);
        let back: Vec<u8> = lines(&rows).iter().flat_map(|it| [it, &b"\n"[..]].concat()).collect();
        assert_eq!(String::from_utf8(back).unwrap(), export);
    }
}

const RULES: &str = "title: Success\nid: success\ndetection:\n  a:\n    responseStatus.code: 200\n  condition: a\n---\n\
    title: Not refused\nid: not-refused\ndetection:\n  a:\n    responseStatus.code|lt: 400\n  condition: a\n---\n\
    title: Allowed\nid: allowed\ndetection:\n  a:\n    annotations.authorization\\.k8s\\.io/decision: allow\n  condition: a\n---\n\
    title: Secret\nid: secret\ndetection:\n  a:\n    verb: get\n    objectRef.resource: secrets\n  condition: a\n";

fn found(rules: &Path, input: &Path) -> Vec<(String, u64)> {
    let ran = detect(&["--rules".as_ref(), rules.as_os_str()], &[input.to_owned()]).ended(0);
    let found = |it: Value| {
        (it["rule"]["id"].as_str().unwrap().to_owned(), it["source"]["position"].as_u64().unwrap())
    };
    ran.rows().into_iter().map(found).collect()
}

#[test]
fn no_rule_fires_on_a_status_that_nobody_sent() {
    let dir = tempfile::tempdir().unwrap();
    let rules = put(&dir.path().join("r.yml"), RULES.as_bytes());
    let entry = r#"{"protoPayload":{"serviceName":"k8s.io","methodName":"io.k8s.core.v1.secrets.get","resourceName":"core/v1/namespaces/a/secrets/s","authorizationInfo":[{"permission":"x"}]STATUS},"timestamp":"2026-11-23T03:39:13Z"}"#;
    let cut = event("a", 1);
    let cut = cut.split_at(cut.find("200").unwrap() + 2).0.to_owned() + "[Truncated...]";
    for (line, want) in [
        (entry.replace("STATUS", ""), vec!["secret"]),
        (entry.replace("STATUS", r#","status":{"code":7}"#), vec!["secret"]),
        (
            entry.replace("STATUS", r#","status":{"code":0}"#),
            vec!["success", "not-refused", "secret"],
        ),
        (cut, vec!["secret"]),
    ] {
        let input = put(&dir.path().join("a.log"), line.as_bytes());
        let ids: Vec<String> = found(&rules, &input).into_iter().map(|it| it.0).collect();
        assert_eq!(ids, want, "{line}");
    }
}

#[test]
fn findings_are_the_same_live_and_in_history_and_have_the_place_of_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let rules = put(&dir.path().join("r.yml"), RULES.as_bytes());
    let [a, b, c, d, e, f, g] = ["a", "b", "c", "d", "e", "f", "g"].map(|it| event(it, 1));
    let wrapped = |text: &str| json!({"id": "1", "timestamp": 1, "message": text}).to_string();
    let lines = [
        a,
        format!("[{b},{c}]"),
        format!(
            r#"{{"messageType":"DATA_MESSAGE","logEvents":[{},{}]}}"#,
            wrapped(&d),
            wrapped("x")
        ),
        format!("node-1 {e}"),
        format!("[[{f}],{{\"kind\":\"EventList\",\"items\":[{g}]}}]"),
    ];
    let log = lines.join("\n") + "\n";
    let input = put(&dir.path().join("a.log"), log.as_bytes());
    let mut starts = vec![0];
    lines.iter().for_each(|it| starts.push(starts.last().unwrap() + it.len() as u64 + 1));
    let secrets: Vec<u64> =
        found(&rules, &input).into_iter().filter(|it| it.0 == "secret").map(|it| it.1).collect();
    let want = [0, 1, 1, 2, 3, 4, 4].map(|it: usize| starts[it]);
    assert_eq!(secrets, want);
    let live = detect(&["--rules".as_ref(), rules.as_os_str()], std::slice::from_ref(&input));
    let kept = dir.path().join("archive");
    ingest(&kept, "default", &[input]).ended(0);
    let hunted = common::kustos(&[
        "hunt".as_ref(),
        "-o".as_ref(),
        "ndjson".as_ref(),
        "--archive".as_ref(),
        kept.as_os_str(),
        "--rules".as_ref(),
        rules.as_os_str(),
    ])
    .ended(0);
    let ids = |ran: &common::Ran| -> Vec<Value> {
        ran.rows().into_iter().map(|it| it["id"].clone()).collect()
    };
    assert_eq!(ids(&live), ids(&hunted));
}

#[test]
fn what_cannot_be_opened_is_kept_whole_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let deep = format!("{}{}{}", "[".repeat(6), event("a", 1), "]".repeat(6));
    let lines = [
        r#"{"awslogs":{"data":"H4sIAAAA"}}"#.to_owned(),
        r#"{"records":[{"data":"?"},{"data":"aGVsbG8="}]}"#.to_owned(),
        format!(
            r#"{{"kind":"EventList","items":[[[[[{{"kind":"EventList","items":[{}]}}]]]]]}}"#,
            event("a", 1)
        ),
        deep,
        r#"[{"a":1},2]"#.to_owned(),
        r#"{"kind":"EventList","items":[]}"#.to_owned(),
    ];
    let input = put(&dir.path().join("a.log"), (lines.join("\n") + "\n").as_bytes());
    let kept = dir.path().join("archive");
    ingest(&kept, "c", &[input]).ended(0);
    let back: Vec<String> =
        self::lines(&rows(&kept)).into_iter().map(|it| String::from_utf8(it).unwrap()).collect();
    assert_eq!(back, lines);
    let marked = marked(&kept, "c");
    assert_eq!(marked.get("not_unpacked"), Some(&2));
    assert!(marked.contains_key("not_an_object") && marked.contains_key("not_json"), "{marked:?}");
}
