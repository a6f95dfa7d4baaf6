//! One audit event as every stage sees it: a borrowed view of one line.
//!
//! The line is the truth and the fields are its index: every accessor returns a
//! piece of the line, and nothing here owns a copy. `decode` fills the index.

mod lanes;

use std::borrow::Cow;
use std::fmt;

pub use lanes::string_end;
pub(crate) use lanes::{container_end, short_run};

/// A place in an audit event that the one pass over the line finds.
///
/// Names follow audit.k8s.io/v1; [`Field::path`] is the dotted form rules use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is named for the path in `PATHS`")]
pub enum Field {
    Kind,
    ApiVersion,
    Level,
    AuditId,
    Stage,
    RequestUri,
    Verb,
    User,
    Username,
    UserUid,
    UserGroups,
    UserExtra,
    ImpersonatedUser,
    ImpersonatedUsername,
    ImpersonatedUid,
    ImpersonatedGroups,
    ImpersonatedExtra,
    SourceIps,
    UserAgent,
    ObjectRef,
    Resource,
    Namespace,
    Name,
    ObjectUid,
    ApiGroup,
    ObjectApiVersion,
    ResourceVersion,
    Subresource,
    ResponseStatus,
    Status,
    Message,
    Reason,
    Code,
    RequestObject,
    ResponseObject,
    RequestReceived,
    StageTimestamp,
    Annotations,
    Decision,
    DecisionReason,
    Truncated,
}

/// The dotted path of every [`Field`], in the order of the enum.
const PATHS: [(Field, &str); Field::COUNT] = [
    (Field::Kind, "kind"),
    (Field::ApiVersion, "apiVersion"),
    (Field::Level, "level"),
    (Field::AuditId, "auditID"),
    (Field::Stage, "stage"),
    (Field::RequestUri, "requestURI"),
    (Field::Verb, "verb"),
    (Field::User, "user"),
    (Field::Username, "user.username"),
    (Field::UserUid, "user.uid"),
    (Field::UserGroups, "user.groups"),
    (Field::UserExtra, "user.extra"),
    (Field::ImpersonatedUser, "impersonatedUser"),
    (Field::ImpersonatedUsername, "impersonatedUser.username"),
    (Field::ImpersonatedUid, "impersonatedUser.uid"),
    (Field::ImpersonatedGroups, "impersonatedUser.groups"),
    (Field::ImpersonatedExtra, "impersonatedUser.extra"),
    (Field::SourceIps, "sourceIPs"),
    (Field::UserAgent, "userAgent"),
    (Field::ObjectRef, "objectRef"),
    (Field::Resource, "objectRef.resource"),
    (Field::Namespace, "objectRef.namespace"),
    (Field::Name, "objectRef.name"),
    (Field::ObjectUid, "objectRef.uid"),
    (Field::ApiGroup, "objectRef.apiGroup"),
    (Field::ObjectApiVersion, "objectRef.apiVersion"),
    (Field::ResourceVersion, "objectRef.resourceVersion"),
    (Field::Subresource, "objectRef.subresource"),
    (Field::ResponseStatus, "responseStatus"),
    (Field::Status, "responseStatus.status"),
    (Field::Message, "responseStatus.message"),
    (Field::Reason, "responseStatus.reason"),
    (Field::Code, "responseStatus.code"),
    (Field::RequestObject, "requestObject"),
    (Field::ResponseObject, "responseObject"),
    (Field::RequestReceived, "requestReceivedTimestamp"),
    (Field::StageTimestamp, "stageTimestamp"),
    (Field::Annotations, "annotations"),
    (Field::Decision, "annotations.authorization\\.k8s\\.io/decision"),
    (Field::DecisionReason, "annotations.authorization\\.k8s\\.io/reason"),
    (Field::Truncated, "annotations.audit\\.k8s\\.io/truncated"),
];

impl Field {
    /// How many fields there are.
    pub const COUNT: usize = Field::Truncated as usize + 1;

    /// The dotted path, with a backslash before a dot that belongs to a key.
    pub fn path(self) -> &'static str {
        PATHS.iter().find(|(field, _)| *field == self).map_or("", |(_, path)| path)
    }

    /// The field at a dotted path, if the one pass finds it.
    pub fn at(path: &str) -> Option<Field> {
        PATHS.iter().find(|(_, known)| *known == path).map(|(field, _)| *field)
    }

    /// The object the field is in, when that is a field itself.
    pub fn parent(self) -> Option<Field> {
        self.path().split_once('.').and_then(|(above, _)| Field::at(above))
    }

    /// Every field, in the order of the enum.
    pub fn all() -> impl Iterator<Item = Field> {
        PATHS.iter().map(|(field, _)| *field)
    }
}

