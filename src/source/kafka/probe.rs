//! A partition that cannot be read at an offset -> the next offset at which it can.
//!
//! One rule: it reads beside the member, in no group, and what it reads goes nowhere. After a batch with a wrong
//! checksum librdkafka (2.12) takes bytes from within it for the next batch, so that nothing its reader gives after
//! that can be believed: whoever met one begins anew behind it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::Partition;
use super::member::MemberError;

/// How long it may take until something comes of an offset.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads partitions beside the group.
pub struct Probe {
    consumer: BaseConsumer<Said>,
}

/// What stands at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// A message, or the end.
    Readable,
    /// Nothing that can be read, and what librdkafka says of it.
    Unreadable(String),
}

/// Messages that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The offset of the first.
    pub from: u64,
    /// The next offset at which a message can be read, or the end.
    pub to: u64,
    /// What librdkafka says of them.
    pub words: String,
}

impl Probe {
    /// Makes a reader with a member's settings. Opens connections in the background.
    ///
    /// # Errors
    /// When librdkafka refuses the settings.
    pub fn new(settings: &ClientConfig) -> Result<Probe, MemberError> {
        let mut settings = settings.clone();
        settings.set("enable.partition.eof", "true");
        let consumer = settings
            .create_with_context(Said::default())
            .map_err(MemberError::doing("making a client"))?;
        Ok(Probe { consumer })
    }

    /// What cannot be read from that offset on, up to the first that can. `None`: it can be read there. `end` is
    /// the offset after the partition's last message.
    ///
    /// # Errors
    /// When the brokers do not answer.
    pub fn unreadable(
        &self,
        partition: &Partition,
        from: u64,
        end: u64,
    ) -> Result<Option<Unreadable>, MemberError> {
        let At::Unreadable(words) = self.look(partition, from)? else { return Ok(None) };
        // The broker gives a batch for each of its offsets: its end is where the words are other ones, or there
        // are none. First in steps that grow, as most batches are short, then by halves.
        let same = |at: u64| Ok(self.look(partition, at)? == At::Unreadable(words.clone()));
        let (mut bad, mut step) = (from, 1);
        let mut good = end.max(from + 1);
        while bad + step < good {
            if same(bad + step)? {
                bad += step;
                step *= 2;
            } else {
                good = bad + step;
            }
        }
        while bad + 1 < good {
            let middle = bad + (good - bad) / 2;
            if same(middle)? {
                bad = middle;
            } else {
                good = middle;
            }
        }
        Ok(Some(Unreadable { from, to: good, words }))
    }

    fn look(&self, partition: &Partition, offset: u64) -> Result<At, MemberError> {
        const DOING: &str = "looking for a message that can be read";
        let mut list = TopicPartitionList::new();
        let at = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        list.add_partition_offset(&partition.topic, partition.number, at)
            .and_then(|()| self.consumer.assign(&list))
            .map_err(MemberError::doing(DOING))?;
        let found = match self.consumer.poll(PATIENCE) {
            // Where offsets are missing, as of a compacted topic, the next message is given.
            Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => Ok(At::Readable),
            Some(Err(error)) if is_unreadable(&error) => {
                let said = self.consumer.context().take();
                Ok(At::Unreadable(said.unwrap_or_else(|| error.to_string())))
            }
            Some(Err(error)) => Err(error),
            None => Err(KafkaError::MessageConsumption(RDKafkaErrorCode::RequestTimedOut)),
        };
        // Nothing that comes of it after this is looked at.
        self.consumer.unassign().map_err(MemberError::doing(DOING))?;
        found.map_err(MemberError::doing(DOING))
    }
}

/// Whether messages were there and cannot be read.
pub(super) fn is_unreadable(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{BadCompression, BadMessage};
    matches!(error.rdkafka_error_code(), Some(BadMessage | BadCompression))
}

/// What was said of the last error, which is more than the error holds.
#[derive(Default)]
struct Said(Mutex<Option<String>>);

impl Said {
    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Said {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ConsumerContext for Said {}
