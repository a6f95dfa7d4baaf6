//! Runs a rule set over one event.

use super::finding::{Finding, Origin, identity};
use super::observe::{Judged, Seen, observe};
use crate::event::Event;
use crate::rules::{RuleSet, Scratch};

/// Adds to `out` what the rules make of the event. A rule that is only there to be counted gives
/// no finding.
pub fn judge(
    event: &Event<'_>,
    rules: &RuleSet,
    scratch: &mut Scratch,
    origin: &Origin<'_>,
    out: &mut Judged,
) {
    // An empty vector allocates nothing, and nearly every event leaves it empty.
    let mut found = Vec::new();
    rules.matches(event, scratch, &mut found);
    if found.is_empty() {
        return;
    }
    let identity = identity(event, origin.cluster);
    observe(&Seen { event, rules, origin, identity: &identity }, scratch, &found, out);
    found.retain(|it| !rules.is_silent(*it));
    out.findings.extend(found.into_iter().map(|index| {
        let rule = rules.rule(index);
        let output = rules.output(index, event, scratch);
        Finding { output, ..Finding::new(rule, rules.hash(), event, origin, &identity) }
    }));
}

/// Adds a finding to `out` for every rule that matches the event, in the order of the rules.
/// Nothing is counted.
pub fn scan(
    event: &Event<'_>,
    rules: &RuleSet,
    scratch: &mut Scratch,
    origin: &Origin<'_>,
    out: &mut Vec<Finding>,
) {
    let mut judged = Judged { findings: std::mem::take(out), ..Judged::default() };
    judge(event, rules, scratch, origin, &mut judged);
    *out = judged.findings;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;
    use crate::rules::{LoadOptions, load_text};

    const RULE: &str = "title: Read\nid: r1\nlevel: high\ntags: [attack.t1552]\ndetection:\n  sel:\n    verb: get\n  condition: sel\n";

    fn findings(line: &str, cluster: &str) -> Vec<Finding> {
        let rules = load_text([("r.yml", RULE)], &LoadOptions::default()).unwrap().rules;
        let event = decode::line(line.as_bytes()).unwrap();
        let origin = Origin { cluster, source: "audit.log", position: 42 };
        let mut out = Vec::new();
        scan(&event, &rules, &mut Scratch::default(), &origin, &mut out);
        out
    }

    #[test]
    fn a_finding_is_the_json_that_was_promised() {
        let line = r#"{"auditID":"a-1","stage":"ResponseComplete","stageTimestamp":"2026-11-23T03:39:13.554321Z","requestURI":"/api","verb":"get","user":{"username":"eve"},"sourceIPs":["10.0.0.1"],"objectRef":{"resource":"secrets","name":"x"},"responseStatus":{"code":200},"annotations":{"authorization.k8s.io/decision":"allow"}}"#;
        let found = findings(line, "prod");
        assert_eq!(found.len(), 1);
        let json = serde_json::to_string(&found[0]).unwrap();
        let want = format!(
            r#"{{"id":"{}","rule":{{"id":"r1","title":"Read","level":"high","dialect":"sigma","tags":["attack.t1552"],"hash":"{}"}},"time":"2026-11-23T03:39:13.554321Z","cluster":"prod","event":{{"auditID":"a-1","stage":"ResponseComplete","verb":"get","user":"eve","sourceIPs":["10.0.0.1"],"objectRef":{{"name":"x","resource":"secrets"}},"requestURI":"/api","code":200,"decision":"allow"}},"source":{{"name":"audit.log","position":42}},"ruleset":"{}"}}"#,
            found[0].id, found[0].rule.hash, found[0].ruleset
        );
        assert_eq!(json, want);
        assert_eq!((found[0].id.len(), found[0].ruleset.len()), (32, 64));
        assert_eq!(found[0].rule.hash.len(), 64);
        assert_eq!(serde_json::from_str::<Finding>(&json).unwrap(), found[0]);
    }

    #[test]
    fn other_objects_have_findings_without_an_event() {
        let found = findings(r#"{"verb":"get"}"#, "");
        let json = serde_json::to_value(&found[0]).unwrap();
        assert!(json["time"].is_null() && json["event"]["verb"].is_null());
        assert!(json["event"].as_object().unwrap().contains_key("objectRef"));
    }

    #[test]
    fn the_id_is_of_the_rule_and_the_event() {
        let line = r#"{"auditID":"a","stage":"Panic","verb":"get"}"#;
        let id = |line: &str, cluster| findings(line, cluster)[0].id.clone();
        assert_eq!(id(line, "one"), id(line, "one"));
        assert_ne!(id(line, "one"), id(line, "two"));
        assert_ne!(id(line, "one"), id(&line.replace("Panic", "Other"), "one"));
    }
}
