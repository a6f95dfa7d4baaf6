//! A source that API servers post to: its keys, their defaults and their bounds.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{ByteSize, Period};

/// The smallest and largest value of each.
const BODY_BYTES: (ByteSize, ByteSize) = (ByteSize(64 << 10), ByteSize::mib(1 << 10));
const INFLIGHT_BYTES: (ByteSize, ByteSize) = (ByteSize::mib(1), ByteSize::mib(16 << 10));
/// An API server gives up after 30 s.
const ANSWER_WITHIN: (Period, Period) = (Period::millis(100), Period::secs(25));

/// Most connections: more is a slip of the finger.
const CONNECTIONS_MAX: u16 = 16_384;

/// An endpoint for the audit webhook of API servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSource {
    /// The cluster its events are of. Part of every event's identity: do not rename.
    pub cluster: String,
    /// Its name in metrics and findings. Default: `webhook-` and the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address and port. Several sources may share one, each with its path.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The path that is posted to. Default: `/audit/` and the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The certificates. Without them it is plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether plain HTTP may be listened for beyond this machine, as behind a proxy. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// A file that holds the token an API server sends as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// A larger body is refused, uncompressed or not. Default: 64MiB; 64KiB to 1GiB.
    #[serde(default = "body_bytes_max")]
    pub body_bytes_max: ByteSize,
    /// Bytes of bodies that may be in memory until they are durable; over it senders are put off. Default: 64MiB; 1MiB to 16GiB.
    #[serde(default = "inflight_bytes_max")]
    pub inflight_bytes_max: ByteSize,
    /// Connections to the port at one time; further ones are closed. Default: 256; 1 to 16384.
    #[schemars(range(min = 1, max = 16384))]
    #[serde(default = "connections_max")]
    pub connections_max: NonZeroU16,
    /// Nothing from it for longer than that is a finding; 0ms: never. Default: 1h; 0ms to 30d.
    #[serde(default = "super::silence_max")]
    pub silence_max: Period,
    /// How long a request may wait for its commit before it is put off. Default: 4s; 100ms to 25s.
    #[serde(default = "answer_within")]
    pub answer_within: Period,
}

/// The certificates of an endpoint. Each file is loaded again when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A PEM file of the certificate and those that lead to its root.
    pub cert: PathBuf,
    /// A PEM file of its private key.
    pub key: PathBuf,
    /// A PEM file of the authorities that sign the certificates of this cluster's API servers. Default: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

impl WebhookSource {
    /// The name that metrics and findings know it by.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("webhook-{}", self.cluster))
    }

    /// The path that is posted to.
    pub fn path(&self) -> String {
        self.path.clone().unwrap_or_else(|| format!("/audit/{}", self.cluster))
    }

    /// The key that is wrong, if one is, and why. `part_age_max` is how long a commit may wait.
    pub(super) fn flaw(&self, part_age_max: Period) -> Option<(&'static str, String)> {
        let bounds = [
            outside("body_bytes_max", self.body_bytes_max, BODY_BYTES),
            outside("inflight_bytes_max", self.inflight_bytes_max, INFLIGHT_BYTES),
            outside("answer_within", self.answer_within, ANSWER_WITHIN),
            outside(
                "connections_max",
                self.connections_max.get(),
                (NonZeroU16::MIN.get(), CONNECTIONS_MAX),
            ),
        ];
        bounds.into_iter().flatten().next().or_else(|| self.contradiction(part_age_max))
    }

    fn contradiction(&self, part_age_max: Period) -> Option<(&'static str, String)> {
        let path = self.path();
        let plain = |it: char| it.is_ascii_graphic() && !matches!(it, '?' | '#' | '%');
        if !path.starts_with('/') || !path.chars().all(plain) {
            let why =
                format!("{path:?} is no path; begin with / and use no space, ?, # or % in it");
            return Some(("path", why));
        }
        if self.answer_within.0 < part_age_max.0 * 2 {
            let why = format!(
                "{} is less than twice archive.part_age_max, {part_age_max}: requests would be put off before their commit",
                self.answer_within
            );
            return Some(("answer_within", why));
        }
        self.exposure()
    }

    /// Evidence is taken from nobody in particular only on this machine.
    fn exposure(&self) -> Option<(&'static str, String)> {
        if self.listen.ip().is_loopback() {
            return None;
        }
        let Some(tls) = &self.tls else {
            let why = "without it, tokens and events cross the network in the clear; give cert and key, or say plain_http: true";
            let open = (!self.plain_http).then(|| ("tls", why.to_owned()));
            return open.or_else(|| self.unasked("give token_file"));
        };
        if tls.client_ca.is_some() {
            None
        } else {
            self.unasked("give tls.client_ca or token_file")
        }
    }

    fn unasked(&self, remedy: &str) -> Option<(&'static str, String)> {
        let why = format!("anybody on the network could write events; {remedy}");
        self.token_file.is_none().then_some(("token_file", why))
    }

    /// The key in which it differs from another on the same address, though there can be one only.
    pub(super) fn clash(&self, other: &WebhookSource) -> Option<(&'static str, String)> {
        if self.listen != other.listen {
            return None;
        }
        let own = |it: &WebhookSource| it.tls.clone().map(|it| (it.cert, it.key));
        let (first, listen) = (other.name(), self.listen);
        let differs = |key| {
            (key, format!("it differs from that of {first:?}, which also listens on {listen}"))
        };
        if self.path() == other.path() {
            return Some(("path", format!("{first:?} has the same on {listen}")));
        }
        if own(self) != own(other) {
            return Some(differs("tls"));
        }
        (self.connections_max != other.connections_max).then(|| differs("connections_max"))
    }
}

