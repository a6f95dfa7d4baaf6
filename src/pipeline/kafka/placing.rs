//! Partitions that the group gave -> partitions that are read, each from where it is kept.

use std::sync::Arc;
use std::time::Duration;

use super::hands::Reading;
use super::place::{self, Facts, Place, PlaceError, Tries, decide, look_up};
use super::session::{Handed, Lane, Session, SessionError};
use crate::cause;
use crate::detect::Trouble;
use crate::detect::trouble::kind;
use crate::source::Chunk;
use crate::source::kafka::Partition;
use crate::source::kafka::batch::Batch;
use crate::source::kafka::marks::Marks;

/// How often it is tried to place what could not be placed.
const PLACE_EVERY: Duration = Duration::from_millis(200);

/// How long a partition may end before its position until it counts as made anew: a new leader may be behind at first.
const DOUBT: Duration = Duration::from_secs(10);

/// How long a partition may wait for its last reader before that is told.
const ELSEWHERE: Duration = Duration::from_secs(60);

/// What came of a try.
enum Try {
    Placed(Box<Placed>),
    /// Its last reader still has it.
    Elsewhere,
    /// It ends before its position.
    Doubtful,
}

/// A partition that can be read.
struct Placed {
    reading: Reading,
    start: u64,
    trouble: Option<Trouble>,
}

