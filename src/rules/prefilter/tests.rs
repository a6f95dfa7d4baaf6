//! The index against trying every rule: random rules and events, made of few names and values so
//! that they often meet.

use proptest::prelude::*;

use crate::event::{Event, Field, Span};
use crate::rules::*;

/// As the decoder would make it.
fn event(line: &str) -> Event<'_> {
    let mut event = Event::of(line);
    event.set_extra_keys(false);
    let whole: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
        serde_json::from_str(line).unwrap();
    let place = |json: &str| {
        let start = u32::try_from(json.as_ptr() as usize - line.as_ptr() as usize).unwrap();
        Span { start, end: start + u32::try_from(json.len()).unwrap() }
    };
    for (key, value) in &whole {
        match Field::at(key) {
            Some(field) => event.set(field, place(value.get())),
            None => event.set_extra_keys(true),
        }
        let inner: Option<std::collections::BTreeMap<String, &serde_json::value::RawValue>> =
            serde_json::from_str(value.get()).ok();
        for (below, value) in inner.iter().flatten() {
            let path = format!("{key}.{}", below.replace('.', "\\."));
            if let Some(field) = Field::at(&path) {
                event.set(field, place(value.get()));
            }
        }
    }
    event
}

/// The rules that match: by the index, with all that is remembered of other events and rules, and by
/// trying each rule by itself with nothing to remember.
fn both(rules: &RuleSet, scratch: &mut Scratch, line: &str) -> (Vec<RuleIndex>, Vec<RuleIndex>) {
    let event = event(line);
    let mut found = Vec::new();
    rules.matches(&event, scratch, &mut found);
    let alone = |index: &RuleIndex| {
        let nothing = Scratch::default();
        let context = scratch::Context::new(&event, &nothing);
        let node = compile::compile(rules.expr(*index)).unwrap();
        node.holds(access::Scope { context: &context, member: None })
    };
    let all = (0..rules.len()).map(RuleIndex::new).filter(alone).collect();
    (found, all)
}

fn set(texts: &[String]) -> RuleSet {
    let names: Vec<String> = (0..texts.len()).map(|it| format!("{it}.yml")).collect();
    let texts = names.iter().zip(texts).map(|(name, text)| (name.as_str(), text.as_str()));
    load_text(texts, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}")).rules
}

fn rule(title: usize, detection: &str) -> String {
    format!("title: R{title}\nid: r{title}\nsigma-version: 3\ndetection:\n{detection}")
}

fn one(detection: &str, line: &str) -> bool {
    let (found, all) = both(&set(&[rule(0, detection)]), &mut Scratch::default(), line);
    assert_eq!(found, all, "{detection} | {line}");
    !found.is_empty()
}

#[test]
fn a_list_may_meet_two_demands_with_a_member_each() {
    let line = r#"{"auditID":"a","stage":"s","user":{"groups":["one","two"]}}"#;
    let two = "  a:\n    user.groups: one\n  b:\n    user.groups: two\n  condition: a and b\n";
    assert!(one(two, line));
    assert!(!one(&two.replace("two", "three"), line));
}

