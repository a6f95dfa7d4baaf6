//! How often it was tried -> how long to wait, and when to stop trying.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The first wait. Most failures are a restart or a full queue, and over by then.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait, so that a destination that is back is soon used.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Tries before a message is dead. With [`WAIT_MAX`] these are at least two and a half days: an
/// outage over a weekend loses nothing.
const ATTEMPTS_MAX: u32 = 1_000;

/// The longest wait a destination can ask for: one that says "in a year" is not obeyed.
const ASKED_MAX: Duration = Duration::from_secs(3_600);

/// How a failed message is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure; each further one doubles it.
    pub first: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// Tries before the message is dead.
    pub attempts_max: u32,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { first: FIRST, wait_max: WAIT_MAX, attempts_max: ATTEMPTS_MAX }
    }
}

impl Backoff {
    /// How long to wait after `failures` of `id`: doubling, capped, and up to a quarter shorter,
    /// so that messages that failed together do not come back together. Never sooner than the
    /// destination asked for.
    pub fn wait(&self, id: &str, failures: u32, asked: Option<Duration>) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.first.saturating_mul(doubled).min(self.wait_max);
        let wait = wait - wait.mul_f64(0.25 * share(id, failures));
        wait.max(asked.unwrap_or_default().min(ASKED_MAX))
    }

    /// Whether a message that failed that often is given up.
    pub fn spent(&self, failures: u32) -> bool {
        failures >= self.attempts_max
    }
}

/// From 0 up to 1, the same for the same message and try: the simulator can repeat a run.
fn share(id: &str, failures: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (id, failures).hash(&mut hasher);
    f64::from(u16::try_from(hasher.finish() & 0xffff).unwrap_or(0)) / 65_536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_tried_for_more_than_a_day_before_it_is_dead() {
        let backoff = Backoff::default();
        assert!(!backoff.spent(ATTEMPTS_MAX - 1) && backoff.spent(ATTEMPTS_MAX));
        let tried: Duration = (1..ATTEMPTS_MAX).map(|it| backoff.wait("f.sink", it, None)).sum();
        assert!(tried > Duration::from_secs(60 * 3_600), "{tried:?}");
    }

    #[test]
    fn waits_double_up_to_the_cap_and_differ_between_messages() {
        let backoff = Backoff::default();
        for failures in 1..100 {
            let wait = backoff.wait("a", failures, None);
            let full = Duration::from_secs(1 << (failures - 1).min(9)).min(WAIT_MAX);
            assert!(wait <= full && wait >= full.mul_f64(0.75), "{failures}: {wait:?}");
        }
        assert_ne!(backoff.wait("a", 5, None), backoff.wait("b", 5, None));
        assert_eq!(backoff.wait("a", 5, None), backoff.wait("a", 5, None));
    }

    #[test]
    fn what_the_destination_asks_for_is_obeyed_within_reason() {
        let backoff = Backoff::default();
        let asked = |seconds| backoff.wait("a", 1, Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!(asked(30), 30);
        assert_eq!(asked(365 * 86_400), 3_600);
    }
}
