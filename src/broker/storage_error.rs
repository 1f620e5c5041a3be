//! Why the log directories, or a log in one of them, cannot be used, in words for an operator.
//! It decides nothing. Invariant: each names the directory or the log it is about.

use std::path::PathBuf;
use std::sync::Arc;

use firnline_controller::id::TopicId;
use firnline_tiering::log::directory::DirectoryError;
use firnline_tiering::log::open::OpenError;

/// Why the log directories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// One of them cannot be opened.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Nobody formatted them, and this broker does not do it by itself.
    #[error(
        "log directory {0} is not formatted: run `firn storage format --config FILE` first \
         (only --dev, demo and an image with CLUSTER_ID format by themselves)"
    )]
    NotFormatted(PathBuf),
    /// A log cannot be opened.
    #[error("{log}: {source}")]
    Log {
        /// Its directory's name.
        log: String,
        /// Why.
        source: OpenError,
    },
    /// Its directory holds another topic's log by the same name.
    #[error(
        "{log}: its directory holds topic id {found}, the metadata says {wanted}, and {found} was never deleted: \
         move the directory away if it is not needed"
    )]
    OtherTopic {
        /// Its directory's name.
        log: String,
        /// In its `partition.metadata`.
        found: TopicId,
        /// What the metadata says.
        wanted: TopicId,
    },
    /// It lies, or may lie, in a directory whose disk failed.
    #[error("{log}: log directory {dir} is offline: {why}")]
    Offline {
        /// Its directory's name.
        log: String,
        /// The log directory.
        dir: PathBuf,
        /// What failed there.
        why: Arc<str>,
    },
    /// A copy of a log was not its beginning any more when it was to take its place.
    #[error("{log}: it was cut while it was copied")]
    CutMeanwhile {
        /// Its directory's name.
        log: String,
    },
    /// A replica was not exchanged with its copy.
    #[error("{log}: {why}")]
    NotExchanged {
        /// Its directory's name.
        log: String,
        /// What came between.
        why: String,
    },
    /// The disk failed under a log that stays open.
    #[error("{log}: {source}")]
    Failed {
        /// Its directory's name.
        log: String,
        /// Why.
        source: std::io::Error,
    },
}
