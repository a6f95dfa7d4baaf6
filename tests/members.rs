//! Blocks: several conditions for one and the same member of a list. The rules are those that
//! `docs/sigma.md` shows, and small ones for each quantifier.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use kustos::decode;
use kustos::rules::{LoadOptions, RuleSet, Scratch, load_text};
use serde_json::{Value, json};

fn rules(text: &str) -> RuleSet {
    let loaded = load_text([("t.yml", text)], &LoadOptions::default());
    loaded.unwrap_or_else(|error| panic!("{error}\n{text}")).rules
}

fn matches(rules: &RuleSet, event: &Value) -> bool {
    let line = event.to_string();
    let mut found = Vec::new();
    let event = decode::line(line.as_bytes()).unwrap();
    rules.matches(&event, &mut Scratch::default(), &mut found);
    !found.is_empty()
}

fn request(body: Value) -> Value {
    json!({"kind": "Event", "auditID": "0", "stage": "ResponseComplete", "verb": "create", "requestObject": body})
}

/// The rule of that title in the documentation.
fn documented(title: &str) -> RuleSet {
    let text = std::fs::read_to_string("docs/sigma.md").unwrap();
    let mut blocks = text.split("```yaml\n").skip(1).filter_map(|it| it.split("```").next());
    rules(blocks.find(|it| it.starts_with(&format!("title: {title}\n"))).unwrap())
}

/// A block over `a`, judged over this list.
fn block(sel: &str, list: Value) -> bool {
    let sel = sel.replace('\n', "\n    ");
    let head = "title: T\nsigma-version: 3\ndetection:\n  sel:\n    ";
    matches(&rules(&format!("{head}{sel}\n  condition: sel\n")), &json!({"a": list}))
}

#[test]
fn a_container_is_privileged_and_has_the_image_itself() {
    let rule = documented("Privileged container from outside");
    let container = |image: &str, privileged: bool| json!({"image": image, "securityContext": {"privileged": privileged}});
    let (both, image, power) = (
        container("docker.io/x", true),
        container("docker.io/x", false),
        container("registry.local/x", true),
    );
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        for (list, want) in [(json!([image, both]), true), (json!([image, power]), false)] {
            let spec = json!({kind: list});
            let template = json!({"spec": spec});
            let job = json!({"spec": {"template": template}});
            for body in [
                json!({"spec": spec}),
                json!({"spec": {"template": template}}),
                json!({"spec": {"jobTemplate": job}}),
            ] {
                assert_eq!(matches(&rule, &request(body.clone())), want, "{body}");
            }
        }
    }
    // One in each of two lists is still two containers.
    let body = json!({"spec": {"containers": [image], "initContainers": [power]}});
    assert!(!matches(&rule, &request(body)));
}

#[test]
fn an_rbac_rule_has_the_verbs_and_the_resources_itself() {
    let rule = documented("Role with too much power");
    for (list, want) in [
        (json!([{"verbs": ["*"], "resources": ["pods", "*"]}]), true),
        (
            json!([{"verbs": ["*"], "resources": ["pods"]}, {"verbs": ["get"], "resources": ["*"]}]),
            false,
        ),
        (json!([{"verbs": ["watch", "get"], "resources": ["secrets"]}]), true),
        (json!([{"verbs": ["get"], "resources": ["secrets"], "resourceNames": ["tls"]}]), false),
        (
            json!([{"verbs": ["get"], "resources": ["pods"]}, {"verbs": ["create"], "resources": ["secrets"]}]),
            false,
        ),
        (json!([]), false),
    ] {
        assert_eq!(matches(&rule, &request(json!({"rules": list}))), want, "{list}");
    }
}

#[test]
fn quantifiers_count_the_members_that_satisfy_the_block() {
    let lists = [
        json!([{"x": 1, "y": 2}, {"x": 1, "y": 3}]),
        json!([{"x": 1, "y": 2}]),
        json!([{"x": 0, "y": 2}, {"x": 1, "y": 0}]),
        json!([]),
        Value::Null,
        json!({"x": 1, "y": 2}),
    ];
    for (quantifier, want) in [
        ("any", [true, true, false, false, false, true]),
        ("all", [false, true, false, false, false, true]),
        ("all_or_empty", [false, true, false, true, true, true]),
        ("none", [false, false, true, true, true, false]),
    ] {
        let got = lists.clone().map(|it| block(&format!("a[{quantifier}]:\n  x: 1\n  y: 2"), it));
        assert_eq!(got, want, "{quantifier}");
    }
}

#[test]
fn blocks_nest_and_are_negated_within_one_member() {
    let nested = "a[any]:\n  name: web\n  ports[none]:\n    open: true";
    let web = |open: &[bool]| {
        let ports: Vec<Value> = open.iter().map(|it| json!({"open": it})).collect();
        json!([{"name": "db", "ports": [{"open": true}]}, {"name": "web", "ports": ports}])
    };
    assert!(block(nested, web(&[false])) && block(nested, web(&[])));
    assert!(!block(nested, web(&[false, true])));
    let but = "a[any]:\n  web: { name: web }\n  open: { ports.open: true }\n  condition: web and not open";
    assert!(block(but, web(&[false])) && !block(but, web(&[true])));
    let each = "a[all]:\n  one: { name: web }\n  two: { name: db }\n  condition: 1 of *";
    assert!(block(each, web(&[])) && !block(each, json!([{"name": "x"}])));
    assert!(block("a[1].name: web", web(&[])) && !block("a[0].name: web", web(&[])));
    assert!(
        block("a[any]|startswith: x", json!(["ax", "xa"]))
            && !block("a[all]|startswith: x", json!(["ax", "xa"]))
    );
}
