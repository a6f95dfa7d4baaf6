//! What was handed over of a partition -> how far it is durable without a hole.
//!
//! One rule: the mark moves over a chunk only when every chunk before it is kept as well, and never again
//! once one was lost. So it may be committed to the broker at any time.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::source::{Fate, Receipt};

/// How far one partition is kept, from the moment it was given to the moment it is taken away.
#[derive(Debug, Default)]
pub struct Marks {
    state: Mutex<State>,
    changed: Condvar,
    /// The lock on the partition, where replicas share a folder. Receipts hold it too: it is given back
    /// when the last chunk is kept or lost, and not while one may still become durable.
    _lock: Option<File>,
}

#[derive(Debug, Default)]
struct State {
    /// What was handed over and is not passed by the mark: its end, and whether it is kept.
    out: VecDeque<Chunk>,
    /// The number of the first of them.
    first: u64,
    /// The offset after the last kept message.
    kept: Option<u64>,
    closed: bool,
    /// Chunks of which it is not known whether they are kept.
    open: usize,
}

#[derive(Debug)]
struct Chunk {
    end: u64,
    kept: bool,
}

impl Marks {
    /// For a partition that is locked, if it has to be.
    pub fn new(lock: Option<File>) -> Arc<Marks> {
        Arc::new(Marks { _lock: lock, ..Marks::default() })
    }

    /// A chunk is handed over with this receipt; once it and all before it are kept, the messages
    /// before `end` are.
    pub fn hand_over(self: &Arc<Marks>, end: u64) -> Receipt {
        let mut state = self.state();
        let number = state.first + state.out.len() as u64;
        state.out.push_back(Chunk { end, kept: false });
        state.open += 1;
        drop(state);
        let marks = Arc::clone(self);
        Receipt::new(move |fate| marks.settle(number, fate))
    }

    fn settle(&self, number: u64, fate: Fate) {
        let mut state = self.state();
        state.open -= 1;
        let place = usize::try_from(number - state.first).unwrap_or(usize::MAX);
        // A lost one stays at the head and holds the mark back for ever.
        if fate == Fate::Kept
            && let Some(chunk) = state.out.get_mut(place)
        {
            chunk.kept = true;
        }
        while state.out.front().is_some_and(|it| it.kept) {
            let passed = state.out.pop_front().map(|it| it.end);
            state.first += 1;
            state.kept = state.kept.max(passed);
        }
        self.changed.notify_all();
    }

    /// The offset after the last message that is kept with all before it; `None`: none is known to be.
    pub fn kept(&self) -> Option<u64> {
        self.state().kept
    }

    /// Nothing more is to be put into the pipeline.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Whether nothing more is to be put into the pipeline.
    pub fn closed(&self) -> bool {
        self.state().closed
    }

    /// Whether it is known of everything that was handed over what became of it.
    pub fn settled(&self) -> bool {
        self.state().open == 0
    }

    /// Waits until it is, but no longer than that; whether it is.
    pub fn wait(&self, patience: Duration) -> bool {
        let waiting = self.changed.wait_timeout_while(self.state(), patience, |it| it.open > 0);
        waiting.unwrap_or_else(PoisonError::into_inner).0.open == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lost_chunk_holds_the_mark_for_ever() {
        let marks = Marks::new(None);
        let (first, second, third) = (marks.hand_over(5), marks.hand_over(9), marks.hand_over(12));
        third.keep();
        assert_eq!(marks.kept(), None);
        first.keep();
        assert_eq!(marks.kept(), Some(5));
        assert!(!marks.wait(Duration::ZERO));
        drop(second);
        assert!(marks.wait(Duration::ZERO) && marks.settled());
        marks.hand_over(20).keep();
        assert_eq!(marks.kept(), Some(5));
    }

    #[test]
    fn whoever_waits_is_woken_by_the_last_receipt() {
        let marks = Marks::new(None);
        let receipt = marks.hand_over(1);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| marks.wait(Duration::from_secs(60)));
            receipt.keep();
            assert!(waits.join().unwrap());
        });
        assert_eq!(marks.kept(), Some(1));
    }

    proptest! {
        #[test]
        fn the_mark_is_the_longest_run_of_kept_chunks(
            fates in prop::collection::vec(prop::bool::weighted(0.9), 1..20), order in prop::collection::vec(any::<u64>(), 20),
        ) {
            let marks = Marks::new(None);
            let mut out: Vec<_> = (0_u64..).zip(&fates).map(|(at, kept)| (at, *kept, marks.hand_over(at + 1))).collect();
            out.sort_by_key(|(at, ..)| order[usize::try_from(*at).unwrap()]);
            let mut settled = vec![None; fates.len()];
            for (at, kept, receipt) in out {
                if kept { receipt.keep() } else { drop(receipt) }
                settled[usize::try_from(at).unwrap()] = Some(kept);
                let run = settled.iter().take_while(|it| **it == Some(true)).count() as u64;
                prop_assert_eq!(marks.kept(), (run > 0).then_some(run));
            }
            prop_assert!(marks.settled());
        }
    }
}
