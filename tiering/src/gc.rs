//! What goes away: retention over both tiers, graves past their grace, every object of a deleted log.
//! Invariants: the log start moves in the quorum before an object dies; an object dies only out of a graveyard, or
//! because its log was deleted; each step may be repeated after a crash.

use crate::cold::layout::ObjectName;
use crate::cold::manifest::Manifest;
use crate::cold::tier::{TierChange, TierChangeKind, TierRow};
use crate::config::LogId;
use crate::log::unified::Log;
use crate::offload::context::{Led, OffloadError, Tier};
use crate::offload::fold::{FOLD_CONFIRMED, has_dead};
use crate::offload::swap::swap;
use crate::offload::task::{held_locally, release};
use crate::offsets::Offset;
use crate::retention::{Held, Tiers, new_log_start};
use firnline_cache::error::LoadError;
use std::sync::Arc;

/// What one turn of retention did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// Where the log start moved.
    pub log_start: Option<Offset>,
    /// Local segments below this went because the bucket holds them.
    pub released_below: Option<Offset>,
    /// Objects deleted for good.
    pub objects_deleted: usize,
}

/// Where retention wants the log start of a log that is not tiered; `None` leaves it. `bound` is the high watermark.
/// Save the new start durably, then [`Log::advance_log_start`]: a start that was seen never falls (I7).
pub fn expired_local(log: &Log, bound: Offset, now_ms: i64) -> Option<Offset> {
    let local = held_locally(log);
    let sealed_bytes: u64 = local.iter().map(|held| held.bytes).sum();
    let tiers = Tiers {
        remote: &[],
        local: &local,
        active_bytes: log.size_bytes().saturating_sub(sealed_bytes),
        remote_end: None,
        log_start: log.offsets().log_start,
        bound,
    };
    new_log_start(&tiers, &log.config(), now_ms)
}

/// Retention of a tiered log: log start through the quorum, then local files, then objects. `bound` is the high
/// watermark.
pub async fn retain(log: &Log, led: &Led, bound: Offset, tier: &Tier) -> Result<Retained, OffloadError> {
    let id = log.id();
    let _turn = tier.turn(id)?;
    let mut row = tier.row(id, led)?;
    log.set_tier(row.clone());
    // First what needs no bucket: with the bucket down, a full disk must still be able to free itself.
    let mut done = Retained { released_below: release(log, &row, bound, tier)?, ..Retained::default() };
    if let Some(to) = expired(log, &row, bound, tier).await? {
        let kind = TierChangeKind::MoveLogStart(to);
        let change = TierChange { on_version: row.version, leader_epoch: led.leader_epoch, kind };
        row = tier.commit.commit(id, change).await?;
        log.set_tier(row.clone());
        done.log_start = Some(to);
    }
    // Also what DeleteRecords moved, or a crash left between the quorum and the files.
    if row.log_start > log.offsets().log_start {
        log.advance_log_start(row.log_start)?;
    }
    done.released_below = release(log, &row, bound, tier)?.or(done.released_below);
    done.objects_deleted = collect(id, led, row, tier).await?;
    Ok(done)
}

/// What a follower does by the row that its leader commits: it moves the log start and lets local files go, and touches
/// no object and no row. `bound` is the high watermark.
pub fn follow_row(log: &Log, bound: Offset, tier: &Tier) -> Result<Retained, OffloadError> {
    let Some(row) = log.tier() else { return Ok(Retained::default()) };
    let mut done = Retained::default();
    let to = row.log_start.min(bound);
    if to > log.offsets().log_start {
        log.advance_log_start(to)?;
        done.log_start = Some(to);
    }
    done.released_below = release(log, &row, bound, tier)?;
    Ok(done)
}

async fn expired(
    log: &Log,
    row: &TierRow,
    bound: Offset,
    tier: &Tier,
) -> Result<Option<Offset>, OffloadError> {
    let config = log.config();
    if !config.delete || (config.retention_ms < 0 && config.retention_bytes < 0) {
        return Ok(None);
    }
    let entries = tier.manifests.entries(log.id(), row).await?;
    let remote: Vec<Held> = entries
        .iter()
        .map(|entry| Held {
            base: entry.base,
            next: entry.next,
            bytes: entry.log_bytes,
            max_timestamp_ms: entry.max_timestamp,
        })
        .collect();
    let local = held_locally(log);
    let sealed_bytes: u64 = local.iter().map(|held| held.bytes).sum();
    let tiers = Tiers {
        remote: &remote,
        local: &local,
        active_bytes: log.size_bytes().saturating_sub(sealed_bytes),
        remote_end: Some(row.end),
        log_start: row.log_start,
        bound,
    };
    Ok(new_log_start(&tiers, &config, tier.clock.now_ms()))
}

