//! The disk of the archive is full: the program waits, loses nothing and goes on, or ends and goes on at its next start.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop"
)]

mod common;

use std::collections::BTreeMap;

use common::daemon::{Site, until};
use common::disk::{Disk, stalled};
use common::{Lines, count, lines, sample, stored, uncompressed};

/// A log that is followed with one rule.
fn site() -> Site {
    let site = Site::new("");
    site.rule("r.yml", "title: T\nid: r\ndetection:\n  sel:\n    verb: none\n  condition: sel\n");
    site
}

/// Lines of the sample, each made another one by a number.
fn log(number: usize) -> String {
    let text = String::from_utf8(uncompressed(&sample())).unwrap();
    text.replace("\"auditID\":\"", &format!("\"auditID\":\"{number}-"))
}

fn all(texts: &[String]) -> Lines {
    let mut found = BTreeMap::new();
    texts.iter().for_each(|it| lines(it.as_bytes()).for_each(|line| count(&mut found, line)));
    found
}

fn kept(site: &Site) -> Lines {
    let mut found = BTreeMap::new();
    stored(&site.archive(), "c").iter().for_each(|it| count(&mut found, it));
    found
}

#[test]
fn a_log_is_read_on_when_there_is_room_again_and_every_line_is_kept_once() {
    let site = site();
    let Some(disk) = Disk::mount(&site.archive(), "8m") else { return };
    let texts: Vec<String> = (0..3).map(log).collect();
    site.append(&texts[0]);
    let daemon = site.start();
    until(|| (kept(&site) == all(&texts[..1])).then_some(()));
    disk.fill();
    site.append(&texts[1]);
    until(|| stalled(&daemon).then_some(()));
    let (code, ready) = daemon.ask("GET", "/readyz");
    assert!(code == 503 && ready.contains("archive"), "{ready}");
    site.append(&texts[2]);
    disk.clear();
    until(|| (!stalled(&daemon)).then_some(()));
    until(|| (kept(&site) == all(&texts)).then_some(()));
    let rules: Vec<String> = site.findings().into_iter().map(|it| it.rule).collect();
    for rule in ["kustos-archive-stalled", "kustos-archive-resumed"] {
        until(|| site.findings().into_iter().find(|it| it.rule == rule));
        assert!(rules.iter().filter(|it| *it == rule).count() <= 1, "{rules:?}");
    }
    daemon.end();
    assert_eq!(kept(&site), all(&texts));
}

#[test]
fn a_program_that_is_stopped_on_a_full_disk_says_so_and_goes_on_at_the_next_start() {
    let site = site();
    let Some(disk) = Disk::mount(&site.archive(), "8m") else { return };
    let texts: Vec<String> = (0..2).map(log).collect();
    site.append(&texts[0]);
    let daemon = site.start();
    until(|| (kept(&site) == all(&texts[..1])).then_some(()));
    disk.fill();
    site.append(&texts[1]);
    until(|| stalled(&daemon).then_some(()));
    assert!(!daemon.end_any(), "what was read is not committed");
    disk.clear();
    let daemon = site.start();
    until(|| (kept(&site) == all(&texts)).then_some(()));
    daemon.end();
}

#[test]
fn a_program_that_is_killed_and_started_on_a_full_disk_waits_there_as_well() {
    let site = site();
    let Some(disk) = Disk::mount(&site.archive(), "8m") else { return };
    let texts: Vec<String> = (0..2).map(log).collect();
    site.append(&texts[0]);
    let daemon = site.start();
    until(|| (kept(&site) == all(&texts[..1])).then_some(()));
    disk.fill();
    site.append(&texts[1]);
    until(|| stalled(&daemon).then_some(()));
    daemon.kill();
    let daemon = site.start();
    until(|| stalled(&daemon).then_some(()));
    disk.clear();
    until(|| (kept(&site) == all(&texts)).then_some(()));
    daemon.end();
    assert_eq!(kept(&site), all(&texts));
}
