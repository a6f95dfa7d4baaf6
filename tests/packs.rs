//! Public rule packs, unmodified: they load, and each rule can fire. Which event makes it
//! fire is printed (`--nocapture`).
//!
//! Packs and events are not part of this repository: they are read from the folder that
//! `KUSTOS_SHARED` names, or from `../shared`, and skipped where there is none.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot read its files should stop, and tells what it skips"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use kustos::decode;
use kustos::rules::{LoadOptions, RuleSet, Scratch, load};
use serde_json::Value;

/// Everything that `rules check` has to say about SigmaHQ's rules: values that no audit
/// event has, which is so. The verb of a replacing request is `update`.
const WARNINGS: &[(&str, &str)] = &[
    ("kubernetes_audit_change_admission_controller.yml", REPLACE),
    ("kubernetes_audit_cronjob_modification.yml", REPLACE),
    (
        "kubernetes_audit_potential_enumeration_activity.yml",
        "\"responseStatus.code\" of an audit event is never \"ALLOW\"; it is read as \
         \"annotations.authorization.k8s.io/decision: allow\"",
    ),
    ("kubernetes_audit_rolebinding_modification.yml", REPLACE),
    ("kubernetes_audit_secrets_modified_or_deleted.yml", REPLACE),
];

const REPLACE: &str = "\"verb\" of an audit event is never \"replace\"; did you mean \"update\"?";

#[test]
fn sigmahqs_kubernetes_rules_load_and_are_warned_of_only_what_is_wrong_with_them() {
    let Some(shared) = shared() else {
        return;
    };
    let pack = shared.join("conformance/packs/sigmahq");
    let loaded = load(&[pack], &LoadOptions::default()).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(loaded.rules.len(), 16);
    let told: Vec<(&str, String)> = loaded
        .warnings
        .iter()
        .map(|it| (it.file.file_name().unwrap().to_str().unwrap(), it.reason()))
        .collect();
    let told: Vec<(&str, &str)> = told.iter().map(|(file, why)| (*file, why.as_str())).collect();
    assert_eq!(told, WARNINGS);
    for warning in &loaded.warnings {
        let text = fs::read_to_string(&warning.file).unwrap();
        let line = text.lines().nth(warning.line as usize - 1).unwrap();
        assert!(line.contains("replace") || line.contains("ALLOW"), "{warning}: {line}");
    }
}

#[test]
fn each_of_sigmahqs_rules_fires_on_a_genuine_event() {
    let Some(shared) = shared() else {
        return;
    };
    let pack = shared.join("conformance/packs/sigmahq");
    let rules = load(&[pack], &LoadOptions::default()).unwrap_or_else(|it| panic!("{it}")).rules;
    let mut seen = Seen { rules: &rules, fired: BTreeMap::new(), events: 0 };
    each_event(&shared, &mut |source, line| seen.judge(source, line));
    println!("{} events", seen.events);
    for rule in rules.rules() {
        let title = rule.title.as_str();
        let Some((count, first)) = seen.fired.get(title) else {
            panic!("{title} fires on nothing");
        };
        println!("{title}: {count} times, first on {first}");
    }
}

/// What fired so far: how often, and on which event first.
struct Seen<'r> {
    rules: &'r RuleSet,
    fired: BTreeMap<&'r str, (usize, String)>,
    events: usize,
}

impl<'r> Seen<'r> {
    fn judge(&mut self, source: &str, line: &str) {
        self.events += 1;
        for title in self.matching(line) {
            let (count, _) =
                self.fired.entry(title).or_insert_with(|| (0, described(source, line)));
            *count += 1;
        }
    }

    fn matching(&self, line: &str) -> Vec<&'r str> {
        let Ok(event) = decode::line(line.as_bytes()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        self.rules.matches(&event, &mut Scratch::default(), &mut found);
        found.iter().map(|it| self.rules.rule(*it).title.as_str()).collect()
    }
}

/// File, audit ID, verb and resource of an event.
fn described(source: &str, line: &str) -> String {
    let event: Value = serde_json::from_str(line).unwrap();
    let text = |at: &Value| at.as_str().unwrap_or_default().to_owned();
    let reference = &event["objectRef"];
    let resource = [&reference["resource"], &reference["subresource"]].map(text);
    let resource = resource.join("/");
    let (id, verb) = (text(&event["auditID"]), text(&event["verb"]));
    format!("{source}, auditID {id}, {verb} {}", resource.trim_end_matches('/'))
}

/// Shows every genuine event as one line: of the corpus its logs, samples, and the items of
/// webhooks' bodies; and those of `tests/data/genuine`.
fn each_event(shared: &Path, show: &mut dyn FnMut(&str, &str)) {
    let mut text = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = root.join("tests/data/genuine");
    for file in files(&shared.join("corpus")).into_iter().chain(files(&own)) {
        let name =
            file.strip_prefix(shared).or(file.strip_prefix(root)).unwrap().display().to_string();
        text.clear();
        let plain = fs::File::open(&file).unwrap();
        let mut reader: Box<dyn Read> = match file.extension().and_then(|it| it.to_str()) {
            Some("zst") => Box::new(zstd::Decoder::new(plain).unwrap()),
            Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(plain)),
            Some("log" | "json" | "body") => Box::new(plain),
            _ => continue,
        };
        reader.read_to_string(&mut text).unwrap();
        if name.ends_with(".body") {
            let list: Value = serde_json::from_str(&text).unwrap();
            let items = list["items"].as_array().into_iter().flatten();
            items.for_each(|it| show(&name, &it.to_string()));
        } else {
            text.lines().for_each(|it| show(&name, it));
        }
    }
}

/// Every file of a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
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
