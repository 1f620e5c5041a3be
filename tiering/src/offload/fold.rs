//! What the next manifest of a log holds. Pure: the present manifest, the row and what was confirmed as deleted in,
//! a manifest out. Invariant: every object that leaves the list enters the graveyard in the same manifest; only a
//! confirmed deletion leaves the graveyard.

use crate::cold::entry::Entry;
use crate::cold::layout::ObjectName;
use crate::cold::manifest::{Grave, LeafRef, Manifest};
use crate::cold::tier::TierRow;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Unfolded entries from which on a manifest is due.
pub const FOLD_ENTRIES: usize = 16;
/// Age of the oldest unfolded entry from which on a manifest is due, milliseconds.
pub const FOLD_AFTER_MS: i64 = 10 * 60_000;
/// Confirmed deletions from which on a manifest is written only to be rid of them. Below, they wait for the next
/// fold: a manifest for each would leave a manifest to delete each time.
pub const FOLD_CONFIRMED: usize = 16;

/// The present list of a log's objects.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// The row.
    pub row: &'a TierRow,
    /// Its manifest, if it has one.
    pub manifest: Option<&'a Manifest>,
    /// The entries of those leaves that lie wholly below the log start.
    pub dead_leaves: &'a [(LeafRef, Vec<Entry>)],
    /// Objects in the graveyard whose deletion was confirmed.
    pub confirmed: &'a BTreeSet<Uuid>,
}

/// Whether some listed segment lies wholly below the log start, so that its object can go.
pub fn has_dead(row: &TierRow, manifest: Option<&Manifest>) -> bool {
    let dead = |entry: &Entry| entry.next <= row.log_start;
    row.entries.first().is_some_and(dead)
        || manifest.is_some_and(|manifest| {
            manifest.entries.first().is_some_and(dead)
                || manifest.leaves.first().is_some_and(|leaf| leaf.next <= row.log_start)
        })
}

/// The next manifest, named `uuid`, and the uuids of the row's entries it took in (all of them).
pub fn fold(present: &Present<'_>, uuid: Uuid, now_ms: i64) -> (Manifest, Vec<Uuid>) {
    let Present { row, manifest, dead_leaves, confirmed } = present;
    let folded: Vec<Uuid> = row.entries.iter().map(|entry| entry.uuid).collect();
    let listed = manifest.map_or(&[][..], |manifest| &manifest.entries).iter().chain(&row.entries);
    let (dead, entries): (Vec<Entry>, Vec<Entry>) = listed.partition(|entry| entry.next <= row.log_start);
    let leaves = manifest.map_or(&[][..], |manifest| &manifest.leaves);
    let leaves = leaves.iter().filter(|leaf| leaf.next > row.log_start).copied().collect();

    let old = manifest.map_or(&[][..], |manifest| &manifest.graveyard);
    let mut graveyard: Vec<Grave> =
        old.iter().filter(|grave| !confirmed.contains(&grave.name.uuid())).copied().collect();
    let dead_in_leaves = dead_leaves.iter().flat_map(|(_, entries)| entries);
    let segments = dead_in_leaves.chain(&dead).map(ObjectName::of_entry);
    let lists = dead_leaves.iter().map(|(leaf, _)| leaf.name());
    let replaced = row.manifest.map(|pointer| pointer.name());
    graveyard.extend(segments.chain(lists).chain(replaced).map(|name| Grave { name, since_ms: now_ms }));

    let folded_end = row.entries.last().map(|entry| entry.next);
    let end = folded_end.or(manifest.map(|manifest| manifest.end)).unwrap_or(row.end);
    (Manifest { uuid, log_start: row.log_start, end, leaves, entries, graveyard }, folded)
}
