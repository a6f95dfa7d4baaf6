//! Rules are exchanged while the real program runs, and findings can be made again from the rules in the archive.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop"
)]

use std::fs;
use std::os::unix::fs::symlink;

mod common;

use common::daemon::{Site, until};
use kustos::archive::catalog::{Catalog, Scope};
use kustos::archive::{read, rulesets};
use kustos::decode;
use kustos::detect::{Finding, Origin, scan};
use kustos::rules::{Scratch, load_kept};

/// A rule that finds requests with that verb.
fn rule(id: &str, verb: &str) -> String {
    format!("title: T\nid: {id}\ndetection:\n  sel:\n    verb: {verb}\n  condition: sel\n")
}

/// An event with that verb.
fn event(id: u32, verb: &str) -> String {
    format!(
        "{{\"kind\":\"Event\",\"auditID\":\"{id}\",\"stage\":\"ResponseComplete\",\"verb\":\"{verb}\",\
         \"stageTimestamp\":\"2026-11-23T03:00:00.{id:06}Z\"}}\n"
    )
}

fn of_rule(site: &Site, count: usize) -> Vec<String> {
    site.wait_for(count).into_iter().map(|it| it.rule).collect()
}

#[test]
fn a_rule_file_that_changes_judges_the_next_event_and_a_broken_one_changes_nothing() {
    let site = Site::new("");
    site.rule("a.yml", &rule("first", "get"));
    let daemon = site.start();
    site.append(&event(1, "get"));
    assert_eq!(of_rule(&site, 1), ["first"]);

    site.rule("a.yml", &rule("second", "list"));
    let told = daemon.logged("the rules were loaded again: reloaded");
    let second = told["fields"]["ruleset"].as_str().unwrap().to_owned();
    site.append(&(event(2, "get") + &event(3, "list")));
    assert_eq!(of_rule(&site, 2), ["first", "second"]);
    let found: Finding = serde_json::from_str(&site.findings()[1].body).unwrap();
    assert_eq!(found.ruleset, second);

    site.rule("b.yml", &rule("third", "watch").replace("verb:", "verb|re2:"));
    let error = daemon.logged("unknown modifier 're2'").to_string();
    assert!(error.contains("b.yml: rule") && error.contains("line 5"), "{error}");
    daemon.logged("those before them stay in force");
    site.append(&(event(4, "watch") + &event(5, "list")));
    assert_eq!(of_rule(&site, 3), ["first", "second", "second"]);
    let reloads = |outcome: &str| {
        let sample = format!("kustos_rules_reloads_total{{outcome=\"{outcome}\"}}");
        daemon.metric(&sample).unwrap_or_default()
    };
    assert_eq!((reloads("reloaded"), reloads("failed")), ("1".to_owned(), "1".to_owned()));
    assert_eq!(daemon.metric("kustos_rules_stale").as_deref(), Some("1"));
    assert!(daemon.metric(&format!("kustos_ruleset_info{{sha256=\"{second}\"}}")).is_some());
    let (_, status) = daemon.json("GET", "/api/v1/status");
    assert_eq!(status["rules"]["ruleset"], second);
    assert_eq!(status["rules"]["last_reload"]["outcome"], "failed");
    assert!(status["rules"]["last_reload"]["errors"][0].as_str().unwrap().contains("b.yml"));
    assert_eq!(daemon.ask("GET", "/readyz").0, 200);

    site.rule("b.yml", &rule("third", "watch"));
    daemon.logged("the rules were loaded again: reloaded");
    assert_eq!(daemon.metric("kustos_rules_stale").as_deref(), Some("0"));
    assert_eq!(daemon.metric("kustos_rules_loaded").as_deref(), Some("2"));
    daemon.end();
}

#[test]
fn a_signal_and_http_load_the_rules_again_when_files_are_not_watched() {
    let site = Site::new("reload: { watch: false }");
    site.rule("a.yml", &rule("first", "get"));
    let daemon = site.start();
    site.rule("a.yml", &rule("second", "get"));
    let (code, told) = daemon.json("POST", "/api/v1/reload");
    assert_eq!((code, &told["outcome"], &told["rules"]), (200, &"reloaded".into(), &1.into()));
    assert_eq!(told["ruleset"].as_str().unwrap().len(), 64);
    assert_eq!(daemon.json("POST", "/api/v1/reload").1["outcome"], "unchanged");

    fs::remove_file(site.path("rules/a.yml")).unwrap();
    let (code, told) = daemon.json("POST", "/api/v1/reload");
    assert_eq!((code, &told["outcome"]), (422, &"failed".into()));
    assert!(told["errors"][0].as_str().unwrap().starts_with("no rule was found in"), "{told}");

    site.rule("a.yml", &rule("third", "get"));
    daemon.signal("-HUP");
    daemon.logged("\"trigger\":\"signal\"");
    site.append(&event(1, "get"));
    assert_eq!(of_rule(&site, 1), ["third"]);
    daemon.end();
}

#[test]
fn a_config_map_that_is_exchanged_is_noticed() {
    let site = Site::new("");
    let rules = site.path("rules");
    for (version, text) in [("..1", rule("first", "get")), ("..2", rule("second", "get"))] {
        fs::create_dir(rules.join(version)).unwrap();
        fs::write(rules.join(version).join("r.yml"), text).unwrap();
    }
    symlink("..1", rules.join("..data")).unwrap();
    symlink("..data/r.yml", rules.join("r.yml")).unwrap();
    let daemon = site.start();
    symlink("..2", rules.join("..data_tmp")).unwrap();
    fs::rename(rules.join("..data_tmp"), rules.join("..data")).unwrap();
    daemon.logged("the rules were loaded again: reloaded");
    site.append(&event(1, "get"));
    assert_eq!(of_rule(&site, 1), ["second"]);
    daemon.end();
}

#[test]
fn a_finding_is_made_again_from_the_rule_set_in_the_archive() {
    let site = Site::new("");
    site.rule("a.yml", &rule("first", "get"));
    let daemon = site.start();
    site.append(&event(1, "get"));
    site.wait_for(1);
    site.rule("a.yml", &rule("second", "get"));
    daemon.logged("the rules were loaded again: reloaded");
    site.append(&event(2, "get"));
    site.wait_for(2);
    until(|| (events(&site).len() == 2).then_some(()));
    daemon.end();
    let mut sets = Vec::new();
    for row in site.findings() {
        let found: Finding = serde_json::from_str(&row.body).unwrap();
        let texts = rulesets::texts(&site.archive(), &found.ruleset).unwrap();
        let texts = texts.iter().map(|(name, text)| (&**name, &**text));
        let rules = load_kept(texts).unwrap().rules;
        assert_eq!(rules.hash(), found.ruleset);
        let mut again = Vec::new();
        for line in events(&site) {
            let event = decode::line(&line).unwrap();
            let origin = Origin { cluster: &found.cluster, source: "archive", position: 0 };
            scan(&event, &rules, &mut Scratch::default(), &origin, &mut again);
        }
        let again = again.into_iter().find(|it| it.id == found.id).unwrap();
        assert_eq!((again.rule, again.ruleset), (found.rule, found.ruleset.clone()));
        sets.push(found.ruleset);
    }
    assert_ne!(sets[0], sets[1]);
}

/// Every line that is kept.
fn events(site: &Site) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for file in Catalog::open(&site.archive()).unwrap().files(&Scope::default()).unwrap() {
        read::lines(&file.path, |line| found.push(line.bytes.to_vec())).unwrap();
    }
    found
}
