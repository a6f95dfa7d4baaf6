//! The one file a user writes -> plain values, with every default filled in.
//!
//! One rule: a key that is not known is an error, never ignored: a misspelt `keep` must not
//! become a retention nobody asked for. Reading is two steps: text to plain values here,
//! without I/O; plain values to built parts where each part lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod falco;
pub mod kafka;
pub mod placeholders;
mod profile;
pub mod quantity;
pub mod settings;
pub mod webhook;

pub use falco::{Falco, RuleMatching, RuleMatchingError};
pub use kafka::KafkaSource;
pub use profile::{Profile, ProfileError};
pub use quantity::{ByteSize, Period};
pub use settings::{Secret, SecretError, Settings, SettingsError};
pub use webhook::WebhookSource;

/// A configuration longer than this is a wrong file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Longest name of a cluster, a source or a sink.
const NAME_BYTES_MAX: usize = 63;

/// The smallest and largest value of each bounded span of time.
const KEEP: (Period, Period) = (Period::days(1), Period::days(36_525));
const PART_AGE: (Period, Period) = (Period::millis(10), Period::secs(60));
const LATENESS: (Period, Period) = (Period::millis(0), Period::days(1));
const HEADROOM: (Period, Period) = (Period::millis(0), Period::days(30));
const SILENCE: (Period, Period) = (Period::millis(0), Period::days(30));
const SEGMENT_AGE: (Period, Period) = (Period::secs(1), Period::days(1));

/// The smallest and largest value of each bounded size.
const SEGMENT_BYTES: (ByteSize, ByteSize) = (ByteSize::mib(1), ByteSize::mib(64 << 10));
const MEMORY_BYTES: (ByteSize, ByteSize) = (ByteSize::mib(1), ByteSize::mib(64 << 10));
const LINE_BYTES: (ByteSize, ByteSize) = (ByteSize(64 << 10), ByteSize::mib(1 << 10));

/// Most threads, and most chunks in a lane: more is a slip of the finger.
const WORKERS_MAX: u16 = 1_024;
const LANE_CHUNKS_MAX: u16 = 1_024;

/// The whole configuration of one kustos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "kustos configuration")]
pub struct Config {
    /// Where events are kept, and for how long.
    pub archive: Archive,
    /// Where events come from.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// Rule files and folders; `minimal`, `standard`, `hipaa` and `paranoid` are shipped profiles.
    #[serde(default = "standard")]
    pub rules: Vec<Rules>,
    /// What placeholders (`%name%`) in Sigma rules stand for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub placeholders: BTreeMap<String, Vec<String>>,
    /// When the rules are loaded again.
    #[serde(default)]
    pub reload: Reload,
    /// What only Falco's rules heed.
    #[serde(default)]
    pub falco: Falco,
    /// How much correlations may remember.
    #[serde(default)]
    pub correlations: Correlations,
    /// Where findings are sent.
    #[serde(default)]
    pub sinks: Vec<Settings>,
    /// Health, metrics and the API.
    #[serde(default)]
    pub http: Http,
    /// Threads that decode and match. Default: one for each core; 1 to 1024.
    #[schemars(range(min = 1, max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<NonZeroU16>,
    /// Bounds on memory.
    #[serde(default)]
    pub limits: Limits,
    /// What kustos says about itself.
    #[serde(default)]
    pub log: Log,
}

/// Where events are kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The archive's folder.
    pub dir: PathBuf,
    /// The name of this replica among those that share the folder: its own archive is in `replicas/`. Default: it is alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// How long an event is kept, counted from its own time. Default: six years, 2192 days.
    #[serde(default = "keep")]
    pub keep: Period,
    /// How long an event may wait before it is committed. Default: 1s; 10ms to 60s.
    #[serde(default = "part_age_max")]
    pub part_age_max: Period,
    /// How old parts become before they are sealed into a segment. Default: 15m; 1s to 1d.
    #[serde(default = "segment_age_max")]
    pub segment_age_max: Period,
    /// How many bytes of lines make a segment. Default: 1GiB; 1MiB to 64GiB.
    #[serde(default = "segment_bytes_max")]
    pub segment_bytes_max: ByteSize,
}

