//! `kustos rules` as people and CI systems run it: what it prints, and what its exit code says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use kustos::decode;
use kustos::rules::{Profile, Scratch, explain, shipped};
use serde_json::{Value, json};

mod common;

use common::Ran;

const READ: &str = "title: Secret read\nid: read-1\nlevel: high\ntags: [attack.t1552.007, attack.credential-access, hipaa.164.312-b]\n\
detection:\n  sel:\n    stage: ResponseComplete\n    verb: [get, list]\n    objectRef.resource: secrets\n  filter:\n    user.username|startswith: 'system:'\n  \
condition: sel and not filter\n";

const POD: &str = "title: Host path\nid: pod-1\nlevel: low\ntags: [attack.t1610]\ndetection:\n  sel:\n    verb: create\n    hostPath: /etc\n  condition: sel\n";

const BROKEN: &str = "title: T\ndetection:\n  a:\n    verb|re2: x\n  condition: a\n";

const WARNED: &str = "title: W\nid: w\ndetection:\n  a:\n    verb: [get, null]\n  condition: a\n";

/// Every so manieth pair of a rule and an event that do not match is explained.
const EXPLAINED_EVERY: usize = 23;

/// An audit event with these members besides what makes it one.
fn audit(members: &str) -> String {
    format!(r#"{{"auditID":"x","stage":"ResponseComplete",{members}}}"#)
}

fn by(user: &str) -> String {
    audit(&format!(
        r#""verb":"get","user":{{"username":"{user}"}},"objectRef":{{"resource":"secrets"}}"#
    ))
}

fn case(matches: bool, event: &str) -> String {
    format!("{{\"match\":{matches},\"why\":\"by that user\",\"event\":{event}}}\n")
}

/// An empty folder to run the binary in.
struct Here(tempfile::TempDir);

impl Here {
    /// With these files in it.
    fn with(files: &[(&str, &str)]) -> Here {
        let here = Here(tempfile::tempdir().unwrap());
        for (name, text) in files {
            here.write(name, text);
        }
        here
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        kustos::durable::create_dir_all(path.parent().unwrap()).unwrap();
        kustos::durable::write(&path, text.as_bytes()).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    #[track_caller]
    fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let arguments: Vec<&OsStr> =
            std::iter::once("rules").chain(arguments.iter().copied()).map(OsStr::new).collect();
        common::kustos_in(self.0.path(), &arguments, input.as_bytes())
    }
}

#[track_caller]
fn says(ran: &Ran, code: i32, wanted: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    for want in wanted {
        assert!(ran.stdout.contains(want), "no {want:?} in\n{}\n{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn a_check_names_the_place_of_every_error_and_warning() {
    let here = Here::with(&[
        ("r/bad.yml", BROKEN),
        ("r/good.yml", READ),
        ("r/good.test.jsonl", "{}\n"),
        ("r/warned.yaml", WARNED),
    ]);
    let ran = here.run(&["check", "r"]);
    let line = "r/bad.yml:4: error: rule \"T\": unknown modifier 're2'";
    says(&ran, 1, &[line, "r/warned.yaml:5: warning: rule \"W\": null stands in a list"]);
    assert!(ran.stdout.ends_with("2 rules good, 1 broken, 1 warning\n"), "{}", ran.stdout);

    let rows = here.run(&["check", "-o", "json", "r"]).ended(1).rows();
    assert_eq!(rows.len(), 2);
    let want = json!({"severity":"error","file":"r/bad.yml","line":4,"rule":"T","message":rows[0]["message"]});
    assert_eq!(rows[0], want);
    assert_eq!((&rows[1]["severity"], &rows[1]["line"]), (&json!("warning"), &json!(5)));

    here.run(&["check", "--lenient", "r"]).ended(0);
    here.run(&["check", "r/warned.yaml"]).ended(0);
    here.run(&["check", "--strict", "r/warned.yaml"]).ended(1);
    // As `r/*` of a shell names them.
    here.run(&["check", "r/good.yml", "r/good.test.jsonl"]).ended(0);
    here.run(&["check", "none"]).ended(2);
    here.run(&["check"]).ended(0);
}

#[test]
fn a_rule_that_does_not_do_what_its_test_says_fails_with_place_and_reason() {
    let good = case(true, &by("eve")) + &case(false, &by("system:node:n"));
    let here = Here::with(&[("r/a.yml", READ), ("r/a.test.jsonl", &good)]);
    let ran = here.run(&["test", "r"]);
    says(&ran, 0, &["r/a.yml ... ok (2 cases)", "2 passed, 0 failed, 0 untested, 0 broken"]);
    // `rules` when nothing is named.
    here.write("rules/a.yml", READ);
    here.write("rules/a.test.jsonl", &good);
    says(&here.run(&["test"]), 0, &["rules/a.yml ... ok"]);

    here.write("r/a.test.jsonl", &(good + &case(true, &by("system:node:n"))));
    let ran = here.run(&["test", "r", "--junit", "report.xml"]);
    let wanted = [
        "r/a.yml ... FAILED (3 cases)",
        "  r/a.test.jsonl:3: no match: by that user",
        "    false   not",
        "    true      user.username starts with \"system:\"   [here: \"system:node:n\"]",
        "2 passed, 1 failed",
    ];
    says(&ran, 1, &wanted);
    assert!(!ran.stdout.contains("objectRef.resource"), "it did not decide: {}", ran.stdout);
    let report = here.read("report.xml");
    for want in [
        "<testsuites name=\"kustos rules test\" tests=\"3\" skipped=\"0\" failures=\"1\"",
        "<testsuite name=\"r/a.yml\" tests=\"3\"",
        "name=\"r/a.test.jsonl:3 by that user\"",
        "<failure message=\"no match: by that user\"",
    ] {
        assert!(report.contains(want), "no {want} in {report}");
    }
}

#[test]
fn what_has_no_test_is_said() {
    let here = Here::with(&[("r/a.yml", READ), ("r/b.yml", POD)]);
    here.write("r/a.test.jsonl", &case(true, &by("eve")));
    let wanted = [
        "untested: rule \"Secret read\" has no case that it must not match",
        "untested: there is no r/b.test.jsonl",
    ];
    says(&here.run(&["test", "r"]), 1, &wanted);
    says(&here.run(&["test", "r", "--allow-untested"]), 0, &wanted);
    here.write("r/c.yml", BROKEN);
    let ran = here.run(&["test", "r", "--allow-untested", "--junit", "j.xml"]);
    says(&ran, 1, &["r/c.yml:4: broken: unknown modifier", "1 broken"]);
    let report = here.read("j.xml");
    assert!(report.contains("<skipped") && report.contains("<error"), "{report}");
    here.write("r/a.test.jsonl", "{\"match\":true}\n");
    says(&here.run(&["test", "r/a.yml"]), 1, &["r/a.test.jsonl:1: no case: missing field `why`"]);
    here.run(&["test", "none"]).ended(2);
}

#[test]
fn a_case_names_its_rule_where_a_file_has_several() {
    let here = Here::with(&[("r/a.yml", &format!("{READ}---\n{POD}"))]);
    let named = |rule: &str, matches: bool, event: &str| {
        case(matches, event).replace("\"why\"", &format!("\"rule\":\"{rule}\",\"why\""))
    };
    let tests = named("read-1", true, &by("eve"))
        + &named("Host path", false, &by("eve"))
        + &case(false, "{}")
        + &format!(
            "{{\"match\":true,\"why\":\"w\",\"rule\":\"read-1\",\"events\":[{{}},{}]}}\n",
            by("eve")
        );
    here.write("r/a.test.jsonl", &tests);
    let ran = here.run(&["test", "r"]);
    says(&ran, 1, &["(4 cases)", "4 passed", "rule \"Host path\" has no case that it must match"]);
    here.write("r/a.test.jsonl", &named("Host paths", true, "{}"));
    says(&here.run(&["test", "r"]), 1, &["did you mean \"Host path\"?"]);
}

#[test]
fn rules_are_listed_by_level_and_tag_in_three_formats() {
    let here = Here::with(&[("r/a.yml", READ), ("r/b.yml", POD)]);
    let ids = |arguments: &[&str]| {
        let ran = here.run(&[&["list", "--rules", "r", "-o", "ndjson"], arguments].concat());
        let rows = ran.ended(0).rows();
        rows.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["read-1", "pod-1"]);
    assert_eq!(ids(&["--level", "low"]), ["pod-1"]);
    assert_eq!(ids(&["--tag", "attack.t1552"]), ["read-1"]);
    assert_eq!(ids(&["--tag", "attack.t1552", "--tag", "attack.t1610"]), ["read-1", "pod-1"]);
    assert_eq!(ids(&["--tag", "attack.t155"]), Vec::<String>::new());
    let ran = here.run(&["list", "--rules", "r", "-o", "json"]).ended(0);
    let all: Value = serde_json::from_str(&ran.stdout).unwrap();
    let want = json!({"level":"low","id":"pod-1","title":"Host path","dialect":"sigma",
        "only_counted":false,"disabled":false,"tags":["attack.t1610"],"file":"r/b.yml","line":1});
    assert_eq!(all[1], want);
    let table = here.run(&["list", "--rules", "r", "-o", "table"]);
    says(&table, 0, &["read-1", "Secret read", "r/a.yml:1", "attack.t1610"]);
    let csv = here.run(&["list", "--rules", "r", "-o", "csv"]);
    says(
        &csv,
        0,
        &[
            "level,id,title,dialect,profile,only_counted,disabled,tags,file,line\n",
            "low,pod-1,Host path,sigma,,false,",
        ],
    );
    for profile in Profile::ALL {
        let listed = here.run(&["list", "--profile", profile.as_str()]).ended(0).rows();
        assert_eq!(listed.len(), shipped(profile).unwrap().subjects().count());
    }
    let standard = here.run(&["list", "--profile", "standard"]).ended(0).stdout;
    assert_eq!(here.run(&["list"]).ended(0).stdout, standard);
    let both = here.run(&["list", "--profile", "minimal", "--rules", "r"]).ended(0).rows();
    assert!(both.iter().any(|it| it["profile"] == "minimal"));
    assert!(both.iter().any(|it| it["id"] == "read-1" && it["profile"].is_null()));
    here.run(&["list", "--profile", "most"]).ended(2);
    here.run(&["list", "--level", "worse"]).ended(2);
}

#[test]
fn falco_rules_are_shown_whole_and_disabled_ones_are_listed() {
    let file = "- list: verbs\n  items: [get, list]\n- macro: reads\n  condition: ka.verb in (verbs)\n- rule: Read\n  desc: d\n  condition: reads and ka.target.resource=secrets\n  output: '%ka.user.name'\n  priority: NOTICE\n  source: k8s_audit\n- rule: Off\n  desc: d\n  condition: reads\n  output: o\n  priority: INFO\n  source: k8s_audit\n  enabled: false\n";
    let here = Here::with(&[("f.yaml", file)]);
    let whole = "(ka.verb in (get, list) and ka.target.resource = secrets)";
    let ran = here.run(&["show", "Read", "--rules", "f.yaml"]);
    says(&ran, 0, &["priority   Notice", "output     %ka.user.name", whole, "f.yaml:5"]);
    let shown = here.run(&["show", "Read", "--rules", "f.yaml", "-o", "json"]).ended(0).rows();
    assert_eq!(shown[0]["rule"]["compiled"], whole);
    let rows = here.run(&["list", "--rules", "f.yaml"]).ended(0).rows();
    let found: Vec<_> = rows.iter().map(|it| (&it["id"], &it["disabled"])).collect();
    assert_eq!(found, [(&json!("Read"), &json!(false)), (&json!("Off"), &json!(true))]);
    says(&here.run(&["list", "--rules", "f.yaml", "-o", "table"]), 0, &["falco", "disabled"]);
    says(&here.run(&["check", "f.yaml"]), 0, &["1 rule good, 0 broken, 0 warnings"]);
}

#[test]
fn a_rule_is_shown_with_what_it_asks_and_needs() {
    let here = Here::with(&[("r.yml", &format!("{READ}---\n{POD}"))]);
    let ran = here.run(&["show", "read-1", "--rules", "r.yml"]);
    let wanted = [
        "Secret read\n",
        "needs      audit level Metadata\n",
        "stages     ResponseComplete\n",
        "    verb is \"get\" or \"list\"\n",
        "  not\n    user.username starts with \"system:\"\n",
        "  verb: get, list\n",
        "Text\n\n  title: Secret read\n",
    ];
    says(&ran, 0, &wanted.map(|it| it.trim_start_matches("  not\n")));
    assert!(!ran.stdout.contains("Host path"), "the other rule's text: {}", ran.stdout);
    let ran = here.run(&["show", "Host path", "--rules", "r.yml"]);
    let places = "hostPath  requestObject.spec.volumes.hostPath.path, ";
    says(&ran, 0, &["needs      audit level Request\n", places, "title: Host path"]);
    let ran = here.run(&["show", "pod-1", "--rules", "r.yml", "-o", "json"]).ended(0);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&shown["rule"]["line"], &shown["needs"]["level"]), (&json!(14), &json!("Request")));
    assert_eq!(shown["condition"]["kind"], "all");
    assert_eq!(shown["needs"]["index"], json!({"verb":["create"]}));
    let ran = here.run(&["show", "Secrets read", "--rules", "r.yml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("did you mean \"Secret read\"?"), "{}", ran.stderr);
}

#[test]
fn an_event_is_explained_wherever_it_stands() {
    let (eve, node) = (by("eve"), by("system:node:n"));
    let here = Here::with(&[("r.yml", READ), ("log", &format!("{eve}\n{node}\n")), ("one", &eve)]);
    let run = |event: &str, input: &str| {
        here.run_with(&["explain", "read-1", event, "--rules", "r.yml"], input)
    };
    let holds = ["match: \"Secret read\" (read-1)\n", "true  all of\n", "[here: \"eve\"]"];
    for (event, input) in [(&*eve, ""), ("one", ""), ("log:1", ""), ("-", &*eve)] {
        says(&run(event, input), 0, &holds);
    }
    // One object over several lines.
    let pretty = serde_json::from_str::<Value>(&eve).unwrap();
    says(&run("-", &serde_json::to_string_pretty(&pretty).unwrap()), 0, &holds);
    let wanted = ["no match: ", "false   not\n", "true      user.username starts with \"system:\""];
    says(&run("log:2", ""), 1, &wanted);
    let other = audit(r#""verb":"watch""#);
    says(
        &run(&other, ""),
        1,
        &[
            "the index passed it over: it requires ",
            "verb is \"get\" or \"list\"   [here: \"watch\"]",
            "[here: missing]",
        ],
    );
    for (event, why) in [
        ("log", "log holds more than one event: name one as FILE:LINE"),
        ("log:9", "log has nothing on line 9"),
        ("none", "none could not be opened"),
        ("{\"verb\":", "the event is"),
    ] {
        let ran = run(event, "");
        assert!(ran.code == 2 && ran.stderr.contains(why), "{event}: {ran:?}");
    }
    let ran = here.run(&["explain", "read-1", "log:2", "--rules", "r.yml", "-o", "json"]).ended(1);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["matches"], &told["reached"]), (&json!(false), &json!(true)));
    assert_eq!(told["condition"]["parts"][1]["parts"][0]["found"], json!(["\"system:node:n\""]));
}

