//! How the tier asks the quorum to change a row, without knowing who the quorum is: the broker implements it over
//! the controller's client. Invariant: `Ok` means the change is committed; `Unknown` means it may be.

use crate::cold::tier::{Refused, TierChange, TierRow};
use crate::config::LogId;
use async_trait::async_trait;
use std::sync::Arc;

/// Why a change was not (or may not have been) committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The row refused it: nothing changed. Look at the row again and decide anew.
    #[error("the quorum refused the change: {0}")]
    Refused(#[from] Refused),
    /// The quorum keeps no row for this log: it is not tiered, or was deleted. Nothing changed.
    #[error("the quorum keeps no tier of this log")]
    NoSuchLog,
    /// Not sent, or surely not applied: no controller answers.
    #[error("no controller takes changes: {0}")]
    Unavailable(String),
    /// Sent, and no answer came: it may be applied now, later or never.
    #[error("the controller did not answer: {0}")]
    Unknown(String),
}

/// Commits tier changes and shows the row they made.
#[async_trait]
pub trait TierCommit: Send + Sync {
    /// Proposes one change; returns the row it made.
    async fn commit(&self, log: &LogId, change: TierChange) -> Result<Arc<TierRow>, CommitError>;

    /// The row as this node knows it; `None` if the log is not tiered.
    fn row(&self, log: &LogId) -> Option<Arc<TierRow>>;
}
