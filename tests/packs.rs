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

/// Rules of which the corpus holds no event, and the change to one field of a genuine
/// event that makes it one they fire on. A rule that does fire is not to stand here.
const NO_EVENT: &[NoEvent] = &[
    // Events were only ever deleted by the collection. One by one it is `delete`.
    NoEvent {
        title: "Kubernetes Events Deleted",
        resource: "events",
        verb: "deletecollection",
        was: r#""verb":"deletecollection""#,
        is: r#""verb":"delete""#,
    },
    // Nobody ran a shell or a tool by its full path, and none of the scanners came by.
    NoEvent {
        title: "Kubernetes Potential Enumeration Activity",
        resource: "pods",
        verb: "get",
        was: "command=id\\u0026",
        is: "command=%2Fbin%2Fsh\\u0026",
    },
];

/// The genuine event is the first of this resource and verb that holds the text `was`.
struct NoEvent {
    title: &'static str,
    resource: &'static str,
    verb: &'static str,
    was: &'static str,
    is: &'static str,
}

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
fn sigmahqs_rules_fire_on_genuine_events_and_where_there_is_none_on_one_with_one_field_changed() {
    let Some(shared) = shared() else {
        return;
    };
    let pack = shared.join("conformance/packs/sigmahq");
    let rules = load(&[pack], &LoadOptions::default()).unwrap_or_else(|it| panic!("{it}")).rules;
    let mut seen = Seen { rules: &rules, fired: BTreeMap::new(), events: 0 };
    let mut altered: BTreeMap<&str, String> = BTreeMap::new();
    each_event(&shared, &mut |source, line| {
        seen.judge(source, line);
        alter(line, &mut altered);
    });
    for (title, line) in &altered {
        assert!(seen.matching(line).contains(title), "{title} does not fire on {line}");
    }
    println!("{} events", seen.events);
    for rule in rules.rules() {
        let title = rule.title.as_str();
        match (seen.fired.get(title), altered.contains_key(title)) {
            (Some((count, first)), _) => println!("{title}: {count} times, first on {first}"),
            (None, true) => println!("{title}: only on a genuine event changed in one field"),
            (None, false) => panic!("{title} fires on nothing"),
        }
    }
    for no_event in NO_EVENT {
        let title = no_event.title;
        assert!(!seen.fired.contains_key(title), "{title} fires now: take it out of the list");
    }
}

/// Keeps, of each rule without an event, the first genuine event that its change fits.
fn alter(line: &str, altered: &mut BTreeMap<&str, String>) {
    for no_event in NO_EVENT.iter().filter(|it| line.contains(it.was)) {
        let resource = format!(r#""resource":"{}""#, no_event.resource);
        let verb = format!(r#""verb":"{}""#, no_event.verb);
        if line.contains(&resource) && line.contains(&verb) {
            let changed = || line.replacen(no_event.was, no_event.is, 1);
            altered.entry(no_event.title).or_insert_with(changed);
        }
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

/// Shows every event of the corpus as one line: logs, samples, and the items of webhooks'
/// bodies.
fn each_event(shared: &Path, show: &mut dyn FnMut(&str, &str)) {
    let mut text = String::new();
    for file in files(&shared.join("corpus")) {
        let name = file.strip_prefix(shared).unwrap().display().to_string();
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