const OFTEN: &str = "title: Secrets read often\nid: often-1\nlevel: critical\ncorrelation:\n  type: event_count\n  \
rules: [read-1]\n  group-by: [user.username]\n  timespan: 5m\n  condition: {gte: 2}\n";

#[test]
fn a_correlation_is_checked_listed_shown_explained_and_tested() {
    let here = Here::with(&[("r/a.yml", &format!("{READ}---\n{OFTEN}"))]);
    says(&here.run(&["check", "r"]), 0, &["2 rules good"]);
    let rows = here.run(&["list", "--rules", "r", "-o", "ndjson"]).rows();
    let silent: Vec<&Value> = rows.iter().map(|it| &it["only_counted"]).collect();
    assert_eq!(silent, [&json!(true), &json!(false)]);
    says(&here.run(&["list", "--rules", "r", "-o", "table"]), 0, &["only counted"]);

    let shown = here.run(&["show", "often-1", "--rules", "r"]);
    let wanted = [
        "type       event_count\n",
        "group by   user.username\n",
        "window     the 5m before each event\n",
        "fires when events >= 2\n",
        "  \"Secret read\" (read-1): audit level Metadata\n",
        "  type: event_count\n",
    ];
    says(&shown, 0, &wanted);
    let counted = "counted by \"Secrets read often\" (often-1); it gives no finding of its own\n";
    says(&here.run(&["show", "read-1", "--rules", "r"]), 0, &[counted]);
    let ran = here.run(&["explain", "often-1", &by("eve"), "--rules", "r"]);
    says(&ran, 0, &["(often-1) counts what these find:\n\nmatch: \"Secret read\" (read-1)\n"]);

    let at = |minute: u32| {
        by("eve").replacen(
            '{',
            &format!("{{\"stageTimestamp\":\"2026-11-23T03:{minute:02}:00Z\","),
            1,
        )
    };
    let sequence = |matches: bool, second: u32| {
        format!(
            "{{\"match\":{matches},\"why\":\"two reads\",\"events\":[{},{}]}}\n",
            at(0),
            at(second)
        )
    };
    here.write("r/a.test.jsonl", &(sequence(true, 3) + &sequence(false, 6)));
    says(
        &here.run(&["test", "r"]),
        0,
        &["2 cases of 2 rules in 1 file: 2 passed, 0 failed, 0 untested"],
    );
    here.write("r/a.test.jsonl", &(sequence(false, 3) + &sequence(true, 3)));
    says(&here.run(&["test", "r"]), 1, &["r/a.test.jsonl:1: a match: two reads"]);
}

