//! Judges one rule.

use super::{Advice, Audience, Told, stage, value};
use crate::rules::ir::{Expr, Item, Test};
use crate::rules::taxonomy::{DERIVED_PREFIX, LOOSE, meaning, mistake_below, nearest_name};

/// Everything there is to say about a rule's fields and values, each thing once.
pub(in crate::rules) fn advise(expr: &Expr, audience: Audience) -> Vec<Told> {
    let mut uses = Uses::default();
    uses.collect(expr);
    let Some(first) = uses.fields.first() else {
        return Vec::new();
    };
    let known = || uses.fields.iter().filter(|it| meaning(it).is_some());
    if audience != Audience::Kubernetes {
        if known().next().is_none() {
            let field = (*first).to_owned();
            return vec![Told { field, value: None, advice: Advice::Foreign }];
        }
        // Short names are many a log's; alone they do not make a rule one for audit events.
        let own = known().any(|it| !LOOSE.iter().any(|(name, _)| name == it));
        if audience == Audience::Other || !own {
            return Vec::new();
        }
    }
    let mut told: Vec<Told> = uses.fields.iter().filter_map(|it| misnamed(it)).collect();
    for item in &uses.items {
        value::judge(item, &mut told);
    }
    stage::judge(expr, &mut told);
    let mut once: Vec<Told> = Vec::new();
    for it in told {
        if !once.contains(&it) {
            once.push(it);
        }
    }
    once
}

/// The fields and items of a rule, outside of array blocks: what stands in a block is
/// about a member, not the event.
#[derive(Default)]
struct Uses<'e> {
    fields: Vec<&'e str>,
    items: Vec<&'e Item>,
}

impl<'e> Uses<'e> {
    fn collect(&mut self, expr: &'e Expr) {
        match expr {
            Expr::All(parts) | Expr::Any(parts) | Expr::AtLeast(_, parts) => {
                parts.iter().for_each(|it| self.collect(it));
            }
            Expr::Not(part) => self.collect(part),
            Expr::Item(item) => {
                self.items.push(item);
                self.fields.extend(item.field.as_deref());
                let others = item.tests.iter().filter_map(|test| match test {
                    Test::SameAs { field, .. } => Some(field.as_str()),
                    _ => None,
                });
                self.fields.extend(others);
            }
            Expr::Members { field, .. } => self.fields.push(field),
            _ => {}
        }
    }
}

fn misnamed(field: &str) -> Option<Told> {
    // A computed field of another name is an error, and a name in brackets has its own warning.
    if field.starts_with(DERIVED_PREFIX) || field.contains("\\[") {
        return None;
    }
    let hint = match meaning(field) {
        None => nearest_name(field),
        Some(known) if known.is_free() => Some(mistake_below(&known.path)?),
        Some(_) => return None,
    };
    let advice = Advice::NoSuchField { field: field.to_owned(), hint };
    Some(Told { field: field.to_owned(), value: None, advice })
}
