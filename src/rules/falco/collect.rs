//! Files in, in their order; every list, macro and rule as the last of them leaves it out.
//!
//! A later entry of the same name takes the place of an earlier one, is added to it or
//! replaces parts of it. Nothing is understood here: `resolve` does that at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::document::{self, Entry, Node, Place};
use super::exception::Exception;
use super::fault::{ExceptionFault, FalcoFault};
use super::request::{self, Blame, Definition, Kind, Request, Text, Update};
use crate::rules::load::{Fault, RuleError};

/// Gathers the entries of files.
#[derive(Debug, Default)]
pub(in crate::rules) struct Collector {
    pub(super) lists: BTreeMap<String, List>,
    pub(super) macros: BTreeMap<String, Macro>,
    /// In the order of their first definitions.
    pub(super) rules: Vec<Rule>,
    /// What has an error of its own: it would be something else than was asked for.
    pub(super) broken: BTreeSet<(Kind, String)>,
    pub(super) errors: Vec<RuleError>,
    pub(super) warnings: Vec<RuleError>,
    /// Counts entries: macros see what was defined before them.
    entries: usize,
}

#[derive(Debug)]
pub(super) struct List {
    pub(super) items: Vec<String>,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) condition: Text,
    pub(super) index: usize,
    pub(super) visibility: usize,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) definition: Definition,
    pub(super) place: Place,
    /// The entries that made it: where they stand, and their texts.
    pub(super) pieces: Vec<(Place, String)>,
}

impl Collector {
    /// Takes the entries of a file.
    pub(in crate::rules) fn add(&mut self, file: &Path, text: &str) {
        let file: Arc<Path> = Arc::from(file);
        let lines: Vec<&str> = text.lines().collect();
        match document::entries(&file, text, &lines) {
            Ok(entries) => entries.iter().for_each(|it| self.entry(it)),
            Err((line, fault)) => {
                self.errors.push(told(Kind::Other, "", (Place { file, line }, fault)));
            }
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        if entry.node == Node::Null {
            return;
        }
        let (kind, name) = request::subject(entry);
        let mut warnings = Vec::new();
        let asked = request::read(entry, &mut warnings);
        self.warnings.extend(warnings.into_iter().map(|it| told(kind, &name, it)));
        // What is broken was told; what is done to it would be told as a consequence.
        let broken = self.broken.contains(&(kind, name.clone()));
        let done = match asked {
            Ok(_) if broken => Ok(()),
            Ok(request) => self.take(entry, &name, request),
            Err(blame) => Err(blame),
        };
        if let Err(blame) = done {
            self.errors.push(told(kind, &name, blame));
            self.broken.insert((kind, name));
        }
        self.entries += 1;
    }

    fn take(&mut self, entry: &Entry<'_>, name: &str, request: Request) -> Result<(), Blame> {
        match request {
            Request::List { items, append } => self.list(entry, name, items, append),
            Request::Macro { condition, append } => self.macro_(entry, name, condition, append),
            Request::Define(definition) => self.define(entry, name, *definition),
            Request::Update { source, append, replace } => {
                if let Some(update) = append {
                    let rule = self.rule(entry, name, FalcoFault::NoRuleToAppend, &source)?;
                    rule.append(*update)?;
                }
                if let Some(update) = replace {
                    let rule = self.rule(entry, name, FalcoFault::NoRuleToReplace, &source)?;
                    rule.replace(*update)?;
                }
                self.note(entry, name);
                Ok(())
            }
            Request::Enable(enabled) => {
                let rule = self.rule(entry, name, FalcoFault::NoRuleToEnable, "")?;
                rule.definition.enabled = enabled;
                self.note(entry, name);
                Ok(())
            }
            Request::Nothing => Ok(()),
        }
    }

    fn list(
        &mut self,
        entry: &Entry<'_>,
        name: &str,
        items: Vec<String>,
        append: bool,
    ) -> Result<(), Blame> {
        if !append {
            self.lists.insert(name.to_owned(), List { items, place: entry.place() });
            return Ok(());
        }
        match self.lists.get_mut(name) {
            Some(list) => {
                list.items.extend(items);
                Ok(())
            }
            None => Err((entry.place(), FalcoFault::NoListToAppend)),
        }
    }

    fn macro_(
        &mut self,
        entry: &Entry<'_>,
        name: &str,
        condition: Text,
        append: bool,
    ) -> Result<(), Blame> {
        let visibility = self.entries;
        match self.macros.get_mut(name) {
            Some(found) if append => {
                found.condition.append(condition);
                found.visibility = visibility;
            }
            None if append => return Err((entry.place(), FalcoFault::NoMacroToAppend)),
            found => {
                let index = found.map_or(visibility, |it| it.index);
                self.macros.insert(name.to_owned(), Macro { condition, index, visibility });
            }
        }
        Ok(())
    }

    fn define(
        &mut self,
        entry: &Entry<'_>,
        name: &str,
        mut definition: Definition,
    ) -> Result<(), Blame> {
        definition.exceptions.iter_mut().try_for_each(Exception::complete)?;
        let place = entry.place();
        let pieces = vec![(entry.place(), entry.text())];
        match self.rules.iter_mut().find(|it| it.name == name) {
            Some(rule) if rule.definition.source != definition.source => {
                Err((entry.key("source"), FalcoFault::OtherSource))
            }
            Some(rule) => {
                *rule = Rule { name: name.to_owned(), definition, place, pieces };
                Ok(())
            }
            None => {
                self.rules.push(Rule { name: name.to_owned(), definition, place, pieces });
                Ok(())
            }
        }
    }

    /// The rule that an entry changes.
    fn rule(
        &mut self,
        entry: &Entry<'_>,
        name: &str,
        absent: FalcoFault,
        source: &str,
    ) -> Result<&mut Rule, Blame> {
        match self.rules.iter_mut().find(|it| it.name == name) {
            Some(rule) if source.is_empty() || rule.definition.source == source => Ok(rule),
            Some(_) => Err((entry.key("source"), FalcoFault::OtherSource)),
            None => Err((entry.place(), absent)),
        }
    }

    fn note(&mut self, entry: &Entry<'_>, name: &str) {
        if let Some(rule) = self.rules.iter_mut().find(|it| it.name == name) {
            rule.pieces.push((entry.place(), entry.text()));
        }
    }
}

impl Text {
    fn append(&mut self, more: Text) {
        self.text.push(' ');
        self.text.push_str(&more.text);
        self.place = more.place;
    }
}

impl Rule {
    fn append(&mut self, update: Update) -> Result<(), Blame> {
        let rule = &mut self.definition;
        if let Some(condition) = update.condition {
            rule.condition.append(condition);
        }
        if let Some(output) = update.output {
            rule.output.append(output);
        }
        if let Some(description) = update.description {
            rule.description = format!("{} {description}", rule.description);
        }
        rule.tags.extend(update.tags.unwrap_or_default());
        for exception in update.exceptions.unwrap_or_default() {
            let known = rule.exceptions.iter_mut().find(|it| it.name == exception.name);
            match known {
                Some(known) => known.append(exception)?,
                None => rule.exceptions.push(exception.standing_alone()?),
            }
        }
        Ok(())
    }

