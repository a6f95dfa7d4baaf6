//! `kustos run`: the daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::reloading::{Reloading, Teller};
use super::shared::{configured, load, stop_on_signal};
use super::webhooks::Ports;
use crate::archive::keep::Policy;
use crate::archive::recover::Archive;
use crate::archive::rulesets;
use crate::archive::stored;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, KafkaSource, LogFormat, Profile, Settings};
use crate::detect::Limits;
use crate::metrics::{
    EventLabels, FindingLabels, MarkedLabels, Metrics, SourceLabel, SourceLabels, stage,
};
use crate::pipeline::archivist::{Archivist, Committed, Pace};
use crate::pipeline::daemon::{self, Daemon, Watcher};
use crate::pipeline::headroom::Rotation;
use crate::pipeline::in_force::InForce;
use crate::pipeline::intake::{Note, Observer, Source, SourceName};
use crate::pipeline::lanes::Width;
use crate::pipeline::silence::Expected;
use crate::pipeline::tail::FileSource;
use crate::pipeline::watch::Look;
use crate::pipeline::worker::{Found, Taken};
use crate::rules::RuleSet;
use crate::serve::{self, Part, Readiness, State};
use crate::sink::outbox::{self, Bell};
use crate::sink::{self, Backoff, Named, Routes};
use crate::source::glob;

/// How long the sinks are given to send what is due when the daemon ends.
const DRAIN: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  kustos run --config /etc/kustos/kustos.yaml
  KUSTOS_LOG=debug kustos run

It ends at SIGINT or SIGTERM, after everything that was read is committed. docs/configuration.md
explains the file; `kustos config check` tests it.";

/// Follow the configured sources: detect, alert, archive, serve.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "KUSTOS_CONFIG", default_value = "kustos.yaml")]
    config: PathBuf,
    /// Shipped rules to load in place of those that the configuration names: minimal, standard, hipaa
    /// or paranoid.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,
}

/// Runs the daemon until it is asked to end; gives its exit code.
///
/// # Errors
/// When the configuration or a rule is broken, or the archive cannot be written.
pub fn run(args: &Args) -> Result<u8> {
    let (config, shared) = housed(Config::load(&args.config)?);
    let json = match config.log.format {
        LogFormat::Auto => None,
        LogFormat::Human => Some(false),
        LogFormat::Json => Some(true),
    };
    super::log::start(config.log.level.as_str(), json);
    let sinks = sinks(&config)?;
    let mut named = configured(&config);
    named.1.shipped = args.profile.or(named.1.shipped);
    // Before they are read: a change meanwhile is then seen as one.
    let seen = Look::at(&named.0);
    let rules = load(&named.0, &named.1)?;
    let stop = stop_on_signal()?;
    let metrics = Metrics::new();
    metrics.set_ruleset(rules.hash(), rules.len());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut archivist = archivist(&config, &rules, &sinks, &clock)?;
    let readiness = Readiness::new();
    readiness.set(Part::Rules);
    readiness.set(Part::Archive);
    readiness.set(Part::Sources);
    let rules = InForce::new(rules);
    let teller =
        Teller { metrics: metrics.clone(), rules: rules.clone(), clock: Arc::clone(&clock) };
    let reloading = Reloading::new(named, &config.archive.dir, teller);
    reloading.start(config.reload.watch.then_some(seen), &stop)?;
    let state = State {
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        status: reloading.status(&config.archive.dir),
        reload: reloading.answer(),
    };
    let (serving, outbox) = runtime.block_on(edges(&config, sinks, state, &clock))?;
    let sources = sources(&config, shared.as_deref(), &metrics, &clock)?;
    let told = Told { metrics, readiness, bell: outbox.bell(), clock: Arc::clone(&clock) };
    let width = Width::default();
    let daemon = Daemon {
        dir: config.archive.dir.clone(),
        sources,
        expected: expected(&config),
        rules,
        clock,
        width: Width {
            workers: config.workers.map_or(width.workers, |it| usize::from(it.get())),
            lane_chunks_max: usize::from(config.limits.lane_chunks_max.get()),
            ..width
        },
        stop,
    };
    tracing::info!(http = %serving.address(), sources = daemon.sources.len(), rules = daemon.rules.rules().len(), "running");
    let result = daemon::run(&daemon, &mut archivist, &told);
    runtime.block_on(async {
        if !outbox.stop(DRAIN).await {
            tracing::warn!("not every alert was sent; the rest is sent after the next start");
        }
        serving.stop().await;
    });
    result?;
    tracing::info!("everything that was read is committed");
    Ok(0)
}

