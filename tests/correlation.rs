//! Correlations through the public API: rule files and events in, findings out.
//!
//! Other engines' test inputs are read from the folder that `KUSTOS_SHARED` names, or from
//! `../shared`, and skipped where there is none. Where an engine's answer is not ours, the case is
//! pinned below with the reason.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot read its files should stop, and tells what it skips"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kustos::detect::{Correlator, Finding, Limits, Window};
use kustos::rules::{LoadOptions, Loaded, RuleSet, load_text};
use serde_json::{Value, json};

#[path = "common/stream.rs"]
mod stream;

use stream::{EXEC, READ, Stream, counting, event, judged, rules, with};

fn lenient(text: &str) -> Loaded {
    let options = LoadOptions { lenient: true, ..LoadOptions::default() };
    load_text([("case.yml", text)], &options).unwrap()
}

/// Cases whose answer differs on purpose, by the start of their names, and why.
const PINNED: &[(&str, &str)] = &[
    (
        "correlation_engine::tests::test_chaining_event_count_to_temporal",
        "a correlation that another one counts gives no finding of its own: `generate` is false",
    ),
    (
        "correlation_engine::tests::test_expand_modifier_with_correlation",
        "placeholders are the user's, not other fields of the event",
    ),
    (
        "correlation_engine::tests::test_rsigma_max_group_entries_attribute_overrides",
        "an option of that engine; the specification has none such",
    ),
    (
        "correlation_engine::tests::test_process_with_detections_matches_process_event_at",
        "two runs over the same events, recorded as one",
    ),
];

