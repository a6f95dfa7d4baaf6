//! The values that make a group, as a key: for each field of `group-by` its values, in order.
//!
//! A field that is missing has no values, and all events without it are one group.

use sha2::{Digest, Sha256};

use super::pack::{Taker, put, put_bytes};
use crate::hex::hex;

/// Values of one field that are told apart: further members of a list are not looked at.
pub const FIELD_VALUES_MAX: usize = 16;

/// Bytes of one value that are kept: a longer one is its beginning and a hash of the whole.
pub const VALUE_BYTES_MAX: usize = 256;

/// The values of one field: none when it is missing, several when it is a list.
pub type FieldValues = Vec<String>;

/// The key of a group.
pub fn encode(fields: &[FieldValues]) -> Vec<u8> {
    let mut key = Vec::new();
    for values in fields {
        put(&mut key, u64::try_from(values.len()).unwrap_or(u64::MAX));
        values.iter().for_each(|it| put_bytes(&mut key, it.as_bytes()));
    }
    key
}

/// The values of the first `count` fields of a key. `None`: it is no key of so many.
pub fn decode(key: &[u8], count: usize) -> Option<Vec<FieldValues>> {
    let mut from = Taker(key);
    let mut field = || {
        let values = usize::try_from(from.number()?).ok()?;
        (0..values).map(|_| from.text().map(str::to_owned)).collect::<Option<FieldValues>>()
    };
    (0..count).map(|_| field()).collect()
}

/// A value as it is kept.
pub(super) fn clipped(text: &str) -> String {
    /// Shown of a long value; the rest of the room is for the hash.
    const SHOWN: usize = VALUE_BYTES_MAX - 40;
    if text.len() <= VALUE_BYTES_MAX {
        return text.to_owned();
    }
    let shown = text.get(..text.floor_char_boundary(SHOWN)).unwrap_or_default();
    let hash = Sha256::digest(text.as_bytes());
    format!("{shown}…{}", hex(hash.get(..16).unwrap_or(&hash)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_and_do_not_run_into_each_other() {
        let fields = |parts: &[&[&str]]| -> Vec<FieldValues> {
            parts.iter().map(|it| it.iter().map(|it| (*it).to_owned()).collect()).collect()
        };
        let some = fields(&[&["alice"], &[], &["a", "b"]]);
        assert_eq!(decode(&encode(&some), 3), Some(some));
        assert_ne!(encode(&fields(&[&["a"], &["b"]])), encode(&fields(&[&["a", "b"], &[]])));
        assert_ne!(encode(&fields(&[&[]])), encode(&fields(&[&[""]])));
        assert_eq!(decode(&[9], 1), None);
    }

    #[test]
    fn long_values_are_cut_and_stay_different() {
        let (one, two) = ("é".repeat(1_000) + "1", "é".repeat(1_000) + "2");
        assert_ne!(clipped(&one), clipped(&two));
        assert!(clipped(&one).len() <= VALUE_BYTES_MAX);
        assert_eq!(clipped("alice"), "alice");
    }
}