    fn replace(&mut self, update: Update) -> Result<(), Blame> {
        let rule = &mut self.definition;
        if let Some(mut exceptions) = update.exceptions {
            exceptions.iter_mut().try_for_each(Exception::complete)?;
            rule.exceptions = exceptions;
        }
        let Update { condition, output, description, priority, tags, enabled, .. } = update;
        rule.condition = condition.unwrap_or_else(|| rule.condition.clone());
        rule.output = output.unwrap_or_else(|| rule.output.clone());
        rule.description = description.unwrap_or_else(|| rule.description.clone());
        rule.priority = priority.unwrap_or(rule.priority);
        rule.tags = tags.unwrap_or_else(|| rule.tags.clone());
        rule.enabled = enabled.unwrap_or(rule.enabled);
        rule.skip_if_unknown_filter =
            update.skip_if_unknown_filter.unwrap_or(rule.skip_if_unknown_filter);
        Ok(())
    }
}

impl Exception {
    /// Takes in the values of another one of the same name.
    fn append(&mut self, other: Exception) -> Result<(), Blame> {
        if !other.fields.is_none() {
            return Err(other.fault(ExceptionFault::AppendedFields));
        }
        if !other.comps.is_none() {
            return Err(other.fault(ExceptionFault::AppendedComps));
        }
        self.values.extend(other.values);
        Ok(())
    }

    /// One that is added to a rule has to have all its parts.
    fn standing_alone(mut self) -> Result<Exception, Blame> {
        self.complete()?;
        if self.values.is_empty() {
            return Err(self.fault(ExceptionFault::NoValues));
        }
        Ok(self)
    }
}

/// An error or warning about an entry. Rules are named in a field of their own.
pub(super) fn told(kind: Kind, name: &str, (place, why): Blame) -> RuleError {
    let rule = (kind == Kind::Rule).then(|| name.to_owned());
    let about = match kind {
        Kind::List | Kind::Macro => format!("{} \"{name}\": ", kind.word()),
        Kind::Rule | Kind::Other => String::new(),
    };
    let fault = Fault::Falco { about, why };
    RuleError { file: place.file.to_path_buf(), line: place.line, rule, fault }
}
