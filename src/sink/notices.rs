//! A sink's failed tries -> the few lines that the log gets.
//!
//! One rule: no try is left out of the counts, and no outage fills the log. A destination that is
//! down for a night fails every message of the night over and over.

use std::time::Duration;

/// The least time between two lines that say a sink fails.
const EVERY: Duration = Duration::from_secs(60);

/// What the log was told of one sink. The sink's loop owns it.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// When it was last told that the sink fails.
    told: Option<Duration>,
    /// Failed tries that no line has counted.
    untold: u64,
    /// Whether the last line said that the sink fails.
    failing: bool,
}

impl Notices {
    /// Notes failed tries. The number to log, if it is time for a line: of all since the last one.
    pub(super) fn failed(&mut self, tries: u64, now: Duration) -> Option<u64> {
        self.untold += tries;
        if self.untold == 0 || self.told.is_some_and(|it| now < it + EVERY) {
            return None;
        }
        self.told = Some(now);
        self.failing = true;
        Some(std::mem::take(&mut self.untold))
    }

    /// Notes that the sink works. What failed since the last line, if the log still says that the
    /// sink fails.
    pub(super) fn worked(&mut self) -> Option<u64> {
        std::mem::take(&mut self.failing).then(|| std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_failure_is_told_and_then_one_line_a_minute_with_the_count() {
        let mut notices = Notices::default();
        assert_eq!(notices.failed(3, at(5)), Some(3));
        let told: Vec<u64> = (6..186).filter_map(|it| notices.failed(2, at(it))).collect();
        assert_eq!(told, [120, 120, 120]);
        assert_eq!(notices.failed(0, at(600)), None);
    }

    #[test]
    fn that_it_works_again_is_told_once() {
        let mut notices = Notices::default();
        assert_eq!(notices.worked(), None);
        assert_eq!(notices.failed(1, at(0)), Some(1));
        assert_eq!(notices.failed(4, at(1)), None);
        assert_eq!(notices.worked(), Some(4));
        assert_eq!(notices.worked(), None);
    }

    #[test]
    fn a_sink_that_fails_every_other_time_fills_no_log_either() {
        let mut notices = Notices::default();
        let mut lines = 0;
        for second in 0..120 {
            lines += usize::from(notices.failed(1, at(second)).is_some());
            lines += usize::from(notices.worked().is_some());
        }
        assert_eq!(lines, 4);
    }
}
