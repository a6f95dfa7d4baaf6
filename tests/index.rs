//! Genuine events, the shipped rules and public ones: the index finds what trying every rule finds.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

mod common;

use kustos::decode;
use kustos::rules::{LoadOptions, Profile, RuleSet, Scratch, load};

/// Of a large log every seventh line is judged: trying every rule is slow.
const STEP: usize = 7;

/// Gives how many matches there were: agreement over none proves nothing.
fn agree(rules: &RuleSet, log: &[u8], step: usize) -> usize {
    let (mut scratch, mut found, mut all) = (Scratch::default(), Vec::new(), Vec::new());
    let mut matched = 0;
    for line in common::lines(log).step_by(step) {
        let Ok(event) = decode::line(line) else { continue };
        rules.matches(&event, &mut scratch, &mut found);
        rules.matches_unindexed(&event, &mut scratch, &mut all);
        assert_eq!(found, all, "{}", String::from_utf8_lossy(line));
        matched += found.len();
    }
    matched
}

fn options() -> LoadOptions {
    LoadOptions { shipped: Some(Profile::Paranoid), lenient: true, ..LoadOptions::default() }
}

#[test]
fn the_sample_has_the_same_matches_with_the_index_and_without() {
    let rules = load(&[], &options()).unwrap().rules;
    assert!(agree(&rules, &common::uncompressed(&common::sample()), 1) > 0);
}

#[test]
fn genuine_logs_have_the_same_matches_with_the_index_and_without() {
    let (Some(corpus), Some(packs)) = (common::corpus(), common::shared("conformance/packs"))
    else {
        return;
    };
    let rules = load(&[packs], &options()).unwrap().rules;
    let mut matched = 0;
    for folder in std::fs::read_dir(corpus.join("logs")).unwrap() {
        let folder = folder.unwrap().path();
        if let Some(log) = common::files(&folder, &["zst", "gz", "log"]).first() {
            matched += agree(&rules, &common::uncompressed(log), STEP);
        }
    }
    assert!(matched > 0);
}
