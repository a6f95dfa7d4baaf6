//! A file of events -> a log without an end: its lines again and again, each time later and with other audit IDs.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Genuine events of a small cluster.
pub(crate) const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/audit-sample.log");

/// What stands before an audit ID, as an API server writes it.
const BEFORE_ID: &[u8] = b"\"auditID\":\"";

/// Hex digits of an audit ID up to its first hyphen. They alone are changed: what comes out is a UUID as the API
/// server makes it, since any other ID is a finding of a shipped rule.
const DIGITS: usize = 8;

/// What stands before a time, and how much of it is written anew: `2006-01-02T15:04`.
const BEFORE_TIME: &[u8] = b"Timestamp\":\"";
const TO_THE_MINUTE: &str = "%Y-%m-%dT%H:%M";
const TIME_BYTES: usize = 16;

/// How much later each pass is. Were all passes of the same minutes, the windows of correlations would never end.
const PASS_MINUTES: i64 = 10;

/// Where the next line comes from. One line is held, however long the log gets.
pub(crate) struct Log {
    path: PathBuf,
    lines: BufReader<File>,
    pass: u32,
}

impl Log {
    pub(crate) fn of(path: impl AsRef<Path>) -> Log {
        let path = path.as_ref().to_owned();
        Log { lines: opened(&path), path, pass: 0 }
    }

    /// The file that `CORPUS` names, or the genuine sample.
    pub(crate) fn of_corpus() -> Log {
        std::env::var_os("CORPUS").map_or_else(|| Log::of(SAMPLE), Log::of)
    }

    /// The next lines, at least so many bytes of them.
    pub(crate) fn next(&mut self, bytes: usize) -> Vec<u8> {
        let mut taken = Vec::with_capacity(bytes + (bytes >> 4));
        while taken.len() < bytes {
            let began = taken.len();
            if self.lines.read_until(b'\n', &mut taken).unwrap() == 0 {
                self.lines = opened(&self.path);
                self.pass += 1;
                continue;
            }
            if !taken.ends_with(b"\n") {
                taken.push(b'\n');
            }
            other_id(&mut taken[began..], self.pass);
            later(&mut taken[began..], self.pass);
        }
        taken
    }
}

fn opened(path: &Path) -> BufReader<File> {
    let file = File::open(path).unwrap();
    assert!(file.metadata().unwrap().len() > 0, "{} is empty", path.display());
    BufReader::with_capacity(1 << 20, file)
}

/// Makes the audit ID of a line another in each pass, and the same for all lines of a request. The first pass is
/// the file as it is.
fn other_id(line: &mut [u8], pass: u32) {
    let Some(at) = memchr::memmem::find(line, BEFORE_ID) else { return };
    let Some(digits) = line[at + BEFORE_ID.len()..].get_mut(..DIGITS) else { return };
    let number = std::str::from_utf8(digits).ok().and_then(|it| u32::from_str_radix(it, 16).ok());
    if let Some(number) = number {
        // The multiplier is odd, so that no two passes give the same.
        let number = number ^ pass.wrapping_mul(2_654_435_761);
        digits.copy_from_slice(format!("{number:08x}").as_bytes());
    }
}

fn later(line: &mut [u8], pass: u32) {
    let span = jiff::Span::new().minutes(i64::from(pass) * PASS_MINUTES);
    let found = memchr::memmem::find_iter(line, BEFORE_TIME).map(|it| it + BEFORE_TIME.len());
    for at in found.collect::<Vec<usize>>() {
        let Some(digits) = line.get_mut(at..at + TIME_BYTES) else { continue };
        let time = std::str::from_utf8(digits).ok();
        let time = time.and_then(|it| jiff::civil::DateTime::strptime(TO_THE_MINUTE, it).ok());
        if let Some(time) = time {
            let later = (time + span).strftime(TO_THE_MINUTE).to_string();
            digits.copy_from_slice(later.as_bytes());
        }
    }
}
