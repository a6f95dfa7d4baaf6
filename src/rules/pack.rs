//! Numbers and texts as few bytes, and back: for keys and states that are kept.
//!
//! A number takes seven bits a byte, the lowest first; one with a sign is folded (0, -1, 1, -2, …)
//! so that small ones stay small.

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// Appends a number with a sign.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Appends bytes, after their number.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(bytes);
}

/// Takes what was put, in the same order. `None`: the bytes are not what was written.
#[derive(Debug, Clone, Copy)]
pub struct Taker<'b>(pub &'b [u8]);

impl<'b> Taker<'b> {
    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A number with a sign.
    pub fn signed(&mut self) -> Option<i64> {
        let folded = self.number()?;
        Some((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    /// As many bytes.
    pub fn exactly(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes that follow their number.
    pub fn bytes(&mut self) -> Option<&'b [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.exactly(count)
    }

    /// Text that follows its length.
    pub fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// Whether everything was taken.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken() {
        let mut out = Vec::new();
        for number in [0, 1, 127, 128, 300, u64::MAX] {
            put(&mut out, number);
        }
        for number in [0, -1, 1, i64::MIN, i64::MAX] {
            put_signed(&mut out, number);
        }
        put_bytes(&mut out, "é".as_bytes());
        let mut from = Taker(&out);
        for number in [0, 1, 127, 128, 300, u64::MAX] {
            assert_eq!(from.number(), Some(number));
        }
        for number in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(from.signed(), Some(number));
        }
        assert_eq!(from.text(), Some("é"));
        assert!(from.is_done() && from.byte().is_none());
        assert_eq!(Taker(&[0x80]).number(), None);
        assert_eq!(Taker(&[5, 1]).bytes(), None);
    }
}
