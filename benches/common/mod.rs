//! The corpus and the clock that benches share.
#![allow(dead_code, reason = "each bench uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

pub(crate) mod archive;
pub(crate) mod asking;
pub(crate) mod family;
pub(crate) mod log;
pub(crate) mod matching;
#[cfg(feature = "sql")]
pub(crate) mod simulated;

use rustix::time::{ClockId, clock_gettime};

/// Bytes of the corpus that is made of the sample.
const SAMPLE_BYTES: usize = 128 << 20;

/// The file that `CORPUS` names, or the genuine sample again and again with other audit IDs.
pub(crate) fn corpus() -> Vec<u8> {
    match std::env::var_os("CORPUS") {
        Some(path) => std::fs::read(path).unwrap(),
        None => log::Log::of(log::SAMPLE).next(SAMPLE_BYTES),
    }
}

/// The seconds that the work took by this clock.
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

/// The one in the middle.
pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
