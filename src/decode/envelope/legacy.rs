//! A line of the API server's text format (`--audit-log-format=legacy`) -> the event, for what it tells.
//!
//! `EventString` of `k8s.io/apiserver/pkg/audit` writes it: the time the request was received, then
//! `key="value"`, each value quoted as Go's `%q` does, and words in `<>` for what is not there.

use super::native::{Native, list};
use super::request::Object;
use super::taken::Taken;
use crate::decode::row::Provider;
use crate::event::{Field, micros, write_micros};

/// Between the time and the fields.
const AUDIT: &str = " AUDIT: ";

/// The longest time that can stand before it.
const TIME_BYTES_MAX: usize = 40;

/// The event of a line. `None`: it is not of this format.
pub(super) fn open(line: &str) -> Option<Taken> {
    let (time, rest) = line.trim_end().split_once(AUDIT)?;
    if time.len() > TIME_BYTES_MAX {
        return None;
    }
    let received = micros(time)?;
    let fields = fields(rest)?;
    let said = |key: &str| {
        let value = fields.iter().find(|(it, _)| *it == key).map(|(_, value)| value.as_str());
        value.filter(|it| !it.is_empty())
    };
    // What stands in `<>` says that there is nothing.
    let there = |key: &str, nothing: &str| said(key).filter(|it| *it != nothing);
    let (id, stage, uri) = (said("id")?, said("stage")?, said("uri")?);
    let mut native = Native::default();
    native.text(Field::AuditId, id);
    native.text(Field::Stage, stage);
    native.text(Field::RequestUri, uri);
    for (field, value) in [
        (Field::Verb, said("method")),
        (Field::Username, there("user", "<none>")),
        (Field::ImpersonatedUsername, there("as", "<self>")),
        (Field::UserAgent, said("user-agent")),
    ] {
        value.into_iter().for_each(|it| native.text(field, it));
    }
    for (field, value) in [
        (Field::UserGroups, there("groups", "<none>")),
        (Field::ImpersonatedGroups, there("asgroups", "<lookup>")),
    ] {
        value.and_then(members).into_iter().for_each(|it| native.json(field, &list(&it)));
    }
    if let Some(ip) = there("ip", "<unknown>") {
        native.json(Field::SourceIps, &list(&[ip.to_owned()]));
    }
    if let Some(code) = said("response").and_then(|it| it.parse::<u16>().ok()) {
        native.json(Field::Code, &code.to_string());
    }
    native.text(Field::RequestReceived, &time_of(received));
    // The only time that is told. The stage itself was reached then or later.
    native.infer(Field::StageTimestamp, &time_of(received));
    object(&mut native, uri, there("namespace", "<none>"));
    Some(native.taken("", Provider::Kubernetes))
}

/// The namespace is told; the rest of the object is in the path.
fn object(native: &mut Native, uri: &str, namespace: Option<&str>) {
    if let Some(mut object) = Object::of_uri(uri) {
        object.namespace.clear();
        object.infer(native);
    }
    namespace.into_iter().for_each(|it| native.text(Field::Namespace, it));
}

