//! What the shipped rules come to as a whole: which labelled attacks they find, what they say of
//! look-alikes and of background, and whether they stay silent about what other packs are loud about.
//! `docs/rules/quality.md` is the table; `UPDATE_QUALITY=1` writes it.
#![allow(clippy::print_stdout, reason = "what was measured and what was skipped")]
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use common::labels::{BOOTSTRAP, RUNS, Scenario, scenarios};
use common::{corpus, detect, files, files_below, kustos, lines, put};
use kustos::detect::Finding;
use kustos::rules::{Level, Profile, Rule, shipped};
use serde_json::{Value, json};

/// More findings than this on 10,000 background events is noise.
const NOISE_MAX: f64 = 1.0;

/// Attacks that a run's audit level does not show, with what is missing there.
const NOT_VISIBLE: &[(&str, &[&str], &str)] = &[
    ("automount_kube_system_like", A, BODY),
    ("cap_sys_admin_pod", A, BODY),
    ("configmap_with_credentials", &["A-metadata", "B-mixed"], BODY),
    ("containerd_sock_pod", A, BODY),
    ("docker_sock_pod", A, BODY),
    ("hostipc_pod", A, BODY),
    ("hostnetwork_pod", A, BODY),
    ("hostpath_root_pod", A, BODY),
    ("hostpid_pod", A, BODY),
    ("hostport_pod", A, BODY),
    ("latest_tag_image", A, BODY),
    ("node_name_pinned_toleration", A, BODY),
    ("privileged_init_container", A, BODY),
    ("privileged_pod", A, BODY),
    ("run_as_root_allow_escalation", A, BODY),
    ("service_external_ip", A, BODY),
    ("sidecar_injection_kubectl_edit", A, BODY),
    ("sidecar_injection_patch", A, BODY),
    ("untrusted_registry_image", A, BODY),
    (
        "yaml_apply_audit_gap",
        &["B-mixed", "E-request-stages-gz"],
        "the event: the API server lost it",
    ),
];

const A: &[&str] = &["A-metadata"];
const BODY: &str = "`requestObject`";

/// Look-alikes that were played by a user with a cluster-admin binding of her own: the rule is right.
const RIGHT: [(&str, &str); 2] = [
    ("Request allowed by the cluster-admin role", "aggregated_api_503"),
    ("Request allowed by the cluster-admin role", "request_timeout"),
];

/// Attacks of which nothing was flagged.
const NOTHING_FLAGGED: &str = "apiserver_panic_stage";

const QUALITY: &str = "docs/rules/quality.md";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What one run came to.
struct Run {
    name: &'static str,
    scenarios: Vec<Scenario>,
    findings: Vec<Finding>,
    /// The events of each audit ID.
    events: BTreeMap<String, usize>,
}

/// What an attack came to in one run.
#[derive(Debug, Default)]
struct Seen {
    played: usize,
    found: usize,
    requests: usize,
    told: usize,
}

/// Where the findings of a rule lie.
#[derive(Debug, Default)]
struct Told {
    attacks: usize,
    alike: BTreeMap<String, usize>,
    background: usize,
}

