//! Finds where strings and containers of JSON text end, many bytes at a time.
//!
//! The vector code of the processor is used where it is there, and plain words of eight bytes
//! elsewhere. **Invariant:** both give the same answer for any bytes, JSON or not; the tests hold
//! them against each other.

/// Where a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The offset after its last bracket; that of the end of the text when it never closes.
    pub(crate) at: usize,
    /// Whether more levels than asked about are open somewhere in it, its own among them.
    pub(crate) deeper: bool,
}

/// How many bytes stand before the next quote or backslash; `None` when there is neither.
#[inline]
pub(crate) fn short_run(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        if let Some(found) = first_special(block) {
            return Some(at + found);
        }
        at += 16;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|it| matches!(it, b'"' | b'\\')).map(|it| at + it)
}

/// The offset after the closing quote of the JSON string that opens at `at`.
#[inline]
pub fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut from = at + 1;
    while let Some(found) = bytes.get(from..).and_then(short_run) {
        let here = from + found;
        if bytes.get(here) == Some(&b'"') {
            return here + 1;
        }
        from = here + 2;
    }
    bytes.len()
}

/// Where the object or array that begins at `at` ends, and whether it is nested deeper than
/// `levels`. Any closing bracket closes any opening one: the text is known to be JSON.
pub(crate) fn container_end(bytes: &[u8], at: usize, levels: usize) -> End {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("popcnt")
    {
        return avx2::container_end(bytes, at, levels);
    }
    by_blocks(bytes, at, levels, Marks::portable)
}

/// The place of the first quote or backslash of a block.
#[cfg(target_arch = "x86_64")]
#[inline]
fn first_special(block: &[u8; 16]) -> Option<usize> {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    #[expect(unsafe_code, reason = "vector instructions that every x86-64 has")]
    // SAFETY: SSE2 is part of x86-64, and the load is of the sixteen bytes that are borrowed.
    let found = unsafe {
        let bytes = _mm_loadu_si128(block.as_ptr().cast::<__m128i>());
        let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(lane(b'"')));
        let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(lane(b'\\')));
        _mm_movemask_epi8(_mm_or_si128(quotes, backslashes))
    };
    (found != 0).then_some(found.trailing_zeros() as usize)
}

#[cfg(not(target_arch = "x86_64"))]
use portable_first_special as first_special;

/// As [`first_special`], eight bytes at a time.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline]
fn portable_first_special(block: &[u8; 16]) -> Option<usize> {
    block.chunks_exact(8).enumerate().find_map(|(index, eight)| {
        let word = u64::from_le_bytes(eight.try_into().ok()?);
        let found = zero_bytes(word ^ repeated(b'"')) | zero_bytes(word ^ repeated(b'\\'));
        (found != 0).then_some(index * 8 + (found.trailing_zeros() / 8) as usize)
    })
}

#[cfg(any(test, not(target_arch = "x86_64")))]
const fn repeated(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of every byte that is zero; bytes above the first may be wrongly set
/// (`haszero` of Bit Twiddling Hacks), so only the lowest counts.
#[cfg(any(test, not(target_arch = "x86_64")))]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeated(0x01)) & !word & repeated(0x80)
}

#[cfg(target_arch = "x86_64")]
const fn lane(byte: u8) -> i8 {
    byte.cast_signed()
}

/// What matters in 64 bytes, a bit for each byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
}

impl Marks {
    fn portable(block: &[u8; 64]) -> Marks {
        Marks {
            quotes: bits(block, |it| it == b'"'),
            backslashes: bits(block, |it| it == b'\\'),
            opens: bits(block, |it| matches!(it, b'{' | b'[')),
            closes: bits(block, |it| matches!(it, b'}' | b']')),
        }
    }
}

fn bits(block: &[u8], is: impl Fn(u8) -> bool) -> u64 {
    block.iter().rev().fold(0, |sum, byte| sum << 1 | u64::from(is(*byte)))
}

#[inline(always)]
fn by_blocks(bytes: &[u8], at: usize, levels: usize, marks: impl Fn(&[u8; 64]) -> Marks) -> End {
    let (mut depth, mut deeper) = (0_usize, false);
    // All ones while a string is open; whether the next byte is escaped.
    let (mut inside, mut escaped) = (0_u64, false);
    let mut from = at;
    while let Some(rest) = bytes.get(from..).filter(|it| !it.is_empty()) {
        let found = match rest.first_chunk() {
            Some(block) => marks(block),
            None => marks(&padded(rest)),
        };
        let quotes = found.quotes & !after_backslash(found.backslashes, &mut escaped);
        let within = parity(quotes) ^ inside;
        inside = 0_u64.wrapping_sub(within >> 63);
        let (opens, closes) = (found.opens & !within, found.closes & !within);
        let (opened, closed) = (opens.count_ones() as usize, closes.count_ones() as usize);
        if depth > closed && depth + opened <= levels {
            depth = depth + opened - closed;
        } else {
            let mut both = opens | closes;
            while both != 0 {
                let place = both.trailing_zeros();
                both &= both - 1;
                if opens >> place & 1 == 1 {
                    depth += 1;
                    deeper |= depth > levels;
                } else {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return End { at: from + place as usize + 1, deeper };
                    }
                }
            }
        }
        from += 64;
    }
    End { at: bytes.len(), deeper }
}

/// The last bytes of the text, with white space after them.
fn padded(rest: &[u8]) -> [u8; 64] {
    let mut block = [b' '; 64];
    block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    block
}

