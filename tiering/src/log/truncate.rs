//! Cutting a log at either end: after failover, at its start, or what the bucket holds already.
//! Never on a serving core. Invariant: lineage, indexes and producers are cut together with the bytes.

use crate::epoch::Lineage;
use crate::log::unified::Log;
use crate::offsets::Offset;
use std::io;
use std::sync::Arc;

/// Why a log was not cut.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CutError {
    /// Past the end of the log.
    #[error("offset {asked} is above the log's end {end}")]
    AboveEnd {
        /// What was asked for.
        asked: Offset,
        /// The log's end.
        end: Offset,
    },
    /// Below the start of the local log.
    #[error("offset {asked} is below the local start {local_start}")]
    BelowStart {
        /// What was asked for.
        asked: Offset,
        /// The local start.
        local_start: Offset,
    },
    /// The disk failed and the log is offline.
    #[error("storage failed: {what}")]
    Storage {
        /// The failed call, with the path.
        what: Arc<str>,
    },
}

impl Log {
    /// Removes everything at and above `to`, which may lie inside a batch: that batch goes whole. Save the
    /// directory's recovery points before the next append.
    pub fn truncate(&self, _to: Offset) -> Result<(), CutError> {
        todo!()
    }

    /// Drops everything and starts empty at `at` (a tiered follower or leader that lost its local log).
    pub fn restart_at(&self, _at: Offset) -> Result<(), CutError> {
        todo!()
    }

    /// Takes over lineage and producer window (`.producers` bytes) from the bucket, after the log started empty at
    /// the remote end.
    pub fn restore(&self, _lineage: Lineage, _producers: Option<&[u8]>) -> io::Result<()> {
        todo!()
    }

    /// Moves the log start up to `to` (it may lie inside a batch); segments wholly below go. Lower is a no-op (I7).
    pub fn advance_log_start(&self, _to: Offset) -> Result<(), CutError> {
        todo!()
    }

    /// Removes local segments that end at or below `below`; the bucket answers for them from now on.
    /// Panics if `below` is above the tier's committed end (I15).
    pub fn release_local(&self, _below: Offset) -> Result<(), CutError> {
        todo!()
    }
}
