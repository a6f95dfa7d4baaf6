//! A member of a consumer group: joins, is given partitions, reads those it was told to start, leaves.
//!
//! One rule: everything happens on the thread that polls. What the group gives is not read before
//! [`Member::start`], and what it takes is first settled by the holder, whose offsets are committed before
//! the partition goes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use super::{Partition, probe};

/// How long a broker may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);

/// How often the last commit before a partition goes is tried, and how long it waits between two tries: while the
/// group's members are being told their partitions, it takes none.
const COMMIT_ATTEMPTS_MAX: usize = 50;
const COMMIT_AGAIN: Duration = Duration::from_millis(100);

/// Whoever knows what is durable. Calls come from within [`Member::poll`] and [`Member::leave`].
pub trait Holder: Send + Sync {
    /// The group gives these partitions.
    fn given(&self, partitions: &[Partition]);
    /// The group takes these partitions, or has `lost` them to others already. Returns when nothing of
    /// them is under way any more, or it has taken too long; gives what may be committed.
    fn taken(&self, partitions: &[Partition], lost: bool) -> Vec<(Partition, u64)>;
    /// A commit that was not waited for has failed.
    fn not_committed(&self);
    /// The offset after a partition's last message that can be read.
    fn ends_at(&self, topic: &str, number: i32, end: u64);
}

/// Why a question to the brokers was not answered, or a request not carried out.
#[derive(Debug, thiserror::Error)]
#[error("{doing} failed")]
pub struct MemberError {
    doing: &'static str,
    #[source]
    source: KafkaError,
}

impl MemberError {
    pub(super) fn doing(doing: &'static str) -> impl FnOnce(KafkaError) -> MemberError {
        move |source| MemberError { doing, source }
    }
}

fn failed(doing: &'static str) -> impl FnOnce(KafkaError) -> MemberError {
    MemberError::doing(doing)
}

/// A member of a consumer group.
pub struct Member<H: Holder> {
    consumer: BaseConsumer<Context<H>>,
}

/// What a poll gave.
pub enum Polled<'m> {
    /// Nothing, or something that the holder was told.
    Nothing,
    /// The next message of a partition.
    Message(Message<'m>),
    /// The broker no longer has, or does not yet have, an offset that was to be read.
    OutOfRange,
    /// Messages of some partition cannot be read; what librdkafka says of them. What it gives of that partition from
    /// here on cannot be believed.
    Unreadable(String),
    /// Something does not work; librdkafka goes on trying.
    Failing(String),
    /// This member will not work any more: another one has to be made.
    Over(String),
}

/// A message.
pub struct Message<'m>(BorrowedMessage<'m>);

impl Message<'_> {
    /// Its topic.
    pub fn topic(&self) -> &str {
        self.0.topic()
    }

    /// The number of its partition.
    pub fn number(&self) -> i32 {
        self.0.partition()
    }

    /// Its offset in the partition.
    pub fn offset(&self) -> u64 {
        u64::try_from(self.0.offset()).unwrap_or_default()
    }

    /// What it holds; `None`: it says that its key is deleted.
    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    /// The value of the last header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let headers = self.0.headers()?;
        (0..headers.count()).rev().map(|at| headers.get(at)).find(|it| it.key == name)?.value
    }
}

impl<H: Holder> Member<H> {
    /// Joins the group of these settings. Opens connections in the background and waits for none.
    ///
    /// # Errors
    /// When librdkafka refuses the settings or the topics.
    pub fn join(
        settings: &ClientConfig,
        topics: &[String],
        holder: Arc<H>,
    ) -> Result<Member<H>, MemberError> {
        let context = Context { holder, started: Mutex::default(), said: Mutex::default() };
        let consumer: BaseConsumer<Context<H>> =
            settings.create_with_context(context).map_err(failed("making a client"))?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(failed("subscribing"))?;
        Ok(Member { consumer })
    }

    /// What the brokers call their cluster; `None`: none of them answered in that time.
    pub fn cluster(&self, patience: Duration) -> Option<String> {
        self.consumer.client().fetch_cluster_id(patience)
    }

