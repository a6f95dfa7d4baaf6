//! A stream of bytes -> chunks of whole lines.
//!
//! One rule: the chunks of a stream, put end to end, are the stream. A line over the limit is cut
//! into pieces, each a chunk of its own that says so; nothing is left out. NUL bytes before a line
//! are a piece of their own that becomes no row: a writer that kept its offset while its file was
//! cut short leaves any number of them, and they must not hide the line that follows.

use std::io::{self, Read};

use super::document::{self, End};

/// The longest line that is decoded. Genuine lines of 21 MB exist; the API server's own limit for
/// a request body is far below this one.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// Bytes of a chunk, unless one line is longer.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Lines of a chunk. A line of an audit event has a kilobyte or more, so that few chunks are cut by this: a row, and
/// a finding in it, take memory of their own, however short the line.
pub const CHUNK_LINES_MAX: usize = 1_024;

/// Bytes that are asked for at a time.
const READ_BYTES: usize = 256 << 10;

/// How the bytes of a chunk are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// Lines with their line feeds; only the last line of a stream may lack its own. A position is
    /// the offset of a byte in the uncompressed stream.
    Lines,
    /// A piece of one line that is over the limit.
    Fragment,
    /// One JSON text over several lines.
    Document,
    /// Records that are whole in themselves, whatever line feeds they hold: messages of a broker,
    /// bodies of requests. A position counts records.
    Records(Vec<Record>),
}

/// Where one record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its place in the stream, such as an offset in a partition. They grow, and may have gaps.
    pub position: u64,
    /// Where in the chunk's bytes it ends; it begins where the one before it ended.
    pub end: usize,
}

/// Whole lines or records of one stream, or a piece of a line that is over the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Position of the first byte or record.
    pub start: u64,
    /// The lines or records, end to end.
    pub bytes: Vec<u8>,
    /// Where one ends and the next begins.
    pub framing: Framing,
}

