//! What rules ask of nothing but the caller: judged once per caller, not per event.
//!
//! Who asks, from where and with which client repeats all day: a cluster has thousands of callers and
//! billions of events. Half of what rules ask is about them alone, such as whether an account is one
//! of the platform's or an address within the cluster, and lists make that dear.
//!
//! **Invariant:** an answer is given only where every text of the caller is the same, byte for byte:
//! a hash finds the place and decides nothing.

use super::table::{hash, same};
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
    /// Whether there is one.
    filled: bool,
    /// How long each text is, and one more; 0: it is missing.
    lengths: [u16; CALLER.len()],
    /// The texts end to end.
    texts: Vec<u8>,
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
        let Some(caller) = self.caller() else { return };
        let at = part as usize;
        if caller.answers.len() <= at {
            caller.answers.resize(at + 1, None);
        }
        if let Some(slot) = caller.answers.get_mut(at) {
            *slot = Some(answer);
        }
    }

    fn caller(&mut self) -> Option<&mut Caller> {
        match self.here {
            Here::At(place) => self.places.get_mut(place),
            Here::Unsought | Here::Nowhere => None,
        }
    }

    fn find(&mut self, event: &Event<'_>) -> Here {
        const TURN: u32 = 5;
        let texts = CALLER.map(|it| event.json(it));
        let bytes: usize = texts.iter().flatten().map(|it| it.len()).sum();
        if bytes > TEXT_BYTES_MAX {
            return Here::Nowhere;
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, Caller::default());
        }
        let mixed = |sum: u64, text: &Option<&str>| {
            sum.rotate_left(TURN) ^ hash(text.unwrap_or_default().as_bytes())
        };
        let sum = texts.iter().fold(0, mixed);
        #[expect(clippy::cast_possible_truncation, reason = "it is less than PLACES")]
        let place = ((sum ^ (sum >> 32)) % PLACES as u64) as usize;
        if let Some(caller) = self.places.get_mut(place).filter(|it| !it.is(&texts)) {
            caller.become_one(&texts);
        }
        Here::At(place)
    }
}

impl Caller {
    fn is(&self, texts: &[Option<&str>; CALLER.len()]) -> bool {
        let mut rest = &*self.texts;
        self.filled
            && texts.iter().zip(&self.lengths).all(|(text, length)| {
                let Some(text) = text else { return *length == 0 };
                let Some(known) = usize::from(*length).checked_sub(1) else { return false };
                let Some((known, after)) = rest.split_at_checked(known) else { return false };
                rest = after;
                same(known, text.as_bytes())
            })
    }

    fn become_one(&mut self, texts: &[Option<&str>; CALLER.len()]) {
        self.filled = true;
        self.texts.clear();
        self.answers.clear();
        for (text, length) in texts.iter().zip(&mut self.lengths) {
            self.texts.extend_from_slice(text.unwrap_or_default().as_bytes());
            // It is at most `TEXT_BYTES_MAX`.
            *length = text.map_or(0, |it| u16::try_from(it.len() + 1).unwrap_or(u16::MAX));
        }
    }
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
            let mut caller = Caller::default();
            let event = event(lines[0]);
            caller.become_one(&CALLER.map(|it| event.json(it)));
            let other = self::event(line);
            caller.is(&CALLER.map(|it| other.json(it)))
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
