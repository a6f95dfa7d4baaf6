//! What one YAML document of a rule file may cost, found out before anything is
//! built of it: a few lines of YAML can stand for gigabytes.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use yaml_serde::Value;

/// Keys and values of one document, those that aliases (`*name`) stand for as well.
pub(in crate::rules) const NODES_MAX: usize = 200_000;

/// Bytes of text in one document, those that aliases stand for as well.
pub(in crate::rules) const TEXT_BYTES_MAX: usize = 16 << 20;

/// Brackets and braces that may be open at one place. The YAML reader takes time with the square
/// of their number.
pub(in crate::rules) const FLOW_DEPTH_MAX: usize = 256;

/// Length of all conditions of one document together.
pub(in crate::rules) const CONDITION_BYTES_MAX: usize = 16 << 10;

/// How deep parentheses and `not` may be nested in a condition.
pub(in crate::rules) const CONDITION_DEPTH_MAX: usize = 64;

/// Bytes that documents of one file may take over from others by `action`.
pub(in crate::rules) const LINKED_BYTES_MAX: usize = 64 << 20;

/// Which bound a document breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::rules) enum BoundFault {
    #[error(
        "the document holds more than {NODES_MAX} values, counted as often as aliases use them"
    )]
    Nodes,
    #[error(
        "the document holds more than {TEXT_BYTES_MAX} bytes of text, counted as often as aliases use them"
    )]
    Text,
    #[error("the document has more than {FLOW_DEPTH_MAX} brackets open at one place")]
    FlowDepth,
    #[error("the conditions are longer than {CONDITION_BYTES_MAX} bytes")]
    Condition,
    #[error("the condition is nested deeper than {CONDITION_DEPTH_MAX} levels")]
    ConditionDepth,
    #[error("by \"action\", documents of this file take over more than {LINKED_BYTES_MAX} bytes")]
    Linked,
}

/// The document as plain YAML, if it keeps within the bounds. `None`: it is no YAML,
/// which the parser tells better.
pub(super) fn read(text: &str) -> Result<Option<Value>, BoundFault> {
    if flow_depth(text) > FLOW_DEPTH_MAX {
        return Err(BoundFault::FlowDepth);
    }
    let tally = Tally::default();
    let counted = yaml_serde::Deserializer::from_str(text)
        .try_for_each(|document| Count(&tally).deserialize(document));
    match (tally.broken.get(), counted) {
        (Some(fault), _) => Err(fault),
        (None, Err(_)) => Ok(None),
        (None, Ok(())) => {
            let value = yaml_serde::Deserializer::from_str(text)
                .next()
                .and_then(|document| Value::deserialize(document).ok());
            if let Some(value) = &value {
                conditions(value)?;
            }
            Ok(value)
        }
    }
}

/// How many brackets and braces are open at once, at most. Those in texts count as well: telling
/// them apart would take a YAML reader.
fn flow_depth(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

#[derive(Default)]
struct Tally {
    nodes: Cell<usize>,
    bytes: Cell<usize>,
    broken: Cell<Option<BoundFault>>,
}

/// Walks a document and keeps nothing of it.
#[derive(Clone, Copy)]
struct Count<'t>(&'t Tally);

impl Count<'_> {
    fn node<E: Error>(self, bytes: usize) -> Result<(), E> {
        let tally = self.0;
        tally.nodes.set(tally.nodes.get() + 1);
        tally.bytes.set(tally.bytes.get().saturating_add(bytes));
        let fault = if tally.nodes.get() > NODES_MAX {
            BoundFault::Nodes
        } else if tally.bytes.get() > TEXT_BYTES_MAX {
            BoundFault::Text
        } else {
            return Ok(());
        };
        tally.broken.set(Some(fault));
        Err(E::custom(fault))
    }
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.node(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.node(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.node(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.node(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.node(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.node(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.node(text.len())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.node(0)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.node(0)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        self.deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.node(0)?;
        while members.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.node(0)?;
        while entries.next_entry_seed(self, self)?.is_some() {}
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let ((), value) = tagged.variant_seed(self)?;
        value.newtype_variant_seed(self)
    }
}

/// Holds all conditions of the document against their bounds: the parser recurses
/// with their depth, and takes time with the square of their length.
fn conditions(value: &Value) -> Result<(), BoundFault> {
    let mut length = 0;
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            Value::Sequence(members) => rest.extend(members),
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    if key.as_str() == Some("condition") {
                        length += condition(value)?;
                    }
                    rest.push(value);
                }
            }
            _ => {}
        }
    }
    if length > CONDITION_BYTES_MAX { Err(BoundFault::Condition) } else { Ok(()) }
}

/// The length of a condition, or of each in a list.
fn condition(value: &Value) -> Result<usize, BoundFault> {
    match value {
        Value::String(text) if depth(text) > CONDITION_DEPTH_MAX => Err(BoundFault::ConditionDepth),
        Value::String(text) => Ok(text.len()),
        Value::Sequence(list) => list.iter().try_fold(0, |sum, it| Ok(sum + condition(it)?)),
        _ => Ok(0),
    }
}

/// How deep a condition's parentheses and negations are nested.
fn depth(text: &str) -> usize {
    let (mut deepest, mut open, mut negations) = (0_usize, Vec::new(), 0_usize);
    let mut outer = 0_usize;
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    for word in spaced.split_whitespace() {
        match word {
            "(" => {
                open.push(negations + 1);
                outer += negations + 1;
                negations = 0;
            }
            ")" => {
                outer -= open.pop().unwrap_or(0);
                negations = 0;
            }
            "not" => negations += 1,
            _ => negations = 0,
        }
        deepest = deepest.max(outer + negations);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_counted_as_often_as_they_are_used() {
        let list = "- x\n".repeat(1_000).replace("- ", "  - ");
        let uses = "  - *a\n".repeat(1_000);
        let text = format!("a: &a\n{list}b:\n{uses}");
        assert_eq!(read(&text).unwrap_err(), BoundFault::Nodes);
        let long = format!("a: &a {}\nb:\n{}", "x".repeat(1 << 20), "  - *a\n".repeat(20));
        assert_eq!(read(&long).unwrap_err(), BoundFault::Text);
        assert!(read("a: &a [1, !tag x]\nb: *a\n").unwrap().is_some());
        assert_eq!(read("a: [").unwrap(), None);
    }

    #[test]
    fn laughs_in_their_billions_end_at_once() {
        let laugh = |at: usize| format!("a{at}: &a{at} [*a{0}, *a{0}]\n", at - 1);
        let text: String =
            std::iter::once("a0: &a0 lol\n".to_owned()).chain((1..60).map(laugh)).collect();
        // The reader's own bound on aliases or ours, whichever comes first.
        assert!(!matches!(read(&text), Ok(Some(_))));
    }

    #[test]
    fn conditions_have_a_depth() {
        assert_eq!(depth("a and not b"), 1);
        assert_eq!(depth("not (not (a)) or not c"), 4);
        assert_eq!(depth(")) a (b) and ("), 1);
        let nested = |levels: usize| {
            let open = "(".repeat(levels);
            read(&format!("condition: '{open}a{}'\n", ")".repeat(levels)))
        };
        assert!(nested(CONDITION_DEPTH_MAX).is_ok());
        assert_eq!(nested(CONDITION_DEPTH_MAX + 1).unwrap_err(), BoundFault::ConditionDepth);
        let long = format!("x:\n  condition: [{}]\n", "'a or b', ".repeat(3_000));
        assert_eq!(read(&long).unwrap_err(), BoundFault::Condition);
    }
}