/// One place that events come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// A log file that an API server writes and rotates.
    File(FileSource),
    /// An endpoint for the audit webhook of API servers.
    Webhook(WebhookSource),
    /// Topics of a Kafka cluster, read as a member of a consumer group.
    Kafka(Box<KafkaSource>),
}

/// A log file that an API server writes and rotates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// The cluster its events are of. Part of every event's identity: do not rename.
    pub cluster: String,
    /// The audit log. Its rotated siblings belong to it.
    pub path: PathBuf,
    /// Its name in metrics and findings. Default: the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Nothing from it for longer than that is a finding; 0ms: never. Default: 1h; 0ms to 30d.
    #[serde(default = "silence_max")]
    pub silence_max: Period,
    /// How its writer rotates it, to know when it deletes what was not read.
    #[serde(default)]
    pub rotation: Rotation,
}

/// How an API server rotates its log. The defaults are those of Kubernetes 1.36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// Its `--audit-log-maxsize`; 0 where it never rotates. Default: 100MiB.
    pub max_size: ByteSize,
    /// Its `--audit-log-maxbackup`; 0 where it keeps all. Default: 100.
    pub max_backups: u32,
    /// Its `--audit-log-maxage`; 0ms where files do not age. Default: 366d.
    pub max_age: Period,
    /// Less time than that until it deletes what was not read is a finding. Default: 10m; 0ms to 30d.
    pub headroom_min: Period,
}

/// Rules to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Rules {
    /// The shipped rules of a profile. A file of that name is written `./standard`.
    Shipped(Profile),
    /// A rule file, or a folder of them.
    Path(PathBuf),
}

/// When the rules are loaded again. SIGHUP and `POST /api/v1/reload` always do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reload {
    /// Whether the rule files are watched, and loaded again when they change. Default: true.
    pub watch: bool,
}

/// How much correlations may remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Correlations {
    /// Memory for all groups together; over it those that were quiet longest are forgotten. Default: 512MiB; 1MiB to 64GiB.
    pub memory_bytes_max: ByteSize,
    /// How late an event may come after a newer one and be counted in its place. Default: 1m; 0ms to 1d.
    pub lateness_max: Period,
}

/// Health, metrics and the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port. Default: 127.0.0.1:9477, so nobody else on the network sees it.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

/// Bounds on memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A longer line is kept in pieces of this size, marked. Default: 64MiB; 64KiB to 1GiB.
    pub line_bytes_max: ByteSize,
    /// Chunks that may wait between two stages; then the source waits. Default: 4; 1 to 1024.
    #[schemars(range(min = 1, max = 1024))]
    pub lane_chunks_max: NonZeroU16,
}

/// What kustos says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How a line looks. Default: auto.
    pub format: LogFormat,
    /// The least important line that is written. Default: info.
    pub level: LogLevel,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For a person.
    Human,
    /// One JSON object a line.
    Json,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something will fail, or was set aside.
    Warn,
    /// Starts, stops, commits of note.
    #[default]
    Info,
    /// Each step.
    Debug,
    /// Each detail.
    Trace,
}

impl LogLevel {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Where in a configuration something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, when it is known.
    pub line: Option<usize>,
    /// The block, like `sources[1].path`; empty for the top.
    pub block: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if self.block.is_empty() { Ok(()) } else { write!(f, ", {}", self.block) }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or not readable.
    #[error("the configuration {path} could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: std::io::Error,
    },
    /// A key that no block of this name has.
    #[error("{at}: unknown key {key:?}{}", hint(.nearest.as_deref()))]
    UnknownKey {
        /// Where.
        at: Place,
        /// The key.
        key: String,
        /// The known key that it may stand for.
        nearest: Option<String>,
    },
    /// A value of the wrong form, out of its bounds, missing, or no YAML at all.
    #[error("{at}: {why}")]
    Invalid {
        /// Where.
        at: Place,
        /// What is wrong, in words for the one who wrote it.
        why: String,
    },
}

