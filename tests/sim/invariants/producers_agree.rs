//! I2, T7: replicas in sync know the same of every producer: its epoch and its last batches, so that whoever leads next
//! answers a retry with the offset it was given first.

use firnline_tiering::producer::state::PastBatch;

use crate::cluster::Cluster;
use crate::workload::{PARTITIONS, TOPIC};

/// A producer: its id, its epoch, its last batches.
type Remembered = (i64, i16, Vec<PastBatch>);

/// Looks at all nodes that run: nobody remembers a batch that its log does not hold, or holds no more.
pub fn look(cluster: &Cluster) {
    for node in cluster.nodes.iter() {
        let Some(shared) = node.shared() else { continue };
        for index in 0..PARTITIONS {
            let Some(replica) = shared.hosted.find(TOPIC, index) else { continue };
            let end = replica.offsets().end;
            for one in replica.log().producers().iter() {
                let last = one.last_batch().map(|batch| batch.last_offset);
                assert!(
                    last.is_none_or(|last| last < end),
                    "I2: {}, {index}: producer {} is remembered at {last:?}, the log ends at {end}",
                    node.name,
                    one.producer_id
                );
            }
        }
    }
}

/// Compares all nodes; all must run and be in sync, and nothing may be under way.
pub fn check(cluster: &Cluster) {
    for index in 0..PARTITIONS {
        let mut first: Option<(&str, Vec<Remembered>)> = None;
        for node in cluster.nodes.iter() {
            let shared = node.shared().expect("every node runs");
            let replica = shared.hosted.find(TOPIC, index).expect("every node holds it");
            let table = replica.log().producers();
            let known: Vec<_> =
                table.iter().map(|one| (one.producer_id, one.epoch, one.batches().to_vec())).collect();
            let (name, expected) = first.get_or_insert((node.name, known.clone()));
            assert_eq!(*expected, known, "I2: partition {index}: {name} and {} remember others", node.name);
        }
    }
}
