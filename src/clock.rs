//! The only time-asker. Everything else is handed a time or a [`Clock`], so that
//! tests and the simulator own it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970 (UTC).
    fn now(&self) -> i64;
    /// Time since some fixed moment; never goes back.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
    fn now(&self) -> i64 {
        // A clock before 1970 is a machine without a clock: time zero is as good as any.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
    fn elapsed(&self) -> Duration {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that stands where it is put: for tests and the simulator.
#[derive(Debug, Default)]
pub struct StandingClock(std::sync::atomic::AtomicI64);

impl StandingClock {
    /// A clock that stands at `micros` since 1970.
    pub fn at(micros: i64) -> StandingClock {
        StandingClock(std::sync::atomic::AtomicI64::new(micros))
    }

    /// Moves the clock.
    pub fn put(&self, micros: i64) {
        self.0.store(micros, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for StandingClock {
    fn now(&self) -> i64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.now()).unwrap_or(0))
    }
}
