//! The `detection` of a rule: search identifiers and the condition that joins them.

use std::collections::BTreeMap;

use rsigma_parser::{
    ArrayQuantifier, ConditionExpr, Detection, DetectionItem, Detections, FieldSpec, Modifier,
    Quantifier as Count, SelectorPattern, SigmaValue,
};

use super::Placeholders;
use super::item::{SigmaFault, item};
use crate::rules::compile::VALUES_MAX;
use crate::rules::ir::{Expr, Quantifier};
use crate::rules::load::Fault;

/// A fault, and the word of the rule that is to blame.
#[derive(Debug)]
pub(super) struct Blame {
    pub(super) near: String,
    pub(super) why: SigmaFault,
}

/// The parts of a rule, and those of its search identifiers once more for each time the
/// condition uses them. `1 of them`, a thousand times over, is a few lines long.
const SIZE_MAX: usize = 3 * VALUES_MAX;

/// Warnings: the word to blame, and what is wrong.
pub(super) type Warnings = Vec<(String, Fault)>;

/// The rule's whole logic.
pub(super) fn expr(
    detections: &Detections,
    placeholders: &Placeholders,
    warnings: &mut Warnings,
) -> Result<Expr, Blame> {
    let mut reader = Reader { placeholders, warnings, size: 0 };
    let mut searches = BTreeMap::new();
    for (name, detection) in &detections.named {
        searches.insert(name.as_str(), reader.search(name, detection, Scope::Event)?);
    }
    if detections.conditions.is_empty() {
        return Err(Blame { near: "condition".into(), why: SigmaFault::NoCondition });
    }
    let conditions = detections.conditions.iter();
    let mut parts: Vec<Expr> =
        conditions.map(|it| reader.condition(it, &searches)).collect::<Result<_, _>>()?;
    Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Any(parts) })
}

type Searches<'s> = BTreeMap<&'s str, Expr>;

/// Whether an item without a field is a keyword or the array member at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Event,
    Member,
}

struct Reader<'r> {
    placeholders: &'r Placeholders,
    warnings: &'r mut Warnings,
    /// How large the rule is so far, what the condition uses twice counted twice.
    size: usize,
}

