//! The decision tree over a rule set.
//!
//! A branch asks for the words an event has under one key. It has one way on for each word that
//! rules demand there, and one for the rules that demand none; an event takes the ways of all its
//! words and the last one. So rules that demand other words cost nothing, however many they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use super::alike::Features;
use super::demand::{self, Demands};
use super::key::{Key, Lexicon, Memory, Source};
use super::share::{self, share};
use super::word::Word;
use crate::rules::access::Access;
use crate::rules::compile::Node;
use crate::rules::scratch::Context;
use crate::rules::text::lower;

/// A rule with many words under several keys stands in the tree many times; where it would stand
/// in more places than this, the branch does not ask it.
const PLACES_MAX: u32 = 1_024;

/// A branch must save at least this part of what its rules would cost.
const GAIN_MIN: f64 = 0.1;

/// The identity of the next tree. None has 0, which is that of no tree.
static IDENTITY: AtomicU64 = AtomicU64::new(1);

/// The tree.
#[derive(Debug, Default)]
pub(in crate::rules) struct Prefilter {
    /// Tells this tree from every other in the process: what a worker remembers is of one tree.
    identity: u64,
    rules: u32,
    lexicons: Vec<Lexicon>,
    /// By lexicon: the words of an event follow from its features.
    settled: Vec<bool>,
    features: Features,
    branches: Vec<Branch>,
    top: u32,
}

#[derive(Debug)]
enum Branch {
    /// Rules to be tried.
    Rules(Box<[u32]>),
    Split {
        lexicon: u32,
        /// The way on for each word, sorted by word.
        ways: Box<[(u32, u32)]>,
        /// The way of rules that do not ask.
        other: Option<u32>,
    },
}

impl Prefilter {
    pub(in crate::rules) fn new(nodes: &[Node]) -> Prefilter {
        let rules = (0..).zip(nodes);
        let mut filed: Vec<(u32, Demands<'_>)> = Vec::new();
        for (rule, node) in rules {
            for demands in demand::of(node) {
                filed.extend(exception(&demands).map(|it| (rule, it)));
                filed.push((rule, demands));
            }
        }
        let mut words: BTreeMap<Key, BTreeSet<Word>> = BTreeMap::new();
        for (key, more) in filed.iter().flat_map(|(_, it)| &it.clauses) {
            words.entry(*key).or_default().extend(more.iter().cloned());
        }
        let identity = IDENTITY.fetch_add(1, Ordering::Relaxed);
        let ways: BTreeMap<u32, &Access> =
            filed.iter().flat_map(|(_, it)| it.ways.clone()).collect();
        let mut tree = Prefilter { identity, rules: length(nodes), ..Prefilter::default() };
        let mut shelves = Vec::new();
        for (key, words) in words {
            let words: Vec<Word> = words.into_iter().collect();
            // Literals too many for an automaton are not asked for; the rules are tried instead.
            if let Ok(lexicon) = Lexicon::new(key, &words, way(key, &ways)) {
                let shares = words.iter().map(|it| share(key, it)).collect();
                let settled = tree.features.add(key, lexicon.looks_inside());
                let cost = if settled { share::SETTLED } else { share::cost(key) };
                tree.settled.push(settled);
                tree.lexicons.push(lexicon);
                shelves.push(Shelf { key, words, shares, cost });
            }
        }
        let cost = |rule: u32| nodes.get(rule as usize).map_or(0, Node::cost);
        let entries: Vec<Entry> = filed
            .iter()
            .map(|it| Entry { cost: f64::from(cost(it.0)), ..Entry::new(it, &shelves) })
            .collect();
        let placed = entries.iter().map(|entry| Placed { entry, places: 1 }).collect();
        let mut asked = vec![false; shelves.len()];
        tree.top = tree.grow(placed, &shelves, &mut asked);
        tree
    }

    /// Tells it from every other tree in the process.
    pub(in crate::rules) fn identity(&self) -> u64 {
        self.identity
    }

    /// Fills the memory with the rules that could match, in their order, each once.
    pub(in crate::rules) fn candidates(&self, context: &Context<'_, '_>, memory: &mut Memory) {
        memory.begin(self.identity, self.lexicons.len());
        // Of what is no audit event the same names may mean other places.
        if !context.audit {
            memory.candidates.extend(0..self.rules);
            return;
        }
        let (place, known) = memory.alike.find(&self.features, context.event);
        if !known {
            self.settle(context, memory);
            let (rules, open) = (&*memory.candidates, &*memory.unsettled);
            memory.alike.note(place, (&self.features, context.event), (rules, open));
            memory.open.append(&mut memory.unsettled);
        } else {
            memory.alike.recall(place, &mut memory.candidates, &mut memory.open);
        }
        while let Some(at) = memory.open.pop() {
            self.pass(at, context, memory);
        }
        if memory.candidates.len() > 1 {
            memory.candidates.sort_unstable();
            memory.candidates.dedup();
        }
    }

    /// Walks as far as the event's features lead; the branches where they do not suffice are left.
    fn settle(&self, context: &Context<'_, '_>, memory: &mut Memory) {
        memory.open.push(self.top);
        while let Some(at) = memory.open.pop() {
            let settled = match self.branches.get(at as usize) {
                Some(Branch::Split { lexicon, .. }) => {
                    self.settled.get(*lexicon as usize) == Some(&true)
                }
                _ => true,
            };
            if settled {
                self.pass(at, context, memory);
            } else {
                memory.unsettled.push(at);
            }
        }
    }

    /// Passes one branch: takes its rules, or opens the ways on.
    fn pass(&self, at: u32, context: &Context<'_, '_>, memory: &mut Memory) {
        match self.branches.get(at as usize) {
            None => {}
            Some(Branch::Rules(rules)) => memory.candidates.extend_from_slice(rules),
            Some(Branch::Split { lexicon, ways, other }) => {
                memory.open.extend(*other);
                let Some(words) = self.lexicons.get(*lexicon as usize) else { return };
                for at in memory.words(*lexicon, words, context) {
                    let word = memory.word(at);
                    let way = word.and_then(|it| ways.binary_search_by_key(&it, |way| way.0).ok());
                    if let Some((_, way)) = way.and_then(|it| ways.get(it)) {
                        memory.open.push(*way);
                    }
                }
            }
        }
    }

    /// Adds a branch for these rules and gives its place.
    fn grow(&mut self, placed: Vec<Placed<'_>>, shelves: &[Shelf], asked: &mut Vec<bool>) -> u32 {
        let Some(shelf) = best(&placed, shelves, asked) else {
            let mut rules: Vec<u32> = placed.iter().map(|it| it.entry.rule).collect();
            rules.sort_unstable();
            rules.dedup();
            return self.add(Branch::Rules(rules.into()));
        };
        let mut sorted: BTreeMap<u32, Vec<Placed<'_>>> = BTreeMap::new();
        let mut others = Vec::new();
        for it in placed {
            match it.words(shelf) {
                None => others.push(it),
                Some(words) => {
                    let places = it.places * length(words);
                    for word in words {
                        sorted.entry(*word).or_default().push(Placed { places, ..it });
                    }
                }
            }
        }
        set(asked, shelf, true);
        let ways: Vec<(u32, u32)> = sorted
            .into_iter()
            .map(|(word, placed)| (word, self.grow(placed, shelves, asked)))
            .collect();
        let other = (!others.is_empty()).then(|| self.grow(others, shelves, asked));
        set(asked, shelf, false);
        let lexicon = u32::try_from(shelf).unwrap_or(u32::MAX);
        self.add(Branch::Split { lexicon, ways: ways.into(), other })
    }

    fn add(&mut self, branch: Branch) -> u32 {
        let place = length(&self.branches);
        self.branches.push(branch);
        place
    }
}

fn way(key: Key, ways: &BTreeMap<u32, &Access>) -> Option<Access> {
    match key {
        Key::Values(Source::Path(field)) | Key::Literals(Source::Path(field)) => {
            ways.get(&field).map(|it| (*it).clone())
        }
        _ => None,
    }
}

/// What an event with a key that the clauses rely on being absent has.
fn exception<'n>(demands: &Demands<'n>) -> Option<Demands<'n>> {
    let name = |it: &String| Word::Text(lower(it).into_owned());
    let names: BTreeSet<Word> = demands.unless.iter().map(name).collect();
    let clauses = BTreeMap::from([(Key::Top, names)]);
    let relies = !demands.unless.is_empty() && !demands.clauses.is_empty();
    relies.then(|| Demands { clauses, ..Demands::default() })
}

