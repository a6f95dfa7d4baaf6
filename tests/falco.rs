//! Falco's public pack for Kubernetes, unmodified: it loads, its rules fire on genuine events,
//! and a local file changes it. Which event made a rule fire is printed (`--nocapture`).
#![allow(clippy::print_stdout, reason = "tells what fired, and what it skips")]
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::{corpus, files, lines, put, shared, uncompressed};
use kustos::config::RuleMatching;
use kustos::decode;
use kustos::detect::{Finding, Origin, scan};
use kustos::rules::{Level, LoadOptions, Loaded, RuleSet, Scratch, load, load_text};

/// Macros that keep rules of the pack silent until a local file says otherwise, as the pack
/// itself advises.
const SWITCHES: &str = "
- macro: consider_all_events
  condition: (k8s_audit_always_true)
- macro: allowed_k8s_containers
  condition: (k8s_audit_never_true)
- macro: allowed_full_admin_users
  condition: (k8s_audit_never_true)
- macro: allow_all_k8s_nodes
  condition: (k8s_audit_never_true)
";

/// The rules that these switch on.
const SWITCHED: [&str; 5] = [
    "All K8s Audit Events",
    "Create Disallowed Pod",
    "Full K8s Administrative Access",
    "Untrusted Node Successfully Joined the Cluster",
    "Untrusted Node Unsuccessfully Tried to Join the Cluster",
];

/// Rules of the pack of which the corpus holds no event, and the change to one word of a genuine
/// event that makes it one they fire on: rule, resource and verb of the event, was, is.
const NO_EVENT: [(&str, &str, &str, &str, &str); 6] = [
    (
        "Ingress Object without TLS Certificate Created",
        "services",
        "create",
        "services",
        "ingresses",
    ),
    ("K8s ClusterRole Deleted", "clusterroles", "create", "create", "delete"),
    ("K8s Role Deleted", "roles", "create", "create", "delete"),
    ("K8s RoleBinding Deleted", "rolebindings", "create", "create", "delete"),
    ("K8s Service Deleted", "services", "create", "create", "delete"),
    ("K8s Serviceaccount Deleted", "serviceaccounts", "create", "create", "delete"),
];

fn pack() -> Option<PathBuf> {
    Some(shared("conformance/packs/falco")?.join("k8s_audit_rules.yaml"))
}

