//! Moving a partition's log start up, for DeleteRecords and for retention of what lies in the bucket.
//! It deletes no object: what falls below the start enters the manifest's graveyard at the next fold. Invariant: the
//! quorum knows the new start of a tiered log before the local log does (D4), so it never falls back (I7).

use std::io;
use std::sync::Arc;

use firnline_tiering::cold::commit::{CommitError, TierCommit};
use firnline_tiering::cold::tier::{Refused, TierChange, TierChangeKind};
use firnline_tiering::log::truncate::CutError;
use firnline_tiering::offsets::Offset;

use crate::partition::cold_lane::ColdLane;
use crate::partition::replica::PartitionHandle;

/// Tries against a tier row that changes meanwhile.
const TRIES: usize = 5;

/// Why the log start did not move.
#[derive(Debug, thiserror::Error)]
pub enum TrimRefused {
    /// This broker does not lead the partition (any more).
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// `cleanup.policy` is compact only: records go by key.
    #[error("cleanup.policy is compact: records cannot be deleted by offset")]
    CompactOnly,
    /// The quorum did not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The local log did not take it.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The lane for disk work has stopped.
    #[error("the disk work did not run: {0}")]
    Lane(#[from] io::Error),
}

/// Moves the log start up to `to`, which is at most the high watermark; answers the log start after it.
pub async fn trim(
    partition: &PartitionHandle,
    to: Offset,
    lane: &Arc<ColdLane>,
    tiers: &dyn TierCommit,
) -> Result<Offset, TrimRefused> {
    if !partition.is_leader() {
        return Err(TrimRefused::NotLeader);
    }
    let config = partition.log().config();
    if config.compact && !config.delete {
        return Err(TrimRefused::CompactOnly);
    }
    if to > partition.offsets().log_start {
        if config.remote_enabled {
            move_in_quorum(partition, to, tiers).await?;
        }
        let partition = partition.clone();
        lane.run(move || Ok(partition.raise_log_start(to))).await??;
    }
    Ok(partition.offsets().log_start)
}

/// Proposes the new start until the row takes it; an offload may commit its own step in between.
async fn move_in_quorum(
    partition: &PartitionHandle,
    to: Offset,
    tiers: &dyn TierCommit,
) -> Result<(), TrimRefused> {
    let id = partition.log().id();
    let mut last = CommitError::NoSuchLog;
    for _ in 0..TRIES {
        let Some(row) = tiers.row(id) else { return Err(CommitError::NoSuchLog.into()) };
        if row.log_start >= to {
            return Ok(());
        }
        let change = TierChange {
            on_version: row.version,
            leader_epoch: row.leader_epoch,
            kind: TierChangeKind::MoveLogStart(to),
        };
        match tiers.commit(id, change).await {
            Ok(row) => {
                partition.log().set_tier(row);
                return Ok(());
            }
            Err(error @ CommitError::Refused(Refused::StaleVersion { .. })) => last = error,
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.into())
}
