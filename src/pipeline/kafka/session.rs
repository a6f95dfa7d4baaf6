//! One membership of the group: what it gives is read, handed over, and committed when it is kept.
//!
//! One rule: polling goes on whatever happens to the pipeline, or the group would take the partitions away. A thread
//! beside it waits at the lane; while that takes long, the partitions are paused.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::KafkaSource;
use super::desk::{self, Desk};
use super::hands::{Hands, Reading};
use super::place::Tries;
use crate::archive::catalog::CatalogError;
use crate::archive::replicas::ReplicasError;
use crate::cause;
use crate::detect::Trouble;
use crate::pipeline::intake::Intake;
use crate::pipeline::lanes::{Entrance, Stream};
use crate::pipeline::stop::guarded;
use crate::source::chunk::CHUNK_BYTES;
use crate::source::kafka::Partition;
use crate::source::kafka::client::{self, ClientError};
use crate::source::kafka::marks::Marks;
use crate::source::kafka::member::{Member, MemberError, Polled};
use crate::source::{Chunk, Receipt};

/// Chunks that wait for the thread that waits at the lane.
const HANDED_MAX: usize = 2;

/// Bytes of messages of all partitions that are read and not handed over.
const BATCHED_BYTES_MAX: usize = 4 * CHUNK_BYTES;

/// How long a poll waits for a message.
const POLL: Duration = Duration::from_millis(100);

/// How long it is waited for the lane before the partitions are paused.
const UNPAUSED: Duration = Duration::from_secs(1);

/// Between two looks whether the lane has room.
const GLANCE: Duration = Duration::from_millis(2);

/// How often offsets are committed to the broker, and how far it is behind is told.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// How long brokers may take to be found, before it is looked whether to stop.
const FIND: Duration = Duration::from_secs(1);

/// Between two looks whether brokers that could not be reached can be.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// librdkafka's `max.poll.interval.ms`, unless it is set.
const POLL_INTERVAL_MS: u64 = 300_000;

/// Why a membership came to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// There is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// librdkafka refused.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The archive could not be asked.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Another replica's archive could not be asked.
    #[error(transparent)]
    Replicas(#[from] ReplicasError),
    /// No broker answered.
    #[error("none of the brokers {0} answers")]
    Unreachable(String),
    /// It was put out of the group, or not let in.
    #[error("the brokers refuse this member: {0}")]
    Over(String),
}

/// What goes to the pipeline.
pub(super) enum Handed {
    Chunk { marks: Arc<Marks>, receipt: Receipt, stream: Arc<Stream>, chunk: Chunk },
    Trouble(Box<Trouble>),
}

/// Whether the pipeline still takes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Open,
    Closed,
}

/// Reads until it is asked to stop or the pipeline has ended.
///
/// # Errors
/// When it cannot go on; what was read is settled, and another membership may begin.
pub(super) fn read(source: &KafkaSource, intake: &Intake<'_>) -> Result<(), SessionError> {
    let settings = client::settings(&source.config)?;
    let interval = settings.get("max.poll.interval.ms").and_then(|it| it.parse().ok());
    let patience = Duration::from_millis(interval.unwrap_or(POLL_INTERVAL_MS)) / 4;
    let hands = Hands::new(patience);
    let member = Member::join(&settings, &source.config.topics, Arc::clone(&hands))?;
    let Some(brokers) = find(source, intake, &member)? else { return Ok(()) };
    intake.observer.state(&source.name, None);
    let (out, handed) = sync_channel(HANDED_MAX);
    let entrance = intake.entrance.clone();
    std::thread::scope(|scope| {
        scope.spawn(guarded("kafka-lane", move || put(&entrance, &handed)));
        let mut session = Session {
            desk: Desk::new(source, intake, Arc::clone(&hands)),
            member,
            out,
            brokers,
            tries: Tries::default(),
            committed_at: Duration::ZERO,
            failing: None,
            troubles: Vec::new(),
        };
        let result = session.read_on();
        session.leave(patience);
        result
    })
}

