//! The log directories of this broker: opened and locked together, logs placed in them, checkpoints written.
//! It knows which directory holds which log; it does not know which logs there should be (`assignment.rs` does).
//! Invariant: a log lies in exactly one directory, and a directory left cleanly has a checkpoint for every log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firnline_controller::id::TopicId;
use firnline_tiering::clock::Clock;
use firnline_tiering::config::LogConfig;
use firnline_tiering::entropy::Entropy;
use firnline_tiering::hot::file::Files;
use firnline_tiering::hot::health::DirHealth;
use firnline_tiering::log::directory::{
    CheckpointKind, DirectoryError, DirectoryOwner, LogDirectory, LogName, Offsets,
};
use firnline_tiering::log::open::{OpenLog, Recovered, RemoteEnd};
use firnline_tiering::log::unified::{Log, Stirs};
use firnline_tiering::offsets::Offset;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::broker::doors::Doors;
use crate::broker::hands::Hands;
use crate::broker::log_dir::LogDir;
use crate::broker::storage_error::StorageError;
use crate::config::broker::BrokerConfig;
use crate::partition::directory::Directory;
use crate::partition::dirty::DirtyList;
use crate::partition::moving::LogMoves;
use crate::partition::replica::{PartitionHandle, PartitionId, Room, StartKeeper};

/// The quorum's own log lies beside the others, in the first directory; it is no topic.
pub const QUORUM_LOG: &str = "__cluster_metadata";

/// All log directories.
pub struct Storage {
    dirs: Vec<LogDir>,
    /// Those that could not be opened at the start.
    unopened: Vec<Arc<Directory>>,
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// This boot of the machine.
    boot: Option<Uuid>,
    /// Replicas on their way to another directory, and where new ones are to lie.
    pub moves: Arc<LogMoves>,
    /// Moves that the last process did not end, by their log, with where they went.
    pub(super) unfinished: Mutex<BTreeMap<LogName, PathBuf>>,
    /// Held while a new log's directory is chosen.
    placing: Mutex<()>,
    /// Where logs note that housekeeping should look at them.
    stirs: Arc<Stirs>,
    hands: Hands,
}

/// Logs opened or closed at the same time. Each waits for a few fsyncs, which the file system joins.
const HANDS: usize = 16;

/// Logs that only wait for fsyncs: 10,000 directories take 0.2 s this way, and 5 s one after the other.
const SYNC_HANDS: usize = 64;

/// A log to open: what the metadata says about it.
pub struct Wanted {
    /// Which partition.
    pub id: PartitionId,
    /// Its directory's name.
    pub name: LogName,
    /// Its settings.
    pub config: LogConfig,
    /// End of what the bucket holds, if it holds anything.
    pub remote_end: Option<RemoteEnd>,
    /// Log start as the quorum knows it; 0 for a log that is not tiered.
    pub log_start: Offset,
    /// It was made after this broker started: no directory can hold it yet.
    pub fresh: bool,
    /// It was closed cleanly by this process, with this high watermark: nothing is to be checked.
    pub settled: Option<Offset>,
}

/// A log that is open.
pub struct Opened {
    /// The log.
    pub log: Arc<Log>,
    /// Whether its directory takes produced data.
    pub room: Arc<Room>,
    /// Where it notes bytes to fsync.
    pub dirty: Arc<DirtyList>,
    /// What opening had to do.
    pub recovered: Recovered,
    /// The high watermark as last written down; 0 for a log that was just made.
    pub high_watermark: Offset,
}

/// The cluster these directories belong to: what they say, or a new id where the broker may format them.
pub fn cluster_of(config: &BrokerConfig, doors: &Doors) -> Result<String, StorageError> {
    for dir in &config.log_dirs {
        match LogDirectory::identity_of(&*doors.files, dir) {
            Ok(Some(identity)) => return Ok(identity.cluster_id),
            Ok(None) => {}
            // What cannot be read is offline, which opening decides; the others know the cluster too.
            Err(DirectoryError::Storage { .. }) if *dir != config.log_dirs[0] => {}
            Err(error) => return Err(error.into()),
        }
    }
    match config.dev {
        // The same 22 characters as a topic id's.
        true => Ok(TopicId::draw(&*doors.entropy).to_string()),
        false => Err(StorageError::NotFormatted(config.log_dirs[0].clone())),
    }
}

