//! The corpus and the clock that benches share.
#![allow(dead_code, reason = "each bench uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

pub(crate) mod family;

use rustix::time::{ClockId, clock_gettime};

/// Bytes of the corpus that is made of the sample.
const SAMPLE_BYTES: usize = 128 << 20;

/// The file that `CORPUS` names, or the genuine sample again and again with other audit IDs.
pub(crate) fn corpus() -> Vec<u8> {
    if let Some(path) = std::env::var_os("CORPUS") {
        return std::fs::read(path).unwrap();
    }
    let sample = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/audit-sample.log"
    ))
    .unwrap();
    let mut corpus = Vec::new();
    for copy in 0_u32.. {
        if corpus.len() >= SAMPLE_BYTES {
            break;
        }
        for line in sample.lines() {
            let other = format!("\"auditID\":\"{:08x}", copy.wrapping_mul(2_654_435_761));
            let line = line.replacen("\"auditID\":\"", &other, 1);
            corpus.extend_from_slice(line.as_bytes());
            corpus.push(b'\n');
        }
    }
    corpus
}

/// The CPU seconds that the work took by this clock.
pub(crate) fn seconds(clock: ClockId, work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(clock);
        #[expect(clippy::cast_precision_loss, reason = "microseconds are enough")]
        let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
        seconds
    };
    let began = now();
    work();
    now() - began
}
