//! A table of texts that are found without regard to case.

use super::text::lower;

/// No text has this number.
const NONE: u32 = u32::MAX;

/// Numbers of texts. The texts are in lower case; those looked up may be in any.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    texts: Vec<(Box<str>, u32)>,
    /// Places in `texts`; a power of two of them, at least twice as many as there are texts.
    slots: Vec<u32>,
    /// A bit for every length that a text has, by its remainder: most values have none of them.
    lengths: u64,
}

impl Table {
    pub(super) fn new(texts: Vec<(Box<str>, u32)>) -> Table {
        let slots = vec![NONE; (texts.len() * 2).next_power_of_two()];
        let lengths = texts.iter().fold(0, |all, it| all | bit(&it.0));
        let mut table = Table { texts: Vec::new(), slots, lengths };
        for (place, text) in (0_u32..).zip(&texts) {
            let mut at = table.home(&text.0);
            while table.slots.get(at).is_some_and(|it| *it != NONE) {
                at = table.after(at);
            }
            if let Some(slot) = table.slots.get_mut(at) {
                *slot = place;
            }
        }
        table.texts = texts;
        table
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The number of a text in any case.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        // What is found as it is, is in lower case but for its ASCII letters.
        let found = self.find_folded(text);
        if found.is_none() && !text.is_ascii() && !self.is_empty() {
            return self.find_folded(&lower(text));
        }
        found
    }

    /// The number of an ASCII text in any case, or of another one in lower case.
    fn find_folded(&self, text: &str) -> Option<u32> {
        if self.lengths & bit(text) == 0 {
            return None;
        }
        let mut at = self.home(text);
        loop {
            let place = self.slots.get(at).filter(|it| **it != NONE)?;
            let (known, number) = self.texts.get(*place as usize)?;
            // Nearly every value that is found is written as it is asked for.
            if same(known.as_bytes(), text.as_bytes()) || known.eq_ignore_ascii_case(text) {
                return Some(*number);
            }
            at = self.after(at);
        }
    }

    fn home(&self, text: &str) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "it is masked")]
        let hash = hash(text.as_bytes()) as usize;
        hash & self.slots.len().saturating_sub(1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & self.slots.len().saturating_sub(1)
    }
}

fn bit(text: &str) -> u64 {
    1 << (text.len() % u64::BITS as usize)
}

/// The same for upper and lower case. Who chooses rules chooses the texts in the table, so it need
/// not withstand anybody.
#[inline]
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = (bytes.len() as u64).wrapping_mul(MIX);
    let mut rest = bytes;
    while let Some((sixteen, more)) = rest.split_first_chunk::<16>() {
        hash = mixed(hash, halves(sixteen));
        rest = more;
    }
    if rest.is_empty() {
        return hash;
    }
    // The last bytes may be taken twice: what counts is that each is.
    let last = match (bytes.last_chunk(), bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(sixteen), _, _) => halves(sixteen),
        (None, Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (rest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), 0),
    };
    mixed(hash, last)
}

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn halves(sixteen: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*sixteen);
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
    let halves = (both as u64, (both >> 64) as u64);
    halves
}

/// Both halves of a product, one over the other.
fn mixed(hash: u64, (first, second): (u64, u64)) -> u64 {
    const CASE: u64 = 0x2020_2020_2020_2020;
    let first = u128::from((first | CASE) ^ hash);
    let product = first * u128::from((second | CASE) ^ MIX);
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
    let folded = (product as u64) ^ (product >> 64) as u64;
    folded
}

/// Whether both are the same bytes. They are a word long, as a rule, and calling out to compare them costs more
/// than comparing them.
#[inline]
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && match one.len() {
            0..=3 => one.iter().zip(other).all(|(one, other)| one == other),
            4..=7 => ends(one).map(u32::from_le_bytes) == ends(other).map(u32::from_le_bytes),
            8..=15 => ends(one).map(u64::from_le_bytes) == ends(other).map(u64::from_le_bytes),
            16..=32 => ends(one).map(u128::from_le_bytes) == ends(other).map(u128::from_le_bytes),
            _ => one == other,
        }
}

/// The first and the last so many bytes, which may overlap; all the same where there are fewer.
#[inline]
fn ends<const N: usize>(bytes: &[u8]) -> [[u8; N]; 2] {
    [bytes.first_chunk(), bytes.last_chunk()].map(|it| it.copied().unwrap_or([0; N]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_in_any_case_and_no_others() {
        let texts: Vec<String> = (0..500).map(|it| format!("some/word-{it}")).collect();
        let table = Table::new(texts.iter().map(|it| it.as_str().into()).zip(0..).collect());
        for (number, text) in (0..).zip(&texts) {
            assert_eq!(table.find(text), Some(number));
            assert_eq!(table.find(&text.to_uppercase()), Some(number));
        }
        for other in ["", "some/word-500", "some\u{f}word-1", "s"] {
            assert_eq!(table.find(other), None);
        }
        let kelvin = Table::new(vec![("kelvin".into(), 7), ("größe".into(), 8)]);
        assert_eq!(kelvin.find("\u{212a}ELVIN"), Some(7));
        assert_eq!(kelvin.find("GRÖSSE").or_else(|| kelvin.find("GRÖßE")), Some(8));
        assert_eq!(Table::new(Vec::new()).find("x"), None);
        assert_eq!(Table::default().find("x"), None);
    }

    #[test]
    fn texts_of_every_length_are_compared_to_the_last_byte() {
        for length in 0..70 {
            let text: Vec<u8> = (0..length).collect();
            assert!(same(&text, &text));
            assert!(!same(&text, &[&*text, b"x"].concat()));
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!same(&text, &other), "{length} {at}");
            }
        }
    }
}
