//! I7: a log start never falls, on no node, whatever dies.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::workload::{PARTITIONS, TOPIC};

/// The highest seen per node and partition.
#[derive(Debug, Default)]
pub struct LogStartMonotonic(BTreeMap<(i32, i32), i64>);

impl LogStartMonotonic {
    /// Looks at all nodes that run.
    pub fn look(&mut self, cluster: &Cluster) {
        for node in cluster.nodes.iter() {
            let Some(shared) = node.shared() else { continue };
            for index in 0..PARTITIONS {
                let Some(replica) = shared.hosted.find(TOPIC, index) else { continue };
                let start = replica.offsets().log_start.0;
                let before = self.0.insert((node.id, index), start).unwrap_or(start);
                assert!(before <= start, "{}: the start of {index} fell from {before} to {start}", node.name);
            }
        }
    }
}
