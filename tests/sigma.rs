//! Other engines' test inputs, and what is made of them here.
//!
//! The suites are not part of this repository: they are read from the folder that
//! `KUSTOS_SHARED` names, or from `../shared`, and skipped where there is none.
//! Where an engine's answer is not ours, the case is pinned below with the reason.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot read its files should stop, and tells what it skips"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kustos::decode;
use kustos::rules::{LoadOptions, Loaded, Scratch, load_text};
use serde_json::Value;

/// Cases whose answer differs on purpose, by the start of their names, and why.
const PINNED: &[(&str, &str)] = &[
    // A sum of several rules in one engine, of which the suite holds one.
    ("sigma-rsigma/engine::diff_tests::generated_rule_sets_agree_with_full_scan", SET),
    ("sigma-rsigma/engine::tests::test_add_rules_collects_errors_without_aborting", SET),
    ("sigma-rsigma/explain::tests::explain_verdict_equals_engine_verdict", SET),
    ("sigma-rsigma/engine::diff_tests::generated_rules_agree_with_full_scan#168", ENCODED),
    ("sigma-rsigma/engine::diff_tests::generated_rules_agree_with_full_scan#169", TWICE),
    ("sigma-rsigma/engine::tests::test_expand_modifier", EXPAND),
    ("sigma-rsigma/correlation_engine::tests::test_expand_modifier", EXPAND),
    ("sigma-goengine/8:detection8_negative2", "`not` of a missing field is true"),
    (
        "sigma-goengine/14:detection14_case",
        "white space is not collapsed: the specification says nothing of it",
    ),
    ("sigma-rsigma-parse/engine::tests::test_add_rules_collects_errors_without_aborting", COMPILE),
    ("sigma-rsigma-parse/invalid_cidr_surfaces_at_compile_time", COMPILE),
    ("sigma-rsigma-parse/invalid_regex_surfaces_at_compile_time", COMPILE),
    ("sigma-rsigma-parse/numeric_comparison_with_non_numeric_value", COMPILE),
    ("sigma-rsigma-parse/timestamp_part_with_non_numeric_string_is_incompatible", COMPILE),
    ("sigma-rsigma-parse/unknown_detection_in_condition_errors_at_compile_time", COMPILE),
    ("sigma-rsigma-parse/modifier_contradiction_is_rejected", COMPILE),
    ("sigma-rsigma-parse/all_on_single_value_rejected", COMPILE),
    ("sigma-rsigma-parse/multiline_without_re_rejected", COMPILE),
    ("sigma-rsigma-parse/numeric_gt_rejects_contains", COMPILE),
    ("sigma-rsigma-parse/re_rejects_contains", COMPILE),
    ("sigma-rsigma-parse/wide_rejects_utf16", COMPILE),
    ("sigma-rsigma-parse/windash_rejects_gt", COMPILE),
    ("sigma-pysigma/test_action_repeat_global@196", "`repeat` needs a rule to repeat"),
    ("sigma-pysigma/test_invalid_related_id", METADATA),
    ("sigma-pysigma/test_invalid_author", METADATA),
    ("sigma-pysigma/test_sigmarule_date_with_exception_in_parsing", METADATA),
];

const SET: &str = "the recorded answer is that of a set of rules, and the suite holds one of them";
const ENCODED: &str = "a wildcard has no Base64, as in the reference implementation";
const TWICE: &str = "a key given twice is an error, as in the reference implementation";
const EXPAND: &str = "placeholders are the user's, not other fields of the event";
const COMPILE: &str = "the suite stops after parsing; the rule is refused when it is compiled";
const METADATA: &str = "metadata that plays no part in detection is not checked";

/// What a case came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Passed,
    Failed,
    NotApplicable,
}

