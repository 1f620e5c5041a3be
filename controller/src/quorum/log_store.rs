//! openraft's log and vote over the journal, with the entries since the last purge in memory.
//! Not the files (`quorum/journal.rs`). Invariant: what openraft was told is stored is on disk, synced.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::collections::VecDeque;

use firnline_tiering::hot::file::Files;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader};

use crate::error::StartError;
use crate::quorum::journal::{Journal, Opened};
use crate::quorum::raft_codec;
use crate::quorum::type_config::{LogEntry, LogId, StorageError, StorageIoError, TypeConfig, Vote, VoterId};
use crate::quorum::{disk, frame};
use crate::record::bytes::CodecError;

const VOTE_FILE: &str = "vote";
const PURGED_FILE: &str = "purged";
/// Both files have less than 64 bytes.
const SMALL_FILE_MAX: u64 = 1024;

/// Bytes of entries that one message to another member carries, unless one entry alone has more.
const MESSAGE_BYTES: usize = 1 << 20;

/// The log. A clone is another handle to it.
#[derive(Debug, Clone)]
pub struct LogStore {
    shared: Arc<Mutex<Held>>,
    /// Only raft's core writes. Locked while the disk works; what is held in memory is read meanwhile.
    disk: Arc<Mutex<Stored>>,
}

/// What readers see.
#[derive(Debug)]
struct Held {
    /// Everything the journal holds; bounded by how often snapshots are taken.
    entries: VecDeque<LogEntry>,
    purged: Option<LogId>,
    vote: Option<Vote>,
}

#[derive(Debug)]
struct Stored {
    files: Arc<dyn Files>,
    dir: PathBuf,
    journal: Journal,
    /// Why nothing may be written any more: after a failed write or sync the disk's state is unknown.
    dead: Option<String>,
}

impl LogStore {
    /// Opens or begins the log in `dir`, which must exist.
    pub fn open(files: Arc<dyn Files>, dir: &Path, segment_bytes: u64) -> Result<LogStore, StartError> {
        let vote = read_small(files.as_ref(), &dir.join(VOTE_FILE), raft_codec::decode_vote)?;
        let purged = read_small(files.as_ref(), &dir.join(PURGED_FILE), raft_codec::decode_purged)?;
        let from = purged.map_or(0, |id: LogId| id.index + 1);
        let Opened { journal, entries, bytes_cut } = Journal::open(files.clone(), dir, from, segment_bytes)?;
        // The first membership is written before the first vote; every other entry was proposed in some term.
        let voted = purged.is_some() || entries.iter().any(|entry| entry.log_id.leader_id.term > 0);
        if vote.is_none() && voted {
            let what = format!("{} has a log but no vote: the file '{VOTE_FILE}' was lost", dir.display());
            return Err(StartError::Corrupt { what });
        }
        tracing::info!(dir = %dir.display(), entries = entries.len(), bytes_cut, "opened the quorum's log");
        let stored = Stored { files, dir: dir.to_owned(), journal, dead: None };
        let held = Held { entries: entries.into(), purged, vote };
        Ok(LogStore { shared: Arc::new(Mutex::new(held)), disk: Arc::new(Mutex::new(stored)) })
    }

    /// The last purged entry.
    pub fn purged(&self) -> Option<LogId> {
        self.lock().purged
    }

    /// Index of the last entry.
    pub fn last_index(&self) -> Option<u64> {
        self.lock().last_id().map(|last| last.index)
    }

    /// Nothing was ever written here.
    pub fn is_new(&self) -> bool {
        let held = self.lock();
        held.entries.is_empty() && held.purged.is_none() && held.vote.is_none()
    }

    /// A panic while the lock was held left no half-made change that is ever acknowledged.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one write; a failure is final (fsync must not be retried).
    fn write(&self, change: impl FnOnce(&mut Stored) -> std::io::Result<()>) -> Result<(), AnyError> {
        disk::wait(|| {
            let mut stored = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(why) = &stored.dead {
                return Err(AnyError::error(format!("the quorum's log stopped: {why}")));
            }
            change(&mut stored).map_err(|error| {
                tracing::error!(%error, dir = %stored.dir.display(), "the quorum's log cannot be written; it stops");
                stored.dead = Some(error.to_string());
                AnyError::new(&error)
            })
        })
    }

