//! One number, the most memory the process is to take -> the limits that keep it there.
//!
//! One rule: whatever grows with the input has a share of the budget; what does not is `FIXED`. The shares were found by
//! measuring (docs/decisions/024-memory-budget.md), and `tests/memory.rs` holds the process to the sum.

use super::lanes;
use crate::archive::keep::Policy;
use crate::archive::{known, merge, part};
use crate::config::ByteSize;
use crate::detect;

/// What is taken whatever the budget: 34 MB by a process that has read nothing (the program, the shipped rules, three
/// connections of SQLite with 8 MiB of pages each), and what a merge takes beside the columns it holds (the order and
/// the keys of a row group's rows, an encoder for each column), with what the C library's allocator holds back.
const FIXED: u64 = 104_000_000;

/// The least a budget may be. What is left of it is two chunks on their way and a part of a few megabytes.
pub const LEAST: ByteSize = ByteSize(140_000_000);

/// What is taken where nothing is said. Parts are full with it: lines of 3.3 kB, which is what generated and genuine
/// logs have, fill a row group with two thirds of their share.
pub const DEFAULT: ByteSize = ByteSize(1_500_000_000);

/// Hundredths of what is not fixed. What is left is for encoders, the rows of a worker, and gaps between what was freed.
const PART_SHARE: u64 = 48;
const LANES_SHARE: u64 = 12;
const CORRELATIONS_SHARE: u64 = 8;
const KNOWN_SHARE: u64 = 5;

/// Sealing comes between two parts, when no rows are held: it may take what they took.
const MERGE_SHARE: u64 = 20;
const SEALED_SHARE: u64 = 20;

/// A chunk in a lane is its bytes before a worker, and its bytes and its columns behind one: half as much again.
const CHUNK_COSTS_TENTHS: u64 = 16;

/// A known mark, in a table that is at least 7/16 full: eight bytes and one of control, twice as many while it grows.
const MARK_BYTES: u64 = 22;

/// What the index gathers of a sealed row before it is written: three hashes, twice while they are sorted.
const SEALED_ROW_BYTES: u64 = 48;

/// The budget is too small.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} of memory is too little; the least is {LEAST}")]
pub struct TooLittle(ByteSize);

/// The limits that a budget comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of chunks on their way to the archivist.
    pub in_flight_bytes_max: u64,
    /// Rows of the part that is gathered.
    pub part_rows_max: u64,
    /// Bytes of memory of the part that is gathered.
    pub part_bytes_max: u64,
    /// Bytes of decoded columns while parts are merged.
    pub merge_bytes_max: usize,
    /// Rows of a segment.
    pub segment_rows_max: u64,
    /// What correlations remember.
    pub correlations: detect::Limits,
    /// Marks by which events are known that come again.
    pub marks_max: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::of_rest(DEFAULT.0 - FIXED)
    }
}

impl Budget {
    /// Shares a budget out.
    ///
    /// # Errors
    /// When it is less than [`LEAST`].
    pub fn of(memory: ByteSize) -> Result<Budget, TooLittle> {
        if memory < LEAST {
            return Err(TooLittle(memory));
        }
        Ok(Budget::of_rest(memory.0 - FIXED))
    }

    fn of_rest(rest: u64) -> Budget {
        let share = |hundredths: u64| rest / 100 * hundredths;
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let correlations = detect::Limits::default();
        let remembered = size(share(CORRELATIONS_SHARE)).min(correlations.bytes_max);
        Budget {
            in_flight_bytes_max: (share(LANES_SHARE) / CHUNK_COSTS_TENTHS * 10)
                .min(lanes::BYTES_IN_FLIGHT_MAX),
            // A row group has no more; the bytes are what binds with a small budget.
            part_rows_max: part::ROWS_MAX as u64,
            part_bytes_max: share(PART_SHARE),
            merge_bytes_max: size(share(MERGE_SHARE)).min(merge::HELD_BYTES_MAX),
            segment_rows_max: share(SEALED_SHARE) / SEALED_ROW_BYTES,
            correlations: detect::Limits {
                bytes_max: remembered,
                // As large a part of it as where nothing is said.
                detail_bytes_max: correlations.detail_bytes_max.min(remembered / 8),
                ..correlations
            },
            marks_max: size(share(KNOWN_SHARE) / MARK_BYTES).min(known::MARKS_MAX),
        }
    }

    /// A policy under this budget.
    #[must_use]
    pub fn bind(&self, policy: Policy) -> Policy {
        Policy {
            merge_bytes_max: self.merge_bytes_max,
            segment_rows_max: self.segment_rows_max,
            ..policy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_the_least_is_refused_by_name() {
        let error = Budget::of(ByteSize(139_999_999)).unwrap_err();
        assert_eq!(error.to_string(), "139999999B of memory is too little; the least is 140MB");
        assert!(Budget::of(LEAST).is_ok());
    }

    #[test]
    fn the_shares_that_are_held_at_one_time_are_less_than_the_budget() {
        let gathering = PART_SHARE + LANES_SHARE + CORRELATIONS_SHARE + KNOWN_SHARE;
        let sealing = MERGE_SHARE + SEALED_SHARE + LANES_SHARE + CORRELATIONS_SHARE + KNOWN_SHARE;
        assert!(gathering < 100 && sealing < 100);
    }

    #[test]
    fn a_larger_budget_never_has_a_smaller_limit() {
        let budgets: Vec<Budget> =
            (0..200).map(|it| Budget::of(ByteSize(LEAST.0 + (it << 24))).unwrap()).collect();
        for pair in budgets.windows(2) {
            let limits = |it: &Budget| {
                [
                    it.in_flight_bytes_max,
                    it.part_rows_max,
                    it.part_bytes_max,
                    it.merge_bytes_max as u64,
                    it.segment_rows_max,
                    it.correlations.bytes_max as u64,
                    it.correlations.detail_bytes_max as u64,
                    it.marks_max as u64,
                ]
            };
            let (less, more) = (limits(&pair[0]), limits(&pair[1]));
            assert!(less.iter().zip(more).all(|(less, more)| *less <= more), "{less:?} {more:?}");
        }
    }

    #[test]
    fn the_default_lets_a_part_fill_its_row_group() {
        let budget = Budget::default();
        assert_eq!(budget, Budget::of(DEFAULT).unwrap());
        // Lines of 3.3 kB, held with half as much again in columns.
        assert!(part::ROWS_MAX as u64 * 3_300 * 3 / 2 <= budget.part_bytes_max);
        assert_eq!(budget.merge_bytes_max, merge::HELD_BYTES_MAX);
        assert_eq!(budget.marks_max, known::MARKS_MAX);
    }
}
