//! Test files beside rules -> what the rules get right, what they get wrong, and what no test says.
//!
//! `x.test.jsonl` lies beside `x.yml` and holds a case a line: an event, or a sequence of them,
//! and whether a rule of the file must find something there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Correlator, Judged, Limits, Origin, judge};
use crate::decode;
use crate::event::{Event, Flaw};
use crate::rules::{RuleIndex, RuleSet, Scratch, Subject, Weighed, explain};

/// What a test file is called: the rule file's name with this ending instead of its own.
pub const ENDING: &str = "test.jsonl";

/// A test file larger than this is refused: it is a log.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The cluster that the events of a case are of.
const CLUSTER: &str = "test";

/// Rules whose conditions are told about one failed case; a file may have hundreds.
const EXPLAINED_MAX: usize = 3;

/// The tests of one rule file.
#[derive(Debug)]
pub struct Suite {
    /// The rule file.
    pub rules: PathBuf,
    /// The test file that belongs to it, there or not.
    pub tests: PathBuf,
    /// What came of each case, in the order of the file.
    pub trials: Vec<Trial>,
    /// What no case says, in words.
    pub untested: Vec<String>,
}

/// One case, tried.
#[derive(Debug)]
pub struct Trial {
    /// Its line in the test file, from 1.
    pub line: usize,
    /// What the case is about, in its author's words.
    pub why: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a case.
#[derive(Debug)]
pub enum Outcome {
    /// The rules do what it says.
    Passed,
    /// They do not.
    Failed {
        /// What they do instead.
        told: String,
        /// The conditions that decided, by the rule's title.
        because: Vec<(String, Weighed)>,
    },
    /// The line is no case.
    Unreadable(String),
}

impl Trial {
    /// What came of it, in one line.
    pub fn told(&self) -> String {
        match &self.outcome {
            Outcome::Passed => format!("passed: {}", self.why),
            Outcome::Failed { told, .. } => format!("{told}: {}", self.why),
            Outcome::Unreadable(why) => format!("no case: {why}"),
        }
    }

    /// Whether the rules do what the case says.
    pub fn passed(&self) -> bool {
        matches!(self.outcome, Outcome::Passed)
    }
}

/// Why tests could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The system refused.
    #[error("cannot read tests from {}", path.display())]
    Read {
        /// The test file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is a log, not a test.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The test file.
        path: PathBuf,
    },
}

/// Runs the rules of each file over the tests beside it. All rules are loaded, because one may
/// need what stands in another file; each case is about the rules of its own file.
///
/// # Errors
/// When a test file is there and cannot be read.
pub fn suites(rules: &Arc<RuleSet>) -> Result<Vec<Suite>, TrialError> {
    let mut files: Vec<(&Path, Vec<Subject>)> = Vec::new();
    for (subject, rule) in rules.subjects() {
        match files.iter_mut().find(|(file, _)| *file == rule.file) {
            Some((_, subjects)) => subjects.push(subject),
            None => files.push((&rule.file, vec![subject])),
        }
    }
    files.sort_by_key(|(file, _)| *file);
    files.into_iter().map(|(file, subjects)| suite(rules, file, &subjects)).collect()
}

fn suite(rules: &Arc<RuleSet>, file: &Path, subjects: &[Subject]) -> Result<Suite, TrialError> {
    let tests = file.with_extension(ENDING);
    let mut suite = Suite {
        rules: file.to_path_buf(),
        tests: tests.clone(),
        trials: Vec::new(),
        untested: Vec::new(),
    };
    let Some(text) = text(&tests)? else {
        suite.untested.push(format!("there is no {}", tests.display()));
        return Ok(suite);
    };
    let mut court = Court { rules, subjects, tried: [BTreeSet::new(), BTreeSet::new()] };
    for (at, line) in text.lines().enumerate().filter(|(_, it)| !it.trim().is_empty()) {
        suite.trials.push(court.trial(at + 1, line));
    }
    suite.untested = court.untested();
    Ok(suite)
}

/// The test file's text; `None` when there is none.
fn text(tests: &Path) -> Result<Option<String>, TrialError> {
    let failed = |source| TrialError::Read { path: tests.to_path_buf(), source };
    match fs::metadata(tests) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(about) if about.len() > FILE_BYTES_MAX => {
            Err(TrialError::TooLarge { path: tests.to_path_buf() })
        }
        Ok(_) => fs::read_to_string(tests).map(Some).map_err(failed),
    }
}

/// One line of a test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case<'c> {
    r#match: bool,
    why: String,
    /// The id or title of the rule it is about; left out: any rule of the file.
    rule: Option<String>,
    #[serde(borrow)]
    event: Option<&'c RawValue>,
    #[serde(borrow)]
    events: Option<Vec<&'c RawValue>>,
}

impl<'c> Case<'c> {
    fn events(&self) -> Result<Vec<&'c RawValue>, String> {
        match (self.event, &self.events) {
            (Some(event), None) => Ok(vec![event]),
            (None, Some(events)) if !events.is_empty() => Ok(events.clone()),
            _ => Err("a case has either an \"event\" or \"events\", a list of them".to_owned()),
        }
    }
}

