//! Fields that an envelope tells, one by one -> the JSON text of an event as the API server would write it.

use super::taken::{Taken, Text};
use crate::decode::row::{Provenance, Provider};
use crate::event::Field;

/// An event under construction.
#[derive(Debug, Default)]
pub(super) struct Native {
    /// Values as JSON text. A field that has a parent is written within it.
    values: Vec<(Field, String)>,
    inferred: Vec<Field>,
}

impl Native {
    /// A value that stands in the envelope, as JSON text.
    pub(super) fn json(&mut self, field: Field, json: &str) {
        self.values.push((field, json.to_owned()));
    }

    /// A text that stands in the envelope.
    pub(super) fn text(&mut self, field: Field, text: &str) {
        self.values.push((field, quoted(text)));
    }

    /// A text that the envelope tells in other words. An empty one is none.
    pub(super) fn infer(&mut self, field: Field, text: &str) {
        if !text.is_empty() {
            self.inferred.push(field);
            self.text(field, text);
        }
    }

    /// A number that the envelope tells in other words.
    pub(super) fn infer_number(&mut self, field: Field, number: u16) {
        self.inferred.push(field);
        self.json(field, &number.to_string());
    }

    /// The event. `beside` are members of the envelope that rules may ask for as well; what is
    /// written here counts where both have a key.
    pub(super) fn taken(self, beside: &str, provider: Provider) -> Taken {
        let mut text = format!("{{{beside}");
        let mut separator = if beside.trim().is_empty() { "" } else { "," };
        let members = [(Field::Kind, "\"Event\""), (Field::ApiVersion, "\"audit.k8s.io/v1\"")];
        for (field, json) in members {
            text.extend([separator, &quoted(field.path()), ":", json]);
            separator = ",";
        }
        for field in Field::all().filter(|it| it.parent().is_none()) {
            if let Some(json) = self.value(field) {
                text.extend([separator, &quoted(field.path()), ":", &json]);
            }
        }
        text.push('}');
        let mut inferred = self.inferred;
        inferred.sort_unstable();
        let provenance = Provenance { provider, inferred, ..Provenance::default() };
        Taken { text: Text::Made(text), provenance: Some(provenance), assured: true }
    }

    /// A field's value: its own, with the members that were told one by one behind its own members.
    fn value(&self, field: Field) -> Option<String> {
        let own = self.values.iter().find(|(it, _)| *it == field).map(|(_, json)| json.as_str());
        let within: Vec<(String, &str)> = self
            .values
            .iter()
            .filter(|(it, _)| it.parent() == Some(field))
            .map(|(it, json)| (key(*it, field), json.as_str()))
            .collect();
        if within.is_empty() {
            return own.map(str::to_owned);
        }
        let inner = own.and_then(|it| it.trim().strip_prefix('{')?.strip_suffix('}'));
        let mut text = format!("{{{}", inner.unwrap_or_default());
        let mut separator = if inner.is_none_or(|it| it.trim().is_empty()) { "" } else { "," };
        for (key, json) in within {
            text.extend([separator, &quoted(&key), ":", json]);
            separator = ",";
        }
        text.push('}');
        Some(text)
    }
}

/// A field's key within its parent.
fn key(field: Field, parent: Field) -> String {
    let path = field.path().strip_prefix(parent.path()).unwrap_or_default();
    path.strip_prefix('.').unwrap_or_default().replace('\\', "")
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A JSON array of strings.
pub(super) fn list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_within_their_objects() {
        let mut native = Native::default();
        native.json(Field::Annotations, r#"{"x":"y"}"#);
        native.infer(Field::Decision, "allow");
        native.text(Field::Username, "a\"b");
        native.infer_number(Field::Code, 200);
        native.infer(Field::Name, "");
        let taken = native.taken(r#""beside":1"#, Provider::Gke);
        let Text::Made(text) = &taken.text else { panic!("it was made") };
        assert_eq!(
            text,
            r#"{"beside":1,"kind":"Event","apiVersion":"audit.k8s.io/v1","user":{"username":"a\"b"},"responseStatus":{"code":200},"annotations":{"x":"y","authorization.k8s.io/decision":"allow"}}"#
        );
        assert_eq!(taken.provenance.unwrap().inferred, [Field::Code, Field::Decision]);
    }
}