    /// Whether a broker answers in that time.
    pub fn reaches_a_broker(&self, patience: Duration) -> bool {
        // Of a topic that is not there: the answer is short.
        self.consumer.fetch_metadata(Some("__kustos"), patience).is_ok()
    }

    /// The next message, or what else there is; waits no longer than that.
    pub fn poll(&self, patience: Duration) -> Polled<'_> {
        match self.consumer.poll(patience) {
            None => Polled::Nothing,
            Some(Ok(message)) => Polled::Message(Message(message)),
            Some(Err(error)) => polled(&error, self.consumer.context().said().take()),
        }
    }

    /// Begins to read a given partition at that offset.
    ///
    /// # Errors
    /// When librdkafka refuses, as for a partition that was taken meanwhile.
    pub fn start(&self, partition: &Partition, offset: u64) -> Result<(), MemberError> {
        let list = list([(partition, Some(offset))]);
        self.consumer.incremental_assign(&list).map_err(failed("starting a partition"))?;
        self.consumer.context().started().insert(partition.clone());
        // It may have been paused when it went away.
        self.consumer.resume(&list).map_err(failed("starting a partition"))
    }

    /// Ends to read a partition that is to be started again.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn stop(&self, partition: &Partition) -> Result<(), MemberError> {
        self.consumer.context().started().remove(partition);
        let list = list([(partition, None)]);
        self.consumer.incremental_unassign(&list).map_err(failed("stopping a partition"))
    }

    /// What the group has committed of a partition.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub fn committed(&self, partition: &Partition) -> Result<Option<u64>, MemberError> {
        let doing = "asking what is committed";
        let asked = list([(partition, None)]);
        let told = self.consumer.committed_offsets(asked, ANSWER).map_err(failed(doing))?;
        let of = told.find_partition(&partition.topic, partition.number);
        let Some(of) = of else { return Ok(None) };
        of.error().map_err(failed(doing))?;
        Ok(of.offset().to_raw().and_then(|it| u64::try_from(it).ok()))
    }

    /// The offsets of the first message a partition has, and after the last.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub fn bounds(&self, partition: &Partition) -> Result<(u64, u64), MemberError> {
        let (low, high) = self
            .consumer
            .fetch_watermarks(&partition.topic, partition.number, ANSWER)
            .map_err(failed("asking how far a partition goes"))?;
        Ok((u64::try_from(low).unwrap_or_default(), u64::try_from(high).unwrap_or_default()))
    }

    /// Has these offsets committed, and does not wait for it.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn commit(&self, offsets: &[(Partition, u64)]) -> Result<(), MemberError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let list = listed(offsets);
        self.consumer.commit(&list, CommitMode::Async).map_err(failed("committing offsets"))
    }

    /// Has these offsets committed, as often as it takes while the group changes.
    ///
    /// # Errors
    /// When they are not.
    pub fn commit_now(&self, offsets: &[(Partition, u64)]) -> Result<(), MemberError> {
        if offsets.is_empty() {
            return Ok(());
        }
        commit_last(&self.consumer, &listed(offsets)).map_err(failed("committing offsets"))
    }

    /// Gives no message of a started partition until [`Member::resume`]; polls serve the group alone.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn pause(&self) -> Result<(), MemberError> {
        self.consumer.pause(&self.all()).map_err(failed("pausing"))
    }

    /// Gives messages again.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn resume(&self) -> Result<(), MemberError> {
        self.consumer.resume(&self.all()).map_err(failed("resuming"))
    }

    fn all(&self) -> TopicPartitionList {
        list(self.consumer.context().started().iter().map(|it| (it, None)))
    }

    /// Leaves the group. Its partitions are taken as in [`Member::poll`].
    pub fn leave(self) {
        drop(self.consumer);
    }
}

/// `said`: what was last said of an error, which is more than the error holds.
fn polled(error: &KafkaError, said: Option<String>) -> Polled<'static> {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    let words = || error.to_string();
    match (error, code) {
        (KafkaError::MessageConsumptionFatal(_), _) => Polled::Over(words()),
        (_, Some(Code::AutoOffsetReset | Code::OffsetOutOfRange)) => Polled::OutOfRange,
        // Credentials and certificates are read again by the next member.
        (
            _,
            Some(
                Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::SSL
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::Fatal
                | Code::Fenced,
            ),
        ) => Polled::Over(words()),
        _ if probe::is_unreadable(error) => Polled::Unreadable(said.unwrap_or_else(words)),
        (_, Some(Code::PartitionEOF)) => Polled::Nothing,
        _ => Polled::Failing(words()),
    }
}