impl Config {
    /// Reads a configuration from a file.
    ///
    /// # Errors
    /// When the file cannot be read, or [`Config::parse`] refuses it.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let read = || -> std::io::Result<String> {
            let mut text = String::new();
            // One byte more than allowed, so that a longer file is seen and not cut.
            std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Config::parse(&text, path)
    }

    /// Reads a configuration from text; `file` is for messages. Pure: no I/O.
    ///
    /// # Errors
    /// When the text is no YAML, a key is unknown, or a value is missing, of the wrong form or
    /// out of its bounds.
    pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
            let why = format!("the file is longer than {}", ByteSize(FILE_BYTES_MAX));
            return Err(invalid(file, "", why));
        }
        let config: Config = yaml_serde::from_str(text).map_err(|it| explain(&it, file))?;
        config.check(file)?;
        Ok(config)
    }

    /// The effective configuration as YAML: every default filled in, every secret masked.
    pub fn shown(&self) -> String {
        let mut shown = self.clone();
        shown.sinks = shown.sinks.iter().map(Settings::masked).collect();
        // Plain values only: writing them cannot fail.
        yaml_serde::to_string(&shown).unwrap_or_default()
    }

    fn check(&self, file: &Path) -> Result<(), ConfigError> {
        let (archive, limits) = (&self.archive, &self.limits);
        if archive.dir.as_os_str().is_empty() {
            return Err(invalid(file, "archive.dir", "it is empty".to_owned()));
        }
        if let Some(replica) = &archive.replica {
            named(file, "archive.replica", replica)?;
        }
        within(file, "archive.keep", archive.keep, KEEP)?;
        within(file, "archive.part_age_max", archive.part_age_max, PART_AGE)?;
        within(file, "archive.segment_age_max", archive.segment_age_max, SEGMENT_AGE)?;
        within(file, "archive.segment_bytes_max", archive.segment_bytes_max, SEGMENT_BYTES)?;
        let correlations = &self.correlations;
        let memory = correlations.memory_bytes_max;
        within(file, "correlations.memory_bytes_max", memory, MEMORY_BYTES)?;
        within(file, "correlations.lateness_max", correlations.lateness_max, LATENESS)?;
        within(file, "limits.line_bytes_max", limits.line_bytes_max, LINE_BYTES)?;
        let least = NonZeroU16::MIN.get();
        let workers = self.workers.map_or(least, NonZeroU16::get);
        within(file, "workers", workers, (least, WORKERS_MAX))?;
        let chunks = limits.lane_chunks_max.get();
        within(file, "limits.lane_chunks_max", chunks, (least, LANE_CHUNKS_MAX))?;
        if let Some(why) = placeholders::unusable(&self.placeholders) {
            return Err(invalid(file, "placeholders", why));
        }
        self.check_names(file)?;
        self.check_webhooks(file)
    }

    fn check_webhooks(&self, file: &Path) -> Result<(), ConfigError> {
        let mut before: Vec<&WebhookSource> = Vec::new();
        for (at, source) in self.sources.iter().enumerate() {
            let Source::Webhook(source) = source else { continue };
            let clash = || before.iter().find_map(|it| source.clash(it));
            if let Some((key, why)) = source.flaw(self.archive.part_age_max).or_else(clash) {
                return Err(invalid(file, &format!("sources[{at}].{key}"), why));
            }
            before.push(source);
        }
        Ok(())
    }

    fn check_names(&self, file: &Path) -> Result<(), ConfigError> {
        let mut sources = BTreeSet::new();
        for (at, source) in self.sources.iter().enumerate() {
            named(file, &format!("sources[{at}].cluster"), source.cluster())?;
            let block = format!("sources[{at}].silence_max");
            within(file, &block, source.silence_max(), SILENCE)?;
            if let Source::Kafka(kafka) = source
                && let Some((key, why)) = kafka.wrong()
            {
                return Err(invalid(file, &format!("sources[{at}].{key}"), why));
            }
            if let Source::File(log) = source {
                let block = format!("sources[{at}].rotation.headroom_min");
                within(file, &block, log.rotation.headroom_min, HEADROOM)?;
            }
            if !sources.insert(source.name()) {
                let why = format!("there are two sources {:?}", source.name());
                return Err(invalid(file, &format!("sources[{at}]"), why));
            }
        }
        let mut sinks = BTreeSet::new();
        for (at, sink) in self.sinks.iter().enumerate() {
            named(file, &format!("sinks[{at}].name"), sink.name())?;
            if !sinks.insert(sink.name()) {
                let why = format!("there are two sinks {:?}; give one a `name`", sink.name());
                return Err(invalid(file, &format!("sinks[{at}]"), why));
            }
        }
        Ok(())
    }
}

