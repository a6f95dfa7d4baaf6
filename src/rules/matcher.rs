//! The tests of a compiled rule, and what they say about one value.

use std::net::IpAddr;

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::DateTime};
use regex::{Regex, RegexBuilder};

use super::falco::{Above, Glob};
use super::ir::{Comparison, Test, TimePart};
use super::text::Pattern;
use super::value::Leaf;

/// A compiled regular expression may take this much memory, its lazily built automaton as well.
pub(super) const REGEX_BYTES_MAX: usize = 1 << 20;

/// One compiled test. An `enum`, because it is judged per event.
#[derive(Debug, Clone)]
pub(super) enum Matcher {
    Text(Pattern),
    Number(f64),
    Bool(bool),
    Regex(Box<Regex>),
    Cidr(Cidr),
    Compare(Comparison, f64),
    Count(Comparison, u64),
    Order(Comparison, Box<str>),
    Glob(Glob),
    Path(Above),
    Time { part: TimePart, comparison: Comparison, number: f64 },
}

/// Why a test cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub(super) enum MatcherError {
    #[error("regular expression \"{source_text}\" takes more than {REGEX_BYTES_MAX} bytes")]
    RegexTooBig { source_text: String },
    #[error("regular expression \"{source_text}\": {why}")]
    Regex { source_text: String, why: String },
    #[error("\"{0}\" is no network in CIDR notation")]
    Cidr(String),
    #[error("this test needs a field of its own")]
    Placeless,
}

impl MatcherError {
    /// The same about a regular expression as the rule has it, before it was respelled.
    pub(super) fn about(self, source: &str) -> MatcherError {
        let source_text = source.to_owned();
        match self {
            MatcherError::RegexTooBig { .. } => MatcherError::RegexTooBig { source_text },
            MatcherError::Regex { why, .. } => MatcherError::Regex { source_text, why },
            other => other,
        }
    }
}

impl Matcher {
    /// Compiles a test of one value; tests of presence or of two fields are no such.
    pub(super) fn new(test: &Test) -> Result<Matcher, MatcherError> {
        Ok(match test {
            Test::Text { pattern, cased } => Matcher::Text(Pattern::new(pattern, *cased)),
            Test::Number(number) => Matcher::Number(*number),
            Test::Bool(yes) => Matcher::Bool(*yes),
            Test::Regex(source) => Matcher::Regex(Box::new(regex(source)?)),
            Test::Cidr(network) => Matcher::Cidr(
                Cidr::parse(network).ok_or_else(|| MatcherError::Cidr(network.clone()))?,
            ),
            Test::Compare(comparison, number) => Matcher::Compare(*comparison, *number),
            Test::Count(comparison, number) => Matcher::Count(*comparison, *number),
            Test::Order(comparison, text) => Matcher::Order(*comparison, text.as_str().into()),
            Test::Glob { pattern, cased } => Matcher::Glob(Glob::new(pattern, *cased)),
            Test::Path(path) => Matcher::Path(Above::new(path)),
            Test::Time { part, comparison, number } => {
                Matcher::Time { part: *part, comparison: *comparison, number: *number }
            }
            Test::Null | Test::Exists(_) | Test::SameAs { .. } => {
                return Err(MatcherError::Placeless);
            }
        })
    }

    /// What judging a value costs, in nanoseconds, roughly.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Matcher::Regex(_) => 60,
            Matcher::Cidr(_) | Matcher::Time { .. } => 40,
            _ => 8,
        }
    }

    /// Whether it fails for `null`, as for every value that has no text and is no number.
    pub(super) fn needs_a_value(&self) -> bool {
        match self {
            Matcher::Text(_)
            | Matcher::Number(_)
            | Matcher::Bool(_)
            | Matcher::Regex(_)
            | Matcher::Cidr(_)
            | Matcher::Compare(..)
            | Matcher::Count(..)
            | Matcher::Order(..)
            | Matcher::Glob(_)
            | Matcher::Path(_)
            | Matcher::Time { .. } => true,
        }
    }

    /// Whether the value passes.
    pub(super) fn fits(&self, leaf: &Leaf<'_>) -> bool {
        match self {
            Matcher::Text(pattern) => leaf.text().is_some_and(|it| pattern.fits(it)),
            Matcher::Number(want) => leaf.number() == Some(*want),
            Matcher::Bool(want) => match leaf {
                Leaf::Bool(have) => have == want,
                Leaf::Text(text) => text.eq_ignore_ascii_case(if *want { "true" } else { "false" }),
                Leaf::Number(..) | Leaf::Null | Leaf::Object => false,
            },
            Matcher::Regex(regex) => leaf.text().is_some_and(|it| regex.is_match(it)),
            Matcher::Cidr(network) => {
                let address = leaf.text().and_then(|it| it.parse().ok());
                address.is_some_and(|it| network.holds(it))
            }
            Matcher::Compare(comparison, right) => {
                leaf.number().is_some_and(|left| comparison.holds(&left, right))
            }
            Matcher::Count(comparison, right) => {
                let left = leaf.text().and_then(|it| it.parse::<u64>().ok());
                left.is_some_and(|left| comparison.holds(&left, right))
            }
            Matcher::Order(comparison, right) => {
                leaf.text().is_some_and(|left| comparison.holds(left, right))
            }
            Matcher::Glob(pattern) => leaf.text().is_some_and(|it| pattern.fits(it)),
            Matcher::Path(above) => leaf.text().is_some_and(|it| above.fits(it)),
            Matcher::Time { part, comparison, number } => {
                moment(leaf).is_some_and(|it| comparison.holds(&part.of(&it), number))
            }
        }
    }
}