/// What librdkafka calls from within a poll.
struct Context<H> {
    holder: Arc<H>,
    /// The partitions that librdkafka reads: of those that were given, those that were started.
    started: Mutex<BTreeSet<Partition>>,
    /// What was said of the error that the poll is about to give.
    said: Mutex<Option<String>>,
}

impl<H> Context<H> {
    fn started(&self) -> MutexGuard<'_, BTreeSet<Partition>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> MutexGuard<'_, Option<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Holder> ClientContext for Context<H> {
    fn log(&self, level: RDKafkaLogLevel, part: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(part, "librdkafka: {text}");
            }
            // It is told by the commit itself, and tried again.
            _ if part == "COMMITFAIL" => tracing::debug!(part, "librdkafka: {text}"),
            _ => tracing::warn!(part, "librdkafka: {text}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The poll gives it as well, and whoever polls says what it means.
        tracing::debug!(%error, reason, "librdkafka");
        *self.said() = Some(reason.to_owned());
    }

    fn stats(&self, statistics: Statistics) {
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                if let Ok(end) = u64::try_from(partition.ls_offset) {
                    self.holder.ends_at(&topic.topic, partition.partition, end);
                }
            }
        }
    }
}

impl<H: Holder> ConsumerContext for Context<H> {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let partitions = named(partitions);
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.holder.given(&partitions);
            // Says that the answer was understood; each is started when its offset is known.
            tell(consumer.incremental_assign(&TopicPartitionList::new()));
            return;
        }
        let lost = consumer.assignment_lost();
        let kept = self.holder.taken(&partitions, lost);
        if !kept.is_empty()
            && let Err(error) = commit_last(consumer, &listed(&kept))
        {
            tracing::warn!(%error, "the last offsets of partitions that were taken away are not committed");
        }
        let mut started = self.started();
        let ended: Vec<&Partition> = partitions.iter().filter(|it| started.remove(it)).collect();
        tell(consumer.incremental_unassign(&list(ended.into_iter().map(|it| (it, None)))));
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets were not committed; they are with the next ones");
            self.holder.not_committed();
        }
    }
}

/// Commits before the partitions go. Without it the next owner reads again what this one has kept.
fn commit_last<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
) -> KafkaResult<()> {
    for _ in 1..COMMIT_ATTEMPTS_MAX {
        match consumer.commit(offsets, CommitMode::Sync) {
            // What is lost may have another reader by now, whose offset this one would take back.
            Err(KafkaError::ConsumerCommit(code))
                if passes(code) && !consumer.assignment_lost() =>
            {
                tracing::debug!(?code, "committing again");
                std::thread::sleep(COMMIT_AGAIN);
            }
            other => return other,
        }
    }
    consumer.commit(offsets, CommitMode::Sync)
}

/// Whether a commit that ended so may succeed soon.
fn passes(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        // The group is at its next generation, and this member has not heard of it yet.
        Code::IllegalGeneration
            | Code::RebalanceInProgress
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
            | Code::BrokerTransportFailure
            | Code::RequestTimedOut
    )
}

fn tell(result: KafkaResult<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "the group's answer could not be carried out");
    }
}

fn named(list: &TopicPartitionList) -> Vec<Partition> {
    let of = |it: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| Partition {
        topic: it.topic().into(),
        number: it.partition(),
    };
    list.elements().iter().map(of).collect()
}

fn listed(offsets: &[(Partition, u64)]) -> TopicPartitionList {
    list(offsets.iter().map(|(partition, offset)| (partition, Some(*offset))))
}

/// As librdkafka takes them; an offset only where there is one.
fn list<'p>(
    partitions: impl IntoIterator<Item = (&'p Partition, Option<u64>)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        let mut added = list.add_partition(&partition.topic, partition.number);
        if let Some(offset) = offset.and_then(|it| i64::try_from(it).ok()) {
            tell(added.set_offset(Offset::Offset(offset)));
        }
    }
    list
}