fn loaded(paths: &[PathBuf]) -> Loaded {
    load(paths, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The findings in a line.
fn findings(rules: &RuleSet, line: &[u8]) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Ok(event) = decode::line(line) {
        let origin = Origin { cluster: "c", source: "audit.log", position: 0 };
        scan(&event, rules, &mut Scratch::default(), &origin, &mut found);
    }
    found
}

fn ids(rules: &RuleSet, line: &str) -> Vec<String> {
    findings(rules, line.as_bytes()).into_iter().map(|it| it.rule.id).collect()
}

#[test]
fn falcos_pack_loads_with_every_rule_as_it_is_written() {
    let Some(pack) = pack() else { return };
    let Loaded { rules, errors, warnings } = loaded(&[pack]);
    assert!(errors.is_empty());
    for warning in &warnings {
        println!("{warning}");
    }
    println!("{} rules, {} disabled", rules.len(), rules.disabled().len());
    let rule = rules.rules().iter().find(|it| it.id == "Attach/Exec Pod").unwrap();
    assert_eq!((rule.dialect, rule.level, rule.priority), ("falco", Level::Low, Some("Notice")));
    assert_eq!(rule.title, rule.id);
    let condition = rule.condition.as_deref().unwrap();
    assert!(condition.starts_with("(jevt.value[/stage] = ResponseStarted and "), "{condition}");
}

#[test]
fn rules_of_falcos_pack_fire_on_genuine_events_and_where_there_is_none_on_one_with_one_word_changed()
 {
    let (Some(pack), Some(corpus)) = (pack(), corpus()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local.yaml");
    put(&local, SWITCHES.as_bytes());
    let plain = loaded(std::slice::from_ref(&pack)).rules;
    let rules = loaded(&[pack, local]).rules;
    assert_eq!(plain.len(), rules.len());
    let mut fired: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut altered: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let mut waiting = BTreeSet::from(SWITCHED);
    let mut events = 0;
    for log in logs(&corpus) {
        let name = log.strip_prefix(&corpus).unwrap().display().to_string();
        for line in lines(&uncompressed(&log)) {
            events += 1;
            alter(line, &plain, &mut altered);
            let mut found = findings(&plain, line);
            assert!(found.iter().all(|it| !SWITCHED.contains(&it.rule.id.as_str())));
            if !waiting.is_empty() {
                let switched = findings(&rules, line).into_iter();
                found.extend(switched.filter(|it| waiting.remove(it.rule.id.as_str())));
            }
            for finding in found {
                let output = finding.output.as_deref().unwrap();
                assert!(!output.contains("%ka.") && !output.contains("%jevt."), "{output}");
                let first = || (0, format!("{name}: {output}"));
                fired.entry(finding.rule.id).or_insert_with(first).0 += 1;
            }
        }
    }
    println!("{events} events");
    for rule in rules.rules() {
        match (fired.get(&rule.id), altered.contains_key(rule.id.as_str())) {
            (Some((count, first)), _) => println!("{}: {count} times, first in {first}", rule.id),
            (None, true) => println!("{}: only on a genuine event changed in one word", rule.id),
            (None, false) => println!("{}: never", rule.id),
        }
    }
    let silent =
        rules.rules().iter().map(|it| it.id.as_str()).filter(|it| !fired.contains_key(*it));
    let silent: BTreeSet<&str> = silent.collect();
    let known: BTreeSet<&str> = NO_EVENT.iter().map(|it| it.0).collect();
    assert_eq!(silent, known);
    assert_eq!(altered.into_keys().collect::<BTreeSet<&str>>(), known);
}

/// Keeps, of each rule without an event, the first genuine event whose changed form it fires on.
fn alter(line: &[u8], rules: &RuleSet, altered: &mut BTreeMap<&str, Vec<u8>>) {
    for (rule, resource, verb, was, is) in NO_EVENT {
        let quoted = |word: &str| format!("\"{word}\"");
        let text = std::str::from_utf8(line).unwrap_or_default();
        let fits = text.contains(&format!("\"resource\":\"{resource}\""))
            && text.contains(&format!("\"verb\":\"{verb}\""));
        if fits && !altered.contains_key(rule) {
            let changed = text.replacen(&quoted(was), &quoted(is), 1);
            if ids(rules, &changed).iter().any(|it| it == rule) {
                altered.insert(rule, changed.into_bytes());
            }
        }
    }
}

/// The logs of every run that is written as JSON.
fn logs(corpus: &Path) -> Vec<PathBuf> {
    let runs = ["A-metadata", "B-mixed", "E-request-stages-gz", "F-rare", "X-oversize"];
    let folder = corpus.join("logs");
    let mut found: Vec<PathBuf> =
        runs.iter().flat_map(|it| files(&folder.join(it), &["zst", "gz", "log"])).collect();
    found.extend(files(&corpus.join("samples"), &["json"]));
    found
}

const RULES: &str = r#"
- required_engine_version: 0.15.0
- list: admins
  items: [root]
- macro: is_admin
  condition: ka.user.name in (admins)
- macro: reads_secret
  condition: (ka.verb in (get, list) and ka.target.resource = secrets)
- rule: Secret read
  desc: Somebody read a secret
  condition: reads_secret and not is_admin
  output: user=%ka.user.name read %ka.target.name
  priority: ERROR
  source: k8s_audit
  tags: [k8s, mitre_credential_access]
- rule: Pod made
  desc: A pod
  condition: ka.verb = create and ka.target.resource = pods
  output: pod %ka.target.name
  priority: INFO
  source: k8s_audit
- rule: Shell
  desc: Not of Kubernetes
  condition: evt.type = execve and proc.name = sh
  output: shell
  priority: ALERT
"#;

const LOCAL: &str = r#"
- list: admins
  items: [alice]
  override: {items: append}
- macro: reads_secret
  condition: (ka.verb in (get, list, watch) and ka.target.resource = secrets)
- rule: Pod made
  enabled: false
  override: {enabled: replace}
- rule: Secret read
  exceptions:
    - name: operators
      fields: [ka.user.name, ka.target.namespace]
      comps: [startswith, in]
      values:
        - [operator-, [vault, certs]]
  override: {exceptions: append}
"#;

fn event(verb: &str, user: &str, resource: &str, namespace: &str) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/x","verb":"{verb}","user":{{"username":"{user}"}},"objectRef":{{"resource":"{resource}","namespace":"{namespace}","name":"n","apiVersion":"v1"}},"responseStatus":{{"code":200}}}}"#
    )
}

