//! One pass over a line finds the fields of an audit event. Bodies are passed over, not parsed.
//!
//! Any key order, unknown and repeated keys (the last counts, as for most JSON readers),
//! any escape, any depth. What is not one JSON object is a [`Flaw`], never a panic.

use std::borrow::Cow;

use super::scan::Scan;
use crate::event::{Event, Field, Flaw, Span};

/// The byte order mark that some writers put before the first line.
const BOM: char = '\u{feff}';

/// The largest line a [`Span`] can point into.
const SPAN_BYTES_MAX: usize = u32::MAX as usize;

/// Finds the fields of the JSON object that is the line.
///
/// # Errors
/// The reason when the line is not one JSON object. The caller keeps the bytes all the same.
pub fn line(bytes: &[u8]) -> Result<Event<'_>, Flaw> {
    if bytes.len() > SPAN_BYTES_MAX {
        return Err(Flaw::Oversize);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Flaw::NotUtf8)?;
    let mut event = Event::of(text);
    event.set_extra_keys(false);
    let mut scan = Scan::new(text);
    if text.starts_with(BOM) {
        scan.at = BOM.len_utf8();
    }
    scan.space();
    if control_bytes(bytes) && !strings_are_clean(text, scan.at) {
        return Err(Flaw::NotJson);
    }
    if scan.peek() != Some(b'{') {
        let whole = scan.value().is_some() && at_end(&mut scan);
        return Err(if whole { Flaw::NotAnObject } else { Flaw::NotJson });
    }
    object(&mut scan, &mut event, top).ok_or(Flaw::NotJson)?;
    if at_end(&mut scan) { Ok(event) } else { Err(Flaw::NotJson) }
}

fn at_end(scan: &mut Scan<'_>) -> bool {
    scan.space();
    scan.peek().is_none()
}

/// Whether there is any byte that JSON forbids within a string.
fn control_bytes(bytes: &[u8]) -> bool {
    // A sum and not a search: the compiler turns it into vector code.
    bytes.iter().map(|it| u8::from(*it < 0x20)).fold(0, |any, it| any | it) != 0
}

/// The slow answer for the few lines that have white space control bytes at all.
fn strings_are_clean(text: &str, from: usize) -> bool {
    let bytes = text.as_bytes();
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'"' {
            let end = crate::event::string_end(bytes, at);
            if bytes.get(at..end).is_some_and(control_bytes) {
                return false;
            }
            at = end;
        } else {
            at += 1;
        }
    }
    true
}

/// What to do with a key's value.
enum Place {
    /// Nothing asks for it.
    Skip,
    /// A key of the event itself that no field stands for: that there is one is recorded.
    Extra,
    /// Record where it stands.
    Leaf(Field),
    /// Record where it stands and look into it; the fields within are forgotten first,
    /// since the last of repeated keys counts whole.
    Inside(Field, &'static [Field], fn(&[u8]) -> Place),
}

/// Walks the object that begins here.
fn object(scan: &mut Scan<'_>, event: &mut Event<'_>, places: fn(&[u8]) -> Place) -> Option<()> {
    scan.pass(b'{')?;
    scan.space();
    if scan.peek()? == b'}' {
        return scan.pass(b'}');
    }
    loop {
        let key = scan.key()?;
        let place = places(&plain(key));
        member(scan, event, &place)?;
        scan.space();
        if scan.peek()? != b',' {
            return scan.pass(b'}');
        }
        scan.at += 1;
        scan.space();
    }
}

fn member(scan: &mut Scan<'_>, event: &mut Event<'_>, place: &Place) -> Option<()> {
    let start = scan.at;
    let field = match *place {
        Place::Skip => return scan.value(),
        Place::Extra => {
            event.set_extra_keys(true);
            return scan.value();
        }
        Place::Leaf(field) => {
            scan.value()?;
            field
        }
        Place::Inside(field, within, places) => {
            within.iter().for_each(|it| event.set(*it, Span::default()));
            if scan.peek()? == b'{' {
                object(scan, event, places)?;
            } else {
                scan.value()?;
            }
            field
        }
    };
    // The length was checked against `SPAN_BYTES_MAX`.
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    event.set(field, Span { start: offset(start), end: offset(scan.at) });
    Some(())
}

/// A key without escapes. Nobody writes `"\u0076erb"`, but it is the same key.
fn plain(key: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', key).is_none() {
        return Cow::Borrowed(key);
    }
    let quoted: Vec<u8> = [b"\"", key, b"\""].concat();
    let text = std::str::from_utf8(&quoted).ok().and_then(crate::event::unquote);
    Cow::Owned(text.map_or_else(|| key.to_vec(), |it| it.into_owned().into_bytes()))
}

