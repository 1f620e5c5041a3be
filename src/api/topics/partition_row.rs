//! The columns of a partition that Metadata and DescribeTopicPartitions share: leader, replicas, who is offline.
//! Not a message. Invariant: a leader that is named can be reached by the listener the request came by.
use std::collections::BTreeSet;

use firnline_controller::id::TopicId;
use firnline_controller::record::kinds::Partition;

use crate::api::error_code::ErrorCode;
use crate::metadata::view::{BrokerAddress, MetadataView};
use crate::wire::message::BrokerId;

/// Live brokers, as clients of one listener see them.
#[derive(Debug, Clone)]
pub struct Reachable {
    /// In order of their ids.
    pub brokers: Vec<BrokerAddress>,
    with_listener: BTreeSet<i32>,
    live: BTreeSet<i32>,
    /// Replicas on failed disks of live brokers.
    lost: BTreeSet<(TopicId, i32, i32)>,
}

/// A partition, ready to be put into a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRow {
    /// Why there is no leader to name.
    pub error: ErrorCode,
    /// The leader, -1 when none can be named.
    pub leader: BrokerId,
    /// Leader epoch.
    pub leader_epoch: i32,
    /// In order of preference.
    pub replicas: Vec<BrokerId>,
    /// In sync.
    pub in_sync: Vec<BrokerId>,
    /// Out of sync, and holding everything acked (KIP-966).
    pub eligible: Vec<BrokerId>,
    /// Who led last, where neither the ISR nor those above can lead.
    pub last_known: Vec<BrokerId>,
    /// Replicas whose broker is not live, or whose disk failed.
    pub offline: Vec<BrokerId>,
}

impl Reachable {
    /// The brokers of `view` by `listener`.
    pub fn by(view: &MetadataView, listener: &str) -> Reachable {
        let brokers = view.brokers(listener);
        let with_listener = brokers.iter().map(|broker| broker.id).collect();
        let live = view.image().brokers.live().map(|broker| broker.id.0).collect();
        let lost = view
            .image()
            .brokers
            .live()
            .flat_map(|broker| broker.offline.iter().map(|(topic, index)| (*topic, *index, broker.id.0)));
        Reachable { brokers, with_listener, live, lost: lost.collect() }
    }

    /// The columns of partition `index` of a topic.
    pub fn row(&self, topic: TopicId, index: i32, partition: &Partition) -> PartitionRow {
        let (error, leader) = match partition.leader {
            None => (ErrorCode::LeaderNotAvailable, -1),
            Some(id) if !self.live.contains(&id.0) => (ErrorCode::LeaderNotAvailable, -1),
            Some(id) if !self.with_listener.contains(&id.0) => (ErrorCode::ListenerNotFound, -1),
            Some(id) => (ErrorCode::None, id.0),
        };
        let ids = |ids: &[firnline_controller::id::BrokerId]| ids.iter().map(|id| BrokerId(id.0)).collect();
        let lost = |id: i32| !self.live.contains(&id) || self.lost.contains(&(topic, index, id));
        let offline = partition.replicas.iter().filter(|id| lost(id.0));
        PartitionRow {
            error,
            leader: BrokerId(leader),
            leader_epoch: partition.leader_epoch.0,
            replicas: ids(&partition.replicas),
            in_sync: ids(&partition.isr),
            eligible: ids(&partition.elr),
            last_known: partition.last_leader.iter().map(|id| BrokerId(id.0)).collect(),
            offline: offline.map(|id| BrokerId(id.0)).collect(),
        }
    }
}
