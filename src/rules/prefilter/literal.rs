//! Finds which of many texts occur in a value, in one pass over it.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

use super::word::Word;
use crate::rules::ir::Place;
use crate::rules::text::{literally, lower};

/// Up to this many bytes of texts the automaton is a full table: a few megabytes, and twice as fast.
const TABLE_BYTES_MAX: usize = 32 << 10;

/// The texts of one key.
#[derive(Debug)]
pub(super) struct Literals {
    finder: AhoCorasick,
    /// For each text of the automaton the words it stands for.
    words: Vec<Vec<(Place, u32)>>,
    /// The texts, where they are few and none may be anywhere: they are compared one by one.
    few: Vec<(Place, Box<str>, u32)>,
}

/// More texts than this are looked for all at once.
const FEW_MAX: usize = 4;

impl Literals {
    /// `None`: none of the words is a text. The error is for automata too large to count in.
    pub(super) fn new(words: &[(Word, u32)]) -> Result<Option<Literals>, BuildError> {
        let mut places: BTreeMap<&str, Vec<(Place, u32)>> = BTreeMap::new();
        for (word, number) in words {
            let (place, text) = match word {
                Word::Contains(text) => (Place::Anywhere, text),
                Word::Starts(text) => (Place::Start, text),
                Word::Ends(text) => (Place::End, text),
                Word::Text(text) => (Place::Whole, text),
                Word::Absent | Word::Present | Word::Number(_) => continue,
            };
            places.entry(text).or_default().push((place, *number));
        }
        let texts: Vec<&str> = places.keys().copied().collect();
        if texts.is_empty() {
            return Ok(None);
        }
        let small = texts.iter().map(|it| it.len()).sum::<usize>() <= TABLE_BYTES_MAX;
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(small.then_some(AhoCorasickKind::DFA))
            .build(&texts)?;
        let all = || {
            let numbered =
                places.iter().map(|(text, words)| words.iter().map(move |it| (text, it)));
            numbered.flatten()
        };
        let simple = all().count() <= FEW_MAX && all().all(|(_, it)| it.0 != Place::Anywhere);
        let few = all().filter(|_| simple).map(|(text, it)| (it.0, (*text).into(), it.1)).collect();
        Ok(Some(Literals { finder, few, words: places.into_values().collect() }))
    }

    /// Whether finding texts takes a search over the whole value.
    pub(super) fn searches(&self) -> bool {
        self.few.is_empty()
    }

    /// Adds the words that the value has; one may be added twice.
    pub(super) fn find(&self, value: &str, found: &mut Vec<u32>) {
        if value.is_ascii() {
            self.find_folded(value, found);
        } else {
            self.find_folded(&lower(value), found);
        }
    }

    fn find_folded(&self, value: &str, found: &mut Vec<u32>) {
        for (place, text, number) in &self.few {
            if literally(*place, value, text, false) {
                found.push(*number);
            }
        }
        if self.searches() {
            self.search(value, found);
        }
    }

    fn search(&self, value: &str, found: &mut Vec<u32>) {
        for occurrence in self.finder.find_overlapping_iter(value) {
            let starts = occurrence.start() == 0;
            let ends = occurrence.end() == value.len();
            for (place, number) in
                self.words.get(occurrence.pattern().as_usize()).into_iter().flatten()
            {
                let fits = match place {
                    Place::Anywhere => true,
                    Place::Start => starts,
                    Place::End => ends,
                    Place::Whole => starts && ends,
                };
                if fits {
                    found.push(*number);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_at_their_place_in_any_case() {
        let words = [
            (Word::Text("curl".to_owned()), 0),
            (Word::Contains("curl".to_owned()), 1),
            (Word::Starts("curl/".to_owned()), 2),
            (Word::Ends("url/8".to_owned()), 3),
            (Word::Contains("é".to_owned()), 4),
            (Word::Contains("kit".to_owned()), 5),
            (Word::Present, 6),
        ];
        let literals = Literals::new(&words).unwrap().unwrap();
        let found = |value: &str| {
            let mut found = Vec::new();
            literals.find(value, &mut found);
            found.sort_unstable();
            found
        };
        assert_eq!(found("cURL/8"), [1, 2, 3]);
        assert_eq!(found("Curl"), [0, 1]);
        assert_eq!(found("a curl/9 É"), [1, 4]);
        assert_eq!(found("\u{212a}it"), [5]);
        assert!(found("").is_empty());
        let few = Literals::new(&words[..1]).unwrap().unwrap();
        let many = Literals::new(&words).unwrap().unwrap();
        assert!(!few.searches() && many.searches());
        for value in ["CURL", "curl/", ""] {
            let mut found = Vec::new();
            few.find(value, &mut found);
            assert_eq!(!found.is_empty(), value == "CURL");
        }
        assert!(Literals::new(&words[6..]).unwrap().is_none());
    }
}
