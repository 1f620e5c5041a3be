//! Positions in a log, counted in records: [`Offset`], and [`LogOffsets`], the three that bound what a log holds.
//! Not byte positions (those are plain `u64`). Invariant: log start ≤ local start ≤ end.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A record's position in its log, counted from 0. Kafka's int64; −1 never stands for "unknown" here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Offset(pub i64);

impl Offset {
    /// The first offset of an empty log.
    pub const ZERO: Offset = Offset(0);
    /// Above every offset a record can have.
    pub const MAX: Offset = Offset(i64::MAX);

    /// The offset after this one; stays at [`Offset::MAX`].
    pub const fn next(self) -> Offset {
        Offset(self.0.saturating_add(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Moves by a number of records. Saturates: an offset from a hostile header must not wrap.
impl Add<i64> for Offset {
    type Output = Offset;
    fn add(self, records: i64) -> Offset {
        Offset(self.0.saturating_add(records))
    }
}

/// Moves back by a number of records; saturates.
impl Sub<i64> for Offset {
    type Output = Offset;
    fn sub(self, records: i64) -> Offset {
        Offset(self.0.saturating_sub(records))
    }
}

/// The number of records between two offsets; saturates.
impl Sub<Offset> for Offset {
    type Output = i64;
    fn sub(self, other: Offset) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

/// What a log holds: `[log_start, end)` over both tiers, `[local_start, end)` on local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOffsets {
    /// First offset that may be read from any tier.
    pub log_start: Offset,
    /// First offset on local disk.
    pub local_start: Offset,
    /// The offset the next record will get (Kafka's LEO).
    pub end: Offset,
}

impl LogOffsets {
    /// Panics unless log start ≤ local start ≤ end.
    pub fn new(log_start: Offset, local_start: Offset, end: Offset) -> Self {
        assert!(log_start <= local_start, "log start {log_start} above local start {local_start}");
        assert!(local_start <= end, "local start {local_start} above end {end}");
        Self { log_start, local_start, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Offset(41).next(), Offset(42));
        assert_eq!(Offset::MAX.next(), Offset::MAX);
        assert_eq!(Offset::MAX + 5, Offset::MAX);
        assert_eq!(Offset(7) - Offset(3), 4);
        assert_eq!(Offset(7) - 3, Offset(4));
    }

    #[test]
    #[should_panic(expected = "log start 3 above local start 2")]
    fn offsets_out_of_order_are_a_bug() {
        LogOffsets::new(Offset(3), Offset(2), Offset(9));
    }
}
