//! A finding: this rule matched this event, or these, told so that nobody needs the event
//! to understand it.
//!
//! Its JSON is a contract (one line per finding in `kustos detect`). Fields may be
//! added to it; none is ever renamed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use crate::event::{Event, Field};
use crate::hex::hex;
use crate::rules::{Level, Rule};
use crate::seal::leaf::{Hash, leaf};

/// How much of the hash makes an id: 16 bytes are plenty, and 32 digits still fit a line.
const ID_BYTES: usize = 16;

/// One rule, and one event or the events of a correlation. It owns its strings: it outlives the line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The same for the same rule and event, however often and wherever it is found.
    pub id: String,
    /// What matched.
    pub rule: FoundRule,
    /// When the event says it was written; `null` when it does not.
    pub time: Option<String>,
    /// The cluster the event came from.
    pub cluster: String,
    /// What happened. Its fields are `null` for an object that is no audit event. A correlation has
    /// `events` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<FoundEvent>,
    /// The newest events of a correlation, the one that made it fire last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<FoundMember>>,
    /// Why a correlation fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<FoundCorrelation>,
    /// Where the event lies; of a correlation, the one that made it fire.
    pub source: FoundSource,
    /// The hash of the rule set that judged.
    pub ruleset: String,
    /// What a Falco rule says of the event, with its fields put in; Sigma's rules say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// The rule of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Rule`")]
pub struct FoundRule {
    pub id: String,
    pub title: String,
    pub level: Level,
    pub dialect: String,
    pub tags: Vec<String>,
    /// Empty in findings that were made before rules had hashes.
    #[serde(default)]
    pub hash: String,
}

/// The event of a finding, by the names of audit.k8s.io/v1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of the audit event")]
pub struct FoundEvent {
    #[serde(rename = "auditID")]
    pub audit_id: Option<String>,
    pub stage: Option<String>,
    pub verb: Option<String>,
    /// `user.username`.
    pub user: Option<String>,
    #[serde(rename = "sourceIPs")]
    pub source_ips: Option<Vec<String>>,
    pub object_ref: Option<Value>,
    #[serde(rename = "requestURI")]
    pub request_uri: Option<String>,
    /// `responseStatus.code`.
    pub code: Option<i64>,
    /// `annotations.authorization.k8s.io/decision`.
    pub decision: Option<String>,
}

/// One event of a correlation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FoundMember {
    /// When the event says it happened.
    pub time: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub event: FoundEvent,
    /// Where the event lies.
    pub source: FoundSource,
}

/// Why a correlation fired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundCorrelation {
    /// `event_count`, `temporal` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The fields of `group-by` and their values: `null` for one that is missing, a list for a list.
    pub group: Map<String, Value>,
    /// What the condition was held against: a number of events, of values, of rules, a sum, …;
    /// `null` where there is no number.
    pub value: Option<Number>,
    /// As the rule writes it.
    pub timespan: String,
    /// How many events there were, also those that are not shown.
    pub count: u64,
    /// The fields of `new_terms` and the values that are new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Map<String, Value>>,
}

/// Where the event of a finding lies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FoundSource {
    /// The source, as configured; for a file its path.
    pub name: String,
    /// Where in the source: in a file the offset of the line's first byte.
    pub position: u64,
}

/// Where an event came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'o> {
    /// The cluster's name.
    pub cluster: &'o str,
    /// The source's name; for a file its path.
    pub source: &'o str,
    /// Where in the source: in a file the offset of the line's first byte.
    pub position: u64,
}

impl Finding {
    /// `ruleset` is the hash of the set `rule` is from; `identity` is the event's.
    pub fn new(
        rule: &Rule,
        ruleset: &str,
        event: &Event<'_>,
        origin: &Origin<'_>,
        identity: &Hash,
    ) -> Finding {
        let time = event.micros(Field::StageTimestamp).and(event.text(Field::StageTimestamp));
        Finding {
            id: id(&rule.id, identity),
            rule: FoundRule::of(rule),
            time: time.map(|it| it.into_owned()),
            cluster: origin.cluster.to_owned(),
            event: Some(FoundEvent::of(event)),
            events: None,
            correlation: None,
            source: FoundSource { name: origin.source.to_owned(), position: origin.position },
            ruleset: ruleset.to_owned(),
            output: None,
        }
    }
}

impl FoundRule {
    pub(super) fn of(rule: &Rule) -> FoundRule {
        FoundRule {
            id: rule.id.clone(),
            title: rule.title.clone(),
            level: rule.level,
            dialect: rule.dialect.to_owned(),
            tags: rule.tags.clone(),
            hash: rule.hash.clone(),
        }
    }
}

impl FoundEvent {
    /// Nothing of an object that is no audit event.
    pub(super) fn of(event: &Event<'_>) -> FoundEvent {
        if !event.is_audit() {
            return FoundEvent::default();
        }
        let text = |field| event.text(field).map(|it| it.into_owned());
        let ips = event.json(Field::SourceIps).filter(|it| it.starts_with('['));
        FoundEvent {
            audit_id: text(Field::AuditId),
            stage: text(Field::Stage),
            verb: text(Field::Verb),
            user: text(Field::Username),
            source_ips: ips.map(|_| {
                event.list(Field::SourceIps).into_iter().map(|it| it.into_owned()).collect()
            }),
            object_ref: event
                .json(Field::ObjectRef)
                .and_then(|it| serde_json::from_str(it).ok())
                .filter(Value::is_object),
            request_uri: text(Field::RequestUri),
            code: event.int(Field::Code),
            decision: text(Field::Decision),
        }
    }
}

/// What makes an event itself: where it happened, when, and its bytes. The audit ID
/// is no part of it, because the client chooses that one.
pub fn identity(event: &Event<'_>, cluster: &str) -> Hash {
    let text = |field| event.text(field).unwrap_or_default();
    hash(&[
        cluster.as_bytes(),
        text(Field::Stage).as_bytes(),
        text(Field::StageTimestamp).as_bytes(),
        &leaf(event.raw()),
    ])
}

/// The id of a rule's finding in the event with this identity.
pub fn id(rule: &str, identity: &Hash) -> String {
    let hash = hash(&[rule.as_bytes(), identity]);
    hex(hash.get(..ID_BYTES).unwrap_or(&hash))
}

/// The id of a correlation's finding, for a group and the event that made it fire.
pub(super) fn id_of_group(rule: &str, group: &[u8], time: i64, mark: u64) -> String {
    let hash = hash(&[rule.as_bytes(), group, &time.to_be_bytes(), &mark.to_be_bytes()]);
    hex(hash.get(..ID_BYTES).unwrap_or(&hash))
}

/// SHA-256 over parts that cannot run into each other: each follows its length.
fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}
