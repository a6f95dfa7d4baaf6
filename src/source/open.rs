//! A file or standard input -> its uncompressed bytes. gzip and zstd are known by their first bytes.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

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
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(bytes));
    if gzip {
        return Ok(Stream { bytes: Box::new(MultiGzDecoder::new(whole)), compressed: true });
    }
    if zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        return Ok(Stream { bytes: Box::new(decoder), compressed: true });
    }
    Ok(Stream { bytes: Box::new(whole), compressed: false })
}
