//! Offsets for timestamps: the first record at or after a time, and the record with the largest one.
//! Only the local part of the log is searched. Invariant: the answer is exact to the record, whatever the codec.

use crate::epoch::LeaderEpoch;
use crate::log::read::ReadError;
use crate::log::unified::Log;
use crate::offsets::Offset;

/// Answer to a time lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeAnswer {
    /// The first such record.
    Found {
        /// Its offset.
        offset: Offset,
        /// Its timestamp, milliseconds.
        timestamp_ms: i64,
        /// The epoch it was written in.
        leader_epoch: Option<LeaderEpoch>,
    },
    /// No record below the bound.
    NotFound,
    /// It may lie below the local start: ask the cold reader first, then [`Log::offset_for_time_local`].
    Cold,
}

impl Log {
    /// The first record below `bound` whose timestamp is at or after `timestamp_ms`.
    /// [`TimeAnswer::Cold`] whenever the log starts below its local start.
    pub fn offset_for_time(&self, _timestamp_ms: i64, _bound: Offset) -> Result<TimeAnswer, ReadError> {
        todo!()
    }

    /// As [`Log::offset_for_time`], only over `[local start, bound)`.
    pub fn offset_for_time_local(&self, _timestamp_ms: i64, _bound: Offset) -> Result<TimeAnswer, ReadError> {
        todo!()
    }

    /// The first record with the largest timestamp in `[local start, bound)` (ListOffsets −3, KIP-734).
    pub fn max_timestamp(&self, _bound: Offset) -> Result<TimeAnswer, ReadError> {
        todo!()
    }
}