impl Comparison {
    fn holds<T: PartialOrd + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Comparison::Equal => left == right,
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
        }
    }
}

pub(super) fn regex(source: &str) -> Result<Regex, MatcherError> {
    RegexBuilder::new(source)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                MatcherError::RegexTooBig { source_text: source.to_owned() }
            }
            other => MatcherError::Regex { source_text: source.to_owned(), why: last_line(&other) },
        })
}

/// The regex crate draws its error over several lines; the last one says what is wrong.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

impl TimePart {
    fn of(self, moment: &DateTime) -> f64 {
        match self {
            TimePart::Minute => f64::from(moment.minute()),
            TimePart::Hour => f64::from(moment.hour()),
            TimePart::Day => f64::from(moment.day()),
            TimePart::Week => f64::from(moment.date().iso_week_date().week()),
            TimePart::Month => f64::from(moment.month()),
            TimePart::Year => f64::from(moment.year()),
        }
    }
}

/// Numbers from here on are milliseconds since 1970, not seconds (it is 1973 in the
/// one and 5138 in the other).
const MILLISECONDS_FROM: f64 = 1e11;

/// The point in time a value names, in UTC: RFC 3339, a date and time without a
/// zone (taken as UTC), or a number of seconds or milliseconds since 1970.
fn moment(leaf: &Leaf<'_>) -> Option<DateTime> {
    let timestamp = match leaf {
        Leaf::Text(text) => text.parse::<Timestamp>().ok().or_else(|| {
            let civil: DateTime = text.parse().ok()?;
            TimeZone::UTC.to_timestamp(civil).ok()
        }),
        Leaf::Number(number, _) => {
            let seconds = if *number < MILLISECONDS_FROM { *number } else { *number / 1e3 };
            jiff::SignedDuration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|it| Timestamp::from_duration(it).ok())
        }
        Leaf::Bool(_) | Leaf::Null | Leaf::Object => None,
    };
    timestamp.map(|it| TimeZone::UTC.to_datetime(it))
}

/// A network: the addresses whose leading bits are these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cidr {
    address: IpAddr,
    bits: u32,
}

impl Cidr {
    fn parse(text: &str) -> Option<Cidr> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, bits.parse().ok()?),
            None => {
                let address: IpAddr = text.parse().ok()?;
                (address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        let widest = if address.is_ipv4() { 32 } else { 128 };
        (bits <= widest).then_some(Cidr { address, bits })
    }

    /// Whether it holds this address.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = u32::from(network) ^ u32::from(address);
                differ.leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = u128::from(network) ^ u128::from(address);
                differ.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, address: &str| {
            let network = Matcher::Cidr(Cidr::parse(network).unwrap());
            network.fits(&Leaf::Text(address))
        };
        assert!(holds("192.168.0.0/16", "192.168.1.10") && !holds("192.168.0.0/16", "10.0.0.1"));
        assert!(!holds("192.168.0.0/16", "::ffff:192.168.1.10"));
        assert!(!holds("192.168.0.0/16", "192.168.1.10:443"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && holds("fd00::/8", "fd12::1"));
        assert_eq!(Cidr::parse("192.168.0.0/33"), None);
    }

    #[test]
    fn times_are_taken_apart_in_utc() {
        let parts = |leaf: &Leaf<'_>| {
            let moment = moment(leaf).unwrap();
            [TimePart::Year, TimePart::Week, TimePart::Hour, TimePart::Minute]
                .map(|it| it.of(&moment))
        };
        assert_eq!(parts(&Leaf::Text("2024-01-15T05:10:00+02:00")), [2024.0, 3.0, 3.0, 10.0]);
        assert_eq!(parts(&Leaf::Text("2024-01-15 03:10:00")), [2024.0, 3.0, 3.0, 10.0]);
        let seconds = 1_705_288_200.0;
        assert_eq!(parts(&Leaf::Number(seconds, "")), [2024.0, 3.0, 3.0, 10.0]);
        assert_eq!(parts(&Leaf::Number(seconds * 1e3, "")), [2024.0, 3.0, 3.0, 10.0]);
        assert!(moment(&Leaf::Text("soon")).is_none());
    }

    #[test]
    fn a_regular_expression_over_the_limit_is_refused() {
        let error = regex(r"(\w{1,500}){1,50}").unwrap_err();
        assert!(matches!(error, MatcherError::RegexTooBig { .. }), "{error}");
        let error = regex("a(?=b)").unwrap_err().to_string();
        assert!(error.contains("look-around"), "{error}");
    }
}
