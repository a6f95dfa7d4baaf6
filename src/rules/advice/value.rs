//! Values that a field of an audit event never takes.

use super::{Advice, Told};
use crate::rules::ir::{Item, Test};
use crate::rules::matcher::Matcher;
use crate::rules::taxonomy::{
    FIELD_MISTAKES, Meaning, READ_AS, VALUE_MISTAKES, close, group_hint, meaning, resource_hint,
};
use crate::rules::value::Leaf;

/// The statuses that HTTP has.
const CODES: std::ops::RangeInclusive<u16> = 100..=599;

/// Adds what is to be said about the values of one item.
pub(super) fn judge(item: &Item, told: &mut Vec<Told>) {
    let Some((field, known)) = item.field.as_deref().and_then(|it| Some((it, meaning(it)?))) else {
        return;
    };
    for test in &item.tests {
        if matches!(test, Test::Null | Test::Exists(_) | Test::SameAs { .. }) {
            continue;
        }
        let advice = if known.is_object() {
            let path = known.path.to_lowercase();
            let hint = FIELD_MISTAKES.iter().find(|(it, _)| *it == path);
            let hint = hint.map(|(_, meant)| (*meant).to_owned());
            Some(Advice::AnObject { field: field.to_owned(), hint })
        } else {
            never(field, &known, test)
        };
        told.extend(advice.map(|advice| {
            let value = Some(shown(test)).filter(|it| !it.is_empty());
            Told { field: field.to_owned(), value, advice }
        }));
    }
}

fn never(field: &str, known: &Meaning, test: &Test) -> Option<Advice> {
    let value = shown(test);
    let advice = |hint: String| {
        Some(Advice::NeverSo { field: field.to_owned(), value: value.clone(), hint })
    };
    let did_you_mean = |meant: &str| super::meant(Some(meant));
    let literal = test.literal().map(|it| it.to_lowercase());
    if let Some(literal) = &literal {
        let is = |(path, wrong): (&str, &str)| path == known.path && wrong == literal;
        if let Some(read) = READ_AS.iter().find(|it| is((it.field, it.value))) {
            let target = read.target.replace('\\', "");
            return advice(format!("; it is read as \"{target}: {}\"", read.value));
        }
        if let Some((_, _, meant)) = VALUE_MISTAKES.iter().find(|it| is((it.0, it.1))) {
            return advice(did_you_mean(meant));
        }
        let hint = match known.path.as_str() {
            "objectRef.resource" => resource_hint(literal),
            "objectRef.apiGroup" => group_hint(literal),
            _ => None,
        };
        if let Some(hint) = hint {
            return advice(did_you_mean(&hint));
        }
    }
    let values = known.values();
    if values.is_empty() && !known.is_code() || possible(known, test) {
        return None;
    }
    let near = literal.and_then(|it| close(&it, values.iter().copied()));
    advice(match near {
        Some(near) => did_you_mean(&near),
        None if known.is_code() => "; it is the HTTP status, a number".to_owned(),
        None => format!("; it is one of {}", values.join(", ")),
    })
}

/// Whether a text passes the test.
pub(super) fn passes(test: &Test, text: &str) -> bool {
    match test {
        Test::Exists(there) => *there,
        other => Matcher::new(other).is_ok_and(|it| it.fits(&Leaf::Text(text))),
    }
}

/// Whether any value of a field with a closed set of them passes the test.
fn possible(known: &Meaning, test: &Test) -> bool {
    // What cannot be compiled is an error that is told elsewhere.
    let Ok(matcher) = Matcher::new(test) else {
        return true;
    };
    if known.is_code() {
        return CODES
            .into_iter()
            .any(|code| matcher.fits(&Leaf::Number(f64::from(code), &code.to_string())));
    }
    known.values().iter().any(|it| matcher.fits(&Leaf::Text(it)))
}

/// The value as the rule has it, without what a modifier adds around it.
fn shown(test: &Test) -> String {
    match test {
        Test::Text { .. } => test.pattern().trim_matches('*').to_owned(),
        Test::Number(number) | Test::Compare(_, number) | Test::Time { number, .. } => {
            number.to_string()
        }
        Test::Bool(yes) => yes.to_string(),
        Test::Regex(source) | Test::Cidr(source) => source.clone(),
        _ => String::new(),
    }
}
