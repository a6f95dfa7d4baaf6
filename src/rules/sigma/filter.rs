//! Sigma filters: one condition that is added to many rules, whatever file they
//! are in. See the Sigma filters specification.
//!
//! A rule that a filter is for matches only where the filter's condition, as it is
//! written, holds as well. The author says `not` where a match is to be left out.

use std::path::{Path, PathBuf};

use rsigma_parser::{FilterRule, FilterRuleTarget};

use super::Placeholders;
use super::detection::{self, Blame, Warnings};
use super::document::Document;
use crate::config::nearest;
use crate::rules::compile::compile;
use crate::rules::identity;
use crate::rules::ir::{Draft, Expr, LogSource};
use crate::rules::load::{Fault, RuleError};

/// Filters may add this many values to all rules together. One large filter that is
/// for thousands of rules would take gigabytes.
pub(in crate::rules) const ADDED_VALUES_MAX: usize = 1_000_000;

/// One filter as it was read.
#[derive(Debug, Clone)]
pub(in crate::rules) struct Filter {
    title: String,
    id: Option<String>,
    file: PathBuf,
    line: u32,
    /// Of its text; it becomes part of what says what a rule is.
    hash: String,
    /// The rules it is for, and the line each is named on; `None`: all.
    rules: Option<Vec<(String, u32)>>,
    log_source: LogSource,
    pub(super) expr: Expr,
}

/// What is wrong with a filter.
#[derive(Debug, thiserror::Error)]
pub(in crate::rules) enum FilterFault {
    #[error("no rule of the id or name \"{name}\" is loaded{}", crate::config::hint(.nearest.as_deref()))]
    UnknownRule { name: String, nearest: Option<String> },
    #[error("its log source is not that of rule \"{0}\", which it leaves as it is")]
    LogSource(String),
    #[error("no loaded rule has its log source, so it filters nothing")]
    Idle,
    #[error("filters add more than {ADDED_VALUES_MAX} values to the rules")]
    Values,
}

/// Reads what the parser made of a filter's document.
pub(super) fn read(
    rule: &FilterRule,
    (file, document, source): (&Path, &Document, &str),
    placeholders: &Placeholders,
    warnings: &mut Warnings,
) -> Result<Filter, Blame> {
    let expr = detection::expr(&rule.detection, placeholders, warnings)?;
    let line_of = |name: &String| (name.clone(), document.line_of_item(name));
    Ok(Filter {
        title: rule.title.clone(),
        id: rule.id.clone().filter(|it| !it.is_empty()),
        file: file.to_path_buf(),
        line: document.line,
        hash: identity::rule(source),
        rules: match &rule.rules {
            FilterRuleTarget::Any => None,
            FilterRuleTarget::Specific(names) => Some(names.iter().map(line_of).collect()),
        },
        log_source: rule.logsource.as_ref().map(super::log_source).unwrap_or_default(),
        expr,
    })
}

/// What applying filters had to say.
#[derive(Debug, Default)]
pub(in crate::rules) struct Told {
    pub(in crate::rules) errors: Vec<RuleError>,
    pub(in crate::rules) warnings: Vec<RuleError>,
}

/// Adds each filter to the rules it is for. The order of files plays no part.
pub(in crate::rules) fn apply(filters: &[Filter], drafts: &mut [Draft]) -> Told {
    let mut told = Told::default();
    let mut added = 0;
    for (at, filter) in filters.iter().enumerate() {
        if let Some(fault) = filter.broken(filters.get(..at).unwrap_or_default()) {
            told.errors.push(fault);
            continue;
        }
        let fitting = filter.fitting(drafts, &mut told.warnings);
        added += filter.expr.size() * fitting.len();
        if added > ADDED_VALUES_MAX {
            told.errors.push(filter.fault(filter.line, Fault::Filter(FilterFault::Values)));
            return told;
        }
        for at in fitting {
            if let Some(draft) = drafts.get_mut(at) {
                let rule = std::mem::replace(&mut draft.expr, Expr::All(Vec::new()));
                draft.expr = Expr::All(vec![rule, filter.expr.clone()]);
                draft.about.source.push_str(&filter.hash);
            }
        }
    }
    told
}

impl Filter {
    /// Why the filter cannot be used at all.
    fn broken(&self, earlier: &[Filter]) -> Option<RuleError> {
        if let Some(id) = &self.id
            && let Some(twin) = earlier.iter().find(|it| it.id.as_ref() == Some(id))
        {
            let (file, line) = (twin.file.clone(), twin.line);
            return Some(self.fault(self.line, Fault::Duplicate { id: id.clone(), file, line }));
        }
        // Told here, and not once for every rule the filter is for.
        let error = compile(&self.expr).err()?;
        Some(self.fault(self.line, Fault::Compile(error.why)))
    }