#[test]
fn the_standard_profile_finds_the_attacks_and_is_quiet_otherwise() {
    let Some(corpus) = corpus() else { return };
    let runs: Vec<Run> = RUNS.iter().map(|it| run(&corpus, it)).collect();
    let background: usize = runs.iter().map(Run::background).sum();
    let attacks = attacks(&runs);
    let rules = told(&runs);
    let tables = format!("{}\n{}", attack_table(&attacks), rule_table(&rules, background));
    println!("{tables}");
    if std::env::var_os("UPDATE_QUALITY").is_some() {
        put(&root().join(QUALITY), page(&tables, &rules, background).as_bytes());
    }
    let mut wrong = missed(&attacks);
    for (title, told) in &rules {
        let level = rule(title).level;
        let right = |scenario: &str| RIGHT.contains(&(title.as_str(), scenario));
        let loud = told.alike.iter().filter(|(it, _)| level > Level::Low && !right(it));
        wrong.extend(loud.map(|(scenario, _)| format!("{title}: in the look-alike {scenario}")));
    }
    let noise = noise(&rules, background);
    if noise >= NOISE_MAX {
        wrong.push(format!("{noise:.2} findings in 10,000 background events"));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let written = fs::read_to_string(root().join(QUALITY)).unwrap();
    assert!(written.contains(&tables), "{QUALITY} is out of date: run this with UPDATE_QUALITY=1");
}

fn run(corpus: &Path, name: &'static str) -> Run {
    let logs = files(&corpus.join("logs").join(name), &["zst", "gz", "log"]);
    let mut events = BTreeMap::new();
    for log in &logs {
        for line in lines(&common::uncompressed(log)) {
            let event: Value = serde_json::from_slice(line).unwrap();
            *events.entry(event["auditID"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let site = root().join("tests/data/corpus-site");
    let options =
        [OsStr::new("--profile"), OsStr::new("standard"), OsStr::new("--rules"), site.as_os_str()];
    let findings = findings(&options, &logs);
    Run { name, scenarios: scenarios(corpus, name), findings, events }
}

fn findings(options: &[&OsStr], inputs: &[PathBuf]) -> Vec<Finding> {
    let ran = detect(options, inputs).ended(0);
    ran.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// The audit IDs of a finding's events, the one that made it last.
fn audit_ids(finding: &Finding) -> Vec<&str> {
    let counted = finding.events.iter().flatten().map(|it| &it.event);
    finding.event.iter().chain(counted).filter_map(|it| it.audit_id.as_deref()).collect()
}

impl Run {
    /// Events of requests that belong to no scenario.
    fn background(&self) -> usize {
        let labelled: BTreeSet<&String> = self.scenarios.iter().flat_map(|it| &it.all).collect();
        self.events.iter().filter(|(id, _)| !labelled.contains(id)).map(|(_, it)| it).sum()
    }
}

fn attacks(runs: &[Run]) -> BTreeMap<&str, BTreeMap<&'static str, Seen>> {
    let mut attacks: BTreeMap<&str, BTreeMap<&'static str, Seen>> = BTreeMap::new();
    for run in runs {
        let found: BTreeSet<&str> = run.findings.iter().flat_map(audit_ids).collect();
        let attack = |it: &&Scenario| !it.benign && it.name != NOTHING_FLAGGED;
        for scenario in run.scenarios.iter().filter(attack) {
            let told = scenario.flagged.iter().filter(|it| found.contains(it.as_str())).count();
            let seen = attacks.entry(&scenario.name).or_default().entry(run.name).or_default();
            seen.played += 1;
            seen.found += usize::from(told > 0);
            seen.requests += scenario.flagged.len();
            seen.told += told;
        }
    }
    attacks
}

fn hidden(scenario: &str, run: &str) -> Option<&'static str> {
    let hides = |(name, runs, _): &&(&str, &[&str], &str)| *name == scenario && runs.contains(&run);
    NOT_VISIBLE.iter().find(hides).map(|(_, _, why)| *why)
}

fn missed(attacks: &BTreeMap<&str, BTreeMap<&'static str, Seen>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (scenario, runs) in attacks {
        for (run, seen) in runs {
            match hidden(scenario, run) {
                None if seen.found < seen.played => {
                    wrong.push(format!("{scenario} in {run}: {} of {}", seen.found, seen.played));
                }
                Some(_) if seen.found > 0 => wrong.push(format!("{scenario} is visible in {run}")),
                _ => {}
            }
        }
    }
    wrong
}

fn told(runs: &[Run]) -> BTreeMap<String, Told> {
    let mut rules: BTreeMap<String, Told> = BTreeMap::new();
    for run in runs {
        for finding in &run.findings {
            let told = rules.entry(finding.rule.title.clone()).or_default();
            let Some(id) = audit_ids(finding).pop() else { continue };
            let mut of = run.scenarios.iter().filter(|it| it.all.contains(id)).peekable();
            if of.peek().is_none() {
                told.background += 1;
            }
            // What was done around a look-alike may well be dangerous.
            for scenario in of.filter(|it| !it.benign || it.flagged.contains(id)) {
                match scenario.benign {
                    false => told.attacks += 1,
                    true if scenario.name == BOOTSTRAP => {}
                    true => *told.alike.entry(scenario.name.clone()).or_default() += 1,
                }
            }
        }
    }
    rules
}

#[expect(clippy::cast_precision_loss, reason = "counts of events are far below 2^53")]
fn share(count: usize, of: usize) -> f64 {
    count as f64 * 10_000.0 / of as f64
}

fn noise(rules: &BTreeMap<String, Told>, background: usize) -> f64 {
    share(rules.values().map(|it| it.background).sum(), background)
}

fn attack_table(attacks: &BTreeMap<&str, BTreeMap<&'static str, Seen>>) -> String {
    let mut table = String::from(
        "| attack | A | B | E | F | not shown |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for (scenario, runs) in attacks {
        let cell = |run: &&str| match runs.get(*run) {
            None => String::new(),
            Some(_) if hidden(scenario, run).is_some() => "-".to_owned(),
            Some(it) => format!("{} of {}", it.told, it.requests),
        };
        let cells: Vec<String> = RUNS.iter().map(cell).collect();
        let why: BTreeSet<&str> = runs.keys().filter_map(|it| hidden(scenario, it)).collect();
        let why = why.into_iter().collect::<Vec<_>>().join(", ");
        writeln!(table, "| {scenario} | {} | {why} |", cells.join(" | ")).unwrap();
    }
    table
}

fn rule(title: &str) -> Rule {
    let rules = shipped(Profile::Standard).unwrap();
    let found = rules.subjects().map(|(_, it)| it).find(|it| it.title == title);
    found.unwrap_or_else(|| panic!("no rule is called {title}")).clone()
}

fn rule_table(rules: &BTreeMap<String, Told>, background: usize) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    for (title, told) in rules {
        let rule = rule(title);
        let file = rule.file.with_extension("").display().to_string();
        let file = file.trim_start_matches("rules/").to_owned();
        let alike: Vec<String> =
            told.alike.iter().map(|(name, hits)| format!("{hits} `{name}`")).collect();
        let alike = if alike.is_empty() { "0".to_owned() } else { alike.join(", ") };
        let row = format!(
            "| {file} | {} | {} | {alike} | {} | {:.2} |",
            rule.level,
            told.attacks,
            told.background,
            share(told.background, background),
        );
        rows.push((file, row));
    }
    rows.sort();
    let rows: Vec<String> = rows.into_iter().map(|(_, it)| it).collect();
    format!(
        "| rule | level | in attacks | in look-alikes | in background | in 10,000 |\n\
         | --- | --- | --- | --- | --- | --- |\n{}\n",
        rows.join("\n")
    )
}

fn page(tables: &str, rules: &BTreeMap<String, Told>, background: usize) -> String {
    format!(
        "# How well the shipped rules find\n\n\
         This is `kustos detect` with the profile `standard` over four labelled runs of a genuine API server: A at audit level\n\
         Metadata, B with a policy like those of cloud providers, E at level Request with every stage, F with rare events. They\n\
         hold attacks, look-alikes of attacks, and {background} background events that belong to neither. The site says which\n\
         registries it trusts (`tests/data/corpus-site/lists.yaml`), and nothing else. Nothing was learned before.\n\n\
         In background events there are {:.2} findings in 10,000. A look-alike has no finding above level low, but for two of\n\
         `cluster-admin-used`: they are by a user with a cluster-admin binding of her own, and right. Seven of that rule's findings in\n\
         background are hers too; those of `first-secret-read` are the first reads of an identity, which a baseline takes away.\n\n\
         `tests/quality.rs` makes this page with `UPDATE_QUALITY=1 cargo test --test quality`. It fails when an attack that\n\
         a run shows has no finding, when a look-alike has one above low, and from 1 finding in 10,000 background events.\n\
         What single rules find, request by request, is tried in `tests/recall.rs`.\n\n\
         Of each attack: how many of the requests that are labelled as its own are in a finding. \"-\": the run's audit level does not\n\
         show it, for want of what the last column says. A count fires when there is enough to count, so that the first requests of a\n\
         burst may be in none.\n\n{tables}",
        noise(rules, background),
    )
}

/// A request of a genuine form.
struct Request<'r> {
    user: &'r Value,
    uri: &'r str,
    reference: Value,
    reason: &'r str,
}

impl Request<'_> {
    /// The event of reading it, at so many seconds.
    fn read(&self, at: usize) -> String {
        let (hour, minute, second) = (at / 3_600 % 24, at / 60 % 60, at % 60);
        let time = format!("2026-11-24T{hour:02}:{minute:02}:{second:02}.{:06}Z", at % 1_000_000);
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
            "auditID": format!("{at:08x}-5a1c-4f0e-8d3b-1c6f2e7a9b40"),
            "stage": "ResponseComplete", "requestURI": self.uri, "verb": "get",
            "user": self.user, "sourceIPs": ["10.2.3.4"],
            "userAgent": "manager/v0.0.0 (linux/amd64) kubernetes/$Format",
            "responseStatus": { "metadata": {}, "code": 200 },
            "requestReceivedTimestamp": time, "stageTimestamp": time,
            "annotations": {
                "authorization.k8s.io/decision": "allow",
                "authorization.k8s.io/reason": self.reason,
            },
        });
        if !self.reference.is_null() {
            event["objectRef"] = self.reference.clone();
        }
        event.to_string()
    }
}

