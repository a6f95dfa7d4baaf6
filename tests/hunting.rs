//! A hunt reads the lines of few events. Whatever the rules ask and however odd the lines are, it finds what judging
//! every line finds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};

use kustos::archive::catalog::Scope;
use kustos::decode;
use kustos::detect::{Origin, scan};
use kustos::pipeline::Stop;
use kustos::pipeline::history::HistoryError;
use kustos::pipeline::hunt::{Hunt, Hunted, hunt};
use kustos::rules::{LoadOptions, RuleSet, Scratch, load_text};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Lines of the archive.
const LINES: usize = 1_200;

/// How a field may be written; the empty text: not at all.
const VERBS: [&str; 10] = [
    r#","verb":"get""#,
    r#","verb":"list""#,
    r#","verb":"create""#,
    r#","verb":"delete""#,
    r#","verb":"GET""#,
    r#","verb":"\u0067et""#,
    r#","verb":5"#,
    r#","verb":null"#,
    "",
    r#","verb":"list","verb":"get""#,
];
const USERS: [&str; 9] = [
    r#","user":{"username":"bob","groups":["system:masters","dev"]}"#,
    r#","user":{"username":"system:node:n-1","groups":[]}"#,
    r#","user":{"username":"Bob","groups":["dev"]}"#,
    r#","user":{"username":"system:serviceaccount:a:b","groups":["system:serviceaccounts",7]}"#,
    r#","user":{"username":"ŽOFIE","groups":"dev"}"#,
    r#","user":{"username":"a<b"}"#,
    r#","user":{"username":["bob","eve"]}"#,
    r#","user":"bob""#,
    "",
];
const OBJECTS: [&str; 9] = [
    r#","objectRef":{"resource":"secrets","namespace":"kube-system","name":"x"}"#,
    r#","objectRef":{"resource":"pods","namespace":"default","subresource":"exec"}"#,
    r#","objectRef":{"resource":"pods","apiGroup":"apps"}"#,
    r#","objectRef":{"resource":"SECRETS","namespace":""}"#,
    r#","objectRef":{"resource":null,"name":5}"#,
    r#","objectRef":{"resource":"clusterroles","apiGroup":"rbac.authorization.k8s.io","name":"admin"}"#,
    r#","objectRef":null"#,
    r#","objectRef":{"resource":"pods","resource":"secrets"}"#,
    "",
];
const ANSWERS: [&str; 8] = [
    r#","responseStatus":{"metadata":{},"code":200}"#,
    r#","responseStatus":{"metadata":{},"code":403,"reason":"Forbidden"}"#,
    r#","responseStatus":{"code":"403"}"#,
    r#","responseStatus":{"code":403.0}"#,
    r#","responseStatus":{"code":4030000000000}"#,
    r#","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"x\" of ClusterRole \"cluster-admin\" to User \"bob\""}"#,
    r#","annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":""}"#,
    r#","annotations":{"authorization.k8s.io/decision":7}"#,
];
const OTHERS: [&str; 9] = [
    "",
    "",
    "",
    "",
    r#","requestObject":{"spec":{"hostNetwork":true}}"#,
    r#","requestObject":null"#,
    r#","apiGroup":"apps""#,
    r#","hostNetwork":true"#,
    r#","sourceIPs":["10.0.0.1","::1"],"userAgent":"kubectl/v1""#,
];