impl Storage {
    /// Opens and locks every directory.
    pub fn open(config: &BrokerConfig, cluster_id: &str, doors: &Doors) -> Result<Self, StorageError> {
        let owner = DirectoryOwner { cluster_id: cluster_id.to_owned(), node_id: config.node_id };
        let Doors { files, clock, entropy, boot, .. } = doors.clone();
        let (mut dirs, mut unopened) = (Vec::with_capacity(config.log_dirs.len()), Vec::new());
        for root in &config.log_dirs {
            let opened = LogDirectory::open(files.clone(), clock.clone(), &*entropy, root, &owner);
            match opened.map_err(StorageError::from).and_then(LogDir::new) {
                Ok(dir) => dirs.push(dir),
                // The first holds the quorum log: nothing goes without it.
                Err(StorageError::Directory(error @ DirectoryError::Storage { .. })) if !dirs.is_empty() => {
                    tracing::error!(dir = %root.display(), %error, "log directory is offline");
                    let health = Arc::new(DirHealth::default());
                    health.fail(error.to_string().into());
                    unopened.push(Arc::new(Directory::new(root.clone(), health)));
                }
                Err(error) => return Err(error),
            }
        }
        let hands = Hands { in_order: doors.single_threaded };
        let (moves, unfinished, placing, stirs) = Default::default();
        let storage =
            Self { dirs, unopened, files, clock, entropy, boot, moves, unfinished, placing, stirs, hands };
        storage.settle_moves()?;
        Ok(storage)
    }

    /// Where open logs note that housekeeping should look at them.
    pub fn stirs(&self) -> &Arc<Stirs> {
        &self.stirs
    }

    /// Every directory as the rest of the broker sees it; those that did not open come last.
    pub fn seen(&self) -> Vec<Arc<Directory>> {
        self.dirs.iter().map(|dir| &dir.seen).chain(&self.unopened).cloned().collect()
    }

    /// Why this broker cannot go on: the disk under the quorum log failed, which is that of the first directory, and
    /// with one directory the only one.
    pub fn lost(&self) -> Option<String> {
        let first = self.dirs.first()?;
        let why = first.health.failed()?;
        let left = self.working().count();
        let path = first.directory.root().display();
        Some(match left {
            0 => format!("every log directory is offline: {why}"),
            _ => format!("log directory {path}, which holds the metadata, is offline: {why}"),
        })
    }

    pub(super) fn working(&self) -> impl Iterator<Item = &LogDir> {
        self.dirs.iter().filter(|dir| dir.health.failed().is_none())
    }

    /// The directories, in the order of `log.dirs`.
    pub fn dirs(&self) -> &[LogDir] {
        &self.dirs
    }

    /// Closes segment files that nobody used for a while; more are opened when somebody does. Answers how many are open.
    pub fn close_idle(&self) -> usize {
        let Some(handles) = self.files.handles() else { return 0 };
        handles.close_idle();
        handles.open()
    }

    /// Logs on disk that are not open, with the topic id in their `partition.metadata`.
    pub fn found(&self) -> Result<Vec<(LogName, Option<TopicId>)>, StorageError> {
        let mut found = Vec::new();
        for dir in self.working() {
            let mut names = dir.directory.logs()?;
            let held = dir.logs.lock();
            names.retain(|name| name.name != QUORUM_LOG && !held.contains_key(name));
            drop(held);
            let topics = self.hands.share(HANDS, &names, |name| topic_in(dir, name));
            for (name, topic) in names.into_iter().zip(topics) {
                found.push((name, topic?.flatten()));
            }
        }
        Ok(found)
    }

    /// Makes the names that opening left in the directories of these logs durable, before anything is appended to
    /// them. A log where that fails is offline, and the log says so.
    pub fn settle_names(&self, opened: &[PartitionHandle]) {
        self.hands.share(SYNC_HANDS, opened, |partition| {
            let log = partition.log();
            if let Err(error) = log.settle_names() {
                tracing::error!(log = %log.id(), %error, "log is offline");
            }
        });
    }

