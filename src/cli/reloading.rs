//! The rules of `kustos run`, loaded again: who asks for it, and whom it is told.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};

use super::shared::on_hangup;
use crate::archive::catalog::Catalog;
use crate::clock::Clock;
use crate::event::write_micros;
use crate::metrics::Metrics;
use crate::pipeline::Stop;
use crate::pipeline::in_force::InForce;
use crate::pipeline::reload::{ReloadError, Reloaded, Reloader, Trigger};
use crate::pipeline::stop::spawn;
use crate::pipeline::watch::{Look, watch};
use crate::rules::LoadOptions;
use crate::serve::Answer;

/// Where every attempt is told: the log, the metrics, and [`Reloading::status`].
pub(super) struct Teller {
    /// The metrics.
    pub(super) metrics: Metrics,
    /// The rules in force.
    pub(super) rules: InForce,
    /// Tells the time.
    pub(super) clock: Arc<dyn Clock>,
}

/// Loads the rules again when a file changes, at SIGHUP, and when HTTP asks for it.
pub(super) struct Reloading {
    reloader: Arc<Reloader>,
    last: Arc<Mutex<Value>>,
}

impl Reloading {
    /// Of the rules that these paths and options name.
    pub(super) fn new(named: (Vec<PathBuf>, LoadOptions), dir: &Path, teller: Teller) -> Reloading {
        let last = Arc::new(Mutex::new(Value::Null));
        let (rules, told) = (teller.rules.clone(), Arc::clone(&last));
        let tell = Box::new(move |trigger, result: &Result<Reloaded, ReloadError>| {
            teller.tell(trigger, result);
            let mut attempt = json(result);
            if let Some(attempt) = attempt.as_object_mut() {
                let mut time = Vec::new();
                write_micros(teller.clock.now(), &mut time);
                attempt.insert("time".to_owned(), String::from_utf8_lossy(&time).into());
                attempt.insert("trigger".to_owned(), trigger.as_str().into());
            }
            *told.lock().unwrap_or_else(PoisonError::into_inner) = attempt;
        });
        Reloading { reloader: Arc::new(Reloader::new(named, dir, rules, tell)), last }
    }

    /// Listens to SIGHUP, and watches the files that looked like that when they were loaded.
    ///
    /// # Errors
    /// When the signal cannot be listened to.
    pub(super) fn start(&self, seen: Option<Look>, stop: &Stop) -> Result<()> {
        let reloader = Arc::clone(&self.reloader);
        // Whatever it came to was told.
        on_hangup(move || drop(reloader.reload(Trigger::Signal)))?;
        if let Some(seen) = seen {
            let (reloader, stop) = (Arc::clone(&self.reloader), stop.clone());
            drop(spawn("rules", move || watch(&reloader, seen, &stop)));
        }
        Ok(())
    }

    /// What `POST /api/v1/reload` does.
    pub(super) fn answer(&self) -> Arc<dyn Fn() -> Answer + Send + Sync> {
        let reloader = Arc::clone(&self.reloader);
        Arc::new(move || {
            let result = reloader.reload(Trigger::Api);
            match &result {
                Ok(_) => Answer::Done(json(&result)),
                Err(error) if error.is_of_rules() => Answer::Refused(json(&result)),
                Err(_) => Answer::Failed(json(&result)),
            }
        })
    }

    /// What `/api/v1/status` says of the archive and the rules.
    pub(super) fn status(&self, dir: &Path) -> Arc<dyn Fn() -> Value + Send + Sync> {
        let (dir, last) = (dir.to_owned(), Arc::clone(&self.last));
        let rules = self.reloader.in_force.clone();
        Arc::new(move || {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let rules = rules.rules();
            let mut status = status(&dir);
            if let Some(status) = status.as_object_mut() {
                let rules =
                    json!({"ruleset": rules.hash(), "rules": rules.len(), "last_reload": last});
                status.insert("rules".to_owned(), rules);
            }
            status
        })
    }
}

impl Teller {
    fn tell(&self, trigger: Trigger, result: &Result<Reloaded, ReloadError>) {
        let trigger = trigger.as_str();
        match result {
            Ok(it) => {
                for warning in &it.warnings {
                    tracing::warn!("{warning}");
                }
                self.metrics.set_ruleset(&it.ruleset, it.rules);
                self.metrics.reloaded(outcome(it));
                let (rules, ruleset) = (it.rules, &it.ruleset);
                tracing::info!(
                    trigger,
                    rules,
                    ruleset,
                    "the rules were loaded again: {}",
                    outcome(it)
                );
            }
            Err(error) => {
                self.metrics.reloaded("failed");
                for line in error.lines() {
                    tracing::error!("{line}");
                }
                let ruleset = self.rules.rules().hash().to_owned();
                tracing::error!(
                    trigger,
                    ruleset,
                    "the rules were not loaded again; those before them stay in force"
                );
            }
        }
    }
}

fn outcome(reloaded: &Reloaded) -> &'static str {
    if reloaded.changed { "reloaded" } else { "unchanged" }
}

fn json(result: &Result<Reloaded, ReloadError>) -> Value {
    match result {
        Ok(it) => json!({
            "outcome": outcome(it), "ruleset": it.ruleset, "rules": it.rules, "warnings": it.warnings,
        }),
        Err(error) => json!({ "outcome": "failed", "errors": error.lines() }),
    }
}

/// What `/api/v1/status` says of the archive.
fn status(dir: &Path) -> Value {
    let read = || -> Result<Value> {
        let catalog = Catalog::open(dir)?;
        let files = catalog.files(&crate::archive::catalog::Scope::default())?;
        let outbox = catalog.outbox_counts()?;
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "events": files.iter().map(|it| it.rows).sum::<u64>(),
            "bytes_in": files.iter().map(|it| it.bytes_in).sum::<u64>(),
            "bytes_stored": files.iter().map(|it| it.bytes_stored).sum::<u64>(),
            "files": files.len(),
            "outbox": {"pending": outbox.pending, "sent": outbox.sent, "dead": outbox.dead},
        }))
    };
    read().unwrap_or_else(|error| json!({"error": format!("{error:#}")}))
}
