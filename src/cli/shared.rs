//! What several commands take: rules, inputs, a way to be stopped.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::config::{Config, Rules};
use crate::pipeline::Stop;
use crate::pipeline::stop::spawn;
use crate::rules::{self, LoadOptions, RuleSet};

/// The command was used wrongly.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Which rules to load.
#[derive(Debug, Clone, clap::Args)]
pub struct RuleArgs {
    /// Rule file or folder; may be repeated. Left out: the shipped rules.
    #[arg(long = "rules", value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// Leave broken rules out and say so, instead of refusing all.
    #[arg(long)]
    pub lenient: bool,
}

impl RuleArgs {
    /// Loads them; what is left out is logged.
    ///
    /// # Errors
    /// When a rule is broken and this is not lenient.
    pub fn load(&self) -> Result<Arc<RuleSet>> {
        let shipped = self.paths.is_empty();
        load(&self.paths, &LoadOptions { lenient: self.lenient, shipped, ..LoadOptions::default() })
    }
}

/// Loads rules; what is left out, and what is doubtful, is logged.
///
/// # Errors
/// When a rule is broken and this is not lenient, or there is none.
pub fn load(paths: &[PathBuf], options: &LoadOptions) -> Result<Arc<RuleSet>> {
    let loaded = rules::load(paths, options)?;
    for error in &loaded.errors {
        tracing::warn!("left out: {error}");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if loaded.rules.is_empty() {
        let named: Vec<String> = paths.iter().map(|it| it.display().to_string()).collect();
        return Err(Usage(format!("no rule was found in {}", named.join(", "))).into());
    }
    Ok(Arc::new(loaded.rules))
}

/// The rules that a configuration names: their paths, and whether the shipped ones are among them.
pub fn configured(config: &Config) -> (Vec<PathBuf>, LoadOptions) {
    let path = |it: &Rules| match it {
        Rules::Standard => None,
        Rules::Path(path) => Some(path.clone()),
    };
    let shipped = config.rules.contains(&Rules::Standard);
    (
        config.rules.iter().filter_map(path).collect(),
        LoadOptions { shipped, ..LoadOptions::default() },
    )
}

/// A [`Stop`] that is asked at the first interrupt or termination signal; a second one ends the
/// process at once.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn stop_on_signal() -> Result<Stop> {
    let stop = Stop::default();
    let asked = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .context("signals")?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("signals")?;
    drop(guard);
    spawn("signals", move || {
        runtime.block_on(async {
            for code in [None, Some(130)] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                match code {
                    None => asked.ask(),
                    Some(code) => std::process::exit(code),
                }
            }
        });
    });
    Ok(stop)
}