    /// Waits as long as a simulated disk would keep raft's core now; a real one does so in the call itself.
    async fn wait_as_simulated(&self) {
        let lag = self.disk.lock().unwrap_or_else(PoisonError::into_inner).files.lag();
        if !lag.is_zero() {
            tokio::time::sleep(lag).await;
        }
    }

    /// Entries at or below the purge are in a snapshot already: openraft's suite hands them in, and they are skipped.
    fn keep(&self, mut entries: Vec<LogEntry>) -> Result<(), AnyError> {
        let (purged, last) = {
            let held = self.lock();
            (held.purged.map(|purged| purged.index), held.last_id())
        };
        entries.retain(|entry| purged.is_none_or(|purged| entry.log_id.index > purged));
        if let (Some(first), Some(last)) = (entries.first(), last) {
            assert!(first.log_id > last, "entry {} is appended after {last}", first.log_id);
        }
        self.write(|stored| stored.journal.append(&entries))?;
        self.lock().entries.extend(entries);
        Ok(())
    }

    fn cut(&self, index: u64) -> Result<(), AnyError> {
        self.write(|stored| stored.journal.truncate(index))?;
        let mut held = self.lock();
        let keep = held.entries.partition_point(|entry| entry.log_id.index < index);
        held.entries.truncate(keep);
        Ok(())
    }

    /// The purge is durable before a file goes: a log that begins late must say so.
    fn forget(&self, upto: LogId) -> Result<(), AnyError> {
        if self.purged().is_some_and(|purged| purged >= upto) {
            return Ok(());
        }
        let bytes = raft_codec::encode_purged(&upto);
        self.write(|stored| {
            stored.files.write_atomic(&stored.dir.join(PURGED_FILE), &bytes)?;
            stored.journal.purge(upto.index + 1)
        })?;
        let mut held = self.lock();
        let gone = held.entries.partition_point(|entry| entry.log_id.index <= upto.index);
        held.entries.drain(..gone);
        held.purged = Some(upto);
        Ok(())
    }
}

