//! The block of a Kafka source -> plain values, and what is wrong with them.
//!
//! One rule: what would let an event be lost or stored twice cannot be set, and no secret stands in the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// Topics of a Kafka cluster, read as a member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSource {
    /// The cluster its events are of, unless a message names its own. Part of every event's identity: do not rename.
    pub cluster: String,
    /// Its name in metrics and findings. Default: kafka: and the topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Brokers to ask first, each `host:port`. The others are found through them.
    pub brokers: Vec<String>,
    /// Topics to read. One that begins with ^ is a regular expression.
    pub topics: Vec<String>,
    /// The consumer group. Replicas that share one share the partitions. Default: kustos.
    #[serde(default = "group")]
    pub group: String,
    /// Where a partition begins of which neither the archive nor the group knows a position. Default: earliest.
    #[serde(default)]
    pub start: Start,
    /// What of a message names its cluster: key, or header and a colon and the header's name. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_from: Option<ClusterFrom>,
    /// TLS to the brokers. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    /// Who kustos is to the brokers. Default: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// Nothing from it for longer than that is a finding; 0ms: never. Default: 1h; 0ms to 30d.
    #[serde(default = "super::silence_max")]
    pub silence_max: Period,
    /// Further settings of librdkafka, by its own names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Where an unknown partition begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest message the broker has.
    #[default]
    Earliest,
    /// With what comes from then on.
    Latest,
}

/// What of a message names its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ClusterFrom {
    /// Its key.
    Key,
    /// A header of that name; the last one, where there are several.
    Header(String),
}

/// TLS to the brokers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaTls {
    /// A file of the CA certificates that the brokers' are signed by. Default: the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// A file of the certificate that kustos shows. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// A file of its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// A file of the private key's password. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_password_file: Option<String>,
}

/// Who kustos is to the brokers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How it says so.
    pub mechanism: Mechanism,
    /// The name.
    pub username: String,
    /// A file of the password.
    pub password_file: String,
}

/// How kustos says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// The password as it is: only with TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof that the password is known.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with a longer hash.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    /// The word in the file, which is librdkafka's too.
    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Why something is no [`ClusterFrom`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no part of a message; write key, or header:NAME")]
pub struct ClusterFromError(String);

impl TryFrom<String> for ClusterFrom {
    type Error = ClusterFromError;

    fn try_from(text: String) -> Result<ClusterFrom, ClusterFromError> {
        match text.split_once(':') {
            None if text == "key" => Ok(ClusterFrom::Key),
            Some(("header", name)) if !name.trim().is_empty() => {
                Ok(ClusterFrom::Header(name.trim().to_owned()))
            }
            _ => Err(ClusterFromError(text)),
        }
    }
}

impl From<ClusterFrom> for String {
    fn from(from: ClusterFrom) -> String {
        match from {
            ClusterFrom::Key => "key".to_owned(),
            ClusterFrom::Header(name) => format!("header:{name}"),
        }
    }
}

/// Settings of librdkafka that kustos makes itself, each with what to do instead.
const OWN: [(&str, &str); 20] = [
    ("bootstrap.servers", "give `brokers`"),
    ("metadata.broker.list", "give `brokers`"),
    ("group.id", "give `group`"),
    ("auto.offset.reset", "give `start`"),
    ("security.protocol", "give `tls` and `sasl`"),
    ("sasl.mechanism", "give `sasl`"),
    ("sasl.mechanisms", "give `sasl`"),
    ("sasl.username", "give `sasl`"),
    ("ssl.ca.location", "give `tls`"),
    ("ssl.certificate.location", "give `tls`"),
    ("ssl.key.location", "give `tls`"),
    ("enable.ssl.certificate.verification", "a broker that cannot show who it is is not read"),
    ("enable.auto.commit", COMMITS),
    ("auto.commit.enable", COMMITS),
    ("auto.commit.interval.ms", COMMITS),
    ("enable.auto.offset.store", COMMITS),
    ("enable.partition.eof", "kustos has no use for it"),
    ("partition.assignment.strategy", "kustos is cooperative-sticky"),
    ("group.protocol", "kustos is cooperative-sticky"),
    ("plugin.library.paths", "kustos loads no foreign code"),
];

const COMMITS: &str = "offsets are committed when the events are kept";

/// Words in the name of a setting whose value is a secret.
const SECRET_WORDS: [&str; 5] = ["password", "pem", "secret", "oauthbearer", "keystore"];

impl KafkaSource {
    /// The key of the block that is wrong, and why; `None`: none is.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let empty = |all: &[String]| all.is_empty() || all.iter().any(|it| it.trim().is_empty());
        if empty(&self.brokers) {
            return Some(("brokers", "give at least one broker, as host:port".to_owned()));
        }
        if empty(&self.topics) {
            return Some(("topics", "give at least one topic".to_owned()));
        }
        if self.group.trim().is_empty() {
            return Some(("group", "it is empty".to_owned()));
        }
        let tls = self.tls.as_ref();
        if tls.is_some_and(|it| it.cert.is_some() != it.key.is_some()) {
            return Some(("tls", "give both of `cert` and `key`, or neither".to_owned()));
        }
        let plain = self.sasl.as_ref().is_some_and(|it| it.mechanism == Mechanism::Plain);
        if plain && tls.is_none() {
            let why = "PLAIN sends the password as it is; give `tls` (`tls: {}` for the machine's CA certificates) or use SCRAM-SHA-512";
            return Some(("sasl", why.to_owned()));
        }
        self.options.keys().find_map(|key| refused(key)).map(|why| ("options", why))
    }
}

