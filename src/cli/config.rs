//! `kustos config`: is the file right, what does it mean, what may it hold.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};

use super::webhooks::ports;
use crate::cause;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, KafkaSource, Secret, Settings, Source};
use crate::metrics::Metrics;
use crate::rules;
use crate::sink::{self, KINDS};

/// The exit code of a wrong configuration.
const WRONG: u8 = 2;

/// Checks, shows or describes the configuration file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kustos config check --config /etc/kustos/kustos.yaml    exit 2 and the place when it is wrong
  kustos config show                                      every default filled in, secrets masked
  kustos config schema > kustos.schema.json               for an editor that knows JSON Schema")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Reads the file, builds every part of it without the network, and prints what is in force
    Check(File),
    /// Prints what is in force: every default filled in, secrets masked
    Show(File),
    /// Prints the JSON Schema of the file
    Schema,
}

#[derive(Debug, clap::Args)]
struct File {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "KUSTOS_CONFIG", default_value = "kustos.yaml")]
    config: PathBuf,
}

/// Runs the command, and gives the exit code.
///
/// # Errors
/// When the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let text = match &args.command {
        Command::Check(file) => check(&file.config),
        Command::Show(file) => load(&file.config).map(|it| it.shown()),
        Command::Schema => Ok(format!("{:#}\n", schema())),
    };
    match text {
        Ok(text) => say(std::io::stdout(), &text).map(|()| 0),
        Err(error) => say(std::io::stderr(), &format!("kustos: {error:#}\n")).map(|()| WRONG),
    }
}

/// The JSON Schema of the whole file, the settings of every kind of sink included.
pub fn schema() -> Value {
    let mut schema = crate::config::schema();
    let kinds: Vec<Value> = KINDS.iter().map(settings).collect();
    if let Some(items) = schema.pointer_mut("/properties/sinks/items") {
        *items = json!({ "oneOf": kinds });
    }
    // The kinds say it all; what they have in common alone would be a second, looser answer.
    if let Some(defs) = schema.pointer_mut("/$defs").and_then(Value::as_object_mut) {
        defs.remove("Settings");
    }
    schema
}

/// What every sink has, and what only this kind has, in one object. It needs no `$defs` of its
/// own: those of its properties are moved to their places.
fn settings(kind: &sink::Kind) -> Value {
    let own = (kind.schema)();
    let mut properties = json!({
        "kind": { "const": kind.name },
        "name": { "type": "string", "description": "Its name in metrics, messages and the outbox. Default: the kind" },
        "min_level": {
            "enum": ["informational", "low", "medium", "high", "critical"],
            "description": "The lowest level that is sent there. Default: informational, so everything"
        }
    });
    let mine = own.get("properties").and_then(Value::as_object);
    for (key, value) in mine.into_iter().flatten() {
        properties[key] = inlined(value, &own);
    }
    let mut required = vec![json!("kind")];
    required.extend(own.get("required").and_then(Value::as_array).into_iter().flatten().cloned());
    json!({
        "title": format!("sink of kind {}", kind.name),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false
    })
}

/// A property with the definition it refers to in place of the reference.
fn inlined(value: &Value, root: &Value) -> Value {
    let Some(place) = value.get("$ref").and_then(Value::as_str) else { return value.clone() };
    let mut whole = root.pointer(place.trim_start_matches('#')).cloned().unwrap_or_default();
    for (key, own) in value.as_object().into_iter().flatten().filter(|(key, _)| *key != "$ref") {
        whole[key] = own.clone();
    }
    whole
}

fn load(path: &Path) -> anyhow::Result<Config> {
    Ok(Config::load(path)?)
}

/// Builds what the file names, without opening a source or sending anything.
fn check(path: &Path) -> anyhow::Result<String> {
    let config = load(path)?;
    sink::build(&config.sinks).with_context(|| path.display().to_string())?;
    check_sources(&config).with_context(|| path.display().to_string())?;
    check_rules(&config).with_context(|| path.display().to_string())?;
    let mut notes: String = config.sinks.iter().flat_map(unread).collect();
    notes.extend(unusable(&config));
    say(std::io::stderr(), &notes)?;
    Ok(config.shown())
}

/// Makes the clients of the sources that have one; they connect to nothing.
fn check_sources(config: &Config) -> anyhow::Result<()> {
    for (at, source) in config.sources.iter().enumerate() {
        if let Source::Kafka(source) = source {
            check_kafka(source).with_context(|| format!("sources[{at}].options"))?;
        }
    }
    Ok(())
}

#[cfg(feature = "kafka")]
fn check_kafka(source: &KafkaSource) -> anyhow::Result<()> {
    Ok(crate::pipeline::kafka::KafkaSource::check(source)?)
}

#[cfg(not(feature = "kafka"))]
fn check_kafka(_: &KafkaSource) -> anyhow::Result<()> {
    anyhow::bail!(super::shared::NO_KAFKA)
}