#[test]
fn a_local_file_replaces_a_macro_adds_to_a_list_excepts_and_disables() {
    let folder = tempfile::tempdir().unwrap();
    let (base, local) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
    put(&base, RULES.as_bytes());
    put(&local, LOCAL.as_bytes());
    let before = loaded(std::slice::from_ref(&base)).rules;
    let Loaded { rules: after, warnings, .. } = loaded(&[folder.path().to_path_buf()]);
    let told: Vec<String> = warnings.iter().map(|it| it.reason()).collect();
    assert_eq!(
        told,
        ["the rule is for source syscall, which kustos does not read; it never matches"]
    );
    assert_eq!(before.len(), 2);
    let disabled: Vec<&str> = after.disabled().iter().map(|it| it.id.as_str()).collect();
    assert_eq!((after.len(), disabled), (1, vec!["Pod made"]));
    assert_ne!(before.hash(), after.hash());
    for (line, first, then) in [
        (event("get", "eve", "secrets", "n"), true, true),
        (event("get", "root", "secrets", "n"), false, false),
        (event("get", "alice", "secrets", "n"), true, false),
        (event("watch", "eve", "secrets", "n"), false, true),
        (event("list", "operator-1", "secrets", "vault"), true, false),
        (event("list", "operator-1", "secrets", "other"), true, true),
        (event("create", "eve", "pods", "n"), true, false),
    ] {
        assert_eq!(!ids(&before, &line).is_empty(), first, "before: {line}");
        assert_eq!(!ids(&after, &line).is_empty(), then, "after: {line}");
    }
    let found = findings(&after, event("get", "eve", "secrets", "n").as_bytes());
    assert_eq!(found[0].rule.id, "Secret read");
    assert_eq!(found[0].rule.level, Level::High);
    assert_eq!(found[0].output.as_deref(), Some("user=eve read n"));
}

#[test]
fn of_falcos_rules_all_fire_or_the_first_alone() {
    let rule = |name: &str, verb: &str| {
        format!(
            "- rule: {name}\n  desc: d\n  condition: ka.verb = {verb}\n  output: {name} %ka.verb\n  priority: INFO\n  source: k8s_audit\n"
        )
    };
    let falco = [rule("B", "list"), rule("C", "get"), rule("A", "get")].concat();
    let sigma = "title: S\nid: s\ndetection:\n  sel:\n    verb: get\n  condition: sel\n";
    let line = event("get", "eve", "secrets", "n");
    for (rule_matching, want) in
        [(RuleMatching::All, vec!["s", "C", "A"]), (RuleMatching::First, vec!["s", "C"])]
    {
        let options = LoadOptions { rule_matching, ..LoadOptions::default() };
        let rules = load_text([("f.yaml", &*falco), ("s.yml", sigma)], &options).unwrap().rules;
        assert_eq!(ids(&rules, &line), want, "{rule_matching:?}");
    }
}

#[test]
fn errors_of_meaning_name_their_line_and_other_rules_still_load_when_lenient() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.yaml");
    let text = RULES
        .replace("ka.verb = create and", "ka.verb = create\n    and ka.vreb = x and")
        .replace("read %ka.target.name", "read %ka.target.nmae");
    put(&file, text.as_bytes());
    let error = load(std::slice::from_ref(&file), &LoadOptions::default()).unwrap_err().to_string();
    for want in [
        "r.yaml: rule \"Secret read\", line 12: output: unknown field \"ka.target.nmae\"",
        "r.yaml: rule \"Pod made\", line 19: unknown field \"ka.vreb\"; did you mean \"ka.verb\"?",
    ] {
        assert!(error.contains(want), "{error}");
    }
    let skip =
        text.replace("source: k8s_audit", "source: k8s_audit\n  skip-if-unknown-filter: true");
    put(&file, skip.as_bytes());
    let Loaded { rules, warnings, .. } = loaded(&[file]);
    assert_eq!((rules.len(), warnings.len()), (0, 3));
    assert!(warnings[1].to_string().contains("the rule is left out, as 'skip-if-unknown-filter'"));
}
