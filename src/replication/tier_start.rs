//! Starting a replica where the bucket ends: a log that no longer meets what is committed there, or a follower whose
//! leader has the records in the bucket only, copies nothing that the bucket holds (KIP-405, D4).
//! It reads no record. Invariant: the log goes on with the epochs and producers of the bucket's last segment, so that
//! it is on its lineage.

use firnline_tiering::cold::reader::ColdReadError;
use firnline_tiering::cold::tier::TierRow;

use crate::partition::cold_desk::ColdAccess;
use crate::partition::follower::FollowError;
use crate::partition::replica::PartitionHandle;

/// Why a replica did not start at the bucket's end. It may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum TierStartError {
    /// The bucket holds nothing (any more), or none is configured.
    #[error("the records are in a bucket that is not configured")]
    NoBucket,
    /// The bucket did not answer.
    #[error(transparent)]
    Cold(#[from] ColdReadError),
    /// The log did not take it.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// Whether a log goes on where the bucket ends, or above it where the log starts by now: it reaches the bucket's end, and
/// the record below that is of the same epoch.
pub fn goes_on(partition: &PartitionHandle, row: &TierRow) -> bool {
    if !row.has_committed() {
        return true;
    }
    let offsets = partition.log().offsets();
    // What DeleteRecords took beyond the bucket's end is missing nowhere.
    if offsets.end < row.end || offsets.local_start > row.end.max(row.log_start) {
        return false;
    }
    // Where the log no longer knows who wrote below the seam, what it wrote above must at least not be older.
    let lineage = partition.log().lineage();
    match lineage.epoch_at(row.end - 1) {
        Some(epoch) => epoch == row.end_epoch,
        None => lineage.earliest().is_none_or(|(epoch, _)| epoch >= row.end_epoch),
    }
}

/// Drops the local log and begins at the bucket's end with its state. Only while the replica does not lead.
pub async fn start_at_tier(
    partition: &PartitionHandle,
    row: &TierRow,
    cold: Option<&ColdAccess>,
) -> Result<(), TierStartError> {
    let cold = cold.filter(|_| row.has_committed()).ok_or(TierStartError::NoBucket)?;
    let state = cold.reader().state_at_end(partition.log().id(), row).await?;
    let state = state.ok_or(TierStartError::NoBucket)?;
    partition.restart_with(row.end, state.lineage, &state.producers)?;
    tracing::info!(log = %partition.log().id(), at = %row.end, "the replica starts where the bucket ends");
    Ok(())
}
