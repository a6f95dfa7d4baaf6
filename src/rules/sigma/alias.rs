//! Values that rules look for where no audit event has them, and that stand in another
//! field: `responseStatus.code: ALLOW` is the authorizer's decision.

use crate::rules::ir::{Expr, Item, Mode};
use crate::rules::taxonomy::{READ_AS, meaning};

/// The expression with such tests read as either. What the rule says itself still holds,
/// because an object that is no audit event may well have the value there.
pub(super) fn resolved(expr: Expr) -> Expr {
    let all = |parts: Vec<Expr>| parts.into_iter().map(resolved).collect();
    match expr {
        Expr::All(parts) => Expr::All(all(parts)),
        Expr::Any(parts) => Expr::Any(all(parts)),
        Expr::AtLeast(count, parts) => Expr::AtLeast(count, all(parts)),
        Expr::Not(part) => Expr::Not(Box::new(resolved(*part))),
        Expr::Item(item) => either(item),
        // Names in a block are those of the member.
        other => other,
    }
}

fn either(item: Item) -> Expr {
    let path = item.field.as_deref().and_then(meaning).map(|it| it.path);
    let fitting = READ_AS.iter().filter(|it| Some(it.field) == path.as_deref());
    let mut others = Vec::new();
    for read in fitting {
        let same = |it: &String| it.eq_ignore_ascii_case(read.value);
        let tests = item.tests.iter().filter(|it| it.literal().as_ref().is_some_and(same));
        let tests: Vec<_> = tests.cloned().collect();
        if !tests.is_empty() {
            let field = Some(read.target.to_owned());
            others.push(Expr::Item(Item { field, tests, mode: item.mode }));
        }
    }
    if others.is_empty() {
        return Expr::Item(item);
    }
    let mode = item.mode;
    others.insert(0, Expr::Item(item));
    match mode {
        Mode::None => Expr::All(others),
        _ => Expr::Any(others),
    }
}
