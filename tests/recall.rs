//! What the shipped rules find in labelled genuine logs, what they miss, and what they find that
//! nobody labelled. `docs/rules/quality.md` is the table; `UPDATE_QUALITY=1` writes it.
#![allow(clippy::print_stdout, reason = "what was measured and what was skipped")]
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use common::{corpus, detect, files, lines, put, sample, shared};
use kustos::detect::Finding;
use kustos::rules::{self, Level};
use serde_json::Value;

/// The runs whose requests are labelled.
const RUNS: [&str; 4] = ["A-metadata", "B-mixed", "E-request-stages-gz", "F-rare"];

/// A label of what the administrator did to set the cluster up: neither attack nor look-alike.
const BOOTSTRAP: &str = "cluster_bootstrap";

/// More findings than this on 10,000 background events is noise, from level medium upward.
const EXTRA_MAX: f64 = 1.0;

/// Scenarios that are labelled harmless for what the API server did in them, and in which the rule
/// is right all the same: they were played by a user with a cluster-admin binding of her own.
const RIGHT: [(&str, &str); 2] = [
    ("rules/access/cluster-admin-used.yml", "aggregated_api_503"),
    ("rules/access/cluster-admin-used.yml", "request_timeout"),
];

const QUALITY: &str = "docs/rules/quality.md";

/// What the events of one audit ID were.
#[derive(Debug, Default)]
struct Request {
    events: usize,
    /// The values of each field that labels ask for, one set an event.
    fields: Vec<BTreeMap<&'static str, String>>,
}

/// A scenario that was played, with the audit IDs of its requests.
struct Scenario {
    name: String,
    benign: bool,
    flagged: BTreeSet<String>,
    all: BTreeSet<String>,
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
    file: String,
    level: String,
    labelled: usize,
    found: usize,
    missed: Vec<String>,
    /// Findings in look-alikes, by scenario.
    alike: BTreeMap<String, usize>,
    /// Findings in events that nobody labelled.
    extra: Vec<String>,
}

#[test]
fn the_shipped_rules_find_every_labelled_attack() {
    let Some(corpus) = corpus() else { return };
    let labels = json("tests/data/rule-labels.json");
    let runs: Vec<Run> = RUNS.iter().map(|it| run(&corpus, it)).collect();
    let background: usize = runs.iter().map(Run::background).sum();
    let scores = scores(&runs, &labels);
    let table = table(&scores, background);
    println!("{table}");
    if std::env::var_os("UPDATE_QUALITY").is_some() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules");
        fs::create_dir_all(&folder).unwrap();
        put(&folder.join("quality.md"), page(&table, background).as_bytes());
    }
    println!("{}", unseen(&runs));
    let wrong = judge(&scores, background);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let written = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(QUALITY)).unwrap();
    assert!(written.contains(&table), "{QUALITY} is out of date: run this with UPDATE_QUALITY=1");
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
    let text = fs::read_to_string(corpus.join("labels.jsonl")).unwrap();
    let labels = text.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
    let scenarios = labels.filter(|it| it["run"] == name).map(|it| scenario(&it)).collect();
    Run { name, requests, scenarios, findings: findings(&[], &logs) }
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