impl Archive {
    /// The folder that replicas share; `None`: this one is alone.
    pub fn shared(&self) -> Option<&Path> {
        self.replica.as_ref().map(|_| &*self.dir)
    }
}

impl Source {
    /// The cluster its events are of.
    pub fn cluster(&self) -> &str {
        match self {
            Source::File(it) => &it.cluster,
            Source::Webhook(it) => &it.cluster,
            Source::Kafka(it) => &it.cluster,
        }
    }

    /// Nothing from it for longer than that is a finding; zero: never.
    pub fn silence_max(&self) -> Period {
        match self {
            Source::File(it) => it.silence_max,
            Source::Webhook(it) => it.silence_max,
            Source::Kafka(it) => it.silence_max,
        }
    }

    /// The name that metrics and findings know it by.
    pub fn name(&self) -> String {
        match self {
            Source::File(it) => it.name.clone().unwrap_or_else(|| it.path.display().to_string()),
            Source::Webhook(it) => it.name(),
            Source::Kafka(it) => {
                it.name.clone().unwrap_or_else(|| format!("kafka:{}", it.topics.join(",")))
            }
        }
    }
}

/// The JSON Schema of the file. What only a kind of sink knows is not in it.
pub fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

fn invalid(file: &Path, block: &str, why: String) -> ConfigError {
    let at = Place { file: file.to_owned(), line: None, block: block.to_owned() };
    ConfigError::Invalid { at, why }
}

/// Refuses a value outside its named bounds.
fn within<T: PartialOrd + fmt::Display>(
    file: &Path,
    block: &str,
    value: T,
    (least, most): (T, T),
) -> Result<(), ConfigError> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(invalid(file, block, format!("{value} is not within {least} and {most}")))
}

fn named(file: &Path, block: &str, name: &str) -> Result<(), ConfigError> {
    misnamed(name).map_or(Ok(()), |why| Err(invalid(file, block, why)))
}

/// Why that is no name of a cluster, a source or a sink; `None`: it is one. Names become folders,
/// metric labels and parts of message ids.
pub fn misnamed(name: &str) -> Option<String> {
    let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    let good = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(plain)
        && !name.starts_with('.');
    (!good).then(|| {
        format!(
            "{name:?} is no name; use 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, -, _ and ., not first a ."
        )
    })
}

/// Turns the parser's words into ours: place first, then what is wrong.
fn explain(error: &yaml_serde::Error, file: &Path) -> ConfigError {
    let text = error.to_string();
    let line = error.location().map(|it| it.line());
    let text = text.split(" at line ").next().unwrap_or(&text);
    let (block, why) = match text.split_once(": ") {
        Some((block, why)) if is_block(block) => (block, why),
        _ => ("", text),
    };
    let at = Place { file: file.to_owned(), line, block: block.to_owned() };
    match unknown_key(why) {
        Some((key, nearest)) => ConfigError::UnknownKey { at, key, nearest },
        None => ConfigError::Invalid { at, why: why.to_owned() },
    }
}

