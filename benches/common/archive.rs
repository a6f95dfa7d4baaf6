//! Logs -> an archive, in this process and by the way that `kustos ingest` goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kustos::archive::keep::Policy;
use kustos::archive::recover::Archive;
use kustos::clock::SystemClock;
use kustos::detect::Finding;
use kustos::pipeline::Stop;
use kustos::pipeline::archivist::{Archivist, ArchivistError, Pace};
use kustos::pipeline::ingest::{Job, ingest};
use kustos::pipeline::lanes::Width;
use kustos::rules::RuleSet;
use kustos::source::LINE_BYTES_MAX;
use kustos::source::open::Input;

/// The cluster that all events are of.
pub(crate) const CLUSTER: &str = "bench";

/// Makes an archive at `dir` of these logs, one after the other, sealed. A log is asked for when the one before it
/// has been read and committed, so that no more than one need exist.
pub(crate) fn archived(dir: &Path, rules: &Arc<RuleSet>, logs: impl IntoIterator<Item = PathBuf>) {
    let archive = Archive::open(dir).unwrap();
    let clock = Arc::new(SystemClock);
    let routes = Arc::new(|_: &Finding| Vec::new());
    let mut archivist =
        Archivist::new(archive, clock.clone(), Policy::default(), routes, Pace::Full).unwrap();
    for log in logs {
        let job = Job {
            inputs: vec![Input::File(log)],
            cluster: CLUSTER.into(),
            rules: Arc::clone(rules),
            clock: clock.clone(),
            width: Width::default(),
            line_bytes_max: LINE_BYTES_MAX,
            stop: Stop::default(),
            progress: Arc::default(),
        };
        let failures = ingest(&job, &mut archivist, |_, _| Ok::<(), ArchivistError>(())).unwrap();
        assert!(failures.is_empty());
    }
    archivist.seal_all().unwrap();
}
