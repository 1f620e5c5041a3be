//! Appending one batch: checked, given its offsets in place, written with one write, then published to readers.
//! It waits for nobody: a taken lock is [`AppendError::Busy`]. Invariant: readers see a batch whole or not at all.

use crate::epoch::LeaderEpoch;
use crate::log::unified::Log;
use crate::offsets::Offset;
use std::sync::Arc;

/// Who appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client's produce request: the batch is validated whole.
    Client,
    /// A coordinator of ours, which may write control batches.
    Coordinator,
    /// A copy from the leader: offsets and epochs are kept as they are.
    Follower,
}

/// How to append.
#[derive(Debug, Clone, Copy)]
pub struct AppendAs {
    /// The leader's epoch, stamped on the batch (not for followers).
    pub leader_epoch: LeaderEpoch,
    /// The wall clock, milliseconds.
    pub now_ms: i64,
    /// Who appends.
    pub origin: Origin,
    /// Version of the Produce request; zstd needs 7.
    pub produce_version: i16,
}

/// A batch that stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The broker's timestamp, −1 unless the topic uses LogAppendTime.
    pub log_append_time_ms: i64,
    /// It stood there already (idempotent retry): nothing was written.
    pub duplicate: bool,
}

/// Why a batch was not appended. The log is as it was before.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another core is appending: yield and try again.
    #[error("another core is appending")]
    Busy,
    /// Larger than `segment.bytes` (Kafka: RECORD_LIST_TOO_LARGE).
    #[error("batch of {bytes} bytes does not fit a segment of {segment_bytes}")]
    LargerThanSegment {
        /// The batch, header included.
        bytes: u64,
        /// `segment.bytes`.
        segment_bytes: u64,
    },
    /// A newer leader has written here (Kafka: NOT_LEADER_OR_FOLLOWER).
    #[error("leader epoch {given} is behind the log's {known}")]
    StaleEpoch {
        /// The appender's.
        given: LeaderEpoch,
        /// The newest in the log.
        known: LeaderEpoch,
    },
    /// A follower's batch does not continue the log.
    #[error("batch at offset {given} does not continue the log, which ends at {end}")]
    OutOfOrder {
        /// The batch's base offset.
        given: Offset,
        /// Where the log ends.
        end: Offset,
    },
    /// The disk is full. Nothing was written; later appends may succeed.
    #[error("the disk is full: {what}")]
    DiskFull {
        /// The failed write.
        what: Arc<str>,
    },
    /// The disk failed and the log is offline until it is opened again.
    #[error("storage failed: {what}")]
    Storage {
        /// The failed call, with the path.
        what: Arc<str>,
    },
}

impl Log {
    /// Appends ONE batch in place: base offset and leader epoch are written into `batch`, outside its CRC.
    ///
    /// Never parks. `batch` is exactly one record batch; its content after an error is unspecified.
    pub fn append(&self, _batch: &mut [u8], _how: &AppendAs) -> Result<Appended, AppendError> {
        todo!()
    }
}
