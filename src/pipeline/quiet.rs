//! Sources that wait -> clusters of which nothing came although it could have.
//!
//! One rule: silence counts only where every source of a cluster is at its end. One that cannot be read, or
//! has still to catch up, says nothing about what did not happen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::daemon::Watcher;
use super::intake::{Note, Observer, Source, SourceName};

/// How long nothing has come before silence counts.
const QUIET: Duration = Duration::from_secs(5);

/// [`QUIET`], in the unit of event time.
const QUIET_MICROS: i64 = 5_000_000;

/// What is known of a cluster.
struct Cluster {
    /// Its sources by name, and whether each was seen to wait since something came.
    waits: BTreeMap<Arc<str>, bool>,
    /// When something came last.
    heard: Duration,
}

/// Notices silence, and hands on what the sources tell.
pub(super) struct Quiet<'w> {
    watcher: &'w dyn Watcher,
    clusters: Mutex<BTreeMap<Arc<str>, Cluster>>,
}

impl<'w> Quiet<'w> {
    pub(super) fn new(sources: &[Box<dyn Source>], watcher: &'w dyn Watcher) -> Quiet<'w> {
        let mut clusters: BTreeMap<Arc<str>, Cluster> = BTreeMap::new();
        for source in sources.iter().map(|it| it.name()) {
            let cluster = clusters
                .entry(Arc::clone(&source.cluster))
                .or_insert_with(|| Cluster { waits: BTreeMap::new(), heard: Duration::ZERO });
            cluster.waits.insert(Arc::clone(&source.name), false);
        }
        Quiet { watcher, clusters: Mutex::new(clusters) }
    }

    /// Whom everything is told.
    pub(super) fn watcher(&self) -> &'w dyn Watcher {
        self.watcher
    }

    /// Something came of a cluster.
    pub(super) fn heard(&self, cluster: &str, now: Duration) {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = clusters.get_mut(cluster) {
            cluster.heard = now;
            cluster.waits.values_mut().for_each(|it| *it = false);
        }
    }

    /// The clusters of which nothing has come for a while, though all their sources wait for it.
    pub(super) fn silent(&self, now: Duration) -> Vec<Arc<str>> {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |it: &&(&Arc<str>, &Cluster)| {
            it.1.waits.values().all(|waits| *waits) && now.saturating_sub(it.1.heard) >= QUIET
        };
        clusters
            .iter()
            .collect::<Vec<_>>()
            .iter()
            .filter(silent)
            .map(|it| Arc::clone(it.0))
            .collect()
    }

    /// Up to when silence is known, when it is `now`, µs: what happened just before is still on its way.
    pub(super) fn known(now: i64) -> i64 {
        now.saturating_sub(QUIET_MICROS)
    }

    fn set(&self, source: &SourceName, waits: bool) {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = clusters.get_mut(&source.cluster) {
            // A path with wildcards comes to mean further files.
            cluster.waits.insert(Arc::clone(&source.name), waits);
        }
    }
}

impl Observer for Quiet<'_> {
    fn lag(&self, source: &SourceName, bytes: u64) {
        // Told whenever it has read to its end and waits.
        self.set(source, true);
        self.watcher.lag(source, bytes);
    }

    fn behind(&self, source: &SourceName, records: Option<u64>) {
        self.set(source, records == Some(0));
        self.watcher.behind(source, records);
    }

    fn note(&self, source: &SourceName, note: Note) {
        self.watcher.note(source, note);
    }

    fn state(&self, source: &SourceName, failure: Option<&str>) {
        if failure.is_some() {
            self.set(source, false);
        }
        self.watcher.state(source, failure);
    }

    fn headroom(&self, source: &SourceName, seconds: f64) {
        self.watcher.headroom(source, seconds);
    }

    fn nul_bytes(&self, source: &SourceName, bytes: u64) {
        self.watcher.nul_bytes(source, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::archivist::Committed;
    use crate::pipeline::intake::Intake;
    use crate::pipeline::worker::{Found, Taken};

    struct Nobody;

    impl Observer for Nobody {
        fn lag(&self, _: &SourceName, _: u64) {}
        fn behind(&self, _: &SourceName, _: Option<u64>) {}
        fn note(&self, _: &SourceName, _: Note) {}
        fn state(&self, _: &SourceName, _: Option<&str>) {}
        fn headroom(&self, _: &SourceName, _: f64) {}
        fn nul_bytes(&self, _: &SourceName, _: u64) {}
    }

    impl Watcher for Nobody {
        fn taken(&self, _: &Taken) {}
        fn found(&self, _: &[Found]) {}
        fn committed(&self, _: &Committed) {}
        fn stalled(&self, _: Option<&str>) {}
        fn silent(&self, _: &SourceName, _: bool) {}
    }

    struct Silent(SourceName);

    impl Source for Silent {
        fn name(&self) -> &SourceName {
            &self.0
        }

        fn run(&self, _: Intake<'_>) {}
    }

    #[test]
    fn a_cluster_is_silent_when_all_its_sources_wait_and_nothing_came() {
        let name = |(cluster, name): (&str, &str)| SourceName {
            cluster: cluster.into(),
            name: name.into(),
        };
        let sources = [("a", "1"), ("a", "2"), ("b", "3")].map(name);
        let boxed = |name: &SourceName| Box::new(Silent(name.clone())) as Box<dyn Source>;
        let quiet = Quiet::new(&sources.iter().map(boxed).collect::<Vec<_>>(), &Nobody);
        let silent = || quiet.silent(2 * QUIET).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(silent().is_empty());
        quiet.lag(&sources[0], 0);
        quiet.lag(&sources[2], 0);
        assert_eq!(silent(), ["b"]);
        quiet.lag(&sources[1], 0);
        assert_eq!(silent(), ["a", "b"]);
        quiet.state(&sources[2], Some("it cannot be read"));
        assert_eq!(silent(), ["a"]);
        quiet.heard("a", QUIET);
        assert!(silent().is_empty());
        quiet.lag(&sources[0], 0);
        quiet.lag(&sources[1], 0);
        assert_eq!(silent(), ["a"]);
        assert!(quiet.silent(QUIET + QUIET / 2).is_empty());
    }
}