#[test]
fn what_an_event_says_is_shown_and_never_obeyed() {
    let here = Here::with(&[("r.yml", READ)]);
    let event = by("\\u001b[2Jeve\\u202e").replace("\\u202e", "\u{202e}");
    let ran = here.run(&["explain", "read-1", &event, "--rules", "r.yml"]).ended(0);
    let harmful = |it: char| (it.is_control() && it != '\n') || it == '\u{202e}';
    assert!(!ran.stdout.contains(harmful), "{:?}", ran.stdout);
}

#[test]
fn coverage_is_tables_json_and_a_layer() {
    let here = Here::with(&[("r/a.yml", READ), ("r/b.yml", POD)]);
    let ran = here.run(&["coverage", "--rules", "r", "--navigator", "layer.json"]);
    let wanted = [
        "ATT&CK TECHNIQUE",
        "T1552.007",
        "HIPAA, 45 CFR",
        "164.312(b)",
        "Audit controls",
        "2 rules: 1 of 14 tactics, 2 techniques, 1 safeguard; 0 without a technique",
    ];
    says(&ran, 0, &wanted);
    let layer: Value = serde_json::from_str(&here.read("layer.json")).unwrap();
    assert_eq!(layer["versions"]["layer"], "4.5");
    let techniques: Vec<&str> = layer["techniques"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["techniqueID"].as_str().unwrap())
        .collect();
    assert_eq!(techniques, ["T1552.007", "T1610"]);
    let ran = here.run(&["coverage", "-o", "json"]).ended(0);
    let coverage: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(coverage["unknown_tags"], json!([]));
    assert_eq!(coverage["tactics"].as_array().unwrap().len(), 14);
}