fn account(namespace: &str, name: &str) -> Value {
    let groups = ["system:serviceaccounts", "system:authenticated"];
    json!({ "username": format!("system:serviceaccount:{namespace}:{name}"), "groups": groups })
}

fn secret(namespace: &str, name: &str) -> Value {
    json!({ "resource": "secrets", "namespace": namespace, "name": name, "apiVersion": "v1" })
}

fn secret_read(at: usize, user: &Value, reference: Value) -> String {
    let reason =
        r#"RBAC: allowed by RoleBinding "app/shop" of Role "app" to ServiceAccount "app/shop""#;
    Request { user, uri: "/api/v1/secrets", reference, reason }.read(at)
}

/// What other packs are loud about: a week of an application and an operator that read their own
/// secrets, of health probes without credentials, and of kubelets.
fn usual() -> Vec<String> {
    let (app, operator) = (account("shop", "app"), account("cert-manager", "cert-manager"));
    let own = |at: usize| secret("shop", &format!("db-{}", at % 7));
    let mut usual: Vec<String> = (0..40_000).map(|at| secret_read(at, &app, own(at))).collect();
    let of_others = |at: usize| secret(&format!("team-{}", at % 40), "tls");
    usual.extend((50_000..55_000).map(|at| secret_read(at, &operator, of_others(at))));
    let nobody = json!({ "username": "system:anonymous", "groups": ["system:unauthenticated"] });
    let paths = ["/healthz", "/livez", "/readyz?verbose", "/version"].into_iter().cycle();
    let reason = r#"RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole "system:public-info-viewer" to Group "system:unauthenticated""#;
    usual.extend(
        paths.take(10_000).zip(60_000..).map(|(uri, at)| {
            Request { user: &nobody, uri, reference: Value::Null, reason }.read(at)
        }),
    );
    usual.extend((70_000..75_000).map(|at| {
        let node = format!("system:node:node-{}", at % 9);
        let node = json!({ "username": node, "groups": ["system:nodes"] });
        Request { user: &node, uri: "/api/v1/secrets", reference: own(at), reason: "" }.read(at)
    }));
    usual
}

