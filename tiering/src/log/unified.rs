//! [`Log`]: one partition's log, shared by all cores. Here is what it is made of and what it answers at once;
//! what it does lives beside it (`append`, `read`, `truncate`, `time`, `housekeeping`).
//! Invariant: readers hold an immutable list of segments and published tips, and take no lock.

use crate::clock::Clock;
use crate::cold::tier::TierRow;
use crate::config::{LogConfig, LogId};
use crate::epoch::{LeaderEpoch, Lineage};
use crate::hot::file::Files;
use crate::hot::health::{DirHealth, is_full};
use crate::hot::segments::Segments;
use crate::log::producers::Snapshot;
use crate::log::unstable::Unstable;
use crate::offsets::{LogOffsets, Offset};
use crate::producer::state::ProducerTable;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use uuid::Uuid;

/// One log. Cheap to share (`Arc<Log>`).
#[derive(Debug)]
pub struct Log {
    pub(super) id: LogId,
    pub(super) dir: PathBuf,
    pub(super) files: Arc<dyn Files>,
    pub(super) health: Arc<DirHealth>,
    pub(super) clock: Arc<dyn Clock>,
    /// Names this boot of the machine; `None` if nobody knows.
    pub(super) boot: Option<Uuid>,
    pub(super) config: ArcSwap<LogConfig>,
    /// Replaced whole; only the holder of `writer` adds to it, only the holder of `chores` takes from it.
    pub(super) segments: ArcSwap<Segments>,
    pub(super) log_start: AtomicI64,
    pub(super) lineage: ArcSwap<Lineage>,
    pub(super) tier: ArcSwapOption<TierRow>,
    pub(super) recovery_point: AtomicI64,
    /// Below it the cleaner has been; −1 while nobody knows.
    pub(super) clean_point: AtomicI64,
    /// How often its end was cut off.
    pub(super) cuts: AtomicU64,
    /// A cleaner works on it.
    pub(super) in_cleaning: AtomicBool,
    /// When the last flush began, milliseconds; when the log was opened before there was one.
    pub(super) flushed_ms: AtomicI64,
    pub(super) unstable: Unstable,
    /// Something happened since housekeeping looked.
    pub(super) stirred: AtomicBool,
    /// Where it says so.
    pub(super) bell: OnceLock<Bell>,
    pub(super) offline: OnceLock<Arc<str>>,
    pub(super) closed: AtomicBool,
    /// Names were made or changed in the directory since it was last fsynced.
    pub(super) names_changed: AtomicBool,
    /// The append lock. Serving cores only ever try it.
    pub(super) writer: Mutex<Writer>,
    /// Held while files are sealed, cut or removed; taken before `writer`, never after it.
    pub(super) chores: Mutex<Chores>,
}

/// What changes with every append.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub producers: ProducerTable,
    /// Encoded when a segment was sealed, written by housekeeping.
    pub snapshots: Vec<Snapshot>,
}

/// What housekeeping remembers between two turns.
#[derive(Debug, Default)]
pub(super) struct Chores {
    pub trash: Vec<Trash>,
    /// When silent producers were looked for last, milliseconds.
    pub producers_checked_ms: i64,
    /// The lineage as it lies on disk.
    pub saved_lineage: Option<Arc<Lineage>>,
    /// What is written down of the active segment.
    pub noted: Option<Noted>,
}

/// The note of the active segment that lies on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted {
    pub base: Offset,
    pub bytes: u64,
    /// Of the note itself.
    pub size: u64,
}

/// Files renamed to `.deleted`, oldest first.
#[derive(Debug)]
pub(super) struct Trash {
    pub due_ms: i64,
    pub paths: Vec<PathBuf>,
}

/// Where logs note that something happened to them. It grows to one note per log at most.
#[derive(Debug, Default)]
pub struct Stirs {
    noted: Mutex<Vec<(u64, Weak<Log>)>>,
    told: AtomicU64,
    rung: AtomicU64,
}

impl Stirs {
    /// Takes the notes: each log's number, rising in the order in which they were told the list, and the log.
    pub(super) fn take(&self) -> Vec<(u64, Weak<Log>)> {
        std::mem::take(&mut *self.noted.lock())
    }

    /// How often a log noted itself so far: as long as it stays the same, nothing happened to any log.
    pub fn rung(&self) -> u64 {
        self.rung.load(Ordering::Acquire)
    }
}

/// How a log finds the list it notes itself in.
#[derive(Debug)]
pub(super) struct Bell {
    list: Arc<Stirs>,
    number: u64,
    log: Weak<Log>,
}

impl Bell {
    fn ring(&self) {
        self.list.noted.lock().push((self.number, self.log.clone()));
        self.list.rung.fetch_add(1, Ordering::Release);
    }
}

impl Log {
    /// From now on the log notes there that something happened to it; at once, since nobody looked yet. A log is told
    /// one list; a second is passed over.
    pub fn note_in(self: &Arc<Self>, list: &Arc<Stirs>) {
        let number = list.told.fetch_add(1, Ordering::Relaxed);
        let bell = Bell { list: list.clone(), number, log: Arc::downgrade(self) };
        if self.bell.set(bell).is_ok() {
            self.stirred.store(false, Ordering::Release);
            self.stir();
        }
    }