impl Reader<'_> {
    fn spend(&mut self, size: usize) -> Result<(), SigmaFault> {
        self.size = self.size.saturating_add(size);
        if self.size > SIZE_MAX { Err(SigmaFault::Values) } else { Ok(()) }
    }

    /// A search identifier's expression, for the condition to use.
    fn used(&mut self, expr: &Expr) -> Result<Expr, Blame> {
        let blame = |why| Blame { near: "condition".into(), why };
        self.spend(expr.size()).map_err(blame)?;
        Ok(expr.clone())
    }

    fn search(&mut self, name: &str, detection: &Detection, scope: Scope) -> Result<Expr, Blame> {
        let empty = match detection {
            Detection::AllOf(items) => items.is_empty(),
            Detection::AnyOf(parts) | Detection::And(parts) => parts.is_empty(),
            Detection::Keywords(values) => values.is_empty(),
            Detection::ArrayMatch { .. } | Detection::Conditional { .. } => false,
        };
        if empty {
            let why = SigmaFault::EmptySearch(name.to_owned());
            return Err(Blame { near: name.to_owned(), why });
        }
        let mut each = |parts: &[Detection]| -> Result<Vec<Expr>, Blame> {
            parts.iter().map(|it| self.search(name, it, scope)).collect()
        };
        Ok(match detection {
            Detection::AllOf(items) => {
                Expr::All(items.iter().map(|it| self.item(it, scope)).collect::<Result<_, _>>()?)
            }
            Detection::AnyOf(parts) => Expr::Any(each(parts)?),
            Detection::And(parts) => Expr::All(each(parts)?),
            Detection::Keywords(values) => self.keywords(name, values, scope)?,
            Detection::ArrayMatch { field, quantifier, body } => Expr::Members {
                field: field.clone(),
                quantifier: quantified(*quantifier),
                body: Box::new(self.search(field, body, Scope::Member)?),
            },
            Detection::Conditional { named, condition } => {
                let mut searches = BTreeMap::new();
                for (name, detection) in named {
                    searches.insert(name.as_str(), self.search(name, detection, scope)?);
                }
                self.condition(condition, &searches)?
            }
        })
    }

    fn item(&mut self, line: &DetectionItem, scope: Scope) -> Result<Expr, Blame> {
        let near = || line.field.name.clone().unwrap_or_default();
        if line.values.len() > 1 && line.values.contains(&SigmaValue::Null) {
            self.warnings.push((near(), Fault::NullInList));
        }
        let keyword = line.field.name.is_none() && scope == Scope::Event;
        let parsed =
            item(line, keyword, self.placeholders).map_err(|why| Blame { near: near(), why })?;
        self.spend(parsed.size()).map_err(|why| Blame { near: near(), why })?;
        Ok(parsed)
    }

    fn keywords(&mut self, name: &str, values: &[SigmaValue], scope: Scope) -> Result<Expr, Blame> {
        let field = FieldSpec::new(None, Vec::<Modifier>::new());
        let line = DetectionItem { field, values: values.to_vec() };
        self.item(&line, scope).map_err(|it| Blame { near: name.to_owned(), ..it })
    }

    fn condition(
        &mut self,
        condition: &ConditionExpr,
        searches: &Searches<'_>,
    ) -> Result<Expr, Blame> {
        let mut each = |parts: &[ConditionExpr]| -> Result<Vec<Expr>, Blame> {
            parts.iter().map(|it| self.condition(it, searches)).collect()
        };
        Ok(match condition {
            ConditionExpr::And(parts) => Expr::All(each(parts)?),
            ConditionExpr::Or(parts) => Expr::Any(each(parts)?),
            ConditionExpr::Not(part) => Expr::Not(Box::new(self.condition(part, searches)?)),
            ConditionExpr::Identifier(name) => match searches.get(name.as_str()) {
                Some(expr) => self.used(expr)?,
                None => {
                    let why = SigmaFault::UnknownSearch(name.clone());
                    return Err(Blame { near: "condition".into(), why });
                }
            },
            ConditionExpr::Selector { quantifier, pattern } => {
                let fitting: Vec<Expr> = searches
                    .iter()
                    .filter(|(name, _)| selects(pattern, name))
                    .map(|(_, expr)| self.used(expr))
                    .collect::<Result<_, _>>()?;
                if fitting.is_empty() {
                    let fault = Fault::SelectsNothing(pattern.to_string());
                    self.warnings.push(("condition".into(), fault));
                }
                match quantifier {
                    Count::Any => Expr::Any(fitting),
                    Count::All => Expr::All(fitting),
                    Count::Count(count) => {
                        Expr::AtLeast(usize::try_from(*count).unwrap_or(usize::MAX), fitting)
                    }
                }
            }
        })
    }
}

/// Whether `x of PATTERN` takes in the search identifier. `*` may stand anywhere and
/// more than once; `them` leaves out names that begin with an underscore.
fn selects(pattern: &SelectorPattern, name: &str) -> bool {
    match pattern {
        SelectorPattern::Them => !name.starts_with('_'),
        SelectorPattern::Pattern(pattern) => {
            let Some((first, rest)) = pattern.split_once('*') else {
                return pattern == name;
            };
            let Some(mut left) = name.strip_prefix(first) else {
                return false;
            };
            let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
            for part in middle.split('*') {
                match left.split_once(part) {
                    Some((_, after)) => left = after,
                    None => return false,
                }
            }
            left.ends_with(last)
        }
    }
}

fn quantified(quantifier: ArrayQuantifier) -> Quantifier {
    match quantifier {
        ArrayQuantifier::Any => Quantifier::Any,
        ArrayQuantifier::All => Quantifier::All,
        ArrayQuantifier::AllOrEmpty => Quantifier::AllOrEmpty,
        ArrayQuantifier::None => Quantifier::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_in_names() {
        let fits = |pattern: &str, name| selects(&SelectorPattern::Pattern(pattern.into()), name);
        assert!(fits("selection_*", "selection_a") && !fits("selection_*", "filter_a"));
        assert!(fits("*_main", "x_main") && fits("a*b*c", "axxbxc") && !fits("a*b*c", "acb"));
        assert!(fits("*", "_x") && fits("x", "x") && !fits("x", "xy"));
        assert!(selects(&SelectorPattern::Them, "a") && !selects(&SelectorPattern::Them, "_a"));
    }
}
