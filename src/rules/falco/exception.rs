//! Exceptions of a rule: fields, operators and values that together mean "not this one".
//!
//! They become text that is put behind the rule's condition, as Falco does it, so that a
//! list's name and a transformer may stand for a value.

use super::condition::{Shape, shape};
use super::document::{Entry, Node, Place};
use super::fault::{ExceptionFault, FalcoFault};
use super::lexer::Lexer;
use super::request::{Blame, scalar};

/// One exception.
#[derive(Debug, Clone)]
pub(super) struct Exception {
    pub(super) name: String,
    pub(super) fields: Value,
    pub(super) comps: Value,
    pub(super) values: Vec<Value>,
    pub(super) place: Place,
}

/// One text or several; an empty list when there is none.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    One(String),
    Many(Vec<Value>),
}

impl Value {
    fn none() -> Value {
        Value::Many(Vec::new())
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Value::none()
    }
}

/// Fields, operators and values are lists at most this deep: values of a field of a tuple.
const NESTED_MAX: usize = 3;

/// Reads the exceptions of a rule's entry. `append`: they may lack their fields.
pub(super) fn read(
    entry: &Entry<'_>,
    append: bool,
    warnings: &mut Vec<Blame>,
) -> Result<Vec<Exception>, Blame> {
    let members = match entry.node.get("exceptions") {
        None | Some(Node::Null) => return Ok(Vec::new()),
        Some(Node::Sequence(members)) => members,
        Some(_) => {
            return Err((entry.key("exceptions"), FalcoFault::Kind("exceptions", "list")));
        }
    };
    let mut found: Vec<Exception> = Vec::with_capacity(members.len());
    for member in members {
        let at = |fault| (entry.key("exceptions"), fault);
        if !matches!(member, Node::Mapping(_)) {
            return Err(at(FalcoFault::Kind("exceptions", "list of mappings")));
        }
        let name = scalar(member, "name").map_err(at)?;
        let name = name.ok_or_else(|| at(FalcoFault::Missing("name")))?.to_owned();
        let place = entry.line_with(&["name", &name]);
        let blame = |fault| (place.clone(), fault);
        if found.iter().any(|it| it.name == name) {
            warnings.push(blame(FalcoFault::ExceptionTwice(name.clone())));
        }
        let fields = part(member, "fields").map_err(blame)?;
        if fields.is_none() && !append {
            return Err(blame(FalcoFault::Missing("fields")));
        }
        let values = match part(member, "values").map_err(blame)? {
            Some(Value::Many(values)) => values,
            Some(Value::One(_)) => return Err(blame(FalcoFault::Kind("values", "list"))),
            None => {
                if append {
                    warnings.push(blame(FalcoFault::ExceptionWithoutValues(name.clone())));
                }
                Vec::new()
            }
        };
        let comps = part(member, "comps").map_err(blame)?.unwrap_or_else(Value::none);
        let fields = fields.unwrap_or_else(Value::none);
        found.push(Exception { name, fields, comps, values, place });
    }
    Ok(found)
}

fn part(node: &Node, key: &'static str) -> Result<Option<Value>, FalcoFault> {
    node.get(key).map(|it| value(it, key, 0)).transpose()
}

fn value(node: &Node, key: &'static str, depth: usize) -> Result<Value, FalcoFault> {
    match node {
        Node::Scalar(text) if !text.is_empty() => Ok(Value::One(text.clone())),
        Node::Sequence(members) if depth < NESTED_MAX => {
            let members: Result<Vec<_>, _> =
                members.iter().map(|it| value(it, key, depth + 1)).collect();
            members.map(Value::Many)
        }
        _ => Err(FalcoFault::Kind(key, "text or list of texts")),
    }
}

impl Exception {
    pub(super) fn fault(&self, why: ExceptionFault) -> Blame {
        (self.place.clone(), FalcoFault::Exception(self.name.clone(), why))
    }

    /// Fills in the operators that are left out, and checks that all is there and fits.
    pub(super) fn complete(&mut self) -> Result<(), Blame> {
        self.completed().map_err(|why| self.fault(why))
    }

