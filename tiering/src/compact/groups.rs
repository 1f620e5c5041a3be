//! Which neighbouring segments are cleaned into one, so that segments do not shrink for ever. Pure.
//! Invariant: a group's sources together fit one segment's bytes, index bytes and offset range, or it has one source.

use std::ops::Range;

use crate::offsets::Offset;

/// A segment to be cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// First offset.
    pub base: Offset,
    /// The base of the segment after it.
    pub next: Offset,
    /// Bytes of log data.
    pub bytes: u64,
}

/// What one segment may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of log data.
    pub bytes: u64,
    /// Bytes of each index.
    pub index_bytes: u64,
    /// Bytes of log data between two index entries.
    pub index_interval_bytes: u64,
}

/// Bytes of the larger index of a segment of `bytes`: one time entry per interval, and one at the end.
fn index_bytes(bytes: u64, limits: &Limits) -> u64 {
    const TIME_ENTRY: u64 = 12;
    (bytes / (limits.index_interval_bytes + 1) + 1).saturating_mul(TIME_ENTRY)
}

/// Groups of neighbours, in order; every segment is in one.
pub fn groups(sizes: &[Size], limits: &Limits) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let mut first = 0;
    while first < sizes.len() {
        let (mut bytes, mut last) = (sizes[first].bytes, first + 1);
        while let Some(size) = sizes.get(last) {
            let sum = bytes + size.bytes;
            let reach = size.next - sizes[first].base - 1;
            // An empty one adds nothing that could be out of reach.
            let reached = size.bytes == 0 || reach <= i64::from(i32::MAX);
            if sum > limits.bytes || index_bytes(sum, limits) > limits.index_bytes || !reached {
                break;
            }
            (bytes, last) = (sum, last + 1);
        }
        all.push(first..last);
        first = last;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { bytes: 1000, index_bytes: 1 << 20, index_interval_bytes: 100 };

    fn sizes(list: &[(i64, u64)]) -> Vec<Size> {
        let next = |at: usize| list.get(at + 1).map_or(list[at].0 + 10, |(base, _)| *base);
        let size = |(at, (base, bytes)): (usize, &(i64, u64))| Size {
            base: Offset(*base),
            next: Offset(next(at)),
            bytes: *bytes,
        };
        list.iter().enumerate().map(size).collect()
    }

    #[test]
    fn neighbours_join_up_to_each_limit() {
        let list = sizes(&[(0, 600), (10, 400), (20, 1), (30, 2000), (40, 0), (50, 0)]);
        assert_eq!(groups(&list, &LIMITS), [0..2, 2..3, 3..4, 4..6]);
        // Nine entries of 12 bytes fit 119; ten do not.
        let narrow = Limits { index_bytes: 119, ..LIMITS };
        assert_eq!(groups(&sizes(&[(0, 500), (10, 400), (20, 100)]), &narrow), [0..2, 2..3]);
        let far = i64::from(i32::MAX);
        assert_eq!(groups(&sizes(&[(0, 1), (far, 1), (far + 10, 1)]), &LIMITS), [0..1, 1..3]);
        assert_eq!(groups(&sizes(&[(0, 1), (far - 9, 1), (far + 1, 1)]), &LIMITS), [0..2, 2..3]);
        assert!(groups(&[], &LIMITS).is_empty());
    }

    proptest! {
        #[test]
        fn every_segment_is_in_one_group(bytes in prop::collection::vec(0..1500_u64, 0..40)) {
            let list: Vec<(i64, u64)> = bytes.iter().enumerate().map(|(at, b)| (at as i64 * 10, *b)).collect();
            let list = sizes(&list);
            let found = groups(&list, &LIMITS);
            let flat: Vec<usize> = found.iter().cloned().flatten().collect();
            prop_assert_eq!(flat, (0..list.len()).collect::<Vec<_>>());
            for group in found {
                let sum: u64 = list[group.clone()].iter().map(|size| size.bytes).sum();
                prop_assert!(group.len() == 1 || sum <= LIMITS.bytes);
            }
        }
    }
}
