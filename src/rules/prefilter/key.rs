//! The keys rules are sorted by, and the words one event has under them.

use aho_corasick::BuildError;

use super::alike::Alike;
use super::recent::Recent;
use super::word::Word;
use crate::event::{Field, short_run};
use crate::rules::access::{Access, Scope};
use crate::rules::derived::Derived;
use crate::rules::ir::Place;
use crate::rules::literals::Literals;
use crate::rules::scratch::Context;
use crate::rules::table::Table;
use crate::rules::value::{Leaf, View};

/// What a decision can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// The keys of the event itself that no audit event has.
    Top,
    /// The values of a field, each as a whole.
    Values(Source),
    /// Texts within the values of a field.
    Literals(Source),
}

/// A field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Field(Field),
    Derived(Derived),
    /// The field at paths that has this number in the rule set.
    Path(u32),
}

/// The words that rules ask for under one key, by number.
#[derive(Debug)]
pub(super) struct Lexicon {
    key: Key,
    /// The way to the values of [`Source::Path`].
    way: Option<Access>,
    absent: Option<u32>,
    present: Option<u32>,
    numbers: Vec<(u64, u32)>,
    texts: Table,
    literals: Option<Literals>,
}

impl Lexicon {
    /// `words` are sorted; a word's number is its place. The error is for more literals than an
    /// automaton can hold.
    pub(super) fn new(
        key: Key,
        words: &[Word],
        way: Option<Access>,
    ) -> Result<Lexicon, BuildError> {
        let numbered: Vec<(Word, u32)> = words.iter().cloned().zip(0..).collect();
        let number = |word: &Word| numbered.iter().find(|it| it.0 == *word).map(|it| it.1);
        let numbers = numbered.iter().filter_map(|(word, number)| match word {
            Word::Number(bits) => Some((*bits, *number)),
            _ => None,
        });
        let literal = matches!(key, Key::Literals(_));
        let texts = numbered.iter().filter_map(|(word, number)| match word {
            Word::Text(text) if !literal => Some((text.as_str().into(), *number)),
            _ => None,
        });
        Ok(Lexicon {
            key,
            way,
            absent: number(&Word::Absent),
            present: number(&Word::Present),
            numbers: numbers.collect(),
            texts: Table::new(texts.collect()),
            literals: if literal { literals(&numbered)? } else { None },
        })
    }

    /// Adds the words that the event has, some perhaps twice.
    fn words(&self, context: &Context<'_, '_>, found: &mut Vec<u32>) {
        let source = match self.key {
            Key::Top => {
                context.each_extra_key(&mut |key| self.leaf(&Leaf::Text(key), found));
                return;
            }
            Key::Values(source) | Key::Literals(source) => source,
        };
        let (mut there, mut null) = (false, false);
        match source {
            Source::Field(field) => {
                let value = context.event.json(field);
                there = value.is_some();
                // A field that is `null` is there for some tests, and missing for others.
                null = value == Some("null");
                match value.filter(|_| self.looks_inside()) {
                    None => {}
                    Some(json) => match plain(json) {
                        Some(text) => self.leaf(&Leaf::Text(text), found),
                        // `false` from the judge: every leaf is shown.
                        None => drop(View::Raw(json).any_leaf(&mut |leaf| {
                            self.leaf(leaf, found);
                            false
                        })),
                    },
                }
            }
            Source::Derived(derived) => {
                derived.visit(context, &mut |text| {
                    there = true;
                    self.leaf(&Leaf::Text(text), found);
                    false
                });
            }
            Source::Path(_) => {
                let scope = Scope { context, member: None };
                if let Some(way) = &self.way {
                    // `false` from the visitor: every value is shown.
                    way.visit(scope, &mut |view| {
                        there = true;
                        null |= view.is_null();
                        view.any_leaf(&mut |leaf| {
                            self.leaf(leaf, found);
                            false
                        })
                    });
                }
            }
        }
        push(self.present.filter(|_| there), found);
        push(self.absent.filter(|_| null || !there), found);
    }

    /// The value that alone decides what the words are, where it pays to remember them.
    fn repeating<'e>(&self, context: &Context<'_, 'e>) -> Option<&'e str> {
        match self.key {
            // Hardly any of these comes twice.
            Key::Literals(Source::Field(Field::RequestUri | Field::Name)) => None,
            Key::Literals(Source::Field(field)) => {
                let searched = self.literals.as_ref().is_some_and(Literals::searches);
                context.event.json(field).filter(|_| searched)
            }
            Key::Values(Source::Field(field @ (Field::UserGroups | Field::ImpersonatedGroups))) => {
                context.event.json(field)
            }
            _ => None,
        }
    }

