//! The encodings a value may be looked for in: UTF-16 and Base64.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Byte order of UTF-16 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Utf16 {
    Little,
    Big,
    /// Little-endian behind a byte order mark.
    Marked,
}

/// The bytes of `text` in UTF-16.
pub(super) fn utf16(text: &str, order: Utf16) -> Vec<u8> {
    let units = text.encode_utf16();
    match order {
        Utf16::Little => units.flat_map(u16::to_le_bytes).collect(),
        Utf16::Big => units.flat_map(u16::to_be_bytes).collect(),
        Utf16::Marked => [0xff, 0xfe].into_iter().chain(units.flat_map(u16::to_le_bytes)).collect(),
    }
}

/// Base64 with padding (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for sextet in 0..4 {
            let six = usize::try_from((bits >> (18 - 6 * sextet)) & 63).unwrap_or(0);
            let letter = ALPHABET.get(six).map_or('=', |it| char::from(*it));
            text.push(if sextet <= group.len() { letter } else { '=' });
        }
    }
    text
}

/// What is sure to appear in the Base64 of any text that holds `bytes`, for each of
/// the three places a group of three may begin at.
pub(super) fn base64_offsets(bytes: &[u8]) -> [String; 3] {
    [0, 1, 2].map(|offset: usize| {
        let shifted = [vec![0; offset], bytes.to_vec()].concat();
        let text = base64(&shifted);
        // Letters that also hold bits of unknown neighbours are left out.
        let start = [0, 2, 3].get(offset).copied().unwrap_or(0);
        let cut = [0, 3, 2].get(shifted.len() % 3).copied().unwrap_or(0);
        text.get(start..text.len().saturating_sub(cut)).unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_rfcs() {
        for (text, want) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), want);
        }
        assert_eq!(base64(&utf16("A", Utf16::Marked)), "//5BAA==");
        assert_eq!(base64(&utf16("AB", Utf16::Big)), "AEEAQg==");
        assert_eq!(base64(&utf16("Test", Utf16::Little)), "VABlAHMAdAA=");
    }

    #[test]
    fn offsets_appear_wherever_the_text_stands() {
        let needles = base64_offsets(b"secret");
        for before in ["", "a", "ab", "abc", "abcd"] {
            for after in ["", "x", "xy"] {
                let text = base64(format!("{before}secret{after}").as_bytes());
                let place = before.len() % 3;
                assert!(text.contains(&needles[place]), "{before}|{after}");
            }
        }
    }
}
