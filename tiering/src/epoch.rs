//! Leader epochs and the lineage of a log: which epoch began at which offset. A pure value.
//! Not the file that keeps it (`leader-epoch-checkpoint`), though its text form is here.
//! Invariant: along the lineage both epochs and start offsets rise strictly.

use crate::offsets::Offset;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The term of a partition's leader, stamped on every batch it appends. Outside the CRC (KIP-101, KIP-279).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LeaderEpoch(pub i32);

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Epoch → first offset written under it, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lineage {
    spans: Vec<(LeaderEpoch, Offset)>,
}

/// Why a checkpoint's text is not a lineage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineageError {
    /// The first line names a version we do not know.
    #[error("leader epoch checkpoint has version {0:?}, known is 0")]
    UnknownVersion(String),
    /// A line is not what the format asks for.
    #[error("leader epoch checkpoint line {line} is malformed: {text:?}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// The second line's count is not the number of lines that follow.
    #[error("leader epoch checkpoint announces {announced} entries and has {found}")]
    Count {
        /// From the second line.
        announced: usize,
        /// Lines that follow.
        found: usize,
    },
    /// Two neighbours do not rise.
    #[error("leader epochs fall: {before:?} then {after:?}")]
    NotRising {
        /// The earlier span.
        before: (LeaderEpoch, Offset),
        /// The later span.
        after: (LeaderEpoch, Offset),
    },
}

impl Lineage {
    /// A lineage from its spans, which must rise strictly in epoch and in offset.
    pub fn from_spans(spans: Vec<(LeaderEpoch, Offset)>) -> Result<Self, LineageError> {
        for pair in spans.windows(2) {
            if pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1 {
                return Err(LineageError::NotRising { before: pair[0], after: pair[1] });
            }
        }
        Ok(Self { spans })
    }

    /// Epoch and first offset of every span, oldest first.
    pub fn spans(&self) -> &[(LeaderEpoch, Offset)] {
        &self.spans
    }

    /// No epoch is known.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The newest epoch and where it began.
    pub fn latest(&self) -> Option<(LeaderEpoch, Offset)> {
        self.spans.last().copied()
    }

    /// The oldest epoch still known and where it began (or where the log now starts within it).
    pub fn earliest(&self) -> Option<(LeaderEpoch, Offset)> {
        self.spans.first().copied()
    }

    /// Notes that `epoch` writes from `start` on. Returns whether anything changed, so that the caller persists it.
    ///
    /// As in Kafka, the newest assignment wins: later spans that contradict it (a higher epoch, or a start at or
    /// after `start`) are dropped, which repairs the lineage after an unclean election.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        assert!(epoch.0 >= 0 && start.0 >= 0, "epoch {epoch} at offset {start} cannot be assigned");
        if self.latest().is_some_and(|(e, s)| e == epoch && start >= s) {
            return false;
        }
        while self.latest().is_some_and(|(e, s)| e >= epoch || s >= start) {
            self.spans.pop();
        }
        self.spans.push((epoch, start));
        true
    }

    /// The largest known epoch ≤ `epoch` and the offset where it ended (the next epoch's start, or `log_end`).
    ///
    /// Kafka's OffsetForLeaderEpoch: `None` if `epoch` is newer than everything known. An epoch older than
    /// everything known answers itself and the first known start.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if self.latest().is_some_and(|(latest, _)| latest == epoch) {
            return Some((epoch, log_end));
        }
        let above = self.spans.partition_point(|(e, _)| *e <= epoch);
        let end = self.spans.get(above)?.1;
        let floor = if above == 0 { epoch } else { self.spans[above - 1].0 };
        Some((floor, end))
    }

    /// The epoch that wrote `offset`; `None` below the first span.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.spans.partition_point(|(_, start)| *start <= offset);
        above.checked_sub(1).map(|at| self.spans[at].0)
    }

    /// Forgets every epoch that began at or after `end` (the log was cut there). Returns whether anything changed.
    pub fn truncate_from(&mut self, end: Offset) -> bool {
        let keep = self.spans.partition_point(|(_, start)| *start < end);
        let changed = keep < self.spans.len();
        self.spans.truncate(keep);
        changed
    }

    /// Forgets epochs that ended at or before `start` (the log now begins there); the span that covers `start`
    /// begins there from now on. Returns whether anything changed.
    pub fn truncate_before(&mut self, start: Offset) -> bool {
        let covered = self.spans.partition_point(|(_, begin)| *begin <= start);
        if covered == 0 || (covered == 1 && self.spans[0].1 == start) {
            return false;
        }
        self.spans.drain(..covered - 1);
        self.spans[0].1 = start;
        true
    }

    /// The part of the lineage that covers `[from, to)`; the first span begins at `from` if one covers it.
    pub fn slice(&self, from: Offset, to: Offset) -> Lineage {
        let mut slice = self.clone();
        slice.truncate_from(to);
        slice.truncate_before(from);
        slice
    }

    /// Kafka's `leader-epoch-checkpoint`: version line `0`, a line with the count, one `epoch offset` per line.
    pub fn to_checkpoint(&self) -> String {
        let mut text = format!("0\n{}\n", self.spans.len());
        for (epoch, start) in &self.spans {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        text
    }

    /// Reads [`Lineage::to_checkpoint`]'s text back.
    pub fn from_checkpoint(text: &str) -> Result<Self, LineageError> {
        let mut lines = text.lines();
        let version = lines.next().unwrap_or_default().trim();
        if version != "0" {
            return Err(LineageError::UnknownVersion(version.to_owned()));
        }
        let count = lines.next().unwrap_or_default().trim();
        let announced: usize =
            count.parse().map_err(|_| LineageError::Malformed { line: 2, text: count.to_owned() })?;
        let mut spans = Vec::new();
        for (at, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let span = parse_span(line)
                .ok_or_else(|| LineageError::Malformed { line: at + 3, text: line.to_owned() })?;
            spans.push(span);
        }
        if spans.len() != announced {
            return Err(LineageError::Count { announced, found: spans.len() });
        }
        Self::from_spans(spans)
    }
}

