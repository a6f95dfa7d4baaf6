//! Human strings -> sizes and spans of time: `64MiB`, `15m`, `6y`.
//!
//! One rule: what is written back reads as the same value, and a number without a unit is
//! refused where the unit could be guessed wrong.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A count of bytes: `64MiB`, `1GB`, or a bare number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A span of time: `1s`, `15m`, `2192d`, `6y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// Why a size or a span could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// No number, or an unknown unit.
    #[error("{text:?} is no {what}; write it like {example:?}")]
    Form {
        /// What was written.
        text: String,
        /// What was expected.
        what: &'static str,
        /// One that can be read.
        example: &'static str,
    },
    /// More than the type can hold.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

const BYTE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

const DAY: u64 = 86_400_000;

/// In milliseconds. A year is not here: it is no whole number of days.
const TIME_UNITS: [(&str, u64); 6] =
    [("w", 7 * DAY), ("d", DAY), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl ByteSize {
    /// That many mebibytes.
    pub const fn mib(count: u64) -> ByteSize {
        ByteSize(count << 20)
    }
}

impl Period {
    /// That many milliseconds.
    pub const fn millis(count: u64) -> Period {
        Period(Duration::from_millis(count))
    }

    /// That many seconds.
    pub const fn secs(count: u64) -> Period {
        Period(Duration::from_secs(count))
    }

    /// That many days of 24 hours.
    pub const fn days(count: u64) -> Period {
        Period(Duration::from_secs(count * 86_400))
    }
}

/// The leading digits and what follows them.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit.trim()))
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<ByteSize, QuantityError> {
        let form = || QuantityError::Form { text: text.to_owned(), what: "size", example: "64MiB" };
        let (count, unit) = split(text).ok_or_else(form)?;
        let (_, bytes) = BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
        let bytes = count.checked_mul(*bytes);
        bytes.map(ByteSize).ok_or_else(|| QuantityError::TooLarge(text.to_owned()))
    }
}

impl FromStr for Period {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Period, QuantityError> {
        let form =
            || QuantityError::Form { text: text.to_owned(), what: "span of time", example: "15m" };
        let large = || QuantityError::TooLarge(text.to_owned());
        let (count, unit) = split(text).ok_or_else(form)?;
        if unit == "y" {
            // 365.25 days, rounded up to a whole day: six calendar years have one or two leap
            // days, and a retention that is a day short is a breach.
            let days = count.checked_mul(1_461).ok_or_else(large)?.div_ceil(4);
            let seconds = days.checked_mul(86_400).ok_or_else(large)?;
            return Ok(Period(Duration::from_secs(seconds)));
        }
        let (_, millis) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
        let millis = count.checked_mul(*millis).ok_or_else(large)?;
        Ok(Period(Duration::from_millis(millis)))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact =
            BYTE_UNITS.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (unit, bytes) = exact.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let exact = TIME_UNITS
            .iter()
            .skip(1)
            .find(|(_, millis)| all >= *millis && all.is_multiple_of(*millis));
        let (unit, millis) = exact.copied().unwrap_or(("s", 1_000));
        write!(f, "{}{unit}", all / millis)
    }
}

struct Text<T>(std::marker::PhantomData<T>, &'static str);

impl<T: FromStr<Err = QuantityError>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<T, E> {
        // A size may go without a unit; a span of time may not, and says so.
        count.to_string().parse().map_err(E::custom)
    }
}

macro_rules! as_text {
    ($type:ident, $expecting:literal, $json:tt, $pattern:literal, $examples:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                from.deserialize_any(Text(std::marker::PhantomData, $expecting))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $json, "pattern": $pattern, "examples": $examples })
            }
        }
    };
}

as_text!(
    ByteSize,
    "a size like \"64MiB\"",
    ["string", "integer"],
    "^[0-9]+ *([KMGT]iB|[kMGT]?B)?$",
    ["64MiB", "1GiB"]
);
as_text!(
    Period,
    "a span of time like \"15m\"",
    "string",
    "^[0-9]+ *(ms|[smhdwy])$",
    ["1s", "15m", "2192d"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes, written) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("1 GiB", 1 << 30, "1GiB"),
            ("1GB", 1_000_000_000, "1GB"),
            ("1024", 1024, "1KiB"),
            ("1025B", 1025, "1025B"),
            ("0", 0, "0B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, written));
            assert_eq!(written.parse::<ByteSize>().unwrap(), size);
        }
    }

    #[test]
    fn spans_are_read_and_written_back() {
        for (text, seconds, written) in [
            ("1s", 1, "1s"),
            ("15m", 900, "15m"),
            ("2w", 1_209_600, "14d"),
            ("6y", 2_192 * 86_400, "2192d"),
            ("1y", 366 * 86_400, "366d"),
            ("0s", 0, "0s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.0.as_secs(), period.to_string().as_str()), (seconds, written));
            assert_eq!(written.parse::<Period>().unwrap(), period);
        }
        assert_eq!("250ms".parse::<Period>().unwrap().to_string(), "250ms");
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in ["", "15", "m", "-1s", "1.5h", "6 years", "1M", "99999999999999999999s"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        for text in ["", "MiB", "64mib", "-1", "1.5GiB", "99999999TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        let error = "15".parse::<Period>().unwrap_err();
        assert_eq!(error.to_string(), r#""15" is no span of time; write it like "15m""#);
    }
}
