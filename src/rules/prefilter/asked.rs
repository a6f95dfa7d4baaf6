//! What rules ask of single fields, for whoever has the values of fields and not the event: a stored column tells
//! for which rows the line has to be read.
//!
//! One rule: an event that a rule matches passes here. What is not known of a field passes, whatever is asked.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::demand;
use super::key::{Key, Source};
use super::word::Word;
use crate::event::Field;
use crate::rules::set::RuleSet;
use crate::rules::text::lower;

/// What is known of a field of an event.
#[derive(Debug, Clone, Copy)]
pub enum Known<'v> {
    /// It is not there.
    Absent,
    /// It is there, and is one of these: the members of an array of texts, or the one text.
    Texts(&'v [&'v str]),
    /// It is this whole number.
    Number(i32),
    /// It is there, and no more is known of it.
    Something,
    /// Nothing is known of it.
    Unknown,
}

/// Which of the rules' alternatives an event may still meet, one bit each.
pub type Open = Box<[u64]>;

/// One of the words must be there.
#[derive(Debug)]
struct Clause {
    alternative: usize,
    /// Texts within a value, and not whole values.
    within: bool,
    words: Vec<Word>,
}

/// What the rules of a set ask of the fields of an audit event.
#[derive(Debug)]
pub struct Asked {
    alternatives: usize,
    fields: BTreeMap<Field, Vec<Clause>>,
}

impl Asked {
    /// What a set asks of these fields. `None`: one of its rules asks nothing of them, so that every event may be its.
    pub fn of(rules: &RuleSet, fields: &[Field]) -> Option<Asked> {
        let mut asked = Asked { alternatives: 0, fields: BTreeMap::new() };
        for demands in rules.nodes().iter().flat_map(demand::of) {
            let mut any = false;
            for (key, words) in demands.clauses {
                let (within, field) = match key {
                    Key::Values(Source::Field(field)) => (false, field),
                    Key::Literals(Source::Field(field)) => (true, field),
                    _ => continue,
                };
                if !fields.contains(&field) {
                    continue;
                }
                any = true;
                let words = words.into_iter().collect();
                let clause = Clause { alternative: asked.alternatives, within, words };
                asked.fields.entry(field).or_default().push(clause);
            }
            if !any {
                return None;
            }
            asked.alternatives += 1;
        }
        Some(asked)
    }

    /// The fields that are asked for.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.fields.keys().copied()
    }

    /// All alternatives.
    pub fn all(&self) -> Open {
        let (whole, rest) = (self.alternatives / 64, self.alternatives % 64);
        let last = (rest > 0).then_some((1 << rest) - 1);
        std::iter::repeat_n(u64::MAX, whole).chain(last).collect()
    }

    /// The alternatives that ask for the field: whatever it is, the others stay as they are.
    pub fn asking(&self, field: Field) -> Open {
        let mut asking = vec![0; self.alternatives.div_ceil(64)];
        for clause in self.fields.get(&field).into_iter().flatten() {
            if let Some(bits) = asking.get_mut(clause.alternative / 64) {
                *bits |= 1 << (clause.alternative % 64);
            }
        }
        asking.into()
    }

    /// The alternatives that an event may still meet in which this is known of the field.
    pub fn open(&self, field: Field, known: Known<'_>) -> Open {
        let mut open = self.all();
        let texts: Vec<Cow<'_, str>> = match known {
            Known::Texts(texts) => texts.iter().map(|it| lower(it)).collect(),
            Known::Number(number) => vec![number.to_string().into()],
            _ => Vec::new(),
        };
        for clause in self.fields.get(&field).into_iter().flatten() {
            if clause.words.iter().any(|word| met(word, clause.within, known, &texts)) {
                continue;
            }
            if let Some(bits) = open.get_mut(clause.alternative / 64) {
                *bits &= !(1 << (clause.alternative % 64));
            }
        }
        open
    }
}

/// Whether a value may have the word. `texts` are its members in lower case.
fn met(word: &Word, within: bool, known: Known<'_>, texts: &[Cow<'_, str>]) -> bool {
    match (known, word) {
        (Known::Unknown, _) => true,
        (Known::Absent, word) => *word == Word::Absent,
        (_, Word::Present) => true,
        // What is there may be `null`.
        (Known::Something, _) => true,
        (_, Word::Absent) => false,
        (_, Word::Text(text)) if within => texts.iter().any(|it| it.contains(text.as_str())),
        (_, Word::Text(text)) => texts.iter().any(|it| it == text),
        (_, Word::Contains(text)) => texts.iter().any(|it| it.contains(text.as_str())),
        (_, Word::Starts(text)) => texts.iter().any(|it| it.starts_with(text.as_str())),
        (_, Word::Ends(text)) => texts.iter().any(|it| it.ends_with(text.as_str())),
        // Numbers are written in many ways.
        (_, Word::Number(_)) => {
            texts.iter().any(|it| it.trim().parse().is_ok_and(|it: f64| Word::number(it) == *word))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{LoadOptions, load_text};

    fn asked(detection: &str) -> Option<Asked> {
        let rule = format!("title: T\nid: t\ndetection:\n  {}\n", detection.replace('\n', "\n  "));
        let rules = load_text([("r.yml", rule.as_str())], &LoadOptions::default()).unwrap().rules;
        Asked::of(&rules, &[Field::Verb, Field::Username, Field::Resource, Field::Code])
    }

    fn open(asked: &Asked, field: Field, known: Known<'_>) -> bool {
        asked.open(field, known)[0] != 0
    }

    #[test]
    fn a_value_that_no_rule_asks_for_closes_and_what_is_not_known_does_not() {
        let asked = asked("a:\n  verb: [Get, list]\n  user.username|startswith: 'Bob'\n  objectRef.resource: null\n  responseStatus.code: 403\ncondition: a").unwrap();
        for (field, known, want) in [
            (Field::Verb, Known::Texts(&["GET"]), true),
            (Field::Verb, Known::Texts(&["watch"]), false),
            (Field::Verb, Known::Texts(&["watch", "list"]), true),
            (Field::Verb, Known::Texts(&[]), false),
            (Field::Verb, Known::Absent, false),
            (Field::Verb, Known::Something, true),
            (Field::Verb, Known::Unknown, true),
            (Field::Username, Known::Texts(&["bobby"]), true),
            (Field::Username, Known::Texts(&["a bob"]), false),
            (Field::Resource, Known::Absent, true),
            (Field::Resource, Known::Texts(&["pods"]), false),
            (Field::Code, Known::Number(403), true),
            (Field::Code, Known::Number(200), false),
            (Field::Namespace, Known::Absent, true),
        ] {
            assert_eq!(open(&asked, field, known), want, "{field:?} {known:?}");
        }
    }

    #[test]
    fn a_rule_that_asks_for_nothing_may_match_every_event() {
        assert!(asked("a:\n  verb: get\ncondition: not a").is_none());
        assert!(asked("a:\n  requestURI: /x\ncondition: a").is_none());
        let either = asked("a:\n  verb: get\nb:\n  objectRef.resource: pods\ncondition: a or b");
        let either = either.unwrap();
        assert_eq!((&*either.all(), &*either.asking(Field::Verb)), (&[3][..], &[1][..]));
        assert_eq!(&*either.asking(Field::Stage), &[0]);
    }
}
