//! Which sealed segment goes to the bucket next. Pure. Invariants: oldest first, gapless from the committed end,
//! wholly below the last stable offset; a hole is reported, never skipped.

use crate::cold::tier::TierRow;
use crate::offsets::Offset;

/// A sealed local segment's range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First offset.
    pub base: Offset,
    /// The offset after the last.
    pub next: Offset,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing sealed waits.
    UpToDate,
    /// The next segment reaches above the last stable offset: wait.
    NotStable {
        /// Where it ends.
        next: Offset,
    },
    /// Upload the segment at this place in the list, its batches from `from` on.
    Upload {
        /// Index into the sealed segments.
        at: usize,
        /// The first offset that is not in the bucket: the segment's base, or inside it where another leader's
        /// segments had other borders.
        from: Offset,
    },
    /// The bucket ends below where the local log begins (I8 is broken): nothing can be uploaded.
    Hole {
        /// The first offset nobody holds.
        from: Offset,
        /// Where the local log begins.
        local: Offset,
    },
}

/// The next step for a log with these sealed segments, oldest first.
pub fn plan(sealed: &[Span], row: &TierRow, last_stable: Offset) -> Plan {
    // Below the log start nothing is owed to anybody.
    let owed = row.end.max(row.log_start);
    let Some(at) = sealed.iter().position(|span| span.next > owed) else {
        return Plan::UpToDate;
    };
    let span = sealed[at];
    if span.base > owed {
        return Plan::Hole { from: owed, local: span.base };
    }
    if span.next > last_stable {
        return Plan::NotStable { next: span.next };
    }
    Plan::Upload { at, from: span.base.max(row.end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::LeaderEpoch;

    fn spans(borders: &[i64]) -> Vec<Span> {
        borders.windows(2).map(|pair| Span { base: Offset(pair[0]), next: Offset(pair[1]) }).collect()
    }

    fn row(log_start: i64, end: i64) -> TierRow {
        TierRow { end: Offset(end), ..TierRow::new(LeaderEpoch(0), Offset(log_start)) }
    }

    #[test]
    fn the_oldest_segment_above_the_committed_end_goes_next() {
        let sealed = spans(&[0, 10, 20, 30]);
        for (end, at) in [(0, 0), (10, 1), (20, 2)] {
            let expected = Plan::Upload { at, from: Offset(end) };
            assert_eq!(plan(&sealed, &row(0, end), Offset(30)), expected);
        }
        assert_eq!(plan(&sealed, &row(0, 30), Offset(30)), Plan::UpToDate);
        assert_eq!(plan(&[], &row(0, 0), Offset(30)), Plan::UpToDate);
    }

    #[test]
    fn nothing_undecided_goes() {
        let sealed = spans(&[0, 10, 20]);
        assert_eq!(plan(&sealed, &row(0, 10), Offset(19)), Plan::NotStable { next: Offset(20) });
    }

    #[test]
    fn another_leaders_borders_are_crossed_inside_a_segment() {
        let sealed = spans(&[0, 10, 20]);
        assert_eq!(plan(&sealed, &row(0, 13), Offset(20)), Plan::Upload { at: 1, from: Offset(13) });
    }

    #[test]
    fn a_hole_is_reported_unless_it_lies_below_the_log_start() {
        let sealed = spans(&[10, 20]);
        let hole = Plan::Hole { from: Offset(5), local: Offset(10) };
        assert_eq!(plan(&sealed, &row(0, 5), Offset(20)), hole);
        assert_eq!(plan(&sealed, &row(12, 5), Offset(20)), Plan::Upload { at: 0, from: Offset(10) });
    }
}