#[test]
fn a_site_fills_in_lists_of_shipped_rules_in_a_file_of_its_own() {
    let event = |image: &str| {
        let spec = json!({ "containers": [{ "name": "a", "image": image }] });
        json!({ "kind": "Event", "stage": "ResponseComplete", "verb": "create", "auditID": image,
            "user": { "username": "eve" }, "objectRef": { "resource": "pods", "namespace": "n", "name": "p" },
            "requestObject": { "kind": "Pod", "spec": spec } })
    };
    let log = format!("{}\n{}\n", event("ghcr.io/x/y:v1"), event("registry.example/y:v1"));
    let lists = "lists:\n  trusted_registries: ['registry.example/*']\n";
    let here = Here::with(&[
        ("log.ndjson", &log),
        ("site/lists.yaml", lists),
        ("more.yaml", "trusted_registries+: ['ghcr.io/*']\n"),
    ]);
    let detect = |options: &[&str]| -> Vec<String> {
        let arguments = [&["detect", "log.ndjson", "-o", "ndjson"], options].concat();
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let rows = common::kustos_in(here.0.path(), &arguments, &[]).ended(0).rows();
        let found = rows
            .iter()
            .filter(|it| it["rule"]["title"] == "Image from a registry that is not trusted");
        found.map(|it| it["event"]["auditID"].as_str().unwrap().to_owned()).collect()
    };
    assert!(detect(&[]).is_empty(), "as shipped, everything is trusted");
    let site = ["--profile", "standard", "--rules", "site"];
    assert_eq!(detect(&site), ["ghcr.io/x/y:v1"]);
    assert!(detect(&[&site[..], &["--placeholders", "more.yaml"]].concat()).is_empty());
    let broken = Here::with(&[("site/lists.yaml", "lists: { trusted_registries: all }\n")]);
    let ran = broken.run(&["check", "site"]);
    says(&ran, 1, &["site/lists.yaml:1: error: ", "it needs names, each with a list of texts"]);
}

