//! Live topics by id and by name, their partitions, and the tombstones of deleted ones.
//! Not their configuration or tier rows. Invariant: `by_name`, `merged` and `by_id` hold the same topics.

use std::sync::Arc;

use imbl::{OrdMap, Vector};

use crate::id::TopicId;
use crate::record::kinds::Partition;

/// A live topic. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Names this life of it.
    pub id: TopicId,
    /// Kafka's name.
    pub name: Arc<str>,
    /// Partition 0 first, without holes.
    pub partitions: Vector<Partition>,
}

/// What is left of a deleted topic until its purge is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The name it had; free for another topic since.
    pub name: Arc<str>,
    /// Logs it had: 0 to this, exclusive.
    pub partitions: i32,
}

/// All topics. Cheap to clone; a change costs what changed.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    by_id: OrdMap<TopicId, Topic>,
    by_name: OrdMap<Arc<str>, TopicId>,
    /// Names in which `.` or `_` occurs, with every `.` as `_`: two that meet here collide in metric names.
    merged: OrdMap<Arc<str>, TopicId>,
    tombstones: OrdMap<TopicId, Tombstone>,
}

impl Topic {
    /// The partition's row.
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> i32 {
        // Creation is bounded far below; see decide::topics::PARTITIONS_MAX.
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }
}

impl Topics {
    /// The live topic of this id.
    pub fn get(&self, id: TopicId) -> Option<&Topic> {
        self.by_id.get(&id)
    }

    /// The live topic of this name.
    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.by_id.get(self.by_name.get(name)?)
    }

    /// The live topic whose name no metric could tell from `name`, if it is another.
    pub fn colliding(&self, name: &str) -> Option<&Topic> {
        let topic = self.by_id.get(self.merged.get(&*merge(name)?)?)?;
        (*topic.name != *name).then_some(topic)
    }

    /// One partition of a live topic.
    pub fn partition(&self, id: TopicId, index: i32) -> Option<&Partition> {
        self.get(id)?.partition(index)
    }

    /// Live topics in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values().filter_map(|id| self.by_id.get(id))
    }

    /// How many topics live.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// No topic lives.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Deleted topics whose purge is not finished, in the order of their ids.
    pub fn tombstones(&self) -> impl Iterator<Item = (TopicId, &Tombstone)> {
        self.tombstones.iter().map(|(id, tombstone)| (*id, tombstone))
    }

    /// What is left of a deleted topic.
    pub fn tombstone(&self, id: TopicId) -> Option<&Tombstone> {
        self.tombstones.get(&id)
    }

    pub(crate) fn live(&self) -> &OrdMap<TopicId, Topic> {
        &self.by_id
    }

    pub(crate) fn insert(&mut self, topic: Topic) {
        let replaced = self.by_name.insert(topic.name.clone(), topic.id);
        assert!(
            replaced.is_none_or(|id| id == topic.id),
            "two topics named {:?}: {replaced:?}, {}",
            topic.name,
            topic.id
        );
        if let Some(merged) = merge(&topic.name) {
            self.merged.insert(merged.into(), topic.id);
        }
        self.by_id.insert(topic.id, topic);
    }

    /// Sets a row that exists or appends the next one; false if it is neither.
    pub(crate) fn set_partition(&mut self, id: TopicId, index: i32, row: Partition) -> bool {
        let (Some(topic), Ok(at)) = (self.by_id.get_mut(&id), usize::try_from(index)) else { return false };
        match at.cmp(&topic.partitions.len()) {
            std::cmp::Ordering::Less => {
                topic.partitions.set(at, row);
                true
            }
            std::cmp::Ordering::Equal => {
                topic.partitions.push_back(row);
                true
            }
            std::cmp::Ordering::Greater => false,
        }
    }

    pub(crate) fn bury(&mut self, id: TopicId, tombstone: Tombstone) {
        if let Some(topic) = self.by_id.remove(&id) {
            self.by_name.remove(&*topic.name);
            if let Some(merged) = merge(&topic.name) {
                self.merged.remove(&*merged);
            }
        }
        self.tombstones.insert(id, tombstone);
    }

    pub(crate) fn forget(&mut self, id: TopicId) -> bool {
        self.tombstones.remove(&id).is_some()
    }
}

fn merge(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