impl Chunk {
    /// The records, each with its position, in one chunk. Positions grow.
    pub fn of_records<'r>(start: u64, records: impl IntoIterator<Item = (u64, &'r [u8])>) -> Chunk {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (position, record) in records {
            bytes.extend_from_slice(record);
            ends.push(Record { position, end: bytes.len() });
        }
        Chunk { start, bytes, framing: Framing::Records(ends) }
    }

    /// One record, without a copy of it.
    pub fn of_record(position: u64, bytes: Vec<u8>) -> Chunk {
        let framing = Framing::Records(vec![Record { position, end: bytes.len() }]);
        Chunk { start: position, bytes, framing }
    }

    /// Position after the last byte or record.
    pub fn end(&self) -> u64 {
        match &self.framing {
            Framing::Records(records) => records.last().map_or(self.start, |it| it.position + 1),
            _ => self.start + self.bytes.len() as u64,
        }
    }

    /// Whether this is a piece of one line that is over the limit.
    pub fn is_fragment(&self) -> bool {
        self.framing == Framing::Fragment
    }

    /// Whether the stream goes on after half a line, which may become a whole one.
    pub fn ends_in_half_a_line(&self) -> bool {
        let last = || match memchr::memrchr(b'\n', &self.bytes) {
            Some(feed) => self.bytes.get(feed + 1..).unwrap_or_default(),
            None => &*self.bytes,
        };
        match self.framing {
            Framing::Records(_) => false,
            Framing::Fragment | Framing::Document => {
                self.bytes.last().is_some_and(|it| *it != b'\n')
            }
            // A line can begin right after NUL bytes, wherever they were cut.
            Framing::Lines => last().iter().any(|it| *it != 0),
        }
    }

    /// Every run of NUL bytes before a line, as its position and its length.
    pub fn nul_runs(&self) -> impl Iterator<Item = (u64, usize)> {
        let pieces = memchr::memchr(0, &self.bytes).map(|_| self.pieces());
        pieces.into_iter().flatten().filter_map(|(start, piece)| {
            (self.framing == Framing::Lines && piece.first() == Some(&0))
                .then_some((start, piece.len()))
        })
    }

    /// The chunk cut after every line or record, each piece with its position; or whole, when it
    /// is a piece of a line already.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let (mut at, mut from) = (self.start, 0);
        let records: &[Record] = match &self.framing {
            Framing::Records(records) => records,
            _ => &[],
        };
        let whole = matches!(self.framing, Framing::Fragment | Framing::Document);
        let mut rest = if records.is_empty() { &*self.bytes } else { &[] };
        let split = std::iter::from_fn(move || {
            let feed = if whole { None } else { memchr::memchr(b'\n', rest) };
            let (line, more) = rest.split_at(feed.map_or(rest.len(), |it| it + 1));
            rest = more;
            (!line.is_empty()).then_some(line)
        });
        let split = split.flat_map(move |line| {
            let (nul, line) = line.split_at(if whole { 0 } else { nul_run(line) });
            [nul, line].into_iter().filter(|it| !it.is_empty())
        });
        let lines = split.map(move |piece| {
            let start = at;
            at += piece.len() as u64;
            (start, piece)
        });
        let records = records.iter().map(move |record| {
            let piece = self.bytes.get(from..record.end).unwrap_or_default();
            from = record.end;
            (record.position, piece)
        });
        lines.chain(records)
    }

    /// The rows the chunk becomes, each with its position: pieces without their line feeds, blank
    /// ones left out.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pieces().filter_map(|(start, piece)| self.row(piece).map(|line| (start, line)))
    }

    /// The row a piece becomes: itself without its line feed. Nothing but white space is no row,
    /// unless it is a piece of a line that may hold more.
    pub fn row<'p>(&self, piece: &'p [u8]) -> Option<&'p [u8]> {
        let line = piece.strip_suffix(b"\n").unwrap_or(piece);
        let held = match self.framing {
            Framing::Fragment => !line.is_empty(),
            Framing::Lines => !blank(line) && nul_run(line) < line.len(),
            Framing::Document | Framing::Records(_) => !blank(line),
        };
        held.then_some(line)
    }
}

/// How many NUL bytes come first.
fn nul_run(bytes: &[u8]) -> usize {
    bytes.iter().position(|it| *it != 0).unwrap_or(bytes.len())
}

/// A line of nothing but white space holds nothing to keep.
fn blank(line: &[u8]) -> bool {
    line.iter().all(|it| matches!(it, b' ' | b'\t' | b'\r'))
}

/// What the next read gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Whole lines.
    Chunk(Chunk),
    /// No more bytes now; what follows the last line feed is held back.
    Pending,
}

/// Cuts a stream into chunks.
#[derive(Debug)]
pub struct Chunker {
    held: Vec<u8>,
    /// How much of `held` is known to hold no line feed.
    searched: usize,
    /// How much of `held` is whole lines that one chunk did not hold: given out before more is read.
    ready: usize,
    start: u64,
    line_bytes_max: usize,
    in_fragment: bool,
    /// Whether what is held may be the beginning of a JSON text over several lines.
    documents: bool,
}

impl Chunker {
    /// Begins at that offset of the stream.
    pub fn at(start: u64, line_bytes_max: usize) -> Chunker {
        Chunker {
            held: Vec::new(),
            searched: 0,
            ready: 0,
            start,
            line_bytes_max,
            in_fragment: false,
            documents: false,
        }
    }

    /// Takes JSON texts over several lines for what they are, as long as the stream holds nothing else from
    /// here on. Only for a stream that does not grow: such a text is told by its end.
    #[must_use]
    pub fn with_documents(mut self, documents: bool) -> Chunker {
        self.documents = documents;
        self
    }