#[test]
fn values_are_found_however_they_are_written() {
    let audit = |members: &str| format!(r#"{{"auditID":"a","stage":"s",{members}}}"#);
    let sel = |it: &str| format!("  sel:\n    {it}\n  condition: sel\n");
    for (item, members, want) in [
        ("verb: get", r#""verb":"G\u0065T""#, true),
        ("verb: kick", "\"verb\":\"\u{212a}ick\"", true),
        ("verb: ÄRGER", r#""verb":"ärger""#, true),
        ("verb|contains: kick", "\"verb\":\"side\u{212a}ick\"", true),
        ("verb|endswith: ICK", r#""verb":"k\u0069ck""#, true),
        ("verb|startswith: ick", r#""verb":"kick""#, false),
        ("verb: [get, 'wat*ch']", r#""verb":"watch""#, true),
        ("verb: 'li*abcd*st'", r#""verb":"liabst""#, false),
        ("responseStatus.code: 403", r#""responseStatus":{"code":4.03e2}"#, true),
        ("responseStatus.code: 403", r#""responseStatus":{"code":" 403 "}"#, true),
        ("responseStatus.code: '403'", r#""responseStatus":{"code":403}"#, true),
        ("responseStatus.code: 0", r#""responseStatus":{"code":-0.0}"#, true),
        ("objectRef.namespace: null", r#""objectRef":{"namespace":null}"#, true),
        ("objectRef.namespace: null", r#""objectRef":{"namespace":""}"#, false),
        ("objectRef.namespace: null", r#""verb":"get""#, true),
        ("objectRef.namespace|exists: true", r#""objectRef":{"namespace":[]}"#, true),
        ("objectRef.namespace|neq: x", r#""verb":"get""#, false),
        ("user.groups|contains|all: [abc, xyz]", r#""user":{"groups":["abcd",["xyz"]]}"#, true),
        ("image: 'x'", r#""image":"x""#, true),
        ("image: 'x'", r#""requestObject":{"spec":{"containers":[{"image":"x"}]}}"#, true),
        ("resource: pods", r#""resource":"pods","objectRef":{"resource":"no"}"#, true),
        ("resource: pods", r#""objectRef":{"resource":"pods"}"#, true),
        ("resource: pods", r#""\u0072esource":"no","objectRef":{"resource":"pods"}"#, false),
        ("Image|endswith: a.exe", r#""Image":"c:\\a.exe""#, true),
        ("authenticationMetadata.x: y", r#""authenticationMetadata":{"x":"y"}"#, true),
        ("requestObject[any]:\n      path: /a", r#""requestObject":[{"path":"/a"}]"#, true),
        ("requestObject[none]:\n      path: /a", r#""verb":"get""#, true),
        ("sourceIPs|cidr: 10.0.0.0/8", r#""sourceIPs":["1.1.1.1","10.1.1.1"]"#, true),
    ] {
        assert_eq!(one(&sel(item), &audit(members)), want, "{item} | {members}");
    }
}

#[test]
fn what_is_no_audit_event_is_tried_with_every_rule() {
    let sel = "  sel:\n    objectRef.resource: pods\n  condition: sel\n";
    assert!(one(sel, r#"{"objectRef.resource":"pods","objectRef":{"resource":"no"}}"#));
}

#[test]
fn rules_that_demand_other_words_are_no_candidates() {
    let texts: Vec<String> = (0..500)
        .map(|it| {
            let namespace = format!("team-{}", it % 100);
            rule(it, &format!("  sel:\n    verb: [get, create]\n    objectRef.resource: pods\n    objectRef.namespace: {namespace}\n    userAgent|contains: tool-{it}/\n  condition: sel\n"))
        })
        .collect();
    let rules = set(&texts);
    let mut scratch = Scratch::default();
    let mut tried = |line: &str| {
        let (found, all) = both(&rules, &mut scratch, line);
        assert_eq!(found, all);
        rules.matches(&event(line), &mut scratch, &mut Vec::new());
        (scratch.prefilter.candidates().count(), found.len())
    };
    let line = r#"{"auditID":"a","stage":"s","verb":"get","userAgent":"TOOL-7/1","objectRef":{"resource":"pods","namespace":"team-7"}}"#;
    assert_eq!(tried(line), (1, 1));
    assert_eq!(tried(&line.replace("TOOL-7/", "curl/")), (0, 0));
    assert_eq!(tried(&line.replace("team-7", "other")), (0, 0));
    assert_eq!(tried(&line.replace("pods", "leases")), (0, 0));
}

#[test]
fn many_rules_on_one_field_of_a_body_are_no_candidates_either() {
    let image = |it| {
        format!(
            "  sel:\n    requestObject.spec.containers.image|startswith: registry-{it}/\n  condition: sel\n"
        )
    };
    let texts: Vec<String> = (0..50).map(|it| rule(it, &image(it))).collect();
    let rules = set(&texts);
    let mut scratch = Scratch::default();
    let line = r#"{"auditID":"a","stage":"s","requestObject":{"spec":{"containers":[{"image":"x"},{"image":"Registry-7/x"}]}}}"#;
    let (found, all) = both(&rules, &mut scratch, line);
    assert_eq!((&found, all.len()), (&all, 1));
    rules.matches(&event(line), &mut scratch, &mut Vec::new());
    assert_eq!(scratch.prefilter.candidates().count(), 1);
}

fn fields() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "verb",
        "objectRef.resource",
        "objectRef.namespace",
        "user.username",
        "user.groups",
        "responseStatus.code",
        "userAgent",
        "resource",
        "image",
        "impersonatedUser.username",
        "requestObject.spec.name",
        "requestObject.spec.items.name",
        "kustos.userKind",
        "kustos.rbacRole",
        "Image",
        "objectRef.subresource",
        "annotations.x",
    ])
}

fn items() -> impl Strategy<Value = String> {
    let one = prop::sample::select(vec![
        "get",
        "GETS",
        "'*'",
        "'g*s'",
        "''",
        "null",
        "true",
        "403",
        "'403'",
        "abc",
        "xabcx",
        "é",
        "'1'",
        "person",
        "[get, abc]",
        "[403, '*abc*']",
    ]);
    let modifier = prop::sample::select(vec![
        "",
        "",
        "",
        "",
        "|contains",
        "|startswith",
        "|endswith",
        "|neq",
        "|exists",
        "|cased",
        "|re",
        "|all",
    ]);
    (fields(), modifier, one).prop_map(|(field, modifier, value)| match modifier {
        "|exists" => format!("{field}|exists: true"),
        "|re" => format!("{field}|re: 'a.c|^G'"),
        "|all" => format!("{field}|contains|all: [abc, get]"),
        _ if !modifier.is_empty() && (value == "null" || value.contains(['[', '*'])) => {
            format!("{field}: {value}")
        }
        _ => format!("{field}{modifier}: {value}"),
    })
}

fn detections() -> impl Strategy<Value = String> {
    let selection = prop::collection::btree_map(fields(), items(), 1..4).prop_map(|it| {
        let mut known = std::collections::BTreeSet::new();
        let lines =
            it.into_values().filter(|it| known.insert(it.split(':').next().unwrap().to_owned()));
        lines.map(|it| format!("    {it}\n")).collect::<String>()
    });
    let condition = prop::sample::select(vec![
        "a",
        "a and b",
        "a or b",
        "a and not b",
        "not a",
        "a and not (b or c)",
        "1 of them",
        "all of them",
        "(a or b) and c",
        "not (a and b)",
    ]);
    (prop::collection::vec(selection, 3), condition).prop_map(|(selections, condition)| {
        let named = ["a", "b", "c"].iter().zip(selections);
        let text: String = named.map(|(name, it)| format!("  {name}:\n{it}")).collect();
        format!("{text}  condition: {condition}\n")
    })
}

fn lines() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        r#""get""#,
        r#""gets""#,
        r#""g\u0065t""#,
        r#""xABCx""#,
        r#""abc""#,
        "null",
        "403",
        "4.03e2",
        r#""403""#,
        r#"["get","abc"]"#,
        r#"[null]"#,
        "[]",
        "{}",
        r#""é""#,
        r#""É""#,
        r#""""#,
        "true",
        r#"["xabcx",[403]]"#,
        r#""system:serviceaccount:a:b""#,
    ]);
    let members = prop::sample::select(vec![
        ("verb", ""),
        ("userAgent", ""),
        ("image", ""),
        ("Image", ""),
        ("resource", ""),
        ("objectRef", "resource"),
        ("objectRef", "namespace"),
        ("user", "username"),
        ("user", "groups"),
        ("user", ""),
        ("responseStatus", "code"),
        ("impersonatedUser", "username"),
        ("annotations", "x"),
        ("requestObject", "spec"),
        ("requestObject", ""),
        ("objectRef", "subresource"),
    ]);
    let body = prop::sample::select(vec![
        r#"{"name":"get","items":[{"name":"abc"},{"name":null}]}"#,
        r#"{"containers":[{"image":"xabcx"}],"items":{"name":403}}"#,
        r#"{"items.name":"get","name":"x","name":"abc"}"#,
    ]);
    prop::collection::vec((members, value, body), 0..9).prop_map(|it| {
        let mut top: std::collections::BTreeMap<&str, String> = std::collections::BTreeMap::new();
        for ((key, below), value, body) in it {
            let value = if below == "spec" { body } else { value };
            let slot = top.entry(key).or_default();
            match (below, slot.strip_suffix('}').filter(|it| it.len() > 1)) {
                ("", _) => *slot = value.to_owned(),
                (_, Some(begun)) => *slot = format!("{begun},\"{below}\":{value}}}"),
                (_, None) => *slot = format!("{{\"{below}\":{value}}}"),
            }
        }
        let reason = r#""annotations":{"authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"abc\" to User \"u\""}"#;
        let mut text = String::from(r#"{"auditID":"a","stage":"s""#);
        if !top.contains_key("annotations") {
            text = format!("{text},{reason}");
        }
        for (key, value) in top {
            text = format!("{text},\"{key}\":{value}");
        }
        text + "}"
    })
}

/// Rules on few fields of a body, so that asking for these pays.
fn body_detections() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "requestObject.spec.name",
        "requestObject.spec.containers.image",
        "image",
        "podSpec.hostPID",
    ]);
    let test = prop::sample::select(vec![
        ": get",
        ": null",
        ": '*'",
        "|contains: abc",
        "|startswith: 'é'",
        "|exists: true",
        "|neq: get",
        ": [403, 1]",
        "|endswith: bc",
        ": true",
        "|contains|all: [abc, get]",
        ": ''",
        "|exists: false",
    ]);
    (field, test, any::<bool>()).prop_map(|(field, test, verb)| {
        let verb = if verb { "    verb: patch\n" } else { "" };
        format!("  sel:\n    {field}{test}\n{verb}  condition: sel\n")
    })
}

fn bodies() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        r#""get""#,
        r#""xABCx""#,
        "null",
        "403",
        "1e0",
        "[]",
        "{}",
        r#"["get","\u0061bc"]"#,
        r#""É""#,
        "true",
        r#""""#,
    ]);
    (prop::collection::vec(value, 4), 0..5_usize).prop_map(|(it, shape)| {
        let [a, b, c, d] = [it[0], it[1], it[2], it[3]];
        match shape {
            0 => format!(r#"{{"spec":{{"name":{a},"containers":[{{"image":{b}}},{{"image":{c}}}],"hostPID":{d}}}}}"#),
            1 => format!(r#"{{"spec":{{"template":{{"spec":{{"initContainers":[{{"image":{a}}}],"hostPID":{b}}}}}}}}}"#),
            2 => format!(r#"{{"spec":{{"name":{a},"name":{b},"containers.image":{c}}},"spec.name":{d}}}"#),
            3 => format!(r#"[{{"op":"add","path":"/spec/hostPID","value":{a}}},{{"op":"add","path":"/spec/containers/0/image","value":{b}}}]"#),
            _ => a.to_owned(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_index_leaves_no_match_out(
        detections in prop::collection::vec(detections(), 1..40),
        lines in prop::collection::vec(lines(), 20),
    ) {
        let texts: Vec<String> = (0..).zip(&detections).map(|(at, it)| rule(at, it)).collect();
        let rules = set(&texts);
        let mut scratch = Scratch::default();
        for line in &lines {
            let (found, all) = both(&rules, &mut scratch, line);
            prop_assert_eq!(&found, &all, "{} {:?}", line, detections);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn many_rules_on_a_body_leave_no_match_out(
        detections in prop::collection::vec(body_detections(), 60..90),
        bodies in prop::collection::vec(bodies(), 10),
    ) {
        let texts: Vec<String> = (0..).zip(&detections).map(|(at, it)| rule(at, it)).collect();
        let rules = set(&texts);
        let mut scratch = Scratch::default();
        for body in &bodies {
            let line = format!(r#"{{"auditID":"a","stage":"s","verb":"patch","requestObject":{body}}}"#);
            let (found, all) = both(&rules, &mut scratch, &line);
            prop_assert_eq!(&found, &all, "{} {:?}", line, detections);
        }
    }
}
