//! One log directory: what its checkpoints say, its room, whether its disk works.
//! It does not know which logs belong here (`storage.rs` does). Invariant: a log start that is kept on disk never falls,
//! and a directory whose disk failed is offline from the first failure on.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use firnline_tiering::hot::health::{DirHealth, is_full};
use firnline_tiering::log::directory::{CheckpointKind, DirectoryError, LogDirectory, LogName, Offsets};
use firnline_tiering::offsets::Offset;
use parking_lot::Mutex;

use crate::broker::storage_error::StorageError;
use crate::partition::directory::Directory;
use crate::partition::dirty::DirtyList;
use crate::partition::replica::{PartitionId, Room};

/// One log directory.
pub struct LogDir {
    /// The directory itself.
    pub directory: LogDirectory,
    /// Whether it takes produced data.
    pub room: Arc<Room>,
    /// Its partitions with bytes to fsync.
    pub dirty: Arc<DirtyList>,
    /// Shared with every log in it.
    pub health: Arc<DirHealth>,
    /// What the rest of the broker sees of it.
    pub seen: Arc<Directory>,
    /// Logs that lay in it at the start: when its disk fails they are not looked for elsewhere.
    pub(super) found: BTreeSet<LogName>,
    pub(super) noted_full: AtomicBool,
    pub(super) clean: bool,
    /// As on disk.
    pub(super) recovery_points: Mutex<Offsets>,
    /// As kept on disk; what is kept never falls. Held while the file is written.
    pub(super) log_starts: Mutex<Offsets>,
    /// As `replication-offset-checkpoint` said at the start.
    pub(super) high_watermarks: Offsets,
    /// Stands for what it says now; 0 while nothing was written since the start.
    written_marks: AtomicU64,
    /// As `cleaner-offset-checkpoint` says.
    pub(super) clean_points: Mutex<Offsets>,
    pub(super) logs: Mutex<BTreeMap<LogName, PartitionId>>,
}

impl LogDir {
    pub(super) fn new(directory: LogDirectory) -> Result<Self, StorageError> {
        let health: Arc<DirHealth> = Arc::default();
        Ok(Self {
            clean: directory.was_clean(),
            recovery_points: Mutex::new(directory.load(CheckpointKind::RecoveryPoint)?),
            log_starts: Mutex::new(directory.load(CheckpointKind::LogStart)?),
            high_watermarks: directory.load(CheckpointKind::HighWatermark)?,
            written_marks: AtomicU64::new(0),
            clean_points: Mutex::new(directory.load(CheckpointKind::Cleaner)?),
            found: directory.logs()?.into_iter().collect(),
            room: Arc::default(),
            dirty: Arc::default(),
            noted_full: AtomicBool::new(false),
            seen: Arc::new(Directory::new(directory.root().to_owned(), health.clone())),
            logs: Mutex::default(),
            health,
            directory,
        })
    }

    /// Passes a result on; one that says the disk failed takes the directory offline.
    pub(super) fn judged<T>(&self, result: Result<T, DirectoryError>) -> Result<T, DirectoryError> {
        if let Err(DirectoryError::Storage { source, .. }) = &result
            && !is_full(source)
        {
            let why = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
            if self.health.fail(why.as_str().into()) {
                tracing::error!(dir = %self.directory.root().display(), %why, "log directory goes offline");
            }
        }
        result
    }

    /// Whether the last look at the disk found it full.
    pub fn noted_full(&self) -> bool {
        self.noted_full.load(Ordering::Relaxed)
    }

    /// Notes what a look found; answers whether that is news, which is said once.
    pub fn note_full(&self, full: bool) -> bool {
        self.noted_full.swap(full, Ordering::Relaxed) != full
    }

    /// Keeps these log starts durably, with those kept before.
    pub(super) fn keep_starts(&self, starts: &Offsets) -> Result<(), StorageError> {
        let mut kept = self.log_starts.lock();
        let mut next = kept.clone();
        for (name, start) in starts {
            let at = next.entry(name.clone()).or_insert(*start);
            *at = (*at).max(*start);
        }
        if next == *kept {
            return Ok(());
        }
        self.judged(self.directory.save(CheckpointKind::LogStart, &next))?;
        *kept = next;
        Ok(())
    }

    /// Saves high watermarks, unless the file says that already: idle logs cost no write.
    pub(super) fn save_high_watermarks(&self, marks: &Offsets) -> Result<(), StorageError> {
        let mut hasher = DefaultHasher::new();
        marks.hash(&mut hasher);
        let digest = hasher.finish() | 1;
        if self.written_marks.load(Ordering::Acquire) != digest {
            self.judged(self.directory.save(CheckpointKind::HighWatermark, marks))?;
            self.written_marks.store(digest, Ordering::Release);
        }
        Ok(())
    }

    /// Saves where everything below is fsynced. Asked under the lock: a log that is cut meanwhile lowers its own later.
    pub(super) fn save_recovery_points(&self, points: impl FnOnce() -> Offsets) -> Result<(), StorageError> {
        let mut saved = self.recovery_points.lock();
        let points = points();
        if points == *saved {
            return Ok(());
        }
        self.judged(self.directory.save(CheckpointKind::RecoveryPoint, &points))?;
        *saved = points;
        Ok(())
    }

    /// Lets the recovery point kept for a log that was cut fall to its end.
    pub(super) fn lower_recovery_point(&self, name: &LogName, end: Offset) -> Result<(), StorageError> {
        let mut saved = self.recovery_points.lock();
        if saved.get(name).is_some_and(|point| *point > end) {
            let mut next = saved.clone();
            next.insert(name.clone(), end);
            self.judged(self.directory.save(CheckpointKind::RecoveryPoint, &next))?;
            *saved = next;
        }
        Ok(())
    }

    /// What the checkpoints say of a deleted log must not be taken for its namesake's.
    pub(super) fn forget(&self, name: &LogName) -> Result<(), StorageError> {
        let mut points = self.recovery_points.lock();
        if points.remove(name).is_some() {
            self.directory.save(CheckpointKind::RecoveryPoint, &points)?;
        }
        let mut kept = self.log_starts.lock();
        if kept.remove(name).is_some() {
            self.directory.save(CheckpointKind::LogStart, &kept)?;
        }
        Ok(())
    }

    /// Forgets logs whose directories are gone; `open` are there.
    pub(super) fn forget_gone(&self, open: &BTreeMap<LogName, PartitionId>) -> Result<(), StorageError> {
        let mut kept = self.log_starts.lock();
        if kept.keys().all(|name| open.contains_key(name)) {
            return Ok(());
        }
        let names = self.directory.logs()?;
        let before = kept.len();
        kept.retain(|name, _| names.binary_search(name).is_ok());
        if kept.len() < before {
            self.judged(self.directory.save(CheckpointKind::LogStart, &kept))?;
        }
        Ok(())
    }
}
