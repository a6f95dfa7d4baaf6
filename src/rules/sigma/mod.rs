//! The Sigma front end: a rule file's text in, drafts and errors out.
//!
//! `rsigma-parser` reads the YAML and the conditions; what the parts mean is
//! decided here. See <https://sigmahq.io/sigma-specification/>.

mod alias;
mod bounds;
mod correlation;
mod detection;
mod document;
mod encode;
mod filter;
mod item;
mod placeholders;
mod shape;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

use rsigma_parser::{CorrelationRule, FilterRule, SigmaCollection, SigmaRule, parse_sigma_yaml};

use self::bounds::LINKED_BYTES_MAX;
use self::document::Document;
use super::advice::{Audience, advise};
use super::ir::{About, CorrelationDraft, Draft, Expr, LogSource};
use super::load::{Fault, RuleError};
use super::{Level, Profile};

/// What is said about a rule or a correlation. The parser has a type for each, with the same fields and no trait in
/// common.
macro_rules! about {
    ($of:expr, $rule:expr, $log_source:expr) => {
        About {
            id: $rule.id.clone().filter(|it| !it.is_empty()),
            name: $rule.name.clone().filter(|it| !it.is_empty()),
            log_source: $log_source,
            title: $rule.title.clone(),
            level: $rule.level.map_or(DEFAULT_LEVEL, level),
            description: $rule.description.clone().unwrap_or_default().trim().to_owned(),
            status: $rule.status.map(|it| format!("{it:?}").to_lowercase()),
            tags: $rule.tags.clone(),
            falsepositives: $rule.falsepositives.clone(),
            references: $rule.references.clone(),
            runbook: runbook(&$rule.custom_attributes),
            profile: profile(&$rule.custom_attributes),
            behaviours: behaviours(&$rule.custom_attributes),
            file: $of.file.to_path_buf(),
            line: $of.document.line,
            source: $of.given.to_owned(),
            falco: None,
        }
    };
}

pub(super) use self::bounds::BoundFault;
pub(super) use self::correlation::CorrelationFault;
pub(super) use self::filter::{Filter, FilterFault, apply as filter};
pub(super) use self::item::SigmaFault;
pub(super) use self::placeholders::lists;
pub use self::placeholders::{PlaceholderError, placeholders};

/// What placeholders (`%name%` under `expand`) stand for.
pub type Placeholders = BTreeMap<String, Vec<String>>;

/// What one file gave.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) drafts: Vec<Draft>,
    pub(super) filters: Vec<Filter>,
    pub(super) correlations: Vec<CorrelationDraft>,
    pub(super) errors: Vec<RuleError>,
    pub(super) warnings: Vec<RuleError>,
}

/// Reads every document of a Sigma file.
pub(super) fn parse(file: &Path, text: &str, placeholders: &Placeholders) -> Parsed {
    let mut parsed = Parsed::default();
    let documents = document::split(text);
    let mut taken = 0;
    for (at, document) in documents.iter().enumerate() {
        // What `action` takes over from other documents is parsed before this one, and
        // what that gives is not this one's.
        let earlier = document::context(&documents, at);
        let given = joined(&[earlier.as_slice(), &[document]].concat());
        let reader = Reader { file, document, given: &given, placeholders };
        taken += earlier.iter().map(|it| it.text.len()).sum::<usize>();
        if taken > LINKED_BYTES_MAX {
            parsed.errors.push(reader.refused(Fault::Bound(BoundFault::Linked)));
            break;
        }
        match reader.sound(&earlier, &mut parsed) {
            Ok(true) => reader.parse(&earlier, &mut parsed),
            Ok(false) => {}
            Err(fault) => {
                parsed.errors.push(reader.refused(Fault::Bound(fault)));
                // Others may take over what is in it.
                if documents.iter().any(|it| it.action().is_some()) {
                    break;
                }
            }
        }
    }
    if documents.is_empty() {
        let fault = Fault::Empty;
        parsed.errors.push(RuleError { file: file.to_path_buf(), line: 1, rule: None, fault });
    }
    parsed
}