/// Where a value stands in its line, quotes and braces included. Empty: absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the value's first byte.
    pub start: u32,
    /// Offset after the value's last byte.
    pub end: u32,
}

/// One JSON object of one line, with the places of its audit fields.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    line: &'a str,
    raw: &'a [u8],
    spans: [Span; Field::COUNT],
    extra_keys: bool,
    assured: bool,
}

impl<'a> Event<'a> {
    /// An event whose fields are not found yet; `decode` sets them.
    pub fn of(line: &'a str) -> Event<'a> {
        Event {
            line,
            raw: line.as_bytes(),
            spans: [Span::default(); Field::COUNT],
            extra_keys: true,
            assured: false,
        }
    }

    /// Says what the text was taken out of: those bytes are what is kept, and what the event is known by.
    pub fn set_raw(&mut self, raw: &'a [u8]) {
        self.raw = raw;
    }

    /// The bytes that are kept of it: the line, or the record of a provider that the text was taken out of.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Says that it is an audit event whatever it lacks: its envelope says so.
    pub fn assure(&mut self) {
        self.assured = true;
    }

    /// Whether the object may have keys of its own that no [`Field`] stands for. `false` is sure.
    pub fn extra_keys(&self) -> bool {
        self.extra_keys
    }

    /// Records whether a key that no [`Field`] stands for was met.
    pub fn set_extra_keys(&mut self, extra: bool) {
        self.extra_keys = extra;
    }

    /// Records where a field's value stands. `span` lies within the line.
    pub fn set(&mut self, field: Field, span: Span) {
        debug_assert!(span.start <= span.end && span.end as usize <= self.line.len());
        if let Some(slot) = self.spans.get_mut(field as usize) {
            *slot = span;
        }
    }

    /// The text that its fields stand in: the line, or what was taken out of its envelope.
    pub fn line(&self) -> &'a str {
        self.line
    }

    /// Where the field's value stands; empty when it is absent.
    pub fn span(&self, field: Field) -> Span {
        self.spans.get(field as usize).copied().unwrap_or_default()
    }

    /// The field's value as JSON text, quotes included. `None`: absent.
    pub fn json(&self, field: Field) -> Option<&'a str> {
        let span = self.span(field);
        if span.start == span.end {
            return None;
        }
        self.line.get(span.start as usize..span.end as usize)
    }

    /// The field's value when it is a JSON string, without quotes and escapes.
    pub fn text(&self, field: Field) -> Option<Cow<'a, str>> {
        self.json(field).and_then(unquote)
    }

    /// The strings of a field that is a JSON array of strings; other members are left out.
    pub fn list(&self, field: Field) -> Vec<Cow<'a, str>> {
        let mut found = Vec::new();
        strings(self.json(field).unwrap_or_default(), |it| found.push(it));
        found
    }

    /// The last string of such a list. It allocates only where a string holds escapes.
    pub fn last(&self, field: Field) -> Option<Cow<'a, str>> {
        let mut last = None;
        strings(self.json(field)?, |it| last = Some(it));
        last
    }

    /// The field's value when it is a JSON integer.
    pub fn int(&self, field: Field) -> Option<i64> {
        self.json(field).and_then(|it| it.parse().ok())
    }

    /// The field's value as microseconds since 1970 (UTC), when it is an RFC 3339 time.
    pub fn micros(&self, field: Field) -> Option<i64> {
        let text = self.text(field)?;
        micros(&text)
    }

    /// Whether the object is an audit event: it has an audit ID and a stage, or its envelope says so.
    pub fn is_audit(&self) -> bool {
        let string = |field| self.json(field).is_some_and(|it| it.starts_with('"'));
        (string(Field::AuditId) && string(Field::Stage)) || self.assured
    }

    /// Whether the API server cut the bodies out (`audit.k8s.io/truncated`).
    pub fn truncated(&self) -> bool {
        self.json(Field::Truncated) == Some("\"true\"")
    }
}

/// The content of a JSON string given with its quotes; `None` for any other JSON value.
pub fn unquote(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let mut text = String::with_capacity(inner.len());
    decode_escapes(inner, &mut text);
    Some(Cow::Owned(text))
}

