//! What was found in values met before: user agents, user names and the authorizer's reasons repeat
//! all day, and looking a value up is several times cheaper than searching it again.

use crate::rules::table::{hash, same};

/// How many values are remembered per key. A value displaces the one in its place.
const PLACES: usize = 1_024;

/// Longer values are searched every time.
const VALUE_BYTES_MAX: usize = 512;

/// The values of one key, and the words each has.
#[derive(Debug, Default)]
pub(super) struct Recent {
    places: Vec<Known>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    value: String,
    words: Vec<u32>,
}

impl Recent {
    /// Adds the words of a value, JSON text, if it is remembered.
    pub(super) fn recall(&self, value: &str, words: &mut Vec<u32>) -> bool {
        let known =
            self.places.get(place(value)).filter(|it| same(it.value.as_bytes(), value.as_bytes()));
        if let Some(known) = known {
            words.extend_from_slice(&known.words);
        }
        known.is_some()
    }

    /// Remembers a value in place of another.
    pub(super) fn note(&mut self, value: &str, words: &[u32]) {
        if value.len() > VALUE_BYTES_MAX {
            return;
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, Known::default());
        }
        if let Some(known) = self.places.get_mut(place(value)) {
            known.value.clear();
            known.value.push_str(value);
            known.words.clear();
            known.words.extend_from_slice(words);
        }
    }
}

fn place(value: &str) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "it is less than PLACES")]
    let place = (hash(value.as_bytes()) % PLACES as u64) as usize;
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_recalled_until_others_take_their_place() {
        let mut recent = Recent::default();
        let recall = |recent: &Recent, value: &str| {
            let mut words = Vec::new();
            recent.recall(value, &mut words).then_some(words)
        };
        assert_eq!(recall(&recent, "\"a\""), None);
        recent.note("\"a\"", &[1, 2]);
        recent.note("\"b\"", &[]);
        assert_eq!(recall(&recent, "\"a\""), Some(vec![1, 2]));
        assert_eq!(recall(&recent, "\"b\""), Some(vec![]));
        assert_eq!(recall(&recent, "\"A\""), None);
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        recent.note(&long, &[3]);
        assert_eq!(recall(&recent, &long), None);
        for value in 0..10_000 {
            recent.note(&value.to_string(), &[value]);
        }
        assert_eq!(recall(&recent, "9999"), Some(vec![9999]));
        assert_eq!(recall(&recent, "\"a\""), None);
    }
}
