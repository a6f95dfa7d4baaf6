//! Numbers of some bits each, one after the other, the low bits first.

/// The most bits that are written or read in one step.
const STEP_BITS_MAX: u32 = 56;

/// Writes numbers.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    held: u64,
    held_bits: u32,
}

impl BitWriter {
    /// Writes the low bits of a number.
    pub(super) fn write(&mut self, number: u64, bits: u32) {
        debug_assert!(bits <= STEP_BITS_MAX && number >> bits == 0);
        self.held |= number << self.held_bits;
        self.held_bits += bits;
        // Fewer than eight were held, so whole bytes are seven at most.
        let whole = self.held_bits / 8;
        let bytes = self.held.to_le_bytes();
        self.bytes.extend_from_slice(bytes.get(..whole as usize).unwrap_or_default());
        self.held >>= whole * 8;
        self.held_bits -= whole * 8;
    }

    /// Writes a number that is small as a rule (Golomb-Rice code): its upper part as so many zeros and a one, then its
    /// low bits.
    pub(super) fn write_rice(&mut self, number: u64, low_bits: u32) {
        let mut zeros = number >> low_bits;
        while zeros >= u64::from(STEP_BITS_MAX) {
            self.write(0, STEP_BITS_MAX);
            zeros -= u64::from(STEP_BITS_MAX);
        }
        let zeros = u32::try_from(zeros).unwrap_or(0);
        // Two steps: together they may be more bits than one takes.
        self.write(1 << zeros, zeros + 1);
        self.write(number & mask(low_bits), low_bits);
    }

    /// The bytes so far, the last one filled up with zeros; begins anew.
    pub(super) fn finish(&mut self) -> std::vec::Drain<'_, u8> {
        if self.held_bits > 0 {
            self.write(0, 8 - self.held_bits);
        }
        self.bytes.drain(..)
    }
}

/// Reads what a [`BitWriter`] wrote. Behind the end there are zeros.
#[derive(Debug)]
pub(super) struct BitReader<'b> {
    bytes: &'b [u8],
    held: u64,
    held_bits: u32,
}

impl<'b> BitReader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> BitReader<'b> {
        BitReader { bytes, held: 0, held_bits: 0 }
    }

    fn fill(&mut self) {
        while self.held_bits <= STEP_BITS_MAX {
            let Some((first, rest)) = self.bytes.split_first() else {
                self.held_bits = u64::BITS;
                return;
            };
            self.held |= u64::from(*first) << self.held_bits;
            self.held_bits += 8;
            self.bytes = rest;
        }
    }

    /// Reads a number of so many bits.
    pub(super) fn read(&mut self, bits: u32) -> u64 {
        debug_assert!(bits <= STEP_BITS_MAX);
        self.fill();
        let number = self.held & mask(bits);
        self.held >>= bits;
        self.held_bits -= bits;
        number
    }

    /// Reads what [`BitWriter::write_rice`] wrote; `None`: there is no such number.
    pub(super) fn read_rice(&mut self, low_bits: u32) -> Option<u64> {
        let mut upper: u64 = 0;
        loop {
            self.fill();
            let zeros = self.held.trailing_zeros();
            if zeros < self.held_bits.min(u64::BITS) {
                upper += u64::from(zeros);
                self.held >>= zeros;
                self.held >>= 1;
                self.held_bits -= zeros + 1;
                break;
            }
            if self.bytes.is_empty() {
                return None;
            }
            upper += u64::from(self.held_bits);
            (self.held, self.held_bits) = (0, 0);
        }
        Some(upper << low_bits | self.read(low_bits))
    }
}

fn mask(bits: u32) -> u64 {
    (1_u64 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_read_back_as_they_were_written(
            numbers in prop::collection::vec((0_u64..1 << 20, 0_u32..20, any::<u64>(), 1_u32..=STEP_BITS_MAX), 0..200),
        ) {
            let mut writer = BitWriter::default();
            for (rice, low, plain, bits) in &numbers {
                writer.write_rice(*rice, *low);
                writer.write(plain & mask(*bits), *bits);
            }
            let bytes: Vec<u8> = writer.finish().collect();
            let mut reader = BitReader::new(&bytes);
            for (rice, low, plain, bits) in &numbers {
                prop_assert_eq!(reader.read_rice(*low), Some(*rice));
                prop_assert_eq!(reader.read(*bits), plain & mask(*bits));
            }
        }
    }

    #[test]
    fn behind_the_end_there_is_no_number() {
        assert_eq!(BitReader::new(&[0; 40]).read_rice(3), None);
        assert_eq!(BitReader::new(&[]).read_rice(0), None);
        assert_eq!(BitReader::new(&[]).read(7), 0);
    }
}
