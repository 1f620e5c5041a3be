//! Puts a log's next manifest and makes it count: load the present one, fold (pure), announce, put, read back,
//! commit. Invariant: a manifest that was not read back whole is never committed.

use crate::cold::entry::Entry;
use crate::cold::manifest::{LeafRef, Manifest};
use crate::cold::tier::{TierChangeKind, TierRow};
use crate::config::LogId;
use crate::offload::context::{Led, OffloadError, Tier};
use crate::offload::fold::{Present, fold};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Folds the row's entries into a new manifest, buries what lies below the log start, drops confirmed graves.
/// Call it under the log's turn.
pub(crate) async fn swap(
    log: &LogId,
    led: &Led,
    row: &Arc<TierRow>,
    tier: &Tier,
) -> Result<Arc<TierRow>, OffloadError> {
    let manifest = match &row.manifest {
        Some(pointer) => Some(tier.manifests.load(log, pointer).await?),
        None => None,
    };
    let dead_leaves = dead_leaves(log, row, manifest.as_deref(), tier).await?;
    let confirmed = tier.confirmed(log);
    let present =
        Present { row, manifest: manifest.as_deref(), dead_leaves: &dead_leaves, confirmed: &confirmed };
    let (next, folded) = fold(&present, tier.entropy.uuid(), tier.clock.now_ms());
    let (bytes, pointer) = next.encode(row.version.0);

    let name = pointer.name();
    let key = tier.bucket.layout.key(log, &name);
    tier.announce(log, led, row, name)?;
    let sent: Result<(), OffloadError> = async {
        tier.bucket.claim().await?;
        tier.manifests.put(log, &name, bytes.clone()).await?;
        let shown = tier.bucket.store.get(&key, u64::from(pointer.object_bytes)).await?;
        if shown == bytes { Ok(()) } else { Err(OffloadError::ManifestDiffers { key: key.clone() }) }
    }
    .await;
    if let Err(error) = sent {
        tier.withdraw(log, name).await;
        return Err(error);
    }
    let kind = TierChangeKind::Swap { manifest: pointer, folded };
    let row = tier.commit_announced(log, led, row, name, kind).await?;
    let left: BTreeSet<Uuid> = next.graveyard.iter().map(|grave| grave.name.uuid()).collect();
    tier.unconfirm(log, &confirmed.difference(&left).copied().collect());
    tier.unfolded_since(log, &row);
    Ok(row)
}

/// The entries of leaves wholly below the log start: each of their objects needs a grave of its own.
async fn dead_leaves(
    log: &LogId,
    row: &TierRow,
    manifest: Option<&Manifest>,
    tier: &Tier,
) -> Result<Vec<(LeafRef, Vec<Entry>)>, OffloadError> {
    let mut dead = Vec::new();
    let leaves = manifest.map_or(&[][..], |manifest| &manifest.leaves);
    for leaf in leaves.iter().filter(|leaf| leaf.next <= row.log_start) {
        dead.push((*leaf, tier.manifests.leaf(log, leaf).await?.entries.clone()));
    }
    Ok(dead)
}
