//! The Sigma front end: a rule file's text in, drafts and errors out.
//!
//! `rsigma-parser` reads the YAML and the conditions; what the parts mean is
//! decided here. See <https://sigmahq.io/sigma-specification/>.

mod correlation;
mod detection;
mod document;
mod encode;
mod item;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

use rsigma_parser::{CorrelationRule, SigmaCollection, SigmaRule, parse_sigma_yaml};

use self::document::Document;
use super::Level;
use super::ir::{About, CorrelationDraft, Draft};
use super::load::{Fault, RuleError};

pub(super) use self::correlation::CorrelationFault;
pub(super) use self::item::SigmaFault;

/// What placeholders (`%name%` under `expand`) stand for.
pub(super) type Placeholders = BTreeMap<String, Vec<String>>;

/// What one file gave.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) drafts: Vec<Draft>,
    pub(super) correlations: Vec<CorrelationDraft>,
    pub(super) errors: Vec<RuleError>,
    pub(super) warnings: Vec<RuleError>,
}

/// Reads every document of a Sigma file.
pub(super) fn parse(file: &Path, text: &str, placeholders: &Placeholders) -> Parsed {
    let mut parsed = Parsed::default();
    let documents = document::split(text);
    // `action` reaches over documents: a file that uses it is parsed from its start
    // for each document, and what that adds is the document's.
    let linked = documents.iter().any(|it| it.action().is_some());
    let mut before = Counts::default();
    for (at, document) in documents.iter().enumerate() {
        let earlier = if linked { documents.get(..at).unwrap_or_default() } else { &[] };
        let given = || earlier.iter().chain([document]);
        let plain: Vec<_> = given().map(|it| correlation::plain(&it.text)).collect();
        let skipped = plain.iter().take(earlier.len()).map(|it| it.lines().count() + 1).sum();
        let plain = plain.join("\n---\n");
        let given: Vec<&str> = given().map(|it| &*it.text).collect();
        let given = given.join("\n---\n");
        let reader = Reader { file, document, given: &given, placeholders };
        match parse_sigma_yaml(&plain) {
            Ok(collection) => {
                reader.collect(&collection, &before, skipped, &mut parsed);
                before = if linked { Counts::of(&collection) } else { Counts::default() };
            }
            Err(error) => parsed.errors.push(reader.error(skipped, &error.to_string())),
        }
    }
    if documents.is_empty() {
        let fault = Fault::Empty;
        parsed.errors.push(RuleError { file: file.to_path_buf(), line: 1, rule: None, fault });
    }
    parsed
}

/// How much of a collection came from earlier documents.
#[derive(Default)]
struct Counts {
    rules: usize,
    correlations: usize,
    filters: usize,
    errors: usize,
}

impl Counts {
    fn of(collection: &SigmaCollection) -> Counts {
        Counts {
            rules: collection.rules.len(),
            correlations: collection.correlations.len(),
            filters: collection.filters.len(),
            errors: collection.errors.len(),
        }
    }
}

/// Turns what the parser made of one document into drafts and errors.
struct Reader<'r> {
    file: &'r Path,
    document: &'r Document,
    /// Its text, after those of the documents that reach into it.
    given: &'r str,
    placeholders: &'r Placeholders,
}

