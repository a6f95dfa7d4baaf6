//! The decoder's answer to a line beside `serde_json`'s: `tests/fuzz_seeded.rs` and `fuzz/targets/decode.rs` ask.

use kustos::decode;
use kustos::event::{Event, Field, Flaw};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Fields whose text is compared.
const TEXTS: [(Field, &str); 7] = [
    (Field::AuditId, "/auditID"),
    (Field::Stage, "/stage"),
    (Field::Verb, "/verb"),
    (Field::Username, "/user/username"),
    (Field::Resource, "/objectRef/resource"),
    (Field::Name, "/objectRef/name"),
    (Field::RequestUri, "/requestURI"),
];

/// Containers within each other that `serde_json` reads; the decoder has no limit, as bodies may be nested deeper.
const THEIR_DEPTH_MAX: usize = 127;

/// How the decoder's answer differs from `serde_json`'s.
pub(crate) fn difference(line: &[u8]) -> Option<String> {
    // The decoder passes over one, as some writers put it before their first line; `serde_json` refuses it.
    let bare = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    // Numbers that no f64 holds are JSON, so the verdict is that of a reader that keeps none.
    let theirs =
        serde_json::from_slice::<IgnoredAny>(bare).is_ok() && std::str::from_utf8(bare).is_ok();
    match decode::line(line) {
        Ok(event) if theirs => fields_differ(&event, bare),
        Err(Flaw::NotAnObject) if theirs => None,
        Err(_) if !theirs => None,
        _ if !theirs && opened(bare) > THEIR_DEPTH_MAX => None,
        ours => Some(format!("serde_json takes it: {theirs}, the decoder: {:?}", ours.err())),
    }
}

fn opened(line: &[u8]) -> usize {
    line.iter().filter(|it| matches!(it, b'{' | b'[')).count()
}

fn fields_differ(event: &Event<'_>, line: &[u8]) -> Option<String> {
    // Half a surrogate pair is JSON that `Value` does not hold; there is nothing to compare with.
    let value: Value = serde_json::from_slice(line).ok()?;
    TEXTS.iter().find_map(|(field, path)| {
        let theirs = value.pointer(path).and_then(Value::as_str);
        let ours = event.text(*field);
        (ours.as_deref() != theirs).then(|| format!("{path}: {ours:?}, serde_json: {theirs:?}"))
    })
}
