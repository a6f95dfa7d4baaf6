//! A partition -> where to begin to read it, and what is wrong with that.
//!
//! One rule: the furthest of what the archives and the broker know counts, and wherever that is not where the broker can
//! go on, it is told.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::archive::catalog::{Catalog, CatalogError};
use crate::archive::replicas::{self, ReplicasError};
use crate::config::kafka::Start;
use crate::source::kafka::Partition;
use crate::source::kafka::member::MemberError;

/// What the events of a partition are of, as the catalogs know it.
pub(super) struct Known {
    /// The partition's identity: a topic that was made anew has another one.
    pub identity: String,
    /// Which one it is, from 1.
    pub generation: u32,
    /// How far the furthest archive keeps it.
    pub kept: Option<u64>,
    /// Held as long as something is read of it.
    pub lock: Option<File>,
}

/// Why it is not known where to begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// A replica's catalog could not be read.
    #[error(transparent)]
    Replicas(#[from] ReplicasError),
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The brokers did not answer.
    #[error(transparent)]
    Member(#[from] MemberError),
}

/// What is remembered between two tries.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// When it was tried last.
    pub last: Option<Duration>,
    /// Partitions that cannot be placed yet, and since when.
    pub since: BTreeMap<Partition, Duration>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// There.
    At(u64),
    /// At `to`: the broker has deleted what was before it, and nobody has read it from `from` on.
    Gap { from: u64, to: u64 },
    /// At `to`, as something else: what is known as read to `known` now ends at `end`.
    Anew { known: u64, end: u64, to: u64 },
}

/// What counts: the archive's position, the broker's, the bounds of what the broker has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub kept: Option<u64>,
    pub committed: Option<u64>,
    pub bounds: (u64, u64),
}

pub(super) fn decide(facts: Facts, start: Start) -> Place {
    let (low, high) = facts.bounds;
    match facts.kept.max(facts.committed) {
        None if start == Start::Latest => Place::At(high),
        None => Place::At(low),
        Some(from) if from < low => Place::Gap { from, to: low },
        Some(known) if known > high => Place::Anew { known, end: high, to: low },
        Some(at) => Place::At(at),
    }
}

/// The identity of a partition's positions; a topic that is read by the clusters that messages name has others.
pub(super) fn whole(identity: &str, named: bool) -> String {
    if named { format!("{identity}/all") } else { identity.to_owned() }
}

/// The identity of the positions of one cluster's events in a partition, where messages name their cluster.
pub(super) fn each(identity: &str) -> String {
    format!("{identity}/each")
}

pub(super) fn identity(brokers: &str, partition: &Partition, generation: u32) -> String {
    match generation {
        0 | 1 => format!("kafka:{brokers}/{partition}"),
        _ => format!("kafka:{brokers}/{partition}#{generation}"),
    }
}

/// Takes the lock and looks the partition up in every catalog there is. `None`: another reader has it still.
pub(super) fn look_up(
    own: &Catalog,
    shared: Option<&Path>,
    cluster: &str,
    (brokers, partition): (&str, &Partition),
) -> Result<Option<Known>, ReplicasError> {
    let mut lock = None;
    if let Some(shared) = shared {
        lock = replicas::lock(shared, &identity(brokers, partition, 1))?;
        if lock.is_none() {
            return Ok(None);
        }
    }
    // Opened after the lock was taken: whoever had it before has written all it will.
    let catalogs = replicas::catalogs(own, shared)?;
    let mut found =
        Known { identity: identity(brokers, partition, 1), generation: 1, kept: None, lock };
    loop {
        let kept =
            |named: bool| replicas::kept_to(&catalogs, cluster, &whole(&found.identity, named));
        found.kept = kept(false)?.max(kept(true)?);
        let generation = found.generation + 1;
        let next = identity(brokers, partition, generation);
        if !known(&catalogs, cluster, &next)? {
            return Ok(Some(found));
        }
        (found.identity, found.generation) = (next, generation);
    }
}

fn known(catalogs: &[Catalog], cluster: &str, identity: &str) -> Result<bool, CatalogError> {
    for catalog in catalogs {
        for named in [false, true] {
            if !catalog.sources(cluster, &whole(identity, named))?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(kept: Option<u64>, committed: Option<u64>) -> Place {
        decide(Facts { kept, committed, bounds: (10, 50) }, Start::Earliest)
    }

    #[test]
    fn the_further_of_archive_and_broker_wins() {
        assert_eq!(place(Some(20), Some(30)), Place::At(30));
        assert_eq!(place(Some(40), Some(30)), Place::At(40));
        assert_eq!(place(Some(40), None), Place::At(40));
        assert_eq!(place(None, Some(50)), Place::At(50));
    }

    #[test]
    fn a_partition_that_nobody_knows_begins_as_configured() {
        assert_eq!(place(None, None), Place::At(10));
        let facts = Facts { kept: None, committed: None, bounds: (10, 50) };
        assert_eq!(decide(facts, Start::Latest), Place::At(50));
    }

    #[test]
    fn what_the_broker_deleted_and_what_it_does_not_have_is_told() {
        assert_eq!(place(Some(3), Some(7)), Place::Gap { from: 7, to: 10 });
        assert_eq!(place(Some(60), Some(7)), Place::Anew { known: 60, end: 50, to: 10 });
        assert_eq!(place(Some(10), None), Place::At(10));
    }

    #[test]
    fn a_topic_that_was_made_anew_is_another_one_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path()).unwrap();
        let partition = Partition { topic: "audit".into(), number: 3 };
        let look = || look_up(&catalog, None, "c", ("x", &partition)).unwrap().unwrap();
        assert_eq!((look().identity.as_str(), look().kept), ("kafka:x/audit/3", None));
        catalog.add_source("c", &whole(&identity("x", &partition, 2), true), "n", 0).unwrap();
        assert_eq!((look().identity.as_str(), look().generation), ("kafka:x/audit/3#2", 2));
    }
}
