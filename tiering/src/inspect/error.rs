//! Why files could not be looked into. Damage is no such reason: it is the answer.
//! Invariant: an error names the path it is about.

use std::io;
use std::path::PathBuf;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The disk failed, or the path is not there.
    #[error("{}: {source}", path.display())]
    Storage {
        /// What was read.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
    /// Nothing of ours or Kafka's.
    #[error("{} is no file of a log, no partition and no log directory", path.display())]
    Unknown {
        /// What was asked for.
        path: PathBuf,
    },
    /// Whoever the answer is for takes no more.
    #[error("the answer could not be written: {0}")]
    Shown(io::Error),
}

impl InspectError {
    pub(super) fn storage(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> InspectError {
        let path = path.into();
        move |source| InspectError::Storage { path, source }
    }
}
