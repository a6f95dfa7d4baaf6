//! Falco's own vectors, read from beside the project; without them these tests say so and pass.

use std::path::PathBuf;
use std::{env, fs};

use serde_json::Value;

use super::condition;
use super::print::canonical;

/// The shared folder, when there is one.
fn shared(path: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = env::var_os("KUSTOS_SHARED").map_or_else(beside, PathBuf::from);
    Some(folder.join(path)).filter(|it| it.exists())
}

/// The cases of a suite; none where the suite is absent.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn cases(suite: &str) -> Vec<Value> {
    let Some(file) = shared(&format!("conformance/{suite}/cases.jsonl")) else {
        eprintln!("skipped: there is no conformance/{suite}");
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