    /// Something happened: the next look of housekeeping includes this log. Called once that is visible: the flag is
    /// always written, so that whoever takes it back sees what happened before.
    pub(super) fn stir(&self) {
        if !self.stirred.swap(true, Ordering::AcqRel)
            && let Some(bell) = self.bell.get()
        {
            bell.ring();
        }
    }
}

impl Log {
    /// The log's name.
    pub fn id(&self) -> &LogId {
        &self.id
    }

    /// The directory its files lie in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings now in force.
    pub fn config(&self) -> Arc<LogConfig> {
        self.config.load_full()
    }

    /// Replaces the settings; the next append or housekeeping turn follows them.
    pub fn set_config(&self, config: LogConfig) {
        self.config.store(Arc::new(config));
        self.stir();
    }

    /// Where the log starts and ends, in one consistent, lock-free snapshot.
    pub fn offsets(&self) -> LogOffsets {
        // The start first: it never passes an end that is read later.
        let log_start = self.log_start();
        let segments = self.segments.load();
        let (local_start, end) = (segments.start(), segments.end());
        LogOffsets::new(log_start.min(end), local_start.max(log_start).min(end), end)
    }

    pub(super) fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    /// Which epoch began where.
    pub fn lineage(&self) -> Arc<Lineage> {
        self.lineage.load_full()
    }

    /// The largest known epoch ≤ `epoch` and where it ended (KIP-101, KIP-279); `None` if `epoch` is newer than
    /// everything known.
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let lineage = self.lineage.load();
        lineage.end_of(epoch, self.segments.load().end())
    }

    /// Bytes of log data on local disk.
    pub fn size_bytes(&self) -> u64 {
        self.segments.load().bytes()
    }

    /// Segments on local disk, the active one included.
    pub fn segment_count(&self) -> usize {
        self.segments.load().all().len()
    }

    /// Everything below is fsynced.
    pub fn recovery_point(&self) -> Offset {
        Offset(self.recovery_point.load(Ordering::Acquire))
    }

    /// A copy of the producers' state. Waits for the append lock: not on a serving core.
    pub fn producers(&self) -> ProducerTable {
        self.writer.lock().producers.clone()
    }

    /// What the quorum knows about this log's cold tier. A row older than the one known is passed over: the watcher
    /// of the image and the task that committed a change may come in either order. Panics if a newer row's
    /// committed end falls (D4).
    pub fn set_tier(&self, row: Arc<TierRow>) {
        self.tier.rcu(|known| match known {
            Some(known) if row.version < known.version => Some(known.clone()),
            Some(known) if row.end < known.end => {
                panic!("{}: remote end falls from {} to {}", self.id, known.end, row.end)
            }
            _ => Some(row.clone()),
        });
    }

    /// The newest row given to [`Log::set_tier`].
    pub fn tier(&self) -> Option<Arc<TierRow>> {
        self.tier.load_full()
    }

    /// Why the log no longer takes writes: the disk failed under it or under a neighbour in its directory, or its own
    /// bytes are damaged.
    pub fn offline(&self) -> Option<Arc<str>> {
        self.offline.get().cloned().or_else(|| self.health.failed())
    }

    /// The disk failed: every log of the directory is offline until the next start. Answers why.
    pub(super) fn fail(&self, what: &str, error: &io::Error) -> Arc<str> {
        let why: Arc<str> = format!("{what} in {}: {error}", self.dir.display()).into();
        if self.health.fail(why.clone()) {
            tracing::error!(log = %self.id, %why, "log directory goes offline");
        }
        self.offline.get_or_init(|| why.clone());
        why
    }

    /// As [`Log::fail`], unless the disk is merely full: nothing is lost then, and the call may be repeated.
    pub(super) fn fail_unless_full(&self, what: &str, error: &io::Error) {
        if is_full(error) {
            tracing::warn!(log = %self.id, dir = %self.dir.display(), "the disk is full: {what} waits for room");
        } else {
            self.fail(what, error);
        }
    }

    /// This log's bytes are damaged: it goes offline, its neighbours do not. Answers why.
    pub(super) fn fail_alone(&self, what: &str, error: &dyn std::error::Error) -> Arc<str> {
        let why: Arc<str> = format!("{what} in {}: {error}", self.dir.display()).into();
        if self.offline.set(why.clone()).is_ok() {
            tracing::error!(log = %self.id, %why, "log goes offline");
        }
        why
    }

    /// Changes the lineage; who loses a race against another change does his again on top of it.
    pub(super) fn change_lineage(&self, change: impl Fn(&mut Lineage) -> bool) {
        self.lineage.rcu(|now| {
            let mut next = (**now).clone();
            change(&mut next);
            next
        });
    }

    /// Makes created, renamed and removed names durable, if there are any. The flag falls first: a name that changes
    /// meanwhile belongs to the next call.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        if !self.names_changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.files.sync_dir(&self.dir)
    }

    pub(super) fn names_changed(&self) {
        self.names_changed.store(true, Ordering::Release);
        self.stir();
    }
}
