//! What a group remembers, as bytes for the catalog, and back.
//!
//! Version 1: the version; 1 if an absence was told, else 0; the number of entries, and of each the
//! time as the difference to the one before, a byte that says what follows, and that: the mark,
//! the value, the member; the number of details, and of each the time likewise, the mark and
//! the JSON text. Numbers are as in `rules::pack`; marks and values are eight bytes, lowest first.

use std::collections::VecDeque;
use std::sync::Arc;

use super::window::{Detail, Entry, Group};
use crate::rules::pack::{Taker, put, put_bytes, put_signed};

const VERSION: u8 = 1;

const FIRED: u8 = 1;
const MARK: u8 = 2;
const VALUE: u8 = 4;
const MEMBER: u8 = 8;
const FIRST: u8 = 16;

/// Marks of entries before `marked_since` are left out: those windows are not judged again.
pub(super) fn encode(group: &Group, marked_since: i64) -> Vec<u8> {
    let mut out = vec![VERSION, u8::from(group.told)];
    put(&mut out, count(group.entries.len()));
    let mut before = 0_i64;
    for entry in &group.entries {
        put_signed(&mut out, entry.time.wrapping_sub(before));
        before = entry.time;
        let marked = entry.time >= marked_since;
        let holds = |yes: bool, flag: u8| if yes { flag } else { 0 };
        out.push(
            holds(entry.fired, FIRED)
                | holds(entry.first, FIRST)
                | holds(marked, MARK)
                | holds(entry.value != 0, VALUE)
                | holds(entry.member != 0, MEMBER),
        );
        if marked {
            out.extend(entry.mark.to_le_bytes());
        }
        if entry.value != 0 {
            out.extend(entry.value.to_le_bytes());
        }
        if entry.member != 0 {
            put(&mut out, u64::from(entry.member));
        }
    }
    put(&mut out, count(group.details.len()));
    before = 0;
    for detail in &group.details {
        put_signed(&mut out, detail.time.wrapping_sub(before));
        before = detail.time;
        out.extend(detail.mark.to_le_bytes());
        put_bytes(&mut out, detail.json.as_bytes());
    }
    out
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// `None`: the bytes are not of this version, or broken.
pub(super) fn decode(state: &[u8]) -> Option<Group> {
    let mut from = Taker(state);
    if from.byte()? != VERSION {
        return None;
    }
    let told = from.byte()? == 1;
    let mut entries = VecDeque::new();
    let number = from.number()?;
    // An entry takes two bytes at least, so a made-up number does not make room.
    entries.reserve_exact(usize::try_from(number).ok()?.min(state.len() / 2));
    let mut time = 0_i64;
    for _ in 0..number {
        time = time.wrapping_add(from.signed()?);
        entries.push_back(entry(&mut from, time)?);
    }
    let mut details = Vec::new();
    time = 0;
    for _ in 0..from.number()? {
        time = time.wrapping_add(from.signed()?);
        let mark = eight(&mut from)?;
        details.push(Detail { time, mark, json: Arc::from(from.text()?) });
    }
    from.is_done().then_some(Group { entries, details, told, stored: true })
}

fn entry(from: &mut Taker<'_>, time: i64) -> Option<Entry> {
    let flags = from.byte()?;
    let has = |flag: u8| flags & flag != 0;
    Some(Entry {
        time,
        fired: has(FIRED),
        first: has(FIRST),
        mark: if has(MARK) { eight(from)? } else { 0 },
        value: if has(VALUE) { eight(from)? } else { 0 },
        member: if has(MEMBER) { u16::try_from(from.number()?).ok()? } else { 0 },
    })
}

fn eight(from: &mut Taker<'_>) -> Option<u64> {
    Some(u64::from_le_bytes(from.exactly(8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;

    fn group() -> Group {
        let entry = |time, mark, value, member, fired| {
            let first = fired;
            Entry { time, mark, value, member, first, fired }
        };
        Group {
            entries: [
                entry(1_795_401_553_000_000, 0, 7, 0, true),
                entry(1_795_401_553_000_001, 0x0102_0304_0506_0708, 0, 300, false),
            ]
            .into(),
            details: vec![Detail {
                time: 1_795_401_553_000_001,
                mark: 0x0102_0304_0506_0708,
                json: "{}".into(),
            }],
            told: false,
            stored: true,
        }
    }

    /// These bytes lie in archives: they must be read for ever.
    const BYTES: &str = "01000280d9ddfc8fbab006150700000000000000020a0807060504030201ac020182d9ddfc8fbab0060807060504030201027b7d";

    #[test]
    fn the_first_version_is_written_and_read() {
        let state = encode(&group(), 1_795_401_553_000_001);
        assert_eq!(hex(&state), BYTES);
        assert_eq!(decode(&state), Some(group()));
    }

    #[test]
    fn broken_bytes_are_refused() {
        let state = encode(&group(), i64::MIN);
        assert_eq!(decode(&state), Some(group()));
        for cut in 0..state.len() {
            assert_eq!(decode(&state[..cut]), None, "{cut}");
        }
        assert_eq!(decode(&[&state[..], &[0]].concat()), None);
        assert_eq!(decode(&[2, 0, 0, 0]), None);
        assert_eq!(decode(&[1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 127]), None);
    }
}
