//! One `log.dir`: its lock, its identity (`meta.properties`), its checkpoints, its clean-shutdown marker and the
//! names of the logs in it. It opens no log. Invariant: a directory serves one process of one node of one cluster.

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::hot::file::{Files, Space};
use crate::offsets::Offset;
use std::collections::BTreeMap;
use std::io;
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

/// What `meta.properties` says (version 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryIdentity {
    /// The cluster's id.
    pub cluster_id: String,
    /// The node's id.
    pub node_id: i32,
    /// Names the directory for ever (KIP-858).
    pub directory_id: Uuid,
}

/// A log's directory name, `<name>-<number>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogName {
    /// The part before the last dash.
    pub name: String,
    /// The number after it, ≥ 0.
    pub number: i32,
}

/// Offsets by log, as one checkpoint file holds them.
pub type Offsets = BTreeMap<LogName, Offset>;

/// The checkpoint files of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointKind {
    /// `recovery-point-offset-checkpoint`: below it everything is fsynced.
    RecoveryPoint,
    /// `log-start-offset-checkpoint`.
    LogStart,
    /// `replication-offset-checkpoint`: high watermarks.
    HighWatermark,
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
}

impl LogDirectory {
    /// What `meta.properties` in `root` says, without locking; `None` if the directory is fresh.
    pub fn identity_of(
        _files: &dyn Files,
        _root: &Path,
    ) -> Result<Option<DirectoryIdentity>, DirectoryError> {
        todo!()
    }

    /// Creates the directory if missing, locks it, checks or writes `meta.properties`, and takes the clean-shutdown
    /// marker away before anything else, so that a crash while loading counts as unclean.
    pub fn open(
        _files: Arc<dyn Files>,
        _clock: Arc<dyn Clock>,
        _entropy: &dyn Entropy,
        _root: &Path,
        _owner: &DirectoryOwner,
    ) -> Result<LogDirectory, DirectoryError> {
        todo!()
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What `meta.properties` says.
    pub fn identity(&self) -> &DirectoryIdentity {
        todo!()
    }

    /// The last process closed it cleanly.
    pub fn was_clean(&self) -> bool {
        todo!()
    }

    /// The logs in it, sorted; those being deleted are not listed.
    pub fn logs(&self) -> Result<Vec<LogName>, DirectoryError> {
        todo!()
    }

    /// Where a log's files lie.
    pub fn log_path(&self, _log: &LogName) -> PathBuf {
        todo!()
    }

    /// Makes a log's directory with its `partition.metadata`, durably; fine if it is there.
    pub fn create_log(&self, _log: &LogName, _metadata: &str) -> Result<PathBuf, DirectoryError> {
        todo!()
    }

    /// A log's `partition.metadata`, if it has one.
    pub fn log_metadata(&self, _log: &LogName) -> Result<Option<String>, DirectoryError> {
        todo!()
    }

    /// Renames a log's directory to `<name>-<number>.<uuid>-delete`; [`LogDirectory::purge_deleted`] removes it.
    pub fn delete_log(&self, _log: &LogName, _entropy: &dyn Entropy) -> Result<(), DirectoryError> {
        todo!()
    }

    /// Removes `-delete` directories that have waited `delay_ms` since this process saw them. Returns how many.
    pub fn purge_deleted(&self, _delay_ms: i64) -> Result<usize, DirectoryError> {
        todo!()
    }

    /// Reads a checkpoint; empty if it was never written.
    pub fn load(&self, _kind: CheckpointKind) -> Result<Offsets, DirectoryError> {
        todo!()
    }

    /// Replaces a checkpoint atomically and durably.
    pub fn save(&self, _kind: CheckpointKind, _offsets: &Offsets) -> Result<(), DirectoryError> {
        todo!()
    }

    /// Leaves the clean-shutdown marker; the last thing a clean stop does. `broker_epoch` is −1 if unknown.
    pub fn mark_clean(&self, _broker_epoch: i64) -> Result<(), DirectoryError> {
        todo!()
    }

    /// Room on its file system.
    pub fn space(&self) -> Result<Space, DirectoryError> {
        todo!()
    }
}
