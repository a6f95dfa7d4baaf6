//! A finding's body -> [`Alert`]. The body is what `kustos detect` prints; fields that are new
//! since this version are passed over.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Alert, AlertEvent, Level};

/// Why a body is no finding. A sink then shows the body itself.
#[derive(Debug, thiserror::Error)]
#[error("the finding's body is not readable")]
pub struct BodyError(#[source] serde_json::Error);

impl Alert {
    /// Reads a finding's body.
    ///
    /// # Errors
    /// When it is not a JSON object with an id and a rule.
    pub fn from_body(body: &str) -> Result<Alert, BodyError> {
        serde_json::from_str(body).map_err(BodyError)
    }

    /// The events it is about, in the order they came: one, or several of a correlation.
    pub fn events(&self) -> impl Iterator<Item = &AlertEvent> {
        self.event.iter().chain(self.events.iter().flatten())
    }
}

/// A user is written as a name, or as the event's own object with a `username`.
pub(super) fn user<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(name) => Some(name),
        Value::Object(user) => user.get("username").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    })
}

/// A level that cannot be read is the worst: the finding goes to every sink, and is not lost.
pub(super) fn level<'de, D: Deserializer<'de>>(from: D) -> Result<Level, D::Error> {
    let word = Option::<String>::deserialize(from)?;
    Ok(word.and_then(|it| it.parse().ok()).unwrap_or_else(worst))
}

/// The level of a finding that says none.
pub(super) fn worst() -> Level {
    Level::Critical
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_with_nulls_and_new_fields_is_read() {
        let alert = Alert::from_body(
            r#"{"id":"f1","rule":{"id":"r1","title":null,"level":"high","dialect":"sigma","tags":[],"new":1},
               "time":null,"cluster":"c","event":{"auditID":"a","user":{"username":"alice"},"objectRef":null,
               "sourceIPs":["10.0.0.1"],"code":200},"source":{"name":"s","position":12},"ruleset":"x"}"#,
        )
        .unwrap();
        assert_eq!(alert.rule.level, Level::High);
        let event = alert.events().next().unwrap();
        assert_eq!((event.user.as_deref(), event.code), (Some("alice"), Some(200)));
    }

    #[test]
    fn what_detect_prints_is_read_back() {
        use crate::detect::finding::{Finding, FoundEvent, FoundRule, FoundSource};
        let object = serde_json::json!({"resource": "pods", "namespace": "n", "name": "p"});
        let finding = Finding {
            id: "f1".into(),
            rule: FoundRule {
                id: "r1".into(),
                title: "Exec into a pod".into(),
                level: Level::High,
                dialect: "sigma".into(),
                tags: vec!["attack.execution".into()],
                hash: "bb".into(),
            },
            time: Some("2026-11-23T03:39:13.554321Z".into()),
            cluster: "c".into(),
            event: Some(FoundEvent {
                user: Some("alice".into()),
                source_ips: Some(vec!["10.0.0.1".into()]),
                object_ref: Some(object),
                code: Some(101),
                ..FoundEvent::default()
            }),
            events: None,
            correlation: None,
            source: FoundSource { name: "audit.log".into(), position: 17 },
            ruleset: "aa".into(),
            output: None,
        };
        let body = serde_json::to_string(&finding).unwrap();
        let alert = Alert::from_body(&body).unwrap();
        assert_eq!((alert.rule.level, alert.cluster.as_deref()), (Level::High, Some("c")));
        let event = alert.events().next().unwrap();
        let object = event.object_ref.as_ref().unwrap();
        assert_eq!((event.user.as_deref(), object.name.as_deref()), (Some("alice"), Some("p")));
    }

    #[test]
    fn a_correlation_has_all_its_events() {
        let body = r#"{"id":"f","rule":{"id":"r","level":"low"},"events":[{"verb":"get"},{"verb":"list"}]}"#;
        let alert = Alert::from_body(body).unwrap();
        let verbs: Vec<_> = alert.events().filter_map(|it| it.verb.as_deref()).collect();
        assert_eq!(verbs, ["get", "list"]);
    }

    #[test]
    fn an_unknown_level_counts_as_the_worst_and_garbage_is_an_error() {
        let alert = Alert::from_body(r#"{"id":"f","rule":{"id":"r","level":"dire"}}"#).unwrap();
        assert_eq!(alert.rule.level, Level::Critical);
        assert!(Alert::from_body("not json").is_err());
    }
}
