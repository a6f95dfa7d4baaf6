//! What several commands take: rules, inputs, a way to be stopped.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

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
        load(&self.paths, self.lenient)
    }
}

/// Loads rules from paths, or the shipped ones.
///
/// # Errors
/// When a rule is broken and this is not lenient.
pub fn load(paths: &[PathBuf], lenient: bool) -> Result<Arc<RuleSet>> {
    if paths.is_empty() {
        return Ok(Arc::new(rules::shipped()?));
    }
    let loaded = rules::load(paths, &LoadOptions { lenient, ..LoadOptions::default() })?;
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