    /// Reads until there is a chunk, or no byte to be had.
    ///
    /// # Errors
    /// When the stream fails. What was read before is still held.
    pub fn next(&mut self, stream: &mut dyn Read) -> io::Result<Next> {
        if self.ready > 0 {
            return Ok(Next::Chunk(self.take_lines(self.ready)));
        }
        loop {
            // Straight behind what is held, as much as comes: nothing is zeroed before it or copied after it.
            let count = stream.take(READ_BYTES as u64).read_to_end(&mut self.held)?;
            let ended = count < READ_BYTES;
            if self.documents
                && let Some(chunk) = self.cut_document(ended)
            {
                return Ok(Next::Chunk(chunk));
            }
            let full = self.held.len() >= CHUNK_BYTES.min(self.line_bytes_max);
            if !self.documents && (full || ended) {
                if let Some(chunk) = self.cut() {
                    return Ok(Next::Chunk(chunk));
                }
                if ended {
                    return Ok(Next::Pending);
                }
            }
        }
    }

    /// What follows the last line feed: the stream has ended and it will not grow.
    pub fn finish(&mut self) -> Option<Chunk> {
        let framing = if self.in_fragment { Framing::Fragment } else { Framing::Lines };
        (!self.held.is_empty()).then(|| self.take(self.held.len(), framing))
    }

