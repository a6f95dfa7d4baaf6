//! What `collect` gathered in; rules with whole conditions, errors and warnings out.

use super::ast::Condition;
use super::caution;
use super::collect::{Collector, Macro, Rule, told};
use super::document::Place;
use super::exception;
use super::expand::{self, Names};
use super::fault::FalcoFault;
use super::print::canonical;
use super::request::{Blame, Definition, Kind};
use crate::rules::load::RuleError;

/// The source whose rules this program judges by.
pub(super) const SOURCE: &str = "k8s_audit";

/// What files gave, understood.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) rules: Vec<ResolvedRule>,
    pub(super) errors: Vec<RuleError>,
    pub(super) warnings: Vec<RuleError>,
}

/// A rule with its condition whole: exceptions, lists and macros are in it.
#[derive(Debug)]
pub(super) struct ResolvedRule {
    pub(super) name: String,
    pub(super) definition: Definition,
    pub(super) place: Place,
    pub(super) condition: Condition,
    /// The condition as Falco writes it.
    pub(super) canonical: String,
    /// The entries that made it.
    pub(super) pieces: Vec<(Place, String)>,
}

impl ResolvedRule {
    /// Where a word stands in the last entry that holds it.
    pub(super) fn place_of(&self, word: &str) -> Option<Place> {
        self.pieces.iter().rev().find_map(|(place, text)| {
            let at = text.lines().position(|line| line.contains(word))?;
            let line = place.line.saturating_add(u32::try_from(at).ok()?);
            Some(Place { file: place.file.clone(), line })
        })
    }
}

/// Understands everything, or says why not.
pub(super) fn resolve(mut collector: Collector) -> Resolved {
    let mut resolved = Resolved {
        errors: std::mem::take(&mut collector.errors),
        warnings: std::mem::take(&mut collector.warnings),
        ..Resolved::default()
    };
    let mut names = names(&mut collector, &mut resolved);
    for rule in std::mem::take(&mut collector.rules) {
        if collector.broken.contains(&(Kind::Rule, rule.name.clone())) {
            continue;
        }
        match rule_condition(&mut names, &rule) {
            Ok(condition) => resolved.rule(rule, condition),
            Err(blame) => resolved.errors.push(told(Kind::Rule, &rule.name, blame)),
        }
    }
    // With an error about, what looks unused may be used by what is broken.
    if resolved.errors.is_empty() {
        resolved.unused(&collector, &names);
    }
    resolved
}

fn rule_condition(names: &mut Names, rule: &Rule) -> Result<Condition, Blame> {
    let Definition { condition, exceptions, .. } = &rule.definition;
    let blame = |fault| (condition.place.clone(), fault);
    let text = exception::without(&condition.text, exceptions)?;
    let read = names.read(&text).map_err(blame)?;
    names.with_macros(&read).map_err(blame)
}

/// The lists and macros, those with errors told and marked.
fn names(collector: &mut Collector, resolved: &mut Resolved) -> Names {
    let mut names = Names::default();
    for (kind, name) in &collector.broken {
        match kind {
            Kind::List => names.broken_lists.insert(name.clone()),
            Kind::Macro => names.broken_macros.insert(name.clone()),
            Kind::Rule | Kind::Other => false,
        };
    }
    for (name, list) in &mut collector.lists {
        if !names.broken_lists.contains(name) {
            names.lists.insert(name.clone(), std::mem::take(&mut list.items));
        }
    }
    let mut macros: Vec<(&String, &Macro)> = collector.macros.iter().collect();
    macros.sort_by_key(|(_, it)| it.index);
    macros.retain(|(name, _)| !names.broken_macros.contains(*name));
    for (name, found) in &macros {
        match names.read(&found.condition.text) {
            Ok(condition) => {
                let found = expand::Macro::new(condition, found.index, found.visibility);
                names.macros.insert((*name).clone(), found);
            }
            Err(fault) => resolved.break_macro(&mut names, name, found, fault),
        }
    }
    for (name, found) in macros {
        if !names.broken_macros.contains(name)
            && let Err(fault) = names.check_macro(name)
        {
            names.macros.remove(name);
            resolved.break_macro(&mut names, name, found, fault);
        }
    }
    names
}

impl Resolved {
    /// Lists and macros that nothing uses: the name of one that was to replace another may be misspelled.
    fn unused(&mut self, collector: &Collector, names: &Names) {
        for (name, list) in &collector.lists {
            if names.lists.contains_key(name) && !names.used_lists.contains(name) {
                let blame = (list.place.clone(), FalcoFault::Unused);
                self.warnings.push(told(Kind::List, name, blame));
            }
        }
        for (name, found) in &collector.macros {
            if names.macros.contains_key(name) && !names.used_macros.contains(name) {
                let blame = (found.condition.place.clone(), FalcoFault::Unused);
                self.warnings.push(told(Kind::Macro, name, blame));
            }
        }
    }

    fn break_macro(&mut self, names: &mut Names, name: &str, found: &Macro, fault: FalcoFault) {
        names.broken_macros.insert(name.to_owned());
        // That of a macro which uses a broken one was told where it is broken.
        if !matches!(fault, FalcoFault::UsesBroken(..)) {
            let blame = (found.condition.place.clone(), fault);
            self.errors.push(told(Kind::Macro, name, blame));
        }
    }

    fn rule(&mut self, rule: Rule, condition: Condition) {
        let Rule { name, definition, place, pieces } = rule;
        let mut warn = |place: &Place, fault| {
            self.warnings.push(told(Kind::Rule, &name, (place.clone(), fault)));
        };
        for caution in caution::of(&condition) {
            warn(&definition.condition.place, caution);
        }
        if definition.source != SOURCE {
            warn(&place, FalcoFault::OtherSourceRule(definition.source.clone()));
        }
        let canonical = canonical(&condition);
        self.rules.push(ResolvedRule { name, definition, place, condition, canonical, pieces });
    }
}
