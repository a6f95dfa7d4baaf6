//! What came of rules' tests -> a report in JUnit's XML, as CI systems read it.

use std::path::Path;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::detect::trial::{Outcome, Suite, Trial};
use crate::durable;
use crate::rules::RuleError;

/// Writes the report, which replaces one of that name.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(file: &Path, errors: &[RuleError], suites: &[Suite]) -> Result<()> {
    let text = report(errors, suites).to_string().context("the report")?;
    durable::write(file, text.as_bytes())?;
    Ok(())
}

fn report(errors: &[RuleError], suites: &[Suite]) -> Report {
    let mut report = Report::new("kustos rules test");
    for suite in suites {
        report.add_test_suite(tested(suite));
    }
    if !errors.is_empty() {
        let mut broken = TestSuite::new("broken rules");
        for error in errors {
            let name = format!("{}:{}", error.file.display(), error.line);
            let status = status(NonSuccessKind::Error, &error.reason());
            broken.add_test_case(TestCase::new(name, status));
        }
        report.add_test_suite(broken);
    }
    report
}

fn tested(suite: &Suite) -> TestSuite {
    let file = suite.rules.display().to_string();
    let mut cases = TestSuite::new(file.as_str());
    for trial in &suite.trials {
        let name = format!("{}:{} {}", suite.tests.display(), trial.line, trial.why);
        let mut case = TestCase::new(name, verdict(trial));
        case.set_classname(file.as_str());
        cases.add_test_case(case);
    }
    for untested in &suite.untested {
        let mut skipped = TestCaseStatus::skipped();
        skipped.set_message(untested.as_str());
        let mut case = TestCase::new(format!("untested: {untested}"), skipped);
        case.set_classname(file.as_str());
        cases.add_test_case(case);
    }
    cases
}

fn verdict(trial: &Trial) -> TestCaseStatus {
    match trial.outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::Failed { .. } => status(NonSuccessKind::Failure, &trial.told()),
        Outcome::Unreadable(_) => status(NonSuccessKind::Error, &trial.told()),
    }
}

fn status(kind: NonSuccessKind, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status
}
