//! How fast a log is written and how much of it is unread -> the seconds until its writer deletes
//! what nobody read.
//!
//! One rule: pure. Whoever follows the log says what it sees and when.

use std::time::Duration;

/// How the writer rotates its log: the flags of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// `--audit-log-maxsize`, in bytes; 0: it is never rotated.
    pub max_size: u64,
    /// `--audit-log-maxbackup`; 0: all are kept.
    pub max_backups: u32,
    /// `--audit-log-maxage`; zero: they do not age.
    pub max_age: Duration,
    /// Less headroom than that is told.
    pub headroom_min: Duration,
}

/// No headroom is longer than that: a log that nobody writes has no end.
pub const HEADROOM_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Over how long the rate is an average. Shorter, and one busy second wakes somebody.
const SPAN: Duration = Duration::from_secs(60);

/// After so long the rate of a log that was not seen before is known to a twentieth.
const KNOWN: Duration = Duration::from_secs(3 * SPAN.as_secs());

/// What is seen of a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// When, by a clock that does not go back.
    pub(super) now: Duration,
    /// Bytes handed over since the start.
    pub(super) read: u64,
    /// Bytes that were not handed over yet, in all its files.
    pub(super) unread: u64,
    /// The age of the oldest rotated file with such bytes.
    pub(super) age: Option<Duration>,
}

/// The headroom of one log.
#[derive(Debug)]
pub(super) struct Headroom {
    rotation: Rotation,
    /// When it was seen first.
    began: Option<Duration>,
    /// When it was seen last, and how much had been written by then.
    last: Option<(Duration, u64)>,
    /// Bytes a second.
    rate: f64,
    /// Whether it was told that there is too little.
    low: bool,
}

/// The headroom, and whether somebody has to be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    pub(super) seconds: f64,
    /// It has just become less than it should be.
    pub(super) fell: bool,
    /// There is enough, and the log was seen for long enough to say so.
    pub(super) over: bool,
}

impl Headroom {
    pub(super) fn new(rotation: Rotation) -> Headroom {
        Headroom { rotation, began: None, last: None, rate: 0.0, low: false }
    }

    /// Takes a sight in.
    pub(super) fn see(&mut self, sight: &Sight) -> Room {
        self.measure(sight);
        let seconds = self.seconds(sight);
        let low = seconds < self.rotation.headroom_min.as_secs_f64();
        let fell = low && !self.low;
        // Once an episode: it ends when there is clearly enough again.
        self.low = low || (self.low && seconds < 1.5 * self.rotation.headroom_min.as_secs_f64());
        let began = *self.began.get_or_insert(sight.now);
        let over = !self.low && sight.now.saturating_sub(began) >= KNOWN;
        Room { seconds, fell, over }
    }

    /// Bytes a second, as measured.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
    fn measure(&mut self, sight: &Sight) {
        let written = sight.read.saturating_add(sight.unread);
        if let Some((then, before)) = self.last {
            let passed = sight.now.saturating_sub(then).as_secs_f64();
            if passed <= 0.0 {
                return;
            }
            // Less than before: bytes were deleted unread, which says nothing about the rate.
            let rate = written.saturating_sub(before) as f64 / passed;
            let weight = 1.0 - (-passed / SPAN.as_secs_f64()).exp();
            self.rate += weight * (rate - self.rate);
        }
        self.last = Some((sight.now, written));
    }

    #[expect(clippy::cast_precision_loss, reason = "a time needs no more than 52 bits")]
    fn seconds(&self, sight: &Sight) -> f64 {
        let Rotation { max_size, max_backups, max_age, .. } = self.rotation;
        let most = HEADROOM_MAX.as_secs_f64();
        let by_count = if max_size == 0 || max_backups == 0 || self.rate <= 0.0 {
            most
        } else {
            let room = max_size.saturating_mul(max_backups.into());
            room.saturating_sub(sight.unread) as f64 / self.rate
        };
        let by_age = match sight.age {
            Some(age) if !max_age.is_zero() => max_age.saturating_sub(age).as_secs_f64(),
            _ => most,
        };
        by_count.min(by_age).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROTATION: Rotation = Rotation {
        max_size: 100 << 20,
        max_backups: 100,
        max_age: Duration::from_secs(366 * 86_400),
        headroom_min: Duration::from_secs(600),
    };

    fn sight(now: u64, read: u64, unread: u64) -> Sight {
        Sight { now: Duration::from_secs(now), read, unread, age: None }
    }

    #[test]
    fn headroom_is_what_the_backups_hold_over_the_rate() {
        let mut headroom = Headroom::new(ROTATION);
        assert_eq!(headroom.see(&sight(0, 0, 0)).seconds, HEADROOM_MAX.as_secs_f64());
        // 5 MiB a second for half an hour, all of it read: 2000 seconds for 10,000 MiB.
        let mut room = Room { seconds: 0.0, fell: false, over: false };
        for second in 1..=1_800 {
            room = headroom.see(&sight(second, second * (5 << 20), 0));
        }
        assert!((room.seconds - 2_000.0).abs() < 1.0 && !room.fell, "{room:?}");
        // Then nothing is read any more: told once, when less than ten minutes are left.
        let mut told = Vec::new();
        for second in 1_801..=3_800 {
            let unread = (second - 1_800) * (5 << 20);
            room = headroom.see(&sight(second, 1_800 * (5 << 20), unread));
            if room.fell {
                told.push(second);
            }
        }
        assert_eq!(told, [3_201]);
        assert!(room.seconds < 1.0, "{room:?}");
    }

    #[test]
    fn headroom_ends_with_the_age_of_what_is_unread_and_limits_that_are_off_do_not_count() {
        let mut headroom = Headroom::new(ROTATION);
        let age = Some(Duration::from_secs(366 * 86_400 - 60));
        let room = headroom.see(&Sight { age, ..sight(0, 0, 1) });
        assert_eq!(room, Room { seconds: 60.0, fell: true, over: false });
        let off = Rotation { max_backups: 0, max_age: Duration::ZERO, ..ROTATION };
        let mut headroom = Headroom::new(off);
        for second in 0..100 {
            let room = headroom.see(&Sight { age, ..sight(second, second << 30, 1 << 40) });
            assert_eq!(room.seconds, HEADROOM_MAX.as_secs_f64());
        }
    }

    #[test]
    fn an_episode_is_over_when_the_rate_is_known_and_not_because_it_is_not_known_yet() {
        let mut headroom = Headroom::new(ROTATION);
        // As after a restart into 5 MiB a second with 9 GiB unread: three minutes are left.
        let unread = 9 << 30;
        let mut over = |second: u64| headroom.see(&sight(second, second * (5 << 20), unread)).over;
        assert!((0..1_000).all(|it| !over(it)));
        let mut calm = Headroom::new(ROTATION);
        let over: Vec<bool> = [0, 179, 180].map(|it| calm.see(&sight(it, it, 0)).over).into();
        assert_eq!(over, [false, false, true]);
    }

    #[test]
    fn a_second_episode_is_told_again() {
        let mut headroom = Headroom::new(ROTATION);
        let age = |left: u64| Some(Duration::from_secs(366 * 86_400 - left));
        let mut fell = |now, left| headroom.see(&Sight { age: age(left), ..sight(now, 0, 1) }).fell;
        let seen: Vec<bool> = [(0, 500), (1, 601), (2, 599), (3, 901), (4, 599)]
            .map(|(now, left)| fell(now, left))
            .into();
        assert_eq!(seen, [true, false, false, false, true]);
    }
}
