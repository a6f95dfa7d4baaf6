//! Chunks in, through as many workers as there are cores, out in the order they came in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::in_force::InForce;
use super::stop::guarded;
use crate::detect::Trouble;
use crate::rules::RuleSet;
use crate::seal::leaf::Chain;
use crate::source::{Chunk, Framing, Receipt};

/// Chunks that wait for a worker, or for the archivist, unless configured otherwise.
pub const LANE_CHUNKS_MAX: usize = 8;

/// How long the exit waits before it looks whether it was asked for something else.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// A stream of lines, as every stage sees it.
#[derive(Debug)]
pub struct Stream {
    /// The catalog's number for it; 0 where nothing is stored.
    pub source: i64,
    /// Its cluster.
    pub cluster: Arc<str>,
    /// The name a person knows it by.
    pub name: Arc<str>,
    /// Offset of the first byte that is sent.
    pub start: u64,
    /// The chain over every line before it.
    pub chain: Chain,
}

/// A load on its way to a worker.
#[derive(Debug)]
pub struct Job {
    index: u64,
    /// What is to be done.
    pub load: Load,
    /// What judges it.
    pub rules: Arc<RuleSet>,
}

/// What goes through a lane.
#[derive(Debug)]
pub enum Load {
    /// Lines of a stream.
    Lines(Lines),
    /// What a source found wrong, in its place between the lines.
    Trouble(Trouble),
}

/// Lines of a stream, and whom to tell what became of them.
#[derive(Debug)]
pub struct Lines {
    /// The stream.
    pub stream: Arc<Stream>,
    /// The lines.
    pub chunk: Chunk,
    /// Spent by the commit that makes them durable; a source that goes on from the catalog's positions needs none.
    pub receipt: Option<Receipt>,
}

/// Why a load was not taken. It is handed back.
#[derive(Debug)]
pub enum NotNow {
    /// The lane is full.
    Full(Load),
    /// The pipeline has ended.
    Ended(Load),
}

/// Where sources put their chunks.
#[derive(Debug, Clone)]
pub struct Entrance {
    jobs: SyncSender<Job>,
    next: Arc<AtomicU64>,
    rules: InForce,
}

impl Entrance {
    /// Waits until there is room. False: the pipeline has ended, and the source should too.
    pub fn put(&self, stream: &Arc<Stream>, chunk: Chunk) -> bool {
        self.send(Load::Lines(Lines { stream: Arc::clone(stream), chunk, receipt: None }))
    }

    /// As [`Entrance::put`], for a source that has to tell its sender.
    pub fn put_for(&self, receipt: Receipt, stream: &Arc<Stream>, chunk: Chunk) -> bool {
        let stream = Arc::clone(stream);
        self.send(Load::Lines(Lines { stream, chunk, receipt: Some(receipt) }))
    }

    /// As [`Entrance::put_for`], and never waits: for a source that must answer its sender in time.
    ///
    /// # Errors
    /// When there is no room now, or the pipeline has ended. The load was not taken then.
    pub fn try_put(&self, lines: Lines) -> Result<(), NotNow> {
        self.try_send(Load::Lines(lines))
    }

    /// As [`Entrance::report`], and never waits.
    ///
    /// # Errors
    /// As for [`Entrance::try_put`].
    pub fn try_report(&self, trouble: Trouble) -> Result<(), NotNow> {
        self.try_send(Load::Trouble(trouble))
    }

    /// Says that a stream has ended at that offset. False as for [`Entrance::put`].
    pub fn end(&self, stream: &Arc<Stream>, offset: u64) -> bool {
        self.put(stream, Chunk { start: offset, bytes: Vec::new(), framing: Framing::Lines })
    }

    /// Tells what is wrong with a source. False as for [`Entrance::put`].
    pub fn report(&self, trouble: Trouble) -> bool {
        self.send(Load::Trouble(trouble))
    }