#[test]
fn other_engines_cases_come_out_as_recorded() {
    let Some(shared) = shared() else {
        return;
    };
    let mut table: BTreeMap<&str, BTreeMap<Outcome, usize>> = BTreeMap::new();
    let mut failed = Vec::new();
    let mut pinned = BTreeSet::new();
    for (suite, judge) in SUITES {
        let folder = shared.join("conformance").join(suite);
        for line in fs::read_to_string(folder.join("cases.jsonl")).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let name = format!("{suite}/{}", case["case"].as_str().unwrap());
            let outcome = judge(&folder, &case);
            if outcome == Outcome::Failed {
                match PINNED.iter().find(|(start, _)| name.starts_with(start)) {
                    Some((start, _)) => drop(pinned.insert(*start)),
                    None => failed.push(name),
                }
            }
            *table.entry(suite).or_default().entry(outcome).or_default() += 1;
        }
    }
    println!("{table:#?}");
    for (start, _) in PINNED {
        assert!(pinned.contains(start), "{start} passes now: take its pin out");
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

type Judge = fn(&Path, &Value) -> Outcome;

const SUITES: &[(&str, Judge)] = &[
    ("sigma-rsigma", matching),
    ("sigma-goengine", matching),
    ("sigma-rsigma-parse", parsing),
    ("sigma-pysigma", accepting),
];

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

fn lenient(text: &str) -> Loaded {
    let options = LoadOptions { lenient: true, ..LoadOptions::default() };
    load_text([("case.yml", text)], &options).unwrap()
}

/// Errors that are not about documents this version does not know yet.
fn errors(loaded: &Loaded) -> Vec<String> {
    let told = loaded.errors.iter().map(|it| it.reason());
    told.filter(|it| !it.contains("not supported by this version")).collect()
}

fn matching(folder: &Path, case: &Value) -> Outcome {
    let text = fs::read_to_string(folder.join(case["rule_file"].as_str().unwrap())).unwrap();
    // One engine does not ask for titles.
    let titled = text.starts_with("title:") || text.contains("\ntitle:");
    let text = if titled { text } else { format!("title: {}\n{text}", case["rule"]) };
    let loaded = lenient(&text);
    if loaded.errors.iter().any(|it| it.reason().starts_with("filters are not")) {
        return Outcome::NotApplicable;
    }
    if !errors(&loaded).is_empty() {
        println!("{}: {:?}", case["case"], errors(&loaded));
        return Outcome::Failed;
    }
    let line = case["events"][0].to_string();
    let event = decode::line(line.as_bytes()).unwrap();
    let mut found = Vec::new();
    loaded.rules.matches(&event, &mut Scratch::default(), &mut found);
    let mut titles: Vec<&str> =
        found.iter().map(|it| loaded.rules.rule(*it).title.as_str()).collect();
    titles.sort_unstable();
    let same = match case["expect_titles"].as_array().filter(|it| !it.is_empty()) {
        Some(want) => {
            let mut want: Vec<&str> = want.iter().map(|it| it.as_str().unwrap()).collect();
            want.sort_unstable();
            want == titles
        }
        None => case["expect"].as_bool().unwrap() != titles.is_empty(),
    };
    if same {
        return Outcome::Passed;
    }
    println!("{}: {titles:?} instead of {}: {line}\n{text}", case["case"], case["expect_titles"]);
    Outcome::Failed
}

fn parsing(folder: &Path, case: &Value) -> Outcome {
    let text = fs::read_to_string(folder.join(case["rule_file"].as_str().unwrap())).unwrap();
    // Those are judged in tests/correlation.rs.
    if text.contains("correlation:") {
        return Outcome::NotApplicable;
    }
    verdict(case, &text)
}

fn verdict(case: &Value, text: &str) -> Outcome {
    let errors = errors(&lenient(text));
    if errors.is_empty() == case["expect"].as_bool().unwrap() {
        return Outcome::Passed;
    }
    println!("{}: {errors:?}", case["case"]);
    Outcome::Failed
}

fn accepting(_: &Path, case: &Value) -> Outcome {
    let kind = case["kind"].as_str().unwrap();
    if !matches!(kind, "rule" | "collection") || case["collect_errors"] == Value::Bool(true) {
        return Outcome::NotApplicable;
    }
    let text = match &case["input"] {
        Value::String(text) => text.clone(),
        Value::Array(documents) => {
            let documents = documents.iter().map(|it| yaml_serde::to_string(it).unwrap());
            documents.collect::<Vec<_>>().join("\n---\n")
        }
        other => yaml_serde::to_string(other).unwrap(),
    };
    // As above.
    if text.contains("correlation") {
        return Outcome::NotApplicable;
    }
    verdict(case, &text)
}