/// As [`unquote`], into a buffer whose content is replaced. False: it is no JSON string.
pub fn unquote_into(json: &str, out: &mut String) -> bool {
    let inner = json.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    out.clear();
    if let Some(inner) = inner {
        decode_escapes(inner, out);
    }
    inner.is_some()
}

/// Appends what is between the quotes of a JSON string, with U+FFFD for half a surrogate pair:
/// that is valid JSON, and no Unicode scalar.
fn decode_escapes(inner: &str, out: &mut String) {
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (before, escaped) = rest.split_at(at);
        out.push_str(before);
        let (found, length) = match unit(escaped) {
            Some(first) => match unit(escaped.get(6..).unwrap_or_default()) {
                Some(second) if (0xdc00..0xe000).contains(&second) => pair(first, second),
                _ => (scalar(first), 6),
            },
            None => (plain_escape(escaped.as_bytes().get(1).copied().unwrap_or(b'\\')), 2),
        };
        out.push(found);
        rest = escaped.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// The UTF-16 unit of the `\uXXXX` that the text begins with.
fn unit(text: &str) -> Option<u16> {
    let hex = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(hex, 16).ok()
}

/// The character of two units, and how long both are as they are written; of the first alone
/// when they are no pair.
fn pair(first: u16, second: u16) -> (char, usize) {
    match char::decode_utf16([first, second]).next() {
        Some(Ok(both)) if (0xd800..0xdc00).contains(&first) => (both, 12),
        _ => (scalar(first), 6),
    }
}

fn scalar(unit: u16) -> char {
    char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn plain_escape(letter: u8) -> char {
    match letter {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        other => char::from(other),
    }
}

/// Takes the strings of a JSON array one by one; members of other types are left out, and no array gives none.
pub fn strings<'a>(json: &'a str, mut take: impl FnMut(Cow<'a, str>)) {
    let bytes = json.as_bytes();
    if bytes.first() != Some(&b'[') {
        return;
    }
    let mut at = 1;
    let mut depth = 0_usize;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                if depth == 0
                    && let Some(text) = json.get(at..end).and_then(unquote)
                {
                    take(text);
                }
                at = end;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
}

/// Microseconds since 1970 (UTC) of an RFC 3339 time.
///
/// The API server always writes `2006-01-02T15:04:05.000000Z`; that form is read
/// by position, every other one by `jiff`.
pub fn micros(text: &str) -> Option<i64> {
    canonical_micros(text)
        .or_else(|| text.parse::<jiff::Timestamp>().ok().map(|it| it.as_microsecond()))
}

/// As [`micros`], only for the exact form the API server writes: the one that can be
/// written back from the number alone.
pub fn canonical_micros(text: &str) -> Option<i64> {
    let bytes: &[u8; 27] = text.as_bytes().try_into().ok()?;
    let form = b"0000-00-00T00:00:00.000000Z";
    for (have, want) in bytes.iter().zip(form) {
        let fits = if *want == b'0' { have.is_ascii_digit() } else { have == want };
        if !fits {
            return None;
        }
    }
    let digits = |range: std::ops::Range<usize>| {
        bytes[range].iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    };
    let (year, month, day) = (digits(0..4), digits(5..7), digits(8..10));
    let (hour, minute, second) = (digits(11..13), digits(14..16), digits(17..19));
    let fits = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !fits {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000 + digits(20..26))
}

/// Writes the one form [`canonical_micros`] reads. Years outside 0 to 9999 have no such form.
pub fn write_micros(micros: i64, out: &mut Vec<u8>) {
    let (days, of_day) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    let second = of_day / 1_000_000;
    for (number, width, end) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3_600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (of_day % 1_000_000, 6, b'Z'),
    ] {
        let mut unit = 10_i64.pow(width - 1);
        while unit > 0 {
            out.push(b'0' + u8::try_from(number / unit % 10).unwrap_or(0));
            unit /= 10;
        }
        out.push(end);
    }
}

/// The UTC date of a time, as `2006-01-02`.
pub fn date(micros: i64) -> String {
    let (year, month, day) = civil(micros.div_euclid(86_400_000_000));
    format!("{year:04}-{month:02}-{day:02}")
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// How whole an event is in the archive, the `integrity` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// An audit event as the API server wrote it.
    Whole,
    /// An audit event whose bodies the API server cut out, or whose end a provider cut off.
    Truncated,
    /// Not an audit event; kept all the same, with a [`Flaw`] that says why.
    Unparsed,
    /// What several events came in; they have rows of their own.
    Envelope,
}

impl Integrity {
    /// The word in the `integrity` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Integrity::Whole => "whole",
            Integrity::Truncated => "truncated",
            Integrity::Unparsed => "unparsed",
            Integrity::Envelope => "envelope",
        }
    }
}

