//! All partitions on this broker, found by topic name or id without a lock.
//! It opens and closes no log (`broker/assignment.rs` does) and knows nothing of partitions elsewhere.
//! Invariant: a topic id is listed at most once, and a name leads to the topic that carries it now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use firnline_controller::id::TopicId;
use parking_lot::Mutex;

use crate::partition::replica::{PartitionHandle, PartitionId};

/// One topic's partitions on this broker.
#[derive(Debug)]
pub struct HostedTopic {
    /// The topic's id.
    pub id: TopicId,
    /// The topic's name.
    pub name: Arc<str>,
    /// By index; `None` where another broker holds the partition.
    partitions: Vec<Option<PartitionHandle>>,
}

impl HostedTopic {
    /// The partition with this index, when it is held here.
    pub fn partition(&self, index: i32) -> Option<&PartitionHandle> {
        self.partitions.get(usize::try_from(index).ok()?)?.as_ref()
    }

    /// All partitions of the topic that are held here, by index.
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionHandle> {
        self.partitions.iter().flatten()
    }
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<TopicId, Arc<HostedTopic>>,
    by_name: HashMap<Arc<str>, TopicId>,
}

/// Every partition on this broker.
#[derive(Debug, Default)]
pub struct HostedPartitions {
    table: ArcSwap<Table>,
    /// Partitions of this broker whose logs could not be opened, by topic name and index.
    failed: ArcSwap<BTreeSet<(String, i32)>>,
    /// Held while a new table is built, so that two changes do not lose each other.
    change: Mutex<()>,
}

impl HostedPartitions {
    /// The topic by name.
    pub fn topic(&self, name: &str) -> Option<Arc<HostedTopic>> {
        let table = self.table.load();
        table.by_id.get(table.by_name.get(name)?).cloned()
    }

    /// The topic by id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<HostedTopic>> {
        self.table.load().by_id.get(&id).cloned()
    }

    /// One partition by name and index.
    pub fn find(&self, topic: &str, index: i32) -> Option<PartitionHandle> {
        let table = self.table.load();
        table.by_id.get(table.by_name.get(topic)?)?.partition(index).cloned()
    }

    /// One partition by topic id and index.
    pub fn get(&self, id: PartitionId) -> Option<PartitionHandle> {
        self.table.load().by_id.get(&id.topic)?.partition(id.index).cloned()
    }

    /// Replaces the list of partitions whose logs could not be opened.
    pub fn set_failed(&self, failed: BTreeSet<(String, i32)>) {
        if !failed.is_empty() || !self.failed.load().is_empty() {
            self.failed.store(Arc::new(failed));
        }
    }

    /// Partitions of this broker whose logs could not be opened, by topic name and index.
    pub fn failed(&self) -> Arc<BTreeSet<(String, i32)>> {
        self.failed.load_full()
    }

    /// Whether this broker should hold the partition and could not open its log.
    pub fn is_failed(&self, topic: &str, index: i32) -> bool {
        self.failed.load().iter().any(|(name, at)| name == topic && *at == index)
    }

    /// Every partition held here, ordered by topic name and index.
    pub fn all(&self) -> Vec<PartitionHandle> {
        let table = self.table.load();
        let topics: BTreeMap<(&str, TopicId), &Arc<HostedTopic>> =
            table.by_id.values().map(|topic| ((&*topic.name, topic.id), topic)).collect();
        topics.values().flat_map(|topic| topic.partitions().cloned()).collect()
    }

    /// Adds partitions and removes others in one step; answers the removed ones.
    pub fn change(&self, add: Vec<PartitionHandle>, remove: &[PartitionId]) -> Vec<PartitionHandle> {
        let _held = self.change.lock();
        let mut next = self.table.load().thaw();
        let mut removed = Vec::new();
        for id in remove {
            removed.extend(next.remove(*id));
        }
        add.into_iter().for_each(|partition| next.add(partition));
        self.table.store(Arc::new(next.freeze()));
        removed
    }
}

/// A table under construction: topics as plain values.
struct Thawed(BTreeMap<TopicId, HostedTopic>);

impl Table {
    fn thaw(&self) -> Thawed {
        let copy = |topic: &Arc<HostedTopic>| HostedTopic {
            id: topic.id,
            name: topic.name.clone(),
            partitions: topic.partitions.clone(),
        };
        Thawed(self.by_id.values().map(|topic| (topic.id, copy(topic))).collect())
    }
}

impl Thawed {
    fn remove(&mut self, id: PartitionId) -> Option<PartitionHandle> {
        let topic = self.0.get_mut(&id.topic)?;
        let removed = topic.partitions.get_mut(usize::try_from(id.index).ok()?)?.take();
        if topic.partitions.iter().all(Option::is_none) {
            self.0.remove(&id.topic);
        }
        removed
    }

    fn add(&mut self, partition: PartitionHandle) {
        let id = partition.id();
        let topic = self.0.entry(id.topic).or_insert_with(|| HostedTopic {
            id: id.topic,
            name: partition.topic_name().clone(),
            partitions: Vec::new(),
        });
        // The index came from the quorum, where it was checked to be the partition's place in its topic.
        let index = usize::try_from(id.index).unwrap_or(0);
        if topic.partitions.len() <= index {
            topic.partitions.resize(index + 1, None);
        }
        assert!(topic.partitions[index].is_none(), "{partition:?} is hosted twice");
        topic.partitions[index] = Some(partition);
    }

    fn freeze(self) -> Table {
        let mut table = Table::default();
        for (id, topic) in self.0 {
            table.by_name.insert(topic.name.clone(), id);
            table.by_id.insert(id, Arc::new(topic));
        }
        table
    }
}
