//! Every shipped rule beside its test: events that it must match and near misses
//! that it must not.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

use std::fs;
use std::path::{Path, PathBuf};

use kustos::decode;
use kustos::rules::{LoadOptions, RuleSet, Scratch, load};
use serde_json::Value;

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
    if rules.len() != 1 {
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
        let event = case["event"].to_string();
        let event = decode::line(event.as_bytes()).unwrap();
        let mut found = Vec::new();
        rules.matches(&event, &mut Scratch::default(), &mut found);
        if found.is_empty() == want {
            let told = if want { "does not match" } else { "matches" };
            wrong.push(format!("{name}:{}: {told}: {}", at + 1, case["why"]));
        }
        if want { positive += 1 } else { negative += 1 }
    }
    if positive == 0 || negative == 0 {
        wrong.push(format!("{name}: {positive} events to match, {negative} not to"));
    }
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
