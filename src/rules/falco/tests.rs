//! Falco's own vectors, read from beside the project; without them these tests say so and pass.
#![expect(clippy::print_stdout, reason = "a suite tells how it went")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;

use super::collect::Collector;
use super::condition;
use super::print::canonical;
use super::resolve::{Resolved, resolve};
use crate::rules::load::RuleError;

/// The shared folder, when there is one.
pub(super) fn shared(path: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = env::var_os("KUSTOS_SHARED").map_or_else(beside, PathBuf::from);
    Some(folder.join(path)).filter(|it| it.exists())
}

/// The cases of a suite; none where the suite is absent.
fn cases(suite: &str) -> Vec<Value> {
    let Some(file) = shared(&format!("conformance/{suite}/cases.jsonl")) else {
        println!("skipped: there is no conformance/{suite}");
        return Vec::new();
    };
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is right in Falco and does not apply: the reason, for a case of the grammar suite.
fn inapplicable(case: &str, kind: &str) -> Option<&'static str> {
    match (case.split('#').next(), kind) {
        (Some("compiler.operators_field_types_compatibility"), "compile") => {
            Some("which operator fits the type of a syscall field")
        }
        (Some("compiler.supported_operators"), "compile") => {
            Some("compiles against fields of a mock")
        }
        _ => None,
    }
}