impl Reader<'_> {
    /// Takes what the collection holds beyond `before`.
    fn collect(
        &self,
        collection: &SigmaCollection,
        before: &Counts,
        skipped: usize,
        parsed: &mut Parsed,
    ) {
        let errors: Vec<&String> = collection.errors.iter().skip(before.errors).collect();
        parsed.errors.extend(errors.iter().map(|it| self.error(skipped, it)));
        let correlations = collection.correlations.iter().skip(before.correlations);
        for correlation in correlations.filter(|_| errors.is_empty()) {
            self.correlation(correlation, parsed);
        }
        for filter in collection.filters.iter().skip(before.filters) {
            parsed.errors.push(self.fault(Some(&filter.title), "filter", Fault::Filter));
        }
        // The parser gives a rule even when it could not make sense of its level.
        for rule in collection.rules.iter().skip(before.rules).filter(|_| errors.is_empty()) {
            self.rule(rule, parsed);
        }
    }

    fn rule(&self, rule: &SigmaRule, parsed: &mut Parsed) {
        if rsigma_parser::is_unsupported(rule.sigma_version) {
            parsed.errors.push(self.fault(Some(&rule.title), "sigma-version", Fault::Version));
            return;
        }
        // The parser takes what is no text for absent.
        for (key, known) in [("level", rule.level.is_some()), ("status", rule.status.is_some())] {
            if !known && self.document.top(key).is_some_and(|it| !it.is_empty()) {
                parsed.errors.push(self.fault(Some(&rule.title), key, Fault::Metadata(key)));
                return;
            }
        }
        let mut warnings = Vec::new();
        let expr = detection::expr(&rule.detection, self.placeholders, &mut warnings);
        let told = |(near, fault): (String, Fault)| self.fault(Some(&rule.title), &near, fault);
        parsed.warnings.extend(warnings.into_iter().map(told));
        match expr {
            Ok(expr) => parsed.drafts.push(Draft { about: self.about(rule), expr }),
            Err(error) => parsed.errors.push(self.fault(
                Some(&rule.title),
                &error.near,
                Fault::Sigma(error.why),
            )),
        }
    }

    fn correlation(&self, rule: &CorrelationRule, parsed: &mut Parsed) {
        match correlation::spec(&self.document.text) {
            Ok(spec) => {
                let about = About {
                    id: rule.id.clone().filter(|it| !it.is_empty()),
                    name: rule.name.clone().filter(|it| !it.is_empty()),
                    title: rule.title.clone(),
                    level: rule.level.map_or(DEFAULT_LEVEL, level),
                    description: rule.description.clone().unwrap_or_default().trim().to_owned(),
                    status: rule.status.map(|it| format!("{it:?}").to_lowercase()),
                    tags: rule.tags.clone(),
                    falsepositives: rule.falsepositives.clone(),
                    references: rule.references.clone(),
                    runbook: runbook(&rule.custom_attributes),
                    file: self.file.to_path_buf(),
                    line: self.document.line,
                    source: self.given.to_owned(),
                    falco: None,
                };
                parsed.correlations.push(CorrelationDraft { about, spec });
            }
            Err(blame) => {
                let fault = Fault::Correlation(blame.fault);
                parsed.errors.push(self.fault(Some(&rule.title), &blame.near, fault));
            }
        }
    }

    fn about(&self, rule: &SigmaRule) -> About {
        About {
            id: rule.id.clone().filter(|it| !it.is_empty()),
            name: rule.name.clone().filter(|it| !it.is_empty()),
            title: rule.title.clone(),
            level: rule.level.map_or(DEFAULT_LEVEL, level),
            description: rule.description.clone().unwrap_or_default().trim().to_owned(),
            status: rule.status.map(|it| format!("{it:?}").to_lowercase()),
            tags: rule.tags.clone(),
            falsepositives: rule.falsepositives.clone(),
            references: rule.references.clone(),
            runbook: runbook(&rule.custom_attributes),
            file: self.file.to_path_buf(),
            line: self.document.line,
            source: self.given.to_owned(),
            falco: None,
        }
    }

    fn fault(&self, rule: Option<&str>, near: &str, fault: Fault) -> RuleError {
        RuleError {
            file: self.file.to_path_buf(),
            line: self.document.line_of(near),
            rule: rule.map(str::to_owned),
            fault,
        }
    }

    /// An error in the parser's words, with the line it is about.
    fn error(&self, skipped: usize, message: &str) -> RuleError {
        let (line, message) = self.document.place(message, skipped);
        let rule = self.document.title();
        RuleError { file: self.file.to_path_buf(), line, rule, fault: Fault::Parser(message) }
    }
}

/// The line of a word in the document of `text` whose first key stands on `line`.
pub(super) fn line_of(text: &str, line: u32, word: &str) -> u32 {
    let documents = document::split(text);
    documents.iter().find(|it| it.line == line).map_or(line, |it| it.line_of(word))
}

#[expect(clippy::disallowed_types, reason = "the parser's own; nothing depends on its order")]
fn runbook(attributes: &std::collections::HashMap<String, yaml_serde::Value>) -> Option<String> {
    attributes.get("runbook").and_then(|it| it.as_str()).map(str::to_owned)
}

/// The level of a rule that states none.
const DEFAULT_LEVEL: Level = Level::Medium;

fn level(level: rsigma_parser::Level) -> Level {
    match level {
        rsigma_parser::Level::Informational => Level::Informational,
        rsigma_parser::Level::Low => Level::Low,
        rsigma_parser::Level::Medium => Level::Medium,
        rsigma_parser::Level::High => Level::High,
        rsigma_parser::Level::Critical => Level::Critical,
    }
}