/// As the API server writes times, which is all a reader can expect of one.
fn time_of(micros: i64) -> String {
    let mut text = Vec::new();
    write_micros(micros, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Every `key="value"` up to the end. `None`: there is something else among them.
fn fields(mut rest: &str) -> Option<Vec<(&str, String)>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = go_string(after)?;
        if !key.bytes().all(|it| it.is_ascii_lowercase() || it == b'-') {
            return None;
        }
        found.push((key, value));
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    Some(found)
}

/// The strings of `"a","b"`.
fn members(mut rest: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    loop {
        let (member, after) = go_string(rest)?;
        found.push(member);
        if after.is_empty() {
            return Some(found);
        }
        rest = after.strip_prefix(',')?;
    }
}

/// The string that Go's `%q` wrote here, and what follows it.
fn go_string(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut found = String::new();
    loop {
        let at = rest.find(['"', '\\'])?;
        found.push_str(rest.get(..at)?);
        let here = rest.get(at..)?;
        if let Some(after) = here.strip_prefix('"') {
            return Some((found, after));
        }
        let letter = here.chars().nth(1)?;
        let digits = match letter {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let code = u32::from_str_radix(here.get(2..2 + digits)?, 16).ok()?;
            // A byte that is no UTF-8 is written as \x; such a name cannot be told in JSON.
            let known = if letter == 'x' && code >= 0x80 { None } else { char::from_u32(code) };
            found.push(known.unwrap_or(char::REPLACEMENT_CHARACTER));
        } else {
            found.push(plain_escape(letter)?);
        }
        rest = here.get(1 + letter.len_utf8() + digits..)?;
    }
}

fn plain_escape(letter: char) -> Option<char> {
    Some(match letter {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '"' | '\\' | '\'' => letter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::stored;

    const LINE: &str = r#"2026-11-23T03:56:20.671883969Z AUDIT: id="379d" stage="ResponseComplete" ip="127.0.10.4" method="list" user="dave" groups="\"support\",\"a\\\"b\"" as="bob" asgroups="\"developers\"" user-agent="k\u00e9\x7f" namespace="team-a" uri="/api/v1/namespaces/team-a/pods" response="200""#;

    fn told(line: &str, field: Field) -> Option<String> {
        stored(line.as_bytes(), |it| it.text(field).map(|it| it.into_owned())).flatten()
    }

    #[test]
    fn everything_the_line_says_is_there() {
        stored(LINE.as_bytes(), |event| {
            assert_eq!(event.list(Field::UserGroups), ["support", "a\"b"]);
            assert_eq!(event.list(Field::ImpersonatedGroups), ["developers"]);
            assert_eq!(event.list(Field::SourceIps), ["127.0.10.4"]);
            assert_eq!(event.int(Field::Code), Some(200));
            assert_eq!(event.text(Field::UserAgent).unwrap(), "ké\u{7f}");
            assert_eq!(event.text(Field::ImpersonatedUsername).unwrap(), "bob");
            assert_eq!(event.text(Field::Resource).unwrap(), "pods");
            assert_eq!(event.raw(), LINE.as_bytes());
            assert!(event.is_audit());
        })
        .unwrap();
        let time = Some("2026-11-23T03:56:20.671883Z".to_owned());
        assert_eq!(told(LINE, Field::RequestReceived), time);
    }

    #[test]
    fn what_is_not_there_is_absent() {
        let line = LINE
            .replace("\"dave\"", "\"<none>\"")
            .replace("\"bob\"", "\"<self>\"")
            .replace("response=\"200\"", "response=\"<deferred>\"")
            .replace("\"team-a\"", "\"<none>\"")
            .replace("\"127.0.10.4\"", "\"<unknown>\"");
        for field in [
            Field::Username,
            Field::ImpersonatedUsername,
            Field::Code,
            Field::Namespace,
            Field::SourceIps,
            Field::Decision,
        ] {
            assert_eq!(told(&line, field), None, "{field:?}");
        }
        assert_eq!(told(&line, Field::Verb).unwrap(), "list");
    }

    #[test]
    fn other_lines_are_not_of_this_format() {
        for line in [
            "",
            "AUDIT: id=\"a\"",
            "yesterday AUDIT: id=\"a\" stage=\"s\" uri=\"/\"",
            "2026-11-23T03:56:20Z AUDIT: id=\"a\" stage=\"s\"",
            "2026-11-23T03:56:20Z AUDIT: id=\"a\" stage=\"s\" uri=\"/",
            "2026-11-23T03:56:20Z AUDIT: id=\"a\" stage=\"s\" {} uri=\"/\"",
        ] {
            assert!(open(line).is_none(), "{line}");
        }
    }
}
