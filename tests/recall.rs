//! What single rules find in labelled genuine logs, request by request. What all of them find, and
//! what they find that nobody labelled, is in `quality.rs`.
#![allow(clippy::print_stdout, reason = "what was measured and what was skipped")]
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use common::labels::{RUNS, Scenario, scenarios};
use common::{corpus, detect, files, lines, put, sample, shared};
use kustos::detect::Finding;
use serde_json::Value;

/// What the events of one audit ID were.
#[derive(Debug, Default)]
struct Request {
    events: usize,
    /// The values of each field that labels ask for, one set an event.
    fields: Vec<BTreeMap<&'static str, String>>,
}

/// A labelled run.
struct Run {
    name: &'static str,
    requests: BTreeMap<String, Request>,
    scenarios: Vec<Scenario>,
    findings: Vec<Finding>,
}

/// What a rule came to, over all runs.
#[derive(Debug, Default)]
struct Score {
    labelled: usize,
    found: usize,
    missed: Vec<String>,
}

#[test]
fn each_rule_finds_the_labelled_requests_it_is_about() {
    let Some(corpus) = corpus() else { return };
    let labels = json("tests/data/rule-labels.json");
    let runs: Vec<Run> = RUNS.iter().map(|it| run(&corpus, it)).collect();
    let mut wrong = Vec::new();
    for (rule, label) in labels.as_object().unwrap() {
        let mut score = Score::default();
        runs.iter().for_each(|it| add(&mut score, it, rule, label));
        println!("{}: {} of {}", label["file"], score.found, score.labelled);
        wrong.extend(score.missed.iter().map(|it| format!("{} missed {it}", label["file"])));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn json(path: &str) -> Value {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The findings of the shipped rules, or of those that the options name.
fn findings(options: &[&OsStr], inputs: &[PathBuf]) -> Vec<Finding> {
    let ran = detect(options, inputs).ended(0);
    ran.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

fn run(corpus: &Path, name: &'static str) -> Run {
    let logs = files(&corpus.join("logs").join(name), &["zst", "gz", "log"]);
    let mut requests: BTreeMap<String, Request> = BTreeMap::new();
    for log in &logs {
        for line in lines(&common::uncompressed(log)) {
            let event: Value = serde_json::from_slice(line).unwrap();
            let request = requests.entry(text(&event["auditID"]).unwrap()).or_default();
            request.events += 1;
            request.fields.push(fields(&event));
        }
    }
    let all = ["--profile", "paranoid"].map(OsStr::new);
    Run { name, requests, scenarios: scenarios(corpus, name), findings: findings(&all, &logs) }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn fields(event: &Value) -> BTreeMap<&'static str, String> {
    let places = [
        ("verb", &event["verb"]),
        ("resource", &event["objectRef"]["resource"]),
        ("subresource", &event["objectRef"]["subresource"]),
        ("code", &event["responseStatus"]["code"]),
    ];
    places.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect()
}

impl Run {
    /// The requests in which a rule must find something.
    fn wanted(&self, label: &Value) -> BTreeSet<&str> {
        let lists = |list: &Value, name: &str| {
            list.as_array().is_some_and(|it| it.iter().any(|it| it == name))
        };
        let of_rule = |it: &&Scenario| {
            !it.benign
                && lists(&label["scenarios"], &it.name)
                && !lists(&label["not_visible"][self.name], &it.name)
        };
        let mut wanted = BTreeSet::new();
        for scenario in self.scenarios.iter().filter(of_rule) {
            let only = &label["only"][&scenario.name];
            let about = |id: &&String| only.is_null() || self.is_about(id, only);
            wanted.extend(scenario.flagged.iter().filter(about).map(String::as_str));
        }
        wanted
    }

    /// Whether an event of that request has one of the values listed for each field.
    fn is_about(&self, id: &str, only: &Value) -> bool {
        let Some(request) = self.requests.get(id) else { return false };
        let conditions: Vec<(&String, &Value)> =
            only.as_object().unwrap().iter().filter(|(key, _)| *key != "words").collect();
        request.fields.iter().any(|event| {
            conditions.iter().all(|(key, values)| {
                let has = event.get(key.as_str());
                values.as_array().unwrap().iter().any(|it| text(it).as_ref() == has)
            })
        })
    }
}

fn add(score: &mut Score, run: &Run, rule: &str, label: &Value) {
    let found = run.findings.iter().filter(|it| it.rule.id == rule);
    let ids: BTreeSet<String> = found.filter_map(audit_id).collect();
    for wanted in run.wanted(label) {
        score.labelled += 1;
        if ids.contains(wanted) {
            score.found += 1;
        } else {
            let of = run.scenarios.iter().find(|it| it.flagged.contains(wanted)).unwrap();
            score.missed.push(format!("{} {} {wanted}", run.name, of.name));
        }
    }
}

#[test]
fn the_sample_has_the_findings_that_were_recorded() {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let all = ["--profile", "paranoid"].map(OsStr::new);
    for finding in findings(&all, &[sample()]) {
        *found.entry(finding.rule.id).or_default() += 1;
    }
    let recorded = json("tests/data/audit-sample-findings.json");
    let recorded: BTreeMap<String, u64> = recorded
        .as_object()
        .unwrap()
        .iter()
        .map(|(rule, it)| (rule.clone(), it["findings"].as_u64().unwrap()))
        .filter(|(_, findings)| *findings > 0)
        .collect();
    assert_eq!(found, recorded);
}

#[test]
fn findings_do_not_depend_on_the_number_of_workers() {
    let inputs = match corpus() {
        Some(corpus) => files(&corpus.join("logs/B-mixed"), &["zst"]),
        None => vec![sample()],
    };
    let with =
        |workers: &str| detect(&["--workers", workers].map(OsStr::new), &inputs).ended(0).stdout;
    let one = with("1");
    assert!(!one.is_empty());
    assert!(one == with("2"), "other findings, or another order");
}

#[test]
fn sigmahqs_rules_find_something_in_genuine_logs() {
    let (Some(corpus), Some(packs)) = (corpus(), shared("conformance/packs")) else { return };
    let pack = packs.join("sigmahq");
    let options = [OsStr::new("--rules"), pack.as_os_str()];
    let mut logs = Vec::new();
    for run in fs::read_dir(corpus.join("logs")).unwrap() {
        logs.extend(files(&run.unwrap().path(), &["zst", "gz", "log"]));
    }
    let samples = files(&corpus.join("samples"), &["json", "txt"]);
    let mut table: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for (column, inputs) in [logs, samples].into_iter().enumerate() {
        for finding in findings(&options, &inputs) {
            table.entry(finding.rule.title).or_default()[column] += 1;
        }
    }
    for (title, [logs, samples]) in &table {
        println!("| {title} | {logs} | {samples} |");
    }
    assert!(table.len() >= 14, "{} of 16 rules found something", table.len());
}

#[test]
fn a_broken_rule_is_named_and_with_lenient_the_others_run() {
    let dir = tempfile::tempdir().unwrap();
    let rule = |title: &str, condition: &str| {
        format!(
            "title: {title}\nlevel: low\ndetection:\n  sel:\n    verb: get\n  condition: {condition}\n"
        )
    };
    put(&dir.path().join("good.yml"), rule("Good", "sel").as_bytes());
    let broken = put(&dir.path().join("broken.yml"), rule("Broken", "sel and other").as_bytes());
    let options = [OsStr::new("--rules"), dir.path().as_os_str()];
    let refused = detect(&options, &[sample()]).ended(2);
    let told = &refused.stderr;
    assert!(told.contains(&format!("{}", broken.display())), "{told}");
    assert!(told.contains("line 6") || told.contains("broken.yml:6"), "{told}");
    assert!(told.contains("other"), "{told}");
    assert!(refused.stdout.is_empty());
    let lenient = [&options[..], &[OsStr::new("--lenient")]].concat();
    let ran = detect(&lenient, &[sample()]).ended(0);
    assert!(ran.stderr.contains("broken.yml"), "{}", ran.stderr);
    assert!(ran.stdout.lines().count() > 0);
    assert!(ran.stdout.lines().all(|it| it.contains(r#""title":"Good""#)));
}

fn audit_id(finding: &Finding) -> Option<String> {
    finding.event.as_ref()?.audit_id.clone()
}
