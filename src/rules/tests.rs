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

/// The detection's lines below `sel:`, and whether it matches the event; with the index and
/// without it.
fn matches(sel: &str, line: &str) -> bool {
    let sel = sel.replace('\n', "\n    ");
    let text =
        format!("title: T\nsigma-version: 3\ndetection:\n  sel:\n    {sel}\n  condition: sel\n");
    let rules = load_text([("t.yml", &*text)], &LoadOptions::default());
    let rules = rules.unwrap_or_else(|error| panic!("{sel}: {error}")).rules;
    let mut found = Vec::new();
    rules.matches(&event(line), &mut Scratch::default(), &mut found);
    let mut all = Vec::new();
    rules.matches_unindexed(&event(line), &mut Scratch::default(), &mut all);
    assert_eq!(found, all, "{sel} | {line}");
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
fn fields_behind_a_list_are_found_whatever_they_are_called() {
    table(&[
        ("user.username: eve", r#"{"user":[{"username":"x"},{"username":"eve"}]}"#, true),
        ("user.username: null", r#"{"user":[{"username":"x"}]}"#, false),
        ("user.username|neq: x", r#"{"user":[{"username":"eve"},{}]}"#, true),
        ("user.username|neq: x", r#"{"user":[{}]}"#, false),
    ]);
}

#[test]
fn one_member_of_a_list_is_picked_by_its_place() {
    let two = audit(r#""sourceIPs":["10.0.0.1","8.8.8.8"],"user":{"groups":["a","b"]}"#);
    let pod = audit(
        r#""requestObject":{"spec":{"containers":[{"command":["sh","-c"]},{"command":["ls"]}]}}"#,
    );
    table(&[
        ("sourceIPs[0]: 10.0.0.1", &two, true),
        ("sourceIPs[0]: 8.8.8.8", &two, false),
        ("sourceIPs[-1]: 8.8.8.8", &two, true),
        ("sourceIPs[2]|exists: false", &two, true),
        ("user.groups[1]: b", &two, true),
        ("user.groups[1]: a", &two, false),
        ("sourceIP[0]: 8.8.8.8", &two, false),
        ("command[0]: ls", &pod, true),
        ("command[0]: -c", &pod, false),
        ("user.groups[0]: x", r#"{"user.groups":["x"]}"#, false),
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

#[test]
fn elastics_names_lead_to_the_fields_its_pipeline_fills_them_from() {
    let line = audit(
        r#""verb":"list","user":{"username":"eve","uid":"7"},"sourceIPs":["10.0.0.1"],"userAgent":"curl","objectRef":{"resource":"pods","namespace":"n"},"annotations":{"authorization.k8s.io/decision":"forbid","example.com/a.b_c":"x"}"#,
    );
    for sel in [
        "kubernetes.audit.verb: list",
        "kubernetes.audit.objectRef.resource: pods",
        "kubernetes.audit.annotations.authorization_k8s_io/decision: forbid",
        "kubernetes.audit.annotations.example_com/a_b_c: x",
        "user.name: eve",
        "user.id: '7'",
        "source.ip|cidr: 10.0.0.0/8",
        "user_agent.original: curl",
        "event.action: list",
        "event.outcome: failure",
        "orchestrator.namespace: n",
        "orchestrator.resource.type: pods",
    ] {
        assert!(matches(sel, &line), "{sel}");
    }
    table(&[
        // What is no audit event has fields of these very names.
        ("user.name: eve", r#"{"user":{"name":"eve"}}"#, true),
        ("user.name: eve", r#"{"user.name":"eve"}"#, true),
        ("user.name: eve", r#"{"user":{"username":"eve"}}"#, false),
        ("kubernetes.audit.verb: list", r#"{"kubernetes":{"audit":{"verb":"list"}}}"#, true),
        ("kubernetes.audit.verb: list", r#"{"verb":"list"}"#, false),
        ("event.outcome: failure", r#"{"event":{"outcome":"failure"}}"#, true),
    ]);
}

#[test]
fn pod_specs_are_seen_through_a_json_patch() {
    let patched =
        |operations: &str| audit(&format!(r#""verb":"patch","requestObject":[{operations}]"#));
    let flag = patched(
        r#"{"op":"add","path":"/spec/template/spec/containers/0/securityContext/privileged","value":true}"#,
    );
    let whole = patched(
        r#"{"op":"add","path":"/spec/template/spec/containers/-","value":{"image":"x","securityContext":{"privileged":true}}}"#,
    );
    let split = patched(
        r#"{"op":"replace","path":"/spec/jobTemplate/spec/template/spec/initContainers/1/image","value":"x"},
           {"op":"add","path":"/spec/jobTemplate/spec/template/spec/initContainers/1/securityContext","value":{"privileged":true}}"#,
    );
    let two = patched(
        r#"{"op":"replace","path":"/spec/containers/0/image","value":"x"},
           {"op":"add","path":"/spec/containers/1/securityContext","value":{"privileged":true}}"#,
    );
    let privileged = "podSpec.anyContainer.securityContext.privileged: true";
    let same = "podSpec.anyContainer[any]:\n  image: x\n  securityContext.privileged: true";
    table(&[
        (privileged, &flag, true),
        (privileged, &whole, true),
        (privileged, &split, true),
        ("privileged: true", &two, true),
        (same, &whole, true),
        (same, &split, true),
        (same, &two, false),
        (same, &flag, false),
        ("podSpec.anyContainer.image|exists: true", &flag, false),
        (
            "podSpec.hostNetwork: true",
            &patched(r#"{"op":"replace","path":"/spec/hostNetwork","value":true}"#),
            true,
        ),
        (
            "podSpec.hostNetwork: true",
            &patched(r#"{"op":"test","path":"/spec/hostNetwork","value":true}"#),
            false,
        ),
        (
            "podSpec.hostNetwork: true",
            &patched(r#"{"op":"remove","path":"/spec/hostNetwork"}"#),
            false,
        ),
        (
            "hostPath: '*'",
            &patched(
                r#"{"op":"add","path":"/spec/volumes/-","value":{"name":"v","hostPath":{"path":"/"}}}"#,
            ),
            true,
        ),
        // The raw path still is what the event says.
        ("requestObject[any]:\n  path|endswith: privileged\n  value: true", &flag, true),
    ]);
}

#[test]
fn a_decision_in_the_place_of_a_code_is_read_as_one() {
    let with = |decision: &str| {
        audit(&format!(
            r#""responseStatus":{{"code":200}},"annotations":{{"authorization.k8s.io/decision":"{decision}"}}"#
        ))
    };
    table(&[
        ("responseStatus.code: ALLOW", &with("allow"), true),
        ("responseStatus.code: ALLOW", &with("forbid"), false),
        ("code: allow", &with("allow"), true),
        ("responseStatus.code:\n  - FORBID\n  - 200", &with("allow"), true),
        ("responseStatus.code:\n  - FORBID\n  - 404", &with("allow"), false),
        ("responseStatus.code|neq: ALLOW", &with("allow"), false),
        ("responseStatus.code|neq: ALLOW", &with("forbid"), true),
        ("responseStatus.code: DENY", &with("forbid"), false),
        ("responseStatus.code: ALLOW", r#"{"responseStatus":{"code":"ALLOW"}}"#, true),
    ]);
}

/// What `rules check` says of a rule with this log source and selection.
fn warnings(logsource: &str, sel: &str) -> Vec<String> {
    let sel = sel.replace('\n', "\n    ");
    let text = format!(
        "title: T\nlogsource: {logsource}\ndetection:\n  sel:\n    {sel}\n  condition: sel\n"
    );
    let loaded = load_text([("t.yml", &*text)], &LoadOptions::default());
    let loaded = loaded.unwrap_or_else(|error| panic!("{sel}: {error}"));
    loaded.warnings.iter().map(|it| format!("{}: {}", it.line, it.reason())).collect()
}

#[test]
fn what_no_audit_event_has_is_warned_of_with_what_is_meant() {
    let audit = "{product: kubernetes, service: audit}";
    for (sel, want) in [
        (
            "objectref.resource: pods",
            "5: no audit event has the field \"objectref.resource\"; did you mean \"objectRef.resource\"?",
        ),
        (
            "objectRef.kind: Pod",
            "5: no audit event has the field \"objectRef.kind\"; did you mean \"objectRef.resource\"?",
        ),
        (
            "podSpec.privileged: true",
            "5: no audit event has the field \"podSpec.privileged\"; did you mean \"podSpec.anyContainer.securityContext.privileged\"?",
        ),
        ("nonsense: x", "5: no audit event has the field \"nonsense\""),
        (
            "verb:\n  - get\n  - GET-ALL",
            "7: \"verb\" of an audit event is never \"GET-ALL\"; it is one of get, list",
        ),
        (
            "verb: impersonate",
            "5: \"verb\" of an audit event is never \"impersonate\"; did you mean \"impersonatedUser.username\"?",
        ),
        ("verb|startswith: up-", "\"verb\" of an audit event is never \"up-\""),
        (
            "level: Foo",
            "\"level\" of an audit event is never \"Foo\"; it is one of Metadata, Request, RequestResponse",
        ),
        ("stage: ResponseCompleted", "did you mean \"ResponseComplete\"?"),
        (
            "decision: deny",
            "\"decision\" of an audit event is never \"deny\"; did you mean \"forbid\"?",
        ),
        (
            "responseStatus.code: ALLOW",
            "it is read as \"annotations.authorization.k8s.io/decision: allow\"",
        ),
        ("responseStatus.code: 4040", "it is the HTTP status, a number"),
        ("objectRef.resource: Secret", "did you mean \"secrets\"?"),
        (
            "resource: pods/exec",
            "did you mean \"objectRef.resource: pods and objectRef.subresource: exec\"?",
        ),
        ("objectRef.apiGroup: ''", "did you mean \"objectRef.apiGroup: null\"?"),
        (
            "user: alice",
            "\"user\" is an object, which no value equals; did you mean \"user.username\"?",
        ),
        ("kustos.userKind: human", "it is one of anonymous, serviceaccount"),
        (
            "stage: RequestReceived\nresponseStatus.code: 403",
            "6: \"responseStatus.code\" is missing in every audit event of stage RequestReceived",
        ),
        (
            "level: Metadata\nprivileged: true",
            "6: \"privileged\" is missing in every audit event of level Metadata",
        ),
        (
            "level:\n  - Metadata\n  - Request\nresponseObject.kind: Status",
            "\"responseObject.kind\" is missing in every audit event of level Request,",
        ),
    ] {
        let told = warnings(audit, sel);
        assert!(told.len() == 1 && told[0].contains(want), "{sel}: {told:#?}");
    }
}

#[test]
fn what_an_audit_event_may_have_is_not_warned_of() {
    let audit = "{product: kubernetes, service: audit}";
    for sel in [
        "stage: responsecomplete",
        "verb|re: '^(get|list)$'",
        "verb: 'delete*'",
        "verb: null",
        "responseStatus.code|gte: 400",
        "responseStatus.code|startswith: 4",
        "objectRef.resource: widgets",
        "objectRef.apiGroup: example.com",
        "annotations.example.com/x: y",
        "user.extra.anything: x",
        "requestObject.spec.whatever: x",
        "kubernetes.audit.annotations.authorization_k8s_io/decision: allow",
        "requestObject.rules[any]:\n  verbs: '\\*'\n  anything: x",
        "stage: RequestReceived\nresponseStatus.code: null",
        "stage:\n  - RequestReceived\n  - ResponseComplete\nresponseStatus.code: 403",
        "level: Request\nhostPath: '*'",
        "user|exists: true",
    ] {
        let text = sel.replace("[any]", "");
        assert_eq!(warnings(audit, &text), Vec::<String>::new(), "{sel}");
    }
}

#[test]
fn a_rule_for_something_else_gets_one_warning_at_most() {
    let windows = "{product: windows, category: process_creation}";
    let foreign = "6: no field of it is a field of an audit event";
    let sel = "Image|endswith: x\nCommandLine: y\nParentImage: z";
    assert_eq!(warnings(windows, sel), [foreign.replace('6', "5")]);
    assert_eq!(
        warnings("{category: webserver}", &format!("cs-uri: x\n{sel}")),
        [foreign.replace('6', "5")]
    );
    assert_eq!(warnings(windows, &format!("name: x\n{sel}")), Vec::<String>::new());
    assert_eq!(warnings("{category: webserver}", &format!("name: x\n{sel}")), Vec::<String>::new());
    let told = warnings("{service: audit}", "verb: get\nobjectref.name: x");
    assert!(told.len() == 1 && told[0].starts_with("6: no audit event has"), "{told:?}");
}