#[test]
fn the_grammar_takes_what_falco_takes() {
    let mut wrong = Vec::new();
    let (mut passed, mut skipped) = (0, 0);
    for case in cases("falco-parser") {
        let text = |key: &str| case[key].as_str().unwrap_or_default();
        let (name, kind, condition) = (text("case"), text("kind"), text("condition"));
        let want = case["expect"].as_bool().unwrap();
        // Whether a condition that is grammatical compiles or matches depends on fields.
        let grammatical = kind == "parse";
        if !grammatical && !want && condition::parse(condition).is_ok() {
            assert!(inapplicable(name, kind).is_some() || kind == "eval", "{name}");
            skipped += 1;
            continue;
        }
        let mut texts = vec![condition.to_owned()];
        if want && text("note").contains("newlines and tabs") {
            texts.extend(["\n", "\t", "\r"].map(|blank| condition.replace(' ', blank)));
        }
        for text in texts {
            let found = condition::parse(&text);
            if found.is_ok() != (want || (kind == "eval" && found.is_ok())) {
                wrong.push(format!("{name}: {text:?}: {found:?}"));
            }
            if let Ok(tree) = &found {
                let printed = canonical(tree);
                let again = condition::parse(&printed);
                if again.as_ref() != Ok(tree) {
                    wrong.push(format!("{name}: {text:?} is written {printed:?}: {again:?}"));
                }
            }
        }
        passed += 1;
    }
    println!("falco-parser: {passed} passed, {skipped} not applicable");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What the loader makes of files, given by name.
fn load(files: &[(&str, &str)]) -> Resolved {
    let mut collector = Collector::default();
    for (name, text) in files {
        collector.add(Path::new(name), text);
    }
    resolve(collector)
}

fn messages(errors: &[RuleError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// What the loader suite asks for and does not apply here, with the reason.
const INAPPLICABLE: [(&str, &str, &str); 7] = [
    (
        "evttype_warning_for_broad_condition",
        "WARNING_NO_EVTTYPE",
        "the cost of syscall rules in Falco's engine",
    ),
    (
        "exceptions_values_rhs_field_ambiguous",
        "'proc.pname' may be a valid field",
        "needs to know the fields of syscalls",
    ),
    (
        "exceptions_values_rhs_field_ambiguous_quoted",
        "'proc.pname' may be a valid field",
        "needs to know the fields of syscalls",
    ),
    (
        "exceptions_values_rhs_field_ambiguous_space_quoted",
        "'proc.pname ' may be a valid field",
        "needs to know the fields of syscalls",
    ),
    ("deprecated_field_in_output", "evt.dir", "a field of syscalls"),
    ("deprecated_evt_dir_folded_scalar_condition_snippet", "evt.dir", "a field of syscalls"),
    (
        "deprecated_evt_dir_via_macro_folded_scalar_condition_snippet",
        "evt.dir",
        "a field of syscalls",
    ),
];

#[test]
fn files_are_loaded_as_falco_loads_them() {
    let mut wrong = Vec::new();
    let (mut passed, mut partly) = (0, 0);
    for case in cases("falco-loader") {
        let name = case["case"].as_str().unwrap();
        let path =
            shared(&format!("conformance/falco-loader/{}", case["rule_file"].as_str().unwrap()));
        let text = fs::read_to_string(path.unwrap()).unwrap();
        let found = load(&[("rules.yaml", &text)]);
        let (errors, warnings) = (messages(&found.errors), messages(&found.warnings));
        let mut complain = |what: String| {
            wrong.push(format!("{name}: {what}\n  errors {errors:?}\n  warnings {warnings:?}"));
        };
        let texts = |key: &str| -> Vec<String> {
            let texts = case[key].as_array().into_iter().flatten();
            texts.map(|it| it.as_str().unwrap().to_owned()).collect()
        };
        if errors.is_empty() != case["expect"].as_bool().unwrap() {
            complain(format!("expected success to be {}", case["expect"]));
        }
        for want in texts("error_contains") {
            if !errors.iter().any(|it| it.contains(&want)) {
                complain(format!("no error {want:?}"));
            }
        }
        let mut whole = true;
        for want in texts("warning_contains") {
            let applies =
                !INAPPLICABLE.iter().any(|(case, start, _)| *case == name && want.contains(start));
            whole &= applies;
            if applies && !warnings.iter().any(|it| it.contains(&want)) {
                complain(format!("no warning {want:?}"));
            }
        }
        for absent in texts("warning_absent") {
            if warnings.iter().any(|it| it.contains(&absent)) {
                complain(format!("warning {absent:?}"));
            }
        }
        for pair in case["compiled_conditions"].as_array().into_iter().flatten() {
            let rule = found.rules.iter().find(|it| pair[0] == it.name.as_str());
            if rule.is_none_or(|it| pair[1] != it.canonical.as_str()) {
                complain(format!("{pair}, found {:?}", rule.map(|it| &it.canonical)));
            }
        }
        if let Some(enabled) = case["enabled_rules"].as_u64() {
            let count = found.rules.iter().filter(|it| it.definition.enabled).count();
            if u64::try_from(count) != Ok(enabled) {
                complain(format!("{count} rules are enabled, not {enabled}"));
            }
        }
        if whole { passed += 1 } else { partly += 1 }
    }
    println!("falco-loader: {passed} passed, {partly} but for a warning that is not applicable");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

const MINE: &str = "  desc: d\n  output: o\n  priority: INFO\n  source: k8s_audit\n";

fn rule(name: &str, condition: &str) -> String {
    format!("- rule: {name}\n  condition: {condition}\n{MINE}")
}

fn conditions(found: &Resolved) -> Vec<(&str, &str)> {
    found.rules.iter().map(|it| (it.name.as_str(), it.canonical.as_str())).collect()
}

#[test]
fn later_files_change_what_earlier_ones_say() {
    let base = format!(
        "- list: users\n  items: [a, b]\n- macro: quiet\n  condition: (ka.verb=never)\n{}{}",
        rule("One", "ka.user.name in (users) and not quiet"),
        rule("Two", "ka.verb = get"),
    );
    let local = "- list: users\n  items: [c d]\n  override: {items: append}\n- macro: quiet\n  condition: ka.verb in (users)\n- rule: Two\n  enabled: false\n  override: {enabled: replace}\n- rule: One\n  exceptions:\n    - name: known\n      fields: [ka.user.name, ka.verb]\n      comps: [=, in]\n      values:\n        - [a, users]\n  override: {exceptions: append}\n";
    let found = load(&[("base.yaml", &base), ("local.yaml", local)]);
    assert_eq!(messages(&found.errors), Vec::<String>::new());
    let one = "((ka.user.name in (a, b, \"c d\") and not ka.verb in (a, b, \"c d\")) \
        and not (ka.user.name = a and ka.verb in (a, b, \"c d\")))";
    assert_eq!(conditions(&found), [("One", one), ("Two", "ka.verb = get")]);
    assert!(!found.rules[1].definition.enabled);
}

#[test]
fn every_error_and_warning_has_its_file_line_and_name() {
    for (text, want) in [
        (rule("R", "ka.verb ="), "f.yaml: rule \"R\", line 2: expected a value"),
        (rule("R", "get"), "f.yaml: rule \"R\", line 2: Undefined macro 'get' used"),
        (
            "- macro: m\n\n  condition: a.b\n".into(),
            "f.yaml: line 3: macro \"m\": expected an operator",
        ),
        (
            "- list: l\n  items: x\n".into(),
            "f.yaml: line 2: list \"l\": the value of 'items' is no list",
        ),
        ("- rule: R\n  append: true\n".into(), "f.yaml: rule \"R\", line 2: Appended rule must"),
        (
            "- rule: R\n  desc: x\n".into(),
            "f.yaml: rule \"R\", line 1: Item has no mapping for key 'condition'",
        ),
        (
            format!("{}  capture: maybe\n", rule("R", "ka.verb=x")),
            "line 7: the value of 'capture' is no truth value",
        ),
        (
            rule("R", "ka.verb=x").replace("INFO", "LOUD"),
            "rule \"R\", line 5: invalid priority 'LOUD'",
        ),
        ("- x\n".into(), "f.yaml: line 1: an entry is no mapping"),
        ("a: b\n".into(), "f.yaml: line 1: a Falco rule file is a list"),
        (
            "- required_plugin_versions:\n  - {name: json, version: x}\n".into(),
            "line 1: Invalid required version 'x' for plugin 'json'",
        ),
    ] {
        let errors = messages(&load(&[("f.yaml", &text)]).errors);
        assert!(errors.len() == 1 && errors[0].contains(want), "{text}: {errors:?}");
    }
    let text = rule("R", "ka.verb = get").replace("k8s_audit", "syscall") + "- nothing: x\n";
    let warnings = messages(&load(&[("f.yaml", &text)]).warnings);
    assert_eq!(
        warnings,
        [
            "f.yaml: line 7: Unknown top level item: none of rule, macro, list or a requirement",
            "f.yaml: rule \"R\", line 1: the rule is for source syscall, which kustos does not read; it never matches",
        ]
    );
}

#[test]
fn what_nothing_uses_is_told_unless_something_is_broken() {
    let text = format!(
        "- list: l\n  items: [x]\n- macro: m\n  condition: ka.verb = x\n- macro: n\n  condition: m\n{}",
        rule("R", "ka.verb = a"),
    );
    let told = messages(&load(&[("f.yaml", &text)]).warnings);
    let of = |what: &str| format!("{what}: not referred to by any other rule/macro");
    assert_eq!(told, [of("f.yaml: line 1: list \"l\""), of("f.yaml: line 6: macro \"n\"")]);
    let broken = text.replace("ka.verb = a", "(");
    assert_eq!(messages(&load(&[("f.yaml", &broken)]).warnings), Vec::<String>::new());
}

#[test]
fn what_uses_something_broken_is_broken_and_not_weaker() {
    let text = format!(
        "- list: l\n  items: x\n- macro: m\n  condition: (\n- macro: n\n  condition: m\n{}{}{}{}",
        rule("L", "ka.verb in (a, l)"),
        rule("M", "not n"),
        rule("R", "ka.verb = a"),
        "- rule: R\n  tags: [a]\n  override: {tags: remove}\n- rule: R\n  enabled: false\n",
    );
    let found = load(&[("f.yaml", &text)]);
    assert_eq!(conditions(&found), []);
    let errors = messages(&found.errors).join("\n");
    for want in [
        "line 2: list \"l\": the value",
        "line 4: macro \"m\": expected a field",
        "rule \"L\", line 8: list \"l\" is broken, and this uses it",
        "rule \"M\", line 14: macro \"n\" is broken, and this uses it",
        "Invalid override operation for key 'tags': 'remove'",
    ] {
        assert!(errors.contains(want), "{want}\n{errors}");
    }
    assert_eq!(found.errors.len(), 5, "{errors}");
}