/// Waits for a broker that says what the brokers call their cluster. `None`: it is asked to stop.
fn find(
    source: &KafkaSource,
    intake: &Intake<'_>,
    member: &Member<Hands>,
) -> Result<Option<String>, SessionError> {
    while !intake.stop.asked() {
        if let Some(cluster) = member.cluster(FIND) {
            return Ok(Some(cluster));
        }
        if let Polled::Over(words) = member.poll(Duration::ZERO) {
            return Err(SessionError::Over(words));
        }
        let error = SessionError::Unreachable(source.config.brokers.join(", "));
        intake.observer.state(&source.name, Some(&cause::line(&error)));
    }
    Ok(None)
}

/// Waits at the lane. What belongs to a partition that was taken meanwhile is left out: its receipt says so.
fn put(entrance: &Entrance, handed: &Receiver<Handed>) {
    for it in handed {
        let open = match it {
            Handed::Chunk { marks, .. } if marks.closed() => true,
            Handed::Chunk { receipt, stream, chunk, .. } => {
                entrance.put_for(receipt, &stream, chunk)
            }
            Handed::Trouble(trouble) => entrance.report(*trouble),
        };
        if !open {
            return;
        }
    }
}

/// A membership.
pub(super) struct Session<'a> {
    pub desk: Desk<'a>,
    pub member: Member<Hands>,
    pub out: SyncSender<Handed>,
    /// What the brokers call their cluster.
    pub brokers: String,
    pub tries: Tries,
    committed_at: Duration,
    /// When it was last looked whether what failed works again; `None`: nothing failed.
    failing: Option<Duration>,
    /// What is to be handed over before what was read after it.
    pub troubles: Vec<Trouble>,
}

