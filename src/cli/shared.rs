//! What several commands take: rules, inputs, a way to be stopped.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::output::counted;
use crate::archive::catalog::Scope;
use crate::archive::replicas;
use crate::cause;
use crate::config::{Config, Profile, RuleMatching, Rules};
use crate::pipeline::Stop;
use crate::pipeline::stop::spawn;
use crate::query::time;
use crate::rules::{self, LoadOptions, Placeholders, RuleSet};
use crate::source::find::{ENDINGS, inputs};
use crate::source::open::Input;

/// How soon after the first a second signal counts: a terminal and a supervisor may send one each.
const SECOND_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// What a build without the feature says of a Kafka source.
#[cfg(not(feature = "kafka"))]
pub const NO_KAFKA: &str =
    "this kustos was built without Kafka: build it with the feature \"kafka\"";

/// The command was used wrongly.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Which rules to load.
#[derive(Debug, Clone, clap::Args)]
pub struct RuleArgs {
    /// Rule file or folder; may be repeated. Left out: the shipped rules of the profile.
    #[arg(long = "rules", value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// Shipped rules to load, beside those of --rules: minimal, standard, hipaa or paranoid [default: standard where --rules
    /// is left out, else none].
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<Profile>,
    /// Leave broken rules out and say so, instead of refusing all.
    #[arg(long)]
    pub lenient: bool,
    #[command(flatten)]
    placeholders: PlaceholderArgs,
    /// Which of the Falco rules that match an event fire: all, or the first one alone.
    #[arg(long = "falco-rule-matching", value_name = "all|first", default_value = "all")]
    pub rule_matching: RuleMatching,
}

/// What placeholders in Sigma rules stand for.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PlaceholderArgs {
    /// YAML file that says what placeholders (`%name%`) stand for, those of shipped rules too: names, each
    /// with a list; a name with `+` behind it adds to the list that is there.
    #[arg(long = "placeholders", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
}

impl PlaceholderArgs {
    /// Reads them.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub fn read(&self) -> Result<Placeholders> {
        Ok(self.file.as_deref().map(rules::placeholders).transpose()?.unwrap_or_default())
    }
}

impl RuleArgs {
    /// Loads them; what is left out is logged.
    ///
    /// # Errors
    /// When a rule is broken and this is not lenient.
    pub fn load(&self) -> Result<Arc<RuleSet>> {
        self.load_or(Profile::default())
    }

    /// Loads them, where neither paths nor a profile are named the shipped ones of `otherwise`.
    ///
    /// # Errors
    /// When a rule is broken and this is not lenient.
    pub fn load_or(&self, otherwise: Profile) -> Result<Arc<RuleSet>> {
        let shipped = self.profile.or_else(|| self.paths.is_empty().then_some(otherwise));
        let lenient = self.lenient;
        let (placeholders, rule_matching) = (self.placeholders.read()?, self.rule_matching);
        load(&self.paths, &LoadOptions { lenient, shipped, placeholders, rule_matching })
    }
}

/// Which inputs to read.
#[derive(Debug, Clone, clap::Args)]
pub struct InputArgs {
    /// Files, folders or `-` for standard input; plain, gzip or zstd.
    #[arg(required = true, value_name = "FILE|DIR|-", value_hint = clap::ValueHint::AnyPath)]
    inputs: Vec<PathBuf>,
}

impl InputArgs {
    /// Finds them. None is wrong usage: a folder that was misspelt must not look like a cluster
    /// in which nothing happened.
    ///
    /// # Errors
    /// When a path is not there, a folder cannot be read, or none of them holds a log.
    pub fn find(&self) -> Result<Vec<Input>> {
        let found = inputs(&self.inputs)?;
        if found.is_empty() {
            let named = listed(&self.inputs);
            let endings = ENDINGS.join(", .");
            let why =
                format!("no log was found in {named}: no file there ends in one of .{endings}");
            return Err(Usage(why).into());
        }
        Ok(found)
    }
}

