//! Each tiered log's row: where its bucket pointer stands. What a row means is tiering's business.
//! Invariant: a row belongs to a live topic's partition or to one whose topic awaits its purge.

use std::sync::Arc;

use firnline_tiering::cold::tier::TierRow;
use imbl::OrdMap;

use crate::id::TopicId;

/// All rows, by topic and partition. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tiers {
    rows: OrdMap<(TopicId, i32), Arc<TierRow>>,
}

impl Tiers {
    /// A log's row; none before its first change.
    pub fn get(&self, topic: TopicId, partition: i32) -> Option<&Arc<TierRow>> {
        self.rows.get(&(topic, partition))
    }

    /// The rows of one topic, partition 0 first.
    pub fn of(&self, topic: TopicId) -> impl Iterator<Item = (i32, &Arc<TierRow>)> {
        self.rows.range((topic, 0)..=(topic, i32::MAX)).map(|((_, index), row)| (*index, row))
    }

    /// How many logs have a row.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// No log has a row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn set(&mut self, topic: TopicId, partition: i32, row: Arc<TierRow>) {
        self.rows.insert((topic, partition), row);
    }

    pub(crate) fn forget(&mut self, topic: TopicId) {
        let keys: Vec<_> = self.of(topic).map(|(index, _)| (topic, index)).collect();
        for key in keys {
            self.rows.remove(&key);
        }
    }

    pub(crate) fn table(&self) -> &OrdMap<(TopicId, i32), Arc<TierRow>> {
        &self.rows
    }
}
