//! What rules ask of nothing but the caller: judged once per caller, not per event.
//!
//! Who asks, from where and with which client repeats all day: a cluster has thousands of callers and
//! billions of events. Half of what rules ask is about them alone, such as whether an account is one
//! of the platform's or an address within the cluster, and lists make that dear.
//!
//! **Invariant:** an answer is given only where every text of the caller is the same, byte for byte:
//! a hash finds the place and decides nothing.

use super::memo;
use super::texts::{Texts, place};
use crate::event::{Event, Field};

/// What tells callers apart.
pub(super) const CALLER: [Field; 5] = [
    Field::Username,
    Field::UserGroups,
    Field::ImpersonatedUsername,
    Field::UserAgent,
    Field::SourceIps,
];

/// How many callers are remembered. One displaces another in its place.
const PLACES: usize = 2_048;

/// Callers whose texts are longer together are judged every time.
const TEXT_BYTES_MAX: usize = 1_024;

/// One worker's memory of callers, for one rule set at a time.
#[derive(Debug, Default)]
pub(super) struct Callers {
    places: Vec<Caller>,
    /// The identity of the rule set.
    set: u64,
    here: Here,
}

/// Where the caller of the event at hand is remembered.
#[derive(Debug, Clone, Copy, Default)]
enum Here {
    #[default]
    Unsought,
    Nowhere,
    At(usize),
}

#[derive(Debug, Clone, Default)]
struct Caller {
    texts: Texts<{ CALLER.len() }>,
    /// By the number of the part.
    answers: Vec<Option<bool>>,
}

impl Callers {
    /// Forgets whose event is at hand, and everybody where another set is to judge.
    pub(super) fn next_event(&mut self, set: u64) {
        if self.set != set {
            self.set = set;
            self.places.clear();
        }
        self.here = Here::Unsought;
    }

    /// What the part with this number is known to say of the event's caller.
    pub(super) fn answer(&mut self, event: &Event<'_>, part: u32) -> Option<bool> {
        if let Here::Unsought = self.here {
            self.here = self.find(event);
        }
        self.caller()?.answers.get(part as usize).copied().flatten()
    }

    /// Remembers what it says, for [`Callers::answer`] was asked first.
    pub(super) fn note(&mut self, part: u32, answer: bool) {
        if let Some(caller) = self.caller() {
            memo::note(&mut caller.answers, part, Some(answer));
        }
    }

    fn caller(&mut self) -> Option<&mut Caller> {
        match self.here {
            Here::At(place) => self.places.get_mut(place),
            Here::Unsought | Here::Nowhere => None,
        }
    }

    fn find(&mut self, event: &Event<'_>) -> Here {
        let texts = || texts(event);
        if texts().map(<[u8]>::len).sum::<usize>() > TEXT_BYTES_MAX {
            return Here::Nowhere;
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, Caller::default());
        }
        let place = place(0, texts(), PLACES);
        if let Some(caller) = self.places.get_mut(place).filter(|it| !it.texts.are(texts())) {
            caller.texts.become_those(texts());
            caller.answers.clear();
        }
        Here::At(place)
    }
}

/// The caller's texts. None of a field that is there is empty.
fn texts<'e>(event: &Event<'e>) -> impl Iterator<Item = &'e [u8]> {
    CALLER.iter().map(|it| event.json(*it).unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::event;

    #[test]
    fn only_the_same_caller_gets_an_answer() {
        let lines = [
            r#"{"user":{"username":"a","groups":["g"]},"userAgent":"x"}"#,
            r#"{"user":{"username":"a","groups":["g"]},"userAgent":"x","verb":"get"}"#,
            r#"{"user":{"username":"a","groups":["g"]},"userAgent":"y"}"#,
            r#"{"user":{"username":"a","groups":["g"]},"userAgent":""}"#,
            r#"{"user":{"username":"a","groups":["g"]}}"#,
            r#"{"user":{"username":"a","groups":["g"]},"userAgent":"x","sourceIPs":["::1"]}"#,
            r#"{"user":{"username":"b","groups":["g"]},"userAgent":"x"}"#,
        ];
        let mut callers = Callers::default();
        callers.next_event(1);
        assert_eq!(callers.answer(&event(lines[0]), 3), None);
        callers.note(3, true);
        let mut asked = |set: u64, line: &str, part: u32| {
            callers.next_event(set);
            callers.answer(&event(line), part)
        };
        assert_eq!(asked(1, lines[1], 3), Some(true));
        assert_eq!(asked(1, lines[1], 2), None);
        for line in &lines[2..] {
            assert_eq!(asked(1, line, 3), None, "{line}");
        }
        // Nor would they in the same place.
        let known = |line: &str| {
            let mut known = Texts::<{ CALLER.len() }>::default();
            known.become_those(texts(&event(lines[0])));
            known.are(texts(&event(line)))
        };
        let same = lines.map(known);
        assert_eq!(same, [true, true, false, false, false, false, false]);
        assert_eq!(asked(2, lines[0], 3), None);
    }

    #[test]
    fn who_is_too_long_is_judged_every_time() {
        let line = format!(r#"{{"userAgent":"{}"}}"#, "x".repeat(TEXT_BYTES_MAX));
        let mut callers = Callers::default();
        for _ in 0..2 {
            callers.next_event(1);
            assert_eq!(callers.answer(&event(&line), 0), None);
            callers.note(0, true);
        }
    }
}
