//! The blocks of `sinks:` -> sinks. No I/O: a secret is only located, a host only named.

use std::sync::Arc;

use super::{KINDS, Named};
use crate::alert::{Level, LevelError};
use crate::config::{SecretError, Settings, SettingsError, hint, nearest};

/// Which sink could not be built.
#[derive(Debug, thiserror::Error)]
#[error("sinks[{at}] {name:?}")]
pub struct BuildError {
    /// Its place in the list.
    pub at: usize,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    #[source]
    pub why: WhyNot,
}

/// Why a sink could not be built.
#[derive(Debug, thiserror::Error)]
pub enum WhyNot {
    /// No such kind.
    #[error("unknown kind {kind:?}{}", hint(.nearest.as_deref()))]
    UnknownKind {
        /// What was written.
        kind: String,
        /// The kind that it may stand for.
        nearest: Option<String>,
    },
    /// `min_level` is no level.
    #[error("min_level: {0}")]
    Level(#[from] LevelError),
    /// A setting is unknown, missing, or has the wrong form.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A secret is named in more than one way.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A setting that cannot be.
    #[error("{key}: {why}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// Builds every sink, in the order of the configuration.
///
/// # Errors
/// For the first one that cannot be built.
pub fn build(sinks: &[Settings]) -> Result<Vec<Named>, BuildError> {
    let one = |(at, settings): (usize, &Settings)| {
        named(settings).map_err(|why| BuildError { at, name: settings.name().to_owned(), why })
    };
    sinks.iter().enumerate().map(one).collect()
}

fn named(settings: &Settings) -> Result<Named, WhyNot> {
    let known: Vec<&str> = KINDS.iter().map(|it| it.name).collect();
    let kind =
        KINDS.iter().find(|it| it.name == settings.kind).ok_or_else(|| WhyNot::UnknownKind {
            kind: settings.kind.clone(),
            nearest: nearest(&settings.kind, &known),
        })?;
    let min_level = match &settings.min_level {
        None => Level::Informational,
        Some(word) => word.parse()?,
    };
    let sink = Arc::from((kind.build)(settings)?);
    Ok(Named { name: settings.name().to_owned(), min_level, sink })
}
