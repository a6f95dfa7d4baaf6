//! Whatever is asked, an archive with an index and the same archive without one give the same events: an event that
//! is not found because its file was not opened is the worst that could be.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use kustos::query::language::Query;
use kustos::query::sql::{Answer, Engine, Search};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Days of events; each becomes a segment.
const DAYS: usize = 14;

/// Events of a day.
const EVENTS: usize = 12;

/// What stands in a column of texts: nothing, what looks alike, what has to be escaped, what is long.
const TEXTS: [&str; 12] = [
    "",
    "bob",
    "Bob",
    "bob ",
    "it's",
    "a\"b\\c",
    "žluťoučký",
    "system:node:n-1",
    "secrets",
    "NULL",
    "%",
    "a*b?c",
];

/// The same archive with its index and without.
struct Archives {
    _dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    indexed: Engine,
    plain: Engine,
    /// Files that were read of each.
    files: [AtomicUsize; 2],
}

static ARCHIVES: LazyLock<Archives> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let (indexed, plain) = (dir.path().join("indexed"), dir.path().join("plain"));
    let log = dir.path().join("audit.log");
    fs::write(&log, lines().join("\n") + "\n").unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_kustos"))
        .args(["ingest", "--cluster", "c", "--archive"])
        .args([&indexed, &log])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(ended.code().is_some_and(|it| it < 2), "{ended}");
    copy(&indexed, &plain);
    let catalog = rusqlite::Connection::open(plain.join("catalog.sqlite")).unwrap();
    assert_eq!(catalog.execute("DELETE FROM runs", []).unwrap(), DAYS);
    drop(catalog);
    Archives {
        runtime: tokio::runtime::Runtime::new().unwrap(),
        indexed: Engine::open(&indexed).unwrap(),
        plain: Engine::open(&plain).unwrap(),
        files: Default::default(),
        _dir: dir,
    }
});

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Events in which each column takes every text, or none, on some day.
fn lines() -> Vec<String> {
    let mut lines = Vec::new();
    for day in 0..DAYS {
        for number in 0..EVENTS {
            let text = |salt: usize| {
                let at = (day * 5 + number * number + salt * (day + 1)) % 17;
                TEXTS.get(at).map(|it| Value::from(*it))
            };
            let ips = match (day + number) % 5 {
                0 => Value::Null,
                1 => json!([]),
                2 => json!([format!("10.0.0.{day}")]),
                _ => json!([format!("10.0.0.{number}"), "::1", text(3)]),
            };
            let mut event = json!({
                "auditID": format!("{day}-{}", number / 2),
                "stage": "ResponseComplete",
                "stageTimestamp": format!("2026-11-{:02}T00:{number:02}:00.000000Z", day + 1),
                "verb": if number % 2 == 0 { "get" } else { "list" },
                "sourceIPs": ips,
                "user": {"username": text(0)},
                "objectRef": {"resource": text(1), "namespace": text(2), "name": format!("{day}-{number}")},
            });
            remove_nulls(&mut event);
            lines.push(event.to_string());
        }
    }
    lines
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, it| !it.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        Value::Array(members) => members.retain(|it| !it.is_null()),
        _ => {}
    }
}

async fn places(answer: Answer) -> Vec<i64> {
    let (mut answer, mut places) = (answer, Vec::new());
    while let Some(batch) = answer.next().await.unwrap() {
        places.extend(batch.column(0).as_primitive::<Int64Type>().values());
    }
    places.sort_unstable();
    places
}

/// Asserts that both give the same events.
fn assert_same(question: &str, ask: impl AsyncFn(&Engine) -> Answer) {
    let archives = &*ARCHIVES;
    let mut told = Vec::new();
    for (engine, files) in [&archives.indexed, &archives.plain].into_iter().zip(&archives.files) {
        told.push(archives.runtime.block_on(async {
            let answer = ask(engine).await;
            files.fetch_add(answer.files(), Ordering::Relaxed);
            places(answer).await
        }));
    }
    assert_eq!(told[0], told[1], "{question}");
}

fn assert_same_sql(condition: &str) {
    let sql = format!("SELECT seq FROM events WHERE {condition}");
    assert_same(condition, async |engine| engine.sql(&sql).await.unwrap());
}

fn assert_same_search(text: &str) {
    let query = Query::parse(text, 0).unwrap();
    let columns = vec!["seq".to_owned()];
    let search = Search { columns, rows_max: usize::MAX >> 1, ..Search::of(query) };
    assert_same(text, async |engine| engine.search(&search).await.unwrap());
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn column() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["user", "resource", "namespace", "audit_id"])
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(TEXTS.to_vec()).prop_map(str::to_owned),
        1 => (0..DAYS, 0..EVENTS).prop_map(|(day, number)| format!("{day}-{number}")),
    ]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..DAYS + 2).prop_map(|it| format!("10.0.0.{it}")),
        Just("::1".to_owned()),
        value()
    ]
}

