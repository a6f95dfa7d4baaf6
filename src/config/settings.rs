//! One block of `sinks:` -> the settings its kind reads, and the secrets it names.
//!
//! One rule: a secret is read when it is used, so that a rotated one counts without a restart,
//! and no `Debug`, error or output of this file shows one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A secret longer than this is a wrong file.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// Words in a key whose value is not shown.
const SECRET_WORDS: [&str; 5] = ["token", "password", "secret", "key", "header"];

/// One destination. What is not named here is its kind's, and unread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Which kind of destination it is.
    pub kind: String,
    /// Its name in metrics, messages and the outbox. Default: the kind. A message that waits in
    /// the outbox waits for this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The lowest level that is sent there. Default: informational, so everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_level: Option<String>,
    /// What only the kind can read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: BTreeMap<String, Value>,
}

/// Why a kind could not read its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A key the kind does not know.
    #[error("unknown key {key:?}{}", super::hint(.nearest.as_deref()))]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that it may stand for.
        nearest: Option<String>,
    },
    /// A value the kind cannot read, or one that is missing.
    #[error("{0}")]
    Invalid(String),
}

impl Settings {
    /// The name that metrics and the outbox know it by.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.kind)
    }

    /// Reads the kind's own settings. `T` refuses unknown fields.
    ///
    /// # Errors
    /// When a key is unknown, missing, or has a value of the wrong form.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        let rest = self.rest.clone().into_iter().collect();
        serde_json::from_value(Value::Object(rest)).map_err(|error| {
            let text = error.to_string();
            match super::unknown_key(&text) {
                Some((key, nearest)) => SettingsError::UnknownKey { key, nearest },
                None => SettingsError::Invalid(text),
            }
        })
    }

    /// The same with every secret replaced, to be shown.
    pub fn masked(&self) -> Settings {
        let mut shown = self.clone();
        for (key, value) in &mut shown.rest {
            mask(key, value);
        }
        shown
    }
}

/// Hides what must not be shown. A key that only says where a secret is stays.
fn mask(key: &str, value: &mut Value) {
    if key.ends_with("_file") || key.ends_with("_env") {
        return;
    }
    if key == "url" {
        if let Value::String(url) = value {
            *url = masked_url(url);
        }
        return;
    }
    if SECRET_WORDS.iter().any(|it| key.contains(it)) {
        *value = Value::String(MASK.to_owned());
    }
}

/// A URL without the parts that services put their tokens in: user, path and query.
pub fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return MASK.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let hidden = if path.len() > 1 { format!("/{MASK}") } else { String::new() };
    format!("{scheme}://{host}{hidden}")
}

/// Where a secret is. It is not read until it is used.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Written in the configuration itself; shown masked.
    Given(String),
    /// In a file, whose name may hold `${NAME}` of an environment variable.
    File(String),
    /// In an environment variable.
    Env(String),
}

/// Why a secret could not be read. It never holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there, or not readable.
    #[error("the secret file {path} could not be read")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: std::io::Error,
    },
    /// The environment has no such variable.
    #[error("the environment variable {0} is not set")]
    Env(String),
    /// There is nothing in it.
    #[error("the secret in {0} is empty")]
    Empty(String),
    /// It is no secret but some other file.
    #[error("the secret file {0} is longer than {SECRET_BYTES_MAX} bytes")]
    TooLong(PathBuf),
    /// Two places are named, so one of them is wrong.
    #[error("give only one of {0}, {0}_file and {0}_env")]
    Several(&'static str),
}

impl Secret {
    /// Chooses among `key`, `key_file` and `key_env`; `None` when none is given.
    ///
    /// # Errors
    /// When more than one is given.
    pub fn one_of(
        key: &'static str,
        given: Option<String>,
        file: Option<String>,
        env: Option<String>,
    ) -> Result<Option<Secret>, SecretError> {
        let all = [given.map(Secret::Given), file.map(Secret::File), env.map(Secret::Env)];
        let mut all = all.into_iter().flatten();
        let first = all.next();
        if all.next().is_some() {
            return Err(SecretError::Several(key));
        }
        Ok(first)
    }

