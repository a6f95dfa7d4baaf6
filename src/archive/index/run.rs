//! A run: the hashes of what stands in some neighbouring segments, in one immutable file. docs/archive-format.md is its
//! layout.
//!
//! One rule: every byte that an answer rests on is under a checksum that also holds the run's name and the place. A
//! byte that changed is an error, and never an answer.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use twox_hash::XxHash64;

use super::bits::{BitReader, BitWriter};
use super::{ENDING, FOLDER};

/// Of a hash so many upper bits are kept. Six years of 330,000 audit IDs a segment are 2^36 entries: then one look-up
/// finds one segment that does not hold the value.
const KEPT_BITS: u32 = 36;

/// The other bits of an entry: the segment's place in the run.
const SLOT_BITS_MAX: u32 = u64::BITS - KEPT_BITS;

/// Segments of a run.
pub(super) const SLOTS_MAX: u64 = (1 << SLOT_BITS_MAX) - 1;

/// Entries of a bucket, which is read whole: as many as this at least, and twice as many at most, where the values
/// differ.
const BUCKET_ENTRIES: u64 = 256;

/// Bytes of a bucket. Segments that hold one value are all in one; more is no bucket of ours.
const BUCKET_BYTES_MAX: u64 = 256 << 20;

const MAGIC: [u8; 8] = *b"kustosx1";

/// What the header is made of: the magic, how many entries, how many segments, bits.
const TOLD_BYTES: usize = 24;
const HEADER_BYTES: u64 = 32;
type Header = [u8; TOLD_BYTES + 8];

/// The last bytes of a bucket.
const CHECKSUM_BYTES: usize = 4;

/// Why a run gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be opened or read.
    #[error("{path} could not be read")]
    Io {
        /// The run's file.
        path: PathBuf,
        /// The operating system's own words.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{0} is no whole run of this archive's index")]
    Damaged(PathBuf),
}

impl RunError {
    /// The run's file.
    pub(super) fn path(&self) -> &Path {
        match self {
            RunError::Io { path, .. } | RunError::Damaged(path) => path,
        }
    }

    /// Whether it was not there: a daemon may have merged it with others meanwhile.
    pub fn is_missing(&self) -> bool {
        matches!(self, RunError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Where a run lies.
pub(super) fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(FOLDER).join(format!("{name}.{ENDING}"))
}

/// A hash that is kept, and the place of a segment that holds it.
pub(super) fn entry(hash: u64, slot: u64) -> u64 {
    debug_assert!(slot < SLOTS_MAX);
    hash >> SLOT_BITS_MAX << SLOT_BITS_MAX | slot
}

/// The same entry in a run that begins so many places earlier.
pub(super) fn moved(entry: u64, slots: u64) -> u64 {
    entry + slots
}

fn kept(entry: u64) -> u64 {
    entry >> SLOT_BITS_MAX
}

fn slot(entry: u64) -> u64 {
    entry & SLOTS_MAX
}

/// How a run is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    entries: u64,
    slots: u64,
    bucket_bits: u32,
    rice_bits: u32,
    slot_bits: u32,
}

impl Layout {
    fn of(entries: u64, slots: u64) -> Layout {
        let bucket_bits = (entries / BUCKET_ENTRIES).checked_ilog2().unwrap_or(0);
        // The mean distance of hashes that are spread evenly, which they are.
        let rice_bits = KEPT_BITS.saturating_sub(entries.max(1).ilog2() + 1);
        let slot_bits = u64::BITS - slots.saturating_sub(1).leading_zeros();
        Layout { entries, slots, bucket_bits, rice_bits, slot_bits }
    }

    fn buckets(&self) -> u64 {
        1 << self.bucket_bits
    }

    /// The bucket of a kept hash.
    fn bucket(&self, kept: u64) -> u64 {
        kept >> (KEPT_BITS - self.bucket_bits)
    }

    /// The least kept hash of a bucket.
    fn first(&self, bucket: u64) -> u64 {
        bucket << (KEPT_BITS - self.bucket_bits)
    }

