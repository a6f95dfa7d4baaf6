//! Texts that are remembered together, as what an event is known by: the same ones are told from all
//! others byte for byte.

use super::table::{hash, same};

/// So many texts, or none yet.
#[derive(Debug, Clone)]
pub(super) struct Texts<const N: usize> {
    /// Whether there are any.
    filled: bool,
    /// How long each is. Here, because it is looked at first.
    lengths: [u16; N],
    /// The texts end to end.
    bytes: Vec<u8>,
}

impl<const N: usize> Default for Texts<N> {
    fn default() -> Texts<N> {
        Texts { filled: false, lengths: [0; N], bytes: Vec::new() }
    }
}

impl<const N: usize> Texts<N> {
    /// Whether they are these.
    #[inline]
    pub(super) fn are<'e>(&self, texts: impl Iterator<Item = &'e [u8]>) -> bool {
        let mut rest = &*self.bytes;
        self.filled
            && texts.zip(&self.lengths).all(|(text, length)| {
                let Some((known, after)) = rest.split_at_checked(usize::from(*length)) else {
                    return false;
                };
                rest = after;
                same(known, text)
            })
    }

    /// Forgets those that there are.
    pub(super) fn clear(&mut self) {
        self.filled = false;
        self.bytes.clear();
    }

    /// Remembers these in their stead. Together they are shorter than 64 KiB.
    pub(super) fn become_those<'e>(&mut self, texts: impl Iterator<Item = &'e [u8]>) {
        self.clear();
        for (text, length) in texts.zip(&mut self.lengths) {
            self.bytes.extend_from_slice(text);
            *length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        }
        self.filled = true;
    }
}

/// Where, of so many places, these texts and a number are looked for.
#[inline]
pub(super) fn place<'e>(
    number: u64,
    texts: impl Iterator<Item = &'e [u8]>,
    places: usize,
) -> usize {
    const TURN: u32 = 5;
    let sum = texts.fold(number, |sum, text| sum.rotate_left(TURN) ^ hash(text));
    #[expect(clippy::cast_possible_truncation, reason = "it is less than a number of places")]
    let place = ((sum ^ (sum >> 32)) % places as u64) as usize;
    place
}
