//! Events that are alike in every field that repeats all day -> what the tree says of all of them.
//!
//! A cluster's events are few kinds many times over: the same client does the same to the same kind of
//! object. Names, URIs, times and bodies differ, and hardly a rule asks for them before it has asked for
//! a verb, a resource or a user. So what the tree says as far as it can be walked by the fields that repeat is
//! remembered under those fields' own texts, and walked on from there.
//!
//! **Invariant:** an answer is given only where every such text is the same, byte for byte: a hash finds the
//! place and decides nothing.

use super::key::{Key, Source};
use crate::event::{Event, Field};
use crate::rules::texts::{self, Texts};

/// How many kinds of events are remembered. One displaces another in its place.
const PLACES: usize = 1_024;

/// Events whose repeating fields are longer together are walked every time.
const TEXT_BYTES_MAX: usize = 512;

/// So are those of which the tree says more than this.
const ANSWER_MAX: usize = 256;

/// The fields whose values repeat. Not those that a client makes up anew for each request.
const REPEATING: [Field; 15] = [
    Field::Kind,
    Field::ApiVersion,
    Field::Level,
    Field::Stage,
    Field::Verb,
    Field::ImpersonatedUsername,
    Field::ImpersonatedGroups,
    Field::Resource,
    Field::ApiGroup,
    Field::ObjectApiVersion,
    Field::Subresource,
    Field::Status,
    Field::Reason,
    Field::Code,
    Field::Decision,
];

/// Bits that say of a field whether it is there, and `null`.
const THERE_BITS: u32 = 2;

/// What of an event decides the words under some keys.
#[derive(Debug, Default)]
pub(super) struct Features {
    /// Fields that count as they are written.
    whole: Vec<Field>,
    /// Fields of which only counts whether they are there, and `null`.
    there: Vec<Field>,
}

impl Features {
    /// Adds what decides the words under a key. False: that is more than fields that repeat. `inside`: words are
    /// looked for in the values, and not only whether there is one.
    pub(super) fn add(&mut self, key: Key, inside: bool) -> bool {
        let fields: &[Field] = match &key {
            Key::Values(Source::Field(field)) if !inside => {
                let fits = self.there.len() < (u64::BITS / THERE_BITS) as usize;
                self.there.extend(fits.then_some(*field));
                return fits;
            }
            Key::Values(Source::Field(field)) | Key::Literals(Source::Field(field)) => &[*field],
            Key::Values(Source::Derived(derived)) | Key::Literals(Source::Derived(derived)) => {
                derived.sources()
            }
            Key::Top | Key::Values(Source::Path(_)) | Key::Literals(Source::Path(_)) => {
                return false;
            }
        };
        let repeat = fields.iter().all(|it| REPEATING.contains(it));
        if repeat {
            self.whole.extend(fields);
            self.whole.sort_unstable();
            self.whole.dedup();
        }
        repeat
    }

    fn texts<'e>(&self, event: &Event<'e>) -> impl Iterator<Item = &'e [u8]> {
        self.whole.iter().map(|it| event.json(*it).unwrap_or_default().as_bytes())
    }

    /// Which fields are there.
    fn there(&self, event: &Event<'_>) -> u64 {
        let bits = |it: &Field| match event.json(*it) {
            None => 0,
            Some("null") => 1,
            Some(_) => 2,
        };
        self.there.iter().fold(0, |all, it| all << THERE_BITS | bits(it))
    }
}

/// One worker's memory of kinds of events.
#[derive(Debug, Default)]
pub(super) struct Alike {
    places: Vec<Known>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    there: u64,
    /// That of a field that is missing is empty.
    texts: Texts<{ REPEATING.len() }>,
    /// The rules, and after so many of them the branches.
    answer: Vec<u32>,
    rules: usize,
}

impl Alike {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    /// The place of the event's kind, and whether it is the kind that is remembered there.
    pub(super) fn find(&mut self, features: &Features, event: &Event<'_>) -> (usize, bool) {
        if self.places.is_empty() {
            self.places.resize(PLACES, Known::default());
        }
        let there = features.there(event);
        let place = texts::place(there, features.texts(event), PLACES);
        (place, self.places.get(place).is_some_and(|it| it.fits(there, features.texts(event))))
    }

