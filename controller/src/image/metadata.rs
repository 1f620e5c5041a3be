//! The whole cluster's metadata as one immutable value. Not how records change it (`image/fold.rs`).
//! Invariant: equal records in equal order give equal images, on every node and after every restart.

use std::sync::Arc;

use firnline_tiering::cold::tier::TierRow;
use firnline_tiering::offsets::Offset;

use crate::id::TopicId;
use crate::image::brokers::Brokers;
use crate::image::configs::Configs;
use crate::image::producer_ids::ProducerIds;
use crate::image::tiers::Tiers;
use crate::image::topics::Topics;

/// Everything the quorum decided, up to one entry of its log. A clone shares all structure.
#[derive(Debug, Clone, Default)]
pub struct MetadataImage {
    /// Index of the last entry in it (Kafka's metadata offset); 0 before the first.
    pub offset: u64,
    /// Term under which that entry was proposed (Kafka's controller epoch).
    pub term: u64,
    /// Formats that may be written; 0 before the first record.
    pub feature_level: u16,
    /// Kafka's cluster id; empty before the first record.
    pub cluster_id: String,
    /// Registered brokers.
    pub brokers: Brokers,
    /// Live and deleted topics.
    pub topics: Topics,
    /// Dynamic configuration.
    pub configs: Configs,
    /// Producer ids given out.
    pub producer_ids: ProducerIds,
    /// Tier rows.
    pub tiers: Tiers,
}

impl MetadataImage {
    /// The tier row of a live partition; a log that was never changed has the empty one of its leader epoch.
    pub fn tier_row(&self, topic: TopicId, partition: i32) -> Option<Arc<TierRow>> {
        let row = self.topics.partition(topic, partition)?;
        let known = self.tiers.get(topic, partition).cloned();
        Some(known.unwrap_or_else(|| Arc::new(TierRow::new(row.leader_epoch, Offset::ZERO))))
    }
}
