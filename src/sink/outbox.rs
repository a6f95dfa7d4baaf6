//! Outbox -> sinks: one loop for each sink, so that a slow one holds up no other.
//!
//! One rule: a message leaves the outbox only by a note in the catalog, made after the
//! destination answered. A crash between the two sends the message again, under the same id.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::cause::causes;
use super::notices::Notices;
use super::{Backoff, DeliverError, Message, Named, Sink};
use crate::archive::catalog::{Catalog, CatalogError};
use crate::archive::outbox::{Outcome, Pending};
use crate::clock::Clock;
use crate::metrics::{Metrics, SinkLabel};

/// How often the outbox is looked at although nobody rang: another process may have written.
const POLL: Duration = Duration::from_secs(1);

/// How long one call may take before it counts as failed. Above every sink's own timeout.
const CALL_MAX: Duration = Duration::from_secs(60);

/// The longest a sink rests after failures, so that one that is back is soon used.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The longest a destination can make its sink rest.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(300);

/// How far waiting messages are counted for the metric.
const PENDING_COUNT_MAX: u32 = 1_000;

/// How often waiting messages are counted at most.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What the loops work with.
pub struct Start {
    /// The archive's folder. It holds a catalog.
    pub dir: PathBuf,
    /// The sinks, as [`super::build`] made them.
    pub sinks: Vec<Named>,
    /// Where tries are counted.
    pub metrics: Metrics,
    /// Says what is due.
    pub clock: Arc<dyn Clock>,
    /// How failures are repeated.
    pub backoff: Backoff,
}

/// The running loops.
pub struct Outbox {
    bell: Bell,
    stop: watch::Sender<bool>,
    loops: Vec<JoinHandle<()>>,
}

/// Wakes the loops: there are new messages. Any thread may ring, as often as it likes.
#[derive(Debug, Clone)]
pub struct Bell(Arc<[Arc<Notify>]>);

impl Bell {
    /// Wakes every loop; one that is busy looks again when it is done.
    pub fn ring(&self) {
        for bell in self.0.iter() {
            bell.notify_one();
        }
    }
}

/// Starts a loop for each sink, on the current tokio runtime. What an earlier process left in
/// the outbox is sent first.
///
/// # Errors
/// When the catalog cannot be opened.
pub fn start(start: Start) -> Result<Outbox, CatalogError> {
    let (stop, stopping) = watch::channel(false);
    let bells: Vec<Arc<Notify>> = start.sinks.iter().map(|_| Arc::default()).collect();
    let mut ready = Vec::new();
    for (named, bell) in start.sinks.into_iter().zip(&bells) {
        ready.push(Feeder {
            name: named.name,
            sink: named.sink,
            catalog: Arc::new(Mutex::new(Catalog::open(&start.dir)?)),
            metrics: start.metrics.clone(),
            clock: Arc::clone(&start.clock),
            backoff: start.backoff,
            bell: Arc::clone(bell),
            stop: stopping.clone(),
            unsettled: Vec::new(),
            soonest: None,
            counted: None,
            notices: Notices::default(),
        });
    }
    // Only once every catalog is open: an error above leaves nothing running.
    let loops = ready.into_iter().map(|it| tokio::spawn(it.run())).collect();
    Ok(Outbox { bell: Bell(bells.into()), stop, loops })
}

impl Outbox {
    /// The bell to ring after findings are recorded.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Sends what is due, for at most `drain`, and ends the loops. What is left, and what is
    /// under way then, is sent after the next start. Says whether all that was due is sent.
    pub async fn stop(mut self, drain: Duration) -> bool {
        self.stop.send_replace(true);
        let ended = async {
            for it in &mut self.loops {
                if let Err(error) = it.await {
                    tracing::error!(%error, "a sink's loop ended badly");
                }
            }
        };
        let drained = tokio::time::timeout(drain, ended).await.is_ok();
        self.loops.iter().for_each(JoinHandle::abort);
        drained
    }
}

/// Why a round could not be made. The next one tries again.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the catalog's thread ended")]
    Thread(#[from] JoinError),
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Nothing was due.
    Idle,
    /// Messages were tried.
    Tried {
        /// Whether one was sent, or is dead: then the destination works.
        moved: bool,
        /// How long the destination asked to be left alone.
        asked: Option<Duration>,
    },
}

