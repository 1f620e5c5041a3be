//! I8, T4: what the quorum records as offloaded was committed by the leader of that moment: nobody whose epoch was over
//! when it came adds to the tier.

use std::collections::{BTreeMap, BTreeSet};

use firnline_tiering::epoch::LeaderEpoch;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::workload::{PARTITIONS, TOPIC};

/// Per partition: the leader epoch at the last look, and the entries that were there.
#[derive(Debug, Default)]
pub struct CommitsByLeader(BTreeMap<i32, (LeaderEpoch, BTreeSet<Uuid>)>);

impl CommitsByLeader {
    /// Looks at the newest metadata.
    pub fn look(&mut self, cluster: &Cluster) {
        let Some(image) = cluster.newest() else { return };
        let Some(topic) = image.topics.by_name(TOPIC) else { return };
        for index in 0..PARTITIONS {
            let (Some(row), Some(tier)) = (topic.partition(index), image.tier_row(topic.id, index)) else {
                continue;
            };
            let (before, known) = self.0.entry(index).or_insert((row.leader_epoch, BTreeSet::new()));
            for entry in tier.entries.iter().filter(|entry| !known.contains(&entry.uuid)) {
                assert!(
                    entry.leader_epoch >= *before,
                    "I8: partition {index}: an upload of epoch {} is committed, {before} had begun",
                    entry.leader_epoch
                );
            }
            // The newest metadata that runs anywhere may be older than at the last look.
            if row.leader_epoch >= *before {
                *before = row.leader_epoch;
                known.extend(tier.entries.iter().map(|entry| entry.uuid));
            }
        }
    }
}
