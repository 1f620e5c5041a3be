//! What differs between two images, found by walking only the structure they do not share.
//! Not a log of records: what changed and changed back between them is not in it.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;

use crate::id::{BrokerId, TopicId};
use crate::image::metadata::MetadataImage;
use crate::record::kinds::Resource;

/// The keys whose rows differ; look the rows up in either image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Live topics that are new.
    pub topics_created: Vec<TopicId>,
    /// Topics that no longer live; their tombstones are in the newer image unless purged since.
    pub topics_deleted: Vec<TopicId>,
    /// Partitions that are new or whose row changed, those of new topics included.
    pub partitions: BTreeSet<(TopicId, i32)>,
    /// Resources whose dynamic configuration changed.
    pub configs: BTreeSet<Resource>,
    /// Brokers that registered, changed or went.
    pub brokers: BTreeSet<BrokerId>,
    /// Logs whose tier row changed or went.
    pub tiers: BTreeSet<(TopicId, i32)>,
}

impl Delta {
    /// From `old` to `new`.
    pub fn between(old: &MetadataImage, new: &MetadataImage) -> Delta {
        let mut delta = Delta::default();
        delta.compare_topics(old, new);
        delta.configs = keys(old.configs.table().diff(new.configs.table()));
        delta.brokers = keys(old.brokers.table().diff(new.brokers.table()));
        delta.tiers = keys(old.tiers.table().diff(new.tiers.table()));
        delta
    }

    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }

    fn compare_topics(&mut self, old: &MetadataImage, new: &MetadataImage) {
        for item in old.topics.live().diff(new.topics.live()) {
            match item {
                DiffItem::Add(id, topic) => {
                    self.topics_created.push(*id);
                    self.partitions.extend((0..topic.partition_count()).map(|index| (*id, index)));
                }
                DiffItem::Remove(id, _) => self.topics_deleted.push(*id),
                DiffItem::Update { old: (_, before), new: (id, after) } => {
                    for (index, row) in after.partitions.iter().enumerate() {
                        if before.partitions.get(index) != Some(row) {
                            self.partitions.insert((*id, index as i32));
                        }
                    }
                }
            }
        }
    }
}

fn keys<'a, 'b, K, V>(
    diff: imbl::ordmap::DiffIter<'a, 'b, K, V, imbl::shared_ptr::DefaultSharedPtr>,
) -> BTreeSet<K>
where
    K: Ord + Copy,
    V: PartialEq,
{
    diff.map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => *key,
        DiffItem::Update { new: (key, _), .. } => *key,
    })
    .collect()
}