fn joined(documents: &[&Document]) -> String {
    let texts: Vec<&str> = documents.iter().map(|it| &*it.text).collect();
    texts.join("\n---\n")
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
    /// Whether the document is fit to be parsed; what is wrong with its keys is told.
    fn sound(&self, earlier: &[&Document], parsed: &mut Parsed) -> Result<bool, BoundFault> {
        let Some(value) = bounds::read(&self.document.text)? else {
            return Ok(true);
        };
        let version = |it: &&Document| it.top("sigma-version")?.parse().ok();
        let faults = shape::faults(&value, earlier.iter().rev().find_map(version));
        let title = self.document.title();
        let sound = faults.is_empty();
        for (near, fault) in faults {
            parsed.errors.push(self.fault(title.as_deref(), &near, fault));
        }
        Ok(sound)
    }

    fn parse(&self, earlier: &[&Document], parsed: &mut Parsed) {
        let plain = |it: &&Document| correlation::plain(&it.text).into_owned();
        let mut texts: Vec<String> = earlier.iter().map(plain).collect();
        let before = if texts.is_empty() {
            Counts::default()
        } else {
            let before = parse_sigma_yaml(&texts.join("\n---\n"));
            before.map(|it| Counts::of(&it)).unwrap_or_default()
        };
        let skipped = texts.iter().map(|it| it.lines().count() + 1).sum();
        texts.push(plain(&self.document));
        match parse_sigma_yaml(&texts.join("\n---\n")) {
            Ok(collection) => self.collect(&collection, &before, skipped, parsed),
            Err(error) => parsed.errors.push(self.error(skipped, &error.to_string())),
        }
    }

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
        for filter in collection.filters.iter().skip(before.filters).filter(|_| errors.is_empty()) {
            self.filter(filter, parsed);
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
        let mut warnings = Vec::new();
        let expr = detection::expr(&rule.detection, self.placeholders, &mut warnings);
        let told = |(near, fault): (String, Fault)| self.fault(Some(&rule.title), &near, fault);
        parsed.warnings.extend(warnings.into_iter().map(told));
        match expr {
            Ok(expr) => {
                let product = rule.logsource.product.as_deref();
                parsed.warnings.extend(self.advice(&rule.title, &expr, product));
                let expr = alias::resolved(expr);
                parsed.drafts.push(Draft {
                    about: about!(self, rule, Some(log_source(&rule.logsource))),
                    expr,
                });
            }
            Err(error) => parsed.errors.push(self.fault(
                Some(&rule.title),
                &error.near,
                Fault::Sigma(error.why),
            )),
        }
    }

    /// What is to be said about a rule's or a filter's fields and values.
    fn advice(&self, title: &str, expr: &Expr, product: Option<&str>) -> Vec<RuleError> {
        let told = advise(expr, audience(product));
        let told = told.into_iter().map(|it| RuleError {
            file: self.file.to_path_buf(),
            line: self.document.line_of_value(&it.field, it.value.as_deref()),
            rule: Some(title.to_owned()),
            fault: Fault::Advice(it.advice),
        });
        told.collect()
    }

    fn filter(&self, rule: &FilterRule, parsed: &mut Parsed) {
        let title = Some(rule.title.as_str());
        if rsigma_parser::is_unsupported(rule.sigma_version) {
            parsed.errors.push(self.fault(title, "sigma-version", Fault::Version));
            return;
        }
        let mut warnings = Vec::new();
        let place = (self.file, self.document, self.given);
        let read = filter::read(rule, place, self.placeholders, &mut warnings);
        let told = |(near, fault): (String, Fault)| self.fault(title, &near, fault);
        parsed.warnings.extend(warnings.into_iter().map(told));
        match read {
            Ok(mut filter) => {
                let product = rule.logsource.as_ref().and_then(|it| it.product.as_deref());
                parsed.warnings.extend(self.advice(&rule.title, &filter.expr, product));
                filter.expr = alias::resolved(filter.expr);
                parsed.filters.push(filter);
            }
            Err(blame) => {
                parsed.errors.push(self.fault(title, &blame.near, Fault::Sigma(blame.why)));
            }
        }
    }

    fn correlation(&self, rule: &CorrelationRule, parsed: &mut Parsed) {
        match correlation::spec(&self.document.text) {
            Ok(spec) => {
                let about = about!(self, rule, None);
                parsed.correlations.push(CorrelationDraft { about, spec });
            }
            Err(blame) => {
                let fault = Fault::Correlation(blame.fault);
                parsed.errors.push(self.fault(Some(&rule.title), &blame.near, fault));
            }
        }
    }

    fn refused(&self, fault: Fault) -> RuleError {
        self.fault(self.document.title().as_deref(), "", fault)
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

fn log_source(parsed: &rsigma_parser::LogSource) -> LogSource {
    LogSource {
        category: parsed.category.clone(),
        product: parsed.product.clone(),
        service: parsed.service.clone(),
    }
}

/// The line of a word in the document of `text` whose first key stands on `line`.
pub(super) fn line_of(text: &str, line: u32, word: &str) -> u32 {
    let documents = document::split(text);
    documents.iter().find(|it| it.line == line).map_or(line, |it| it.line_of(word))
}

/// Whose events a log source's product names.
fn audience(product: Option<&str>) -> Audience {
    match product {
        Some("kubernetes" | "k8s") => Audience::Kubernetes,
        Some(_) => Audience::Other,
        None => Audience::Unstated,
    }
}

#[expect(clippy::disallowed_types, reason = "the parser's own; nothing depends on its order")]
type Attributes = std::collections::HashMap<String, yaml_serde::Value>;

fn runbook(attributes: &Attributes) -> Option<String> {
    attributes.get("runbook").and_then(|it| it.as_str()).map(str::to_owned)
}

/// The keys of shipped rules alone. Others may use the same words for something else.
fn profile(attributes: &Attributes) -> Option<Profile> {
    attributes.get("profile").and_then(|it| it.as_str()).and_then(|it| it.parse().ok())
}

fn behaviours(attributes: &Attributes) -> Vec<u16> {
    let list = attributes.get("behaviours").and_then(|it| it.as_sequence());
    let number = |it: &yaml_serde::Value| it.as_u64().and_then(|it| u16::try_from(it).ok());
    list.into_iter().flatten().filter_map(number).collect()
}

/// The profile of a shipped file: that of its first document.
pub(super) fn profile_of(text: &str) -> Option<Profile> {
    document::split(text).iter().find_map(|it| it.top("profile")?.parse().ok())
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
