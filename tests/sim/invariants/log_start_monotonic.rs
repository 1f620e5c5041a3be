//! I7: a log start never falls, on no node, whatever dies.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::workload::{PARTITIONS, TOPIC};

/// The highest seen per node and partition, of one log: a replica that was moved away and back begins another.
#[derive(Debug, Default)]
pub struct LogStartMonotonic(BTreeMap<(i32, i32), (u64, i64)>);

impl LogStartMonotonic {
    /// Looks at all nodes that run.
    pub fn look(&mut self, cluster: &Cluster) {
        for node in cluster.nodes.iter() {
            let Some(shared) = node.shared() else { continue };
            for index in 0..PARTITIONS {
                let Some(replica) = shared.hosted.find(TOPIC, index) else {
                    self.0.remove(&(node.id, index));
                    continue;
                };
                let (disk, start) = (node.disks(), replica.offsets().log_start.0);
                let (known, before) = self.0.insert((node.id, index), (disk, start)).unwrap_or((disk, start));
                assert!(
                    known != disk || before <= start,
                    "{}: the start of {index} fell from {before} to {start}",
                    node.name
                );
            }
        }
    }
}