fn top(key: &[u8]) -> Place {
    use Field as F;
    match key {
        b"kind" => Place::Leaf(F::Kind),
        b"apiVersion" => Place::Leaf(F::ApiVersion),
        b"level" => Place::Leaf(F::Level),
        b"auditID" => Place::Leaf(F::AuditId),
        b"stage" => Place::Leaf(F::Stage),
        b"requestURI" => Place::Leaf(F::RequestUri),
        b"verb" => Place::Leaf(F::Verb),
        b"user" => {
            Place::Inside(F::User, &[F::Username, F::UserUid, F::UserGroups, F::UserExtra], user)
        }
        b"impersonatedUser" => Place::Inside(
            F::ImpersonatedUser,
            &[
                F::ImpersonatedUsername,
                F::ImpersonatedUid,
                F::ImpersonatedGroups,
                F::ImpersonatedExtra,
            ],
            impersonated,
        ),
        b"sourceIPs" => Place::Leaf(F::SourceIps),
        b"userAgent" => Place::Leaf(F::UserAgent),
        b"objectRef" => Place::Inside(F::ObjectRef, OBJECT_REF, object_ref),
        b"responseStatus" => {
            Place::Inside(F::ResponseStatus, &[F::Status, F::Message, F::Reason, F::Code], status)
        }
        b"requestObject" => Place::Leaf(F::RequestObject),
        b"responseObject" => Place::Leaf(F::ResponseObject),
        b"requestReceivedTimestamp" => Place::Leaf(F::RequestReceived),
        b"stageTimestamp" => Place::Leaf(F::StageTimestamp),
        b"annotations" => Place::Inside(
            F::Annotations,
            &[F::Decision, F::DecisionReason, F::Truncated],
            annotation,
        ),
        _ => Place::Extra,
    }
}

const OBJECT_REF: &[Field] = &[
    Field::Resource,
    Field::Namespace,
    Field::Name,
    Field::ObjectUid,
    Field::ApiGroup,
    Field::ObjectApiVersion,
    Field::ResourceVersion,
    Field::Subresource,
];

fn user(key: &[u8]) -> Place {
    match key {
        b"username" => Place::Leaf(Field::Username),
        b"uid" => Place::Leaf(Field::UserUid),
        b"groups" => Place::Leaf(Field::UserGroups),
        b"extra" => Place::Leaf(Field::UserExtra),
        _ => Place::Skip,
    }
}

fn impersonated(key: &[u8]) -> Place {
    match key {
        b"username" => Place::Leaf(Field::ImpersonatedUsername),
        b"uid" => Place::Leaf(Field::ImpersonatedUid),
        b"groups" => Place::Leaf(Field::ImpersonatedGroups),
        b"extra" => Place::Leaf(Field::ImpersonatedExtra),
        _ => Place::Skip,
    }
}

fn object_ref(key: &[u8]) -> Place {
    match key {
        b"resource" => Place::Leaf(Field::Resource),
        b"namespace" => Place::Leaf(Field::Namespace),
        b"name" => Place::Leaf(Field::Name),
        b"uid" => Place::Leaf(Field::ObjectUid),
        b"apiGroup" => Place::Leaf(Field::ApiGroup),
        b"apiVersion" => Place::Leaf(Field::ObjectApiVersion),
        b"resourceVersion" => Place::Leaf(Field::ResourceVersion),
        b"subresource" => Place::Leaf(Field::Subresource),
        _ => Place::Skip,
    }
}

fn status(key: &[u8]) -> Place {
    match key {
        b"status" => Place::Leaf(Field::Status),
        b"message" => Place::Leaf(Field::Message),
        b"reason" => Place::Leaf(Field::Reason),
        b"code" => Place::Leaf(Field::Code),
        _ => Place::Skip,
    }
}