    /// Adds what is remembered at a place: rules that could match, and branches from which to walk on.
    pub(super) fn recall(&self, place: usize, rules: &mut Vec<u32>, open: &mut Vec<u32>) {
        let known = self.places.get(place);
        if let Some((first, rest)) = known.and_then(|it| it.answer.split_at_checked(it.rules)) {
            rules.extend_from_slice(first);
            open.extend_from_slice(rest);
        }
    }

    /// Remembers the event's kind at a place, instead of another.
    pub(super) fn note(
        &mut self,
        place: usize,
        (features, event): (&Features, &Event<'_>),
        (rules, open): (&[u32], &[u32]),
    ) {
        let Some(known) = self.places.get_mut(place) else { return };
        known.texts.clear();
        known.answer.clear();
        let bytes: usize = features.texts(event).map(<[u8]>::len).sum();
        if bytes > TEXT_BYTES_MAX || rules.len() + open.len() > ANSWER_MAX {
            return;
        }
        known.texts.become_those(features.texts(event));
        known.there = features.there(event);
        known.answer.extend_from_slice(rules);
        known.answer.extend_from_slice(open);
        known.rules = rules.len();
    }
}

impl Known {
    #[inline]
    fn fits<'e>(&self, there: u64, texts: impl Iterator<Item = &'e [u8]>) -> bool {
        self.there == there && self.texts.are(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::event;

    #[test]
    fn only_events_with_the_same_texts_are_alike() {
        let mut features = Features::default();
        assert!(features.add(Key::Values(Source::Field(Field::Verb)), true));
        assert!(features.add(Key::Literals(Source::Field(Field::Level)), true));
        assert!(features.add(Key::Values(Source::Field(Field::Name)), false));
        assert!(!features.add(Key::Values(Source::Field(Field::Name)), true));
        assert!(!features.add(Key::Top, true));
        let lines = [
            r#"{"verb":"get","level":"Request","objectRef":{"name":"x"}}"#,
            r#"{"verb":"get","level":"Request","objectRef":{"name":"y"}}"#,
            r#"{"verb":"get","level":"request","objectRef":{"name":"x"}}"#,
            r#"{"verb":"get","level":"Request","objectRef":{"name":null}}"#,
            r#"{"verb":"get","level":"Request"}"#,
            r#"{"level":"Request","objectRef":{"name":"x"}}"#,
            r#"{"verb":"get","level":"\u0052equest","objectRef":{"name":"x"}}"#,
        ];
        let events = lines.map(event);
        let mut alike = Alike::default();
        let (place, known) = alike.find(&features, &events[0]);
        assert!(!known);
        alike.note(place, (&features, &events[0]), (&[1, 2], &[3]));
        let found = events.each_ref().map(|it| alike.find(&features, it).1);
        assert_eq!(found, [true, true, false, false, false, false, false]);
        // Nor would they be in the same place.
        let known = &alike.places[place];
        let fits = events.each_ref().map(|it| known.fits(features.there(it), features.texts(it)));
        assert_eq!(fits, found);
        let (mut rules, mut open) = (Vec::new(), Vec::new());
        alike.recall(place, &mut rules, &mut open);
        assert_eq!((rules, open), (vec![1, 2], vec![3]));
    }

    #[test]
    fn what_is_too_long_is_not_remembered() {
        let mut features = Features::default();
        assert!(features.add(Key::Values(Source::Field(Field::Verb)), true));
        let known = |alike: &mut Alike, line: &str, rules: &[u32]| {
            let event = event(line);
            let (place, _) = alike.find(&features, &event);
            alike.note(place, (&features, &event), (rules, &[1]));
            alike.find(&features, &event).1
        };
        let mut alike = Alike::default();
        let long = format!(r#"{{"verb":"{}"}}"#, "x".repeat(TEXT_BYTES_MAX));
        assert!(!known(&mut alike, &long, &[1]));
        assert!(known(&mut alike, r#"{"verb":"x"}"#, &[1; ANSWER_MAX - 1]));
        assert!(!known(&mut alike, r#"{"verb":"x"}"#, &[1; ANSWER_MAX]));
    }
}
