//! Chunks in, through as many workers as there are cores, out in the order they came in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::in_force::InForce;
use super::stop::guarded;
use crate::detect::Trouble;
use crate::rules::RuleSet;
use crate::seal::leaf::Chain;
use crate::source::chunk::CHUNK_BYTES;
use crate::source::{Chunk, Framing, Receipt};

/// Chunks that wait for a worker, or for the archivist, unless configured otherwise.
pub const LANE_CHUNKS_MAX: usize = 8;

/// Bytes of chunks on their way from a source to the archivist, unless configured otherwise. The lanes bound
/// how many wait, but not how long the lines are, nor how many come out while one before them takes long.
pub const BYTES_IN_FLIGHT_MAX: u64 = 256 << 20;

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
    /// What the gate counts of it.
    weight: u64,
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

impl Load {
    /// What the gate counts of it: a short chunk has its columns too, which are not shorter.
    fn weight(&self) -> u64 {
        match self {
            Load::Lines(lines) => lines.chunk.bytes.len().max(CHUNK_BYTES) as u64,
            Load::Trouble(_) => 0,
        }
    }
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
    gate: Arc<Gate>,
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
        let weight = load.weight();
        if !self.gate.enter(weight) {
            return false;
        }
        // In one step: a later chunk is never judged by an older set.
        let (index, rules) =
            self.rules.hold(|it| (self.next.fetch_add(1, Ordering::SeqCst), Arc::clone(it)));
        self.jobs.send(Job { index, weight, load, rules }).is_ok()
    }

    fn try_send(&self, load: Load) -> Result<(), NotNow> {
        let weight = load.weight();
        if !self.gate.try_enter(weight) {
            return Err(NotNow::Full(load));
        }
        let sent = self.try_place(load, weight);
        if sent.is_err() {
            self.gate.leave(weight);
        }
        sent
    }

    fn try_place(&self, load: Load, weight: u64) -> Result<(), NotNow> {
        // A place in the order is taken only by what is in the lane: the exit waits for each place. Places
        // are given while the rules are held, so none is given between the two lines.
        self.rules.hold(|it| {
            let index = self.next.load(Ordering::SeqCst);
            match self.jobs.try_send(Job { index, weight, load, rules: Arc::clone(it) }) {
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

/// Lets chunks in as long as they are not too much together; one that alone is too much is let in when nothing
/// else is on its way.
#[derive(Debug)]
struct Gate {
    within: Mutex<Within>,
    changed: Condvar,
    bytes_max: u64,
}

#[derive(Debug, Default)]
struct Within {
    bytes: u64,
    /// Nothing leaves any more.
    ended: bool,
}

impl Gate {
    fn new(bytes_max: u64) -> Gate {
        Gate { within: Mutex::default(), changed: Condvar::new(), bytes_max }
    }

    fn is_full(&self, within: &Within, bytes: u64) -> bool {
        !within.ended && within.bytes > 0 && within.bytes.saturating_add(bytes) > self.bytes_max
    }

    /// Waits until there is room. False: the pipeline has ended.
    fn enter(&self, bytes: u64) -> bool {
        let within = self.within.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(within, |it| self.is_full(it, bytes));
        let mut within = waited.unwrap_or_else(PoisonError::into_inner);
        within.bytes += bytes;
        !within.ended
    }

    /// As [`Gate::enter`], but false where that would wait.
    fn try_enter(&self, bytes: u64) -> bool {
        let mut within = self.within.lock().unwrap_or_else(PoisonError::into_inner);
        let room = !self.is_full(&within, bytes);
        within.bytes += if room { bytes } else { 0 };
        room
    }

    fn leave(&self, bytes: u64) {
        self.within.lock().unwrap_or_else(PoisonError::into_inner).bytes -= bytes;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.within.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.changed.notify_all();
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
    done: Receiver<Finished<D>>,
    early: BTreeMap<u64, (u64, D)>,
    next: u64,
    put: Arc<AtomicU64>,
    rules: InForce,
    gate: Arc<Gate>,
}

/// A chunk's place in the order, its weight and what became of it.
type Finished<D> = (u64, u64, D);

impl<D> Drop for Exit<D> {
    fn drop(&mut self) {
        // A source that waits for room would wait for ever.
        self.gate.end();
    }
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
            if let Some((weight, done)) = self.early.remove(&self.next) {
                self.next += 1;
                self.gate.leave(weight);
                return Received::Done(done);
            }
            match self.done.recv_timeout(patience) {
                Ok((index, weight, done)) => {
                    self.early.insert(index, (weight, done));
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
    /// Bytes of chunks on their way.
    pub bytes_in_flight_max: u64,
}

impl Default for Width {
    fn default() -> Width {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Width {
            workers,
            lane_chunks_max: LANE_CHUNKS_MAX,
            bytes_in_flight_max: BYTES_IN_FLIGHT_MAX,
        }
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
    let (finished, done) = sync_channel::<Finished<D>>(width.lane_chunks_max);
    let waiting = Arc::new(Mutex::new(waiting));
    std::thread::scope(|scope| {
        let put = Arc::<AtomicU64>::default();
        let gate = Arc::new(Gate::new(width.bytes_in_flight_max));
        let entrance = Entrance {
            jobs,
            next: Arc::clone(&put),
            rules: rules.clone(),
            gate: Arc::clone(&gate),
        };
        scope.spawn(guarded("sources", move || enter(entrance)));
        for index in 0..width.workers.max(1) {
            let (waiting, finished, mut work) = (Arc::clone(&waiting), finished.clone(), make());
            scope.spawn(guarded(&format!("worker-{index}"), move || {
                while let Some(job) = take(&waiting) {
                    let (index, weight) = (job.index, job.weight);
                    if finished.send((index, weight, work(job))).is_err() {
                        return;
                    }
                }
            }));
        }
        drop((finished, waiting));
        let rules = rules.clone();
        let mut exit = Exit { done, early: BTreeMap::new(), next: 0, put, rules, gate };
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

    fn width(workers: usize) -> Width {
        Width { workers, lane_chunks_max: 2, ..Width::default() }
    }

    /// All that comes out, in order.
    fn everything<D>(exit: &mut Exit<D>) -> Vec<D> {
        let next = || match exit.next(Duration::from_secs(60)) {
            Received::Done(done) => Some(done),
            _ => None,
        };
        std::iter::from_fn(next).collect()
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
        let out = run(width(4), &rules(), enter, make, everything);
        assert_eq!(out, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn while_one_chunk_takes_long_no_more_come_in_than_may_be_on_their_way() {
        const IN_FLIGHT: u64 = 5;
        let (stream, put, finished) = (stream(), AtomicU64::new(0), AtomicU64::new(0));
        let enter = |entrance: Entrance| {
            for start in 0..200 {
                assert!(entrance.put(&stream, at(start)));
                put.fetch_add(1, Ordering::SeqCst);
            }
        };
        let make = || {
            |job: Job| {
                let first = job.index == 0;
                // The others go on as far as they can while this one takes its time.
                while first && finished.load(Ordering::SeqCst) < IN_FLIGHT - 1 {
                    std::thread::yield_now();
                }
                (0..if first { 10_000 } else { 0 }).for_each(|_| std::thread::yield_now());
                finished.fetch_add(1, Ordering::SeqCst);
            }
        };
        let bytes_in_flight_max = IN_FLIGHT * CHUNK_BYTES as u64;
        let width = Width { bytes_in_flight_max, ..width(4) };
        let out = run(width, &rules(), enter, make, |exit| {
            let mut out = 0;
            while let Received::Done(()) = exit.next(Duration::from_secs(60)) {
                out += 1;
                let put = put.load(Ordering::SeqCst);
                assert!(put <= out + IN_FLIGHT, "{put} were put in, {out} came out");
            }
            out
        });
        assert_eq!(out, 200);
    }

    #[test]
    fn a_chunk_that_alone_is_too_much_is_let_in_when_nothing_else_is_on_its_way() {
        let width = Width { bytes_in_flight_max: 1, ..width(2) };
        let stream = stream();
        let enter = |entrance: Entrance| {
            for start in 0..20 {
                assert!(entrance.put(&stream, at(start)));
            }
        };
        let out = run(width, &rules(), enter, || |job: Job| job.index, everything);
        assert_eq!(out, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_source_that_waits_for_room_is_told_when_the_pipeline_has_ended() {
        let width = Width { bytes_in_flight_max: 1, ..width(2) };
        let stream = stream();
        let enter = |entrance: Entrance| while entrance.put(&stream, at(0)) {};
        run(width, &rules(), enter, || |_| (), |_| ());
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
        let out = run(width(1), &rules(), enter, make, everything);
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
            width(2),
            &rules(),
            enter,
            || |_| (),
            |exit| assert!(matches!(exit.next(Duration::from_secs(60)), Received::Done(()))),
        );
    }
}