impl Held {
    fn last_id(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id).or(self.purged)
    }

    fn range(&self, range: impl RangeBounds<u64>) -> Vec<LogEntry> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let skip = self.entries.partition_point(|entry| entry.log_id.index < from);
        let rest = self.entries.iter().skip(skip);
        rest.take_while(|entry| range.contains(&entry.log_id.index)).cloned().collect()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<LogEntry>, StorageError> {
        Ok(self.lock().range(range))
    }

    /// What fits into one message.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, StorageError> {
        let mut entries = self.lock().range(start..end);
        let mut bytes = Vec::new();
        let fits = entries.iter().take_while(|entry| {
            let first = bytes.is_empty();
            frame::encode(entry, false, &mut bytes);
            first || bytes.len() <= MESSAGE_BYTES
        });
        let fits = fits.count();
        entries.truncate(fits);
        Ok(entries)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let stored = self.lock();
        Ok(LogState { last_purged_log_id: stored.purged, last_log_id: stored.last_id() })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &openraft::Vote<VoterId>) -> Result<(), StorageError> {
        self.wait_as_simulated().await;
        let bytes = raft_codec::encode_vote(vote);
        let saved = self.write(|stored| stored.files.write_atomic(&stored.dir.join(VOTE_FILE), &bytes));
        saved.map_err(StorageIoError::write_vote)?;
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<openraft::Vote<VoterId>>, StorageError> {
        Ok(self.lock().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.wait_as_simulated().await;
        // One write and one sync for all of them, before anyone is told.
        self.keep(entries.into_iter().collect()).map_err(StorageIoError::write_logs)?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, since: openraft::LogId<VoterId>) -> Result<(), StorageError> {
        Ok(self.cut(since.index).map_err(StorageIoError::write_logs)?)
    }

    async fn purge(&mut self, upto: openraft::LogId<VoterId>) -> Result<(), StorageError> {
        Ok(self.forget(upto).map_err(StorageIoError::write_logs)?)
    }
}

/// A small file's value; `None` if it is not there.
pub fn read_small<T>(
    files: &dyn Files,
    path: &Path,
    decode: impl FnOnce(&[u8]) -> Result<T, CodecError>,
) -> Result<Option<T>, StartError> {
    if !files.exists(path) {
        return Ok(None);
    }
    let io_error = |source| StartError::Io { what: format!("cannot read {}", path.display()), source };
    let bytes = files.read_all(path, SMALL_FILE_MAX).map_err(io_error)?;
    match decode(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let what = format!("{}: {error}", path.display());
            Err(if error.is_unknown() { StartError::Unknown { what } } else { StartError::Corrupt { what } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::image::current::Current;
    use crate::quorum::snapshot::Snapshots;
    use crate::quorum::state_machine::StateMachine;
    use openraft::testing::{StoreBuilder, Suite};

    /// A log and a state machine on an empty disk each time; files so small that most appends begin one.
    struct Fresh;

    impl StoreBuilder<TypeConfig, LogStore, StateMachine, ()> for Fresh {
        async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError> {
            let (files, dir) = (Arc::new(Disk::default()), Path::new("/quorum"));
            let log = LogStore::open(files.clone(), dir, 128).expect("an empty disk");
            let current = Arc::new(Current::new(Arc::default()));
            let snapshots = Snapshots::new(files, dir);
            Ok(((), log, StateMachine::new(None, snapshots, current, Arc::default())))
        }
    }

    #[test]
    fn openrafts_own_suite() {
        Suite::test_all(Fresh).expect("openraft's suite for stores");
    }

    #[test]
    fn a_failed_sync_is_final() {
        let disk = Disk::default();
        let log = LogStore::open(Arc::new(disk.clone()), Path::new("/quorum"), 128).expect("an empty disk");
        disk.lose_power_after(1);
        let entry = |index| LogEntry {
            log_id: crate::quorum::raft_codec::tests::log_id(1, index),
            payload: openraft::EntryPayload::Blank,
        };
        assert!(log.keep(vec![entry(0)]).is_err());
        disk.lose_power_after(1000);
        let refused = log.keep(vec![entry(0)]).expect_err("never again");
        assert!(refused.to_string().contains("stopped"), "{refused}");
        assert!(log.lock().entries.is_empty(), "what was not synced is not shown");
    }

    /// A log that begins late must say so before the files that it no longer needs are gone.
    #[test]
    fn power_lost_anywhere_in_a_purge_leaves_a_log_that_opens() {
        let dir = Path::new("/quorum");
        let blank = |index| LogEntry {
            log_id: crate::quorum::raft_codec::tests::log_id(1, index),
            payload: openraft::EntryPayload::Blank,
        };
        let filled = || {
            let disk = Disk::default();
            let log = LogStore::open(Arc::new(disk.clone()), dir, 60).expect("an empty disk");
            disk.write_atomic(&dir.join(VOTE_FILE), &raft_codec::encode_vote(&Vote::new(1, 1)))
                .expect("a vote");
            (0..9).for_each(|index| log.keep(vec![blank(index)]).expect("the disk holds"));
            (disk, log)
        };
        let (disk, log) = filled();
        let before = disk.operations();
        log.forget(blank(6).log_id).expect("the disk holds");
        let operations = disk.operations() - before;
        assert!(operations > 8, "the purge must remove files: {operations}");
        for at in 0..=operations {
            let (disk, log) = filled();
            disk.lose_power_after(at);
            let purged = log.forget(blank(6).log_id);
            assert_eq!(purged.is_ok(), at == operations);
            for loss in crate::disk::LOSSES {
                let survived = Arc::new(disk.after_power_loss(loss));
                let log = LogStore::open(survived, dir, 60)
                    .unwrap_or_else(|error| panic!("{at}, {loss:?}: {error}"));
                let found: Vec<u64> = log.lock().entries.iter().map(|entry| entry.log_id.index).collect();
                let first = log.purged().map_or(0, |id| id.index + 1);
                assert_eq!(found, (first..9).collect::<Vec<_>>(), "{at}, {loss:?}");
                assert!(first == 0 || first == 7, "{at}, {loss:?}: the log begins at {first}");
            }
        }
    }
}
