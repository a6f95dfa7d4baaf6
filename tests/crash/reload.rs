//! Rules are loaded again by a daemon of which each durable step of that goes wrong: what is in force is the old set
//! or the new one, and whatever judged an event can be read back from the archive.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kustos::archive::catalog::Catalog;
use kustos::archive::rulesets;
use kustos::detect::Finding;
use kustos::rules::load_kept;

use super::common::daemon::{Daemon, Site};
use super::{cases, ends, faults_are_built_in, files_below, steps_of, try_all};

fn rule(id: &str) -> String {
    format!("title: T\nid: {id}\nlevel: high\ndetection: {{ s: {{ verb: get }}, condition: s }}\n")
}

fn event(id: u32) -> String {
    format!(
        "{{\"kind\":\"Event\",\"auditID\":\"{id}\",\"stage\":\"ResponseComplete\",\"verb\":\"get\",\
         \"stageTimestamp\":\"2026-11-23T03:00:00.{id:06}Z\"}}\n"
    )
}

/// A daemon that has never read anything: nothing but a reload has it take a step after its start.
struct Quiet {
    site: Site,
    log: PathBuf,
}

impl Quiet {
    /// An archive that knows the first rules, so that a start takes no step for them.
    fn new() -> Quiet {
        let site = Site::new("reload: { watch: false }");
        site.rule("a.yml", &rule("first"));
        site.start().end();
        let log = site.path("steps");
        Quiet { site, log }
    }

    fn start(&self, fault: &str) -> Daemon {
        let log = self.log.as_os_str();
        self.site.start_with(&[("KUSTOS_FAULT", fault.as_ref()), ("KUSTOS_FAULT_LOG", log)])
    }

    /// Has an event judged; gives by which rule.
    fn judged(&self, id: u32) -> String {
        let before = self.site.findings().len();
        self.site.append(&event(id));
        self.site.wait_for(before + 1)[before].rule.clone()
    }

    /// Asserts that every set that judged an event is kept whole, and nothing is left over.
    fn assert_kept(&self) {
        let archive = self.site.archive();
        let found = Catalog::open(&archive).unwrap().findings(u64::MAX).unwrap();
        let judges: BTreeSet<String> = found
            .iter()
            .map(|it| serde_json::from_str::<Finding>(&it.body).unwrap().ruleset)
            .collect();
        for hash in judges {
            let texts = rulesets::texts(&archive, &hash).unwrap();
            let texts = texts.iter().map(|(name, text)| (&**name, &**text));
            assert_eq!(load_kept(texts).unwrap().rules.hash(), hash);
        }
        let torn = |it: &PathBuf| it.extension().is_some_and(|it| it == "tmp");
        let left: Vec<PathBuf> = files_below(&archive).into_iter().filter(torn).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// How many steps a start takes, and the names of those that a reload adds.
fn record() -> (usize, Vec<String>) {
    let quiet = Quiet::new();
    let daemon = quiet.start("");
    let start = steps_of(&quiet.log).len();
    quiet.site.rule("a.yml", &rule("second"));
    assert_eq!(daemon.json("POST", "/api/v1/reload").1["outcome"], "reloaded");
    let steps = steps_of(&quiet.log).split_off(start);
    daemon.end();
    (start, steps)
}

#[test]
fn every_durable_step_of_a_reload_may_fail_be_misreported_or_be_the_last() {
    if !faults_are_built_in() {
        return;
    }
    let (start, steps) = record();
    assert!(steps.contains(&"a file is renamed".to_owned()), "{steps:?}");
    println!("{start} steps before, {} of a reload", steps.len());
    try_all(cases(&steps, 1..=steps.len()), |step, fault| {
        let said = format!("{}:{fault}", start + step);
        let quiet = Quiet::new();
        let daemon = quiet.start(&said);
        quiet.site.rule("a.yml", &rule("second"));
        if ends(fault) {
            assert!(daemon.dies_over("POST", "/api/v1/reload"), "{said}");
            // Who meant the old rules after all must not find half of the new ones for ever.
            quiet.site.rule("a.yml", &rule("first"));
            let daemon = quiet.site.start();
            assert_eq!(quiet.judged(1), "first", "{said}");
            daemon.end();
        } else {
            let (code, told) = daemon.json("POST", "/api/v1/reload");
            assert_eq!((code, &told["outcome"]), (500, &"failed".into()), "{said}");
            assert_eq!(quiet.judged(1), "first", "{said}");
            assert_eq!(daemon.json("POST", "/api/v1/reload").1["outcome"], "reloaded", "{said}");
            assert_eq!(quiet.judged(2), "second", "{said}");
            daemon.end();
        }
        println!("{said} {}", steps[step - 1]);
        quiet.assert_kept();
    });
}
