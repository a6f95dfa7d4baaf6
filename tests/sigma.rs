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
    (
        "sigma-rsigma-parse/correlation::tests::test_compile_correlation_rejects_multi_field_numeric_aggregations",
        COMPILE,
    ),
    ("sigma-rsigma-parse/correlation_engine::tests::test_correlation_cycle", COMPILE),
    ("sigma-rsigma-parse/extended_condition_on_non_temporal_type", COMPILE),
    ("sigma-rsigma-parse/correlation_cycle_detected_at_add_collection", COMPILE),
    ("sigma-pysigma/test_action_repeat_global@196", "`repeat` needs a rule to repeat"),
    ("sigma-pysigma/test_invalid_related_id", METADATA),
    (
        "sigma-pysigma/test_correlation_condition_invalid_multicond",
        "two operators are a range, as the specification has it",
    ),
    ("sigma-rsigma/engine::tests::array_brackets_literal_field_below_v3", BRACKETS),
    ("sigma-rsigma-parse/candidate_index::tests::literal_bracket_field_name_is_selected", BRACKETS),
    ("sigma-rsigma-parse/parser::tests::array_brackets_are_literal_below_v3", BRACKETS),
    ("sigma-rsigma-parse/parser::tests::positional_index_is_literal_field_below_v3", BRACKETS),
    ("sigma-rsigma/engine::tests::test_filter_applied_to_multiple_rules", RULES),
    ("sigma-rsigma/engine::tests::test_filter_rule_no_ref_applies_to_all", RULES),
    ("sigma-rsigma/multi_rule_with_shared_and_targeted_filters", RULES),
    ("sigma-rsigma-parse/engine::tests::test_filter_applied_to_multiple_rules", RULES),
    ("sigma-rsigma-parse/engine::tests::test_filter_rule_no_ref_applies_to_all", RULES),
    ("sigma-rsigma-parse/multi_rule_with_shared_and_targeted_filters", RULES),
];

const SET: &str = "the recorded answer is that of a set of rules, and the suite holds one of them";
const ENCODED: &str = "a wildcard has no Base64, as in the reference implementation";
const TWICE: &str = "a key given twice is an error, as in the reference implementation";
const EXPAND: &str = "placeholders are the user's, not other fields of the event";
const COMPILE: &str = "the suite stops after parsing; the rule is refused when it is compiled";
const METADATA: &str = "an identifier need not be a UUID; the specification only recommends it";
const BRACKETS: &str = "brackets that later mean members are an error without `sigma-version: 3`";
const RULES: &str = "a filter must say which rules it is for, `any` included";

/// What a case came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Passed,
    Failed,
    /// Why the case says nothing about kustos.
    NotApplicable(&'static str),
}

#[test]
fn other_engines_cases_come_out_as_recorded() {
    let Some(shared) = shared() else {
        return;
    };
    let mut failed = Vec::new();
    let mut pinned = BTreeSet::new();
    println!("| suite | passed | answered otherwise, with a reason | not applicable |");
    for (suite, judge) in SUITES {
        let folder = shared.join("conformance").join(suite);
        let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for line in fs::read_to_string(folder.join("cases.jsonl")).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let name = format!("{suite}/{}", case["case"].as_str().unwrap());
            let outcome = judge(&folder, &case);
            if outcome == Outcome::Failed {
                match PINNED.iter().find(|(start, _)| name.starts_with(start)) {
                    Some((start, reason)) => {
                        pinned.insert(*start);
                        *reasons.entry(reason).or_default() += 1;
                    }
                    None => failed.push(name),
                }
            }
            if let Outcome::NotApplicable(reason) = outcome {
                *reasons.entry(reason).or_default() += 1;
            }
            *counts.entry(outcome).or_default() += 1;
        }
        let of = |it: Outcome| counts.get(&it).copied().unwrap_or_default();
        let (passed, otherwise) = (of(Outcome::Passed), of(Outcome::Failed));
        let rest = counts.values().sum::<usize>() - passed - otherwise;
        println!("| {suite} | {passed} | {otherwise} | {rest} |");
        reasons.iter().for_each(|(reason, count)| println!("|   | {count}: {reason} |"));
    }
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

