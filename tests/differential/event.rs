//! Random events: objects of a flat log and audit events, with fields missing, of the wrong type,
//! and in lists.

use serde_json::{Map, Value, json};

use crate::random::Random;
use crate::words::{self, AUDIT, PLAIN};

pub(crate) fn event(random: &mut Random, audit: bool) -> Value {
    let mut event = if audit {
        json!({"kind": "Event", "auditID": "0", "stage": "ResponseComplete"})
    } else {
        json!({})
    };
    for field in if audit { AUDIT } else { PLAIN } {
        if !random.percent(65) {
            continue;
        }
        let value = value(random, 2);
        match field.split_once('.') {
            Some(("annotations", key)) => event["annotations"] = json!({key: value}),
            _ => put(random, &mut event, field, value),
        }
    }
    if !audit && random.percent(5) {
        event["c.d"] = value(random, 1);
    }
    event
}

/// Puts the value at the path; what is on the way is sometimes a list, sometimes in the way.
fn put(random: &mut Random, object: &mut Value, path: &str, value: Value) {
    let Some(map) = object.as_object_mut() else { return };
    let Some((first, rest)) = path.split_once('.') else {
        map.insert(path.to_owned(), value);
        return;
    };
    let often = match first {
        "containers" | "rules" | "o" => 80,
        // The API server writes these as objects, and the decoder relies on it.
        "user" | "objectRef" | "responseStatus" => 0,
        _ => 5,
    };
    let inner = map.entry(first).or_insert_with(|| json!({}));
    if inner.is_object() && inner.as_object().is_some_and(Map::is_empty) && random.percent(often) {
        let members = (0..1 + random.below(3)).map(|_| json!({})).collect();
        *inner = Value::Array(members);
    }
    match inner {
        Value::Array(members) => {
            for member in members {
                if random.percent(80) {
                    let other = self::value(random, 1);
                    let value = if random.percent(50) { value.clone() } else { other };
                    put(random, member, rest, value);
                }
            }
        }
        inner => put(random, inner, rest, value),
    }
}

pub(crate) fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 80 } else { 100 }) {
        0..55 => json!(words::text(random)),
        55..67 => words::number(random),
        67..73 => json!(random.percent(50)),
        73..80 => Value::Null,
        80..95 => (0..random.below(4)).map(|_| value(random, depth - 1)).collect(),
        _ => json!({"k": value(random, depth - 1)}),
    }
}