/// Which archives to read.
#[derive(Debug, Clone, clap::Args)]
pub struct ArchiveArgs {
    /// An archive's folder, or one that replicas share; may be repeated.
    #[arg(long = "archive", required = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dirs: Vec<PathBuf>,
}

impl ArchiveArgs {
    /// Finds them, each once.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn find(&self) -> Result<Vec<PathBuf>> {
        Ok(replicas::archives(&self.dirs)?)
    }
}

/// Says how many events were left out because several archives hold them; `or_else` is what may be done about it.
pub fn tell_copies(copies: u64, or_else: &str, out: &mut dyn Write) -> std::io::Result<()> {
    if copies == 0 {
        return Ok(());
    }
    let count = counted(copies, "copy").replace("copys", "copies");
    writeln!(out, "left out {count} of events that another of the archives holds{or_else}")
}

/// Which events of an archive to look at.
#[derive(Debug, Clone, clap::Args)]
pub struct ScopeArgs {
    /// Only events since then: an age (90s, 2h, 7d), a UTC date, `today`, or RFC 3339.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events before then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only events of this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

impl ScopeArgs {
    /// What they mean at `now`, µs.
    ///
    /// # Errors
    /// When a time is not understood; the flag is named.
    pub fn scope(&self, now: i64) -> Result<Scope, Usage> {
        let at = |flag: &str, text: &Option<String>| {
            let moment = text.as_deref().map(|it| time::moment(it, now)).transpose();
            moment.map_err(|error| Usage(format!("{flag}: {}", cause::line(&error))))
        };
        Ok(Scope {
            since: at("--since", &self.since)?,
            until: at("--until", &self.until)?,
            cluster: self.cluster.clone(),
            wanted: None,
        })
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
        return Err(Usage(format!("no rule was found in {}", listed(paths))).into());
    }
    Ok(Arc::new(loaded.rules))
}

/// Paths as a message names them.
fn listed(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|it| it.display().to_string()).collect();
    names.join(", ")
}

/// The rules that a configuration names: their paths, and which of the shipped ones.
pub fn configured(config: &Config) -> (Vec<PathBuf>, LoadOptions) {
    let path = |it: &Rules| match it {
        Rules::Shipped(_) => None,
        Rules::Path(path) => Some(path.clone()),
    };
    let profiles = config.rules.iter().filter_map(|it| match it {
        Rules::Shipped(profile) => Some(*profile),
        Rules::Path(_) => None,
    });
    // The largest has what the others have.
    let shipped = profiles.max();
    let rule_matching = config.falco.rule_matching;
    let placeholders = config.placeholders.clone();
    (
        config.rules.iter().filter_map(path).collect(),
        LoadOptions { lenient: false, shipped, placeholders, rule_matching },
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
            let mut signal = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            signal().await;
            asked.ask();
            let same = async {
                loop {
                    signal().await;
                }
            };
            tokio::time::timeout(SECOND_AFTER, same).await.unwrap_or(());
            signal().await;
            std::process::exit(130);
        });
    });
    Ok(stop)
}

/// Calls `body`, on a thread of its own, for each SIGHUP. From here on none ends the process.
///
/// # Errors
/// When the signal cannot be listened to.
pub fn on_hangup(body: impl Fn() + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
        .context("signals")?;
    drop(guard);
    spawn("hangup", move || {
        runtime.block_on(async {
            while hangup.recv().await.is_some() {
                body();
            }
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_searched_for_every_ending_that_is_named_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        crate::durable::write(&dir.path().join("notes.txt"), b"").unwrap();
        let args = InputArgs { inputs: vec![dir.path().to_owned()] };
        assert!(args.find().unwrap_err().is::<Usage>());
        for ending in ENDINGS {
            crate::durable::write(&dir.path().join(format!("audit.{ending}")), b"").unwrap();
        }
        assert_eq!(args.find().unwrap().len(), ENDINGS.len());
    }
}
