//! The time of an event, in the forms Falco has for it.
//!
//! It is the event's `stageTimestamp`, as in Falco, always in UTC: the same event gives
//! the same text wherever it is judged.

use crate::event::write_micros;

/// One of Falco's forms of a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Time,
    TimeSeconds,
    Iso8601,
    Date,
    DateSeconds,
    /// Nanoseconds since 1970.
    Raw,
    RawText,
    RawSeconds,
    /// The nanoseconds of the second.
    RawRest,
}

/// The last microsecond of the year 9999.
const LAST: i64 = 253_402_300_799_999_999;

impl Form {
    /// Whether it is compared as a number.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Form::Raw | Form::RawSeconds | Form::RawRest)
    }

    /// The point in time, given in microseconds since 1970. `None`: before 1970 or after
    /// the year 9999, which Falco cannot say.
    pub(super) fn of(self, micros: i64) -> Option<String> {
        let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        if !(0..=LAST).contains(&micros) {
            return None;
        }
        match self {
            Form::Raw | Form::RawText => return Some((i128::from(micros) * 1_000).to_string()),
            Form::RawSeconds => return Some(seconds.to_string()),
            Form::RawRest => return Some(format!("{:09}", rest * 1_000)),
            _ => {}
        }
        let mut written = Vec::new();
        write_micros(micros, &mut written);
        // `2006-01-02T15:04:05.000000Z`
        let text = String::from_utf8(written).ok().filter(|it| it.len() == 27)?;
        let (date, time) = (text.get(..10)?, text.get(11..26)?);
        let clock = text.get(11..19)?;
        Some(match self {
            Form::TimeSeconds => clock.to_owned(),
            Form::Iso8601 => format!("{date}T{time}000+0000"),
            Form::Date => format!("{date} {time}000"),
            Form::DateSeconds => format!("{date} {clock}"),
            _ => format!("{time}000"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_falcos_forms() {
        let micros = 1_795_664_353_554_321;
        for (form, want) in [
            (Form::Time, "03:39:13.554321000"),
            (Form::TimeSeconds, "03:39:13"),
            (Form::Iso8601, "2026-11-26T03:39:13.554321000+0000"),
            (Form::Date, "2026-11-26 03:39:13.554321000"),
            (Form::DateSeconds, "2026-11-26 03:39:13"),
            (Form::Raw, "1795664353554321000"),
            (Form::RawSeconds, "1795664353"),
            (Form::RawRest, "554321000"),
        ] {
            assert_eq!(form.of(micros).as_deref(), Some(want), "{form:?}");
        }
        assert_eq!(Form::RawRest.of(7).as_deref(), Some("000007000"));
        assert_eq!((Form::Raw.of(-1), Form::Time.of(i64::MAX)), (None, None));
    }
}