/// The rules of one file, and what its cases have said about them.
struct Court<'r> {
    rules: &'r Arc<RuleSet>,
    subjects: &'r [Subject],
    /// Rules with a case that they must not match, and with one that they must.
    tried: [BTreeSet<Subject>; 2],
}

impl Court<'_> {
    fn trial(&mut self, line: usize, text: &str) -> Trial {
        let case: Case<'_> = match serde_json::from_str(text) {
            Ok(case) => case,
            Err(error) => {
                let outcome = Outcome::Unreadable(error.to_string());
                return Trial { line, why: String::new(), outcome };
            }
        };
        let outcome = self.outcome(&case).unwrap_or_else(Outcome::Unreadable);
        Trial { line, why: case.why, outcome }
    }

    fn outcome(&mut self, case: &Case<'_>) -> Result<Outcome, String> {
        let subjects = self.subjects(case.rule.as_deref())?;
        let raw = case.events()?;
        let mut events = Vec::new();
        let texts = raw.iter().map(|it| decode::texts(it.get().as_bytes()));
        let texts = texts.collect::<Result<Vec<_>, Flaw>>();
        let texts = texts.map_err(|flaw| format!("the event is {flaw}"))?.concat();
        for text in &texts {
            let event = decode::line(text.as_bytes());
            events.push(event.map_err(|flaw| format!("the event is {flaw}"))?);
        }
        if let Some(tried) = self.tried.get_mut(usize::from(case.r#match)) {
            tried.extend(&subjects);
        }
        let fired = fired(self.rules, &events);
        let found: Vec<Subject> =
            subjects.iter().copied().filter(|it| fired.contains(it)).collect();
        if found.is_empty() != case.r#match {
            return Ok(Outcome::Passed);
        }
        let told = if case.r#match { "no match" } else { "a match" }.to_owned();
        let guilty = if case.r#match { &subjects } else { &found };
        Ok(Outcome::Failed { told, because: self.because(guilty, &events) })
    }

    /// The rule that is named; or else those of the file that give findings.
    fn subjects(&self, named: Option<&str>) -> Result<Vec<Subject>, String> {
        let Some(name) = named else {
            let all = self.subjects.iter().copied();
            return Ok(all.filter(|it| !self.rules.only_counted(*it)).collect());
        };
        let subject = self.rules.find(name).map_err(|error| error.to_string())?;
        if !self.subjects.contains(&subject) {
            let file = self.rules.about(subject).file.display();
            return Err(format!("rule \"{name}\" is in {file}, and so its tests lie beside that"));
        }
        Ok(vec![subject])
    }

    /// Why the rules decided so about a single event. A sequence has no one reason.
    fn because(&self, guilty: &[Subject], events: &[Event<'_>]) -> Vec<(String, Weighed)> {
        let [event] = events else {
            return Vec::new();
        };
        let rules = guilty.iter().filter_map(|it| match it {
            Subject::Rule(index) => Some(*index),
            Subject::Correlation(_) => None,
        });
        let told = |index: RuleIndex| {
            let weighed = explain(self.rules, index, event).condition.decisive();
            (self.rules.rule(index).title.clone(), weighed)
        };
        rules.take(EXPLAINED_MAX).map(told).collect()
    }

    /// What no case says. A rule that is only counted is tried by way of the correlation.
    fn untested(&self) -> Vec<String> {
        let [must_not, must] = &self.tried;
        let mut untested = Vec::new();
        for subject in self.subjects.iter().filter(|it| !self.rules.only_counted(**it)) {
            let title = &self.rules.about(*subject).title;
            if !must.contains(subject) {
                untested.push(format!("rule \"{title}\" has no case that it must match"));
            }
            if !must_not.contains(subject) {
                untested.push(format!("rule \"{title}\" has no case that it must not match"));
            }
        }
        untested
    }
}

