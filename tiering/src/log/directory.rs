//! One `log.dir`: its lock, its identity (`meta.properties`), its checkpoints, its clean-shutdown marker and the
//! names of the logs in it. It opens no log. Invariant: a directory serves one process of one node of one cluster.

use crate::clock::Clock;
use crate::entropy::Entropy;
pub use crate::hot::checkpoint::{DirectoryIdentity, Offsets};
use crate::hot::checkpoint::{
    TEXT_MAX, TextError, read_clean_shutdown, read_identity, read_offsets, write_clean_shutdown,
    write_identity, write_offsets,
};
pub use crate::hot::dir::LogName;
use crate::hot::dir::{CLEAN_SHUTDOWN, META_PROPERTIES, PARTITION_METADATA, is_deleted_dir};
use crate::hot::file::{DirLock, Files, Space};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Whose directory this must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryOwner {
    /// The cluster's id. A caller that has none yet asks [`LogDirectory::identity_of`] first.
    pub cluster_id: String,
    /// The node's id.
    pub node_id: i32,
}

/// The checkpoint files of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointKind {
    /// `recovery-point-offset-checkpoint`: below it everything is fsynced.
    RecoveryPoint,
    /// `log-start-offset-checkpoint`.
    LogStart,
    /// `replication-offset-checkpoint`: high watermarks.
    HighWatermark,
    /// `cleaner-offset-checkpoint`: below it compaction has been.
    Cleaner,
}

impl CheckpointKind {
    /// The file's name, Kafka's.
    pub const fn file_name(self) -> &'static str {
        match self {
            CheckpointKind::RecoveryPoint => "recovery-point-offset-checkpoint",
            CheckpointKind::LogStart => "log-start-offset-checkpoint",
            CheckpointKind::HighWatermark => "replication-offset-checkpoint",
            CheckpointKind::Cleaner => "cleaner-offset-checkpoint",
        }
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process works in it.
    #[error(
        "log directory {dir} is locked by another running broker (its .lock is held); stop that one or use another directory"
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// It belongs to another cluster.
    #[error("log directory {dir} belongs to cluster {found}, this broker is of cluster {expected}")]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// In its `meta.properties`.
        found: String,
        /// This broker's.
        expected: String,
    },
    /// It belongs to another node.
    #[error("log directory {dir} belongs to node {found}, this is node {expected}")]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// In its `meta.properties`.
        found: i32,
        /// This node's.
        expected: i32,
    },
    /// One of its small files cannot be understood.
    #[error("{path} cannot be read: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The disk failed.
    #[error("{what}: {source}")]
    Storage {
        /// What was tried, with the path.
        what: String,
        /// The failure.
        source: io::Error,
    },
}

/// An open, locked log directory.
#[derive(Debug)]
pub struct LogDirectory {
    root: PathBuf,
    pub(super) files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    identity: DirectoryIdentity,
    clean: Option<CleanShutdown>,
    /// When each `-delete` directory was first seen, milliseconds; `None` until somebody looked.
    dying: Mutex<Option<BTreeMap<String, i64>>>,
    _lock: DirLock,
}

/// The marker of a clean stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The broker's epoch when it stopped, if it knew one (KIP-966).
    pub broker_epoch: Option<i64>,
}

impl LogDirectory {
    /// What `meta.properties` in `root` says, without locking; `None` if the directory is fresh.
    pub fn identity_of(files: &dyn Files, root: &Path) -> Result<Option<DirectoryIdentity>, DirectoryError> {
        let path = root.join(META_PROPERTIES);
        let Some(text) = read_text(files, &path)? else { return Ok(None) };
        read_identity(&text).map(Some).map_err(malformed(&path))
    }

    /// Gives a fresh directory this id, as [`LogDirectory::open`] gives it one that was drawn. One that is not fresh is
    /// left as it is.
    pub fn format(
        files: &dyn Files,
        root: &Path,
        owner: &DirectoryOwner,
        directory_id: Uuid,
    ) -> Result<(), DirectoryError> {
        let failed = |what: &str| storage(format!("{what} {}", root.display()));
        files.create_dir_all(root).map_err(failed("create"))?;
        files.sync_dir(root.parent().unwrap_or(Path::new("."))).map_err(failed("create"))?;
        match Self::identity_of(files, root)? {
            Some(_) => Ok(()),
            None => found(files, directory_id, root, owner).map(drop),
        }
    }

