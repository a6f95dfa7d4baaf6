//! Every shipped rule beside its test: events that it must match and near misses
//! that it must not.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kustos::decode;
use kustos::rules::{LoadOptions, Profile, RuleSet, Scratch, load, shipped};
use serde_json::Value;

/// Events that a rule must find, and near ones that it must not, at the least.
const MATCHES_MIN: usize = 2;
const MISSES_MIN: usize = 3;

#[test]
fn every_shipped_rule_matches_what_its_tests_say() {
    let mut wrong = Vec::new();
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")) {
        let rules = match load(std::slice::from_ref(&file), &LoadOptions::default()) {
            Ok(loaded) => {
                wrong.extend(loaded.warnings.iter().map(ToString::to_string));
                loaded.rules
            }
            Err(error) => {
                wrong.push(error.to_string());
                continue;
            }
        };
        judge(&rules, &file.with_extension("test.jsonl"), &mut wrong);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Adds what the rule gets wrong in its test file.
fn judge(rules: &RuleSet, tests: &Path, wrong: &mut Vec<String>) {
    let name = tests.display();
    // A correlation is tried with sequences, by `kustos rules test`; here its cases are counted.
    let correlates = rules.subjects().count() > rules.len();
    if !correlates && rules.len() != 1 {
        wrong.push(format!("{name}: {} rules in one file", rules.len()));
    }
    let Ok(text) = fs::read_to_string(tests) else {
        wrong.push(format!("{name}: missing"));
        return;
    };
    let (mut positive, mut negative) = (0, 0);
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let case: Value = serde_json::from_str(line).unwrap();
        let want = case["match"].as_bool().unwrap();
        assert!(case["why"].as_str().is_some_and(|it| !it.is_empty()), "{name}:{}", at + 1);
        if !correlates && matches(rules, &case["event"]) != want {
            let told = if want { "does not match" } else { "matches" };
            wrong.push(format!("{name}:{}: {told}: {}", at + 1, case["why"]));
        }
        if want { positive += 1 } else { negative += 1 }
    }
    if positive < MATCHES_MIN || negative < MISSES_MIN {
        wrong.push(format!("{name}: {positive} events to match, {negative} not to"));
    }
}

fn matches(rules: &RuleSet, event: &Value) -> bool {
    let text = event.to_string();
    let event = decode::line(text.as_bytes()).unwrap();
    let mut found = Vec::new();
    rules.matches(&event, &mut Scratch::default(), &mut found);
    !found.is_empty()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|it| it == "yml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_genuine_sample_has_the_findings_it_should() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read(root.join("tests/data").join(file)).unwrap();
    let want: BTreeMap<String, Value> =
        serde_json::from_slice(&read("audit-sample-findings.json")).unwrap();
    let rules = shipped(Profile::Paranoid).unwrap();
    let mut counts: BTreeMap<&str, u64> =
        rules.rules().iter().map(|it| (it.id.as_str(), 0)).collect();
    let (mut scratch, mut found) = (Scratch::default(), Vec::new());
    for line in read("audit-sample.log").split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
        let event = decode::line(line).unwrap();
        rules.matches(&event, &mut scratch, &mut found);
        for index in &found {
            *counts.entry(&rules.rule(*index).id).or_default() += 1;
        }
    }
    let correlations: BTreeSet<&str> =
        rules.subjects().skip(rules.len()).map(|(_, it)| it.id.as_str()).collect();
    for (id, want) in want.iter().filter(|(id, _)| !correlations.contains(id.as_str())) {
        assert_eq!(counts.get(id.as_str()).copied(), want["findings"].as_u64(), "{}", want["file"]);
    }
    let telling = rules.subjects().filter(|(it, _)| !rules.only_counted(*it));
    assert_eq!(telling.count(), want.len());
    assert_eq!(scratch.bodies_unread(), 0);
}