    fn completed(&mut self) -> Result<(), ExceptionFault> {
        match (&self.fields, &mut self.comps) {
            (Value::Many(fields), _) if fields.is_empty() => Err(ExceptionFault::NoFields),
            (Value::Many(fields), comps) => {
                if comps.is_none() {
                    *comps = Value::Many(vec![Value::One("=".into()); fields.len()]);
                }
                let Value::Many(comps) = comps else {
                    return Err(ExceptionFault::CompsLength);
                };
                if comps.len() != fields.len() {
                    return Err(ExceptionFault::CompsLength);
                }
                comps.iter_mut().try_for_each(|it| match it {
                    Value::One(word) => {
                        *word = word.trim().to_owned();
                        let known = shape(word).is_some();
                        known.then_some(()).ok_or_else(|| ExceptionFault::Operator(word.clone()))
                    }
                    Value::Many(_) => Err(ExceptionFault::CompsLength),
                })
            }
            (Value::One(_), comps) => {
                if comps.is_none() {
                    *comps = Value::One("in".into());
                }
                let Value::One(word) = comps else {
                    return Err(ExceptionFault::BothStrings);
                };
                *word = word.trim().to_owned();
                let known = shape(word) == Some(Shape::Many);
                known.then_some(()).ok_or(ExceptionFault::SingleOperator)
            }
        }
    }

    /// What the exception takes out, as a condition; nothing while it has no values.
    fn condition(&self) -> Result<Option<String>, ExceptionFault> {
        if self.values.is_empty() {
            return Ok(None);
        }
        match (&self.fields, &self.comps) {
            (Value::One(field), Value::One(comp)) => {
                let list = Value::Many(self.values.clone());
                Ok(Some(format!("({field} {comp} {})", operand(&list, comp)?)))
            }
            (Value::Many(fields), Value::Many(comps)) => {
                let mut tuples = Vec::with_capacity(self.values.len());
                for tuple in &self.values {
                    let Value::Many(values) = tuple else {
                        return Err(ExceptionFault::ValuesLength);
                    };
                    if values.len() != fields.len() {
                        return Err(ExceptionFault::ValuesLength);
                    }
                    let checks: Result<Vec<String>, ExceptionFault> =
                        fields.iter().zip(comps).zip(values).map(check).collect();
                    tuples.push(format!("({})", checks?.join(" and ")));
                }
                Ok(Some(format!("({})", tuples.join(" or "))))
            }
            _ => Err(ExceptionFault::BothStrings),
        }
    }
}

fn check(((field, comp), value): ((&Value, &Value), &Value)) -> Result<String, ExceptionFault> {
    let (Value::One(field), Value::One(comp)) = (field, comp) else {
        return Err(ExceptionFault::NoFields);
    };
    Ok(format!("{field} {comp} {}", operand(value, comp)?))
}

/// The right side of a check.
fn operand(value: &Value, comp: &str) -> Result<String, ExceptionFault> {
    match value {
        Value::One(text) if shape(comp) != Some(Shape::Many) => Ok(item(text)),
        Value::One(text) if text.starts_with('(') => Ok(text.clone()),
        Value::One(text) => Ok(format!("({text})")),
        Value::Many(members) => {
            let texts: Result<Vec<String>, ExceptionFault> = members
                .iter()
                .map(|it| match it {
                    Value::One(text) => Ok(item(text)),
                    Value::Many(_) => Err(ExceptionFault::StringsOnly),
                })
                .collect();
            Ok(format!("({})", texts?.join(", ")))
        }
    }
}

/// A value as it stands in a condition: in quotes when it would not be one value without.
pub(super) fn item(text: &str) -> String {
    let quote = text.is_empty()
        || (!text.starts_with(['"', '\''])
            && (text.contains(' ') || (text.contains(['"', '\'', '=']) && !text.contains('('))));
    if !quote {
        return text.to_owned();
    }
    // People wrote escapes for Falco, which puts quotes around and looks no further.
    let plain = format!("\"{text}\"");
    let mut lexer = Lexer::new(&plain);
    if matches!(lexer.quoted(), Ok(Some(_))) && lexer.rest().is_empty() {
        return plain;
    }
    let escaped = super::print::quoted(text);
    if escaped.starts_with('"') { escaped } else { plain }
}

/// A condition without what the exceptions take out.
pub(super) fn without(condition: &str, exceptions: &[Exception]) -> Result<String, Blame> {
    if exceptions.is_empty() {
        return Ok(condition.to_owned());
    }
    let mut text = format!("({condition})");
    for exception in exceptions {
        if let Some(taken) = exception.condition().map_err(|why| exception.fault(why))? {
            text.push_str(" and not ");
            text.push_str(&taken);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be() {
        for (text, want) in [
            ("plain", "plain"),
            ("two words", "\"two words\""),
            ("\"two words\"", "\"two words\""),
            ("tolower(a.b)", "tolower(a.b)"),
            ("a \"b\"", "\"a \\\"b\\\"\""),
            ("a \\\"b\\\"", "\"a \\\"b\\\"\""),
            ("it's", "\"it's\""),
            ("a=b", "\"a=b\""),
            ("", "\"\""),
        ] {
            assert_eq!(item(text), want, "{text}");
        }
    }
}
