//! A file or standard input -> its uncompressed bytes. gzip and zstd are known by their first bytes.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::chunk::{Chunker, Next};

/// The first bytes of a gzip member (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The first bytes of a zstd frame (RFC 8878).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The largest zstd window that is accepted, as a power of two: what `zstd --long=31` makes.
const ZSTD_WINDOW_LOG_MAX: u32 = 31;

/// Bytes that are read from the disk at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Where lines come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// A file, plain or compressed.
    File(PathBuf),
    /// Standard input, plain or compressed.
    Stdin,
}

impl Input {
    /// The name a person knows it by.
    pub fn name(&self) -> String {
        match self {
            Input::File(path) => path.display().to_string(),
            Input::Stdin => "-".to_owned(),
        }
    }
}

/// Why an input could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{name} could not be {doing}")]
pub struct OpenError {
    /// The input's name.
    pub name: String,
    /// The step, as a participle.
    pub doing: &'static str,
    /// The operating system's or the decoder's own words.
    #[source]
    pub source: io::Error,
}

/// An open input.
pub struct Stream {
    /// The uncompressed bytes.
    pub bytes: Box<dyn Read + Send>,
    /// Whether it is compressed, so that an offset cannot be sought.
    pub compressed: bool,
}

/// Opens an input at its beginning.
///
/// # Errors
/// When it cannot be opened or its first bytes cannot be read.
pub fn open(input: &Input) -> Result<Stream, OpenError> {
    let failed = |doing| move |source| OpenError { name: input.name(), doing, source };
    match input {
        Input::File(path) => {
            let file = File::open(path).map_err(failed("opened"))?;
            uncompressed(Box::new(file)).map_err(failed("read"))
        }
        Input::Stdin => uncompressed(Box::new(io::stdin())).map_err(failed("read")),
    }
}

/// Opens an input so that the next byte is the one at `offset` of the uncompressed stream.
///
/// # Errors
/// When it cannot be opened, or ends before the offset.
pub fn open_at(path: &Path, offset: u64) -> Result<Stream, OpenError> {
    let input = Input::File(path.to_owned());
    let failed =
        |source| OpenError { name: input.name(), doing: "read up to where it is kept", source };
    let mut stream = open(&input)?;
    if !stream.compressed {
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        return Ok(Stream { bytes: Box::new(file), compressed: false });
    }
    let passed =
        io::copy(&mut stream.bytes.by_ref().take(offset), &mut io::sink()).map_err(failed)?;
    if passed < offset {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(stream)
}

fn uncompressed(mut bytes: Box<dyn Read + Send>) -> io::Result<Stream> {
    let mut head = Vec::new();
    bytes.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
    let (gzip, zstd) = (head.starts_with(&GZIP), head.starts_with(&ZSTD));
    let whole = Cursor::new(head).chain(bytes);
    if !gzip && !zstd {
        // Who reads has a buffer of its own.
        return Ok(Stream { bytes: Box::new(whole), compressed: false });
    }
    let whole = BufReader::with_capacity(BUFFER_BYTES, whole);
    if gzip {
        return Ok(Stream { bytes: Box::new(MultiGzDecoder::new(whole)), compressed: true });
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(Stream { bytes: Box::new(decoder), compressed: true })
}

/// The little that tells nearly every file from every other, without reading it all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Its first line.
    pub first: Vec<u8>,
    /// Its uncompressed bytes; of a compressed file the lower 32 bits, which is all it says.
    pub bytes: u64,
    /// Whether it is compressed.
    pub compressed: bool,
}

impl Glance {
    /// Whether the file can have that many uncompressed bytes.
    pub fn has_bytes(&self, bytes: u64) -> bool {
        self.bytes == if self.compressed { bytes & u64::from(u32::MAX) } else { bytes }
    }
}

/// Bytes that are first looked through for the end of a first line.
const GLANCE_BYTES: u64 = 32 << 10;

/// The first line and the length of a file. `None`: it has no whole line.
///
/// # Errors
/// When it cannot be read, as one that is still being compressed.
pub fn glance(path: &Path, line_bytes_max: usize) -> io::Result<Option<Glance>> {
    let mut file = File::open(path)?;
    let mut stream = uncompressed(Box::new(file.try_clone()?))?;
    let mut chunker = Chunker::at(0, line_bytes_max);
    let first = loop {
        let held = chunker.held();
        match chunker.next(&mut stream.bytes.by_ref().take(GLANCE_BYTES.max(held as u64)))? {
            Next::Chunk(chunk) => match chunk.lines().next() {
                Some((_, line)) => break line.to_vec(),
                None => continue,
            },
            Next::Pending if chunker.held() == held => return Ok(None),
            Next::Pending => {}
        }
    };
    let mut bytes = file.metadata()?.len();
    if stream.compressed {
        // RFC 1952: the last four bytes are the length, modulo 2^32.
        let mut length = [0; 4];
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut length)?;
        bytes = u32::from_le_bytes(length).into();
    }
    Ok(Some(Glance { first, bytes, compressed: stream.compressed }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_glance_shows_the_first_line_and_the_length_of_a_file_plain_or_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let text = [&b"\n"[..], &vec![b'a'; 100_000], b"\nb\n"].concat();
        let (plain, packed) = (dir.path().join("a.log"), dir.path().join("a.log.gz"));
        File::create(&plain).unwrap().write_all(&text).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&text).unwrap();
        let bytes = gz.finish().unwrap();
        File::create(&packed).unwrap().write_all(&bytes).unwrap();
        for path in [&plain, &packed] {
            let glance = glance(path, 1 << 20).unwrap().unwrap();
            assert_eq!(glance.first, vec![b'a'; 100_000]);
            assert!(glance.has_bytes(text.len() as u64) && !glance.has_bytes(3));
        }
        File::create(&packed).unwrap().write_all(bytes.get(..40).unwrap()).unwrap();
        assert!(glance(&packed, 1 << 20).is_err());
        File::create(&plain).unwrap();
        assert_eq!(glance(&plain, 1 << 20).unwrap(), None);
    }
}
