//! Sources of which nothing has come for longer than expected -> findings, one an episode.
//!
//! One rule: it does not matter why. A source that cannot be read says so elsewhere; that nobody
//! writes events any more is worth a finding either way.

use std::time::Duration;

use super::archivist::{Archivist, ArchivistError};
use super::daemon::Watcher;
use super::intake::SourceName;
use crate::clock::Clock;
use crate::detect::trouble::{Trouble, kind};

/// What is expected of a source.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The source.
    pub name: SourceName,
    /// What the names of its streams begin with.
    pub streams: String,
    /// Something comes at least that often.
    pub silence_max: Duration,
}

/// When something came last.
struct Source {
    expected: Expected,
    heard: Duration,
    /// Whether its silence was told.
    told: bool,
}

/// Listens for sources that have fallen silent.
pub(super) struct Silence(Vec<Source>);

impl Silence {
    pub(super) fn new(expected: &[Expected], now: Duration) -> Silence {
        let source = |it: &Expected| Source { expected: it.clone(), heard: now, told: false };
        Silence(expected.iter().map(source).collect())
    }

    /// Something came of a stream.
    pub(super) fn heard(
        &mut self,
        cluster: &str,
        stream: &str,
        now: Duration,
        watcher: &dyn Watcher,
    ) {
        let mine = |it: &&mut Source| {
            *it.expected.name.cluster == *cluster && stream.starts_with(&it.expected.streams)
        };
        for source in self.0.iter_mut().filter(mine) {
            source.heard = now;
            if std::mem::take(&mut source.told) {
                watcher.silent(&source.expected.name, false);
            }
        }
    }

    /// The sources that have just been silent for too long.
    fn fell(&mut self, now: Duration) -> Vec<Expected> {
        let late =
            |it: &&mut Source| !it.told && now.saturating_sub(it.heard) >= it.expected.silence_max;
        let fall = |it: &mut Source| {
            it.told = true;
            it.expected.clone()
        };
        self.0.iter_mut().filter(late).map(fall).collect()
    }

    /// Records what is to be told of silence.
    pub(super) fn tell(
        &mut self,
        archivist: &mut Archivist,
        clock: &dyn Clock,
        watcher: &dyn Watcher,
    ) -> Result<(), ArchivistError> {
        for Expected { name, streams, silence_max } in self.fell(clock.elapsed()) {
            let seconds = silence_max.as_secs();
            let detail = format!(
                "nothing has come from {} for {seconds} seconds. Is its API server running, and does its audit policy still log?",
                name.name
            );
            tracing::warn!(source = &*name.name, kind = "kustos-source-silent", "{detail}");
            // A restart in the same silence tells nothing new: nothing was kept since.
            let (source, end) = archivist.archive().catalog.last_kept(&name.cluster, &streams)?;
            let trouble = Trouble {
                kind: kind("kustos-source-silent"),
                cluster: name.cluster.to_string(),
                source: name.name.to_string(),
                position: end,
                time: clock.now(),
                detail,
                key: [source.to_be_bytes(), end.to_be_bytes()].concat(),
            };
            watcher.silent(&name, true);
            watcher.found(&archivist.report(&trouble)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::archivist::Committed;
    use crate::pipeline::intake::Observer;
    use crate::pipeline::worker::{Found, Taken};
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<bool>>);

    impl Observer for Heard {
        fn lag(&self, _: &SourceName, _: u64) {}
        fn behind(&self, _: &SourceName, _: Option<u64>) {}
        fn note(&self, _: &SourceName, _: crate::pipeline::intake::Note) {}
        fn state(&self, _: &SourceName, _: Option<&str>) {}
        fn headroom(&self, _: &SourceName, _: f64) {}
        fn nul_bytes(&self, _: &SourceName, _: u64) {}
    }

    impl Watcher for Heard {
        fn taken(&self, _: &Taken) {}
        fn found(&self, _: &[Found]) {}
        fn committed(&self, _: &Committed) {}
        fn stalled(&self, _: Option<&str>) {}
        fn silent(&self, _: &SourceName, silent: bool) {
            self.0.lock().unwrap().push(silent);
        }
    }

    #[test]
    fn silence_is_told_once_an_episode_and_ends_when_something_comes() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let name = |it: &str| SourceName { cluster: "c".into(), name: it.into() };
        let expected = ["a", "b"].map(|it| Expected {
            name: name(it),
            streams: it.to_owned(),
            silence_max: HOUR,
        });
        let (mut silence, watcher) = (Silence::new(&expected, HOUR), Heard::default());
        let fell = |silence: &mut Silence, now| {
            silence.fell(now).iter().map(|it| it.name.name.to_string()).collect::<Vec<_>>()
        };
        assert!(fell(&mut silence, HOUR + HOUR / 2).is_empty());
        silence.heard("c", "a/topic/0", 2 * HOUR, &watcher);
        silence.heard("other", "b", 2 * HOUR, &watcher);
        assert_eq!(fell(&mut silence, 2 * HOUR), ["b"]);
        assert!(fell(&mut silence, 2 * HOUR).is_empty());
        assert_eq!(fell(&mut silence, 3 * HOUR), ["a"]);
        silence.heard("c", "a/topic/0", 4 * HOUR, &watcher);
        assert_eq!(*watcher.0.lock().unwrap(), [false]);
        assert_eq!(fell(&mut silence, 5 * HOUR), ["a"]);
    }
}
