//! I6, I13 (StrongIsr of Kafka's TLA+ model): what the leader counts as committed, everybody holds whom the quorum takes
//! for in sync, durably where that is promised; and nobody's high watermark is above its own end.

use std::collections::BTreeMap;

use firnline::partition::replica::PartitionHandle;
use firnline::partition::role::Reign;
use firnline_controller::id::PartitionEpoch;
use firnline_tiering::offsets::Offset;

use crate::cluster::{Cluster, Promise};
use crate::workload::{PARTITIONS, TOPIC};

/// A node, its reign, and the row that was in force.
type Led = (i32, Reign, PartitionEpoch);

/// What has to be remembered from look to look.
#[derive(Debug, Default)]
pub struct IsrHolds {
    /// Who led what with too few in sync to commit anything, and what was committed.
    stuck: BTreeMap<i32, (Led, Offset)>,
    /// Up to where a replica on a disk was ever seen fsynced, by node, disk and partition: a process that starts again
    /// knows less of it than is true.
    durable: BTreeMap<(i32, u64, i32), Offset>,
}

impl IsrHolds {
    /// Notes what is durable. To be called before anything can die.
    pub fn remember(&mut self, cluster: &Cluster) {
        if cluster.promise != Promise::Disk {
            return;
        }
        for node in cluster.nodes.iter() {
            let Some(shared) = node.shared() else { continue };
            for index in 0..PARTITIONS {
                let Some(replica) = shared.hosted.find(TOPIC, index) else { continue };
                let known = self.durable.entry((node.id, node.disks(), index)).or_default();
                *known = replica.log().recovery_point().max(*known).min(replica.offsets().end);
            }
        }
    }

    /// Looks at all nodes that run.
    pub fn look(&mut self, cluster: &Cluster) {
        self.everybody_holds(cluster);
        for index in 0..PARTITIONS {
            let stuck = cluster.nodes.iter().find_map(|node| {
                let shared = node.shared()?;
                let replica = shared.hosted.find(TOPIC, index)?;
                let row = shared.controller.image().topics.by_name(TOPIC)?.partition(index)?.epoch;
                let (in_sync, required) = replica.in_sync();
                let stuck = replica.is_leader() && in_sync < required;
                stuck.then(|| ((node.id, replica.reign(), row), replica.high_watermark()))
            });
            if let (Some((then, before)), Some((now, committed))) = (self.stuck.remove(&index), stuck) {
                assert!(
                    then != now || committed <= before,
                    "I1: partition {index}: {before} to {committed} committed on {} with too few in sync",
                    now.0
                );
            }
            self.stuck.extend(stuck.map(|stuck| (index, stuck)));
        }
    }

    fn everybody_holds(&self, cluster: &Cluster) {
        for node in cluster.nodes.iter() {
            let Some(shared) = node.shared() else { continue };
            for index in 0..PARTITIONS {
                let Some(replica) = shared.hosted.find(TOPIC, index) else { continue };
                let (watermark, end) = (replica.high_watermark(), replica.offsets().end);
                assert!(watermark <= end, "I6: {}, {index}: {watermark} committed of {end}", node.name);
            }
        }
        let Some(image) = cluster.newest() else { return };
        let Some(topic) = image.topics.by_name(TOPIC) else { return };
        for (row, index) in topic.partitions.iter().zip(0..) {
            let running = |id: i32| -> Option<PartitionHandle> {
                let shared = cluster.nodes[id as usize - 1].shared()?;
                shared.hosted.find(TOPIC, index)
            };
            let Some(leader) = row.leader.and_then(|id| running(id.0)) else { continue };
            if !leader.is_leader() || leader.leader_epoch() != row.leader_epoch {
                continue;
            }
            let committed = leader.high_watermark();
            for (id, member) in row.isr.iter().filter_map(|id| Some((id, running(id.0)?))) {
                let held = self.held(cluster, id.0, index, &member);
                assert!(
                    committed <= held,
                    "I13: partition {index}, epoch {}: {committed} is committed, {id} in {:?} holds {held}",
                    row.leader_epoch,
                    row.isr
                );
            }
        }
    }

    /// What a replica holds in the sense of the run's promise.
    fn held(&self, cluster: &Cluster, node: i32, index: i32, replica: &PartitionHandle) -> Offset {
        match cluster.promise {
            Promise::Disk => {
                let disk = cluster.nodes[node as usize - 1].disks();
                self.durable.get(&(node, disk, index)).copied().unwrap_or_default()
            }
            Promise::Cache | Promise::CacheLost => replica.offsets().end,
        }
    }
}
