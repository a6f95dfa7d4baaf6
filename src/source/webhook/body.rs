//! A request's body as it arrives -> its bytes, uncompressed, within bounds.
//!
//! One rule: memory is counted before it is used. A body that grows over its limit, or over what is left for
//! all, ends there: a gigabyte of zeros is a megabyte of gzip.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::inflight::Reserved;

/// The least that a body of unknown length is given at a time.
const STEP_BYTES: usize = 64 << 10;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than body_bytes_max")]
    TooLarge,
    #[error("as many bytes as inflight_bytes_max allows wait for their commit")]
    NoRoom,
    #[error("the body is no gzip stream, or is cut off")]
    NotGzip,
    #[error("the body ended before its end")]
    Aborted,
}

/// How a body comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) gzip: bool,
    /// As it is sent; `None`: in pieces.
    pub(super) length: Option<usize>,
    /// The most it may be, compressed or not.
    pub(super) bytes_max: usize,
}

/// Reads it to its end.
pub(super) async fn read(
    mut body: Incoming,
    shape: Shape,
    reserved: Reserved,
) -> Result<(Vec<u8>, Reserved), BodyError> {
    let known = shape.length.filter(|_| !shape.gzip).unwrap_or(0);
    let held =
        Held { bytes: Vec::with_capacity(known), reserved, bytes_max: shape.bytes_max, over: None };
    let mut taker = if shape.gzip {
        Taker::Gzip(Box::new(MultiGzDecoder::new(held)))
    } else {
        Taker::Plain(held)
    };
    let mut arrived = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Aborted)?;
        let Ok(data) = frame.into_data() else { continue };
        arrived = arrived.saturating_add(data.len());
        if arrived > shape.bytes_max {
            return Err(BodyError::TooLarge);
        }
        taker.take(&data)?;
    }
    taker.finish()
}

enum Taker {
    Plain(Held),
    Gzip(Box<MultiGzDecoder<Held>>),
}

impl Taker {
    fn take(&mut self, data: &[u8]) -> Result<(), BodyError> {
        match self {
            Taker::Plain(held) => held.take(data),
            Taker::Gzip(decoder) => decoder
                .write_all(data)
                .map_err(|_| decoder.get_ref().over.unwrap_or(BodyError::NotGzip)),
        }
    }

    fn finish(self) -> Result<(Vec<u8>, Reserved), BodyError> {
        let held = match self {
            Taker::Plain(held) => held,
            Taker::Gzip(mut decoder) => {
                let ended = decoder.try_finish();
                ended.map_err(|_| decoder.get_ref().over.unwrap_or(BodyError::NotGzip))?;
                decoder.finish().map_err(|_| BodyError::NotGzip)?
            }
        };
        Ok((held.bytes, held.reserved))
    }
}

/// What has arrived.
struct Held {
    bytes: Vec<u8>,
    reserved: Reserved,
    bytes_max: usize,
    /// Why no more was taken.
    over: Option<BodyError>,
}

impl Held {
    fn take(&mut self, data: &[u8]) -> Result<(), BodyError> {
        let needed = self.bytes.len().saturating_add(data.len());
        if needed > self.bytes_max {
            return Err(BodyError::TooLarge);
        }
        if needed > self.bytes.capacity() {
            let doubled = self.bytes.capacity().saturating_mul(2).max(STEP_BYTES);
            let capacity = doubled.min(self.bytes_max).max(needed);
            if !self.reserved.grow_to(capacity) {
                return Err(BodyError::NoRoom);
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl Write for Held {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.take(data).map_err(|why| {
            self.over = Some(why);
            io::Error::other(why)
        })?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::webhook::inflight::Inflight;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::sync::Arc;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(
        pieces: &[&[u8]],
        bytes_max: usize,
        inflight: &Arc<Inflight>,
    ) -> Result<Vec<u8>, BodyError> {
        let before = inflight.bytes();
        let reserved = inflight.reserve(0).ok_or(BodyError::NoRoom)?;
        let held = Held { bytes: Vec::new(), reserved, bytes_max, over: None };
        let mut taker = Taker::Gzip(Box::new(MultiGzDecoder::new(held)));
        let taken = pieces.iter().try_for_each(|it| taker.take(it));
        let done = taken.and_then(|()| taker.finish());
        done.map(|(bytes, reserved)| {
            assert!(inflight.bytes() >= bytes.len());
            drop(reserved);
            assert_eq!(inflight.bytes(), before);
            bytes
        })
    }

    #[test]
    fn a_compressed_body_is_unpacked_in_pieces_and_in_several_members() {
        let packed = [gzip(b"{\"a\":"), gzip(b"1}")].concat();
        let (first, rest) = packed.split_at(7);
        let inflight = Inflight::new(1 << 20);
        assert_eq!(unpacked(&[first, rest], 100, &inflight).unwrap(), b"{\"a\":1}");
    }

    #[test]
    fn a_bomb_ends_at_the_limit_and_nonsense_is_refused() {
        let bomb = gzip(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000);
        let inflight = Inflight::new(1 << 20);
        assert_eq!(unpacked(&[&bomb], 9 << 20, &inflight), Err(BodyError::TooLarge));
        assert_eq!(unpacked(&[&bomb], 10 << 20, &inflight).unwrap().len(), 10 << 20);
        let other = inflight.reserve(2 << 20).unwrap();
        assert_eq!(unpacked(&[&bomb], 10 << 20, &inflight), Err(BodyError::NoRoom));
        drop(other);
        assert_eq!(unpacked(&[b"no gzip"], 100, &inflight), Err(BodyError::NotGzip));
        let cut = gzip(b"whole");
        let cut = cut.get(..cut.len() - 9).unwrap();
        assert_eq!(unpacked(&[cut], 100, &inflight), Err(BodyError::NotGzip));
    }
}
