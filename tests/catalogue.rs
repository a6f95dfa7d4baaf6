//! The catalogue of behaviours, and a page for each shipped rule: nothing in it is left open, and no
//! page is older than its rule. `UPDATE_PAGES=1` writes the pages.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use common::{files_below, put};
use kustos::rules::catalogue::{Behaviour, catalogue};
use kustos::rules::coverage::{By, Covered, coverage};
use kustos::rules::{AuditLevel, Profile, Rule, RuleSet, Subject, needs, shipped};

/// Where the pages lie.
const PAGES: &str = "docs/rules";

/// Pages there that are not made here.
const OTHERS: [&str; 1] = ["docs/rules/quality.md"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rules that give findings.
fn telling(rules: &RuleSet) -> Vec<(Subject, &Rule)> {
    rules.subjects().filter(|(it, _)| !rules.only_counted(*it)).collect()
}

fn behaviours(rules: &RuleSet) -> Vec<Behaviour> {
    catalogue(telling(rules).into_iter().map(|(_, it)| it)).unwrap()
}

#[test]
fn every_behaviour_is_found_or_says_why_it_cannot_be() {
    let rules = shipped(Profile::Paranoid).unwrap();
    let behaviours = behaviours(&rules);
    for it in &behaviours {
        assert!(it.is_found() != it.unseen.is_some(), "{} {}", it.number, it.behaviour);
    }
    let numbers: BTreeSet<u16> = behaviours.iter().map(|it| it.number).collect();
    assert_eq!(numbers.len(), behaviours.len(), "a number stands twice");
    for (_, rule) in telling(&rules) {
        assert!(!rule.behaviours.is_empty(), "{} is about no behaviour", rule.title);
        assert!(rule.behaviours.iter().all(|it| numbers.contains(it)), "{}", rule.title);
    }
}

#[test]
fn every_behaviour_that_other_packs_know_is_in_the_catalogue() {
    let Some(shared) = common::shared(".") else { return };
    let rules = shipped(Profile::Paranoid).unwrap();
    let numbers: BTreeSet<u16> = behaviours(&rules).iter().map(|it| it.number).collect();
    let text = fs::read_to_string(shared.join("DETECTIONS.md")).unwrap();
    let row = |it: &str| it.strip_prefix("| ")?.split(" |").next()?.parse::<u16>().ok();
    let rows: Vec<u16> = text.lines().filter_map(row).collect();
    assert!(rows.len() >= 180, "{} rows", rows.len());
    assert!(rows.iter().all(|it| numbers.contains(it)));
}

#[test]
fn every_shipped_rule_says_what_a_person_needs() {
    let rules = shipped(Profile::Paranoid).unwrap();
    let mut wrong = Vec::new();
    for (subject, rule) in telling(&rules) {
        let mut lacks = |what: &str, lacking: bool| {
            if lacking {
                wrong.push(format!("{}: {what}", rule.file.display()));
            }
        };
        lacks("a description", rule.description.len() < 80);
        lacks("a false positive", rule.falsepositives.is_empty());
        lacks("a reference", rule.references.is_empty());
        let runbook = rule.runbook.as_deref().unwrap_or_default();
        lacks("a runbook of two lines", runbook.trim_end().lines().count() != 2);
        let tag = |start: &str| rule.tags.iter().any(|it| it.starts_with(start));
        lacks("a technique", !tag("attack.t"));
        lacks("a safeguard", !tag("hipaa.164."));
        let (least, most) = levels(&rules, subject);
        let stated = stated(&rules, rule);
        lacks("an audit level that fits", !(least..=most).contains(&stated));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The audit level from which on a rule can find something, and that which records all it looks at.
fn levels(rules: &RuleSet, subject: Subject) -> (AuditLevel, AuditLevel) {
    let of = |index| {
        let needs = needs(rules, index);
        (needs.level, needs.full_level)
    };
    match subject {
        Subject::Rule(index) => of(index),
        // Those that a correlation counts stand in its file.
        Subject::Correlation(_) => {
            let file = &rules.about(subject).file;
            let of_file = rules.indexed().filter(|(_, it)| it.file == *file);
            of_file.map(|(index, _)| of(index)).max().unwrap()
        }
    }
}

/// The audit level that a rule's text says it needs.
fn stated(rules: &RuleSet, rule: &Rule) -> AuditLevel {
    let (_, text) = rules.texts().find(|(it, _)| Path::new(it) == rule.file).unwrap();
    let stated = text.lines().find_map(|it| it.strip_prefix("audit_level: "));
    let known = [AuditLevel::Metadata, AuditLevel::Request, AuditLevel::RequestResponse];
    let found = known.into_iter().find(|it| Some(it.as_str()) == stated);
    found.unwrap_or_else(|| panic!("{} states no audit level", rule.file.display()))
}

#[test]
fn no_page_is_older_than_its_rule() {
    let pages = pages();
    if std::env::var_os("UPDATE_PAGES").is_some() {
        for file in written() {
            fs::remove_file(root().join(file)).unwrap();
        }
        for (file, text) in &pages {
            fs::create_dir_all(root().join(file).parent().unwrap()).unwrap();
            put(&root().join(file), text.as_bytes());
        }
    }
    let remedy = "run this with UPDATE_PAGES=1";
    for (file, text) in &pages {
        let found = fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(found == *text, "{file} is out of date: {remedy}");
    }
    let expected: BTreeSet<String> = pages.into_keys().collect();
    let left: Vec<String> = written().into_iter().filter(|it| !expected.contains(it)).collect();
    assert!(left.is_empty(), "{left:?} are of no rule: {remedy}");
}

/// The pages that are there.
fn written() -> Vec<String> {
    let found = files_below(&root().join(PAGES), &["md"]);
    let named = found.iter().map(|it| it.strip_prefix(root()).unwrap().display().to_string());
    named.filter(|it| !OTHERS.contains(&it.as_str())).collect()
}

/// Every page, by its file.
fn pages() -> BTreeMap<String, String> {
    let rules = shipped(Profile::Paranoid).unwrap();
    let behaviours = behaviours(&rules);
    let telling = telling(&rules);
    let mut pages = BTreeMap::new();
    pages.insert(format!("{PAGES}/README.md"), index(&rules, &telling, &behaviours));
    for (_, rule) in telling {
        pages.insert(format!("{PAGES}/{}.md", name(rule)), page(&rules, rule, &behaviours));
    }
    pages
}

/// `access/cluster-admin-bound`.
fn name(rule: &Rule) -> String {
    let path = rule.file.with_extension("").display().to_string();
    path.trim_start_matches("rules/").to_owned()
}

fn profile(rule: &Rule) -> &'static str {
    rule.profile.map_or("", Profile::as_str)
}

fn page(rules: &RuleSet, rule: &Rule, behaviours: &[Behaviour]) -> String {
    let mut page = format!("# {}\n\n{}\n\n| | |\n| --- | --- |\n", rule.title, rule.description);
    let tags = rule.tags.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
    let file = rule.file.display();
    for (key, value) in [
        ("level", rule.level.to_string()),
        ("smallest profile", profile(rule).to_owned()),
        ("audit level", stated(rules, rule).as_str().to_owned()),
        ("tags", tags),
        ("id", format!("`{}`", rule.id)),
        ("text", format!("[{file}](../../../{file})")),
    ] {
        writeln!(page, "| {key} | {value} |").unwrap();
    }
    page.push_str("\n## What it finds\n\n");
    for it in behaviours.iter().filter(|it| rule.behaviours.contains(&it.number)) {
        writeln!(page, "* {} (behaviour {})", it.behaviour, it.number).unwrap();
    }
    page.push_str("\n## What to do\n\n");
    for line in rule.runbook.iter().flat_map(|it| it.trim_end().lines()) {
        writeln!(page, "* {line}").unwrap();
    }
    page.push_str("\n## What else looks like it\n\n");
    for it in &rule.falsepositives {
        writeln!(page, "* {it}").unwrap();
    }
    page.push_str("\n## Read on\n\n");
    for it in &rule.references {
        writeln!(page, "* <{it}>").unwrap();
    }
    page
}

fn index(rules: &RuleSet, telling: &[(Subject, &Rule)], behaviours: &[Behaviour]) -> String {
    let mut page = format!(
        "# The shipped rules\n\n\
         {} rules, by chapter, by technique of ATT&CK, by safeguard of the HIPAA Security Rule (45 CFR 164), and by behaviour. How\n\
         profiles and lists work is in [rules.md](../rules.md); how well they find is in [quality.md](quality.md). `tests/catalogue.rs`\n\
         makes these pages with `UPDATE_PAGES=1 cargo test --test catalogue`.\n\n## By chapter\n",
        telling.len()
    );
    let mut chapter = String::new();
    let mut sorted: Vec<&(Subject, &Rule)> = telling.iter().collect();
    sorted.sort_by_key(|(_, it)| name(it));
    for (_, rule) in sorted {
        let name = name(rule);
        let of = name.split('/').next().unwrap();
        if of != chapter {
            of.clone_into(&mut chapter);
            let head = "| rule | level | profile | audit level |\n| --- | --- | --- | --- |";
            writeln!(page, "\n### {chapter}\n\n{head}").unwrap();
        }
        let level = stated(rules, rule).as_str();
        let profile = profile(rule);
        writeln!(page, "| [{}]({name}.md) | {} | {profile} | {level} |", rule.title, rule.level)
            .unwrap();
    }
    let links: BTreeMap<&str, String> = telling.iter().map(|(_, it)| (&*it.id, name(it))).collect();
    let link = |by: &By| format!("[{}]({}.md)", by.title, links[by.id.as_str()]);
    let covered = coverage(telling.iter().map(|(_, it)| *it));
    for (title, rows) in [("By technique", &covered.techniques), ("By safeguard", &covered.hipaa)] {
        writeln!(page, "\n## {title}\n\n| | rules |\n| --- | --- |").unwrap();
        rows.iter().for_each(|it| writeln!(page, "{}", covered_row(it, &link)).unwrap());
    }
    page.push_str("\n## By behaviour\n\n| no. | behaviour | found by |\n| --- | --- | --- |\n");
    for it in behaviours {
        writeln!(page, "| {} | {} | {} |", it.number, it.behaviour, it.found_by(link)).unwrap();
    }
    page
}

fn covered_row(covered: &Covered, link: &dyn Fn(&By) -> String) -> String {
    let rules = covered.rules.iter().map(link).collect::<Vec<_>>().join("; ");
    format!("| {} | {rules} |", format!("{} {}", covered.id, covered.name).trim_end())
}
