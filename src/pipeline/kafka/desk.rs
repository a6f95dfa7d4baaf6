//! A message -> its place in the batch of its partition, filed under the cluster it is of.
//!
//! One rule: whatever a message holds, it is kept or it is counted why there was nothing to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::hands::{Hands, Reading};
use super::{KafkaSource, place};
use crate::archive::catalog::CatalogError;
use crate::archive::replicas::{self, ReplicasError};
use crate::config::kafka::ClusterFrom;
use crate::config::misnamed;
use crate::pipeline::intake::{Intake, Note};
use crate::pipeline::lanes::Stream;
use crate::seal::leaf::{Chain, digest};
use crate::source::chunk::CHUNK_BYTES;
use crate::source::kafka::member::Message;

/// Clusters that messages of one source may name; the rest is filed under the source's.
const CLUSTERS_MAX: usize = 256;

/// Files messages.
pub(super) struct Desk<'a> {
    pub source: &'a KafkaSource,
    pub intake: &'a Intake<'a>,
    pub hands: Arc<Hands>,
    /// The clusters that messages named.
    clusters: BTreeSet<Arc<str>>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        source: &'a KafkaSource,
        intake: &'a Intake<'a>,
        hands: Arc<Hands>,
    ) -> Desk<'a> {
        Desk { source, intake, hands, clusters: BTreeSet::new() }
    }

    /// Whether messages name their cluster.
    pub(super) fn named(&self) -> bool {
        self.source.config.cluster_from.is_some()
    }

    /// Files a message; gives how many bytes its partition's batch has now.
    pub(super) fn take(&mut self, message: &Message<'_>) -> Result<usize, ReplicasError> {
        let offset = message.offset();
        let cluster = self.cluster(message);
        let hands = Arc::clone(&self.hands);
        let mut all = hands.all();
        let Some(reading) = all.find(message.topic(), message.number()) else { return Ok(0) };
        if offset < reading.next {
            return Ok(reading.batch.bytes());
        }
        reading.next = offset + 1;
        let Some(value) = message.value() else {
            // A tombstone: it says that an earlier message with its key is deleted from a compacted topic.
            self.intake.observer.note(&self.source.name, Note::Empty);
            reading.batch.pass(offset);
            return Ok(reading.batch.bytes());
        };
        if offset < self.stream(reading, &cluster)? {
            reading.batch.pass(offset);
        } else {
            reading.batch.push(&cluster, offset, value);
        }
        Ok(reading.batch.bytes())
    }

    /// The cluster a message is of.
    fn cluster(&mut self, message: &Message<'_>) -> Arc<str> {
        let name = match &self.source.config.cluster_from {
            None => return Arc::clone(&self.source.name.cluster),
            Some(ClusterFrom::Key) => message.key(),
            Some(ClusterFrom::Header(name)) => message.header(name),
        };
        let name =
            name.and_then(|it| std::str::from_utf8(it).ok()).filter(|it| misnamed(it).is_none());
        if let Some(name) = name {
            if let Some(known) = self.clusters.get(name) {
                return Arc::clone(known);
            }
            if self.clusters.len() < CLUSTERS_MAX {
                let cluster: Arc<str> = name.into();
                self.clusters.insert(Arc::clone(&cluster));
                return cluster;
            }
        }
        self.intake.observer.note(&self.source.name, Note::Unnamed);
        Arc::clone(&self.source.name.cluster)
    }

    /// Makes the stream of a cluster's events in a partition known; gives the offset before which they are kept.
    fn stream(&self, reading: &mut Reading, cluster: &Arc<str>) -> Result<u64, ReplicasError> {
        if let Some((_, kept)) = reading.each.get(cluster) {
            return Ok(*kept);
        }
        let identity = place::each(&reading.identity);
        let catalogs = replicas::catalogs(&self.intake.catalog, self.source.shared.as_deref())?;
        let kept = replicas::kept_to(&catalogs, cluster, &identity)?.unwrap_or_default();
        let stream = self.open(cluster, &identity, reading.next - 1)?;
        reading.each.insert(Arc::clone(cluster), (stream, kept));
        Ok(kept)
    }

    /// The stream of that identity in this process's own archive, from that offset on.
    pub(super) fn open(
        &self,
        cluster: &Arc<str>,
        identity: &str,
        start: u64,
    ) -> Result<Arc<Stream>, CatalogError> {
        let (catalog, name) = (&self.intake.catalog, Arc::clone(&self.source.name.name));
        let known = catalog.sources(cluster, identity)?.into_iter().next();
        let source = match &known {
            Some(known) => known.id,
            None => catalog.add_source(cluster, identity, &name, self.intake.clock.now())?,
        };
        // The chain goes on from what it was, and so tells of every message that was read here.
        let mut chain = Chain::default();
        if let Some(last) = known.and_then(|it| it.boundaries.into_iter().next_back()) {
            chain.push(&digest(last.digest.as_bytes()));
        }
        Ok(Arc::new(Stream { source, cluster: Arc::clone(cluster), name, start, chain }))
    }

    /// Partitions that are read, as they are when nothing of them was read yet.
    pub(super) fn streams(&self, whole: &Arc<Stream>) -> BTreeMap<Arc<str>, (Arc<Stream>, u64)> {
        // Without names there is one cluster, and its events are kept exactly up to the position of the whole.
        let one = (!self.named()).then(|| (Arc::clone(&whole.cluster), (Arc::clone(whole), 0)));
        one.into_iter().collect()
    }
}

/// Whether a batch is large enough to be handed over at once.
pub(super) fn is_full(bytes: usize) -> bool {
    bytes >= CHUNK_BYTES
}
