//! Rules with whole conditions in, drafts for the compiler out.

use super::collect::{Collector, told};
use super::fault::FalcoFault;
use super::field::FieldError;
use super::lower::{LowerFault, Lowered, lower};
use super::output::{OutputFault, Template};
use super::request::{Kind, Text};
use super::resolve::{Resolved, ResolvedRule, SOURCE, resolve};
use super::term::TermError;
use crate::rules::ir::{About, Draft, FalcoAbout};
use crate::rules::load::{Fault, RuleError};

/// What the Falco files of a set gave.
#[derive(Debug, Default)]
pub(in crate::rules) struct Drafted {
    pub(in crate::rules) drafts: Vec<Draft>,
    pub(in crate::rules) errors: Vec<RuleError>,
    pub(in crate::rules) warnings: Vec<RuleError>,
}

/// Drafts of the rules that are about audit events, disabled ones among them.
pub(in crate::rules) fn draft(collector: Collector) -> Drafted {
    let Resolved { rules, errors, warnings } = resolve(collector);
    let mut drafted = Drafted { drafts: Vec::new(), errors, warnings };
    for rule in rules.into_iter().filter(|it| it.definition.source == SOURCE) {
        drafted.rule(rule);
    }
    drafted
}

impl Drafted {
    fn rule(&mut self, rule: ResolvedRule) {
        let output = &rule.definition.output;
        let template = Template::parse(&output.text);
        let lowered = lower(&rule.condition);
        let mut good = true;
        if let Err(error) = &lowered
            && !self.skips(&rule, unknown(&error.why), error)
        {
            good = false;
            self.errors.push(rule.fault(
                &error.near,
                &rule.definition.condition,
                Fault::FalcoMeaning(error.why.to_string()),
            ));
        }
        if let Err(error) = &template
            && !self.skips(&rule, unknown_in_output(&error.why), error)
        {
            good = false;
            self.errors.push(rule.fault(
                &error.near,
                output,
                Fault::FalcoMeaning(error.to_string()),
            ));
        }
        if let (true, Ok(lowered), Ok(template)) = (good, lowered, template) {
            self.take(rule, lowered, template);
        }
    }

    /// Whether the rule is left out because it asks for that, with a warning.
    fn skips(&mut self, rule: &ResolvedRule, unknown: bool, why: &impl ToString) -> bool {
        let skipped = unknown && rule.definition.skip_if_unknown_filter;
        if skipped {
            let blame = (rule.place.clone(), FalcoFault::Skipped(why.to_string()));
            self.warnings.push(told(Kind::Rule, &rule.name, blame));
        }
        skipped
    }

    fn take(&mut self, rule: ResolvedRule, lowered: Lowered, template: Template) {
        for caution in lowered.cautions {
            let blame = (rule.definition.condition.place.clone(), FalcoFault::Caution(caution));
            self.warnings.push(told(Kind::Rule, &rule.name, blame));
        }
        let ResolvedRule { name, definition, place, canonical, pieces, .. } = rule;
        let mut source: String = pieces.into_iter().map(|(_, text)| text).collect();
        source.push_str(&canonical);
        let mut tags = definition.tags;
        let mut known = std::collections::BTreeSet::new();
        tags.retain(|it| known.insert(it.clone()));
        let about = About {
            id: Some(name.clone()),
            name: None,
            title: name,
            level: definition.priority.level,
            description: definition.description.trim().to_owned(),
            status: None,
            log_source: None,
            tags,
            falsepositives: Vec::new(),
            references: Vec::new(),
            runbook: None,
            profile: None,
            behaviours: Vec::new(),
            file: place.file.to_path_buf(),
            line: place.line,
            source,
            falco: Some(Box::new(FalcoAbout {
                condition: canonical,
                priority: definition.priority.word,
                output: definition.output.text,
                template,
                enabled: definition.enabled,
            })),
        };
        self.drafts.push(Draft { about, expr: lowered.expr });
    }
}

impl ResolvedRule {
    /// An error about a word of one of its texts.
    fn fault(&self, near: &str, text: &Text, fault: Fault) -> RuleError {
        let place = self.place_of(near).unwrap_or_else(|| text.place.clone());
        let rule = Some(self.name.clone());
        RuleError { file: place.file.to_path_buf(), line: place.line, rule, fault }
    }
}

/// Whether the fault is that this program does not know a field.
fn unknown(fault: &LowerFault) -> bool {
    matches!(fault, LowerFault::Term(TermError::Field(field)) if unknown_field(field))
}

fn unknown_in_output(fault: &OutputFault) -> bool {
    matches!(fault, OutputFault::Term(TermError::Field(field)) if unknown_field(field))
}

fn unknown_field(fault: &FieldError) -> bool {
    matches!(
        fault,
        FieldError::Unknown { .. } | FieldError::Foreign(_) | FieldError::Unanswerable(_)
    )
}