impl Session<'_> {
    /// Tries to place every partition that was given and is not read.
    pub(super) fn place_waiting(&mut self) -> Result<Lane, SessionError> {
        let waiting = self.desk.hands.all().waiting.clone();
        let now = self.desk.intake.clock.elapsed();
        if waiting.is_empty() {
            self.tries = Tries::default();
            return Ok(Lane::Open);
        }
        if self.tries.last.is_some_and(|at| now.saturating_sub(at) < PLACE_EVERY) {
            return Ok(Lane::Open);
        }
        self.tries.last = Some(now);
        self.tries.since.retain(|it, _| waiting.contains(it));
        for partition in waiting {
            if self.desk.intake.stop.asked() {
                break;
            }
            match self.try_to_place(&partition, now) {
                Ok(Try::Placed(placed)) => {
                    self.tries.since.remove(&partition);
                    if self.begin(&partition, *placed)? == Lane::Closed {
                        return Ok(Lane::Closed);
                    }
                }
                Ok(Try::Elsewhere) => self.waits(&partition, now),
                Ok(Try::Doubtful) => {}
                Err(error) => self.fails(&cause::line(&error)),
            }
        }
        Ok(Lane::Open)
    }

    fn waits(&mut self, partition: &Partition, now: Duration) {
        let since = *self.tries.since.entry(partition.clone()).or_insert(now);
        if now.saturating_sub(since) >= ELSEWHERE {
            self.fails(&format!("partition {partition} is still held by its last reader"));
        }
    }

    fn try_to_place(&mut self, partition: &Partition, now: Duration) -> Result<Try, PlaceError> {
        if self.desk.hands.all().leaving(partition) {
            return Ok(Try::Elsewhere);
        }
        let (source, intake) = (self.desk.source, self.desk.intake);
        let cluster = &source.name.cluster;
        let found = look_up(
            &intake.catalog,
            source.shared.as_deref(),
            cluster,
            (&self.brokers, partition),
        )?;
        let Some(mut known) = found else { return Ok(Try::Elsewhere) };
        let committed = self.member.committed(partition)?;
        let facts = Facts { kept: known.kept, committed, bounds: self.member.bounds(partition)? };
        let decided = decide(facts, source.config.start);
        let mut told = committed;
        let (start, trouble) = match decided {
            Place::At(start) => (start, None),
            Place::Gap { from, to } => (to, Some(self.gap(partition, from, to))),
            Place::Anew { known: at, end, to } => {
                let since = *self.tries.since.entry(partition.clone()).or_insert(now);
                if now.saturating_sub(since) < DOUBT {
                    return Ok(Try::Doubtful);
                }
                known.identity = place::identity(&self.brokers, partition, known.generation + 1);
                // Before anything else: what the group had committed is of the topic that is gone, and would be
                // taken for a position in this one.
                self.member.commit_now(&[(partition.clone(), to)])?;
                told = Some(to);
                (to, Some(self.anew(partition, at, end)))
            }
        };
        let whole =
            self.desk.open(cluster, &place::whole(&known.identity, self.desk.named()), start)?;
        let reading = Reading {
            identity: known.identity,
            marks: Marks::new(known.lock),
            next: start,
            told,
            batch: Batch::default(),
            each: self.desk.streams(&whole),
            whole,
        };
        Ok(Try::Placed(Box::new(Placed { reading, start, trouble })))
    }

    /// Begins to read a partition, once its position is on its way into the catalog.
    fn begin(&mut self, partition: &Partition, placed: Placed) -> Result<Lane, SessionError> {
        let Placed { reading, start, trouble } = placed;
        tracing::info!(%partition, start, "reading");
        let (marks, stream) = (Arc::clone(&reading.marks), Arc::clone(&reading.whole));
        self.desk.hands.all().begin(partition, reading);
        self.member.start(partition, start)?;
        if let Some(trouble) = trouble
            && self.hand(Handed::Trouble(Box::new(trouble)))? == Lane::Closed
        {
            return Ok(Lane::Closed);
        }
        let receipt = marks.hand_over(start);
        self.hand(Handed::Chunk { marks, receipt, stream, chunk: Chunk::of_records(start, []) })
    }

    /// Some offset that was to be read is not there: what concerns it is placed again.
    pub(super) fn stop_what_is_out_of_range(&mut self) -> Result<(), SessionError> {
        let hands = Arc::clone(&self.desk.hands);
        let reading: Vec<(Partition, u64)> =
            hands.all().readings().map(|(partition, it)| (partition, it.next)).collect();
        for (partition, next) in reading {
            let Ok((low, high)) = self.member.bounds(&partition) else { continue };
            if (low..=high).contains(&next) {
                continue;
            }
            self.member.stop(&partition)?;
            self.place_again(partition)?;
        }
        Ok(())
    }

    /// Has a partition that was stopped placed anew. What was handed over of it goes its way; until then it waits.
    pub(super) fn place_again(&mut self, partition: Partition) -> Result<(), SessionError> {
        let hands = Arc::clone(&self.desk.hands);
        let kept = hands.let_go(std::slice::from_ref(&partition), Duration::ZERO);
        self.member.commit(&kept)?;
        hands.all().waiting.push(partition);
        Ok(())
    }

    fn gap(&self, partition: &Partition, from: u64, to: u64) -> Trouble {
        let detail = format!(
            "partition {partition} was read up to offset {from}, and the oldest that the brokers still have is {to}: \
             {} messages were deleted before they were read, or more members of the group read into other archives",
            to - from
        );
        self.trouble("kustos-source-gap", to, (format!("{partition} {from} {to}"), detail))
    }

    fn anew(&self, partition: &Partition, known: u64, end: u64) -> Trouble {
        let detail = format!(
            "partition {partition} was read up to offset {known} and now ends at {end}: the topic was made anew, or \
             brokers lost its end; it is read from its beginning, as another one"
        );
        self.trouble("kustos-source-rewound", end, (format!("{partition} {known} {end}"), detail))
    }

    pub(super) fn trouble(
        &self,
        id: &str,
        position: u64,
        (key, detail): (String, String),
    ) -> Trouble {
        tracing::error!(source = &*self.desk.source.name.name, detail, "{id}");
        Trouble {
            kind: kind(id),
            cluster: self.desk.source.name.cluster.to_string(),
            source: self.desk.source.name.name.to_string(),
            position,
            time: self.desk.intake.clock.now(),
            detail,
            key: key.into_bytes(),
        }
    }
}