    fn send(&self, load: Load) -> bool {
        // In one step: a later chunk is never judged by an older set.
        let (index, rules) =
            self.rules.hold(|it| (self.next.fetch_add(1, Ordering::SeqCst), Arc::clone(it)));
        self.jobs.send(Job { index, load, rules }).is_ok()
    }

    fn try_send(&self, load: Load) -> Result<(), NotNow> {
        // A place in the order is taken only by what is in the lane: the exit waits for each place. Places
        // are given while the rules are held, so none is given between the two lines.
        self.rules.hold(|it| {
            let index = self.next.load(Ordering::SeqCst);
            match self.jobs.try_send(Job { index, load, rules: Arc::clone(it) }) {
                Ok(()) => {
                    self.next.store(index + 1, Ordering::SeqCst);
                    Ok(())
                }
                Err(TrySendError::Full(job)) => Err(NotNow::Full(job.load)),
                Err(TrySendError::Disconnected(job)) => Err(NotNow::Ended(job.load)),
            }
        })
    }
}

/// What the exit gave.
#[derive(Debug)]
pub enum Received<D> {
    /// What became of the next chunk.
    Done(D),
    /// Nothing came in that time.
    Idle,
    /// Every source has ended and every chunk was given out.
    End,
}

/// Where finished chunks come out, in the order they were put in.
#[derive(Debug)]
pub struct Exit<D> {
    done: Receiver<(u64, D)>,
    early: BTreeMap<u64, D>,
    next: u64,
    put: Arc<AtomicU64>,
    rules: InForce,
}

impl<D> Exit<D> {
    /// Whether everything that was put in so far has come out.
    pub fn drained(&self) -> bool {
        self.next == self.put.load(Ordering::SeqCst)
    }

    /// The rules that judge whatever comes next, if all that was put in so far has come out.
    pub fn drained_to(&self) -> Option<Arc<RuleSet>> {
        self.rules.hold(|it| self.drained().then(|| Arc::clone(it)))
    }

    /// The next one; waits no longer than that.
    pub fn next(&mut self, patience: Duration) -> Received<D> {
        loop {
            if let Some(done) = self.early.remove(&self.next) {
                self.next += 1;
                return Received::Done(done);
            }
            match self.done.recv_timeout(patience) {
                Ok((index, done)) => {
                    self.early.insert(index, done);
                }
                Err(RecvTimeoutError::Timeout) => return Received::Idle,
                Err(RecvTimeoutError::Disconnected) => {
                    assert!(self.early.is_empty(), "a worker ended before its chunk did");
                    return Received::End;
                }
            }
        }
    }
}

/// How wide the lanes are.
#[derive(Debug, Clone, Copy)]
pub struct Width {
    /// Worker threads.
    pub workers: usize,
    /// Chunks that wait between two stages.
    pub lane_chunks_max: usize,
}

impl Default for Width {
    fn default() -> Width {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Width { workers, lane_chunks_max: LANE_CHUNKS_MAX }
    }
}

/// Runs sources, workers and the exit until the sources have ended or `leave` returns.
///
/// `enter` runs on a thread of its own and may start more; `make` gives each worker its own
/// function; `leave` runs here.
pub fn run<D: Send, W, R>(
    width: Width,
    rules: &InForce,
    enter: impl FnOnce(Entrance) + Send,
    make: impl Fn() -> W,
    leave: impl FnOnce(&mut Exit<D>) -> R,
) -> R
where
    W: FnMut(Job) -> D + Send,
{
    let (jobs, waiting) = sync_channel::<Job>(width.lane_chunks_max);
    let (finished, done) = sync_channel::<(u64, D)>(width.lane_chunks_max);
    let waiting = Arc::new(Mutex::new(waiting));
    std::thread::scope(|scope| {
        let put = Arc::<AtomicU64>::default();
        let entrance = Entrance { jobs, next: Arc::clone(&put), rules: rules.clone() };
        scope.spawn(guarded("sources", move || enter(entrance)));
        for index in 0..width.workers.max(1) {
            let (waiting, finished, mut work) = (Arc::clone(&waiting), finished.clone(), make());
            scope.spawn(guarded(&format!("worker-{index}"), move || {
                while let Some(job) = take(&waiting) {
                    let index = job.index;
                    if finished.send((index, work(job))).is_err() {
                        return;
                    }
                }
            }));
        }
        drop((finished, waiting));
        let mut exit = Exit { done, early: BTreeMap::new(), next: 0, put, rules: rules.clone() };
        leave(&mut exit)
    })
}

