//! Rules against events: text in, titles out. The decoder lies beside this module,
//! so these tests index the line themselves.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::*;
use crate::event::{Event, Field, Span};

type Raw<'a> = BTreeMap<String, &'a RawValue>;

/// As the decoder would make it, by way of `serde_json`.
pub(super) fn event(line: &str) -> Event<'_> {
    let mut event = Event::of(line);
    for field in Field::all() {
        if let Some(json) = at(line, field.path()) {
            let start = json.as_ptr() as usize - line.as_ptr() as usize;
            let end = u32::try_from(start + json.len()).unwrap();
            event.set(field, Span { start: u32::try_from(start).unwrap(), end });
        }
    }
    event
}

fn at<'l>(line: &'l str, path: &str) -> Option<&'l str> {
    let top: Raw<'l> = serde_json::from_str(line).ok()?;
    let Some((first, rest)) = path.split_once('.') else {
        return top.get(path).map(|it| it.get());
    };
    let inner: Raw<'l> = serde_json::from_str(top.get(first)?.get()).ok()?;
    inner.get(&rest.replace("\\.", ".")).map(|it| it.get())
}

/// The detection's lines below `sel:`, and whether it matches the event.
fn matches(sel: &str, line: &str) -> bool {
    let sel = sel.replace('\n', "\n    ");
    let text =
        format!("title: T\nsigma-version: 3\ndetection:\n  sel:\n    {sel}\n  condition: sel\n");
    let rules = load_text([("t.yml", &*text)], &LoadOptions::default());
    let rules = rules.unwrap_or_else(|error| panic!("{sel}: {error}")).rules;
    let mut found = Vec::new();
    rules.matches(&event(line), &mut Scratch::default(), &mut found);
    !found.is_empty()
}

fn table(cases: &[(&str, &str, bool)]) {
    for (sel, line, want) in cases {
        assert_eq!(matches(sel, line), *want, "{sel} | {line}");
    }
}

