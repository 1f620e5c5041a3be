//! One turn of offload for one log: settle, plan, announce, upload, verify, commit, fold, release. The shell around
//! the pure parts; called again while there is more. Invariant: local bytes go only after the quorum said that a
//! verified object holds them (I15).

use crate::cold::entry::Entry;
use crate::cold::layout::ObjectName;
use crate::cold::tier::{TierChangeKind, TierRow};
use crate::log::sealed::Sealed;
use crate::log::unified::Log;
use crate::offload::context::{Led, OffloadError, Tier};
use crate::offload::fold::{FOLD_AFTER_MS, FOLD_ENTRIES};
use crate::offload::plan::{Plan, Span, plan};
use crate::offload::settle::settle;
use crate::offload::swap::swap;
use crate::offload::upload::Upload;
use crate::offsets::Offset;
use crate::retention::{Held, Tiers, release_below};
use std::sync::Arc;

/// What one turn did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offloaded {
    /// The segment that went to the bucket.
    pub uploaded: Option<Entry>,
    /// Whether a new manifest was committed.
    pub folded: bool,
    /// Local segments below this went.
    pub released_below: Option<Offset>,
    /// Another segment may be ready: call again soon.
    pub more: bool,
}

/// One turn: at most one segment goes to the bucket. `last_stable` is the log's last stable offset.
pub async fn offload_once(
    log: &Log,
    led: &Led,
    last_stable: Offset,
    tier: &Tier,
) -> Result<Offloaded, OffloadError> {
    let id = log.id();
    let _turn = tier.turn(id)?;
    let mut row = tier.row(id, led)?;
    log.set_tier(row.clone());
    // First what needs no bucket: with the bucket down, a full disk must still be able to free itself.
    let mut done =
        Offloaded { released_below: release(log, &row, last_stable, tier)?, ..Offloaded::default() };
    let sealed = log.sealed();
    let copy = !log.config().remote_copy_disable;
    let spans: Vec<Span> = sealed.iter().map(|one| Span { base: one.base, next: one.next }).collect();
    let step = if copy { plan(&spans, &row, last_stable) } else { Plan::UpToDate };
    match step {
        Plan::Hole { from, local } => return Err(OffloadError::Hole { from, local }),
        Plan::UpToDate | Plan::NotStable { .. } => {}
        Plan::Upload { at, from } => {
            tier.bucket.claim().await?;
            settle(tier, id).await?;
            // Settling may have raised the version.
            row = tier.row(id, led)?;
            row = upload(log, led, &row, &sealed[at], from, tier, &mut done).await?;
            log.set_tier(row.clone());
            done.more = at + 1 < sealed.len();
        }
    }
    if fold_is_due(tier, log, &row) {
        row = swap(id, led, &row, tier).await?;
        log.set_tier(row.clone());
        done.folded = true;
    }
    done.released_below = release(log, &row, last_stable, tier)?.or(done.released_below);
    Ok(done)
}

async fn upload(
    log: &Log,
    led: &Led,
    row: &Arc<TierRow>,
    sealed: &Sealed,
    from: Offset,
    tier: &Tier,
    done: &mut Offloaded,
) -> Result<Arc<TierRow>, OffloadError> {
    let id = log.id();
    let unreadable = |source| OffloadError::File { what: "cannot read a sealed segment's producers", source };
    let producers = sealed.producers().map_err(unreadable)?;
    // Complete: the segment lies below the last stable offset, so every transaction in it has its marker.
    let aborted = log.aborted(from, sealed.next).map_err(|error| OffloadError::File {
        what: "cannot read a log's transaction indexes",
        source: std::io::Error::other(error),
    })?;
    // Where the local log begins at `from`, it was started from the row, so the row's epoch is its own.
    let before = (from > Offset::ZERO).then(|| log.lineage().epoch_at(from - 1)).flatten();
    let uuid = tier.entropy.uuid();
    let name = ObjectName::Segment { base: from, leader_epoch: led.leader_epoch, uuid };
    let key = tier.bucket.layout.key(id, &name);
    tier.announce(id, led, row, name)?;
    let upload = Upload {
        key: &key,
        uuid,
        file: sealed.file.as_ref(),
        file_bytes: sealed.bytes,
        segment_base: sealed.base,
        from,
        next: sealed.next,
        leader_epoch: led.leader_epoch,
        previous_epoch: before.unwrap_or(row.end_epoch),
        producers: &producers,
        aborted: &aborted,
        labels: &led.labels,
    };
    let entry = match upload.run(&tier.bucket.store, tier.entropy.as_ref()).await {
        Ok(entry) => entry,
        Err(error) => {
            tier.withdraw(id, name).await;
            return Err(error.into());
        }
    };
    let row = tier.commit_announced(id, led, row, name, TierChangeKind::Append(entry)).await?;
    tracing::debug!(log = %id, base = entry.base.0, next = entry.next.0, bytes = entry.log_bytes, "segment offloaded");
    done.uploaded = Some(entry);
    Ok(row)
}

fn fold_is_due(tier: &Tier, log: &Log, row: &TierRow) -> bool {
    let since = tier.unfolded_since(log.id(), row);
    let old = since.is_some_and(|since| tier.clock.now_ms().saturating_sub(since) >= FOLD_AFTER_MS);
    row.entries.len() >= FOLD_ENTRIES || old
}

/// Lets local segments go by local retention, as far as the bucket holds them.
pub(crate) fn release(
    log: &Log,
    row: &TierRow,
    bound: Offset,
    tier: &Tier,
) -> Result<Option<Offset>, OffloadError> {
    let local = held_locally(log);
    let sealed_bytes: u64 = local.iter().map(|held| held.bytes).sum();
    let tiers = Tiers {
        remote: &[],
        local: &local,
        active_bytes: log.size_bytes().saturating_sub(sealed_bytes),
        remote_end: Some(row.end),
        log_start: row.log_start,
        bound,
    };
    let below = release_below(&tiers, &log.config(), tier.clock.now_ms());
    if let Some(below) = below {
        assert!(
            below <= row.end,
            "local bytes below {below} may go only below the committed end {} (I15)",
            row.end
        );
        log.release_local(below)?;
    }
    Ok(below)
}

/// The log's sealed local segments as retention sees them.
pub(crate) fn held_locally(log: &Log) -> Vec<Held> {
    let held = |one: &Sealed| Held {
        base: one.base,
        next: one.next,
        bytes: one.bytes,
        max_timestamp_ms: one.max_timestamp_ms,
    };
    log.sealed().iter().map(held).collect()
}