/// Buries segments below the log start and deletes what has lain in the graveyard past the grace period; returns
/// how many deletions were confirmed. Call it under the log's turn.
async fn collect(log: &LogId, led: &Led, mut row: Arc<TierRow>, tier: &Tier) -> Result<usize, OffloadError> {
    let maybe_dead =
        row.manifest.is_some_and(|manifest| manifest.segments > 0 && manifest.base < row.log_start);
    let graves = row.manifest.is_some_and(|manifest| manifest.graves > 0);
    if !maybe_dead && !graves && !has_dead(&row, None) {
        return Ok(0);
    }
    if has_dead(&row, manifest_of(log, &row, tier).await?.as_deref()) {
        row = swap(log, led, &row, tier).await?;
    }
    let Some(manifest) = manifest_of(log, &row, tier).await? else {
        return Ok(0);
    };
    let (now_ms, confirmed) = (tier.clock.now_ms(), tier.confirmed(log));
    let mut deleted = 0;
    for grave in &manifest.graveyard {
        let due = now_ms.saturating_sub(grave.since_ms) >= tier.delete_grace_ms;
        if !due || confirmed.contains(&grave.name.uuid()) {
            continue;
        }
        tier.bucket.store.delete(&tier.bucket.layout.key(log, &grave.name)).await?;
        tier.confirm(log, grave.name.uuid());
        deleted += 1;
    }
    if tier.confirmed(log).len() >= FOLD_CONFIRMED {
        swap(log, led, &row, tier).await?;
    }
    Ok(deleted)
}

async fn manifest_of(log: &LogId, row: &TierRow, tier: &Tier) -> Result<Option<Arc<Manifest>>, OffloadError> {
    match &row.manifest {
        Some(pointer) => Ok(Some(tier.manifests.load(log, pointer).await?)),
        None => Ok(None),
    }
}

/// Removes every object of a deleted log: those its last row, manifest, leaves and graveyard name, and those its
/// open intents announce; returns how many. The manifest goes last, so that a purge that stops half-way begins
/// again from the same list; without it, all it named is gone.
pub async fn purge_log(log: &LogId, row: Option<&TierRow>, tier: &Tier) -> Result<usize, OffloadError> {
    let _turn = tier.turn(log)?;
    let mut names = Vec::new();
    if let Some(row) = row {
        names.extend(row.entries.iter().map(ObjectName::of_entry));
        let listed = match manifest_of(log, row, tier).await {
            Err(OffloadError::Manifest(LoadError::NotFound { .. })) => None,
            other => other?,
        };
        if let Some(manifest) = listed {
            names.extend(listed_by(log, &manifest, tier).await?);
        }
    }
    let unreadable = |source| OffloadError::File { what: "cannot list the offload intents", source };
    let intents = tier.intents.open_intents().map_err(unreadable)?;
    let announced = intents.iter().filter(|intent| intent.log == *log).map(|intent| intent.name);
    names.extend(announced.clone());
    names.extend(row.and_then(|row| row.manifest).map(|pointer| pointer.name()));
    for name in &names {
        tier.bucket.store.delete(&tier.bucket.layout.key(log, name)).await?;
    }
    announced.for_each(|name| tier.forget_intent(name.uuid()));
    tier.forget_log(log);
    Ok(names.len())
}

/// What a manifest names, segments before the leaves that list them.
async fn listed_by(log: &LogId, manifest: &Manifest, tier: &Tier) -> Result<Vec<ObjectName>, OffloadError> {
    let mut names: Vec<ObjectName> = manifest.entries.iter().map(ObjectName::of_entry).collect();
    let mut leaves = Vec::new();
    for leaf in &manifest.leaves {
        match tier.manifests.leaf(log, leaf).await {
            Ok(read) => names.extend(read.entries.iter().map(ObjectName::of_entry)),
            Err(LoadError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        leaves.push(leaf.name());
    }
    names.extend(manifest.graveyard.iter().map(|grave| grave.name));
    names.extend(leaves);
    Ok(names)
}