fn scenario(label: &Value) -> Scenario {
    let ids = |key: &str| {
        let ids = label[key].as_array().unwrap().iter();
        ids.map(|it| it.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let flagged = ids("audit_ids");
    let mut all = ids("context_audit_ids");
    all.extend(flagged.iter().cloned());
    all.extend(label["requests"].as_array().unwrap().iter().filter_map(|it| text(&it["auditID"])));
    Scenario {
        name: label["scenario"].as_str().unwrap().to_owned(),
        benign: label["benign"].as_bool().unwrap(),
        flagged,
        all,
    }
}

impl Run {
    fn labelled(&self) -> BTreeSet<&str> {
        self.scenarios.iter().flat_map(|it| &it.all).map(String::as_str).collect()
    }

    /// Events of requests that nobody labelled.
    fn background(&self) -> usize {
        let labelled = self.labelled();
        let rest = self.requests.iter().filter(|(id, _)| !labelled.contains(id.as_str()));
        rest.map(|(_, it)| it.events).sum()
    }

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

fn scores(runs: &[Run], labels: &Value) -> BTreeMap<String, Score> {
    let shipped = rules::shipped().unwrap();
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for rule in shipped.rules() {
        let label = &labels[&rule.id];
        assert!(label.is_object(), "{} has no entry in rule-labels.json", rule.id);
        let file = label["file"].as_str().unwrap().to_owned();
        let mut score = Score { file, level: rule.level.to_string(), ..Score::default() };
        for run in runs {
            add(&mut score, run, &rule.id, label);
        }
        scores.insert(rule.id.clone(), score);
    }
    scores
}

fn add(score: &mut Score, run: &Run, rule: &str, label: &Value) {
    let found: Vec<&Finding> = run.findings.iter().filter(|it| it.rule.id == rule).collect();
    let id = |it: &&Finding| audit_id(it).unwrap_or_default();
    let ids: BTreeSet<String> = found.iter().map(id).collect();
    let labelled = run.labelled();
    for wanted in run.wanted(label) {
        score.labelled += 1;
        if ids.contains(wanted) {
            score.found += 1;
        } else {
            let of = run.scenarios.iter().find(|it| it.flagged.contains(wanted)).unwrap();
            score.missed.push(format!("{} {} {wanted}", run.name, of.name));
        }
    }
    for finding in found {
        let id = id(&finding);
        if !labelled.contains(id.as_str()) {
            score.extra.push(format!(
                "{} {id} {:?}",
                run.name,
                finding.event.as_ref().map(|it| &it.user)
            ));
        }
        let alike = run.scenarios.iter().filter(|it| it.benign && it.name != BOOTSTRAP);
        for scenario in alike.filter(|it| it.flagged.contains(&id)) {
            *score.alike.entry(scenario.name.clone()).or_default() += 1;
        }
    }
}

/// The attacks in which no rule finds anything, by how often they were played.
fn unseen(runs: &[Run]) -> String {
    let mut unseen: BTreeMap<String, usize> = BTreeMap::new();
    for run in runs {
        let id = audit_id;
        let found: BTreeSet<String> = run.findings.iter().filter_map(id).collect();
        for it in run.scenarios.iter().filter(|it| !it.benign && it.flagged.is_disjoint(&found)) {
            *unseen.entry(format!("{} {}", it.name, run.name)).or_default() += 1;
        }
    }
    format!("attacks without a finding: {unseen:#?}")
}

fn judge(scores: &BTreeMap<String, Score>, background: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    for score in scores.values() {
        let file = score.file.as_str();
        wrong.extend(score.missed.iter().map(|it| format!("{file} missed {it}")));
        if score.level.parse::<Level>().unwrap() < Level::Medium {
            continue;
        }
        let share = share(score.extra.len(), background);
        if share >= EXTRA_MAX {
            wrong.push(format!("{file}: {share:.2} in 10,000: {:#?}", score.extra));
        }
        for (scenario, hits) in &score.alike {
            if !RIGHT.contains(&(file, scenario.as_str())) {
                wrong.push(format!("{file}: {hits} findings in the look-alike {scenario}"));
            }
        }
    }
    wrong
}

/// How many of 10,000.
#[expect(clippy::cast_precision_loss, reason = "counts of events are far below 2^53")]
fn share(count: usize, of: usize) -> f64 {
    count as f64 * 10_000.0 / of as f64
}

fn table(scores: &BTreeMap<String, Score>, background: usize) -> String {
    let mut rows: Vec<&Score> = scores.values().collect();
    rows.sort_by(|one, other| one.file.cmp(&other.file));
    let mut table = String::from(
        "| rule | level | labelled | found | missed | in look-alikes | extra | extra in 10,000 |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let alike: Vec<String> =
            row.alike.iter().map(|(name, hits)| format!("{hits} `{name}`")).collect();
        let alike = if alike.is_empty() { "0".to_owned() } else { alike.join(", ") };
        let file = row.file.trim_start_matches("rules/").trim_end_matches(".yml");
        writeln!(
            table,
            "| {file} | {} | {} | {} | {} | {alike} | {} | {:.2} |",
            row.level,
            row.labelled,
            row.found,
            row.missed.len(),
            row.extra.len(),
            share(row.extra.len(), background),
        )
        .unwrap();
    }
    table
}

fn page(table: &str, background: usize) -> String {
    format!(
        "# How well the shipped rules find\n\n\
         This is `kustos detect` with the shipped rules over four labelled runs of a genuine API server\n\
         ({}). They hold attacks, look-alikes of attacks, and {background} background events that belong to neither.\n\
         *Labelled* counts the requests of the attacks that a rule is about (`tests/data/rule-labels.json`), left\n\
         out where the audit level records too little to tell; *found* those with at least one finding, *missed*\n\
         the rest. *In look-alikes* counts findings in harmless requests that come close to an attack; a rule of\n\
         level low may have them. The two of `cluster-admin-used` are by a user with a cluster-admin binding of her\n\
         own, and right. *Extra* counts findings in background events, in all and in 10,000. `tests/recall.rs`\n\
         makes this page with `UPDATE_QUALITY=1`; it fails when a rule misses a request, and when one of level\n\
         medium or above has an extra finding in 10,000 events or one in any other look-alike.\n\n{table}",
        RUNS.join(", ")
    )
}

#[test]
fn the_sample_has_the_findings_that_were_recorded() {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for finding in findings(&[], &[sample()]) {
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