#[test]
fn what_happens_all_day_raises_nothing_and_a_thief_among_it_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut usual = usual();
    let log = put(&folder.path().join("usual.log"), (usual.join("\n") + "\n").as_bytes());
    let quiet = findings(&[], &[log]);
    assert!(quiet.is_empty(), "{} findings, the first of {}", quiet.len(), quiet[0].rule.title);
    let thief = secret_read(20_000, &account("shop", "app"), secret("vault", "root-token"));
    usual.insert(20_000, thief);
    let log = put(&folder.path().join("thief.log"), (usual.join("\n") + "\n").as_bytes());
    let found = findings(&[], &[log]);
    assert!(!found.is_empty());
    for finding in &found {
        let name = finding.event.as_ref().or(finding.events.as_ref().map(|it| &it[0].event));
        assert_eq!(name.unwrap().object_ref.as_ref().unwrap()["namespace"], "vault");
    }
    assert!(found.iter().any(|it| it.rule.level >= Level::High));
}

/// Every event of the rules' own tests, once.
fn all_cases() -> Vec<String> {
    let mut cases = BTreeSet::new();
    let mut all = Vec::new();
    for file in files_below(&root().join("rules"), &["jsonl"]) {
        if !file.to_string_lossy().ends_with(".test.jsonl") {
            continue;
        }
        for line in fs::read_to_string(&file).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let events = case["events"].as_array().cloned();
            for event in events.unwrap_or_else(|| vec![case["event"].clone()]) {
                let event = event.to_string();
                if cases.insert(event.clone()) {
                    all.push(event);
                }
            }
        }
    }
    all
}

#[test]
fn every_rule_finds_the_same_in_a_stream_and_in_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let log = put(&folder.path().join("cases.log"), (all_cases().join("\n") + "\n").as_bytes());
    let archive = folder.path().join("archive");
    let all = ["--profile", "paranoid", "-o", "ndjson"].map(OsStr::new);
    let of = |arguments: &[&OsStr]| -> BTreeMap<String, String> {
        let rows = kustos(&[arguments, &all[..]].concat()).ended(0).rows();
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        // What kustos itself finds in a source is no rule's.
        let rules = rows.iter().filter(|it| it["rule"]["dialect"] == "sigma");
        rules.map(|it| (text(&it["id"]), text(&it["rule"]["id"]))).collect()
    };
    let dir = [OsStr::new("--archive"), archive.as_os_str()];
    let stream = of(&[&[OsStr::new("ingest")], &dir[..], &[log.as_os_str()]].concat());
    let hunted = of(&[&[OsStr::new("hunt")], &dir[..]].concat());
    assert_eq!(stream, hunted);
    let found: BTreeSet<&String> = stream.values().collect();
    let rules = shipped(Profile::Paranoid).unwrap();
    for (subject, rule) in rules.subjects().filter(|(it, _)| !rules.only_counted(*it)) {
        assert!(found.contains(&rule.id), "{} found nothing: {subject:?}", rule.title);
    }
}