fn lines() -> Vec<String> {
    let line = |at: usize| {
        // Most are as an API server writes them: the first half of each list.
        let pick = |of: &[&'static str], salt: usize| {
            let number = at * 7 + at / 11 * salt + at / 3;
            of[number % if (at + salt) % 9 < 7 { of.len() / 2 } else { of.len() }]
        };
        let time = match at % 43 {
            0 => r#""2026-11-23T03:00:00+01:00""#.to_owned(),
            1 => "5".to_owned(),
            _ => format!(r#""2026-11-23T03:{:02}:{:02}.000000Z""#, at / 60 % 60, at % 60),
        };
        let stage = if at % 31 == 9 { "" } else { r#","stage":"ResponseComplete""# };
        format!(
            r#"{{"kind":"Event","auditID":"id-{at}"{stage},"requestURI":"/api/{}"{}{}{}{}{},"stageTimestamp":{time}}}"#,
            at % 5,
            pick(&VERBS, 1),
            pick(&USERS, 2),
            pick(&OBJECTS, 3),
            pick(&ANSWERS, 5),
            pick(&OTHERS, 7),
        )
    };
    let odd = |at: usize| match at % 97 {
        50 => format!("no json {at}"),
        51 => format!(r#"{{"verb":"get","number":{at}}}"#),
        _ => line(at),
    };
    (0..LINES).map(odd).collect()
}

struct Stored {
    _dir: tempfile::TempDir,
    archive: PathBuf,
    lines: Vec<String>,
}

static STORED: LazyLock<Stored> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let (archive, lines) = (dir.path().join("archive"), lines());
    let mut ingest = Command::new(env!("CARGO_BIN_EXE_kustos"))
        .args(["ingest", "--cluster", "c", "--part-rows", "400", "--archive"])
        .args([archive.as_path(), "-".as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    ingest.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    assert!(ingest.wait().unwrap().code().is_some_and(|it| it < 2));
    Stored { _dir: dir, archive, lines }
});

/// The rule and the line of each finding, and how many lines were read.
fn hunted(rules: &Arc<RuleSet>) -> (Vec<(String, u64)>, u64) {
    let (mut found, mut read) = (Vec::new(), 0);
    let job = Hunt {
        dirs: std::slice::from_ref(&STORED.archive),
        scope: Scope::default(),
        rules,
        workers: 2,
        stop: &Stop::default(),
    };
    let mut events = 0;
    hunt(&job, |it: Hunted| {
        read += it.read;
        events += it.events;
        found.extend(it.findings.into_iter().map(|it| (it.rule.id, it.source.position)));
        Ok::<(), HistoryError>(())
    })
    .unwrap();
    let judged = STORED.lines.iter().filter(|it| decode::stored(it.as_bytes(), |_| ()).is_some());
    assert_eq!(events, judged.count() as u64);
    found.sort();
    (found, read)
}

fn judged(rules: &RuleSet) -> Vec<(String, u64)> {
    let (mut found, mut scratch) = (Vec::new(), Scratch::default());
    for (position, line) in (0..).zip(&STORED.lines) {
        let origin = Origin { cluster: "c", source: "s", position };
        decode::stored(line.as_bytes(), |it| scan(it, rules, &mut scratch, &origin, &mut found));
    }
    let mut found: Vec<_> = found.into_iter().map(|it| (it.rule.id, it.source.position)).collect();
    found.sort();
    found
}

fn rules(detections: &[String]) -> Arc<RuleSet> {
    let rule = |(at, detection): (usize, &String)| {
        format!(
            "title: R{at}\nid: r{at}\nlogsource: {{ product: kubernetes, service: audit }}\ndetection:\n{detection}"
        )
    };
    let text = detections.iter().enumerate().map(rule).collect::<Vec<_>>().join("---\n");
    let options = LoadOptions { lenient: true, ..LoadOptions::default() };
    Arc::new(load_text([("r.yml", text.as_str())], &options).unwrap().rules)
}

fn item() -> impl Strategy<Value = String> {
    let values = |of: &'static [&'static str]| prop::sample::subsequence(of, 1..3);
    let texts = prop_oneof![
        (Just("verb"), values(&["get", "LIST", "watch", "5", "create"])),
        (Just("user.username"), values(&["bob", "žofie", "system:node:n-1", "eve", "a<b"])),
        (Just("user.groups"), values(&["system:masters", "dev", "7"])),
        (Just("objectRef.resource"), values(&["secrets", "pods", "clusterroles"])),
        (Just("objectRef.namespace"), values(&["kube-system", "default", "''"])),
        (Just("objectRef.subresource"), values(&["exec", "attach"])),
        (Just("objectRef.name"), values(&["x", "5", "admin"])),
        (Just("apiGroup"), values(&["apps", "rbac.authorization.k8s.io"])),
        (Just("responseStatus.code"), values(&["403", "200", "'403'"])),
        (Just("annotations.authorization\\.k8s\\.io/decision"), values(&["allow", "forbid", "7"])),
        (Just("sourceIPs"), values(&["10.0.0.1", "'::1'"])),
        (Just("requestURI"), values(&["/api/1", "/api/2"])),
        (Just("stage"), values(&["ResponseComplete", "Panic"])),
    ];
    let modifier = prop::sample::select(vec!["", "", "", "|contains", "|startswith", "|endswith"]);
    prop_oneof![
        8 => (texts, modifier).prop_map(|((field, values), modifier)| {
            let quoted: Vec<String> = values
                .iter()
                .map(|it| if modifier.is_empty() || it.starts_with('\'') { (*it).to_owned() } else { format!("'{it}'") })
                .map(|it| if it.contains(['<', ':']) && !it.starts_with('\'') { format!("'{it}'") } else { it })
                .collect();
            format!("    {field}{modifier}: [{}]\n", quoted.join(", "))
        }),
        1 => prop::sample::select(vec![
            "    objectRef.namespace: null\n",
            "    verb: null\n",
            "    objectRef.resource|exists: true\n",
            "    user.username|exists: false\n",
            "    requestObject.spec.hostNetwork: true\n",
            "    hostNetwork: true\n",
            "    annotations.authorization\\.k8s\\.io/reason|contains: 'ClusterRole \"cluster-admin\"'\n",
            "    sourceIPs|cidr: 10.0.0.0/8\n",
            "    user.username|re: '^b.b$'\n",
        ])
        .prop_map(str::to_owned),
    ]
}

fn detection() -> impl Strategy<Value = String> {
    let selection = || prop::collection::vec(item(), 1..4);
    let condition = prop::sample::select(vec![
        "s1",
        "s1",
        "s1 and s2",
        "s1 and s2",
        "s1 or s2",
        "s1 and not s2",
        "1 of s*",
        "not s1",
    ]);
    (selection(), selection(), condition).prop_map(|(one, two, condition)| {
        // A key may stand once in a selection.
        let text = |items: &[String]| {
            let mut seen = std::collections::BTreeSet::new();
            let own = |it: &&String| seen.insert(it.split([':', '|']).next().unwrap().to_owned());
            items.iter().filter(own).cloned().collect::<String>()
        };
        format!("  s1:\n{}  s2:\n{}  condition: {condition}\n", text(&one), text(&two))
    })
}

#[test]
fn a_hunt_finds_what_judging_every_line_finds() {
    let config =
        ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let (mut runs, mut spared, mut findings) = (0, 0, 0);
    let all = RefCell::new(Vec::new());
    TestRunner::new(config)
        .run(&prop::collection::vec(detection(), 1..4), |it| {
            let rules = rules(&it);
            prop_assert_eq!(rules.len(), it.len(), "a rule was left out: {:?}", it);
            let want = judged(&rules);
            let (found, read) = hunted(&rules);
            prop_assert_eq!(&found, &want, "{}", it.join("---\n"));
            all.borrow_mut().push((read, found.len()));
            Ok(())
        })
        .unwrap();
    for (read, found) in all.into_inner() {
        runs += 1;
        findings += found;
        spared += usize::from(read < LINES as u64 * 2 / 3);
    }
    assert!(
        findings > runs && spared * 4 > runs,
        "{spared} of {runs} read less, {findings} findings"
    );
}

#[test]
fn lines_that_no_rule_can_match_are_not_read() {
    let rare = "  s1:\n    user.username: nobody\n    verb: get\n  condition: s1\n".to_owned();
    let (found, read) = hunted(&rules(std::slice::from_ref(&rare)));
    // What is not written as an API server writes it is read.
    assert!(found.is_empty() && read < LINES as u64 / 2, "{read} of {LINES}");
    let (_, read) =
        hunted(&rules(&[rare, "  s1:\n    verb: get\n  condition: not s1\n".to_owned()]));
    assert!(read > LINES as u64 * 9 / 10, "{read} of {LINES}");
}