    fn told(&self) -> [u8; TOLD_BYTES] {
        let mut told = [0; TOLD_BYTES];
        let bits = self.bucket_bits << 24 | self.rice_bits << 16 | self.slot_bits << 8;
        let slots = u32::try_from(self.slots).unwrap_or(u32::MAX);
        let pieces =
            [&MAGIC[..], &self.entries.to_le_bytes(), &slots.to_le_bytes(), &bits.to_be_bytes()];
        told.copy_from_slice(&pieces.concat());
        told
    }
}

/// What the checksums of a run begin with: a file of another run is not taken for this one.
fn seed(name: &str) -> u64 {
    XxHash64::oneshot(0, name.as_bytes())
}

fn checksum(seed: u64, bucket: u64, bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = XxHash64::oneshot(seed.wrapping_add(bucket), bytes).to_le_bytes();
    [a, b, c, d]
}

/// Writes a run. Entries come in order.
pub(super) struct Writer<W: Write> {
    out: W,
    layout: Layout,
    seed: u64,
    /// The entries of the bucket that is open, and its number.
    open: Vec<u64>,
    bucket: u64,
    ends: Vec<u64>,
    at: u64,
    bits: BitWriter,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut out: W, name: &str, entries: u64, slots: u64) -> io::Result<Writer<W>> {
        assert!((1..=SLOTS_MAX).contains(&slots), "a run of {slots} segments");
        let (layout, seed) = (Layout::of(entries, slots), seed(name));
        let told = layout.told();
        out.write_all(&told)?;
        out.write_all(&XxHash64::oneshot(seed, &told).to_le_bytes())?;
        Ok(Writer {
            out,
            layout,
            seed,
            open: Vec::new(),
            bucket: 0,
            ends: Vec::new(),
            at: HEADER_BYTES,
            bits: BitWriter::default(),
        })
    }

    pub(super) fn push(&mut self, entry: u64) -> io::Result<()> {
        debug_assert!(self.open.last().is_none_or(|it| *it <= entry));
        let bucket = self.layout.bucket(kept(entry));
        while self.bucket < bucket {
            self.close()?;
        }
        self.open.push(entry);
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let count = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        self.bits.write(count, u32::BITS);
        let mut before = self.layout.first(self.bucket);
        for entry in self.open.drain(..) {
            self.bits.write_rice(kept(entry) - before, self.layout.rice_bits);
            self.bits.write(slot(entry), self.layout.slot_bits);
            before = kept(entry);
        }
        let bytes = self.bits.finish();
        self.out.write_all(bytes.as_slice())?;
        self.out.write_all(&checksum(self.seed, self.bucket, bytes.as_slice()))?;
        self.at += u64::try_from(bytes.len() + CHECKSUM_BYTES).unwrap_or(0);
        drop(bytes);
        self.ends.push(self.at);
        self.bucket += 1;
        Ok(())
    }

    /// Writes what is left, and gives how many bytes the run has.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        while self.bucket < self.layout.buckets() {
            self.close()?;
        }
        for end in &self.ends {
            self.out.write_all(&end.to_le_bytes())?;
        }
        self.out.flush()?;
        Ok(self.at + 8 * self.layout.buckets())
    }
}

/// An open run.
#[derive(Debug)]
pub struct Run {
    file: File,
    path: PathBuf,
    layout: Layout,
    seed: u64,
    /// Where the ends of the buckets stand.
    ends: u64,
}

/// The places of segments in a run that may hold a value, in order.
pub type Found = Vec<u64>;

impl Run {
    /// Opens a run.
    ///
    /// # Errors
    /// When it cannot be read, or is not the run of that name.
    pub fn open(dir: &Path, name: &str) -> Result<Run, RunError> {
        let path = path_of(dir, name);
        let failed = |source| RunError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut header: Header = [0; _];
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        let seed = seed(name);
        let layout = read_header(&header, seed).filter(|it| {
            let rest =
                bytes.checked_sub(HEADER_BYTES).and_then(|rest| rest.checked_sub(8 * it.buckets()));
            rest.is_some()
        });
        let Some(layout) = layout else { return Err(RunError::Damaged(path)) };
        Ok(Run { file, path, ends: bytes - 8 * layout.buckets(), layout, seed })
    }

    /// How many entries it has.
    pub(super) fn entries(&self) -> u64 {
        self.layout.entries
    }

    /// The segments that may hold a value with this hash.
    ///
    /// # Errors
    /// When the run cannot be read, or is damaged.
    pub fn find(&self, hash: u64) -> Result<Found, RunError> {
        let wanted = kept(hash);
        let mut found = Found::new();
        self.each(self.layout.bucket(wanted), |entry| {
            if kept(entry) == wanted {
                found.push(slot(entry));
            }
        })?;
        Ok(found)
    }

