//! The partitions that are in this process's hands: given by the group, read, or on their way out.
//!
//! One rule: a partition that the group takes goes only after everything that was handed over of it is kept or
//! lost, or has taken too long; and what is lost to others already is not committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::pipeline::lanes::Stream;
use crate::source::kafka::Partition;
use crate::source::kafka::batch::Batch;
use crate::source::kafka::marks::Marks;
use crate::source::kafka::member::Holder;

/// A partition that is read.
pub(super) struct Reading {
    /// What the catalog knows it by.
    pub identity: String,
    /// How far it is kept.
    pub marks: Arc<Marks>,
    /// The next offset.
    pub next: u64,
    /// What the broker has been told of it.
    pub told: Option<u64>,
    /// What was read and not handed over.
    pub batch: Batch,
    /// Where its position is kept.
    pub whole: Arc<Stream>,
    /// Where the events of each cluster go, and the offset before which they are kept already.
    pub each: BTreeMap<Arc<str>, (Arc<Stream>, u64)>,
}

/// All partitions, shared with the callbacks of the group.
pub(super) struct Hands {
    all: Mutex<All>,
    /// How long a partition that is taken may take.
    patience: Duration,
}

#[derive(Default)]
pub(super) struct All {
    /// Given, and not yet read.
    pub waiting: Vec<Partition>,
    /// Read, by topic and number.
    pub reading: BTreeMap<Arc<str>, BTreeMap<i32, Reading>>,
    /// Taken, and something is still under way.
    leaving: Vec<(Partition, Arc<Marks>)>,
    /// How far each goes, as the brokers say.
    ends: BTreeMap<Partition, u64>,
    /// Whether the broker has to be told again.
    forgotten: bool,
}

impl Hands {
    pub(super) fn new(patience: Duration) -> Arc<Hands> {
        Arc::new(Hands { all: Mutex::default(), patience })
    }

    pub(super) fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes partitions out of the reader's hands and waits until nothing of them is under way.
    /// Gives what is to be committed.
    pub(super) fn let_go(
        &self,
        partitions: &[Partition],
        patience: Duration,
    ) -> Vec<(Partition, u64)> {
        let gone = self.all().close(partitions);
        if !wait_for(&gone, patience) && !patience.is_zero() {
            tracing::warn!(
                "a partition was taken away before all that was read of it was kept; its next reader waits, or reads it again"
            );
        }
        // Also what the broker was told already: it may have refused, and its answer is not heard any more.
        let kept = gone.iter().filter_map(|(partition, reading)| {
            reading.marks.kept().map(|kept| (partition.clone(), kept))
        });
        let kept = kept.collect();
        self.all().leave(gone);
        kept
    }
}

/// Waits for all of them together no longer than that.
fn wait_for(gone: &[(Partition, Reading)], patience: Duration) -> bool {
    // A step each: whoever is settled costs no time, and the sum is bounded.
    const STEP: Duration = Duration::from_millis(20);
    let mut left = patience;
    gone.iter().all(|(_, reading)| {
        while !reading.marks.wait(STEP) {
            left = left.saturating_sub(STEP);
            if left.is_zero() {
                return false;
            }
        }
        true
    })
}

impl All {
    pub(super) fn find(&mut self, topic: &str, number: i32) -> Option<&mut Reading> {
        self.reading.get_mut(topic)?.get_mut(&number)
    }

    /// Every partition that is read.
    pub(super) fn readings(&mut self) -> impl Iterator<Item = (Partition, &mut Reading)> {
        self.reading.iter_mut().flat_map(|(topic, of)| {
            of.iter_mut()
                .map(|(number, it)| (Partition { topic: Arc::clone(topic), number: *number }, it))
        })
    }

    pub(super) fn begin(&mut self, partition: &Partition, reading: Reading) {
        self.waiting.retain(|it| it != partition);
        let of = self.reading.entry(Arc::clone(&partition.topic)).or_default();
        of.insert(partition.number, reading);
    }

    /// Whether something of it is still under way from the time before.
    pub(super) fn leaving(&mut self, partition: &Partition) -> bool {
        self.leaving.retain(|(_, marks)| !marks.settled());
        self.leaving.iter().any(|(it, _)| it == partition)
    }

    /// Messages that were not read, of all partitions that are; `None`: there is none, or it is not known of one.
    pub(super) fn behind(&self) -> Option<u64> {
        if self.reading.values().all(BTreeMap::is_empty) {
            return None;
        }
        let mut behind = 0;
        for (topic, of) in &self.reading {
            for (number, reading) in of {
                let partition = Partition { topic: Arc::clone(topic), number: *number };
                behind += self.ends.get(&partition)?.saturating_sub(reading.next);
            }
        }
        Some(behind)
    }

    /// What the broker has not been told yet; from here on it counts as told.
    pub(super) fn untold(&mut self) -> Vec<(Partition, u64)> {
        let again = std::mem::take(&mut self.forgotten);
        let mut untold = Vec::new();
        for (partition, reading) in self.readings() {
            let kept = reading.marks.kept();
            if let Some(kept) = kept.filter(|it| again || reading.told < Some(*it)) {
                reading.told = Some(kept);
                untold.push((partition, kept));
            }
        }
        untold
    }

    /// The broker may not have what it was told: it is told again.
    pub(super) fn forget(&mut self) {
        self.forgotten = true;
    }

    fn close(&mut self, partitions: &[Partition]) -> Vec<(Partition, Reading)> {
        self.waiting.retain(|it| !partitions.contains(it));
        let mut gone = Vec::new();
        for partition in partitions {
            self.ends.remove(partition);
            let of = self.reading.get_mut(&partition.topic);
            if let Some(reading) = of.and_then(|it| it.remove(&partition.number)) {
                reading.marks.close();
                gone.push((partition.clone(), reading));
            }
        }
        gone
    }

    fn leave(&mut self, gone: Vec<(Partition, Reading)>) {
        let open = gone.into_iter().filter(|(_, it)| !it.marks.settled());
        self.leaving.extend(open.map(|(partition, it)| (partition, it.marks)));
    }
}

impl Holder for Hands {
    fn given(&self, partitions: &[Partition]) {
        tracing::info!(partitions = ?shown(partitions), "the group gives partitions");
        self.all().waiting.extend_from_slice(partitions);
    }

    fn taken(&self, partitions: &[Partition], lost: bool) -> Vec<(Partition, u64)> {
        tracing::info!(partitions = ?shown(partitions), lost, "the group takes partitions");
        if !lost {
            return self.let_go(partitions, self.patience);
        }
        let mut all = self.all();
        let gone = all.close(partitions);
        all.leave(gone);
        Vec::new()
    }

    fn not_committed(&self) {
        self.all().forget();
    }

    fn ends_at(&self, topic: &str, number: i32, end: u64) {
        let mut all = self.all();
        if all.find(topic, number).is_some() {
            all.ends.insert(Partition { topic: topic.into(), number }, end);
        }
    }
}

fn shown(partitions: &[Partition]) -> Vec<String> {
    partitions.iter().map(ToString::to_string).collect()
}