fn parse_span(line: &str) -> Option<(LeaderEpoch, Offset)> {
    let mut words = line.split_ascii_whitespace();
    let epoch: i32 = words.next()?.parse().ok()?;
    let start: i64 = words.next()?.parse().ok()?;
    let whole = words.next().is_none() && epoch >= 0 && start >= 0;
    whole.then_some((LeaderEpoch(epoch), Offset(start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHECKPOINT_V0: &str = include_str!("../tests/fixtures/leader-epoch-checkpoint/v1/three-epochs");

    fn lineage(spans: &[(i32, i64)]) -> Lineage {
        Lineage::from_spans(spans.iter().map(|(e, o)| (LeaderEpoch(*e), Offset(*o))).collect()).unwrap()
    }

    fn end(lineage: &Lineage, epoch: i32) -> Option<(i32, i64)> {
        lineage.end_of(LeaderEpoch(epoch), Offset(900)).map(|(e, o)| (e.0, o.0))
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next_as_in_kafka() {
        let known = lineage(&[(2, 10), (4, 50), (7, 200)]);
        assert_eq!(end(&known, 7), Some((7, 900)), "the latest ends at the log's end");
        assert_eq!(end(&known, 8), None, "newer than everything known");
        assert_eq!(end(&known, 4), Some((4, 200)));
        assert_eq!(end(&known, 5), Some((4, 200)), "an epoch that wrote nothing here");
        assert_eq!(end(&known, 6), Some((4, 200)));
        assert_eq!(end(&known, 3), Some((2, 50)));
        assert_eq!(end(&known, 1), Some((1, 10)), "older than everything known");
        assert_eq!(end(&Lineage::default(), 0), None);
    }

    #[test]
    fn assigning_keeps_the_newest_word() {
        let mut known = Lineage::default();
        assert!(known.assign(LeaderEpoch(0), Offset(0)));
        assert!(!known.assign(LeaderEpoch(0), Offset(5)), "the same epoch goes on");
        assert!(known.assign(LeaderEpoch(2), Offset(10)));
        assert!(known.assign(LeaderEpoch(3), Offset(10)), "epoch 2 wrote nothing");
        assert_eq!(known, lineage(&[(0, 0), (3, 10)]));
        assert!(known.assign(LeaderEpoch(4), Offset(5)), "an unclean election cut the log");
        assert_eq!(known, lineage(&[(0, 0), (4, 5)]));
        assert!(known.assign(LeaderEpoch(1), Offset(7)), "an older epoch takes over");
        assert_eq!(known, lineage(&[(0, 0), (1, 7)]));
        assert!(known.assign(LeaderEpoch(1), Offset(3)), "the same epoch, from further down");
        assert_eq!(known, lineage(&[(0, 0), (1, 3)]));
    }

    #[test]
    fn both_ends_are_cut() {
        let whole = lineage(&[(0, 0), (1, 10), (3, 30)]);
        let after = |start: i64| {
            let mut cut = whole.clone();
            (cut.truncate_before(Offset(start)), cut)
        };
        assert_eq!(after(0), (false, whole.clone()));
        assert_eq!(after(5), (true, lineage(&[(0, 5), (1, 10), (3, 30)])));
        assert_eq!(after(10), (true, lineage(&[(1, 10), (3, 30)])));
        assert_eq!(after(99), (true, lineage(&[(3, 99)])));
        let before = |end: i64| {
            let mut cut = whole.clone();
            (cut.truncate_from(Offset(end)), cut)
        };
        assert_eq!(before(31), (false, whole.clone()));
        assert_eq!(before(30), (true, lineage(&[(0, 0), (1, 10)])));
        assert_eq!(before(0), (true, Lineage::default()));
        assert_eq!(whole.slice(Offset(12), Offset(30)), lineage(&[(1, 12)]));
        assert_eq!(whole.slice(Offset(0), Offset(31)), whole);
    }

    #[test]
    fn the_epoch_of_an_offset_is_the_span_that_covers_it() {
        let known = lineage(&[(2, 10), (4, 50)]);
        let at = |offset: i64| known.epoch_at(Offset(offset)).map(|epoch| epoch.0);
        assert_eq!([at(9), at(10), at(49), at(50), at(999)], [None, Some(2), Some(2), Some(4), Some(4)]);
    }

    #[test]
    fn the_checkpoint_is_kafkas_text() {
        let known = lineage(&[(0, 0), (2, 100), (7, 5_000_000_000)]);
        assert_eq!(known.to_checkpoint(), CHECKPOINT_V0);
        assert_eq!(Lineage::from_checkpoint(CHECKPOINT_V0), Ok(known));
        assert_eq!(Lineage::from_checkpoint("0\n0\n"), Ok(Lineage::default()));
    }

    #[test]
    fn a_damaged_checkpoint_is_refused_with_its_line() {
        let read = Lineage::from_checkpoint;
        assert_eq!(read(""), Err(LineageError::UnknownVersion(String::new())));
        assert_eq!(read("1\n0\n"), Err(LineageError::UnknownVersion("1".into())));
        assert_eq!(read("0\nx\n"), Err(LineageError::Malformed { line: 2, text: "x".into() }));
        assert_eq!(read("0\n2\n0 0\n"), Err(LineageError::Count { announced: 2, found: 1 }));
        for line in ["0", "0 0 0", "a 0", "-1 0", "0 -1", "99999999999 0"] {
            let result = read(&format!("0\n1\n{line}\n"));
            assert_eq!(result, Err(LineageError::Malformed { line: 3, text: line.into() }));
        }
        assert!(matches!(read("0\n2\n1 5\n1 6\n"), Err(LineageError::NotRising { .. })));
        assert!(matches!(read("0\n2\n1 5\n2 5\n"), Err(LineageError::NotRising { .. })));
    }

    proptest! {
        #[test]
        fn any_assignments_leave_a_rising_lineage_that_round_trips(
            assigned in proptest::collection::vec((0..20_i32, 0..100_i64), 0..40), cut in 0..100_i64,
        ) {
            let mut known = Lineage::default();
            for (epoch, start) in assigned {
                known.assign(LeaderEpoch(epoch), Offset(start));
                let latest = known.latest().unwrap();
                prop_assert!(latest.0.0 == epoch && latest.1.0 <= start);
            }
            known.truncate_before(Offset(cut));
            prop_assert_eq!(Lineage::from_spans(known.spans().to_vec()), Ok(known.clone()));
            prop_assert_eq!(Lineage::from_checkpoint(&known.to_checkpoint()), Ok(known));
        }

        #[test]
        fn arbitrary_text_is_read_or_refused(text in "[0-9 \n-]{0,60}") {
            let _ = Lineage::from_checkpoint(&text);
        }
    }
}