    /// Creates the directory if missing, locks it, checks or writes `meta.properties`, and takes the clean-shutdown
    /// marker away before anything else, so that a crash while loading counts as unclean.
    pub fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        root: &Path,
        owner: &DirectoryOwner,
    ) -> Result<LogDirectory, DirectoryError> {
        let failed = |what: &str| storage(format!("{what} {}", root.display()));
        if !files.exists(root) {
            files.create_dir_all(root).map_err(failed("create"))?;
            // Whatever is made durable in it needs its own name to be.
            files.sync_dir(root.parent().unwrap_or(Path::new("."))).map_err(failed("create"))?;
        }
        let lock = files.lock_dir(root).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => DirectoryError::Locked { dir: root.to_owned() },
            _ => failed("lock")(error),
        })?;
        let identity = match Self::identity_of(&*files, root)? {
            Some(identity) => identity,
            None => found(&*files, entropy.uuid(), root, owner)?,
        };
        check_owner(root, &identity, owner)?;
        let clean = take_marker(&*files, root)?;
        let (root, dying) = (root.to_owned(), Mutex::default());
        Ok(LogDirectory { root, files, clock, identity, clean, dying, _lock: lock })
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What `meta.properties` says.
    pub fn identity(&self) -> &DirectoryIdentity {
        &self.identity
    }

    /// The last process closed it cleanly.
    pub fn was_clean(&self) -> bool {
        self.clean.is_some()
    }

    /// The marker that was found, gone by now.
    pub fn clean_shutdown(&self) -> Option<CleanShutdown> {
        self.clean
    }

    /// The logs in it, sorted; those being deleted are not listed.
    pub fn logs(&self) -> Result<Vec<LogName>, DirectoryError> {
        let mut logs: Vec<LogName> = self.names()?.iter().filter_map(|name| LogName::parse(name)).collect();
        logs.sort_unstable();
        Ok(logs)
    }

    /// Where a log's files lie.
    pub fn log_path(&self, log: &LogName) -> PathBuf {
        self.root.join(log.to_string())
    }

    /// Makes a log's directory with its `partition.metadata`; fine if it is there. What it made is durable once the log
    /// in it is open, which syncs its names, and after [`LogDirectory::sync`], which many new logs share.
    pub fn create_log(&self, log: &LogName, metadata: &str) -> Result<PathBuf, DirectoryError> {
        let path = self.log_path(log);
        let failed = || storage(format!("create {}", path.display()));
        self.files.create_dir_all(&path).map_err(failed())?;
        if self.log_metadata(log)?.as_deref() == Some(metadata) {
            return Ok(path);
        }
        let file = path.join(PARTITION_METADATA);
        // A log that opens without a segment makes one and syncs the directory: once is enough.
        let written = match self.files.list(&path).map_err(failed())?.is_empty() {
            true => self.files.write_renamed(&file, metadata.as_bytes()),
            false => self.files.write_atomic(&file, metadata.as_bytes()),
        };
        written.map_err(failed())?;
        Ok(path)
    }

    /// Makes the names of logs created so far durable.
    pub fn sync(&self) -> Result<(), DirectoryError> {
        self.files.sync_dir(&self.root).map_err(storage(format!("sync {}", self.root.display())))
    }

    /// A log's `partition.metadata`, if it has one.
    pub fn log_metadata(&self, log: &LogName) -> Result<Option<String>, DirectoryError> {
        read_text(&*self.files, &self.log_path(log).join(PARTITION_METADATA))
    }

    /// Renames a log's directory to `<name>-<number>.<uuid>-delete`, durably; [`LogDirectory::purge_deleted`]
    /// removes it. Fine if it is gone. The log is closed before.
    pub fn delete_log(&self, log: &LogName, entropy: &dyn Entropy) -> Result<(), DirectoryError> {
        let (path, dying) = (self.log_path(log), log.deleted(entropy.uuid()));
        let failed = || storage(format!("rename {} to {dying}", path.display()));
        match self.files.rename(&path, &self.root.join(&dying)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            result => result.map_err(failed())?,
        }
        self.files.sync_dir(&self.root).map_err(failed())?;
        if let Some(known) = &mut *self.dying.lock() {
            known.insert(dying, self.clock.now_ms());
        }
        Ok(())
    }

    /// Removes `-delete` directories that have waited `delay_ms` since this process first saw them. Returns how
    /// many went. Takes as long as the file system needs: not on a serving core.
    pub fn purge_deleted(&self, delay_ms: i64) -> Result<usize, DirectoryError> {
        let now_ms = self.clock.now_ms();
        let mut known = self.dying.lock();
        if known.as_ref().is_some_and(BTreeMap::is_empty) {
            // Only this process makes such directories: there is no need to list thousands of others for them.
            return Ok(0);
        }
        let names = self.names()?;
        let dying = known.get_or_insert_default();
        dying.retain(|name, _| names.binary_search(name).is_ok());
        for name in names.iter().filter(|name| is_deleted_dir(name)) {
            dying.entry(name.clone()).or_insert(now_ms);
        }
        let due: Vec<String> = dying
            .iter()
            .filter(|(_, seen)| now_ms.saturating_sub(**seen) >= delay_ms)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &due {
            match self.files.remove_dir_all(&self.root.join(name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result.map_err(storage(format!("remove {name}")))?,
            }
            dying.remove(name);
        }
        Ok(due.len())
    }

    /// Reads a checkpoint; empty if it was never written.
    pub fn load(&self, kind: CheckpointKind) -> Result<Offsets, DirectoryError> {
        let path = self.root.join(kind.file_name());
        match read_text(&*self.files, &path)? {
            Some(text) => read_offsets(&text).map_err(malformed(&path)),
            None => Ok(Offsets::new()),
        }
    }

    /// Replaces a checkpoint atomically and durably.
    pub fn save(&self, kind: CheckpointKind, offsets: &Offsets) -> Result<(), DirectoryError> {
        let path = self.root.join(kind.file_name());
        let failed = storage(format!("write {}", path.display()));
        self.files.write_atomic(&path, write_offsets(offsets).as_bytes()).map_err(failed)
    }

    /// Leaves the clean-shutdown marker; the last thing a clean stop does. `broker_epoch` is −1 if unknown.
    pub fn mark_clean(&self, broker_epoch: i64) -> Result<(), DirectoryError> {
        let path = self.root.join(CLEAN_SHUTDOWN);
        let failed = storage(format!("write {}", path.display()));
        self.files.write_atomic(&path, write_clean_shutdown(broker_epoch).as_bytes()).map_err(failed)
    }

    /// Room on its file system.
    pub fn space(&self) -> Result<Space, DirectoryError> {
        self.files.space(&self.root).map_err(storage(format!("ask for space of {}", self.root.display())))
    }

    pub(super) fn names(&self) -> Result<Vec<String>, DirectoryError> {
        self.files.list(&self.root).map_err(storage(format!("list {}", self.root.display())))
    }
}

