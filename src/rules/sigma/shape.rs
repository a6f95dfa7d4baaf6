//! Holds a document against what the specification says of its keys, where the
//! parser would take what it cannot use for absent.

use rsigma_parser::version::major_from_value;
use yaml_serde::{Mapping, Value};

use crate::rules::load::Fault;

/// Quantifiers that may stand in brackets behind a field's name.
const QUANTIFIERS: [&str; 4] = ["any", "all", "all_or_empty", "none"];

/// The first version of Sigma in which brackets mean members of an array.
const ARRAYS_SINCE: u32 = 3;

/// What a key must hold.
#[derive(Debug, Clone, Copy)]
enum Needs {
    Text,
    /// Text that is not empty.
    Word,
    List,
    Date,
}

const KEYS: &[(&str, Needs)] = &[
    ("id", Needs::Text),
    ("name", Needs::Word),
    ("taxonomy", Needs::Word),
    ("status", Needs::Text),
    ("level", Needs::Text),
    ("description", Needs::Text),
    ("license", Needs::Text),
    ("author", Needs::Text),
    ("date", Needs::Date),
    ("modified", Needs::Date),
    ("runbook", Needs::Text),
    ("references", Needs::List),
    ("fields", Needs::List),
    ("falsepositives", Needs::List),
    ("tags", Needs::List),
    ("scope", Needs::List),
];

impl Needs {
    fn met(self, value: &Value) -> bool {
        match self {
            Needs::Text => value.is_string(),
            Needs::Word => value.as_str().is_some_and(|it| !it.is_empty()),
            Needs::List => value.as_sequence().is_some_and(|list| {
                list.iter().all(|it| !it.is_mapping() && !it.is_sequence() && !it.is_null())
            }),
            Needs::Date => value.as_str().is_some_and(is_date),
        }
    }

    fn told(self) -> &'static str {
        match self {
            Needs::Text => "text",
            Needs::Word => "text that is not empty",
            Needs::List => "a list of texts",
            Needs::Date => "a date as YYYY-MM-DD",
        }
    }
}

/// A date, perhaps with a time behind it.
fn is_date(text: &str) -> bool {
    let day = text.get(..10).unwrap_or(text).replace('/', "-");
    day.parse::<jiff::civil::Date>().is_ok()
}

/// What is wrong with a document: the word to blame, and why. `inherited` is the
/// version of Sigma that a document above it states for it.
pub(super) fn faults(document: &Value, inherited: Option<u32>) -> Vec<(String, Fault)> {
    let arrays = version(document).or(inherited).is_some_and(|it| it >= ARRAYS_SINCE);
    let Some(document) = document.as_mapping() else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for (key, needs) in KEYS {
        // A key without a value is as good as none.
        let value = document.get(*key).filter(|it| !it.is_null());
        if value.is_some_and(|it| !needs.met(it)) {
            faults.push(((*key).to_owned(), Fault::Key { key, needs: needs.told() }));
        }
    }
    for key in ["category", "product", "service"] {
        let value = document.get("logsource").and_then(|it| it.get(key));
        if value.is_some_and(|it| !it.is_string() && !it.is_null()) {
            faults.push((key.to_owned(), Fault::Key { key, needs: Needs::Text.told() }));
        }
    }
    if let Some(filter) = document.get("filter").and_then(Value::as_mapping) {
        faults.extend(filter_rules(filter));
    }
    if !arrays {
        for key in ["detection", "filter"] {
            document.get(key).into_iter().for_each(|it| brackets(it, &mut faults));
        }
    }
    faults
}

/// The version of Sigma a document says it is written for.
pub(super) fn version(document: &Value) -> Option<u32> {
    document.get("sigma-version").and_then(major_from_value)
}

/// A filter must say which rules it is for. Were a slip taken for "all", it would
/// silence rules that nobody meant.
fn filter_rules(filter: &Mapping) -> Option<(String, Fault)> {
    let named = match filter.get("rules") {
        Some(Value::String(one)) => !one.is_empty(),
        Some(Value::Sequence(list)) => !list.is_empty() && list.iter().all(Value::is_string),
        _ => false,
    };
    let near = if filter.contains_key("rules") { "rules" } else { "filter" };
    (!named).then(|| (near.to_owned(), Fault::FilterRules))
}

/// Names with brackets that would mean members of an array in a later version.
fn brackets(value: &Value, faults: &mut Vec<(String, Fault)>) {
    match value {
        Value::Sequence(members) => members.iter().for_each(|it| brackets(it, faults)),
        Value::Mapping(entries) => {
            for (key, value) in entries {
                if let Some(name) = key.as_str().and_then(|it| it.split('|').next())
                    && name.split('.').any(selects_members)
                {
                    faults.push((name.to_owned(), Fault::Brackets(name.to_owned())));
                }
                brackets(value, faults);
            }
        }
        _ => {}
    }
}

/// Whether a key of a path ends in `[any]`, `[0]` and the like, without backslashes.
fn selects_members(key: &str) -> bool {
    let inner = key.strip_suffix(']').and_then(|it| it.rsplit_once('['));
    inner.is_some_and(|(name, inner)| {
        let meant = QUANTIFIERS.contains(&inner) || inner.parse::<i64>().is_ok();
        meant && !name.is_empty() && !name.ends_with('\\') && !inner.ends_with('\\')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let value: Value = yaml_serde::from_str(text).unwrap();
        faults(&value, None).into_iter().map(|(_, fault)| fault.to_string()).collect()
    }

    #[test]
    fn keys_hold_what_the_specification_says() {
        for (text, want) in [
            ("author: [a, b]", "`author` must be text"),
            ("name: ''", "`name` must be text that is not empty"),
            ("level: 3", "`level` must be text"),
            ("tags: attack.t1", "`tags` must be a list of texts"),
            ("references: [{a: b}]", "`references` must be a list of texts"),
            ("date: 2024-13-01", "`date` must be a date as YYYY-MM-DD"),
            ("logsource: {product: 1}", "`product` must be text"),
        ] {
            assert_eq!(told(text), [want], "{text}");
        }
        assert_eq!(
            told("author:\ndate: 2024/01/31\nmodified: 3000-01-02T03:04:05\nodd: [1]"),
            [""; 0]
        );
    }

    #[test]
    fn brackets_need_the_version_that_knows_them() {
        let rule = |name: &str| format!("detection:\n  sel:\n    - {name}: x\n");
        for name in ["a[any]", "a.b[none].c", "'a[0]|contains'", "a[-1]"] {
            let found = told(&rule(name));
            assert!(found.len() == 1 && found[0].contains("sigma-version: 3"), "{found:?}");
            assert!(told(&format!("sigma-version: 3\n{}", rule(name))).is_empty());
        }
        for name in [r"a\[any\]", "'a[other]'", "'[any]'", "plain"] {
            assert!(told(&rule(name)).is_empty(), "{name}");
        }
    }
}
