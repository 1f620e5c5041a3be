//! What the cleaner has seen and done, for whoever shows it: plain numbers, written by the cleaner alone.
//! It cleans nothing. Invariant: a log that could not be cleaned is listed until it is gone or opened again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::partition::replica::PartitionId;

/// A log that could not be cleaned. It is served as before, and grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncleanable {
    /// Its log directory.
    pub directory: PathBuf,
    /// Why.
    pub why: Arc<str>,
    /// Bytes that wait to be cleaned.
    pub bytes: u64,
}

/// The last turn, and all turns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CleanerNow {
    /// When logs were looked at last, milliseconds; 0 while they never were.
    pub looked_ms: i64,
    /// Dirty part of the dirtiest log, percent.
    pub dirty_percent: u64,
    /// How long the latest log is past its `max.compaction.lag.ms`, milliseconds.
    pub delay_ms: i64,
    /// How full the key map of the last cleaning was, percent.
    pub map_percent: u64,
    /// How long the last cleaning took, milliseconds.
    pub took_ms: u64,
    /// Bytes written of the bytes read by the last cleaning, percent.
    pub recopy_percent: u64,
    /// Cleanings that came to their end.
    pub cleanings: u64,
    /// Bytes read to be written anew.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Records that went.
    pub records_removed: u64,
    /// Batches left as they are because they contradict themselves.
    pub lies: u64,
    /// Cleanings that ended by a defect of ours; their logs are not cleaned again before a restart.
    pub broke_off: u64,
    /// Logs that could not be cleaned.
    pub uncleanable: BTreeMap<PartitionId, Uncleanable>,
}

/// Shared by the cleaner and those who show it.
#[derive(Debug, Default)]
pub struct CleanerCounts {
    now: Mutex<CleanerNow>,
}

impl CleanerCounts {
    /// All of it at one moment.
    pub fn now(&self) -> CleanerNow {
        self.now.lock().clone()
    }

    /// Changes it.
    pub fn note(&self, change: impl FnOnce(&mut CleanerNow)) {
        change(&mut self.now.lock());
    }
}