fn annotation(key: &[u8]) -> Place {
    match key {
        b"authorization.k8s.io/decision" => Place::Leaf(Field::Decision),
        b"authorization.k8s.io/reason" => Place::Leaf(Field::DecisionReason),
        b"audit.k8s.io/truncated" => Place::Leaf(Field::Truncated),
        _ => Place::Skip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flaw(text: &str) -> Option<Flaw> {
        line(text.as_bytes()).err()
    }

    #[test]
    fn fields_are_found_in_any_order_and_with_escapes() {
        let text = r#" { "objectRef" : {"name":"a\"b","resource":"pods","x":[{}]},
            "responseStatus":{"code":201,"metadata":{}}, "\u0076erb":"create",
            "user":{"groups":["g1","g\u0032"],"username":"sys\u0074em:admin"} } "#;
        let event = line(text.as_bytes()).unwrap();
        assert_eq!(event.text(Field::Name).unwrap(), "a\"b");
        assert_eq!(event.text(Field::Verb).unwrap(), "create");
        assert_eq!(event.text(Field::Username).unwrap(), "system:admin");
        assert_eq!(event.list(Field::UserGroups), ["g1", "g2"]);
        assert_eq!(event.int(Field::Code), Some(201));
        assert_eq!(event.json(Field::Namespace), None);
    }

    #[test]
    fn keys_that_no_field_stands_for_are_noticed() {
        let extra = |text: &str| line(text.as_bytes()).unwrap().extra_keys();
        assert!(!extra(r#"{"verb":"get","objectRef":{"odd":1},"requestObject":{"odd":1}}"#));
        assert!(extra(r#"{"verb":"get","image":"x"}"#) && extra(r#"{"\u0061":1}"#));
        assert!(Event::of("{}").extra_keys());
    }

    #[test]
    fn the_last_of_repeated_keys_counts_whole() {
        let event = line(br#"{"verb":"get","user":{"username":"a","uid":"1"},"verb":"list","user":{"username":"b"}}"#);
        let event = event.unwrap();
        assert_eq!(event.text(Field::Verb).unwrap(), "list");
        assert_eq!(event.text(Field::Username).unwrap(), "b");
        assert_eq!(event.json(Field::UserUid), None);
        let event = line(br#"{"user":{"username":"a"},"user":null}"#).unwrap();
        assert_eq!(event.json(Field::Username), None);
    }

    #[test]
    fn every_flaw_has_its_name() {
        assert_eq!(flaw(""), Some(Flaw::NotJson));
        assert_eq!(flaw("{\"a\":1"), Some(Flaw::NotJson));
        assert_eq!(flaw("{}{}"), Some(Flaw::NotJson));
        assert_eq!(flaw("[1,2]"), Some(Flaw::NotAnObject));
        assert_eq!(flaw("{\"a\":\"\u{1}\"}"), Some(Flaw::NotJson));
        assert_eq!(flaw("\u{feff}{\"a\":\t1}\r"), None);
        assert_eq!(flaw("{\"a\":\"tab\there\"}"), Some(Flaw::NotJson));
        assert_eq!(line(b"{\"a\":\"\xff\"}").err(), Some(Flaw::NotUtf8));
    }

    #[test]
    fn a_number_of_any_size_is_json() {
        assert_eq!(flaw("{\"a\":1e9999,\"b\":-0.5e+3101}"), None);
        assert_eq!(flaw("-0.5e+3101"), Some(Flaw::NotAnObject));
    }

    #[test]
    fn depth_has_no_limit() {
        let deep = |levels: usize| {
            format!("{{\"a\":{}{}}}", "[{\"b\":".repeat(levels) + "1", "}]".repeat(levels))
        };
        assert_eq!(flaw(&deep(10_000)), None);
        assert_eq!(flaw(&deep(33)), None);
        assert_eq!(flaw(&deep(10_000).replace("}]}", "]}}")), Some(Flaw::NotJson));
        assert_eq!(flaw(&"[".repeat(100_000)), Some(Flaw::NotJson));
    }

    /// JSON, nearly JSON, and noise.
    fn texts() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just("\"a\""),
            Just("\"user\""),
            Just("\"verb\""),
            Just("\"\\u00e9\""),
            Just("\"\\x\""),
            Just("1"),
            Just("-0.5e+3"),
            Just("01"),
            Just("true"),
            Just("nul"),
            Just("null"),
            Just(" "),
            Just("\t"),
            Just("\"long long long string of text\\\\\""),
            Just("{\"verb\":\"get\"}"),
            Just("\"objectRef\":{\"name\":\"n\"}"),
            Just("[]"),
            Just("{}"),
        ];
        prop::collection::vec(piece, 0..14).prop_map(|it| it.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn the_verdict_is_serde_jsons(text in texts()) {
            // Only the grammar: a number that no f64 holds is JSON all the same.
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            match line(text.as_bytes()) {
                Ok(event) => {
                    prop_assert!(theirs.is_ok(), "{text}");
                    if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                        prop_assert!(value.is_object());
                        let text = |at: &str| value.pointer(at).and_then(|it| it.as_str()).map(Cow::from);
                        prop_assert_eq!(event.text(Field::Verb), text("/verb"));
                        prop_assert_eq!(event.text(Field::Name), text("/objectRef/name"));
                    }
                }
                Err(Flaw::NotAnObject) => {
                    prop_assert!(theirs.is_ok() && !text.trim_start().starts_with('{'), "{text}");
                }
                Err(_) => prop_assert!(theirs.is_err(), "{text}"),
            }
        }
    }
}
