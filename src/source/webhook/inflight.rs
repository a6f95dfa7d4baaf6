//! Bodies that are not yet durable -> how many bytes they are, and who waits for each.
//!
//! One rule: bytes are counted from before they are read until the commit, or until they are dropped, so that
//! memory is bounded whatever senders do: by `bytes_max`, and one body that alone is larger; and a body that is sent again while the first is under way waits for
//! the same commit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::source::{Fate, Receipt};

/// However slow commits are, so much is let in: a few batches.
const ROOM_BYTES_MIN: usize = 1 << 20;

/// SHA-256 of a body.
type Key = [u8; 32];

/// Tells those who wait for one body what became of it; `None`: not yet known.
pub(super) type Waiting = watch::Receiver<Option<Fate>>;

/// The bodies of one path that are not yet durable.
#[derive(Debug)]
pub(super) struct Inflight {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// How many of `bytes_max` are given out: what can be committed in time. Beyond it, everybody would wait in
    /// vain, come again, and be in the way of those who come again as well.
    room: AtomicUsize,
    /// Whether a body is in that is larger than `bytes_max`. It is let in whatever else is, or it would have to find
    /// the path empty, and a sender that is put off five times gives it up.
    large: AtomicBool,
    waiting: Mutex<BTreeMap<Key, Waiting>>,
}

impl Inflight {
    pub(super) fn new(bytes_max: usize) -> Arc<Inflight> {
        let (bytes, room) = (AtomicUsize::new(0), AtomicUsize::new(bytes_max));
        let large = AtomicBool::new(false);
        Arc::new(Inflight { bytes, bytes_max, room, large, waiting: Mutex::default() })
    }

    /// A body was not durable in time: what is in flight is too much.
    pub(super) fn narrow(&self) {
        let half = (self.bytes() / 2).max(ROOM_BYTES_MIN.min(self.bytes_max));
        self.room.fetch_min(half, Ordering::SeqCst);
    }

    /// A body of that many bytes was durable early: there can be more.
    pub(super) fn widen(&self, bytes: usize) {
        let wider = |it: usize| Some(it.saturating_add(bytes).min(self.bytes_max));
        let widened = self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, wider);
        assert!(widened.is_ok(), "there is always an answer how wide it is");
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Room for a body; `None`: there is none.
    pub(super) fn reserve(self: &Arc<Inflight>, bytes: usize) -> Option<Reserved> {
        let mut reserved = Reserved { of: Arc::clone(self), bytes: 0, large: false };
        reserved.grow_to(bytes).then_some(reserved)
    }

    /// Whoever sends a body joins those who wait for the same one. The first of them has a receipt to hand over
    /// with it; when it is spent or dropped, all are told.
    pub(super) fn join(
        self: &Arc<Inflight>,
        key: Key,
        reserved: Reserved,
    ) -> (Waiting, Option<Receipt>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = waiting.get(&key) {
            return (known.clone(), None);
        }
        let (tell, told) = watch::channel(None);
        waiting.insert(key, told.clone());
        let of = Arc::clone(self);
        let receipt = Receipt::new(move |fate| {
            // First, so that the same body sent from here on is a new one: the archive knows whether it has it.
            of.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            drop(reserved);
            tell.send_replace(Some(fate));
        });
        (told, Some(receipt))
    }
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    of: Arc<Inflight>,
    bytes: usize,
    /// Whether it is the one that is larger than what all may be together.
    large: bool,
}

impl Reserved {
    /// Makes it that many, if it is fewer. False: there is no room for them.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if bytes > self.of.bytes_max {
            return self.grow_large(more);
        }
        let room = self.of.room.load(Ordering::SeqCst);
        let fits = |it: usize| {
            // However narrow it is, a body gets in that is alone.
            let room = if it == self.bytes { self.of.bytes_max } else { room };
            it.checked_add(more).filter(|it| *it <= room)
        };
        let grown = self.of.bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok();
        if grown {
            self.bytes += more;
        }
        grown
    }

    fn grow_large(&mut self, more: usize) -> bool {
        let mine = self.large || !self.of.large.swap(true, Ordering::SeqCst);
        if mine {
            self.large = true;
            self.of.bytes.fetch_add(more, Ordering::SeqCst);
            self.bytes += more;
        }
        mine
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.large {
            self.of.large.store(false, Ordering::SeqCst);
        }
        self.of.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_until_the_commit_and_never_go_over_the_limit() {
        let inflight = Inflight::new(10);
        let mut first = inflight.reserve(4).unwrap();
        assert!(first.grow_to(7) && first.grow_to(5) && inflight.bytes() == 7);
        assert!(inflight.reserve(4).is_none() && inflight.bytes() == 7);
        let (told, receipt) = inflight.join([0; 32], first);
        assert_eq!((*told.borrow(), inflight.bytes()), (None, 7));
        receipt.unwrap().keep();
        assert_eq!((*told.borrow(), inflight.bytes()), (Some(Fate::Kept), 0));
    }

    #[test]
    fn less_is_let_in_while_commits_are_late_and_more_again_when_they_are_early() {
        const MIB: usize = 1 << 20;
        let inflight = Inflight::new(8 * MIB);
        let held = inflight.reserve(6 * MIB).unwrap();
        inflight.narrow();
        // Who else is late by the same bytes says nothing new.
        inflight.narrow();
        drop(held);
        let held = inflight.reserve(2 * MIB).unwrap();
        assert!(inflight.reserve(2 * MIB).is_none());
        assert!(inflight.reserve(MIB).is_some());
        inflight.widen(MIB);
        assert!(inflight.reserve(2 * MIB).is_some());
        drop(held);
        inflight.narrow();
        // Alone, any body.
        assert!(inflight.reserve(8 * MIB).is_some());
        inflight.widen(100 * MIB);
        let held = inflight.reserve(4 * MIB).unwrap();
        assert!(inflight.reserve(4 * MIB).is_some() && inflight.reserve(5 * MIB).is_none());
        drop(held);
    }

    #[test]
    fn a_body_larger_than_all_may_be_is_let_in_whatever_is_there_and_one_at_a_time() {
        let inflight = Inflight::new(10);
        let small = inflight.reserve(9).unwrap();
        let mut growing = inflight.reserve(0).unwrap();
        let mut large = inflight.reserve(11).unwrap();
        assert!(large.grow_to(30) && inflight.bytes() == 39);
        // Until it is gone nobody else comes in, large or small.
        assert!([0, 1, 11].into_iter().all(|it| inflight.reserve(it).is_none()));
        assert!(!growing.grow_to(11) && !growing.grow_to(1));
        drop(large);
        assert!(inflight.bytes() == 9 && growing.grow_to(1) && growing.grow_to(11));
        assert!(inflight.reserve(11).is_none());
        drop((small, growing));
        assert!(inflight.bytes() == 0 && inflight.reserve(11).is_some());
    }

    #[test]
    fn a_body_that_is_sent_again_waits_for_the_first_and_counts_once() {
        let inflight = Inflight::new(10);
        let join = |key| inflight.join([key; 32], inflight.reserve(2).unwrap());
        let (first, receipt) = join(1);
        let (again, none) = join(1);
        let (_, other) = join(2);
        assert!(none.is_none() && other.is_some());
        assert_eq!(inflight.bytes(), 4);
        // Dropped, as everything is that goes wrong: nobody takes it for kept.
        drop(receipt);
        assert_eq!((*first.borrow(), *again.borrow()), (Some(Fate::Lost), Some(Fate::Lost)));
        assert!(join(1).1.is_some());
    }
}