/// The words under one key while the tree grows.
struct Shelf {
    key: Key,
    words: Vec<Word>,
    shares: Vec<f64>,
    /// What asking costs, in nanoseconds.
    cost: f64,
}

/// One alternative of a rule.
struct Entry {
    rule: u32,
    /// What trying the rule costs.
    cost: f64,
    /// Per shelf the words it demands; none: it does not ask.
    clauses: Vec<Vec<u32>>,
}

/// An entry on its way down the tree.
#[derive(Clone, Copy)]
struct Placed<'e> {
    entry: &'e Entry,
    /// In how many places it stands by the branches passed.
    places: u32,
}

impl Entry {
    fn new((rule, demands): &(u32, Demands<'_>), shelves: &[Shelf]) -> Entry {
        let numbers = |shelf: &Shelf| -> Vec<u32> {
            let words = demands.clauses.get(&shelf.key).into_iter().flatten();
            let place = |word: &Word| shelf.words.binary_search(word).ok();
            words.filter_map(place).filter_map(|it| u32::try_from(it).ok()).collect()
        };
        Entry { rule: *rule, cost: 0.0, clauses: shelves.iter().map(numbers).collect() }
    }
}

impl<'e> Placed<'e> {
    /// The words it demands of a shelf, unless there are too many to stand under each.
    fn words(&self, shelf: usize) -> Option<&'e [u32]> {
        let words = self.entry.clauses.get(shelf).filter(|it| !it.is_empty())?;
        let places = self.places.saturating_mul(length(words));
        (places <= PLACES_MAX || words.len() == 1).then_some(words)
    }
}

/// The shelf to ask next, when asking any pays.
fn best(placed: &[Placed<'_>], shelves: &[Shelf], asked: &[bool]) -> Option<usize> {
    let tried: f64 = placed.iter().map(|it| it.entry.cost).sum();
    let cost = |(at, shelf): (usize, &Shelf)| {
        let reached: f64 = placed
            .iter()
            .map(|it| {
                let part = it.words(at).map_or(1.0, |words| {
                    let share = |word: &u32| shelf.shares.get(*word as usize).copied();
                    words.iter().filter_map(share).sum::<f64>().min(1.0)
                });
                part * it.entry.cost
            })
            .sum();
        (at, shelf.cost + reached)
    };
    let open = shelves.iter().enumerate().filter(|(at, _)| asked.get(*at) == Some(&false));
    let best = open.map(cost).min_by(|left, right| left.1.total_cmp(&right.1));
    best.filter(|it| it.1 < tried * (1.0 - GAIN_MIN)).map(|it| it.0)
}

fn set(asked: &mut [bool], at: usize, value: bool) {
    if let Some(slot) = asked.get_mut(at) {
        *slot = value;
    }
}

fn length<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