    /// Bytes that are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn cut(&mut self) -> Option<Chunk> {
        if self.in_fragment {
            return self.cut_fragment();
        }
        if let Some(chunk) = self.cut_nul() {
            return Some(chunk);
        }
        if self.held.len() > self.line_bytes_max {
            return Some(self.cut_long());
        }
        let new = self.held.get(self.searched..).unwrap_or_default();
        let last = memchr::memrchr(b'\n', new).map(|it| self.searched + it + 1);
        self.searched = self.held.len();
        last.map(|it| self.take_lines(it))
    }

    /// The JSON text that is held, once it has ended; none follows any more when something else is met.
    fn cut_document(&mut self, ended: bool) -> Option<Chunk> {
        let over = self.held.len() > self.line_bytes_max;
        // Looked at anew only when there is twice as much, so that a long one is not read often.
        if ended || over || self.held.len() >= self.searched.saturating_mul(2) {
            self.searched = self.held.len();
            let end = match document::may_begin(&self.held) {
                true => document::end(&self.held, ended),
                false => End::Never,
            };
            match end {
                End::At(end) if end <= self.line_bytes_max => {
                    return Some(self.take(end, Framing::Document));
                }
                End::Open if !ended && !over => {}
                _ => (self.documents, self.searched) = (false, 0),
            }
        }
        None
    }

    /// What is held begins with NUL bytes and no line feed follows close by: they are given out,
    /// so that a long run is never held and half a line after it begins a piece.
    fn cut_nul(&mut self) -> Option<Chunk> {
        let run = nul_run(&self.held);
        let all = run == self.held.len();
        let rest = self.held.get(run..).unwrap_or_default();
        let due = if all { run >= READ_BYTES } else { memchr::memchr(b'\n', rest).is_none() };
        let over = self.held.len() > self.line_bytes_max;
        (run > 0 && (due || over)).then(|| self.take(run, Framing::Lines))
    }

    /// More is held than a line may have: the lines before the first that is over the limit, or
    /// else the first piece of that one.
    fn cut_long(&mut self) -> Chunk {
        let mut end = 0;
        while let Some(length) = memchr::memchr(b'\n', self.held.get(end..).unwrap_or_default())
            && length <= self.line_bytes_max
        {
            end += length + 1;
        }
        if end > 0 {
            return self.take_lines(end);
        }
        self.in_fragment = true;
        self.take(self.line_bytes_max, Framing::Fragment)
    }

    fn cut_fragment(&mut self) -> Option<Chunk> {
        let reach = self.held.len().min(self.line_bytes_max);
        let piece = self.held.get(..reach).unwrap_or_default();
        if let Some(end) = memchr::memchr(b'\n', piece) {
            self.in_fragment = false;
            return Some(self.take(end + 1, Framing::Fragment));
        }
        (reach == self.line_bytes_max).then(|| self.take(reach, Framing::Fragment))
    }

    /// As many whole lines as a chunk has at most, of those that end here.
    fn take_lines(&mut self, end: usize) -> Chunk {
        let lines = self.held.get(..end).unwrap_or_default();
        let full = memchr::memchr_iter(b'\n', lines).nth(CHUNK_LINES_MAX - 1);
        let count = full.map_or(end, |it| it + 1);
        self.ready = end - count;
        self.take(count, Framing::Lines)
    }

    fn take(&mut self, count: usize, framing: Framing) -> Chunk {
        let held = self.held.get(count..).unwrap_or_default();
        // Where much is read, much more is to come: room for it at once, not by doubling.
        let room = if count < CHUNK_BYTES / 2 { 0 } else { CHUNK_BYTES + 2 * READ_BYTES };
        let mut rest = Vec::with_capacity(room.max(held.len()));
        rest.extend_from_slice(held);
        self.held.truncate(count);
        let bytes = std::mem::replace(&mut self.held, rest);
        self.searched = 0;
        let chunk = Chunk { start: self.start, bytes, framing };
        self.start = chunk.end();
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunks(mut stream: &[u8], line_bytes_max: usize) -> Vec<Chunk> {
        let mut chunker = Chunker::at(0, line_bytes_max);
        let mut found = Vec::new();
        while let Next::Chunk(chunk) = chunker.next(&mut stream).unwrap() {
            found.push(chunk);
        }
        found.extend(chunker.finish());
        found
    }

    #[test]
    fn lines_have_their_offsets_and_blank_ones_are_left_out() {
        let chunks = chunks(b"ab\n\n \r\ncd\r\nend", 100);
        let lines: Vec<(u64, &[u8])> = chunks.iter().flat_map(Chunk::lines).collect();
        assert_eq!(lines, [(0, &b"ab"[..]), (7, b"cd\r"), (11, b"end")]);
    }

    #[test]
    fn a_line_over_the_limit_is_kept_in_pieces_that_say_so() {
        let chunks = chunks(b"0123456789\nab\n", 4);
        let rows: Vec<(bool, &[u8])> = chunks
            .iter()
            .flat_map(|it| it.lines().map(|(_, line)| (it.is_fragment(), line)))
            .collect();
        assert_eq!(rows, [(true, &b"0123"[..]), (true, b"4567"), (true, b"89"), (false, b"ab")]);
    }

    #[test]
    fn a_stream_of_json_texts_over_several_lines_is_cut_between_them() {
        let cut = |stream: &str| {
            let mut chunker = Chunker::at(0, 40).with_documents(true);
            let (mut bytes, mut found) = (stream.as_bytes(), Vec::new());
            while let Next::Chunk(chunk) = chunker.next(&mut bytes).unwrap() {
                found.push(chunk);
            }
            found.extend(chunker.finish());
            let told = |it: Chunk| (it.framing, String::from_utf8(it.bytes).unwrap());
            found.into_iter().map(told).collect::<Vec<_>>()
        };
        let (document, lines) = (Framing::Document, Framing::Lines);
        let of = |it: &str| it.to_owned();
        assert_eq!(cut("{\n\"}\": 1 }\n"), [(document.clone(), of("{\n\"}\": 1 }\n"))]);
        assert_eq!(
            cut("[\n1]\n\n{\n}\n{}\n"),
            [
                (document.clone(), of("[\n1]\n")),
                (document, of("\n{\n}\n")),
                (lines.clone(), of("{}\n"))
            ]
        );
        assert_eq!(cut("{\n1\n"), [(lines.clone(), of("{\n1\n"))]);
        assert_eq!(cut("{}\n{\n}\n"), [(lines.clone(), of("{}\n{\n}\n"))]);
        let long = format!("{{\n{}\n}}\n", "1,\n".repeat(20));
        assert!(cut(&long).iter().all(|it| it.0 == lines));
    }

    #[test]
    fn a_chunk_has_no_more_lines_than_it_may_and_none_is_lost_by_that() {
        for (line, count) in
            [("1\n", 3 * CHUNK_LINES_MAX + 7), ("\n", CHUNK_LINES_MAX), ("ab\n", 400_000)]
        {
            let text = line.repeat(count) + "end";
            let chunks = chunks(text.as_bytes(), LINE_BYTES_MAX);
            assert_eq!(
                chunks.iter().flat_map(|it| it.bytes.clone()).collect::<Vec<_>>(),
                text.as_bytes()
            );
            let lines = |it: &Chunk| it.bytes.iter().filter(|it| **it == b'\n').count();
            assert!(chunks.iter().all(|it| lines(it) <= CHUNK_LINES_MAX));
            assert!(chunks.windows(2).all(|it| it[0].end() == it[1].start));
        }
    }

    #[test]
    fn half_a_line_waits_for_its_end() {
        let mut chunker = Chunker::at(0, 100);
        assert_eq!(chunker.next(&mut &b"ab"[..]).unwrap(), Next::Pending);
        assert_eq!(chunker.held(), 2);
        let chunk = Chunk { start: 0, bytes: b"abc\n".to_vec(), framing: Framing::Lines };
        assert_eq!(chunker.next(&mut &b"c\nd"[..]).unwrap(), Next::Chunk(chunk));
    }

    #[test]
    fn records_keep_their_positions_and_their_line_feeds() {
        let records = [(7, &b"a\nb"[..]), (9, b""), (12, b"{}\n")];
        let chunk = Chunk::of_records(5, records);
        assert_eq!((chunk.start, chunk.end()), (5, 13));
        assert_eq!(chunk.pieces().collect::<Vec<_>>(), records);
        assert_eq!(chunk.lines().collect::<Vec<_>>(), [(7, &b"a\nb"[..]), (12, b"{}")]);
        assert!(!chunk.ends_in_half_a_line());
        assert_eq!(Chunk::of_records(5, []).end(), 5);
        assert_eq!(Chunk::of_record(5, b"{}".to_vec()), Chunk::of_records(5, [(5, &b"{}"[..])]));
    }

    #[test]
    fn nul_bytes_before_a_line_do_not_hide_it_and_are_no_row() {
        for (max, run) in [(100, 7), (100, 3 * READ_BYTES + 1), (4, 9), (4, 4)] {
            let stream = [&b"ab\n"[..], &vec![0; run], b"c\n\0\0\nd\0e\n\0half"].concat();
            let chunks = chunks(&stream, max);
            let lines: Vec<(u64, &[u8])> = chunks.iter().flat_map(Chunk::lines).collect();
            let at = 3 + run as u64;
            assert_eq!(lines, [(0, &b"ab"[..]), (at, b"c"), (at + 5, b"d\0e"), (at + 10, b"half")]);
            assert!(chunks.iter().all(|it| !it.is_fragment()));
            let nul: usize = chunks.iter().flat_map(Chunk::nul_runs).map(|it| it.1).sum();
            assert_eq!(nul, run + 3);
        }
        let ends = |bytes: &[u8]| {
            let bytes = bytes.to_vec();
            Chunk { start: 0, bytes, framing: Framing::Lines }.ends_in_half_a_line()
        };
        assert!(!ends(b"a\n\0\0") && !ends(b"\0") && !ends(b"") && !ends(b"a\n"));
        assert!(ends(b"a\n\0b") && ends(b"a") && ends(b"a\n "));
    }

    proptest! {
        #[test]
        fn the_chunks_end_to_end_are_the_stream(
            lines in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"\0abc"[..]), 0..20), 0..40), max in 1_usize..16,
        ) {
            let stream = lines.join(&b'\n');
            let chunks = chunks(&stream, max);
            prop_assert_eq!(chunks.iter().flat_map(|it| it.bytes.clone()).collect::<Vec<_>>(), stream);
            for pair in chunks.windows(2) {
                prop_assert_eq!(pair[0].end(), pair[1].start);
            }
        }
    }
}