#[test]
fn another_engines_correlations_come_out_as_recorded() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("conformance/sigma-rsigma-corr");
    let (mut passed, mut other) = (0, 0);
    let mut failed = Vec::new();
    let mut pinned = BTreeSet::new();
    let mut kept = Kept::default();
    for line in fs::read_to_string(folder.join("cases.jsonl")).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        if case["default_config"] != true {
            other += 1;
            continue;
        }
        let name = case["case"].as_str().unwrap();
        match recorded(&folder, &case, &mut kept) {
            Ok(()) => passed += 1,
            Err(why) => match PINNED.iter().find(|(start, _)| name.starts_with(start)) {
                Some((start, _)) => drop(pinned.insert(*start)),
                None => failed.push(format!("{name}: {why}")),
            },
        }
    }
    println!("{passed} passed, {} pinned, {other} of other configurations", pinned.len());
    for (start, _) in PINNED {
        assert!(pinned.contains(start), "{start} passes now: take its pin out");
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// The windows that the case before left behind, and its name.
#[derive(Default)]
struct Kept {
    name: String,
    windows: Vec<Window>,
}

fn recorded(folder: &Path, case: &Value, kept: &mut Kept) -> Result<(), String> {
    let text = fs::read_to_string(folder.join(case["rule_file"].as_str().unwrap())).unwrap();
    let loaded = lenient(&text);
    if let Some(error) = loaded.errors.first() {
        return Err(error.to_string());
    }
    let rules = Arc::new(loaded.rules);
    let mut correlator = Correlator::new(Arc::clone(&rules), Limits::default());
    // A case that goes on where the one before stopped has the same name and another number.
    let name = case["case"].as_str().unwrap().split('#').next().unwrap();
    if name.starts_with("export_import") && name == kept.name {
        for window in &kept.windows {
            assert!(correlator.restore(&window.correlation, &window.key, &window.state));
        }
    }
    let steps =
        case["events"].as_array().unwrap().iter().zip(case["expect_steps"].as_array().unwrap());
    for (step, want) in steps {
        let mut event = step["event"].clone();
        event["@timestamp"] = step["ts"].clone();
        let mut out = Vec::new();
        for observation in judged(&rules, "c", &event.to_string()).observations {
            correlator.observe(observation, &mut out);
        }
        let got: BTreeSet<String> = out.iter().map(shown).collect();
        let wanted: BTreeSet<String> = want.as_array().unwrap().iter().map(wanted).collect();
        if got != wanted {
            return Err(format!("at {}: {got:?} instead of {wanted:?}", step["ts"]));
        }
    }
    *kept = Kept { name: name.to_owned(), windows: correlator.changes().set };
    Ok(())
}

fn shown(finding: &Finding) -> String {
    let correlation = finding.correlation.as_ref().unwrap();
    let group: Vec<String> = correlation
        .group
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
        .collect();
    let value = correlation.value.as_ref().unwrap().as_f64().unwrap();
    format!("{} {group:?} {value}", finding.rule.title)
}

fn wanted(result: &Value) -> String {
    let pair = |it: &Value| format!("{}={}", it[0].as_str().unwrap(), it[1].as_str().unwrap());
    let mut group: Vec<String> = result["group_key"].as_array().unwrap().iter().map(pair).collect();
    group.sort_unstable();
    format!("{} {group:?} {}", result["title"].as_str().unwrap(), result["value"].as_f64().unwrap())
}

fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("KUSTOS_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let found = named.unwrap_or(beside);
    let there = found.join("conformance").is_dir();
    if !there {
        println!("skipped: no {}", found.join("conformance").display());
    }
    there.then_some(found)
}

/// Errors that a suite which stops after parsing does not have: they are about other documents.
const LINKED: [&str; 3] =
    ["no rule and no correlation is called", "the correlation counts itself", "it refers to"];

/// Correlation documents whose recorded verdict is not ours, and why.
const PINNED_DOCUMENTS: &[(&str, &str)] = &[
    (
        "correlation::tests::test_compile_correlation_rejects_multi_field_numeric_aggregations",
        "the suite stops after parsing; the rule is refused when it is compiled",
    ),
    (
        "extended_condition_on_non_temporal_type",
        "the suite stops after parsing; the rule is refused when it is compiled",
    ),
];

#[test]
fn other_engines_correlation_documents_are_taken_and_refused_as_recorded() {
    let Some(shared) = shared() else { return };
    let (mut passed, mut failed) = (0, Vec::new());
    let mut pinned = BTreeSet::new();
    for (suite, linked) in [("sigma-rsigma-parse", false), ("sigma-pysigma", true)] {
        let folder = shared.join("conformance").join(suite);
        for line in fs::read_to_string(folder.join("cases.jsonl")).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let text = document(&folder, &case);
            if !text.contains("correlation:") || case["collect_errors"] == true {
                continue;
            }
            // A collection has all its documents; a lone correlation has not what it counts.
            let linked = linked && case["kind"] == "collection";
            let told = lenient(&text).errors.iter().map(ToString::to_string).collect::<Vec<_>>();
            let other = |it: &&String| linked || !LINKED.iter().any(|word| it.contains(word));
            let errors: Vec<&String> = told.iter().filter(other).collect();
            let name = case["case"].as_str().unwrap();
            if errors.is_empty() == case["expect"].as_bool().unwrap() {
                passed += 1;
            } else if let Some((start, _)) =
                PINNED_DOCUMENTS.iter().find(|(start, _)| name.starts_with(start))
            {
                pinned.insert(*start);
            } else {
                failed.push(format!("{suite} {name}: {errors:?}\n{text}"));
            }
        }
    }
    println!("{passed} passed, {} pinned", pinned.len());
    assert_eq!(pinned.len(), PINNED_DOCUMENTS.len(), "{pinned:?}: take the others' pins out");
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

fn document(folder: &Path, case: &Value) -> String {
    if let Some(file) = case["rule_file"].as_str() {
        return fs::read_to_string(folder.join(file)).unwrap();
    }
    match &case["input"] {
        Value::String(text) => text.clone(),
        Value::Array(documents) => {
            let documents = documents.iter().map(|it| yaml_serde::to_string(it).unwrap());
            documents.collect::<Vec<_>>().join("\n---\n")
        }
        other => yaml_serde::to_string(other).unwrap(),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of what can be wrong")]
fn every_error_has_its_line_and_a_remedy() {
    for (block, want) in [
        (
            "type: event_cuont",
            r#"line 20: unknown correlation type "event_cuont"; did you mean "event_count"?"#,
        ),
        (
            "typ: event_count",
            r#"line 20: unknown key "typ" in "correlation"; did you mean "type"?"#,
        ),
        ("rules: read", r#"the correlation has no "type""#),
        (
            "type: event_count\n  rules: [secret_raed]\n  timespan: 1m\n  condition: {gte: 1}",
            r#"line 21: no rule and no correlation is called "secret_raed"; did you mean "secret_read"?"#,
        ),
        (
            "type: event_count\n  rules: {a: b}\n  timespan: 1m",
            r#"line 21: "rules" must be a name or a list of names"#,
        ),
        (
            "type: event_count\n  rules: read\n  condition: {gte: 1}",
            r#"the correlation has no "timespan""#,
        ),
        ("type: event_count\n  rules: read\n  timespan: 5x", r#"line 22: "5x" is no timespan"#),
        ("type: event_count\n  rules: read\n  timespan: 0s", r#""0s" is no timespan"#),
        ("type: event_count\n  rules: read\n  timespan: 200y", "longer than 100 years"),
        (
            "type: event_count\n  rules: read\n  timespan: 1m",
            "a correlation of type event_count needs a condition",
        ),
        (
            "type: event_count\n  rules: read\n  timespan: 1m\n  condition: {gt: much}",
            r#"line 23: "gt" must be a number"#,
        ),
        (
            "type: event_count\n  rules: read\n  timespan: 1m\n  condition: {more: 1}",
            r#"unknown key "more" in "condition""#,
        ),
        (
            "type: event_count\n  rules: read\n  timespan: 1m\n  condition: {gte: 100001}",
            "more than 100000 events cannot be remembered",
        ),
        (
            "type: event_count\n  rules: read\n  timespan: 1m\n  condition: {gte: 1, field: x}",
            r#""field" has no meaning in a correlation of type event_count"#,
        ),
        (
            "type: event_count\n  rules: read\n  timespan: 1m\n  condition: read",
            "line 23: a condition over rules is only for temporal",
        ),
        (
            "type: value_count\n  rules: read\n  timespan: 1m\n  condition: {gte: 1}",
            r#"a correlation of type value_count needs "field""#,
        ),
        (
            "type: value_sum\n  rules: read\n  timespan: 1m\n  condition: {gte: 1, field: [a, b]}",
            "takes a single field",
        ),
        (
            "type: value_sum\n  rules: read\n  timespan: 1m\n  condition: {gte: 1, field: kustos.nothing}",
            r#"unknown field "kustos.nothing""#,
        ),
        (
            "type: value_percentile\n  rules: read\n  timespan: 1m\n  condition: {gte: 1, field: a, percentile: 101}",
            "must be a number from 0 to 100",
        ),
        (
            "type: value_sum\n  rules: read\n  timespan: 1m\n  condition: {gte: 1, field: a, percentile: 1}",
            r#""percentile" has no meaning"#,
        ),
        (
            "type: temporal\n  rules: [read, exec]\n  timespan: 1m\n  condition: read",
            r#""exec" stands in "rules" and not in the condition"#,
        ),
        (
            "type: temporal\n  rules: [read]\n  timespan: 1m\n  condition: read and exec",
            r#""exec" stands in the condition and not in "rules""#,
        ),
        ("type: temporal\n  timespan: 1m\n  condition: 1 of them", "chooses among"),
        (
            "type: temporal\n  rules: [read, exec]\n  timespan: 1m\n  condition: read and and exec",
            "line 23: ",
        ),
        (
            "type: temporal\n  rules: read\n  timespan: 1m\n  window: session",
            r#"a session needs "gap""#,
        ),
        (
            "type: temporal\n  rules: read\n  timespan: 1m\n  generate: maybe",
            r#"line 23: "generate" must be true or false"#,
        ),
        (
            "type: temporal\n  rules: read\n  timespan: 1m\n  aliases: x",
            r#""aliases" must be a map"#,
        ),
        (
            "type: temporal\n  rules: read\n  timespan: 1m\n  aliases: {x: {raed: y}}",
            r#"line 23: no rule and no correlation is called "raed""#,
        ),
        (
            "type: temporal\n  rules: self\n  timespan: 1m",
            "the correlation counts itself, by way of self",
        ),
        (
            "type: new_terms\n  rules: read\n  timespan: 30d",
            "a correlation of type new_terms needs \"field\"",
        ),
        (
            "type: absence\n  rules: read\n  timespan: 30d\n  condition: {gte: 1}",
            "\"condition\" has no meaning",
        ),
        (
            "type: absence\n  rules: read\n  timespan: 30d\n  window: sliding",
            "\"window\" has no meaning",
        ),
    ] {
        let text = format!("{READ}---\n{EXEC}---\ntitle: C\nid: self\ncorrelation:\n  {block}\n");
        let error =
            load_text([("x.yml", &*text)], &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(want) && error.contains("x.yml: rule \"C\""), "{block}\n{error}");
    }
}

#[test]
fn cycles_and_what_leans_on_what_is_broken_are_refused() {
    let of = |id: &str, rules: &str| {
        format!(
            "title: {id}\nid: {id}\ncorrelation:\n  type: event_count\n  rules: [{rules}]\n  timespan: 1m\n  condition: {{gte: 1}}\n"
        )
    };
    let text = format!(
        "{READ}---\n{}---\n{}---\n{}---\n{}---\n{}",
        of("a", "b"),
        of("b", "a, read"),
        of("c", "a"),
        of("d", "e"),
        of("e", "nothing")
    );
    let told: Vec<String> = lenient(&text).errors.iter().map(|it| it.reason()).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    for want in [
        "the correlation counts itself, by way of b, a",
        "the correlation counts itself, by way of a, b",
        "it refers to a correlation that is broken, \"a\"",
        "it refers to a correlation that is broken, \"e\"",
        "no rule and no correlation is called \"nothing\"",
    ] {
        assert!(told.iter().any(|it| it == want), "{want}: {told:?}");
    }
    let chain: String = (0..11)
        .map(|at| format!("---\n{}", of(&format!("x{}", at + 1), &format!("x{at}"))))
        .collect();
    let text = format!("{READ}{}", chain.replace("[x0]", "[read]"));
    let told: Vec<String> = lenient(&text).errors.iter().map(|it| it.to_string()).collect();
    assert!(told.len() == 1 && told[0].contains("chain of more than 10"), "{told:?}");
}

#[test]
fn the_documents_examples_load() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/correlations.md");
    let text = fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> =
        text.split("```yaml\n").skip(1).filter_map(|it| it.split("```").next()).collect();
    let rules = rules(&blocks.join("---\n"));
    let kinds: BTreeSet<&str> = rules.correlations().iter().map(|it| it.kind.name()).collect();
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    for limit in [
        "100,000",
        "10,000",
        "512 MiB",
        "64 MiB",
        "1 minute",
        "16 values",
        "256 bytes",
        "1,000 rules",
    ] {
        assert!(text.contains(limit), "{limit}");
    }
}

#[test]
fn a_finding_is_the_json_that_was_promised() {
    let rules = counting(
        "event_count",
        "  timespan: 5m\n  condition: {gte: 2}\nlevel: high\ntags: [attack.t1552]\n",
    );
    let line = |second: u32| {
        format!(
            r#"{{"auditID":"a-{second}","stage":"ResponseComplete","stageTimestamp":"2026-11-23T03:39:{second}.000000Z","verb":"get","user":{{"username":"eve"}},"objectRef":{{"resource":"secrets","name":"x"}}}}"#
        )
    };
    let mut correlator = Correlator::new(Arc::clone(&rules), Limits::default());
    let mut out = Vec::new();
    for second in [13, 14] {
        let judged = judged(&rules, "prod", &line(second));
        assert!(judged.findings.is_empty(), "a rule that is counted alerts");
        judged.observations.into_iter().for_each(|it| correlator.observe(it, &mut out));
    }
    assert_eq!(out.len(), 1);
    let got = serde_json::to_value(&out[0]).unwrap();
    let member = |second: u32| {
        json!({"time": format!("2026-11-23T03:39:{second}.000000Z"), "auditID": format!("a-{second}"),
            "stage": "ResponseComplete", "verb": "get", "user": "eve", "sourceIPs": null,
            "objectRef": {"resource": "secrets", "name": "x"}, "requestURI": null, "code": null, "decision": null,
            "source": {"name": "audit.log", "position": 7}})
    };
    let want = json!({
        "id": out[0].id, "ruleset": rules.hash(), "cluster": "prod",
        "rule": {"id": "many", "title": "Many", "level": "high", "dialect": "sigma", "tags": ["attack.t1552"],
            "hash": rules.correlations()[0].rule.hash},
        "time": "2026-11-23T03:39:14.000000Z",
        "events": [member(13), member(14)],
        "correlation": {"type": "event_count", "group": {"user.username": "eve"}, "value": 2, "timespan": "5m", "count": 2},
        "source": {"name": "audit.log", "position": 7},
    });
    assert_eq!(got, want);
    assert_eq!(serde_json::from_value::<Finding>(got).unwrap(), out[0]);
}

#[test]
fn generate_lets_the_counted_rules_alert() {
    let with = |generate: &str| {
        counting("event_count", &format!("  timespan: 5m\n  condition: {{gte: 2}}\n{generate}"))
    };
    let line = event(1, "get", "a").to_string();
    assert_eq!(judged(&with(""), "c", &line).findings.len(), 0);
    assert_eq!(judged(&with("generate: true\n"), "c", &line).findings.len(), 1);
    assert_eq!(judged(&with("  generate: true\n"), "c", &line).findings.len(), 1);
    assert_eq!(judged(&with(""), "c", &event(1, "create", "a").to_string()).findings.len(), 1);
}

#[test]
fn nothing_is_counted_across_clusters_and_one_event_counts_once() {
    let text = "title: Both\ncorrelation:\n  type: event_count\n  rules: [read, twin]\n  timespan: 1m\n  condition: {gte: 2}\n---\ntitle: Twin\nid: twin\ndetection:\n  sel: {verb: get}\n  condition: sel\n";
    let mut stream = Stream::new(&with(text));
    assert!(stream.of("one", &event(1, "get", "a")).is_empty());
    assert!(stream.of("two", &event(2, "get", "a")).is_empty());
    assert_eq!(stream.of("one", &event(3, "get", "a")).len(), 1);
}

#[test]
fn temporal_conditions_are_judged_over_rules() {
    let of = |kind: &str, rest: &str| {
        with(&format!(
            "title: T\ncorrelation:\n  type: {kind}\n  group-by: username\n  timespan: 1m\n{rest}"
        ))
    };
    let fires = |rules: Arc<RuleSet>, verbs: &[&str]| {
        let mut stream = Stream::new(&rules);
        let fired =
            (0..).zip(verbs).map(|(second, verb)| !stream.put(second, verb, "a").is_empty());
        fired.collect::<Vec<bool>>()
    };
    let both = "  rules: [read, exec]\n";
    assert_eq!(fires(of("temporal", both), &["create", "get", "get"]), [false, true, true]);
    assert_eq!(
        fires(of("temporal_ordered", both), &["create", "get", "create"]),
        [false, false, true]
    );
    let condition = |text: &str| format!("  condition: {text}\n");
    assert_eq!(
        fires(of("temporal", &condition("read and not exec")), &["get", "create", "get"]),
        [true, false, false]
    );
    assert_eq!(
        fires(of("temporal", &condition("secret_read and pod_exec")), &["get", "create"]),
        [false, true]
    );
    assert_eq!(
        fires(of("temporal", &(both.to_owned() + &condition("1 of them"))), &["get"]),
        [true]
    );
    assert_eq!(
        fires(of("temporal", &(both.to_owned() + &condition("all of *"))), &["get", "create"]),
        [false, true]
    );
    assert_eq!(
        fires(of("temporal_ordered", &condition("exec and read")), &["get", "create", "get"]),
        [false, false, true]
    );
}

#[test]
fn values_are_added_up_and_ranked() {
    let run = |kind: &str, condition: &str| {
        let rules =
            counting(kind, &format!("  timespan: 1m\n  condition: {{field: size, {condition}}}\n"));
        let mut stream = Stream::new(&rules);
        let sizes = [json!(10), json!("20"), json!("no"), json!(45)];
        let steps = sizes.iter().zip(0..).map(|(size, second)| {
            let mut event = event(second, "get", "a");
            event["size"] = size.clone();
            stream.values(&event)
        });
        steps.flatten().collect::<Vec<f64>>()
    };
    assert_eq!(run("value_sum", "gt: 0"), [10.0, 30.0, 75.0]);
    assert_eq!(run("value_avg", "gte: 15.5"), [25.0]);
    assert_eq!(run("value_median", "neq: 10"), [15.0, 20.0]);
    assert_eq!(run("value_percentile", "gt: 0, percentile: 100"), [10.0, 20.0, 45.0]);
    assert_eq!(run("value_percentile", "gt: 0, percentile: 25"), [10.0, 12.5, 15.0]);
    assert_eq!(run("value_count", "gte: 3, lt: 4"), [3.0]);
}

#[test]
fn chains_count_correlations_by_the_groups_they_tell() {
    let text = "title: Burst\nid: burst\ncorrelation:\n  type: event_count\n  rules: read\n  group-by: [user.username, ns]\n  timespan: 1m\n  condition: {eq: 2}\n---\ntitle: Spread\ncorrelation:\n  type: value_count\n  rules: burst\n  group-by: who\n  aliases: {who: {burst: user.username}}\n  timespan: 1h\n  condition: {field: ns, gte: 2}\n";
    let mut stream = Stream::new(&with(text));
    let mut put = |second: i64, ns: &str| {
        let mut event = event(second, "get", "eve");
        event["ns"] = ns.into();
        stream.of("c", &event)
    };
    assert!(put(1, "a").is_empty() && put(2, "a").is_empty() && put(3, "b").is_empty());
    let found = put(4, "b");
    assert_eq!(found.len(), 1, "the one that is counted alerts, or the other does not");
    let correlation = found[0].correlation.as_ref().unwrap();
    assert_eq!((&*found[0].rule.title, &correlation.group["who"]), ("Spread", &json!("eve")));
    assert!(!found[0].events.as_ref().unwrap().is_empty());
    let bad = with_error(
        "title: X\ncorrelation:\n  type: value_count\n  rules: [burst]\n  timespan: 1m\n  condition: {field: verb, gte: 1}\n",
        text,
    );
    assert!(bad.contains("\"burst\" has no \"verb\" in its \"group-by\""), "{bad}");
}

fn with_error(correlation: &str, more: &str) -> String {
    let text = format!("{READ}---\n{more}---\n{correlation}");
    load_text([("x.yml", &*text)], &LoadOptions::default()).unwrap_err().to_string()
}
