//! A name a person typed -> the rule it means, or the one it may have meant.

use super::Rule;
use super::set::{RuleIndex, RuleSet};

/// Names less alike than this (Jaro-Winkler) are not offered.
const LIKENESS_MIN: f64 = 0.75;

/// No rule goes by the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nothing has it as id or title.
    #[error("no rule has the id or title \"{name}\"{}", offered(.nearest.as_deref()))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The id or title that is most like it.
        nearest: Option<String>,
    },
    /// Several rules have it as their title.
    #[error("{} rules have the title \"{name}\": name one by its id: {}", ids.len(), ids.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
}

fn offered(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean \"{name}\"?"),
        None => ": `kustos rules list` has them".to_owned(),
    }
}

/// One rule of a set as people speak of it: judged by itself, or a correlation of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Judges one event.
    Rule(RuleIndex),
    /// Counts what others find: its place in [`RuleSet::correlations`].
    Correlation(usize),
}

impl RuleSet {
    /// Every rule, and then every correlation, each in the order of the files.
    pub fn subjects(&self) -> impl Iterator<Item = (Subject, &Rule)> {
        let rules = self.indexed().map(|(index, rule)| (Subject::Rule(index), rule));
        let correlations = self.correlations().iter().enumerate();
        rules.chain(correlations.map(|(at, it)| (Subject::Correlation(at), &it.rule)))
    }

    /// Every rule that judges one event, with its place.
    pub fn indexed(&self) -> impl Iterator<Item = (RuleIndex, &Rule)> {
        self.rules().iter().enumerate().map(|(at, rule)| (RuleIndex::new(at), rule))
    }

    /// What people are told about a rule or a correlation.
    ///
    /// # Panics
    ///
    /// When it is one of another, larger set: only a bug does that.
    #[expect(clippy::indexing_slicing, reason = "the subject is one of this set")]
    pub fn about(&self, subject: Subject) -> &Rule {
        match subject {
            Subject::Rule(index) => self.rule(index),
            Subject::Correlation(at) => &self.correlations()[at].rule,
        }
    }

    /// Whether it gives no finding of its own, because it is only there to be counted.
    pub fn only_counted(&self, subject: Subject) -> bool {
        match subject {
            Subject::Rule(index) => self.is_silent(index),
            Subject::Correlation(at) => self.correlations().get(at).is_some_and(|it| it.silent),
        }
    }

    /// The rule or correlation with this id, or else with this title.
    ///
    /// # Errors
    /// When there is none, or several have the title.
    pub fn find(&self, name: &str) -> Result<Subject, LookupError> {
        if let Some((subject, _)) = self.subjects().find(|(_, it)| it.id == name) {
            return Ok(subject);
        }
        let titled: Vec<(Subject, &Rule)> =
            self.subjects().filter(|(_, it)| it.title == name).collect();
        match titled.as_slice() {
            [] => Err(LookupError::Unknown { name: name.to_owned(), nearest: self.nearest(name) }),
            [(subject, _)] => Ok(*subject),
            several => Err(LookupError::Ambiguous {
                name: name.to_owned(),
                ids: several.iter().map(|(_, it)| it.id.clone()).collect(),
            }),
        }
    }

    fn nearest(&self, name: &str) -> Option<String> {
        let wanted = name.to_lowercase();
        let like = |it: &str| strsim::jaro_winkler(&it.to_lowercase(), &wanted);
        self.subjects()
            .flat_map(|(_, it)| [it.id.as_str(), it.title.as_str()])
            .map(|it| (like(it), it))
            .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
            .max_by(|(left, _), (right, _)| left.total_cmp(right))
            .map(|(_, it)| it.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::{LoadOptions, load_text};

    #[test]
    fn a_rule_is_found_by_id_or_title_and_the_nearest_is_offered() {
        let rule = |title: &str, id: &str| {
            format!("title: {title}\nid: {id}\ndetection:\n  a:\n    verb: get\n  condition: a\n")
        };
        let text = [rule("Secrets read", "s-1"), rule("Twin", "t-1"), rule("Twin", "t-2")];
        let counted = "title: Often\nid: c-1\ncorrelation:\n  type: event_count\n  rules: [s-1]\n  timespan: 1m\n  condition: {gte: 3}\n";
        let text = format!("{}---\n{counted}", text.join("---\n"));
        let rules = load_text([("t.yml", &*text)], &LoadOptions::default()).unwrap().rules;
        let id = |name: &str| rules.find(name).map(|it| rules.about(it).id.clone());
        assert_eq!(id("t-2").unwrap(), "t-2");
        assert_eq!(id("Secrets read").unwrap(), "s-1");
        assert_eq!((id("c-1").unwrap(), id("Often").unwrap()), ("c-1".into(), "c-1".into()));
        let counted = |name: &str| rules.only_counted(rules.find(name).unwrap());
        assert!(counted("s-1") && !counted("t-1") && !counted("c-1"));
        let error = id("secret read").unwrap_err().to_string();
        assert_eq!(
            error,
            "no rule has the id or title \"secret read\"; did you mean \"Secrets read\"?"
        );
        let error = id("qqq").unwrap_err().to_string();
        assert_eq!(error, "no rule has the id or title \"qqq\": `kustos rules list` has them");
        let error = id("Twin").unwrap_err().to_string();
        assert_eq!(error, "2 rules have the title \"Twin\": name one by its id: t-1, t-2");
    }
}