/// The configured sinks; standard output where there is none, so that alerts are never unseen.
fn sinks(config: &Config) -> Result<Vec<Named>> {
    let printing = [Settings {
        kind: "stdout".to_owned(),
        name: None,
        min_level: None,
        rest: Default::default(),
    }];
    let settings = if config.sinks.is_empty() { &printing[..] } else { &config.sinks };
    sink::build(settings)
        .map_err(|error| super::shared::Usage(format!("{:#}", anyhow::Error::from(error))).into())
}

/// The configuration with this replica's own archive in the place of the folder it shares, and that folder.
fn housed(mut config: Config) -> (Config, Option<PathBuf>) {
    let Some(replica) = &config.archive.replica else { return (config, None) };
    let home = stored::replica_path(&config.archive.dir, replica);
    let shared = std::mem::replace(&mut config.archive.dir, home);
    (config, Some(shared))
}

fn sources(
    config: &Config,
    shared: Option<&Path>,
    metrics: &Metrics,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Box<dyn Source>>> {
    let ports = Ports::new(config, metrics, clock);
    let line_bytes_max = usize::try_from(config.limits.line_bytes_max.0).unwrap_or(usize::MAX);
    let source = |it: &config::Source| -> Result<Box<dyn Source>> {
        let name = SourceName { cluster: it.cluster().into(), name: it.name().into() };
        match it {
            config::Source::File(it) => {
                let rotation = Rotation {
                    max_size: it.rotation.max_size.0,
                    max_backups: it.rotation.max_backups,
                    max_age: it.rotation.max_age.0,
                    headroom_min: it.rotation.headroom_min.0,
                };
                Ok(Box::new(FileSource { name, path: it.path.clone(), line_bytes_max, rotation }))
            }
            config::Source::Kafka(it) => kafka(name, it, shared),
            config::Source::Webhook(it) => Ok(Box::new(ports.source(it, name))),
        }
    };
    config.sources.iter().map(source).collect()
}

/// The sources whose silence is to be told.
fn expected(config: &Config) -> Vec<Expected> {
    let expected = |it: &config::Source| {
        let name = SourceName { cluster: it.cluster().into(), name: it.name().into() };
        let streams = glob::literal(&it.name()).to_owned();
        Expected { name, streams, silence_max: it.silence_max().0 }
    };
    config.sources.iter().map(expected).filter(|it| !it.silence_max.is_zero()).collect()
}

#[cfg(feature = "kafka")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn kafka(name: SourceName, it: &KafkaSource, shared: Option<&Path>) -> Result<Box<dyn Source>> {
    let shared = shared.map(Path::to_owned);
    Ok(Box::new(crate::pipeline::kafka::KafkaSource { name, config: it.clone(), shared }))
}

#[cfg(not(feature = "kafka"))]
fn kafka(_: SourceName, _: &KafkaSource, _: Option<&Path>) -> Result<Box<dyn Source>> {
    Err(super::shared::Usage(super::shared::NO_KAFKA.to_owned()).into())
}

fn archivist(
    config: &Config,
    rules: &RuleSet,
    sinks: &[Named],
    clock: &Arc<dyn Clock>,
) -> Result<Archivist> {
    let archive = Archive::open(&config.archive.dir)?;
    rulesets::keep(&archive.dir, rules.hash(), rules.texts())?;
    let policy = Policy {
        segment_bytes_max: config.archive.segment_bytes_max.0,
        segment_age_max: config.archive.segment_age_max.0,
        keep: config.archive.keep.0,
        ruleset: Some(rules.hash().to_owned()),
        ..Policy::default()
    };
    let routes = Routes::of(sinks);
    let routes = Arc::new(move |it: &crate::detect::Finding| routes.sinks_for(it.rule.level));
    let pace = Pace::Live(config.archive.part_age_max.0);
    let limits = Limits {
        bytes_max: usize::try_from(config.correlations.memory_bytes_max.0).unwrap_or(usize::MAX),
        lateness: i64::try_from(config.correlations.lateness_max.0.as_micros()).unwrap_or(i64::MAX),
        ..Limits::default()
    };
    let archivist = Archivist::new(archive, Arc::clone(clock), policy, routes, pace)?;
    Ok(archivist.with_limits(limits).sealing_aside())
}

/// Starts what runs on tokio: the HTTP port and the sinks.
async fn edges(
    config: &Config,
    sinks: Vec<Named>,
    state: State,
    clock: &Arc<dyn Clock>,
) -> Result<(serve::Serving, outbox::Outbox)> {
    let metrics = state.metrics.clone();
    let serving = serve::start(config.http.listen, state).await?;
    let start = outbox::Start {
        dir: config.archive.dir.clone(),
        sinks,
        metrics,
        clock: Arc::clone(clock),
        backoff: Backoff::default(),
    };
    Ok((serving, outbox::start(start).context("the outbox could not be opened")?))
}