/// The rules and correlations that find something in the sequence. Its time is that of its
/// events and ends with the last one.
fn fired(rules: &Arc<RuleSet>, events: &[Event<'_>]) -> BTreeSet<Subject> {
    let (mut scratch, mut matching) = (Scratch::default(), Vec::new());
    let mut correlator = Correlator::new(Arc::clone(rules), Limits::default());
    let (mut fired, mut found) = (BTreeSet::new(), Vec::new());
    for (position, event) in (0..).zip(events) {
        let origin = Origin { cluster: CLUSTER, source: CLUSTER, position };
        let mut judged = Judged::default();
        judge(event, rules, &mut scratch, &origin, &mut judged);
        judged.observations.into_iter().for_each(|it| correlator.observe(it, &mut found));
        // Also those that are only counted: a case may name one.
        rules.matches(event, &mut scratch, &mut matching);
        fired.extend(matching.iter().map(|it| Subject::Rule(*it)));
        if let Some(time) = rules.time(event, &scratch) {
            correlator.advance(CLUSTER, time, &mut found);
        }
    }
    fired.extend(found.iter().filter_map(|it| rules.find(&it.rule.id).ok()));
    fired
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;
    use crate::rules::{LoadOptions, load};

    const RULES: &str = "title: Read\nid: r-1\ndetection:\n  a:\n    verb: get\n  condition: a\n---\ntitle: Written\nid: r-2\ndetection:\n  a:\n    verb: create\n  condition: a\n";

    fn tried(tests: Option<&str>) -> Suite {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.yml");
        durable::write(&file, RULES.as_bytes()).unwrap();
        if let Some(tests) = tests {
            durable::write(&folder.path().join("x.test.jsonl"), tests.as_bytes()).unwrap();
        }
        let rules = load(&[file], &LoadOptions::default()).unwrap().rules;
        suites(&Arc::new(rules)).unwrap().remove(0)
    }

    fn told(line: &str) -> String {
        match tried(Some(line)).trials.remove(0).outcome {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Failed { told, because } => format!("{told}, {} told", because.len()),
            Outcome::Unreadable(why) => why,
        }
    }

    #[test]
    fn a_case_is_about_the_rule_it_names_or_else_about_any_of_the_file() {
        for (line, want) in [
            (r#"{"match":true,"why":"w","event":{"verb":"create"}}"#, "passed"),
            (r#"{"match":true,"why":"w","rule":"r-2","event":{"verb":"create"}}"#, "passed"),
            (
                r#"{"match":true,"why":"w","rule":"Read","event":{"verb":"create"}}"#,
                "no match, 1 told",
            ),
            (r#"{"match":false,"why":"w","rule":"r-1","event":{"verb":"create"}}"#, "passed"),
            (r#"{"match":false,"why":"w","event":{"verb":"get"}}"#, "a match, 1 told"),
            (r#"{"match":true,"why":"w","event":{}}"#, "no match, 2 told"),
            (r#"{"match":true,"why":"w","events":[{},{"verb":"get"}]}"#, "passed"),
            (r#"{"match":true,"why":"w","events":[{},{"verb":"list"}]}"#, "no match, 0 told"),
        ] {
            assert_eq!(told(line), want, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_no_case_says_why() {
        for (line, want) in [
            ("{}", "missing field `match`"),
            (r#"{"match":true,"why":"w"}"#, "either an \"event\" or \"events\""),
            (r#"{"match":true,"why":"w","events":[]}"#, "either an \"event\" or \"events\""),
            (r#"{"match":true,"why":"w","event":{},"evnet":{}}"#, "unknown field `evnet`"),
            (r#"{"match":true,"why":"w","event":7}"#, "the event is"),
            (r#"{"match":true,"why":"w","rule":"Reed","event":{}}"#, "did you mean \"Read\"?"),
        ] {
            assert!(told(line).contains(want), "{line}: {}", told(line));
        }
    }

    #[test]
    fn what_no_case_says_is_told() {
        let suite = tried(None);
        assert!(suite.untested[0].starts_with("there is no "), "{:?}", suite.untested);
        let all = "{\"match\":true,\"why\":\"w\",\"event\":{\"verb\":\"get\"}}\n\n{\"match\":false,\"why\":\"w\",\"rule\":\"r-1\",\"event\":{}}\n";
        let suite = tried(Some(all));
        assert_eq!(suite.trials.iter().map(|it| it.line).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(suite.untested, ["rule \"Written\" has no case that it must not match"]);
    }

    #[test]
    fn a_test_file_over_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.test.jsonl");
        fs::File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(matches!(text(&path), Err(TrialError::TooLarge { .. })));
    }

    #[test]
    fn a_correlation_is_tried_with_a_sequence_and_what_it_counts_by_way_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.yml");
        let text = "title: Refused\nname: refused\nid: r-1\ndetection:\n  a:\n    code: 403\n  condition: a\n---\n\
            title: Refused often\nid: c-1\ncorrelation:\n  type: event_count\n  rules: [refused]\n  \
            group-by: [user.username]\n  timespan: 1m\n  condition: {gte: 3}\n";
        durable::write(&file, text.as_bytes()).unwrap();
        let event = |user: &str, second: u32| {
            format!(
                r#"{{"auditID":"a","stage":"ResponseComplete","stageTimestamp":"2026-11-23T03:00:{second:02}Z","user":{{"username":"{user}"}},"responseStatus":{{"code":403}}}}"#
            )
        };
        let case = |matches: bool, rule: &str, events: &[String]| {
            let events = events.join(",");
            format!("{{\"match\":{matches},\"why\":\"w\"{rule},\"events\":[{events}]}}\n")
        };
        let three = [event("eve", 1), event("eve", 2), event("eve", 3)];
        let tests = case(true, "", &three)
            + &case(true, ",\"rule\":\"c-1\"", &three)
            + &case(false, "", &[event("eve", 1), event("bob", 2), event("eve", 3)])
            + &case(true, ",\"rule\":\"Refused\"", &three[..1]);
        durable::write(&folder.path().join("x.test.jsonl"), tests.as_bytes()).unwrap();
        let rules = load(&[file], &LoadOptions::default()).unwrap().rules;
        let suite = suites(&Arc::new(rules)).unwrap().remove(0);
        assert_eq!(suite.untested, Vec::<String>::new());
        assert!(suite.trials.len() == 4 && suite.trials.iter().all(Trial::passed), "{suite:?}");
    }
}
