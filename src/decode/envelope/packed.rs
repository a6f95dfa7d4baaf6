//! Base64 of gzip of lines, as Firehose and Lambda hand CloudWatch's deliveries over -> the lines.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;

use super::json::Object;
use super::opener::Shape;
use crate::event::{Flaw, unquote};

/// The most that one line is unpacked to. Lambda and Firehose hand over 6 MB at most.
pub const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// The first bytes of a gzip member (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How many times larger what is packed may be than the line it is in, with that much on top: many small lines
/// could otherwise fill the memory together. Genuine deliveries are some ten times larger.
const RATIO_MAX: usize = 200;
const UNPACKED_BYTES_MIN: usize = 4 << 10;

/// What is packed in an object. `None`: nothing is.
pub(super) fn object(text: &str, object: &Object<'_>) -> Option<Shape> {
    let inner = |at: Range<usize>, keys: &[&str]| {
        keys.iter().try_fold(at, |at, key| {
            let found = Object::of(text.get(at.clone())?)?.range(key)?;
            Some(found.start + at.start..found.end + at.start)
        })
    };
    let all = || 0..text.len();
    if let Some(data) = inner(all(), &["awslogs", "data"]) {
        return strings(text, vec![data]);
    }
    // Firehose's own records, and those of Kinesis as a function gets them.
    let firehose = object.array("records").map(|it| (it, &["data"][..]));
    let kinesis = || object.array("Records").map(|it| (it, &["kinesis", "data"][..]));
    let (records, keys) = firehose.or_else(kinesis)?;
    let found = records.into_iter().map(|it| inner(it, keys)).collect::<Option<Vec<_>>>()?;
    strings(text, found)
}

/// Where the strings are, without their quotes. `None`: there is none, or another value among them.
fn strings(text: &str, found: Vec<Range<usize>>) -> Option<Shape> {
    let string = |it: &Range<usize>| text.get(it.clone()).is_some_and(|it| it.starts_with('"'));
    let whole = !found.is_empty() && found.iter().all(string);
    whole.then(|| Shape::Packed(found.into_iter().map(|it| it.start + 1..it.end - 1).collect()))
}

/// Unpacks what stands between the quotes of a string, to no more than that many bytes.
pub(super) fn unpack(inner: &str, bytes_max: usize) -> Result<String, Flaw> {
    // Some writers escape the slashes.
    let quoted = inner.contains('\\').then(|| format!("\"{inner}\""));
    let plain = quoted.as_deref().map_or(Some(Cow::Borrowed(inner)), unquote);
    let bytes =
        plain.and_then(|it| STANDARD.decode(it.as_bytes()).ok()).ok_or(Flaw::NotUnpacked)?;
    let bytes_max = bytes_max.min(inner.len().saturating_mul(RATIO_MAX) + UNPACKED_BYTES_MIN);
    let unpacked = if bytes.starts_with(&GZIP) { inflate(&bytes, bytes_max)? } else { bytes };
    if unpacked.len() > bytes_max {
        return Err(Flaw::UnpackedOversize);
    }
    String::from_utf8(unpacked).map_err(|_| Flaw::NotUnpacked)
}

fn inflate(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Flaw> {
    let mut unpacked = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(packed).take(limit).read_to_end(&mut unpacked);
    read.map(|_| unpacked).map_err(|_| Flaw::NotUnpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> String {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        STANDARD.encode(encoder.finish().unwrap())
    }

    #[test]
    fn what_is_packed_comes_out_or_says_why_not() {
        let whole = packed(b"text");
        assert_eq!(unpack(&whole, 4).unwrap(), "text");
        assert_eq!(unpack(&whole.replace('/', "\\/"), 4).unwrap(), "text");
        assert_eq!(unpack(&whole, 3), Err(Flaw::UnpackedOversize));
        assert_eq!(unpack(&STANDARD.encode("plain"), 9).unwrap(), "plain");
        assert_eq!(unpack(&STANDARD.encode("plain"), 4), Err(Flaw::UnpackedOversize));
        for broken in ["?", "H4sIAAAA", &packed(b"\xff"), &STANDARD.encode(b"\x1f\x8bx")] {
            assert_eq!(unpack(broken, 99), Err(Flaw::NotUnpacked), "{broken}");
        }
    }

    #[test]
    fn a_small_line_does_not_fill_the_memory() {
        let bomb = packed(&vec![b' '; 8 << 20]);
        assert!(bomb.len() < 64 << 10);
        assert_eq!(unpack(&bomb, usize::MAX), Err(Flaw::UnpackedOversize));
        // Nothing packs better than events that differ in their IDs alone.
        let event = |at: u64| {
            let id = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!(r#"{{"kind":"Event","auditID":"{id:016x}","user":{{"username":"eve"}}}}"#)
        };
        let events: String = (0..5_000).map(event).collect();
        assert_eq!(unpack(&packed(events.as_bytes()), usize::MAX).unwrap(), events);
    }
}
