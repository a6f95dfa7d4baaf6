//! Messages that cannot be read -> what is told of them, and a partition that goes on behind them.
//!
//! One rule: a partition is stopped before anything more is taken of it, and goes on only where it is known that it
//! can be read. Which messages are passed is told before its position is behind them.

use std::sync::Arc;

use super::session::{Session, SessionError};
use crate::cause;
use crate::source::kafka::Partition;
use crate::source::kafka::client;
use crate::source::kafka::member::MemberError;
use crate::source::kafka::probe::{Probe, Unreadable};

impl Session<'_> {
    /// Some partition cannot be read where it is: librdkafka does not say which, so that each is looked at.
    pub(super) fn pass_what_is_unreadable(&mut self, words: &str) -> Result<(), SessionError> {
        self.fails(&format!("messages cannot be read: {words}"));
        let hands = Arc::clone(&self.desk.hands);
        let read: Vec<(Partition, u64)> =
            hands.all().readings().map(|(partition, it)| (partition, it.next)).collect();
        // All of them, before the next poll: what is given after it may be made up.
        for (partition, _) in &read {
            self.member.stop(partition)?;
        }
        let probe = Probe::new(&client::settings(&self.desk.source.config)?)?;
        for (partition, next) in read {
            match self.look(&probe, &partition, next) {
                Ok(None) => self.member.start(&partition, next)?,
                Ok(Some(passed)) => self.pass(&partition, passed)?,
                // It is placed again, from where it is kept, and meets it again.
                Err(error) => {
                    self.fails(&cause::line(&error));
                    self.place_again(partition)?;
                }
            }
        }
        Ok(())
    }

    fn look(
        &self,
        probe: &Probe,
        partition: &Partition,
        next: u64,
    ) -> Result<Option<Unreadable>, MemberError> {
        let (_, end) = self.member.bounds(partition)?;
        probe.unreadable(partition, next, end)
    }

    fn pass(&mut self, partition: &Partition, passed: Unreadable) -> Result<(), SessionError> {
        let Unreadable { from, to, words } = passed;
        let detail = format!(
            "{} messages of partition {partition}, from offset {from} up to {to}, cannot be read and are passed with \
             the events they hold: {words}. Their bytes were altered or damaged where a broker keeps them; \
             another replica of the partition may have them whole",
            to - from
        );
        let key = (format!("{partition} {from} {to}"), detail);
        self.troubles.push(self.trouble("kustos-source-unreadable", from, key));
        if let Some(reading) = self.desk.hands.all().find(&partition.topic, partition.number) {
            reading.next = to;
            reading.batch.pass(to - 1);
        }
        Ok(self.member.start(partition, to)?)
    }
}