/// Whether it is a path like `archive` or `sources[1].path`, and no part of a message.
fn is_block(text: &str) -> bool {
    let part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '[' | ']');
    !text.is_empty() && text.chars().all(part)
}

/// The key, and the nearest known one, of serde's message about a field it does not know.
fn unknown_key(message: &str) -> Option<(String, Option<String>)> {
    let (_, rest) = message.split_once("unknown field `")?;
    let (key, expected) = rest.split_once('`')?;
    // "expected `a` or `b`", "expected one of `a`, `b`": every second piece is a name.
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    Some((key.to_owned(), nearest(key, &known)))
}

/// The known word that a misspelt one most likely stands for.
pub fn nearest(word: &str, known: &[&str]) -> Option<String> {
    /// Half the letters may be wrong, no more: a worse guess misleads.
    const WRONG_OF_LETTERS: usize = 2;
    known
        .iter()
        .map(|it| (strsim::damerau_levenshtein(word, it), *it))
        .filter(|(wrong, it)| wrong * WRONG_OF_LETTERS <= it.len().max(word.len()))
        .min()
        .map(|(_, it)| it.to_owned())
}

/// The end of a message about an unknown word.
pub fn hint(nearest: Option<&str>) -> String {
    nearest.map(|it| format!("; did you mean {it:?}?")).unwrap_or_default()
}

fn standard() -> Vec<Rules> {
    vec![Rules::Shipped(Profile::Standard)]
}

fn keep() -> Period {
    Period::days(2_192)
}

fn part_age_max() -> Period {
    Period::secs(1)
}

fn segment_age_max() -> Period {
    Period::secs(15 * 60)
}

/// The default of every kind of source: the components of a cluster alone write an event every few seconds.
fn silence_max() -> Period {
    Period::secs(3_600)
}

fn segment_bytes_max() -> ByteSize {
    ByteSize::mib(1 << 10)
}

impl Default for Reload {
    fn default() -> Reload {
        Reload { watch: true }
    }
}

impl Default for Correlations {
    fn default() -> Correlations {
        Correlations { memory_bytes_max: ByteSize::mib(512), lateness_max: Period::secs(60) }
    }
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation {
            max_size: ByteSize::mib(100),
            max_backups: 100,
            max_age: Period::days(366),
            headroom_min: Period::secs(600),
        }
    }
}

impl Default for Http {
    fn default() -> Http {
        Http { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9477)) }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line_bytes_max: ByteSize::mib(64),
            lane_chunks_max: NonZeroU16::MIN.saturating_add(3),
        }
    }
}

impl From<String> for Rules {
    fn from(text: String) -> Rules {
        text.parse().map_or_else(|_| Rules::Path(PathBuf::from(text)), Rules::Shipped)
    }
}

impl From<Rules> for String {
    fn from(rules: Rules) -> String {
        match rules {
            Rules::Shipped(profile) => profile.to_string(),
            Rules::Path(path) => path.display().to_string(),
        }
    }
}

impl JsonSchema for Rules {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rules".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "`minimal`, `standard`, `hipaa` or `paranoid`: shipped rules; or the path of a rule file or folder",
            "examples": ["standard", "/etc/kustos/rules"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "archive: { dir: /var/lib/kustos }
sources:
  - { kind: file, cluster: prod-eu, path: /var/log/kubernetes/audit/audit.log }
rules: [standard, /etc/kustos/rules]
sinks:
  - { kind: webhook, name: oncall, url_file: /etc/kustos/oncall-url, min_level: high }
";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("kustos.yaml")).map_err(|it| it.to_string())
    }

    #[test]
    fn the_smallest_useful_file_is_read_and_its_defaults_are_filled_in() {
        let config = parse(SMALLEST).unwrap();
        assert_eq!(config.archive.keep, Period::days(2192));
        let standard = Rules::Shipped(Profile::Standard);
        assert_eq!(config.rules, [standard.clone(), Rules::Path("/etc/kustos/rules".into())]);
        assert_eq!(config.sinks.first().unwrap().name(), "oncall");
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:9477");
        assert_eq!(parse("archive: {dir: a}").unwrap().rules, [standard]);
    }

