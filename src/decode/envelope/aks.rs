//! A record of Azure Monitor's resource logs, by way of an Event Hub or a storage account -> the event in
//! `properties.log`, which is a string for most and an object for some.

use super::json::Object;
use super::taken::{Taken, Text, record};
use crate::decode::row::Provider;
use crate::event::Flaw;

/// The categories of the audit log. `kube-audit-admin` leaves get and list out.
const AUDIT: [&str; 2] = ["kube-audit", "kube-audit-admin"];

/// The event of a record. `None`: it is no record of Azure Monitor.
pub(super) fn open(text: &str, object: &Object<'_>) -> Option<Taken> {
    let category = object.string("category")?;
    if !object.has("operationName") && !object.has("resourceId") {
        return None;
    }
    let other = || Taken::other(Provider::Aks, Flaw::OtherLog);
    if !AUDIT.iter().any(|it| category.eq_ignore_ascii_case(it)) {
        return Some(other());
    }
    let properties = object.range("properties")?;
    let log = Object::of(text.get(properties.clone())?)?.range("log")?;
    let log = log.start + properties.start..log.end + properties.start;
    let json = text.get(log.clone())?;
    if json.starts_with('{') {
        return Some(Taken::event(Text::Within(log), Provider::Aks));
    }
    let record = record(&crate::event::unquote(json)?, Provider::Aks, true);
    // Nothing of it can be told, so the record is kept for what it is.
    Some(record.unwrap_or_else(|| Taken::other(Provider::Aks, Flaw::NotJson)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{line, open as opened, stored};
    use crate::event::Field;

    fn wrapped(category: &str, log: &str) -> String {
        format!(
            r#"{{"category":"{category}","resourceId":"/x","properties":{{"log":{log},"stream":"stdout"}}}}"#
        )
    }

    #[test]
    fn an_event_that_the_runtime_cut_is_salvaged() {
        let event = r#"{"kind":"Event","auditID":"a","stage":"ResponseComplete","verb":"get","user":{"username":"eve"},"responseStatus":{"code":2"#;
        let text = wrapped("kube-audit", &serde_json::Value::from(event).to_string());
        let found = opened(text.as_bytes(), &line(text.as_bytes())).unwrap();
        let rows = found.rows(text.as_bytes());
        assert!(rows[0].truncated() && rows[0].flaw().is_none());
        let event = rows[0].event.as_ref().unwrap();
        assert_eq!(event.text(Field::Username).unwrap(), "eve");
        assert_eq!(event.json(Field::Code), None);
    }

    #[test]
    fn other_categories_and_what_tells_nothing_are_marked() {
        for (category, log, flaw) in [
            ("guard", r#""I1007 line""#, Flaw::OtherLog),
            ("Administrative", "{}", Flaw::OtherLog),
            ("kube-audit", r#""{\"kind\"""#, Flaw::NotJson),
        ] {
            let text = wrapped(category, log);
            let found = opened(text.as_bytes(), &line(text.as_bytes())).unwrap();
            assert_eq!(found.rows(text.as_bytes())[0].flaw(), Some(flaw), "{category}");
        }
        assert!(
            stored(br#"{"category":"kube-audit","verb":"get"}"#, |it| it.is_audit()) == Some(false)
        );
    }
}