/// How the tries of a round ended, for the log.
#[derive(Debug, Default)]
struct Tries {
    /// Whether the destination has one of the messages.
    sent: bool,
    /// How many are to be repeated.
    failed: u64,
    /// Why the last of them is.
    error: String,
}

/// The loop of one sink. It owns its connection to the catalog.
struct Feeder {
    name: String,
    sink: Arc<dyn Sink>,
    catalog: Arc<Mutex<Catalog>>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    backoff: Backoff,
    bell: Arc<Notify>,
    stop: watch::Receiver<bool>,
    /// Ends that the catalog did not take. Nothing is sent before it has: a full disk must not
    /// send the same messages over and over.
    unsettled: Vec<(String, Outcome)>,
    /// When the first of the messages that this loop put off is due, µs.
    soonest: Option<i64>,
    /// When the waiting messages were last counted.
    counted: Option<Duration>,
    /// What the log was told of its failures.
    notices: Notices,
}

impl Feeder {
    async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            // An `Outbox` that was dropped cannot say stop any more: that is a stop as well.
            let stopping = *self.stop.borrow_and_update() || self.stop.has_changed().is_err();
            let round = self.round().await;
            if let Ok(Round::Tried { moved: true, asked: None }) = round {
                failures = 0;
                continue;
            }
            self.count().await;
            if stopping {
                return;
            }
            match round {
                Ok(Round::Idle) => self.wait_for_work().await,
                Ok(Round::Tried { moved, asked }) => {
                    failures = if moved { 0 } else { failures.saturating_add(1) };
                    self.pause(failures, asked).await;
                }
                Err(error) => {
                    let error = causes(&error);
                    tracing::error!(sink = self.name, error, "the outbox is not readable");
                    failures = failures.saturating_add(1);
                    self.pause(failures, None).await;
                }
            }
        }
    }

    /// Until somebody rings, a message is due, it is time to look, or the program stops.
    async fn wait_for_work(&mut self) {
        let now = self.clock.now();
        let soonest = self
            .soonest
            .map(|at| Duration::from_micros(u64::try_from(at.saturating_sub(now)).unwrap_or(0)));
        let wait = soonest.unwrap_or(POLL).min(POLL);
        tokio::select! {
            () = self.bell.notified() => {}
            () = tokio::time::sleep(wait) => {}
            _ = self.stop.changed() => {}
        }
    }

    /// The destination is down, or asked for a rest: nothing is sent, whoever rings.
    async fn pause(&mut self, failures: u32, asked: Option<Duration>) {
        let wait = self.backoff.wait(&self.name, failures, None).min(PAUSE_MAX);
        let wait = wait.max(asked.unwrap_or_default().min(ASKED_PAUSE_MAX));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = self.stop.changed() => {}
        }
    }

    /// Fetches what is due, sends it, and notes how it ended.
    async fn round(&mut self) -> Result<Round, RoundError> {
        self.settle().await?;
        let (now, name, pace) = (self.clock.now(), self.name.clone(), self.sink.pace());
        let limit = pace.batch_max.max(1).saturating_mul(pace.calls_max.max(1));
        if self.soonest.is_some_and(|it| it <= now) {
            self.soonest = None;
        }
        let due = self.with_catalog(move |it| it.due(&name, now, limit)).await?;
        if due.is_empty() {
            return Ok(Round::Idle);
        }
        let batch_max = usize::try_from(pace.batch_max.max(1)).unwrap_or(1);
        let ends = self.deliver(&due, batch_max).await;
        let (mut moved, mut asked) = (false, None);
        let mut tries = Tries::default();
        for pending in due {
            let end = ends.get(&pending.id).cloned().unwrap_or_else(|| {
                Err(DeliverError::Retry { after: None, why: "the sink panicked".to_owned() })
            });
            match &end {
                Err(DeliverError::Retry { after, why }) => {
                    asked = asked.max(*after);
                    tries.failed += 1;
                    tries.error.clone_from(why);
                }
                Ok(()) => (moved, tries.sent) = (true, true),
                Err(DeliverError::Rejected { .. }) => moved = true,
            }
            let outcome = self.outcome(&pending, end);
            self.unsettled.push((pending.id, outcome));
        }
        self.tell(&tries);
        // A crash here sends the messages again, under the same ids.
        self.settle().await?;
        Ok(Round::Tried { moved, asked })
    }

    /// Sends all batches at once, each in a task of its own.
    async fn deliver(
        &self,
        due: &[Pending],
        batch_max: usize,
    ) -> BTreeMap<String, Result<(), DeliverError>> {
        let mut calls = JoinSet::new();
        for batch in due.chunks(batch_max) {
            let sink = Arc::clone(&self.sink);
            let batch: Vec<Message> = batch.iter().map(message).collect();
            calls.spawn(async move {
                let end = tokio::time::timeout(CALL_MAX, sink.deliver(&batch)).await;
                let end = end.unwrap_or_else(|_| {
                    let why = format!("no answer within {} seconds", CALL_MAX.as_secs());
                    Err(DeliverError::Retry { after: None, why })
                });
                (batch, end)
            });
        }
        let mut ends = BTreeMap::new();
        while let Some(call) = calls.join_next().await {
            match call {
                Ok((batch, end)) => {
                    ends.extend(batch.into_iter().map(|it| (it.id, end.clone())));
                }
                Err(error) => tracing::error!(sink = self.name, %error, "a sink panicked"),
            }
        }
        ends
    }

    /// Logs how a round ended, where the log does not say so already.
    fn tell(&mut self, tries: &Tries) {
        let (sink, error) = (self.name.as_str(), tries.error.as_str());
        if let Some(failed) = self.notices.failed(tries.failed, self.clock.elapsed()) {
            tracing::warn!(sink, error, failed, "alerts could not be delivered; trying again");
        }
        if tries.sent
            && tries.failed == 0
            && let Some(failed) = self.notices.worked()
        {
            tracing::info!(sink, failed, "alerts are delivered again");
        }
    }

    /// What the catalog is to note, counted. What is given up is logged, one line a message: it
    /// is said once, and nobody else says it.
    fn outcome(&mut self, pending: &Pending, end: Result<(), DeliverError>) -> Outcome {
        let failures = pending.attempts.saturating_add(1);
        let (sink, id) = (self.name.as_str(), pending.id.as_str());
        let (outcome, word) = match end {
            Ok(()) => (Outcome::Sent, "sent"),
            Err(DeliverError::Retry { after, why: error }) if !self.backoff.spent(failures) => {
                let wait = self.backoff.wait(id, failures, after);
                tracing::debug!(sink, id, error, failures, ?wait, "an alert is to be sent again");
                let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
                let due = self.clock.now().saturating_add(wait);
                self.soonest = Some(self.soonest.map_or(due, |it| it.min(due)));
                (Outcome::Retry { due, error }, "retry")
            }
            Err(DeliverError::Retry { why: error, .. } | DeliverError::Rejected { why: error }) => {
                tracing::error!(sink, id, error, failures, "an alert will not be delivered");
                (Outcome::Dead { error }, "dead")
            }
        };
        self.metrics.delivered(sink, word);
        outcome
    }

    async fn settle(&mut self) -> Result<(), RoundError> {
        if self.unsettled.is_empty() {
            return Ok(());
        }
        let outcomes = self.unsettled.clone();
        self.with_catalog(move |it| it.settle(&outcomes)).await?;
        self.unsettled.clear();
        Ok(())
    }

    /// Counts the waiting messages, those that are put off too.
    async fn count(&mut self) {
        let now = self.clock.elapsed();
        if self.counted.is_some_and(|it| now < it + COUNT_EVERY) {
            return;
        }
        self.counted = Some(now);
        let name = self.name.clone();
        let waiting = self.with_catalog(move |it| it.due(&name, i64::MAX, PENDING_COUNT_MAX)).await;
        // A catalog that cannot be read was logged by the round.
        if let Ok(waiting) = waiting {
            let labels = SinkLabel { sink: self.name.clone() };
            let count = i64::try_from(waiting.len()).unwrap_or(i64::MAX);
            self.metrics.outbox_pending.get_or_create(&labels).set(count);
        }
    }

    /// SQLite blocks, so it runs on a thread that may.
    async fn with_catalog<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Catalog) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, RoundError> {
        let catalog = Arc::clone(&self.catalog);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut catalog.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(done.await??)
    }
}

fn message(pending: &Pending) -> Message {
    Message { id: pending.id.clone(), finding: pending.finding.clone(), body: pending.body.clone() }
}
