//! Finds which of many texts occur in a value, in one pass over it.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

use super::ir::Place;
use super::text::{literally, lower};

/// Up to this many bytes of texts the automaton is a full table: a few megabytes, and twice as fast.
const TABLE_BYTES_MAX: usize = 32 << 10;

/// Texts, each with a place it must stand at and a number.
#[derive(Debug, Clone)]
pub(super) struct Literals {
    finder: AhoCorasick,
    /// For each text of the automaton where it must stand, and the number it then gives.
    places: Vec<Vec<(Place, u32)>>,
    /// The texts, where they are few and none may be anywhere: they are compared one by one.
    few: Vec<(Place, Box<str>, u32)>,
}

/// More texts than this are looked for all at once.
const FEW_MAX: usize = 4;

impl Literals {
    /// The texts are in lower case. The error is for automata too large to count in.
    pub(super) fn new(texts: Vec<(Place, String, u32)>) -> Result<Literals, BuildError> {
        let mut places: BTreeMap<String, Vec<(Place, u32)>> = BTreeMap::new();
        for (place, text, number) in texts {
            places.entry(text).or_default().push((place, number));
        }
        let texts: Vec<&str> = places.keys().map(String::as_str).collect();
        let small = texts.iter().map(|it| it.len()).sum::<usize>() <= TABLE_BYTES_MAX;
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(small.then_some(AhoCorasickKind::DFA))
            .build(&texts)?;
        let all =
            || places.iter().flat_map(|(text, places)| places.iter().map(move |it| (text, it)));
        let simple = all().count() <= FEW_MAX && all().all(|(_, it)| it.0 != Place::Anywhere);
        let few =
            all().filter(|_| simple).map(|(text, it)| (it.0, text.as_str().into(), it.1)).collect();
        Ok(Literals { finder, few, places: places.into_values().collect() })
    }

    /// Whether finding texts takes a search over the whole value.
    pub(super) fn searches(&self) -> bool {
        self.few.is_empty()
    }

    /// Whether any of the texts stands in the value at its place.
    pub(super) fn any(&self, value: &str) -> bool {
        self.search(value, &mut |_| true)
    }

    /// Shows the number of each text that stands in the value at its place; one may be shown twice.
    pub(super) fn find(&self, value: &str, show: &mut dyn FnMut(u32)) {
        self.search(value, &mut |number| {
            show(number);
            false
        });
    }

    /// Gives numbers to `take` until it says `true`, and returns that.
    fn search(&self, value: &str, take: &mut dyn FnMut(u32) -> bool) -> bool {
        if value.is_ascii() {
            self.search_folded(value, take)
        } else {
            self.search_folded(&lower(value), take)
        }
    }

    fn search_folded(&self, value: &str, take: &mut dyn FnMut(u32) -> bool) -> bool {
        if !self.searches() {
            let stands = |it: &&(Place, Box<str>, u32)| literally(it.0, value, &it.1, false);
            return self.few.iter().filter(stands).any(|it| take(it.2));
        }
        self.finder.find_overlapping_iter(value).any(|occurrence| {
            let starts = occurrence.start() == 0;
            let ends = occurrence.end() == value.len();
            let stands = |place: Place| match place {
                Place::Anywhere => true,
                Place::Start => starts,
                Place::End => ends,
                Place::Whole => starts && ends,
            };
            let places = self.places.get(occurrence.pattern().as_usize()).into_iter().flatten();
            places.filter(|it| stands(it.0)).any(|it| take(it.1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(texts: &[(Place, &str, u32)]) -> Literals {
        let texts = texts.iter().map(|(place, text, number)| (*place, (*text).to_owned(), *number));
        Literals::new(texts.collect()).unwrap()
    }

    #[test]
    fn texts_are_found_at_their_place_in_any_case() {
        let texts = [
            (Place::Whole, "curl", 0),
            (Place::Anywhere, "curl", 1),
            (Place::Start, "curl/", 2),
            (Place::End, "url/8", 3),
            (Place::Anywhere, "é", 4),
            (Place::Anywhere, "kit", 5),
        ];
        let many = literals(&texts);
        let found = |value: &str| {
            let mut found = Vec::new();
            many.find(value, &mut |number| found.push(number));
            found.sort_unstable();
            assert_eq!(many.any(value), !found.is_empty());
            found
        };
        assert_eq!(found("cURL/8"), [1, 2, 3]);
        assert_eq!(found("Curl"), [0, 1]);
        assert_eq!(found("a curl/9 É"), [1, 4]);
        assert_eq!(found("\u{212a}it"), [5]);
        assert!(found("").is_empty());
        let few = literals(&texts[..1]);
        assert!(!few.searches() && many.searches());
        for value in ["CURL", "curl/", ""] {
            assert_eq!(few.any(value), value == "CURL");
        }
    }
}
