//! A line with something before its event: `oc adm node-logs` puts the node's name there, container runtimes
//! and CloudWatch's exports a time.

use super::taken::{Taken, Text};
use crate::decode::line::line;
use crate::decode::row::Provider;

/// The longest text before an event that is passed over. A node's name has 253 characters at most.
const PREFIX_BYTES_MAX: usize = 512;

/// The event after the prefix. `None`: there is no prefix, or no audit event after it.
pub(super) fn open(text: &str) -> Option<Taken> {
    let at = text.find('{')?;
    let prefix = text.get(..at)?;
    let words = !prefix.is_empty()
        && prefix.len() <= PREFIX_BYTES_MAX
        && prefix.ends_with(' ')
        && prefix.bytes().all(|it| matches!(it, b' '..=b'~') && it != b'"');
    let event = words.then(|| line(text.as_bytes().get(at..).unwrap_or_default()))?.ok()?;
    if !event.is_audit() {
        return None;
    }
    // A single word is the name of a node; a time has digits first.
    let name = prefix.trim_end();
    let node = !name.contains(' ') && name.starts_with(|it: char| it.is_ascii_alphabetic());
    let provider = if node { Provider::Openshift } else { Provider::Kubernetes };
    Some(Taken::event(Text::Within(at..text.len()), provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_before_an_audit_event_are_passed_over() {
        let event = r#"{"auditID":"a","stage":"s"}"#;
        let opened = |prefix: &str| open(&format!("{prefix}{event}"));
        let provider = |prefix| opened(prefix).unwrap().provenance.unwrap().provider;
        assert_eq!(provider("crc "), Provider::Openshift);
        assert_eq!(provider("2026-11-23T03:39:13.5Z stdout F "), Provider::Kubernetes);
        for prefix in ["", "crc", "\"a\" ", "é ", "\u{1} ", &"a ".repeat(PREFIX_BYTES_MAX)] {
            assert!(opened(prefix).is_none(), "{prefix}");
        }
        assert!(open(r#"crc {"a":1}"#).is_none() && open(r#"crc {"auditID""#).is_none());
    }
}
