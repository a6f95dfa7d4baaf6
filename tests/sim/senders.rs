//! What a schedule reads from: a log that is rotated, a partition that is rebalanced, a sender that tries again.
//! Each hands over one chunk when it is asked, and goes on from the catalog, or from what it was told, after a crash.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use kustos::archive::catalog::Catalog;
use kustos::pipeline::lanes::{Entrance, Stream};
use kustos::pipeline::resume::{Named, locate};
use kustos::seal::leaf::Chain;
use kustos::source::chunk::Next;
use kustos::source::{Chunk, Chunker, Fate, LINE_BYTES_MAX, Receipt};

use super::random::Random;

/// What a source works with in one life of the process.
pub(crate) struct Life<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) entrance: &'a Entrance,
    pub(crate) now: i64,
}

/// A place that chunks come from.
pub(crate) trait Sender {
    /// Hands one chunk over. False: there is none now, or the catalog could not be asked.
    fn send(&mut self, life: &Life<'_>, random: &mut Random) -> bool;
    /// The process has ended.
    fn forget(&mut self);
    /// Whether everything was handed over and, where the sender is told, kept.
    fn done(&self) -> bool;
}

/// A log file and its rotated ones, oldest first; the last is written to.
pub(crate) struct Log {
    pub(crate) cluster: Arc<str>,
    name: Arc<str>,
    files: Vec<Vec<u8>>,
    reading: Option<Reading>,
}

struct Reading {
    file: usize,
    at: usize,
    stream: Arc<Stream>,
    chunker: Chunker,
}

/// Gives so many bytes of a file and then none: a read that was cut short.
struct Short<'f>(&'f [u8], &'f mut usize, usize);

impl Read for Short<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.0[*self.1..];
        let count = rest.len().min(buffer.len()).min(self.2);
        buffer[..count].copy_from_slice(&rest[..count]);
        *self.1 += count;
        self.2 -= count;
        Ok(count)
    }
}

impl Log {
    pub(crate) fn new(cluster: &str, name: &str) -> Log {
        Log { cluster: cluster.into(), name: name.into(), files: vec![Vec::new()], reading: None }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.files.last_mut().unwrap().extend_from_slice(bytes);
    }

    /// Whether the next line is a file's first.
    pub(crate) fn begins(&self) -> bool {
        self.files.last().is_some_and(Vec::is_empty)
    }

    pub(crate) fn rotate(&mut self) {
        // The API server rotates between lines, never within one.
        let ends = self.files.last().is_some_and(|it| it.last() == Some(&b'\n'));
        if ends {
            self.files.push(Vec::new());
        }
    }

    /// Finds where a file goes on. `None`: it has no line yet, or nobody can say.
    fn open(&self, file: usize, life: &Life<'_>) -> Option<Reading> {
        let named = Named {
            cluster: &self.cluster,
            name: &self.name,
            line_bytes_max: LINE_BYTES_MAX,
            growing: file + 1 == self.files.len(),
            documents: false,
        };
        let located = locate(life.catalog, &named, &mut &*self.files[file], life.now).ok()??;
        let stream = Stream {
            source: located.source,
            cluster: Arc::clone(&self.cluster),
            name: Arc::clone(&self.name),
            start: located.offset,
            chain: located.chain,
        };
        let chunker = Chunker::at(located.offset, LINE_BYTES_MAX);
        let at = usize::try_from(located.offset).unwrap();
        Some(Reading { file, at, stream: Arc::new(stream), chunker })
    }
}

impl Sender for Log {
    fn send(&mut self, life: &Life<'_>, random: &mut Random) -> bool {
        if self.reading.is_none() {
            self.reading = self.open(0, life);
        }
        let Some(reading) = &mut self.reading else { return false };
        let bytes = &self.files[reading.file];
        // A read may end within a line: what is held back is sent with the next one.
        while reading.at < bytes.len() || reading.chunker.held() > 0 {
            let before = reading.at;
            let mut stream = Short(bytes, &mut reading.at, 1 + random.index(20_000));
            if let Next::Chunk(chunk) = reading.chunker.next(&mut stream).unwrap() {
                return life.entrance.put(&reading.stream, chunk);
            }
            if reading.at == before {
                return false;
            }
        }
        if reading.file + 1 == self.files.len() {
            return false;
        }
        let (file, of, end) = (reading.file + 1, Arc::clone(&reading.stream), bytes.len() as u64);
        let next = self.open(file, life);
        // An empty file has no place yet: the end of the one before it is told once it has.
        if next.is_none() {
            return false;
        }
        self.reading = next;
        life.entrance.end(&of, end)
    }

    fn forget(&mut self) {
        self.reading = None;
    }

    fn done(&self) -> bool {
        // It is read until it gives nothing more.
        true
    }
}