/// An audit event with these members besides what makes it one.
fn audit(members: &str) -> String {
    format!(r#"{{"auditID":"x","stage":"ResponseComplete",{members}}}"#)
}

#[test]
fn numbers_bools_and_null_keep_their_types() {
    table(&[
        ("n: 403", r#"{"n":403}"#, true),
        ("n: 403", r#"{"n":403.0}"#, true),
        ("n: 403", r#"{"n":"403"}"#, true),
        ("n: 1", r#"{"n":"01"}"#, true),
        ("n: 1", r#"{"n":true}"#, false),
        ("n: true", r#"{"n":"True"}"#, true),
        ("n: 'true'", r#"{"n":true}"#, true),
        ("n: '403'", r#"{"n":403}"#, true),
        ("n|gte: 10", r#"{"n":"11"}"#, true),
        ("n|gte: 10", r#"{"n":"x"}"#, false),
        ("n|gte: 10", r#"{"n":null}"#, false),
        ("n|lt: 10", r#"{"n":true}"#, false),
        ("n: null", r#"{"m":1}"#, true),
        ("n: null", r#"{"n":null}"#, true),
        ("n: null", r#"{"n":""}"#, false),
        ("n: null", r#"{"n":[]}"#, false),
        ("n: ''", r#"{"n":""}"#, true),
        ("n: ''", r#"{"m":""}"#, false),
    ]);
}

#[test]
fn a_star_is_any_text_or_number_and_nothing_else() {
    for (value, want) in
        [("\"\"", true), ("0", true), ("[1]", true), ("null", false), ("{\"a\":1}", false)]
    {
        assert_eq!(matches("n: '*'", &format!("{{\"n\":{value}}}")), want, "{value}");
    }
    assert!(!matches("n: '*'", "{}"));
}

#[test]
fn presence_and_difference() {
    table(&[
        ("n|exists: true", r#"{"n":""}"#, true),
        ("n|exists: true", r#"{"n":[]}"#, true),
        ("n|exists: true", r#"{"n":null}"#, true),
        ("n|exists: false", r#"{"n":null}"#, false),
        ("n|exists: true", r#"{"m":1}"#, false),
        ("n|exists: false", r#"{"m":1}"#, true),
        ("n|neq: x", r#"{"n":"y"}"#, true),
        ("n|neq: x", r#"{"n":"X"}"#, false),
        ("n|neq: x", r#"{"m":"y"}"#, false),
        ("n|neq: x", r#"{"n":["y","x"]}"#, false),
        ("n|neq: x", r#"{"n":null}"#, true),
        ("n|neq:\n  - x\n  - y", r#"{"n":"y"}"#, false),
        ("n|all|neq:\n  - x\n  - y", r#"{"n":"y"}"#, true),
        ("n|all|neq:\n  - x\n  - y", r#"{"n":["y","x"]}"#, false),
        ("n|all|neq:\n  - x\n  - y", r#"{"m":"y"}"#, false),
        ("a|fieldref: b", r#"{"a":"X","b":"x"}"#, true),
        ("a|fieldref|neq: b", r#"{"a":"X","b":"x"}"#, false),
        ("a|fieldref|neq: b", r#"{"a":"X","b":"y"}"#, true),
        ("a|fieldref|startswith: b", r#"{"a":"xyz","b":"xy"}"#, true),
        ("a|fieldref: b", r#"{"a":"x"}"#, false),
    ]);
}

#[test]
fn all_asks_for_one_form_of_each_value() {
    // `a` and `b` in Base64, at the two places of a group where they look so.
    let sel = "n|base64offset|contains|all:\n  - secret\n  - hidden";
    table(&[
        (sel, r#"{"n":"xHNlY3JldCBoaWRkZW4="}"#, true),
        (sel, r#"{"n":"c2VjcmV0 aGlkZGVu"}"#, true),
        (sel, r#"{"n":"c2VjcmV0"}"#, false),
    ]);
}

#[test]
fn arrays_are_any_member_and_blocks_are_one_member() {
    let two = r#"{"c":[{"p":"TCP","ip":"1.1.1.1"},{"p":"UDP","ip":"10.0.0.1"}]}"#;
    table(&[
        ("c.p: tcp\nc.ip: 10.0.0.1", two, true),
        ("c[any]:\n  p: tcp\n  ip: 10.0.0.1", two, false),
        ("c[any]:\n  p: udp\n  ip: 10.0.0.1", two, true),
        ("c[all]:\n  p: udp", two, false),
        ("c[none]:\n  p: sctp", two, true),
        ("c[all]:\n  p: udp", r#"{"c":[]}"#, false),
        ("c[all_or_empty]:\n  p: udp", r#"{"c":[]}"#, true),
        ("c[0].p: tcp", two, true),
        ("c[-1].p: tcp", two, false),
        ("v[any]: x", r#"{"v":["y","X"]}"#, true),
        ("v|contains|all:\n  - a\n  - b", r#"{"v":["xa","xb"]}"#, true),
        (
            "c[any]:\n  one:\n    p: tcp\n  two:\n    ip|startswith: '10.'\n  condition: one and not two",
            two,
            true,
        ),
    ]);
}

#[test]
fn keywords_search_values_and_not_keys() {
    let rule = |keywords: &str| {
        let text =
            format!("title: T\ndetection:\n  keywords:\n{keywords}\n  condition: keywords\n");
        load_text([("t.yml", &*text)], &LoadOptions::default()).unwrap().rules
    };
    let found = |rules: &RuleSet, line: &str| {
        let mut found = Vec::new();
        rules.matches(&event(line), &mut Scratch::default(), &mut found);
        !found.is_empty()
    };
    let any = rule("    - needle\n    - 4711");
    assert!(found(&any, r#"{"a":{"b":["xNEEDLEx"]}}"#) && found(&any, r#"{"a":4711}"#));
    assert!(!found(&any, r#"{"needle":"x"}"#));
    let all = rule("    '|all':\n      - one\n      - two");
    assert!(found(&all, r#"{"a":"one","b":"two"}"#) && !found(&all, r#"{"a":"one"}"#));
    let pattern = rule("    '|re': 'a.c$'");
    assert!(found(&pattern, r#"{"a":"xxabc"}"#) && !found(&pattern, r#"{"a":"abcd"}"#));
}

#[test]
fn names_of_the_taxonomy_reach_pods_and_templates() {
    let container =
        r#""image":"x","securityContext":{"privileged":true,"capabilities":{"add":["SYS_ADMIN"]}}"#;
    let volume = r#""volumes":[{"name":"v","hostPath":{"path":"/etc"}}],"hostNetwork":true"#;
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        let spec = format!(r#"{{{volume},"{kind}":[{{"image":"y"}},{{{container}}}]}}"#);
        for body in [
            format!(r#"{{"spec":{spec}}}"#),
            format!(r#"{{"spec":{{"template":{{"spec":{spec}}}}}}}"#),
            format!(r#"{{"spec":{{"jobTemplate":{{"spec":{{"template":{{"spec":{spec}}}}}}}}}}}"#),
        ] {
            let line = audit(&format!(r#""verb":"create","requestObject":{body}"#));
            for sel in [
                "podSpec.anyContainer.securityContext.privileged: true",
                "podSpec.volumes.hostPath|exists: true",
                "podSpec.hostNetwork: true",
                "hostPath: '*'",
                "capabilities: '*'",
                "podSpec.anyContainer[any]:\n  image: x\n  securityContext.privileged: true",
            ] {
                assert!(matches(sel, &line), "{sel} | {line}");
            }
            let sel = "podSpec.anyContainer[any]:\n  image: y\n  securityContext.privileged: true";
            assert!(!matches(sel, &line), "{line}");
        }
    }
}

#[test]
fn a_loose_name_gives_way_to_a_field_of_that_name() {
    let plain = audit(r#""objectRef":{"resource":"pods","apiGroup":"apps"}"#);
    let named = audit(r#""objectRef":{"resource":"pods"},"resource":"other""#);
    table(&[
        ("resource: pods", &plain, true),
        ("apiGroup: apps", &plain, true),
        ("resource: pods", &named, false),
        ("resource: other", &named, true),
        ("resource: pods", r#"{"objectRef":{"resource":"pods"}}"#, false),
    ]);
}

#[test]
fn computed_fields() {
    let reason = r#""annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"cluster-admin\" to User \"eve\""}"#;
    let own = audit(
        r#""user":{"username":"system:serviceaccount:ns:sa"},"sourceIPs":["9.9.9.9","10.0.0.1"],"objectRef":{"resource":"serviceaccounts","subresource":"token","namespace":"ns","name":"sa"}"#,
    );
    let other = own.replace("\"name\":\"sa\"", "\"name\":\"admin\"");
    let eve = audit(&format!(r#""user":{{"username":"eve"}},{reason}"#));
    table(&[
        (
            "kustos.rbacRole: cluster-admin\nkustos.rbacRoleKind: ClusterRole\nkustos.rbacBinding: b",
            &eve,
            true,
        ),
        ("kustos.userKind: person", &eve, true),
        ("kustos.sameNamespace|exists: false", &eve, true),
        ("annotations.authorization.k8s.io/decision: allow", &eve, true),
        ("annotations.authorization\\.k8s\\.io/decision: allow", &eve, true),
        (
            "kustos.userKind: serviceaccount\nkustos.userNamespace: ns\nkustos.serviceAccount: sa",
            &own,
            true,
        ),
        ("kustos.tokenForSelf: true\nkustos.sameNamespace: true", &own, true),
        ("kustos.tokenForSelf: false", &other, true),
        ("kustos.sourceIP: 10.0.0.1", &own, true),
        ("kustos.sourceIP: 9.9.9.9", &own, false),
    ]);
}

#[test]
fn flat_objects_may_hold_dotted_names_as_keys() {
    table(&[
        ("objectRef.resource: pods", r#"{"objectRef.resource":"pods"}"#, true),
        ("a.b: x", r#"{"a.b":"x"}"#, true),
        ("objectRef.resource: null", r#"{"objectRef.resource":"pods"}"#, false),
    ]);
}

#[test]
fn the_prefilter_leaves_out_no_rule_that_matches() {
    let sels = [
        "verb: get",
        "verb|cased: Get",
        "verb:\n  - list\n  - GET",
        "verb: null",
        "verb|exists: false",
        "objectRef.resource: pods\nobjectRef.subresource: null",
        "responseStatus.code: 403",
        "responseStatus.code: '403'",
        "responseStatus.code|gte: 400",
        "verb|neq: list",
        "verb|contains: e",
        "user.groups: system:masters",
        "user.groups|all:\n  - a\n  - b",
        "user.groups|contains: master",
        "user.groups: null",
        "kustos.userKind: person",
        "kustos.userKind|exists: false",
        "kustos.userKind: null",
        "kustos.tokenForSelf: false",
        "kustos.rbacRole: View",
    ];
    let lines = [
        audit(r#""verb":"get""#),
        audit(r#""verb":"Get""#),
        audit(r#""verb":"g\u0065t""#),
        audit(r#""verb":null"#),
        audit(r#""verb":["get","x"]"#),
        audit(r#""objectRef":{"resource":"pods"},"responseStatus":{"code":403}"#),
        audit(
            r#""objectRef":{"resource":"PODS","subresource":"exec"},"responseStatus":{"code":403.0}"#,
        ),
        audit(r#""responseStatus":{"code":"0403"}"#),
        audit(r#""user":{"username":"eve","groups":["x","System:Masters"]}"#),
        audit(r#""user":{"username":"system:node:n","groups":["b","c","a"]}"#),
        audit(r#""user":{"username":"","groups":["system:m\u0061sters",1]}"#),
        audit(
            r#""user":{"username":"eve","groups":[]},"objectRef":{"resource":"serviceaccounts","subresource":"token"}"#,
        ),
        audit(
            r#""annotations":{"authorization.k8s.io/reason":"RBAC: allowed by RoleBinding \"b/n\" of ClusterRole \"view\" to User \"eve\""}"#,
        ),
        r#"{"verb":"get","objectRef.resource":"pods"}"#.to_owned(),
    ];
    // A rule that the prefilter cannot index is judged by its matchers alone.
    let open = |sel: &str| {
        let sel = sel.replace('\n', "\n    ");
        format!(
            "title: T\ndetection:\n  sel:\n    {sel}\n  none:\n    x: y\n  condition: not (not sel)\n"
        )
    };
    for sel in sels {
        let text = open(sel);
        let slow = load_text([("t.yml", &*text)], &LoadOptions::default()).unwrap().rules;
        for line in &lines {
            let mut found = Vec::new();
            slow.matches(&event(line), &mut Scratch::default(), &mut found);
            assert_eq!(matches(sel, line), !found.is_empty(), "{sel} | {line}");
        }
    }
}
