//! What a person writes for a moment -> microseconds since 1970 (UTC).
//!
//! One rule: nobody here asks the clock; `now` is handed in, so that a test owns it.

use crate::event;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A text that names no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no time: write an age (90s, 30m, 2h, 7d, 2w), a UTC date (2026-11-23), `today`, `yesterday`, `now`, or RFC 3339 (2026-11-23T10:00:00Z)"
)]
pub struct TimeError {
    /// What was written.
    pub text: String,
}

/// What a text covers: a date its day, anything else one microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first microsecond.
    pub first: i64,
    /// The last microsecond.
    pub last: i64,
}

/// The moment at which what the text covers begins: `7d` is seven days before `now`, a date
/// is its midnight (UTC).
///
/// # Errors
/// When the text names no moment.
pub fn moment(text: &str, now: i64) -> Result<i64, TimeError> {
    span(text, now).map(|it| it.first)
}

/// What the text covers.
///
/// # Errors
/// When the text names no moment.
pub fn span(text: &str, now: i64) -> Result<Span, TimeError> {
    let today = now - now.rem_euclid(DAY);
    let day = |first: i64| Span { first, last: first.saturating_add(DAY - 1) };
    let point = |at: i64| Span { first: at, last: at };
    let found = match text.trim() {
        "now" => Some(point(now)),
        "today" => Some(day(today)),
        "yesterday" => Some(day(today - DAY)),
        other => age(other)
            .map(|it| point(now.saturating_sub(it)))
            .or_else(|| date(other).map(day))
            .or_else(|| event::micros(other).map(point)),
    };
    found.ok_or_else(|| TimeError { text: text.to_owned() })
}

/// Microseconds in `7d`, `2h`, `30m`, `90s`, `2w`.
fn age(text: &str) -> Option<i64> {
    let unit = match text.chars().next_back()? {
        's' => SECOND,
        'm' => 60 * SECOND,
        'h' => 3_600 * SECOND,
        'd' => DAY,
        'w' => 7 * DAY,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1)?;
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(unit)
}

/// The midnight with which a date begins.
fn date(text: &str) -> Option<i64> {
    if text.len() != "2026-11-23".len() {
        return None;
    }
    event::micros(&format!("{text}T00:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T14:00:00Z.
    const NOW: i64 = 1_795_442_400 * SECOND;

    fn at(text: &str) -> Result<String, String> {
        let micros = moment(text, NOW).map_err(|it| it.to_string())?;
        Ok(jiff::Timestamp::from_microsecond(micros).map(|it| it.to_string()).unwrap())
    }

    #[test]
    fn ages_dates_and_moments_are_understood() {
        for (text, want) in [
            ("now", "2026-11-23T14:00:00Z"),
            ("90s", "2026-11-23T13:58:30Z"),
            ("30m", "2026-11-23T13:30:00Z"),
            ("2h", "2026-11-23T12:00:00Z"),
            ("7d", "2026-11-16T14:00:00Z"),
            ("2w", "2026-11-09T14:00:00Z"),
            ("today", "2026-11-23T00:00:00Z"),
            ("yesterday", "2026-11-22T00:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("2026-11-20T10:00:00.25+02:00", "2026-11-20T08:00:00.25Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_date_covers_its_day_and_an_age_one_moment() {
        assert_eq!(span("2026-11-20", NOW).map(|it| it.last - it.first), Ok(DAY - 1));
        assert_eq!(span("7d", NOW).map(|it| it.last - it.first), Ok(0));
    }

    #[test]
    fn what_is_no_time_is_refused_with_a_remedy() {
        for text in ["", "d", "-1d", "1y", "2026-13-01", "tomorrow-ish", "99999999999999999w", "é"]
        {
            let error = at(text).unwrap_err();
            assert!(error.contains("is no time: write"), "{text}: {error}");
        }
    }
}