/// Why that setting of librdkafka cannot be made.
fn refused(key: &str) -> Option<String> {
    if let Some((_, why)) = OWN.iter().find(|(own, _)| *own == key) {
        return Some(format!("{key:?} cannot be set: {why}"));
    }
    let secret = SECRET_WORDS.iter().any(|it| key.contains(it));
    secret.then(|| {
        format!("{key:?} cannot be set: secrets stand in files that `tls` and `sasl` name")
    })
}

fn group() -> String {
    "kustos".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(more: &str) -> Option<String> {
        let text = format!("{{cluster: c, brokers: ['k:9092'], topics: [audit], {more}}}");
        let source: KafkaSource = yaml_serde::from_str(&text).unwrap();
        source.wrong().map(|(key, why)| format!("{key}: {why}"))
    }

    #[test]
    fn what_would_lose_or_double_an_event_is_refused_by_name() {
        assert_eq!(wrong("group: audit"), None);
        assert_eq!(wrong("options: {fetch.wait.max.ms: '50'}"), None);
        for (key, _) in OWN {
            let told = wrong(&format!("options: {{{key}: x}}")).unwrap();
            assert!(told.starts_with(&format!("options: {key:?} cannot be set: ")), "{told}");
        }
        assert!(wrong("options: {ssl.key.pem: x}").unwrap().contains("secrets stand in files"));
    }

    #[test]
    fn a_password_is_not_sent_in_the_clear() {
        let plain = "sasl: {mechanism: PLAIN, username: u, password_file: f}";
        assert!(wrong(plain).unwrap().contains("tls: {}"));
        assert_eq!(wrong(&format!("{plain}, tls: {{}}")), None);
        assert_eq!(wrong(&plain.replace("PLAIN", "SCRAM-SHA-256")), None);
        assert!(wrong("tls: {cert: a}").unwrap().starts_with("tls: give both"));
    }

    #[test]
    fn a_cluster_is_named_by_the_key_or_a_header() {
        let read = |text: &str| ClusterFrom::try_from(text.to_owned());
        assert_eq!(read("key"), Ok(ClusterFrom::Key));
        assert_eq!(read("header:x-cluster"), Ok(ClusterFrom::Header("x-cluster".into())));
        for wrong in ["", "header", "header: ", "keys", "value:x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(String::from(read("header:a:b").unwrap()), "header:a:b");
    }
}