/// Tells metrics, health and the sinks of the daemon's work.
struct Told {
    metrics: Metrics,
    readiness: Readiness,
    bell: Bell,
    clock: Arc<dyn Clock>,
}

impl Observer for Told {
    fn lag(&self, source: &SourceName, bytes: u64) {
        let label = SourceLabel { source: source.name.to_string() };
        self.metrics
            .source_lag_bytes
            .get_or_create(&label)
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn behind(&self, source: &SourceName, records: Option<u64>) {
        let label = SourceLabel { source: source.name.to_string() };
        let lag = self.metrics.source_lag_records.get_or_create(&label);
        lag.set(i64::try_from(records.unwrap_or_default()).unwrap_or(i64::MAX));
    }

    fn note(&self, source: &SourceName, note: Note) {
        let counter = match note {
            Note::Empty => &self.metrics.source_records_empty,
            Note::Unnamed => &self.metrics.source_records_unnamed,
        };
        counter.get_or_create(&SourceLabel { source: source.name.to_string() }).inc();
    }

    fn state(&self, source: &SourceName, failure: Option<&str>) {
        match failure {
            None => self.readiness.set(Part::Sources),
            Some(why) => self.readiness.unset(Part::Sources, format!("{}: {why}", source.name)),
        }
    }

    fn headroom(&self, source: &SourceName, seconds: f64) {
        let label = SourceLabel { source: source.name.to_string() };
        self.metrics.source_headroom_seconds.get_or_create(&label).set(seconds);
    }

    fn nul_bytes(&self, source: &SourceName, bytes: u64) {
        let label = SourceLabel { source: source.name.to_string() };
        self.metrics.source_nul_bytes.get_or_create(&label).inc_by(bytes);
    }
}

impl Watcher for Told {
    fn taken(&self, taken: &Taken) {
        let (source, cluster) = (taken.stream.name.to_string(), taken.stream.cluster.to_string());
        for (word, count) in &taken.counts.stages {
            let label = EventLabels {
                source: source.clone(),
                cluster: cluster.clone(),
                stage: stage(word).to_owned(),
            };
            self.metrics.events.get_or_create(&label).inc_by(*count);
        }
        for (flaw, count) in &taken.counts.marked {
            let label = MarkedLabels { cluster: cluster.clone(), reason: flaw.to_string() };
            self.metrics.lines_marked.get_or_create(&label).inc_by(*count);
        }
        let label = SourceLabels { source, cluster };
        self.metrics.bytes.get_or_create(&label).inc_by(taken.counts.bytes);
        self.metrics.events_duplicate.get_or_create(&label).inc_by(taken.counts.duplicates);
        self.metrics.bodies_unread.inc_by(taken.counts.bodies_unread);
        if !taken.findings.is_empty() {
            self.found(&taken.findings);
        }
    }

    fn found(&self, found: &[Found]) {
        for Found { rule, level } in found {
            let label = FindingLabels { rule: rule.clone(), level: level.clone() };
            self.metrics.findings.get_or_create(&label).inc();
        }
        self.bell.ring();
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in seconds needs no more than 52 bits")]
    fn committed(&self, committed: &Committed) {
        self.metrics.parts_committed.inc_by(committed.parts as u64);
        self.metrics.segments_sealed.inc_by(committed.segments as u64);
        self.metrics.commit_seconds.observe(committed.took.as_secs_f64());
        self.metrics.last_commit_timestamp_seconds.set(self.clock.now() as f64 / 1e6);
        let it = &committed.correlated;
        self.metrics.correlation_groups.set(i64::try_from(it.groups).unwrap_or(i64::MAX));
        self.metrics.correlation_bytes.set(i64::try_from(it.bytes).unwrap_or(i64::MAX));
        self.metrics.correlation_groups_evicted.inc_by(it.evicted);
        self.metrics.correlation_events_late.inc_by(it.late);
        self.metrics.correlation_events_dropped.inc_by(it.dropped);
        self.metrics.correlation_findings_bare.inc_by(it.undetailed);
    }

    fn silent(&self, source: &SourceName, silent: bool) {
        let label = SourceLabel { source: source.name.to_string() };
        self.metrics.source_silent.get_or_create(&label).set(i64::from(silent));
    }

    fn stalled(&self, why: Option<&str>) {
        self.metrics.archive_stalled.set(i64::from(why.is_some()));
        match why {
            None => self.readiness.set(Part::Archive),
            Some(why) => self.readiness.unset(Part::Archive, why),
        }
    }
}
