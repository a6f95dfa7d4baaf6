//! A whole condition in; what in it is allowed and probably not meant out.

use super::ast::{Check, Condition, Operator, Right, Term};
use super::condition::TRANSFORMERS;
use super::fault::FalcoFault;
use super::field;
use super::lexer::{Lexer, is_space};

/// What is probably not meant, each thing once.
pub(super) fn of(condition: &Condition) -> Vec<FalcoFault> {
    let mut found = Vec::new();
    walk(condition, &mut found);
    found
}

fn walk(condition: &Condition, found: &mut Vec<FalcoFault>) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().for_each(|it| walk(it, found));
        }
        Condition::Not(part) => walk(part, found),
        Condition::Check(check) => values(check, found),
        Condition::Macro(_) => {}
    }
}

fn values(check: &Check, found: &mut Vec<FalcoFault>) {
    let values = match &check.right {
        Right::Value(value) => std::slice::from_ref(value),
        Right::List(values) | Right::Each(_, values) => values,
        Right::None | Right::Term(_) => &[],
    };
    for value in values {
        let plain: String = value.chars().filter(|c| !is_space(*c)).collect();
        let fault = if is_field(&plain) {
            FalcoFault::FieldAsValue(value.clone())
        } else if is_call(&plain) {
            FalcoFault::TransformerAsValue(value.clone())
        } else if value == "<NA>" && is_equality(check.operator) && of_audit(&check.left) {
            FalcoFault::UnsafeNa
        } else {
            continue;
        };
        if !found.contains(&fault) {
            found.push(fault);
        }
    }
}

/// Whether a text is the name of a field of audit events, with or without an argument.
fn is_field(text: &str) -> bool {
    let mut lexer = Lexer::new(text);
    let Some(name) = lexer.field() else {
        return false;
    };
    let argument =
        lexer.rest().is_empty() || (lexer.rest().starts_with('[') && lexer.rest().ends_with(']'));
    argument && field::is_field(name)
}

fn has_class(field: &str) -> bool {
    field.starts_with("ka.") || field.starts_with("jevt.")
}

fn is_call(text: &str) -> bool {
    let calls = |name: &str| text.strip_prefix(name).is_some_and(|it| it.starts_with('('));
    text.ends_with(')') && TRANSFORMERS.iter().chain(&["val"]).any(|it| calls(it))
}

fn is_equality(operator: Operator) -> bool {
    use Operator::{Equal, In, Intersects, NotEqual, PMatch};
    matches!(operator, Equal | NotEqual | In | Intersects | PMatch)
}

fn of_audit(term: &Term) -> bool {
    match term {
        Term::Field { name, .. } => has_class(name),
        Term::Call { arguments, .. } => arguments.iter().any(of_audit),
        Term::List(terms) => terms.iter().any(of_audit),
        Term::Literal(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::falco::condition::parse;

    #[test]
    fn values_that_look_like_something_else_are_told() {
        for (text, want) in [
            ("ka.verb = ka.auditid", Some(FalcoFault::FieldAsValue("ka.auditid".into()))),
            (
                "ka.verb in (a, 'jevt.value[/a]')",
                Some(FalcoFault::FieldAsValue("jevt.value[/a]".into())),
            ),
            ("ka.verb = 'val( ka.x)'", Some(FalcoFault::TransformerAsValue("val( ka.x)".into()))),
            ("ka.verb != <NA>", Some(FalcoFault::UnsafeNa)),
            ("ka.verb contains <NA>", None),
            ("proc.name = <NA>", None),
            ("ka.verb = val(ka.auditid) or ka.verb = proc.name", None),
        ] {
            assert_eq!(of(&parse(text).unwrap()), Vec::from_iter(want), "{text}");
        }
    }
}
