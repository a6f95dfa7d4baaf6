//! The configuration of a Kafka source -> librdkafka's settings. It opens no connection.
//!
//! One rule: librdkafka never commits and never chooses an offset by itself.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::config::kafka::{KafkaSource, KafkaTls, Sasl};
use crate::config::{Secret, SecretError};

/// What kustos sets unless `options` say otherwise.
const DEFAULTS: [(&str, &str); 9] = [
    ("client.id", "kustos"),
    // What was fetched ahead of the pipeline, over all partitions together.
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.max.bytes", "16777216"),
    // A new event is an alert within milliseconds.
    ("fetch.wait.max.ms", "100"),
    // The largest message that can be read.
    ("receive.message.max.bytes", "134217728"),
    // A topic that a regular expression finds is read soon after it is made.
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
];

/// What `options` cannot change.
const FIXED: [(&str, &str); 5] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // An offset that is gone is an error, so that it can be told.
    ("auto.offset.reset", "error"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("statistics.interval.ms", "2000"),
];

/// Why there is no client for a source.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// librdkafka knows no such setting, or not with that value.
    #[error("librdkafka refuses a setting")]
    Setting(#[source] KafkaError),
    /// A password could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// The settings, with the secrets read; librdkafka has looked at each.
///
/// # Errors
/// When a secret cannot be read, or librdkafka refuses a setting.
pub fn settings(source: &KafkaSource) -> Result<ClientConfig, ClientError> {
    let mut settings = plain(source)?;
    if let Some(sasl) = &source.sasl {
        settings.set("sasl.password", Secret::File(sasl.password_file.clone()).read()?);
    }
    if let Some(file) = source.tls.as_ref().and_then(|it| it.key_password_file.clone()) {
        settings.set("ssl.key.password", Secret::File(file).read()?);
    }
    Ok(settings)
}

/// The settings without the secrets: what can be checked where the files are not.
///
/// # Errors
/// When librdkafka refuses a setting.
pub fn plain(source: &KafkaSource) -> Result<ClientConfig, ClientError> {
    let mut settings = ClientConfig::new();
    let options = source.options.iter().map(|(key, value)| (&**key, &**value));
    for (key, value) in DEFAULTS.into_iter().chain(options).chain(FIXED) {
        settings.set(key, value);
    }
    settings.set("bootstrap.servers", source.brokers.join(","));
    settings.set("group.id", &source.group);
    let protocol = match (&source.tls, &source.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    settings.set("security.protocol", protocol);
    if let Some(tls) = &source.tls {
        set_tls(&mut settings, tls);
    }
    if let Some(Sasl { mechanism, username, .. }) = &source.sasl {
        settings.set("sasl.mechanism", mechanism.as_str());
        settings.set("sasl.username", username);
    }
    settings.create_native_config().map_err(ClientError::Setting)?;
    Ok(settings)
}

fn set_tls(settings: &mut ClientConfig, tls: &KafkaTls) {
    // OpenSSL is linked in and does not know where this machine has its CA certificates.
    let ca = tls.ca.as_ref().map_or("probe".to_owned(), |it| it.display().to_string());
    settings.set("ssl.ca.location", ca);
    for (key, file) in [("ssl.certificate.location", &tls.cert), ("ssl.key.location", &tls.key)] {
        if let Some(file) = file {
            settings.set(key, file.display().to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(more: &str) -> KafkaSource {
        let text =
            format!("{{cluster: c, brokers: ['k1:9092', 'k2:9092'], topics: [audit], {more}}}");
        yaml_serde::from_str(&text).unwrap()
    }

    #[test]
    fn librdkafka_takes_every_setting_and_commits_nothing_by_itself() {
        let settings = plain(&source("tls: {}, group: g")).unwrap();
        let get = |key: &str| settings.get(key).unwrap_or_default();
        assert_eq!(get("bootstrap.servers"), "k1:9092,k2:9092");
        assert_eq!(get("security.protocol"), "ssl");
        assert_eq!(get("enable.auto.commit"), "false");
        assert_eq!(get("isolation.level"), "read_committed");
    }

    #[test]
    fn options_change_defaults_and_a_misspelt_one_is_refused() {
        let settings = plain(&source("options: {fetch.wait.max.ms: '7'}")).unwrap();
        assert_eq!(settings.get("fetch.wait.max.ms"), Some("7"));
        let error = plain(&source("options: {fetch.wait.mx.ms: '7'}")).unwrap_err();
        assert!(crate::cause::line(&error).contains("fetch.wait.mx.ms"), "{error}");
        assert!(plain(&source("options: {fetch.wait.max.ms: soon}")).is_err());
    }

    #[test]
    fn a_password_comes_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let sasl = format!(
            "sasl: {{mechanism: SCRAM-SHA-512, username: u, password_file: '{}'}}",
            file.display()
        );
        assert!(matches!(settings(&source(&sasl)), Err(ClientError::Secret(_))));
        crate::durable::write(&file, b"s3cret\n").unwrap();
        let settings = settings(&source(&sasl)).unwrap();
        assert_eq!(settings.get("sasl.password"), Some("s3cret"));
        assert_eq!(settings.get("security.protocol"), Some("sasl_plaintext"));
    }
}