    /// Whether any rule asks for more than that the field is there.
    pub(super) fn looks_inside(&self) -> bool {
        self.literals.is_some() || !self.numbers.is_empty() || !self.texts.is_empty()
    }

    fn leaf(&self, leaf: &Leaf<'_>, found: &mut Vec<u32>) {
        if let Some(text) = leaf.text() {
            if let Some(literals) = &self.literals {
                literals.find(text, &mut |word| found.push(word));
            } else {
                push(self.texts.find(text), found);
            }
        }
        if !self.numbers.is_empty()
            && let Some(number) = leaf.number()
        {
            let Word::Number(bits) = Word::number(number) else { return };
            let known = self.numbers.binary_search_by_key(&bits, |it| it.0).ok();
            push(known.and_then(|it| self.numbers.get(it)).map(|it| it.1), found);
        }
    }
}

/// `None`: none of the words is a text. The error is for more than an automaton can hold.
fn literals(words: &[(Word, u32)]) -> Result<Option<Literals>, BuildError> {
    let text = |(word, number): &'_ (Word, u32)| {
        let (place, text) = match word {
            Word::Contains(text) => (Place::Anywhere, text),
            Word::Starts(text) => (Place::Start, text),
            Word::Ends(text) => (Place::End, text),
            Word::Text(text) => (Place::Whole, text),
            Word::Absent | Word::Present | Word::Number(_) => return None,
        };
        Some((place, text.clone(), *number))
    };
    let texts: Vec<_> = words.iter().filter_map(text).collect();
    if texts.is_empty() { Ok(None) } else { Literals::new(texts).map(Some) }
}

/// Not `extend`, which the compiler makes a loop of.
fn push(word: Option<u32>, found: &mut Vec<u32>) {
    if let Some(word) = word {
        found.push(word);
    }
}

/// The content of a JSON string without escapes.
fn plain(json: &str) -> Option<&str> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    short_run(inner.as_bytes()).is_none().then_some(inner)
}

/// One worker's memory for the words of one event. Every field's are looked up once.
#[derive(Debug, Default)]
pub(in crate::rules) struct Memory {
    /// By the number of the lexicon; of another event when the stamp is not this one's.
    known: Vec<Known>,
    words: Vec<u32>,
    stamp: u64,
    /// By the number of the lexicon, for the rule set with this identity.
    recent: Vec<Recent>,
    identity: u64,
    /// For the same.
    pub(super) alike: Alike,
    /// Branches that are left by the walk along what repeats.
    pub(super) unsettled: Vec<u32>,
    /// Branches that are still to be visited.
    pub(super) open: Vec<u32>,
    /// The rules that could match.
    pub(super) candidates: Vec<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    stamp: u64,
    first: u32,
    end: u32,
}

impl Memory {
    /// The rules that could match, in their order.
    pub(in crate::rules) fn candidates(&self) -> impl Iterator<Item = u32> {
        self.candidates.iter().copied()
    }

    /// For the next event, judged by the rule set with this identity and so many lexicons.
    pub(super) fn begin(&mut self, identity: u64, lexicons: usize) {
        if self.identity != identity {
            self.identity = identity;
            self.alike.clear();
            self.recent.clear();
            self.recent.resize_with(lexicons, Recent::default);
        }
        self.stamp += 1;
        self.words.clear();
        self.open.clear();
        self.unsettled.clear();
        self.candidates.clear();
        if self.known.len() < lexicons {
            self.known.resize(lexicons, Known::default());
        }
    }

    /// Where the words of a lexicon stand, for [`Memory::word`].
    pub(super) fn words(
        &mut self,
        at: u32,
        lexicon: &Lexicon,
        context: &Context<'_, '_>,
    ) -> std::ops::Range<u32> {
        let count = |it: &Vec<u32>| u32::try_from(it.len()).unwrap_or(u32::MAX);
        match self.known.get_mut(at as usize) {
            Some(known) if known.stamp == self.stamp => known.first..known.end,
            known => {
                let first = count(&self.words);
                let repeating = lexicon.repeating(context).zip(self.recent.get_mut(at as usize));
                match repeating {
                    None => lexicon.words(context, &mut self.words),
                    Some((value, recent)) if recent.recall(value, &mut self.words) => {}
                    Some((value, recent)) => {
                        lexicon.words(context, &mut self.words);
                        recent.note(value, self.words.get(first as usize..).unwrap_or_default());
                    }
                }
                let end = count(&self.words);
                if let Some(known) = known {
                    *known = Known { stamp: self.stamp, first, end };
                }
                first..end
            }
        }
    }

    pub(super) fn word(&self, at: u32) -> Option<u32> {
        self.words.get(at as usize).copied()
    }
}