pub(super) fn storage(what: String) -> impl FnOnce(io::Error) -> DirectoryError {
    move |source| DirectoryError::Storage { what, source }
}

fn malformed(path: &Path) -> impl FnOnce(TextError) -> DirectoryError {
    let path = path.to_owned();
    move |why| DirectoryError::Malformed { path, why: why.to_string() }
}

fn read_text(files: &dyn Files, path: &Path) -> Result<Option<String>, DirectoryError> {
    match files.read_all(path, TEXT_MAX) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage(format!("read {}", path.display()))(error)),
    }
}

/// Gives a fresh directory its identity.
fn found(
    files: &dyn Files,
    directory_id: Uuid,
    root: &Path,
    owner: &DirectoryOwner,
) -> Result<DirectoryIdentity, DirectoryError> {
    let identity =
        DirectoryIdentity { cluster_id: owner.cluster_id.clone(), node_id: owner.node_id, directory_id };
    let path = root.join(META_PROPERTIES);
    let failed = storage(format!("write {}", path.display()));
    files.write_atomic(&path, write_identity(&identity).as_bytes()).map_err(failed)?;
    Ok(identity)
}

fn check_owner(
    root: &Path,
    identity: &DirectoryIdentity,
    owner: &DirectoryOwner,
) -> Result<(), DirectoryError> {
    if identity.cluster_id != owner.cluster_id {
        let (found, expected) = (identity.cluster_id.clone(), owner.cluster_id.clone());
        return Err(DirectoryError::OtherCluster { dir: root.to_owned(), found, expected });
    }
    if identity.node_id != owner.node_id {
        let (found, expected) = (identity.node_id, owner.node_id);
        return Err(DirectoryError::OtherNode { dir: root.to_owned(), found, expected });
    }
    Ok(())
}

