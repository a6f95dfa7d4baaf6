//! Rules and events as texts, and a correlator that counts them.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot load its rules should stop")]

use std::sync::Arc;

use kustos::decode;
use kustos::detect::{Correlator, Finding, Judged, Limits, Origin, judge};
use kustos::rules::{LoadOptions, RuleSet, Scratch, load_text};
use serde_json::{Value, json};

pub(crate) fn rules(text: &str) -> Arc<RuleSet> {
    let loaded = load_text([("case.yml", text)], &LoadOptions::default());
    Arc::new(loaded.unwrap_or_else(|error| panic!("{error}")).rules)
}

/// Two rules about secrets and pods, and correlations over them.
pub(crate) fn with(correlations: &str) -> Arc<RuleSet> {
    rules(&format!("{READ}---\n{EXEC}---\n{correlations}"))
}

pub(crate) const READ: &str = "title: Read a secret\nid: read\nname: secret_read\nlevel: low\ndetection:\n  sel: {verb: get}\n  condition: sel\n";
pub(crate) const EXEC: &str = "title: Exec into a pod\nid: exec\nname: pod_exec\nlevel: low\ndetection:\n  sel: {verb: create}\n  condition: sel\n";

/// A correlation of that type over the rule `read`, by user.
pub(crate) fn counting(kind: &str, rest: &str) -> Arc<RuleSet> {
    with(&format!(
        "title: Many\nid: many\ncorrelation:\n  type: {kind}\n  rules: read\n  group-by: user.username\n{rest}"
    ))
}

/// What the rules make of one line.
pub(crate) fn judged(rules: &RuleSet, cluster: &str, line: &str) -> Judged {
    let event = decode::line(line.as_bytes()).unwrap();
    let origin = Origin { cluster, source: "audit.log", position: 7 };
    let mut out = Judged::default();
    judge(&event, rules, &mut Scratch::default(), &origin, &mut out);
    out
}

/// An event of a second and a verb, by a user.
pub(crate) fn event(second: i64, verb: &str, user: &str) -> Value {
    json!({"@timestamp": second, "verb": verb, "user": {"username": user}})
}

pub(crate) struct Stream {
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) correlator: Correlator,
}

impl Stream {
    pub(crate) fn new(rules: &Arc<RuleSet>) -> Stream {
        Stream::limited(rules, Limits::default())
    }

    pub(crate) fn limited(rules: &Arc<RuleSet>, limits: Limits) -> Stream {
        Stream { rules: Arc::clone(rules), correlator: Correlator::new(Arc::clone(rules), limits) }
    }

    /// The findings that an event of a cluster gives.
    pub(crate) fn of(&mut self, cluster: &str, event: &Value) -> Vec<Finding> {
        let mut out = Vec::new();
        for observation in judged(&self.rules, cluster, &event.to_string()).observations {
            self.correlator.observe(observation, &mut out);
        }
        out
    }

    /// The values of the findings that an event gives.
    pub(crate) fn values(&mut self, event: &Value) -> Vec<f64> {
        self.of("c", event).iter().map(value).collect()
    }

    pub(crate) fn put(&mut self, second: i64, verb: &str, user: &str) -> Vec<f64> {
        self.values(&event(second, verb, user))
    }

    pub(crate) fn advance(&mut self, second: i64) -> Vec<Finding> {
        let mut out = Vec::new();
        self.correlator.advance("c", second * 1_000_000, &mut out);
        out
    }

    pub(crate) fn seed(&mut self, event: &Value) {
        for observation in judged(&self.rules, "c", &event.to_string()).observations {
            self.correlator.seed(observation);
        }
    }
}

pub(crate) fn value(finding: &Finding) -> f64 {
    finding.correlation.as_ref().unwrap().value.as_ref().unwrap().as_f64().unwrap()
}