    /// Opens logs where they lie, or creates each in the directory with the fewest logs. Answers in the same order;
    /// what was created is durable then.
    pub fn open_logs(&self, wanted: Vec<Wanted>) -> Vec<Result<Opened, StorageError>> {
        // A new log waits for two fsyncs, one that is there for none.
        let hands = if wanted.iter().any(|wanted| wanted.fresh) { SYNC_HANDS } else { HANDS };
        let opened = self.hands.share(hands, &wanted, |wanted| self.open_log(wanted));
        if wanted.is_empty() {
            return opened;
        }
        let unsynced: Vec<(&LogDir, String)> = self
            .working()
            .filter_map(|dir| Some((dir, dir.judged(dir.directory.sync()).err()?.to_string())))
            .collect();
        // Which of them the directory would forget is not known, so that none of its logs may serve.
        let forgets = |name: &LogName| unsynced.iter().find(|(dir, _)| dir.logs.lock().contains_key(name));
        let kept = opened.into_iter().zip(&wanted).map(|(opened, wanted)| match forgets(&wanted.name) {
            None => opened,
            Some((_, why)) => {
                tracing::error!(log = text(&wanted.name), why, "a new log is not durable");
                Err(StorageError::Failed { log: text(&wanted.name), source: io::Error::other(why.clone()) })
            }
        });
        kept.collect()
    }

    fn open_log(&self, wanted: &Wanted) -> Result<Opened, StorageError> {
        let (dir, there) = self.place(wanted)?;
        let opened = self.open_in(dir, wanted, there);
        if opened.is_err() {
            dir.logs.lock().remove(&wanted.name);
        }
        opened
    }

    /// `there` is whose log lies in the directory under that name.
    fn open_in(&self, dir: &LogDir, wanted: &Wanted, there: Option<TopicId>) -> Result<Opened, StorageError> {
        let name = &wanted.name;
        if let Some(found) = there.filter(|found| *found != wanted.id.topic) {
            return Err(StorageError::OtherTopic { log: text(name), found, wanted: wanted.id.topic });
        }
        let path = match there {
            Some(_) => dir.directory.log_path(name),
            None => {
                dir.forget(name)?;
                dir.directory.create_log(name, &metadata_of(wanted.id.topic))?
            }
        };
        let known = |offsets: &Offsets| offsets.get(name).copied().unwrap_or(Offset(0));
        let open = OpenLog {
            id: wanted.id.topic.log_id(wanted.id.index),
            dir: path,
            config: wanted.config.clone(),
            files: self.files.clone(),
            health: dir.health.clone(),
            clock: self.clock.clone(),
            boot: self.boot,
            clean_shutdown: dir.clean || wanted.settled.is_some(),
            recovery_point: known(&dir.recovery_points.lock()),
            log_start: known(&dir.log_starts.lock()).max(wanted.log_start),
            committed_remote_end: wanted.remote_end,
        };
        let (log, recovered) =
            Log::open(open).map_err(|source| StorageError::Log { log: text(name), source })?;
        log.note_in(&self.stirs);
        // A namesake's that is gone says nothing about a log that was just made.
        if let Some(point) = dir.clean_points.lock().get(name).filter(|_| there.is_some()) {
            log.set_clean_point(*point);
        }
        let known_high = known(&dir.high_watermarks);
        let high_watermark = if there.is_some() { known_high } else { Offset(0) };
        let high_watermark = wanted.settled.unwrap_or(high_watermark);
        self.resume_move(wanted, dir);
        Ok(Opened { log, room: dir.room.clone(), dirty: dir.dirty.clone(), recovered, high_watermark })
    }

    /// Finds the log's directory, and whose log lies there; a new one goes to the working directory with the fewest. The
    /// log counts as lying there from now on.
    fn place(&self, wanted: &Wanted) -> Result<(&LogDir, Option<TopicId>), StorageError> {
        let found = self.lying(wanted)?;
        let _placing = self.placing.lock();
        // A configuration names at least one log directory.
        let fewest = || self.working().min_by_key(|dir| dir.logs.lock().len()).unwrap_or(&self.dirs[0]);
        let preferred = || {
            let root = self.moves.take_preferred(&wanted.name.name, wanted.name.number)?;
            self.working().find(|dir| dir.directory.root() == root)
        };
        let anew = || (preferred().unwrap_or_else(fewest), None);
        let (dir, there) = found.unwrap_or_else(anew);
        dir.logs.lock().insert(wanted.name.clone(), wanted.id);
        Ok((dir, there))
    }

