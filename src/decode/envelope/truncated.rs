//! An event whose end was cut off -> the fields before the cut.
//!
//! One rule: a field is salvaged only if its value had surely ended before the cut. So what is salvaged is
//! what the whole event says, and the rest is absent.

use super::json::at_value;
use super::taken::{Taken, Text};
use crate::decode::line::line;
use crate::decode::row::Provider;
use crate::decode::scan::Scan;
use crate::event::Field;

/// What CloudWatch puts in place of the end of an event that is too long for it.
const MARK: &str = "[Truncated...]";

/// Where the container runtimes cut a line of a container's output, and with it AKS every event.
const RUNTIME_BYTES: usize = 16 << 10;

/// The objects of which single members are worth having. Half a list or half a body would tell of
/// something that was never sent.
const OPENED: [&[u8]; 5] =
    [b"user", b"impersonatedUser", b"objectRef", b"responseStatus", b"annotations"];

/// A line that says by its end or by its length that it was cut.
pub(super) fn open(bytes: &[u8]) -> Option<Taken> {
    let marked = bytes.trim_ascii_end().ends_with(MARK.as_bytes());
    if !marked && bytes.len() != RUNTIME_BYTES {
        return None;
    }
    salvage(valid(bytes), Provider::Kubernetes).map(|mut it| {
        // CloudWatch cuts for nobody else.
        if let (true, Some(provenance)) = (marked, &mut it.provenance) {
            provenance.provider = Provider::Eks;
        }
        it
    })
}

/// The text up to the first byte that is no UTF-8: a cut does not ask where a character ends.
fn valid(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_else(|error| {
        let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
        std::str::from_utf8(whole).unwrap_or_default()
    })
}

/// The event that the text is the beginning of. `None`: not enough is left to tell that it is one.
pub(super) fn salvage(text: &str, provider: Provider) -> Option<Taken> {
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(MARK).unwrap_or(text);
    let mut made = String::new();
    whole_members(&mut at_value(text), text, &mut made, &OPENED)?;
    let event = line(made.as_bytes()).ok()?;
    let known = event.json(Field::Kind) == Some("\"Event\"")
        || event.json(Field::Stage).is_some()
        || event.json(Field::RequestUri).is_some();
    if !known || event.text(Field::AuditId).is_none() {
        return None;
    }
    let mut taken = Taken::event(Text::Made(made), provider);
    if let Some(provenance) = &mut taken.provenance {
        provenance.truncated = true;
    }
    Some(taken)
}

/// Writes the object that begins here with the members that are whole, and of the named ones that are
/// not, their own.
fn whole_members(
    scan: &mut Scan<'_>,
    text: &str,
    out: &mut String,
    opened: &[&[u8]],
) -> Option<()> {
    scan.pass(b'{')?;
    out.push('{');
    let mut separator = "";
    scan.space();
    while let Some(key) = begun(scan) {
        let from = scan.at;
        let whole = scan.value().is_some() && surely_ended(text, from, scan.at);
        let name = std::str::from_utf8(key).unwrap_or_default();
        if !whole {
            scan.at = from;
            if opened.contains(&key) && scan.peek() == Some(b'{') {
                out.extend([separator, "\"", name, "\":"]);
                whole_members(scan, text, out, &[])?;
            }
            break;
        }
        let value = text.get(from..scan.at)?;
        out.extend([separator, "\"", name, "\":", value]);
        separator = ",";
        scan.space();
        if scan.pass(b',').is_none() {
            break;
        }
        scan.space();
    }
    out.push('}');
    Some(())
}

/// The key that begins here, if it is whole.
fn begun<'t>(scan: &mut Scan<'t>) -> Option<&'t [u8]> {
    (scan.peek()? == b'"').then(|| scan.key())?
}

/// A number may go on after the cut; what has an end of its own cannot.
fn surely_ended(text: &str, from: usize, end: usize) -> bool {
    end < text.len()
        || !text.as_bytes().get(from).is_some_and(|it| matches!(it, b'-' | b'0'..=b'9'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{open as opened, stored};
    use proptest::prelude::*;

    const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"a-1","stage":"ResponseComplete","requestURI":"/api/v1/secrets?a=\u0026é","verb":"list","user":{"username":"eve","groups":["a","b"],"extra":{"k":["v"]}},"sourceIPs":["10.0.0.1","10.0.0.2"],"objectRef":{"resource":"secrets","namespace":"ns","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":403},"requestObject":{"spec":[1,{"a":2}]},"stageTimestamp":"2026-11-23T03:39:13.554321Z","annotations":{"authorization.k8s.io/decision":"forbid"}}"#;

    /// Every field that is there, with its value.
    fn fields(event: &crate::event::Event<'_>) -> Vec<(Field, String)> {
        let leaf = |it: &Field| {
            !matches!(
                it,
                Field::User | Field::ObjectRef | Field::ResponseStatus | Field::Annotations
            )
        };
        let value = |it: Field| event.json(it).map(|json| (it, json.to_owned()));
        Field::all().filter(leaf).filter_map(value).collect()
    }

    #[test]
    fn whatever_is_cut_off_what_is_left_is_what_the_event_says() {
        let whole = fields(&line(EVENT.as_bytes()).unwrap());
        let mut most = 0;
        for cut in 0..EVENT.len() {
            let raw = [&EVENT.as_bytes()[..cut], MARK.as_bytes()].concat();
            let found = stored(&raw, fields).unwrap_or_default();
            assert!(found.iter().all(|it| whole.contains(it)), "{cut}: {found:?}");
            assert!(found.len() >= most, "{cut}: a longer text tells less");
            most = found.len();
        }
        assert_eq!(most, whole.len());
    }

    #[test]
    fn a_number_at_the_cut_and_half_a_list_are_not_told() {
        let cut = |at: &str| {
            let end = EVENT.find(at).unwrap() + at.len();
            stored(&[&EVENT.as_bytes()[..end], MARK.as_bytes()].concat(), fields).unwrap()
        };
        assert!(cut("\"code\":403").iter().all(|(field, _)| *field != Field::Code));
        assert!(cut("\"code\":403}").contains(&(Field::Code, "403".to_owned())));
        assert!(cut("[\"a\"").iter().all(|(field, _)| *field != Field::UserGroups));
        assert!(cut("[\"a\"").contains(&(Field::Username, "\"eve\"".to_owned())));
    }

    #[test]
    fn a_line_that_is_only_broken_is_not_salvaged() {
        let half = &EVENT.as_bytes()[..EVENT.len() / 2];
        assert!(opened(half, &line(half)).is_none());
        let padded = format!("{EVENT}{}", " ".repeat(RUNTIME_BYTES));
        let cut =
            [br#"{"auditID":"a","stage":"s","x":""#, &padded.as_bytes()[EVENT.len()..]].concat();
        let cut = &cut[..RUNTIME_BYTES];
        assert!(stored(cut, |it| it.is_audit()) == Some(true));
    }

    proptest! {
        #[test]
        fn noise_within_never_panics(cut in 0..EVENT.len(), noise in prop::collection::vec(any::<u8>(), 0..6)) {
            let raw = [&EVENT.as_bytes()[..cut], &noise, MARK.as_bytes()].concat();
            let _ = stored(&raw, fields);
        }
    }
}
