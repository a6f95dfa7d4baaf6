//! Finding -> Alert: what a person is shown, and who is shown it.
//!
//! One rule: every word of an event was chosen by somebody else, perhaps by the attacker, so
//! none reaches a terminal or a chat before [`plain`] has been over it.

use serde::Deserialize;

mod body;
pub mod plain;
pub mod render;

pub use crate::rules::{Level, LevelError};
pub use body::BodyError;

/// A finding, read back from its body, ready to be shown. Every text in it is as it came.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Alert {
    /// The finding's id: hash of the rule and the event.
    pub id: String,
    /// The rule that found it.
    pub rule: AlertRule,
    /// The stage time of the event, or of the last one of a correlation. RFC 3339.
    pub time: Option<String>,
    /// The cluster of the event.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The event; a correlation has `events`.
    #[serde(default)]
    event: Option<AlertEvent>,
    /// What a Falco rule says of the event.
    #[serde(default)]
    pub output: Option<String>,
    /// The events of a correlation.
    #[serde(default)]
    events: Option<Vec<AlertEvent>>,
    /// Where the event was read.
    #[serde(default)]
    pub source: Option<AlertSource>,
}

/// What an alert says of its rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AlertRule {
    /// The Sigma `id`, or the name of a Falco rule.
    pub id: String,
    /// What the rule looks for.
    #[serde(default)]
    pub title: Option<String>,
    /// How bad it is. A word that is not known counts as critical: it is sent, not lost.
    #[serde(default = "body::worst", deserialize_with = "body::level")]
    pub level: Level,
    /// `sigma` or `falco`.
    #[serde(default)]
    pub dialect: Option<String>,
    /// ATT&CK and other tags.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
}

/// What an alert says of an event: who did what to which object, from where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AlertEvent {
    /// The request's id, chosen by its client.
    #[serde(rename = "auditID")]
    pub audit_id: Option<String>,
    /// The stage of the request.
    pub stage: Option<String>,
    /// What was done.
    pub verb: Option<String>,
    /// Who did it.
    #[serde(deserialize_with = "body::user")]
    pub user: Option<String>,
    /// From which addresses, the client's first.
    #[serde(rename = "sourceIPs")]
    pub source_ips: Option<Vec<String>>,
    /// To which object.
    pub object_ref: Option<ObjectRef>,
    /// The request's path, for requests that are about no object.
    #[serde(rename = "requestURI")]
    pub request_uri: Option<String>,
    /// The HTTP status of the answer.
    pub code: Option<i64>,
    /// `allow` or `forbid`.
    pub decision: Option<String>,
}

/// A Kubernetes object, as audit.k8s.io names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Like `pods`.
    pub resource: Option<String>,
    /// Like `exec`.
    pub subresource: Option<String>,
    /// Its namespace; none for what belongs to the cluster.
    pub namespace: Option<String>,
    /// Its name; none for a whole collection.
    pub name: Option<String>,
    /// Its API group; none for the core.
    pub api_group: Option<String>,
}

/// Where an event was read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AlertSource {
    /// The source's name.
    #[serde(default)]
    pub name: Option<String>,
    /// The place in it.
    #[serde(default)]
    pub position: serde_json::Value,
}