    /// Reads it, without the white space around it. Blocks as long as the file does.
    ///
    /// # Errors
    /// When it is not there, or empty.
    pub fn read(&self) -> Result<String, SecretError> {
        let text = match self {
            Secret::Given(text) => text.clone(),
            Secret::Env(name) => variable(name)?,
            Secret::File(path) => read_file(PathBuf::from(expand(path)?))?,
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty(format!("{self:?}")));
        }
        Ok(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Given(_) => f.write_str(MASK),
            Secret::File(path) => write!(f, "file {path}"),
            Secret::Env(name) => write!(f, "environment variable {name}"),
        }
    }
}

fn read_file(path: PathBuf) -> Result<String, SecretError> {
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        // One byte more than allowed, so that a longer file is refused and not cut.
        std::fs::File::open(&path)?.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) if u64::try_from(text.len()).unwrap_or(u64::MAX) > SECRET_BYTES_MAX => {
            Err(SecretError::TooLong(path))
        }
        Ok(text) => Ok(text),
        Err(source) => Err(SecretError::File { path, source }),
    }
}

fn variable(name: &str) -> Result<String, SecretError> {
    std::env::var(name).map_err(|_| SecretError::Env(name.to_owned()))
}

/// Replaces every `${NAME}` by that environment variable.
fn expand(text: &str) -> Result<String, SecretError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&variable(name)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        #[expect(dead_code, reason = "only its name is read")]
        timeout: Option<String>,
    }

    fn settings(yaml: &str) -> Settings {
        yaml_serde::from_str(yaml).unwrap()
    }

    #[test]
    fn a_kind_refuses_a_key_it_does_not_know_and_names_the_nearest() {
        let error = settings("{kind: x, timout: 1s}").read::<Own>().unwrap_err();
        assert_eq!(error.to_string(), r#"unknown key "timout"; did you mean "timeout"?"#);
    }

    #[test]
    fn what_can_hold_a_secret_is_not_shown() {
        let shown = settings(
            "{kind: x, url: 'https://me:pw@hooks.example.com:8443/T0/B0/xyz?t=1', token: abc,
              token_file: /run/token, url_env: URL, timeout: 3s}",
        )
        .masked();
        let text = yaml_serde::to_string(&shown).unwrap();
        assert!(text.contains("url: https://hooks.example.com:8443/***\n"), "{text}");
        assert!(text.contains("token: '***'\n"), "{text}");
        assert!(
            text.contains("token_file: /run/token\n") && text.contains("timeout: 3s"),
            "{text}"
        );
        assert!(!text.contains("pw") && !text.contains("xyz") && !text.contains("abc"), "{text}");
        assert_eq!(format!("{:?}", Secret::Given("abc".into())), "***");
    }

    #[test]
    fn a_secret_file_is_read_anew_each_time_and_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let secret = Secret::File(path.display().to_string());
        assert!(matches!(secret.read(), Err(SecretError::File { .. })));
        let put = |text: &str| {
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        put(" one\n");
        assert_eq!(secret.read().unwrap(), "one");
        put("two");
        assert_eq!(secret.read().unwrap(), "two");
        put("\n");
        assert!(matches!(secret.read(), Err(SecretError::Empty(_))));
        put(&"x".repeat(70_000));
        assert!(matches!(secret.read(), Err(SecretError::TooLong(_))));
    }

    #[test]
    fn a_file_name_may_name_a_variable() {
        let home = std::env::var("PATH").unwrap();
        assert_eq!(expand("a/${PATH}/b").unwrap(), format!("a/{home}/b"));
        assert_eq!(expand("a/${open").unwrap(), "a/${open");
        assert!(matches!(expand("${KUSTOS_NOT_SET}"), Err(SecretError::Env(_))));
    }
}
