//! I13: whoever leads a partition under an epoch is the only one who ever does, and stands in the ISR.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::workload::{PARTITIONS, TOPIC};

/// Who led what, ever.
#[derive(Debug, Default)]
pub struct OneLeaderPerEpoch(BTreeMap<(i32, i32), i32>);

impl OneLeaderPerEpoch {
    /// Looks at all nodes that run.
    pub fn look(&mut self, cluster: &Cluster) {
        for node in cluster.nodes.iter() {
            let Some(shared) = node.shared() else { continue };
            for index in 0..PARTITIONS {
                let Some(replica) = shared.hosted.find(TOPIC, index) else { continue };
                if replica.is_leader() {
                    let epoch = replica.leader_epoch().0;
                    let leader = *self.0.entry((index, epoch)).or_insert(node.id);
                    assert_eq!(leader, node.id, "partition {index}: two leaders of epoch {epoch}");
                }
            }
            let image = shared.controller.image();
            let Some(topic) = image.topics.by_name(TOPIC) else { continue };
            for (row, index) in topic.partitions.iter().zip(0..) {
                if let Some(leader) = row.leader {
                    assert!(
                        row.isr.contains(&leader),
                        "partition {index}: {leader} leads outside {:?}",
                        row.isr
                    );
                }
                assert!(row.isr.iter().all(|id| row.replicas.contains(id)), "partition {index}: {row:?}");
            }
        }
    }
}