    /// Where a log lies, and whose it is. One that may lie in a directory that is offline is never begun anew elsewhere.
    fn lying(&self, wanted: &Wanted) -> Result<Option<(&LogDir, Option<TopicId>)>, StorageError> {
        let name = &wanted.name;
        let offline = |dir: PathBuf, why| Err(StorageError::Offline { log: text(name), dir, why });
        if let Some(dir) = self.working().find(|dir| dir.logs.lock().contains_key(name)) {
            return Ok(Some((dir, topic_in(dir, name)?.flatten())));
        }
        if self.dirs.iter().any(|dir| dir.health.failed().is_some())
            && let Some(dir) = self.working().find(|dir| dir.directory.is_moved(name))
        {
            // What lies in the failed directory is what it was copied from.
            return Ok(Some((dir, topic_in(dir, name)?.flatten())));
        }
        for dir in &self.dirs {
            let held = dir.logs.lock().contains_key(name);
            match dir.health.failed() {
                Some(why) if held || (dir.found.contains(name) && !wanted.fresh) => {
                    return offline(dir.directory.root().to_owned(), why);
                }
                Some(_) => {}
                None => match topic_in(dir, name)? {
                    Some(topic) => return Ok(Some((dir, topic))),
                    None if held => return Ok(Some((dir, None))),
                    None => {}
                },
            }
        }
        match self.unopened.iter().find_map(|dir| Some((dir, dir.failed()?))) {
            Some((dir, why)) if !wanted.fresh => offline(dir.path().to_owned(), why),
            _ => Ok(None),
        }
    }

    /// Renames a closed log's directory away; `purge_deleted` removes it later. A namesake of another topic stays.
    pub fn delete_log(&self, name: &LogName, topic: TopicId) -> Result<(), StorageError> {
        for dir in self.working() {
            let held = dir.logs.lock().remove(name).is_some();
            let there = dir.directory.log_metadata(name)?;
            if there.is_some_and(|metadata| topic_of(&metadata).map_or(held, |found| found == topic)) {
                dir.directory.delete_log(name, &*self.entropy)?;
                let mut points = dir.clean_points.lock();
                if points.remove(name).is_some() {
                    dir.directory.save(CheckpointKind::Cleaner, &points)?;
                }
            }
        }
        Ok(())
    }

    /// Removes directories of deleted logs that have waited `delay_ms`.
    pub fn purge_deleted(&self, delay_ms: i64) -> Result<usize, StorageError> {
        let mut purged = 0;
        for dir in self.working() {
            purged += dir.directory.purge_deleted(delay_ms)?;
        }
        Ok(purged)
    }

    /// Writes recovery points, log starts, high watermarks and clean points of all logs.
    pub fn checkpoint(&self, hosted: &[PartitionHandle]) -> Result<(), StorageError> {
        let by_id: BTreeMap<PartitionId, &PartitionHandle> =
            hosted.iter().map(|partition| (partition.id(), partition)).collect();
        for dir in self.working() {
            let logs = dir.logs.lock().clone();
            let all = |offset: fn(&PartitionHandle) -> Offset| -> Offsets {
                let held = logs.iter().filter_map(|(name, id)| Some((name, by_id.get(id)?)));
                held.map(|(name, partition)| (name.clone(), offset(partition))).collect()
            };
            dir.save_recovery_points(|| all(|partition| partition.log().recovery_point()))?;
            dir.forget_gone(&logs)?;
            dir.keep_starts(&all(|partition| partition.offsets().log_start))?;
            dir.save_high_watermarks(&all(|partition| partition.high_watermark()))?;
        }
        self.save_clean_points(hosted)
    }