/// Why a line is no audit event: the `integrity_reason` column and a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// The bytes are not UTF-8.
    NotUtf8,
    /// The line is not one JSON value.
    NotJson,
    /// The line is JSON, but no object.
    NotAnObject,
    /// The line is a JSON object without an audit ID or a stage.
    NotAnEvent,
    /// The line, or this piece of it, is over the named limit.
    Oversize,
    /// A provider's record of another log than the audit log, by what it says itself.
    OtherLog,
    /// A record by which a provider looks whether anybody is there.
    ControlMessage,
    /// What is packed in the line could not be unpacked.
    NotUnpacked,
    /// What is packed in the line is over the named limit once it is unpacked.
    UnpackedOversize,
    /// An envelope in more envelopes than the named limit.
    TooDeep,
    /// A list of more members than the named limit.
    TooMany,
}

impl Flaw {
    /// The word in the `integrity_reason` column and in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Flaw::NotUtf8 => "not_utf8",
            Flaw::NotJson => "not_json",
            Flaw::NotAnObject => "not_an_object",
            Flaw::NotAnEvent => "not_an_event",
            Flaw::Oversize => "oversize",
            Flaw::OtherLog => "other_log",
            Flaw::ControlMessage => "control_message",
            Flaw::NotUnpacked => "not_unpacked",
            Flaw::UnpackedOversize => "unpacked_oversize",
            Flaw::TooDeep => "too_deep",
            Flaw::TooMany => "too_many",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_path_in_the_order_of_the_enum() {
        for (index, field) in Field::all().enumerate() {
            assert_eq!(field as usize, index, "{}", field.path());
            assert_eq!(Field::at(field.path()), Some(field));
        }
        assert_eq!(Field::Decision.parent(), Some(Field::Annotations));
        assert_eq!(Field::Verb.parent(), None);
    }

    #[test]
    fn times_come_back_as_they_were_written() {
        for text in [
            "1970-01-01T00:00:00.000000Z",
            "2026-11-23T03:39:13.554321Z",
            "2024-02-29T23:59:59.999999Z",
        ] {
            let micros = canonical_micros(text).unwrap();
            assert_eq!(
                Some(micros),
                text.parse::<jiff::Timestamp>().ok().map(|it| it.as_microsecond())
            );
            let mut out = Vec::new();
            write_micros(micros, &mut out);
            assert_eq!(out, text.as_bytes());
        }
        assert_eq!(canonical_micros("2026-02-30T00:00:00.000000Z"), None);
        assert_eq!(canonical_micros("2026-11-23T03:39:13Z"), None);
        assert_eq!(micros("2026-11-23T03:39:13+01:00"), Some(1_795_401_553_000_000));
    }

    #[test]
    fn escapes_are_decoded_and_lone_surrogates_are_marked() {
        assert_eq!(unquote(r#""a\u0041\n""#).unwrap(), "aA\n");
        assert_eq!(unquote(r#""x\ud83dy\ud83d\ude00""#).unwrap(), "x\u{fffd}y\u{1f600}");
        assert_eq!(unquote("12"), None);
    }

    #[test]
    fn escapes_are_decoded_as_serde_json_decodes_them() {
        for json in [
            r#""""#,
            r#""\\\"\/\b\f\n\r\t""#,
            r#""\u00e9\ud83d\ude00\u0000x\uffff""#,
            r#""é\u0026\\u0041""#,
        ] {
            let theirs: String = serde_json::from_str(json).unwrap();
            let mut ours = "old".to_owned();
            assert!(unquote_into(json, &mut ours));
            assert_eq!(ours, theirs, "{json}");
        }
        for (json, text) in [
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ude00\ude00x""#, "\u{fffd}\u{fffd}x"),
            (r#""\u0041\ude00""#, "A\u{fffd}"),
        ] {
            assert_eq!(unquote(json).unwrap(), text);
        }
        assert!(!unquote_into("12", &mut String::new()));
    }

    #[test]
    fn lists_give_their_strings_only() {
        let of = |json| {
            let mut found = Vec::new();
            strings(json, |it| found.push(it.into_owned()));
            found
        };
        assert_eq!(of(r#"["a", "b\"c" ,1,["no"],{"k":"no"},"d"]"#), ["a", "b\"c", "d"]);
        assert!(of("null").is_empty());
    }
}
