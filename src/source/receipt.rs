//! What a source is told of a chunk it handed over: kept, or lost to this process.
//!
//! One rule: it is told `Kept` only after the commit that made the chunk durable. A receipt that is
//! dropped says `Lost`, so that whatever goes wrong, nobody takes for kept what is not.

use std::fmt;

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is durable.
    Kept,
    /// It may not be: the sender has to send it again.
    Lost,
}

/// Held by whoever has a chunk in hand; spent by the commit.
pub struct Receipt(Option<Box<dyn FnOnce(Fate) + Send>>);

impl Receipt {
    /// Calls that once, from the thread that commits: it must be short and must not wait.
    pub fn new(told: impl FnOnce(Fate) + Send + 'static) -> Receipt {
        Receipt(Some(Box::new(told)))
    }

    /// The chunk is durable.
    pub fn keep(mut self) {
        self.tell(Fate::Kept);
    }

    fn tell(&mut self, fate: Fate) {
        if let Some(told) = self.0.take() {
            told(fate);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.tell(Fate::Lost);
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_receipt_says_kept_once_and_lost_when_it_is_dropped() {
        let (told, fates) = sync_channel(2);
        let receipt = || {
            let told = told.clone();
            Receipt::new(move |fate| told.send(fate).unwrap())
        };
        receipt().keep();
        drop(receipt());
        assert_eq!(fates.try_iter().collect::<Vec<_>>(), [Fate::Kept, Fate::Lost]);
    }
}
