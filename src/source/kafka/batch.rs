//! Messages of one partition -> chunks, one for each cluster they are of.

use std::sync::Arc;

use crate::source::{Chunk, Framing, Record};

/// Messages that are to be handed over together.
#[derive(Debug, Default)]
pub struct Batch {
    shares: Vec<Share>,
    end: Option<u64>,
    bytes: usize,
}

/// A chunk, and the cluster that its messages are of.
pub type Filed = (Arc<str>, Chunk);

#[derive(Debug)]
struct Share {
    cluster: Arc<str>,
    start: u64,
    bytes: Vec<u8>,
    records: Vec<Record>,
}

impl Batch {
    /// Adds a message. Offsets grow.
    pub fn push(&mut self, cluster: &Arc<str>, offset: u64, value: &[u8]) {
        let at = self.shares.iter().position(|it| it.cluster == *cluster).unwrap_or_else(|| {
            let (cluster, bytes, records) = (Arc::clone(cluster), Vec::new(), Vec::new());
            self.shares.push(Share { cluster, start: offset, bytes, records });
            self.shares.len() - 1
        });
        if let Some(share) = self.shares.get_mut(at) {
            share.bytes.extend_from_slice(value);
            share.records.push(Record { position: offset, end: share.bytes.len() });
        }
        self.bytes += value.len();
        self.pass(offset);
    }

    /// Leaves a message out: there is nothing in it, or it is kept already.
    pub fn pass(&mut self, offset: u64) {
        self.end = Some(offset + 1);
    }

    /// The offset after the last message; `None`: there is none.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// Bytes of its messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The chunks and the offset after the last message; leaves it empty.
    pub fn take(&mut self) -> Option<(Vec<Filed>, u64)> {
        let end = self.end.take()?;
        self.bytes = 0;
        let chunk = |it: Share| {
            let framing = Framing::Records(it.records);
            (it.cluster, Chunk { start: it.start, bytes: it.bytes, framing })
        };
        Some((self.shares.drain(..).map(chunk).collect(), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_has_a_chunk_of_its_own() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut batch = Batch::default();
        assert!(batch.take().is_none());
        batch.push(&a, 3, b"one");
        batch.push(&b, 4, b"two");
        batch.push(&a, 7, b"three");
        batch.pass(9);
        assert_eq!((batch.end(), batch.bytes()), (Some(10), 11));
        let (chunks, end) = batch.take().unwrap();
        let of =
            |records: &[(u64, &[u8])]| Chunk::of_records(records[0].0, records.iter().copied());
        assert_eq!(end, 10);
        assert_eq!(chunks, [(a, of(&[(3, b"one"), (7, b"three")])), (b, of(&[(4, b"two")]))]);
        assert!(batch.end().is_none() && batch.bytes() == 0 && batch.take().is_none());
    }
}