fn errors(loaded: &Loaded) -> Vec<String> {
    loaded.errors.iter().map(|it| it.reason()).collect()
}

fn matching(folder: &Path, case: &Value) -> Outcome {
    let text = fs::read_to_string(folder.join(case["rule_file"].as_str().unwrap())).unwrap();
    // One engine does not ask for titles.
    let titled = text.starts_with("title:") || text.contains("\ntitle:");
    let text = if titled { text } else { format!("title: {}\n{text}", case["rule"]) };
    let loaded = lenient(&text);
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
    println!("{}: {titles:?} instead of {}: {line}", case["case"], case["expect_titles"]);
    Outcome::Failed
}

fn parsing(folder: &Path, case: &Value) -> Outcome {
    let text = fs::read_to_string(folder.join(case["rule_file"].as_str().unwrap())).unwrap();
    verdict(case, &with_its_rules(text))
}

/// A correlation that stands alone in its case, and the rules that it names. Whether they are
/// there is no question of such a suite.
fn with_its_rules(text: String) -> String {
    let named = |reason: &str| {
        let (_, rest) = reason.split_once("no rule and no correlation is called \"")?;
        Some(rest.trim_end_matches('"').to_owned())
    };
    let lacking: BTreeSet<String> =
        errors(&lenient(&text)).iter().filter_map(|it| named(it)).collect();
    lacking.iter().fold(text, |text, name| format!("{}---\n{text}", rule_called(name)))
}

fn rule_called(name: &str) -> String {
    format!("title: {name}\nname: {name}\ndetection:\n  sel:\n    a: b\n  condition: sel\n")
}

fn verdict(case: &Value, text: &str) -> Outcome {
    let errors = errors(&lenient(text));
    if errors.is_empty() == case["expect"].as_bool().unwrap() {
        return Outcome::Passed;
    }
    println!("{}: {errors:?}", case["case"]);
    Outcome::Failed
}

/// What the reference implementation accepts: rules and collections as they are, parts
/// of a correlation inside of one.
fn accepting(_: &Path, case: &Value) -> Outcome {
    let text = match (case["kind"].as_str().unwrap(), &case["input"]) {
        ("rule" | "collection" | "correlation" | "filter", Value::String(text)) => text.clone(),
        ("rule" | "collection", Value::Array(documents)) => {
            let documents = documents.iter().map(|it| yaml_serde::to_string(it).unwrap());
            documents.collect::<Vec<_>>().join("\n---\n")
        }
        ("timespan", _) if case["expect"] == Value::Bool(false) => {
            return Outcome::NotApplicable(
                "a valid timespan, out of a rule refused for another part",
            );
        }
        ("timespan", span) => {
            counted(&format!("type: event_count\n  timespan: {span}\n  condition: {{gte: 1}}"))
        }
        ("correlation-condition", condition) => {
            let field = condition.get("field").is_some() || condition.get("percentile").is_some();
            let kind = if field { "value_count" } else { "event_count" };
            counted(&format!("type: {kind}\n  timespan: 1m\n  condition: {condition}"))
        }
        ("extended-condition", condition) => {
            counted(&format!("type: temporal\n  timespan: 1m\n  condition: {condition}"))
        }
        (_, other) => yaml_serde::to_string(other).unwrap(),
    };
    // Collecting errors is what a lenient load does: it never fails.
    if case["collect_errors"] == Value::Bool(true) {
        drop(lenient(&text));
        return Outcome::Passed;
    }
    let text = if case["kind"] == "correlation" { with_its_rules(text) } else { text };
    verdict(case, &text)
}

/// A correlation of two rules, and the rules.
fn counted(rest: &str) -> String {
    let rules = "rules: [rule_a, rule_b]\n  group-by: [user]";
    let correlation = format!("title: C\ncorrelation:\n  {rules}\n  {rest}\n");
    [rule_called("rule_a"), rule_called("rule_b"), correlation].join("---\n")
}
