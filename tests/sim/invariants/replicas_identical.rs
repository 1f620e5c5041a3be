//! I9: below the high watermark all replicas hold the same bytes, wherever they hold them locally.

use firnline::partition::replica::PartitionHandle;
use firnline_tiering::log::read::Read;
use firnline_tiering::offsets::Offset;

use crate::cluster::Cluster;
use crate::workload::{PARTITIONS, TOPIC};

/// Compares all nodes; all must run and be in sync.
pub fn check(cluster: &Cluster) {
    for index in 0..PARTITIONS {
        let replicas: Vec<(&str, PartitionHandle)> = cluster
            .nodes
            .iter()
            .map(|node| {
                let shared = node.shared().expect("every node runs");
                (node.name, shared.hosted.find(TOPIC, index).expect("every node holds it"))
            })
            .collect();
        let from =
            replicas.iter().map(|(_, replica)| replica.offsets().local_start).max().unwrap_or_default();
        let upto = replicas.iter().map(|(_, replica)| replica.high_watermark()).min().unwrap_or_default();
        let (first, original) = &replicas[0];
        let original = bytes(original, from, upto);
        for (name, replica) in &replicas[1..] {
            let copy = bytes(replica, from, upto);
            assert!(
                copy == original,
                "partition {index} from {from} to {upto}: {first} holds {} bytes, {name} {} or others",
                original.len(),
                copy.len()
            );
        }
    }
}

/// Whole batches between two offsets.
fn bytes(replica: &PartitionHandle, from: Offset, upto: Offset) -> Vec<u8> {
    let (mut at, mut all) = (from, Vec::new());
    while at < upto {
        let read = replica.log().read(at, 1 << 20, upto, true).expect("a local read");
        let Read::Hot(slice) = read else { panic!("nothing at {at} below {upto}: {read:?}") };
        let mut bytes = vec![0; slice.len as usize];
        slice.file.read_exact_at(&mut bytes, slice.at).expect("a slice is readable");
        let mut rest = &bytes[..];
        while rest.len() >= 61 {
            let field = |range: std::ops::Range<usize>| rest[range].try_into().expect("a field");
            let length = 12 + i32::from_be_bytes(field(8..12)) as usize;
            let base = i64::from_be_bytes(rest[..8].try_into().expect("eight bytes"));
            at = Offset(base + i64::from(i32::from_be_bytes(field(23..27))) + 1);
            rest = &rest[length.min(rest.len())..];
        }
        all.extend_from_slice(&bytes);
    }
    all
}
