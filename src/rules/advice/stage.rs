//! Fields that are missing in every event of the stage or level a rule asks for.

use super::{Advice, Told, value};
use crate::rules::ir::{Expr, Item, Mode, Quantifier, Test};
use crate::rules::taxonomy::{AuditLevel, Meaning, Stages, meaning};

const RECEIVED: &str = "RequestReceived";

const LEVELS: [AuditLevel; 3] =
    [AuditLevel::Metadata, AuditLevel::Request, AuditLevel::RequestResponse];

/// Adds what is to be said about a rule's fields, given its stages and levels.
pub(super) fn judge(expr: &Expr, told: &mut Vec<Told>) {
    let given = Given { received_only: false, level: AuditLevel::RequestResponse };
    given.judge(&[expr], told);
}

/// What the tests that must hold leave of the events.
#[derive(Clone, Copy)]
struct Given {
    /// Only events of stage `RequestReceived`.
    received_only: bool,
    /// The highest level there is.
    level: AuditLevel,
}

impl Given {
    /// `parts` hold together.
    fn judge(mut self, parts: &[&Expr], told: &mut Vec<Told>) {
        let mut flat = Vec::new();
        parts.iter().for_each(|it| flatten(it, &mut flat));
        for part in &flat {
            if let Expr::Item(item) = part {
                self.narrow(item);
            }
        }
        for part in flat {
            match part {
                Expr::Item(item) if needs_presence(item) => {
                    told.extend(item.field.as_deref().and_then(|it| self.missing(it)));
                }
                Expr::Members { field, quantifier: Quantifier::Any | Quantifier::All, .. } => {
                    told.extend(self.missing(field))
                }
                Expr::Any(others) | Expr::AtLeast(1.., others) => {
                    others.iter().for_each(|it| self.judge(&[it], told));
                }
                _ => {}
            }
        }
    }

    fn narrow(&mut self, item: &Item) {
        let Some(known) = item.field.as_deref().and_then(meaning) else {
            return;
        };
        let left: Vec<&str> =
            known.values().iter().copied().filter(|it| allows(item, it)).collect();
        match known.path.as_str() {
            "stage" => self.received_only |= left == [RECEIVED],
            "level" => {
                let highest = LEVELS.into_iter().rev().find(|it| left.contains(&it.as_str()));
                self.level = highest.map_or(self.level, |it| it.min(self.level));
            }
            _ => {}
        }
    }

    fn missing(self, field: &str) -> Option<Told> {
        let known: Meaning = meaning(field)?;
        let given = if self.received_only && known.stages() == Stages::Answered {
            format!("stage {RECEIVED}")
        } else if known.level() > self.level {
            format!("level {}", self.level.as_str())
        } else {
            return None;
        };
        let advice = Advice::Missing { field: field.to_owned(), given };
        Some(Told { field: field.to_owned(), value: None, advice })
    }
}

fn flatten<'e>(expr: &'e Expr, flat: &mut Vec<&'e Expr>) {
    match expr {
        Expr::All(parts) => parts.iter().for_each(|it| flatten(it, flat)),
        other => flat.push(other),
    }
}

/// Whether the item may hold for a field that has this value.
fn allows(item: &Item, text: &str) -> bool {
    let passes = |test: &Test| value::passes(test, text);
    match item.mode {
        Mode::Any => item.tests.iter().any(passes),
        Mode::None => !item.tests.iter().any(passes),
        _ => item.tests.iter().all(passes),
    }
}

/// Whether the item never holds for a field that is missing.
fn needs_presence(item: &Item) -> bool {
    let absent = |test: &Test| matches!(test, Test::Null | Test::Exists(false));
    item.mode == Mode::None || !item.tests.iter().any(absent)
}