fn outside<T: PartialOrd + std::fmt::Display>(
    key: &'static str,
    value: T,
    (least, most): (T, T),
) -> Option<(&'static str, String)> {
    let outside = value < least || value > most;
    outside.then(|| (key, format!("{value} is not within {least} and {most}")))
}

fn body_bytes_max() -> ByteSize {
    ByteSize::mib(64)
}

fn inflight_bytes_max() -> ByteSize {
    ByteSize::mib(64)
}

fn connections_max() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(255)
}

fn answer_within() -> Period {
    Period::secs(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(more: &str) -> WebhookSource {
        yaml_serde::from_str(&format!("{{cluster: c, listen: \"0.0.0.0:8443\", {more}}}")).unwrap()
    }

    fn flaw(more: &str) -> Option<(&'static str, String)> {
        source(more).flaw(Period::secs(1))
    }

    const TLS: &str = "tls: {cert: a, key: b}";

    #[test]
    fn what_would_take_events_from_anybody_is_refused() {
        assert_eq!(flaw("").unwrap().0, "tls");
        assert_eq!(flaw("plain_http: true").unwrap().0, "token_file");
        assert_eq!(flaw("plain_http: true, token_file: t"), None);
        assert_eq!(flaw(TLS).unwrap().0, "token_file");
        assert_eq!(flaw(&format!("{TLS}, token_file: t")), None);
        assert_eq!(flaw("tls: {cert: a, key: b, client_ca: c}"), None);
        let local = WebhookSource { listen: "127.0.0.1:1".parse().unwrap(), ..source("") };
        assert_eq!(local.flaw(Period::secs(1)), None);
    }

    #[test]
    fn bounds_and_what_cannot_be_together_are_named() {
        let with = |more: &str| flaw(&format!("{TLS}, token_file: t, {more}"));
        for (more, key) in [
            ("path: audit", "path"),
            ("path: \"/a?b\"", "path"),
            ("body_bytes_max: 1KiB", "body_bytes_max"),
            ("inflight_bytes_max: 512KiB", "inflight_bytes_max"),
            ("answer_within: 1900ms", "answer_within"),
            ("answer_within: 30s", "answer_within"),
            ("connections_max: 20000", "connections_max"),
        ] {
            assert_eq!(with(more).unwrap().0, key, "{more}");
        }
        assert_eq!(with("path: /x"), None);
        assert_eq!(with("inflight_bytes_max: 1MiB, body_bytes_max: 64MiB"), None);
        assert_eq!((source("").path(), source("").name()), ("/audit/c".into(), "webhook-c".into()));
    }

    #[test]
    fn sources_on_one_address_differ_in_their_paths_and_share_the_rest() {
        let first = source(TLS);
        let clash = |it: &WebhookSource| it.clash(&first).map(|it| it.0);
        let other = WebhookSource { cluster: "d".into(), ..first.clone() };
        assert_eq!(clash(&other), None);
        assert_eq!(clash(&WebhookSource { name: Some("n".into()), ..first.clone() }), Some("path"));
        assert_eq!(clash(&WebhookSource { tls: None, ..other.clone() }), Some("tls"));
        let fewer = WebhookSource { connections_max: NonZeroU16::MIN, ..other.clone() };
        assert_eq!(clash(&fewer), Some("connections_max"));
        let elsewhere = WebhookSource { listen: "0.0.0.0:1".parse().unwrap(), ..first.clone() };
        assert_eq!(clash(&elsewhere), None);
    }
}
