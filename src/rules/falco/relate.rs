//! Compares the values of two terms of one event.

use std::cmp::Ordering;

use super::ast::Operator;
use super::field::Type;
use super::glob::Glob;
use super::term::Shape;
use super::values::Values;
use crate::rules::ir::Place;
use crate::rules::text;

/// Whether the operator holds between the values. A term that is missing compares with
/// nothing. The lowering admits only two terms of one shape.
pub(in crate::rules) fn holds(
    operator: Operator,
    shape: Shape,
    left: &Values<'_>,
    right: &Values<'_>,
) -> bool {
    let (Some(first), Some(second)) = (left.first(), right.first()) else {
        return false;
    };
    if shape.list {
        return match operator {
            Operator::In => left.iter().all(|it| right.contains(it)),
            Operator::Intersects => left.iter().any(|it| right.contains(it)),
            _ => operator == Operator::Exists,
        };
    }
    let order = || match shape.kind {
        Type::Number => number(first).cmp(&number(second)),
        Type::Text | Type::Bool => first.cmp(second),
    };
    let at = |place| text::literally(place, first, second, true);
    match operator {
        Operator::Equal | Operator::In | Operator::Intersects => order() == Ordering::Equal,
        Operator::NotEqual => order() != Ordering::Equal,
        Operator::Less => order() == Ordering::Less,
        Operator::LessOrEqual => order() != Ordering::Greater,
        Operator::Greater => order() == Ordering::Greater,
        Operator::GreaterOrEqual => order() != Ordering::Less,
        Operator::Exists => true,
        Operator::Contains => at(Place::Anywhere),
        Operator::StartsWith => at(Place::Start),
        Operator::EndsWith => at(Place::End),
        Operator::IContains => {
            text::literally(Place::Anywhere, &text::lower(first), &text::lower(second), false)
        }
        Operator::Glob => Glob::new(second, true).fits(first),
        Operator::IGlob => Glob::new(second, false).fits(first),
        // Of these the right side is always a literal.
        Operator::Regex | Operator::PMatch | Operator::BContains | Operator::BStartsWith => false,
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}