fn take(waiting: &Mutex<Receiver<Job>>) -> Option<Job> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{self, LoadOptions};

    fn rules() -> InForce {
        InForce::new(Arc::new(rules::load_text([], &LoadOptions::default()).unwrap().rules))
    }

    fn stream() -> Arc<Stream> {
        Arc::new(Stream {
            source: 0,
            cluster: "c".into(),
            name: "n".into(),
            start: 0,
            chain: Chain::default(),
        })
    }

    fn at(start: u64) -> Chunk {
        Chunk { start, bytes: Vec::new(), framing: Framing::Lines }
    }

    #[test]
    fn chunks_come_out_in_the_order_they_went_in() {
        let stream = stream();
        let enter = |entrance: Entrance| {
            for start in 0..500 {
                assert!(entrance.put(&stream, at(start)));
            }
        };
        let make = || {
            |job: Job| {
                let Load::Lines(lines) = job.load else { panic!("no trouble was put in") };
                let start = lines.chunk.start;
                (0..start * 7919 % 500).fold(start, |it, _| std::hint::black_box(it))
            }
        };
        let out = run(Width { workers: 4, lane_chunks_max: 2 }, &rules(), enter, make, |exit| {
            let mut out = Vec::new();
            while let Received::Done(start) = exit.next(Duration::from_secs(60)) {
                out.push(start);
            }
            out
        });
        assert_eq!(out, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn what_finds_no_room_is_handed_back_and_leaves_no_gap_in_the_order() {
        let stream = stream();
        let (full, seen) = sync_channel(1);
        let enter = |entrance: Entrance| {
            let mut start = 0;
            let lines =
                |start| Lines { stream: Arc::clone(&stream), chunk: at(start), receipt: None };
            // The worker waits until the lane was found full.
            let handed_back = loop {
                match entrance.try_put(lines(start)) {
                    Ok(()) => start += 1,
                    Err(NotNow::Full(Load::Lines(it))) => break it,
                    Err(other) => panic!("{other:?}"),
                }
            };
            assert_eq!(handed_back.chunk.start, start);
            full.send(start).unwrap();
            assert!(entrance.put(&stream, handed_back.chunk));
        };
        let seen = Mutex::new(seen);
        let make = || {
            let mut waited = false;
            let seen = &seen;
            move |job: Job| {
                if !std::mem::replace(&mut waited, true) {
                    let count = seen.lock().unwrap().recv().unwrap();
                    assert!(count >= 2, "{count}");
                }
                let Load::Lines(lines) = job.load else { panic!("no trouble was put in") };
                lines.chunk.start
            }
        };
        let width = Width { workers: 1, lane_chunks_max: 2 };
        let out = run(width, &rules(), enter, make, |exit| {
            let mut out = Vec::new();
            while let Received::Done(start) = exit.next(Duration::from_secs(60)) {
                out.push(start);
            }
            out
        });
        assert_eq!(out, (0..out.len() as u64).collect::<Vec<_>>());
        assert!(out.len() >= 3);
    }

    #[test]
    fn a_source_is_told_when_the_pipeline_has_ended() {
        let stream = stream();
        let enter = |entrance: Entrance| {
            while entrance.put(&stream, at(0)) {}
        };
        run(
            Width { workers: 2, lane_chunks_max: 2 },
            &rules(),
            enter,
            || |_| (),
            |exit| assert!(matches!(exit.next(Duration::from_secs(60)), Received::Done(()))),
        );
    }
}