/// Conditions in SQL, those that choose files and those that must not.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => (column(), value()).prop_map(|(column, value)| format!("{column} = {}", quoted(&value))),
        1 => (column(), value()).prop_map(|(column, value)| format!("{} = {column}", quoted(&value))),
        1 => (column(), value()).prop_map(|(column, value)| format!("{column} <> {}", quoted(&value))),
        1 => (column(), value()).prop_map(|(column, value)| format!("lower({column}) = {}", quoted(&value))),
        1 => (column(), value()).prop_map(|(column, value)| format!("{column} LIKE {}", quoted(&value))),
        1 => (column(), value()).prop_map(|(column, value)| format!("coalesce({column}, 'bob') = {}", quoted(&value))),
        1 => (column(), value())
            .prop_map(|(column, value)| format!("({column} IS NOT DISTINCT FROM {})", quoted(&value))),
        1 => (column(), value())
            .prop_map(|(column, value)| format!("CAST({column} AS VARCHAR) = {}", quoted(&value))),
        1 => (column(), prop::collection::vec(value(), 1..5), any::<bool>()).prop_map(
            |(column, values, negated)| {
                let values: Vec<String> = values.iter().map(|it| quoted(it)).collect();
                let not = if negated { "NOT " } else { "" };
                format!("{column} {not}IN ({})", values.join(", "))
            }
        ),
        1 => column().prop_map(|it| format!("{it} IS NULL")),
        1 => column().prop_map(|it| format!("{it} IS NOT NULL")),
        1 => (column(), column()).prop_map(|(one, other)| format!("{one} = {other}")),
        4 => address().prop_map(|it| format!("array_has(source_ips, {})", quoted(&it))),
        1 => Just("source_ips IS NULL".to_owned()),
        1 => Just("verb = 'get'".to_owned()),
        1 => (1..=DAYS).prop_map(|it| format!("time < '2026-11-{it:02}'")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} AND {other})")),
            3 => (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} OR {other})")),
            1 => inner.clone().prop_map(|it| format!("(NOT {it})")),
            1 => inner.clone().prop_map(|it| format!("(({it}) IS TRUE)")),
            1 => inner.prop_map(|it| format!("(({it}) IS NOT TRUE)")),
        ]
    })
}

/// The same in the search language.
fn search() -> impl Strategy<Value = String> {
    let literal = |it: &str| format!("\"{}\"", it.replace('\\', "\\\\").replace('"', "\\\""));
    let leaf = prop_oneof![
        3 => (column(), value()).prop_map(move |(column, value)| format!("{column}:{}", literal(&value))),
        1 => (column(), value(), value()).prop_map(move |(column, one, other)| {
            format!("{column}:({}, {})", literal(&one), literal(&other))
        }),
        2 => address().prop_map(move |it| format!("ip:{}", literal(&it))),
        1 => column().prop_map(|it| format!("{it}:*")),
        1 => Just("verb:get".to_owned()),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} {other})")),
            2 => (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} OR {other})")),
            1 => inner.prop_map(|it| format!("-({it})")),
        ]
    })
}

#[test]
fn an_index_changes_no_answer_and_spares_files() {
    let cases =
        |cases| ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(cases(250));
    runner
        .run(&condition(), |it| {
            assert_same_sql(&it);
            Ok(())
        })
        .unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(cases(120));
    runner
        .run(&search(), |it| {
            assert_same_search(&it);
            Ok(())
        })
        .unwrap();
    let [indexed, plain] = [0, 1].map(|it| ARCHIVES.files[it].load(Ordering::Relaxed));
    assert!(indexed * 10 < plain * 8, "{indexed} files were read in place of {plain}");
}

#[test]
fn a_value_is_looked_for_only_where_it_stands() {
    let archives = &*ARCHIVES;
    let files = |condition: &str| {
        let sql = format!("SELECT seq FROM events WHERE {condition}");
        archives.runtime.block_on(async { archives.indexed.sql(&sql).await.unwrap().files() })
    };
    assert_eq!(files("verb = 'get'"), DAYS);
    assert_eq!(files("audit_id = '3-1'"), 1);
    assert_eq!(files("audit_id IN ('3-1', '5-2', 'none')"), 2);
    assert_eq!(files("audit_id = 'none'"), 0);
    assert_eq!(files("audit_id = '3-1' AND verb = 'get'"), 1);
    assert_eq!(files("audit_id = '3-1' OR verb = 'get'"), DAYS);
    assert_eq!(
        files("audit_id = '3-1' AND array_has(source_ips, '10.0.0.3') AND user = 'nobody'"),
        0
    );
    assert!(files("array_has(source_ips, '10.0.0.13')") < 3);
    // More values than are looked up: every file is read.
    let many: Vec<String> = (0..300).map(|it| format!("'none-{it}'")).collect();
    assert_eq!(files(&format!("audit_id IN ({})", many.join(", "))), DAYS);
    assert_eq!(files(&format!("audit_id IN ({}) AND user = 'nobody'", many.join(", "))), 0);
}
