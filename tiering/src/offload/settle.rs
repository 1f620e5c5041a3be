//! What became of an object that was announced and never heard of again: after a crash, or a commit nobody
//! answered. Invariant: an object is removed only when no row, manifest or graveyard names it and no change in
//! flight can make it count any more.

use crate::cold::manifest::Manifest;
use crate::cold::tier::{TierChange, TierChangeKind, TierRow};
use crate::config::LogId;
use crate::offload::context::{OffloadError, Tier};
use crate::offload::intent::Intent;
use std::collections::BTreeSet;
use uuid::Uuid;

/// What an intent comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Row, manifest or graveyard name the object: the intent has done its duty.
    Counts,
    /// Its commit may still be on its way: raise the row's version first, so that it is refused.
    MayStillCount,
    /// It never will count: remove it.
    Orphan,
}

/// Judges one intent. `listed` are the uuids of all objects that row, manifest, leaves and graveyard name.
pub fn judge(intent: &Intent, row: &TierRow, listed: &BTreeSet<Uuid>) -> Verdict {
    if listed.contains(&intent.name.uuid()) {
        return Verdict::Counts;
    }
    let still_fits = row.version == intent.on_version && row.leader_epoch == intent.leader_epoch;
    // A row behind the intent is an old view of the quorum: the change may be in what we have not seen.
    if still_fits || row.version < intent.on_version { Verdict::MayStillCount } else { Verdict::Orphan }
}

/// Every object the row and its manifest name. Leaves' own entries are not among them: an object listed in a leaf
/// was listed in a root before, and its intent was settled then.
pub fn listed(row: &TierRow, manifest: Option<&Manifest>) -> BTreeSet<Uuid> {
    let mut uuids: BTreeSet<Uuid> = row.entries.iter().map(|entry| entry.uuid).collect();
    uuids.extend(row.manifest.map(|pointer| pointer.uuid));
    if let Some(manifest) = manifest {
        uuids.extend(manifest.entries.iter().map(|entry| entry.uuid));
        uuids.extend(manifest.leaves.iter().map(|leaf| leaf.uuid));
        uuids.extend(manifest.graveyard.iter().map(|grave| grave.name.uuid()));
    }
    uuids
}

/// Settles the open intents of one log; returns how many objects were removed. Call it under the log's turn.
///
/// A log without a row is left alone: it may have moved to another broker; a deleted one is purged (`gc.rs`).
pub(crate) async fn settle(tier: &Tier, log: &LogId) -> Result<usize, OffloadError> {
    let failed = |source| OffloadError::File { what: "cannot list the offload intents", source };
    let open = tier.intents.open_intents().map_err(failed)?;
    let mut removed = 0;
    for intent in open.iter().filter(|intent| intent.log == *log) {
        let Some(mut row) = tier.commit.row(log) else {
            return Ok(removed);
        };
        let mut verdict = judge_against(tier, intent, &row).await?;
        if verdict == Verdict::MayStillCount {
            let kind = TierChangeKind::MoveLogStart(row.log_start);
            let change = TierChange { on_version: row.version, leader_epoch: row.leader_epoch, kind };
            row = tier.commit.commit(log, change).await?;
            verdict = judge_against(tier, intent, &row).await?;
        }
        match verdict {
            Verdict::Counts => tier.forget_intent(intent.name.uuid()),
            Verdict::Orphan => {
                tier.bucket.store.delete(&tier.bucket.layout.key(log, &intent.name)).await?;
                tier.forget_intent(intent.name.uuid());
                tracing::info!(%log, object = %intent.name, "removed an object whose upload was never committed");
                removed += 1;
            }
            Verdict::MayStillCount => {}
        }
    }
    Ok(removed)
}

async fn judge_against(tier: &Tier, intent: &Intent, row: &TierRow) -> Result<Verdict, OffloadError> {
    let manifest = match &row.manifest {
        Some(pointer) => Some(tier.manifests.load(&intent.log, pointer).await?),
        None => None,
    };
    Ok(judge(intent, row, &listed(row, manifest.as_deref())))
}

/// Settles what the last run of this broker left open, log by log. A log that fails is tried again by its next
/// offload; the first failure is returned after all were tried.
pub async fn settle_all(tier: &Tier) -> Result<usize, OffloadError> {
    let failed = |source| OffloadError::File { what: "cannot list the offload intents", source };
    let logs: BTreeSet<LogId> =
        tier.intents.open_intents().map_err(failed)?.into_iter().map(|intent| intent.log).collect();
    let mut outcome = Ok(0);
    for log in logs {
        let _turn = tier.turn(&log)?;
        match (settle(tier, &log).await, &mut outcome) {
            (Ok(removed), Ok(total)) => *total += removed,
            (Err(error), Ok(_)) => outcome = Err(error),
            (_, Err(_)) => {}
        }
    }
    outcome
}