    /// The places of the rules that it is for.
    fn fitting(&self, drafts: &[Draft], warnings: &mut Vec<RuleError>) -> Vec<usize> {
        let fits = |draft: &Draft| {
            draft.about.log_source.as_ref().is_some_and(|it| self.log_source.takes_in(it))
        };
        let Some(names) = &self.rules else {
            let found = positions(drafts, fits);
            if found.is_empty() {
                warnings.push(self.fault(self.line, Fault::Filter(FilterFault::Idle)));
            }
            return found;
        };
        let mut found = Vec::new();
        for (name, line) in names {
            let named = positions(drafts, |it| goes_by(it, name));
            if named.is_empty() {
                let fault = unknown(name, drafts);
                warnings.push(self.fault(*line, Fault::Filter(fault)));
            }
            for at in named {
                if drafts.get(at).is_some_and(fits) {
                    found.push(at);
                } else {
                    let fault = FilterFault::LogSource(name.clone());
                    warnings.push(self.fault(*line, Fault::Filter(fault)));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn fault(&self, line: u32, fault: Fault) -> RuleError {
        RuleError { file: self.file.clone(), line, rule: Some(self.title.clone()), fault }
    }
}

fn positions(drafts: &[Draft], fits: impl Fn(&Draft) -> bool) -> Vec<usize> {
    drafts.iter().enumerate().filter(|(_, it)| fits(it)).map(|(at, _)| at).collect()
}

/// Whether a document may call the rule so: by its id or its name, and by its title
/// where it has no id.
fn goes_by(draft: &Draft, name: &str) -> bool {
    names(draft).any(|it| it == name)
}

fn names(draft: &Draft) -> impl Iterator<Item = &str> {
    let about = &draft.about;
    [Some(about.id.as_deref().unwrap_or(&about.title)), about.name.as_deref()].into_iter().flatten()
}

fn unknown(name: &str, drafts: &[Draft]) -> FilterFault {
    let known: Vec<&str> = drafts.iter().flat_map(names).collect();
    FilterFault::UnknownRule { name: name.to_owned(), nearest: nearest(name, &known) }
}

impl LogSource {
    /// Whether a filter with this log source is for a rule with the other: what the
    /// filter states, the rule states too.
    fn takes_in(&self, rule: &LogSource) -> bool {
        let pairs = [
            (&self.category, &rule.category),
            (&self.product, &rule.product),
            (&self.service, &rule.service),
        ];
        pairs.iter().all(|(filter, rule)| match (filter, rule) {
            (None, _) => true,
            (Some(filter), Some(rule)) => filter.eq_ignore_ascii_case(rule),
            (Some(_), None) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::{LoadOptions, Loaded, load_text};

    fn rule(head: &str) -> String {
        format!("{head}\ndetection:\n  sel:\n    verb: get\n  condition: sel\n")
    }

    fn filter(rules: &str, rest: &str) -> String {
        format!("title: F\nfilter:\n  rules: {rules}\n  sel:\n    user.username: eve\n{rest}")
    }

    fn loaded(texts: &[(&str, &str)]) -> Loaded {
        load_text(texts.iter().copied(), &LoadOptions::default())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_filter_that_names_no_rule_is_told_with_the_nearest_name() {
        let one = rule("title: One\nname: pod_exec\nlogsource:\n  product: kubernetes");
        let text = filter("\n    - pod_exex", "  condition: not sel\n");
        let warnings = loaded(&[("one.yml", &one), ("f.yml", &text)]).warnings;
        let want = "f.yml: rule \"F\", line 4: no rule of the id or name \"pod_exex\" is loaded; did you mean \"pod_exec\"?";
        assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [want]);
    }

    #[test]
    fn a_log_source_that_does_not_fit_is_told() {
        let one = rule("title: One\nid: a\nlogsource:\n  product: kubernetes");
        let rest = "  condition: not sel\nlogsource:\n  product: kubernetes\n  service: audit\n";
        let named = loaded(&[("1", &one), ("2", &filter("a", rest))]).warnings;
        assert!(named[0].reason().contains("not that of rule \"a\""), "{named:?}");
        let any = loaded(&[("1", &one), ("2", &filter("any", rest))]).warnings;
        assert!(any[0].reason().contains("filters nothing"), "{any:?}");
    }

    #[test]
    fn what_is_wrong_in_a_filter_is_told_of_the_filter() {
        let one = rule("title: One\nid: a");
        for (text, want) in [
            (filter("any", "  condition: not other\n"), "line 6: the condition names \"other\""),
            (filter("any", "  more:\n    kustos.x: 1\n  condition: not 1 of *\n"), "unknown field"),
            (filter("[]", "  condition: sel\n"), "line 3: `rules` names no rule; write `any`"),
            (filter("", "  condition: sel\n"), "line 3: `rules` names no rule; write `any`"),
            (filter("[a, 1]", "  condition: sel\n"), "line 3: `rules` names no rule; write `any`"),
            ("title: F\nfilter:\n  sel: {a: b}\n  condition: sel\n".into(), "line 2: `rules`"),
        ] {
            let texts = [("one.yml", one.as_str()), ("f.yml", text.as_str())];
            let error = load_text(texts, &LoadOptions::default()).unwrap_err().to_string();
            assert!(error.contains(want) && error.contains("f.yml: rule \"F\""), "{error}");
        }
        let twice = filter("any", "  condition: sel\nid: f\n");
        let texts = [("1", one.as_str()), ("2", &twice), ("3", &twice)];
        let error = load_text(texts, &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("id \"f\" is also that of 2, line 1"), "{error}");
    }

    #[test]
    fn filters_that_add_too_much_to_all_rules_together_are_refused() {
        let rules: String = (0..60).map(|at| rule(&format!("---\ntitle: R{at}"))).collect();
        let values: String = (0..19_000).map(|it| format!("      - v{it}\n")).collect();
        let text = filter("any", &format!("  big:\n    n:\n{values}  condition: not big\n"));
        let texts = [("1", rules.as_str()), ("2", &text)];
        let error = load_text(texts, &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("filters add more than 1000000 values"), "{error}");
    }
}