impl Session<'_> {
    fn read_on(&mut self) -> Result<(), SessionError> {
        let stop = self.desk.intake.stop;
        while !stop.asked() {
            let lane = self.place_waiting()?;
            if lane == Lane::Closed || self.turn()? == Lane::Closed {
                return Ok(());
            }
            self.commit_if_due();
        }
        Ok(())
    }

    /// Reads until a batch is full or nothing more is there at once, and hands over what was read.
    fn turn(&mut self) -> Result<Lane, SessionError> {
        let mut patience = POLL;
        let mut bytes = 0;
        while let Some(more) = self.poll(patience)? {
            bytes += more.read;
            if desk::is_full(more.batched) || bytes >= BATCHED_BYTES_MAX {
                break;
            }
            patience = Duration::ZERO;
        }
        self.hand_over()
    }

    /// Polls once. `None`: no message was there.
    fn poll(&mut self, patience: Duration) -> Result<Option<More>, SessionError> {
        match self.member.poll(patience) {
            Polled::Message(message) => {
                let more = More {
                    read: message.value().map_or(1, |it| it.len().max(1)),
                    batched: self.desk.take(&message)?,
                };
                drop(message);
                self.works();
                return Ok(Some(more));
            }
            Polled::Nothing => self.probe(),
            Polled::OutOfRange => self.stop_what_is_out_of_range()?,
            Polled::Unreadable(words) => self.pass_what_is_unreadable(&words)?,
            Polled::Failing(words) => self.fails(&words),
            Polled::Over(words) => return Err(SessionError::Over(words)),
        }
        Ok(None)
    }

    /// Hands over everything that was read.
    fn hand_over(&mut self) -> Result<Lane, SessionError> {
        for trouble in std::mem::take(&mut self.troubles) {
            if self.hand(Handed::Trouble(Box::new(trouble)))? == Lane::Closed {
                return Ok(Lane::Closed);
            }
        }
        let named = self.desk.named();
        let hands = Arc::clone(&self.desk.hands);
        let mut handed = Vec::new();
        for (_, reading) in hands.all().readings() {
            handed.extend(batched(reading, named));
        }
        for it in handed {
            if self.hand(it)? == Lane::Closed {
                return Ok(Lane::Closed);
            }
        }
        Ok(Lane::Open)
    }

    /// Hands one thing over. While there is no room the group is served, with the partitions paused.
    pub(super) fn hand(&mut self, mut it: Handed) -> Result<Lane, SessionError> {
        let since = self.desk.intake.clock.elapsed();
        let mut paused = false;
        loop {
            match self.out.try_send(it) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Ok(Lane::Closed),
                Err(TrySendError::Full(back)) => it = back,
            }
            if paused {
                self.poll(POLL / 5)?;
            } else if self.desk.intake.clock.elapsed().saturating_sub(since) > UNPAUSED {
                self.member.pause()?;
                paused = true;
            } else {
                std::thread::sleep(GLANCE);
            }
            self.commit_if_due();
        }
        if paused {
            self.member.resume()?;
        }
        Ok(Lane::Open)
    }

    /// Commits what is kept, and tells how far it is behind.
    fn commit_if_due(&mut self) {
        let now = self.desk.intake.clock.elapsed();
        if now.saturating_sub(self.committed_at) < COMMIT_EVERY {
            return;
        }
        self.committed_at = now;
        let (untold, behind, waiting) = {
            let mut all = self.desk.hands.all();
            (all.untold(), all.behind(), !all.waiting.is_empty())
        };
        if let Err(error) = self.member.commit(&untold) {
            tracing::warn!(error = cause::line(&error), "offsets are committed with the next ones");
            self.desk.hands.all().forget();
        }
        // What is not placed yet may hold anything.
        let behind = behind.filter(|_| !waiting);
        self.desk.intake.observer.behind(&self.desk.source.name, behind);
    }

    /// Ends: waits for what is under way, commits it, and leaves the group.
    fn leave(self, patience: Duration) {
        let all: Vec<Partition> =
            self.desk.hands.all().readings().map(|(partition, _)| partition).collect();
        let kept = self.desk.hands.let_go(&all, patience);
        if let Err(error) = self.member.commit_now(&kept) {
            tracing::warn!(
                error = cause::line(&error),
                "the last offsets are not committed: the group's next reader begins before them"
            );
        }
        self.member.leave();
        drop(self.out);
    }

    pub(super) fn fails(&mut self, words: &str) {
        if self.failing.is_none() {
            tracing::warn!(
                source = &*self.desk.source.name.name,
                words,
                "Kafka does not answer as it should; trying again"
            );
        }
        self.desk.intake.observer.state(&self.desk.source.name, Some(words));
        self.failing.get_or_insert_with(|| self.desk.intake.clock.elapsed());
    }

    fn works(&mut self) {
        if self.failing.take().is_some() {
            tracing::info!(source = &*self.desk.source.name.name, "Kafka answers again");
            self.desk.intake.observer.state(&self.desk.source.name, None);
        }
    }

    /// Looks now and then whether what failed works again although nothing comes.
    fn probe(&mut self) {
        let now = self.desk.intake.clock.elapsed();
        if self.failing.is_some_and(|at| now.saturating_sub(at) >= PROBE_EVERY) {
            self.failing = Some(now);
            if self.member.reaches_a_broker(FIND) {
                self.works();
            }
        }
    }
}

/// What a message came to.
struct More {
    /// Its bytes.
    read: usize,
    /// Bytes of the batch it is in.
    batched: usize,
}

/// A partition's batch as chunks, with receipts in their order.
fn batched(reading: &mut Reading, named: bool) -> Vec<Handed> {
    let Some((chunks, end)) = reading.batch.take() else { return Vec::new() };
    let mut out: Vec<(Arc<Stream>, Chunk)> = Vec::new();
    for (cluster, chunk) in chunks {
        // Every cluster in a batch has a stream: it was made before the message was filed.
        if let Some((stream, _)) = reading.each.get(&cluster) {
            out.push((Arc::clone(stream), chunk));
        }
    }
    if named || out.is_empty() {
        // Moves the position of the whole, after all that is before it.
        out.push((Arc::clone(&reading.whole), Chunk::of_records(end, [])));
    }
    let last = out.len() - 1;
    let hand = |(at, (stream, chunk)): (usize, (Arc<Stream>, Chunk))| {
        // Only with the last chunk of a batch are all messages before its end kept.
        let receipt = reading.marks.hand_over(if at == last { end } else { 0 });
        Handed::Chunk { marks: Arc::clone(&reading.marks), receipt, stream, chunk }
    };
    out.into_iter().enumerate().map(hand).collect()
}
