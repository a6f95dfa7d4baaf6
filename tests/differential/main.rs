//! Random rules over random events, here and in `rsigma-eval`: both must answer alike, or the
//! difference is a known one, with a name and a reason.
//!
//! Everything follows from a seed. `KUSTOS_DIFFERENTIAL_SEED` is another one, and
//! `KUSTOS_DIFFERENTIAL_PAIRS` is how many pairs of a rule and an event are judged.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "a test that cannot go on should stop, and tells what it did"
)]

mod event;
mod known;
mod random;
mod rule;
mod words;

use std::collections::BTreeMap;

use kustos::decode;
use kustos::rules::{LoadOptions, RuleSet, Scratch, load_text};
use rsigma_eval::{Engine, JsonEvent};
use rsigma_parser::parse_sigma_yaml;
use serde_json::Value;

use crate::random::Random;
use crate::rule::Rule;

/// Pairs that are judged unless more are asked for.
const PAIRS: usize = 120_000;

/// Events that each rule is judged over.
const EVENTS: usize = 60;

/// One pair of so many is asked whether a known difference could show in it.
const SAMPLED: usize = 16;

/// Differences that are shown before the test stops.
const SHOWN: usize = 5;

#[test]
fn both_engines_answer_alike() {
    let seed = asked("KUSTOS_DIFFERENTIAL_SEED").unwrap_or(1);
    let pairs = asked("KUSTOS_DIFFERENTIAL_PAIRS").map_or(PAIRS, |it| usize::try_from(it).unwrap());
    let mut tally = Tally::default();
    for round in 0..pairs.div_ceil(EVENTS) as u64 {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(round);
        let mut random = Random::new(seed);
        let audit = random.percent(50);
        let rule = rule::rule(&mut random, audit);
        match Both::new(&rule) {
            Ok(both) => (0..EVENTS).for_each(|_| {
                let event = event::event(&mut random, audit);
                both.judge(&rule, &event, seed, &mut tally);
            }),
            Err(why) => tally.unexplained.push(format!("seed {seed}: {why}\n{}", rule.text)),
        }
        if tally.unexplained.len() >= SHOWN {
            break;
        }
    }
    println!("{} pairs, {} of them matches", tally.pairs, tally.matches);
    let sampled = tally.pairs.div_ceil(SAMPLED);
    println!("of {sampled} pairs, no difference is expected in {}", tally.open);
    println!("{:?}", tally.masks);
    for (name, count) in &tally.explained {
        println!("{count:>8} differ by: {name}");
    }
    assert!(tally.unexplained.is_empty(), "seed {seed}\n{}", tally.unexplained.join("\n\n"));
    assert!(tally.matches * 10 > tally.pairs, "rules and events hardly meet");
    assert!(tally.open * 2 > sampled, "the known differences hide too much");
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().unwrap())
}

#[derive(Default)]
struct Tally {
    pairs: usize,
    matches: usize,
    /// Of every so many pairs, those in which no known difference could hide an unknown one.
    open: usize,
    masks: BTreeMap<&'static str, usize>,
    explained: BTreeMap<&'static str, usize>,
    unexplained: Vec<String>,
}

/// One rule in both engines.
struct Both {
    ours: RuleSet,
    theirs: Engine,
}

impl Both {
    fn new(rule: &Rule) -> Result<Both, String> {
        let ours = load_text([("r.yml", &*rule.text)], &LoadOptions::default());
        let ours = ours.map_err(|error| format!("refused here: {error}"))?.rules;
        let parsed = parse_sigma_yaml(&rule.text).map_err(|error| error.to_string())?;
        let mut theirs = Engine::new();
        theirs.add_collection(&parsed).map_err(|error| format!("refused there: {error}"))?;
        if theirs.rule_count() == 1 {
            return Ok(Both { ours, theirs });
        }
        Err(format!("refused there: {:?}", parsed.errors))
    }

    fn judge(&self, rule: &Rule, event: &Value, seed: u64, tally: &mut Tally) {
        let line = event.to_string();
        let decoded = decode::line(line.as_bytes()).unwrap();
        let mut found = Vec::new();
        self.ours.matches(&decoded, &mut Scratch::default(), &mut found);
        let ours = !found.is_empty();
        let theirs = !self.theirs.evaluate(&JsonEvent::borrow(event)).is_empty();
        if tally.pairs.is_multiple_of(SAMPLED) {
            let name = known::explained(rule, event);
            tally.open += usize::from(name.is_none());
            *tally.masks.entry(name.unwrap_or_default()).or_default() += 1;
        }
        tally.pairs += 1;
        tally.matches += usize::from(ours);
        if ours == theirs {
            return;
        }
        match known::explained(rule, event) {
            Some(name) => *tally.explained.entry(name).or_default() += 1,
            None => tally
                .unexplained
                .push(format!("seed {seed}: here {ours}, there {theirs}\n{}\n{line}", rule.text)),
        }
    }
}

#[test]
fn every_known_difference_has_a_row_in_the_documentation() {
    let text = std::fs::read_to_string("docs/sigma.md").unwrap();
    for name in known::names() {
        assert!(text.contains(&format!("<!-- {name} -->")), "docs/sigma.md does not tell: {name}");
    }
}