/// A partition of a broker. The next offset to be read is the broker's until it is told another.
pub(crate) struct Partition {
    cluster: Arc<str>,
    name: Arc<str>,
    records: Vec<Vec<u8>>,
    committed: Arc<AtomicU64>,
    next: usize,
    stream: Option<Arc<Stream>>,
}

impl Partition {
    pub(crate) fn new(cluster: &str, name: &str) -> Partition {
        let (cluster, name) = (cluster.into(), name.into());
        let committed = Arc::default();
        Partition { cluster, name, records: Vec::new(), committed, next: 0, stream: None }
    }

    pub(crate) fn produce(&mut self, record: Vec<u8>) {
        self.records.push(record);
    }

    /// Another consumer had it for a while, or none: what is not committed comes again.
    pub(crate) fn rebalance(&mut self) {
        self.stream = None;
    }
}

impl Sender for Partition {
    fn send(&mut self, life: &Life<'_>, random: &mut Random) -> bool {
        if self.stream.is_none() {
            let Some(source) = source(life, &self.cluster, &self.name) else { return false };
            let start = self.committed.load(Ordering::SeqCst);
            self.next = usize::try_from(start).unwrap();
            let (cluster, name) = (Arc::clone(&self.cluster), Arc::clone(&self.name));
            let chain = Chain::default();
            self.stream = Some(Arc::new(Stream { source, cluster, name, start, chain }));
        }
        let Some(stream) = self.stream.clone() else { return false };
        let count = (1 + random.index(8)).min(self.records.len() - self.next);
        if count == 0 {
            return false;
        }
        let end = self.next + count;
        let records = (self.next..end).map(|it| (it as u64, &*self.records[it]));
        let chunk = Chunk::of_records(self.next as u64, records);
        let committed = Arc::clone(&self.committed);
        let receipt = Receipt::new(move |fate| {
            if fate == Fate::Kept {
                committed.fetch_max(end as u64, Ordering::SeqCst);
            }
        });
        self.next = end;
        life.entrance.put_for(receipt, &stream, chunk)
    }

    fn forget(&mut self) {
        self.stream = None;
    }

    fn done(&self) -> bool {
        self.committed.load(Ordering::SeqCst) == self.records.len() as u64
    }
}

const WAITS: u8 = 0;
const KEPT: u8 = 1;
const LOST: u8 = 2;

/// Posts batches and tries again until one is answered; now and then it misses the answer.
pub(crate) struct Poster {
    cluster: Arc<str>,
    name: Arc<str>,
    batches: VecDeque<Vec<Vec<u8>>>,
    under_way: Option<Arc<AtomicU8>>,
    next: u64,
    source: Option<i64>,
}

impl Poster {
    pub(crate) fn new(cluster: &str, name: &str) -> Poster {
        let (cluster, name) = (cluster.into(), name.into());
        Poster { cluster, name, batches: VecDeque::new(), under_way: None, next: 0, source: None }
    }

    pub(crate) fn post(&mut self, batch: Vec<Vec<u8>>) {
        self.batches.push_back(batch);
    }
}

impl Sender for Poster {
    fn send(&mut self, life: &Life<'_>, random: &mut Random) -> bool {
        match self.under_way.as_ref().map(|it| it.load(Ordering::SeqCst)) {
            // It is kept. One answer in eight does not arrive.
            Some(KEPT) if random.below(8) > 0 => drop(self.batches.pop_front()),
            // One in eight is not waited for.
            Some(WAITS) if random.below(8) > 0 => return false,
            _ => {}
        }
        self.under_way = None;
        if self.source.is_none() {
            self.source = source(life, &self.cluster, &self.name);
        }
        let (Some(source), Some(batch)) = (self.source, self.batches.front()) else { return false };
        let fate = Arc::new(AtomicU8::new(WAITS));
        self.under_way = Some(Arc::clone(&fate));
        let told =
            move |it| fate.store(if it == Fate::Kept { KEPT } else { LOST }, Ordering::SeqCst);
        let start = self.next;
        self.next += batch.len() as u64;
        let chunk = Chunk::of_records(start, (start..).zip(batch.iter().map(|it| &**it)));
        let (cluster, name) = (Arc::clone(&self.cluster), Arc::clone(&self.name));
        let stream = Arc::new(Stream { source, cluster, name, start, chain: Chain::default() });
        life.entrance.put_for(Receipt::new(told), &stream, chunk)
    }

    fn forget(&mut self) {
        self.under_way = None;
        self.source = None;
    }

    fn done(&self) -> bool {
        self.batches.is_empty()
    }
}

/// The catalog's number for a source that its name tells apart.
fn source(life: &Life<'_>, cluster: &str, name: &str) -> Option<i64> {
    let identity = format!("sim:{name}");
    match life.catalog.sources(cluster, &identity).ok()?.first() {
        Some(known) => Some(known.id),
        None => life.catalog.add_source(cluster, &identity, name, life.now).ok(),
    }
}