    fn damaged(&self) -> RunError {
        RunError::Damaged(self.path.clone())
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), RunError> {
        self.file.read_exact_at(bytes, at).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(),
            _ => RunError::Io { path: self.path.clone(), source },
        })
    }

    /// Hands over the entries of a bucket, in order.
    fn each(&self, bucket: u64, mut take: impl FnMut(u64)) -> Result<(), RunError> {
        let (from, to) = if bucket == 0 {
            let mut end = [0; 8];
            self.read(&mut end, self.ends)?;
            (HEADER_BYTES, u64::from_le_bytes(end))
        } else {
            let mut ends = [0; 16];
            self.read(&mut ends, self.ends + 8 * (bucket - 1))?;
            let both = u128::from_le_bytes(ends);
            #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
            let halves = (both as u64, (both >> 64) as u64);
            halves
        };
        let length = to.checked_sub(from).filter(|it| *it <= BUCKET_BYTES_MAX && to <= self.ends);
        let length =
            length.and_then(|it| usize::try_from(it).ok()).ok_or_else(|| self.damaged())?;
        let mut bytes = vec![0; length];
        self.read(&mut bytes, from)?;
        let (bits, sum) = bytes.split_last_chunk().ok_or_else(|| self.damaged())?;
        if *sum != checksum(self.seed, bucket, bits) {
            return Err(self.damaged());
        }
        let mut reader = BitReader::new(bits);
        let mut kept = self.layout.first(bucket);
        for _ in 0..reader.read(u32::BITS) {
            let more = reader.read_rice(self.layout.rice_bits).ok_or_else(|| self.damaged())?;
            kept += more;
            let slot = reader.read(self.layout.slot_bits);
            take(kept << SLOT_BITS_MAX | slot);
        }
        Ok(())
    }
}

fn read_header(header: &Header, seed: u64) -> Option<Layout> {
    let (told, sum) = header.split_last_chunk()?;
    if u64::from_le_bytes(*sum) != XxHash64::oneshot(seed, told) {
        return None;
    }
    let (magic, rest) = told.split_first_chunk()?;
    let (entries, rest) = rest.split_first_chunk()?;
    let (slots, rest) = rest.split_first_chunk()?;
    let [bucket_bits, rice_bits, slot_bits, _] = *rest.first_chunk()?;
    let layout = Layout {
        entries: u64::from_le_bytes(*entries),
        slots: u64::from(u32::from_le_bytes(*slots)),
        bucket_bits: bucket_bits.into(),
        rice_bits: rice_bits.into(),
        slot_bits: slot_bits.into(),
    };
    let fits = layout.bucket_bits < KEPT_BITS
        && layout.rice_bits <= KEPT_BITS
        && layout.slot_bits <= SLOT_BITS_MAX;
    (*magic == MAGIC && fits).then_some(layout)
}

/// Reads a run from its beginning to its end, some entries at a time.
#[derive(Debug)]
pub(super) struct Cursor {
    run: Run,
    bucket: u64,
    held: Vec<u64>,
    taken: usize,
}

impl Cursor {
    pub(super) fn new(run: Run) -> Cursor {
        Cursor { run, bucket: 0, held: Vec::new(), taken: 0 }
    }

    /// Hands over the entries that come next and are below the bound.
    pub(super) fn below(&mut self, bound: u64, mut take: impl FnMut(u64)) -> Result<(), RunError> {
        loop {
            while let Some(entry) = self.held.get(self.taken) {
                if *entry >= bound {
                    return Ok(());
                }
                take(*entry);
                self.taken += 1;
            }
            let layout = self.run.layout;
            if self.bucket == layout.buckets()
                || layout.first(self.bucket) << SLOT_BITS_MAX >= bound
            {
                return Ok(());
            }
            self.held.clear();
            self.taken = 0;
            let held = &mut self.held;
            self.run.each(self.bucket, |entry| held.push(entry))?;
            self.bucket += 1;
        }
    }
}

/// The bounds between which runs with so many entries together are merged: the entries between two of them are about
/// `count`.
pub(super) fn bounds(entries: u64, count: u64) -> impl Iterator<Item = u64> {
    let bits = (entries / count).checked_ilog2().unwrap_or(0);
    // The last bound lies behind every entry.
    (1..1_u64 << bits).map(move |it| it << (u64::BITS - bits)).chain([u64::MAX])
}