/// Compiles every rule the file names.
fn check_rules(config: &Config) -> anyhow::Result<()> {
    let (paths, options) = super::shared::configured(config);
    let loaded = rules::load(&paths, &options)?;
    let warnings: String = loaded.warnings.iter().map(|it| format!("note: {it}\n")).collect();
    say(std::io::stderr(), &warnings)
}

/// A secret that is not there is worth a word, but no mistake: a check may run elsewhere than
/// the daemon, which reads it when it needs it.
fn unread(sink: &Settings) -> Vec<String> {
    let note = |(key, value): (&String, &Value)| {
        let place = value.as_str()?.to_owned();
        let secret = match key.rsplit_once('_')? {
            (_, "file") => Secret::File(place),
            (_, "env") => Secret::Env(place),
            _ => return None,
        };
        let error = secret.read().err()?;
        Some(format!("note: sink {:?}, {key}: {error}\n", sink.name()))
    };
    sink.rest.iter().filter_map(note).collect()
}

/// Certificates and tokens that webhook sources need and that are not here: as for [`unread`].
fn unusable(config: &Config) -> Vec<String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ports = ports(config, &Metrics::new(), &clock);
    let certificates = ports.iter().filter_map(|(listen, port)| {
        let error = cause::line(&port.check().err()?);
        Some(format!("note: webhook on {listen}: {error}\n"))
    });
    let tokens = config.sources.iter().filter_map(|it| {
        let Source::Webhook(it) = it else { return None };
        let error = Secret::File(it.token_file.clone()?).read().err()?;
        Some(format!("note: source {:?}, token_file: {error}\n", it.name()))
    });
    certificates.chain(tokens).collect()
}

fn say(mut out: impl Write, text: &str) -> anyhow::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Nobody reads on, as in `| head`: that is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("the output could not be written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kustos.yaml");
        crate::durable::write(&path, text.as_bytes()).unwrap();
        let place = dir.path().display().to_string();
        check(&path).map_err(|it| format!("{it:#}").replace(&place, "DIR"))
    }

    #[test]
    fn a_right_file_is_shown_in_full_and_its_secrets_are_not() {
        let text = "archive: {dir: a}
sinks: [{kind: webhook, url: 'https://hooks.example.com/T0/secret'}]";
        let shown = checked(text).unwrap();
        assert!(shown.contains("keep: 2192d") && shown.contains("hooks.example.com"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_wrong_sink_is_named_with_its_file() {
        assert_eq!(
            checked("archive: {dir: a}\nsinks: [{kind: webhook, name: oncall}]").unwrap_err(),
            "DIR/kustos.yaml: sinks[0] \"oncall\": url: give one of url, url_file and url_env"
        );
    }

    #[test]
    fn what_a_webhook_needs_and_is_not_here_is_noted_and_no_mistake() {
        let text = "archive: {dir: a}
sources:
  - { kind: webhook, cluster: c, listen: 0.0.0.0:1, tls: {cert: /no/crt, key: /no/key}, token_file: /no/token }";
        checked(text).unwrap();
        let config = Config::parse(text, Path::new("kustos.yaml")).unwrap();
        let notes = unusable(&config);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].starts_with("note: webhook on 0.0.0.0:1: /no/"), "{notes:?}");
        assert!(notes[1].contains("source \"webhook-c\", token_file: "), "{notes:?}");
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_a_wrong_configuration() {
        let wrong = checked("archive: {dir: a}\nrules: [/nowhere/rules]").unwrap_err();
        assert!(
            wrong.starts_with("DIR/kustos.yaml: ") && wrong.contains("/nowhere/rules"),
            "{wrong}"
        );
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn a_setting_that_librdkafka_does_not_know_is_named_with_its_place() {
        let text = "archive: {dir: a}\nsources: [{kind: kafka, cluster: c, brokers: ['k:9092'], topics: [t], options: {fetch.mim.bytes: '1'}}]";
        let wrong = checked(text).unwrap_err();
        assert!(
            wrong.starts_with("DIR/kustos.yaml: sources[0].options: ")
                && wrong.contains("fetch.mim.bytes"),
            "{wrong}"
        );
    }

    #[test]
    fn a_wrong_file_ends_with_two() {
        let file = File { config: PathBuf::from("/nowhere/kustos.yaml") };
        assert_eq!(run(&Args { command: Command::Check(file) }).unwrap(), WRONG);
    }

    #[test]
    fn a_secret_that_is_not_there_is_noted_and_no_mistake() {
        let yaml = "{kind: webhook, url_file: /nowhere/url, token_env: KUSTOS_NOT_SET}";
        let settings: Settings = yaml_serde::from_str(yaml).unwrap();
        let notes = unread(&settings);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes.iter().any(|it| it.contains("/nowhere/url")), "{notes:?}");
        assert!(
            checked("archive: {dir: a}\nsinks: [{kind: webhook, url_file: /nowhere/url}]").is_ok()
        );
    }
}