    /// Writes down how far compacted logs were cleaned, where that has changed.
    pub fn save_clean_points(&self, hosted: &[PartitionHandle]) -> Result<(), StorageError> {
        let known: BTreeMap<PartitionId, Offset> = hosted
            .iter()
            .filter_map(|partition| Some((partition.id(), partition.log().clean_point()?)))
            .collect();
        for dir in self.working() {
            let logs = dir.logs.lock().clone();
            let mut saved = dir.clean_points.lock();
            let points: Offsets =
                logs.iter().filter_map(|(name, id)| Some((name.clone(), *known.get(id)?))).collect();
            if *saved != points {
                dir.judged(dir.directory.save(CheckpointKind::Cleaner, &points))?;
                *saved = points;
            }
        }
        Ok(())
    }

    /// Keeps log starts durably, each in its log's directory, before anybody sees them (I7).
    pub fn keep_starts(&self, starts: &Offsets) -> Result<(), StorageError> {
        for dir in self.working() {
            let held = dir.logs.lock().clone();
            let here: Offsets = starts
                .iter()
                .filter(|(name, _)| held.contains_key(*name))
                .map(|(name, at)| (name.clone(), *at))
                .collect();
            if !here.is_empty() {
                dir.keep_starts(&here)?;
            }
        }
        Ok(())
    }

    /// Closes every log and leaves the clean-shutdown markers: the last thing a clean stop does. A directory with a
    /// log that failed to close gets no marker, so that the next start checks it.
    pub fn close(&self, hosted: &[PartitionHandle], broker_epoch: i64) -> Result<(), StorageError> {
        let closed = self.hands.share(HANDS, hosted, |partition| {
            partition.resign();
            let log = partition.log();
            let failed = |source| StorageError::Failed { log: log.id().to_string(), source };
            log.close().map_err(|source| (log.dir().parent().map(Path::to_owned), failed(source)))
        });
        self.checkpoint(hosted)?;
        let (mut failed, mut unclean) = (None, BTreeSet::new());
        for (dir, error) in closed.into_iter().filter_map(Result::err) {
            unclean.extend(dir);
            failed = Some(error);
        }
        for dir in self.working().filter(|dir| !unclean.contains(dir.directory.root())) {
            dir.directory.mark_clean(broker_epoch)?;
        }
        failed.map_or(Ok(()), Err)
    }
}

impl StartKeeper for Storage {
    fn keep(&self, topic: &str, index: i32, start: Offset) -> io::Result<()> {
        let name = LogName { name: topic.to_owned(), number: index };
        self.keep_starts(&Offsets::from([(name, start)])).map_err(io::Error::other)
    }

    fn lower_recovery_point(&self, topic: &str, index: i32, end: Offset) -> io::Result<()> {
        let name = LogName { name: topic.to_owned(), number: index };
        for dir in self.working().filter(|dir| dir.logs.lock().contains_key(&name)) {
            dir.lower_recovery_point(&name, end).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

pub(super) fn text(name: &LogName) -> String {
    format!("{}-{}", name.name, name.number)
}

/// Kafka's `partition.metadata`, version 0.
pub(super) fn metadata_of(topic: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic}")
}

/// The topic of the log that lies there under this name, if its metadata tells it; `None` without metadata.
fn topic_in(dir: &LogDir, name: &LogName) -> Result<Option<Option<TopicId>>, StorageError> {
    Ok(dir.judged(dir.directory.log_metadata(name))?.as_deref().map(topic_of))
}

fn topic_of(metadata: &str) -> Option<TopicId> {
    metadata.lines().find_map(|line| line.strip_prefix("topic_id:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use firnline_tiering::entropy::OsEntropy;

    #[test]
    fn partition_metadata_is_spelled_as_kafkas() {
        let golden = include_str!("../../tests/fixtures/partition-metadata/v0/topic");
        let topic = TopicId(uuid::Uuid::from_u128(0x11112222_3333_4444_8555_666677778888));
        assert_eq!(metadata_of(topic), golden);
        assert_eq!(topic_of(golden), Some(topic));
    }

    #[test]
    fn partition_metadata_reads_back() {
        let topic = TopicId::draw(&OsEntropy);
        assert_eq!(topic_of(&metadata_of(topic)), Some(topic));
        assert_eq!(topic_of("version: 0\n"), None);
    }
}