/// Reads the clean-shutdown marker and removes it durably.
fn take_marker(files: &dyn Files, root: &Path) -> Result<Option<CleanShutdown>, DirectoryError> {
    let path = root.join(CLEAN_SHUTDOWN);
    let Some(text) = read_text(files, &path)? else { return Ok(None) };
    let failed = || storage(format!("remove {}", path.display()));
    files.remove(&path).map_err(failed())?;
    files.sync_dir(root).map_err(failed())?;
    Ok(Some(CleanShutdown { broker_epoch: read_clean_shutdown(&text) }))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test reads its fixtures itself")]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::entropy::OsEntropy;
    use crate::hot::file::OsFiles;
    use crate::offsets::Offset;

    fn open(root: &Path, cluster: &str, node_id: i32) -> Result<LogDirectory, DirectoryError> {
        let owner = DirectoryOwner { cluster_id: cluster.into(), node_id };
        LogDirectory::open(Arc::new(OsFiles), Arc::new(SystemClock), &OsEntropy, root, &owner)
    }

    fn log(name: &str, number: i32) -> LogName {
        LogName { name: name.into(), number }
    }

    #[test]
    fn a_directory_serves_one_process_of_one_node_of_one_cluster() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("logs");
        let first = open(&root, "c", 1).expect("opens");
        let id = first.identity().directory_id;
        assert!(matches!(open(&root, "c", 1), Err(DirectoryError::Locked { .. })));
        drop(first);
        assert!(matches!(open(&root, "d", 1), Err(DirectoryError::OtherCluster { .. })));
        assert!(matches!(open(&root, "c", 2), Err(DirectoryError::OtherNode { .. })));
        assert_eq!(open(&root, "c", 1).expect("opens").identity().directory_id, id);
        OsFiles.write_atomic(&root.join(META_PROPERTIES), b"version=9").expect("writes");
        assert!(matches!(open(&root, "c", 1), Err(DirectoryError::Malformed { .. })));
    }

    #[test]
    fn a_fresh_directory_takes_the_id_it_is_given_and_keeps_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, owner) = (dir.path().join("logs"), DirectoryOwner { cluster_id: "c".into(), node_id: 1 });
        let format =
            |id| LogDirectory::format(&OsFiles, &root, &owner, Uuid::from_u128(id)).expect("formats");
        format(7);
        format(8);
        assert_eq!(open(&root, "c", 1).expect("opens").identity().directory_id, Uuid::from_u128(7));
    }

    #[test]
    fn the_marker_is_gone_once_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = open(dir.path(), "c", 1).expect("opens");
        assert!(!first.was_clean());
        first.mark_clean(42).expect("marks");
        drop(first);
        let second = open(dir.path(), "c", 1).expect("opens");
        assert_eq!(second.clean_shutdown(), Some(CleanShutdown { broker_epoch: Some(42) }));
        drop(second);
        assert!(!open(dir.path(), "c", 1).expect("opens").was_clean());
    }

    #[test]
    fn checkpoints_and_logs_come_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = open(dir.path(), "c", 1).expect("opens");
        let offsets = Offsets::from([(log("a", 0), Offset(5)), (log("a-b", 11), Offset(0))]);
        use CheckpointKind::{Cleaner, HighWatermark, LogStart, RecoveryPoint};
        for kind in [RecoveryPoint, LogStart, HighWatermark, Cleaner] {
            assert_eq!(open.load(kind).expect("loads"), Offsets::new());
            open.save(kind, &offsets).expect("saves");
            assert_eq!(open.load(kind).expect("loads"), offsets);
        }
        for name in offsets.keys() {
            open.create_log(name, "version: 0\ntopic_id: x").expect("creates");
        }
        assert_eq!(open.logs().expect("lists"), offsets.keys().cloned().collect::<Vec<_>>());
        assert_eq!(
            open.log_metadata(&log("a", 0)).expect("reads").as_deref(),
            Some("version: 0\ntopic_id: x")
        );
        open.delete_log(&log("a", 0), &OsEntropy).expect("deletes");
        open.delete_log(&log("a", 0), &OsEntropy).expect("is gone already");
        assert_eq!(open.logs().expect("lists"), [log("a-b", 11)]);
        assert_eq!(open.purge_deleted(3_600_000).expect("waits"), 0);
        assert_eq!(open.purge_deleted(0).expect("purges"), 1);
        assert_eq!(open.purge_deleted(0).expect("purges"), 0);
        assert!(open.space().expect("asks").available > 0);
    }
}