/// The bytes that a backslash escapes: those after an odd number of them. `escaped` is whether the
/// block's first byte is one, and afterwards the next block's (as simdjson does it).
#[inline(always)]
fn after_backslash(backslashes: u64, escaped: &mut bool) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let first = u64::from(*escaped);
    if backslashes == 0 {
        *escaped = false;
        return first;
    }
    let backslashes = backslashes & !first;
    let follows = backslashes << 1 | first;
    let odd_starts = backslashes & !EVEN & !follows;
    let (from_even, overflow) = odd_starts.overflowing_add(backslashes);
    *escaped = overflow;
    (EVEN ^ from_even << 1) & follows
}

/// For each bit whether an odd number of bits is set up to it.
#[inline(always)]
fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set1_epi8,
    };

    use super::{End, Marks, by_blocks, lane};

    /// Only to be called where the processor has AVX2 and `popcnt`.
    pub(super) fn container_end(bytes: &[u8], at: usize, levels: usize) -> End {
        #[expect(unsafe_code, reason = "vector instructions; the caller asked for them")]
        // SAFETY: the one caller asks the processor first.
        unsafe {
            walk(bytes, at, levels)
        }
    }

    #[target_feature(enable = "avx2,popcnt")]
    fn walk(bytes: &[u8], at: usize, levels: usize) -> End {
        by_blocks(bytes, at, levels, |block| marks(block))
    }

    #[target_feature(enable = "avx2,popcnt")]
    #[inline]
    fn marks(block: &[u8; 64]) -> Marks {
        let (low, high) = halves(block);
        let either = |byte: u8, low: __m256i, high: __m256i| {
            let wanted = _mm256_set1_epi8(lane(byte));
            let mask = |half| {
                u64::from(_mm256_movemask_epi8(_mm256_cmpeq_epi8(half, wanted)).cast_unsigned())
            };
            mask(high) << 32 | mask(low)
        };
        // The bit tells `[` from `{` and `]` from `}`, and makes nothing else alike.
        let curly = _mm256_set1_epi8(lane(b'{' ^ b'['));
        let (low_curly, high_curly) = (_mm256_or_si256(low, curly), _mm256_or_si256(high, curly));
        Marks {
            quotes: either(b'"', low, high),
            backslashes: either(b'\\', low, high),
            opens: either(b'{', low_curly, high_curly),
            closes: either(b'}', low_curly, high_curly),
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn halves(block: &[u8; 64]) -> (__m256i, __m256i) {
        let first = block.as_ptr().cast::<__m256i>();
        #[expect(unsafe_code, reason = "loads that need no alignment")]
        // SAFETY: both loads are within the 64 bytes that are borrowed.
        unsafe {
            (_mm256_loadu_si256(first), _mm256_loadu_si256(first.add(1)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the functions do, told byte by byte.
    fn plainly(bytes: &[u8], at: usize, levels: usize) -> End {
        let (mut depth, mut deeper, mut inside, mut from) = (0_usize, false, false, at);
        while let Some(byte) = bytes.get(from) {
            match byte {
                b'\\' if matches!(bytes.get(from + 1), Some(b'"' | b'\\')) => from += 1,
                b'"' => inside = !inside,
                b'{' | b'[' if !inside => {
                    depth += 1;
                    deeper |= depth > levels;
                }
                b'}' | b']' if !inside => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return End { at: from + 1, deeper };
                    }
                }
                _ => {}
            }
            from += 1;
        }
        End { at: bytes.len(), deeper }
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            2 => Just("{"), 2 => Just("}"), 2 => Just("["), 2 => Just("]"), 2 => Just("\""),
            1 => Just("\\"), 1 => Just("\\\\\\"), 2 => Just("a"), 1 => Just("\u{fb}\u{17b}"),
            1 => Just("some text that fills a block, or most of it, with nothing at all in it"),
        ];
        prop::collection::vec(piece, 0..PIECES_MAX).prop_map(|it| it.concat().into_bytes())
    }

    /// An interpreter takes many thousand times as long, and looks at every access.
    const CASES: u32 = if cfg!(miri) { 8 } else { 4_000 };
    const PIECES_MAX: usize = if cfg!(miri) { 12 } else { 150 };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(CASES))]
        #[test]
        fn every_way_of_looking_sees_the_same(text in texts(), at in 0_usize..70, levels in 0_usize..9) {
            let want = plainly(&text, at.min(text.len()), levels);
            prop_assert_eq!(container_end(&text, at.min(text.len()), levels), want);
            prop_assert_eq!(by_blocks(&text, at.min(text.len()), levels, Marks::portable), want);
            let run = text.iter().position(|it| matches!(it, b'"' | b'\\'));
            prop_assert_eq!(short_run(&text), run);
            for block in text.windows(16).filter_map(|it| it.first_chunk()) {
                prop_assert_eq!(first_special(block), portable_first_special(block));
            }
        }
    }

    #[test]
    fn a_string_ends_at_the_quote_that_nothing_escapes() {
        for (text, end) in
            [(r#""a""#, 3), (r#""\"" "#, 4), (r#""\\"""#, 4), (r#""abc"#, 4), (r#""\"#, 2)]
        {
            assert_eq!(string_end(text.as_bytes(), 0), end, "{text}");
        }
    }

    #[test]
    fn depth_is_counted_within_and_across_blocks() {
        for levels in [1, 63, 64, 128, 1_000] {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let end = |most| container_end(text.as_bytes(), 0, most);
            assert_eq!(end(levels), End { at: text.len(), deeper: false });
            assert_eq!(end(levels - 1), End { at: text.len(), deeper: true });
        }
    }
}