    #[test]
    fn rule_matching_is_all_unless_it_is_said_to_be_first() {
        let matching = |text: &str| parse(text).map(|it| it.falco.rule_matching);
        assert_eq!(matching("archive: {dir: a}"), Ok(RuleMatching::All));
        let first = "archive: {dir: a}\nfalco: {rule_matching: first}\n";
        assert_eq!(matching(first), Ok(RuleMatching::First));
        let error = matching(&first.replace("first", "last")).unwrap_err();
        assert!(error.contains("last"), "{error}");
        let error = "last".parse::<RuleMatching>().unwrap_err().to_string();
        assert_eq!(error, "unknown rule matching \"last\": all or first");
    }

    #[test]
    fn what_is_shown_reads_as_the_same_configuration() {
        let config = parse(SMALLEST).unwrap();
        assert_eq!(parse(&config.shown()).unwrap(), config);
        assert!(config.shown().contains("keep: 2192d"), "{}", config.shown());
    }

    #[test]
    fn a_mistake_is_refused_with_its_place() {
        for (text, want) in [
            (
                "archive:\n  dir: a\n  kep: 6y\n",
                r#"kustos.yaml, line 3, archive: unknown key "kep"; did you mean "keep"?"#,
            ),
            (
                "archvie: {dir: a}",
                r#"kustos.yaml, line 1: unknown key "archvie"; did you mean "archive"?"#,
            ),
            ("archive: {dir: a}\nzzz: 1", r#"kustos.yaml, line 2: unknown key "zzz""#),
            ("", "kustos.yaml, line 1: missing field `archive`"),
            (
                "archive: {dir: a, part_age_max: 5}",
                r#"kustos.yaml, line 1, archive.part_age_max: "5" is no span of time; write it like "15m""#,
            ),
            (
                "archive: {dir: a, part_age_max: 2h}",
                "kustos.yaml, archive.part_age_max: 2h is not within 10ms and 1m",
            ),
            (
                "archive: {dir: a}\nworkers: 5000",
                "kustos.yaml, workers: 5000 is not within 1 and 1024",
            ),
            (
                "archive: {dir: a}\nplaceholders: {admins: []}",
                r#"kustos.yaml, placeholders: "admins" stands for nothing; give it a value"#,
            ),
            (
                "archive: {dir: a}\nsources: [{kind: kafak, cluster: a}]",
                "kustos.yaml, line 2, sources[0].kind: unknown variant `kafak`, expected one of `file`, `webhook`, `kafka`",
            ),
            (
                "archive: {dir: a}\nsources: [{kind: kafka, cluster: a, brokers: [], topics: [t]}]",
                "kustos.yaml, sources[0].brokers: give at least one broker, as host:port",
            ),
            (
                "archive: {dir: a}\nsources: [{kind: file, cluster: a/b, path: p}]",
                r#"kustos.yaml, sources[0].cluster: "a/b" is no name; use 1 to 63 of a-z, A-Z, 0-9, -, _ and ., not first a ."#,
            ),
            (
                "archive: {dir: a}\nsinks: [{kind: x}, {kind: x}]",
                r#"kustos.yaml, sinks[1]: there are two sinks "x"; give one a `name`"#,
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), want, "{text}");
        }
        assert!(parse("archive: [").unwrap_err().starts_with("kustos.yaml, line "));
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let long = format!("archive: {{dir: a}}\n#{}", "x".repeat(1 << 20));
        assert_eq!(parse(&long).unwrap_err(), "kustos.yaml: the file is longer than 1MiB");
    }

    #[test]
    fn a_guess_that_is_mostly_wrong_is_not_made() {
        assert_eq!(nearest("lvl", &["level", "format"]).as_deref(), Some("level"));
        assert_eq!(nearest("zzz", &["level", "format"]), None);
    }
}
