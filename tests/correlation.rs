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

use kustos::decode;
use kustos::detect::{Correlator, Finding, Judged, Limits, Origin, Window, judge};
use kustos::rules::{LoadOptions, Loaded, RuleSet, Scratch, load_text};
use serde_json::Value;

fn lenient(text: &str) -> Loaded {
    let options = LoadOptions { lenient: true, ..LoadOptions::default() };
    load_text([("case.yml", text)], &options).unwrap()
}

/// What the rules make of one line.
fn judged(rules: &RuleSet, line: &str) -> Judged {
    let event = decode::line(line.as_bytes()).unwrap();
    let origin = Origin { cluster: "c", source: "audit.log", position: 7 };
    let mut out = Judged::default();
    judge(&event, rules, &mut Scratch::default(), &origin, &mut out);
    out
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
    ("correlation_engine::tests::test_filter_with_correlation", "filters are not read"),
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
        for observation in judged(&rules, &event.to_string()).observations {
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
