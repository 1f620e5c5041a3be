//! Reading a partition: bounded by what is committed, refused where the reader's idea of the log is wrong.
//! It reads no bytes: it answers where they lie. A slice stays valid after retention, because it holds the file.
//! Invariant: nothing at or above the bound of the reader's isolation is ever answered (I6, I10).

use std::sync::Arc;

use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::log::read::{Read, ReadError};
use firnline_tiering::offsets::Offset;

use crate::partition::replica::{EpochRefused, Replica};
use crate::purgatory::delayed::{Interest, WaitKey};

/// What a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// Everything committed, also by transactions that may still abort.
    Uncommitted,
    /// Only what lies below the last stable offset.
    Committed,
    /// Everything in the log: a follower's fetch, which the leader alone answers.
    Follower,
}

/// One reader's question.
#[derive(Clone, Copy, Debug)]
pub struct ReadAsk {
    /// First offset wanted; it may lie inside a batch.
    pub from: Offset,
    /// At most so many bytes.
    pub max_bytes: u64,
    /// A first batch larger than `max_bytes` is answered whole, so that no reader gets stuck before it.
    pub min_one: bool,
    /// What the reader may see.
    pub isolation: Isolation,
    /// A consumer that may read here although another broker leads (KIP-392).
    pub from_follower: bool,
    /// The reader's idea of the leader epoch, -1 for none.
    pub claimed_epoch: i32,
    /// The epoch of the last record the reader has, -1 for none: a log that disagrees diverged (KIP-595).
    pub last_fetched_epoch: i32,
}

/// Where the answer lies, with the offsets at the time of the question.
#[derive(Debug)]
pub struct Found {
    /// A slice of a local file, the bucket, or nothing new; `None` when finding out would wait for the disk.
    pub read: Option<Read>,
    /// The partition's offsets, which every answer carries.
    pub marks: Marks,
    /// The reader has records of an epoch this log ended earlier: (epoch, end offset) to truncate to.
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

/// The offsets that every fetch answer carries, also one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// First uncommitted offset.
    pub high_watermark: Offset,
    /// First offset hidden from read_committed.
    pub last_stable: Offset,
    /// First offset there is, in any tier.
    pub log_start: Offset,
}

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadRefused {
    /// This broker does not lead the partition (any more).
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// The reader's leader epoch does not fit.
    #[error(transparent)]
    Epoch(#[from] EpochRefused),
    /// Below the log's start or above its end.
    #[error("offset {asked} is outside [{log_start}, {end}]")]
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// First offset there is.
        log_start: Offset,
        /// End of what this reader may see.
        end: Offset,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl Replica {
    /// The offsets every answer carries.
    pub fn marks(&self) -> Marks {
        // The watermark first: the log start may pass a watermark read later, never one read earlier.
        let high_watermark = self.high_watermark();
        let log_start = self.offsets().log_start;
        Marks { high_watermark, last_stable: self.last_stable().min(high_watermark), log_start }
    }

    /// First offset a reader of this isolation may not see.
    pub fn bound(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::Uncommitted => self.high_watermark(),
            Isolation::Committed => self.last_stable(),
            Isolation::Follower => self.offsets().end,
        }
    }

    /// Where a reader of this isolation waits.
    pub fn waiters(&self, isolation: Isolation) -> (WaitKey, &Arc<Interest>) {
        match isolation {
            Isolation::Follower => (self.tail_key(), self.tail_interest()),
            Isolation::Uncommitted | Isolation::Committed => (self.wait_key(), self.interest()),
        }
    }

    /// Finds what `ask` wants. Takes no lock that an append holds, and waits for no disk.
    pub fn read(&self, ask: &ReadAsk) -> Result<Found, ReadRefused> {
        let here = self.is_leader() || (ask.from_follower && self.is_following());
        if !here {
            return Err(ReadRefused::NotLeader);
        }
        self.check_epoch(ask.claimed_epoch)?;
        if let Some(what) = self.log().offline() {
            return Err(ReadError::Storage { what }.into());
        }
        let marks = self.marks();
        if let Some(diverging) = self.diverges(ask) {
            return Ok(Found { read: Some(Read::Empty), marks, diverging: Some(diverging) });
        }
        let end = self.offsets().end;
        if ask.from < marks.log_start || ask.from > end {
            return Err(ReadRefused::OutOfRange { asked: ask.from, log_start: marks.log_start, end });
        }
        let bound = self.bound(ask.isolation);
        if ask.from >= bound {
            return Ok(Found { read: Some(Read::Empty), marks, diverging: None });
        }
        let read = match self.log().read_now(ask.from, ask.max_bytes, bound, ask.min_one) {
            Err(ReadError::Waits) => None,
            read => Some(read?),
        };
        Ok(Found { read, marks, diverging: None })
    }

    fn diverges(&self, ask: &ReadAsk) -> Option<(LeaderEpoch, Offset)> {
        if ask.last_fetched_epoch < 0 {
            return None;
        }
        let asked = LeaderEpoch(ask.last_fetched_epoch);
        match self.log().end_of_epoch(asked) {
            Some((epoch, end)) if epoch < asked || end < ask.from => Some((epoch, end)),
            _ => None,
        }
    }
}