#[test]
fn coverage_says_which_rules_find_a_behaviour_or_why_none_does() {
    let here = Here::with(&[]);
    let coverage = &here.run(&["coverage", "-o", "json"]).ended(0).rows()[0];
    let of = |number: u64| {
        let all = coverage["behaviours"].as_array().unwrap();
        all.iter().find(|it| it["number"] == number).unwrap().clone()
    };
    assert_eq!(of(60)["rules"][0]["title"], "Binding to cluster-admin written");
    assert!(of(93)["unseen"].as_str().unwrap().contains("CloudTrail"));
    assert!(of(167)["built_in"].is_string());
    let told = here.run(&["coverage"]);
    says(
        &told,
        0,
        &["A certificate is approved by whoever asked for it", "behaviours: ", ", 0 left"],
    );
}

#[test]
fn the_shipped_rules_do_what_their_tests_say() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let ran = common::kustos(&[OsStr::new("rules"), OsStr::new("test"), rules.as_os_str()]);
    says(&ran, 0, &[" 0 failed, 0 untested, 0 broken"]);
}

#[test]
fn an_explanation_never_disagrees_with_the_matcher() {
    let log = std::fs::read(common::sample()).unwrap();
    let rules = shipped(Profile::Paranoid).unwrap();
    let (mut scratch, mut found) = (Scratch::default(), Vec::new());
    let mut matched = 0;
    for (at, line) in common::lines(&log).enumerate() {
        let event = decode::line(line).unwrap();
        rules.matches(&event, &mut scratch, &mut found);
        for (index, rule) in rules.indexed() {
            let matches = found.contains(&index);
            matched += usize::from(matches);
            // Of what does not match, which is nearly all, a part.
            if matches || (at + matched) % EXPLAINED_EVERY == 0 {
                let explained = explain(&rules, index, &event);
                let told = (explained.matches, explained.condition.holds);
                assert_eq!(told, (matches, matches), "{}: {}", rule.title, event.line());
            }
        }
    }
    assert!(matched > 100, "{matched}");
}
