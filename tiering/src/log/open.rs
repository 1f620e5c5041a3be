//! What a log is opened with, what opening had to do, and why it could not. The work is in `recover.rs` (the log)
//! and `load.rs` (its segments).

use crate::clock::Clock;
use crate::config::{LogConfig, LogId};
use crate::epoch::LeaderEpoch;
use crate::hot::file::Files;
use crate::hot::health::DirHealth;
use crate::offsets::Offset;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// What a log is opened with.
#[derive(Debug, Clone)]
pub struct OpenLog {
    /// The log's name.
    pub id: LogId,
    /// Its directory; created if missing.
    pub dir: PathBuf,
    /// Its settings.
    pub config: LogConfig,
    /// The file system.
    pub files: Arc<dyn Files>,
    /// The health of the directory it lies in, shared with the other logs there.
    pub health: Arc<DirHealth>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Names this boot of the machine: what the page cache holds outlives processes, but no boot. `None` if nobody knows:
    /// no note of an earlier process is believed then, and none is written.
    pub boot: Option<Uuid>,
    /// The directory was closed cleanly: files are trusted as they are.
    pub clean_shutdown: bool,
    /// From `recovery-point-offset-checkpoint`: below it everything was fsynced. 0 if unknown.
    pub recovery_point: Offset,
    /// From `log-start-offset-checkpoint`, or the quorum for a tiered log. 0 if unknown.
    pub log_start: Offset,
    /// Where the bucket's committed segments end, for a tiered log with any. A local log that ends below it, starts
    /// above it, or was written there under another epoch, is dropped and starts empty there (D4).
    pub committed_remote_end: Option<RemoteEnd>,
}

/// Where the bucket's committed segments end: a floor that never falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteEnd {
    /// The first offset that is not in the bucket.
    pub at: Offset,
    /// Epoch of the record just below it.
    pub epoch: LeaderEpoch,
}

/// What opening had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Bytes of torn or damaged batches removed from the end of the log.
    pub bytes_cut: u64,
    /// Segments whose batches were read and checked.
    pub segments_scanned: usize,
    /// The start of the active segment was taken as a note of this boot says; only what came after was read.
    pub tip_believed: bool,
    /// Segments whose indexes were missing or wrong and were rebuilt.
    pub indexes_rebuilt: usize,
    /// No local log continues what the bucket holds, so it starts empty at the bucket's end; call [`Log::restore`]
    /// with the bucket's lineage and producer window before the first append.
    pub restarted_at_remote_end: bool,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("{what}: {source}")]
    Storage {
        /// What was tried, with the path.
        what: String,
        /// The failure.
        source: io::Error,
    },
    /// Bytes that were fsynced are damaged: cutting them would lose acknowledged records silently.
    #[error(
        "{what} is damaged at byte {position} (offset {offset}), below the recovery point {recovery_point}: {why}"
    )]
    Corrupt {
        /// The file.
        what: String,
        /// Byte of the first damaged batch.
        position: u64,
        /// First offset that cannot be read.
        offset: Offset,
        /// Where recovery would have been allowed to cut.
        recovery_point: Offset,
        /// What is wrong there.
        why: String,
    },
    /// The local segments do not form one log.
    #[error("{what}")]
    Inconsistent {
        /// Both sides of the contradiction.
        what: String,
    },
}

impl OpenError {
    pub(super) fn storage(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> OpenError {
        move |source| OpenError::Storage { what: what.to_string(), source }
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove_if_there(files: &dyn Files, path: &Path) -> io::Result<()> {
    match files.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
