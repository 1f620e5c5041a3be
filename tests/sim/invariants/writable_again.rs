//! I16: once faults heal, every partition takes writes within 15 s, is fully replicated within 60 s, and the bucket has
//! what is sealed.

use std::time::Duration;

use firnline_tiering::offsets::Offset;

use crate::cluster::{Cluster, NODES, Node};
use crate::workload::{PARTITIONS, TOPIC, Workload};

const WRITABLE: Duration = Duration::from_secs(15);
const REPLICATED: Duration = Duration::from_secs(60);

/// Watches from the moment of healing on.
#[derive(Debug)]
pub struct WritableAgain {
    healed_at: Duration,
    writable: bool,
    replicated: bool,
    offloaded: bool,
}

impl WritableAgain {
    /// Everything works from `healed_at` on.
    pub fn new(healed_at: Duration) -> Self {
        Self { healed_at, writable: false, replicated: false, offloaded: false }
    }

    /// All have come true.
    pub fn holds(&self) -> bool {
        self.writable && self.replicated && self.offloaded
    }

    /// Looks once more; panics when time is over.
    pub fn look(&mut self, now: Duration, cluster: &Cluster, workload: &Workload) {
        let since = now.saturating_sub(self.healed_at);
        self.writable =
            self.writable || workload.known.borrow().iter().all(|known| known.acked_since_healed > 0);
        assert!(
            self.writable || since < WRITABLE,
            "not writable {since:?} after everything healed: {}",
            state(cluster, workload)
        );
        // Not once for all: a row may name replicas that are found to be gone a moment later.
        self.replicated = is_replicated(cluster);
        assert!(
            self.replicated || since < REPLICATED,
            "not replicated {since:?} after everything healed: {}",
            state(cluster, workload)
        );
        self.offloaded = self.offloaded || is_offloaded(cluster);
        assert!(
            self.offloaded || since < REPLICATED,
            "what is sealed is not in the bucket {since:?} after everything healed: {}",
            state(cluster, workload)
        );
    }
}

/// Every row names all nodes, and all have all there is. While somebody writes it comes and goes.
fn is_replicated(cluster: &Cluster) -> bool {
    let first = &cluster.nodes[0];
    cluster.nodes.iter().all(|node| {
        let Some(shared) = node.shared() else { return false };
        let image = shared.controller.image();
        let Some(topic) = image.topics.by_name(TOPIC) else { return false };
        topic.partitions.len() == PARTITIONS as usize
            && topic.partitions.iter().all(|row| row.isr.len() == NODES.len() && row.leader.is_some())
            && (0..PARTITIONS)
                .all(|index| end(node, index).is_some_and(|here| Some(here) == end(first, index)))
    })
}

fn end(node: &Node, index: i32) -> Option<Offset> {
    Some(node.shared()?.hosted.find(TOPIC, index)?.offsets().end)
}

/// Whether the bucket has every sealed segment of every leader.
fn is_offloaded(cluster: &Cluster) -> bool {
    let Some(image) = cluster.newest() else { return false };
    let Some(topic) = image.topics.by_name(TOPIC) else { return false };
    topic.partitions.iter().zip(0..).all(|(row, index)| {
        let leader = row.leader.and_then(|id| cluster.nodes.get(id.0 as usize - 1)).and_then(Node::shared);
        let Some(replica) = leader.and_then(|shared| shared.hosted.find(TOPIC, index)) else { return false };
        let Some(tier) = image.tier_row(topic.id, index) else { return false };
        replica.log().sealed().iter().all(|sealed| sealed.next <= tier.end)
    })
}

/// What each node and each client believes, for whoever reads a failure.
fn state(cluster: &Cluster, workload: &Workload) -> String {
    let mut told = String::new();
    for node in cluster.nodes.iter() {
        let Some(shared) = node.shared() else {
            told += &format!("\n{}: does not run", node.name);
            continue;
        };
        let image = shared.controller.image();
        let fenced: Vec<_> =
            image.brokers.iter().map(|broker| (broker.id.0, broker.epoch.0, broker.fenced)).collect();
        let quorum = shared.controller.quorum();
        told += &format!("\n{}: quorum {quorum:?}, image {}, brokers {fenced:?}", node.name, image.offset);
        for index in 0..PARTITIONS {
            let row = image.topics.by_name(TOPIC).and_then(|topic| topic.partition(index));
            let replica = shared.hosted.find(TOPIC, index);
            let local = replica.map(|replica| {
                let leads = replica.is_leader();
                (leads, replica.leader_epoch(), replica.high_watermark(), replica.offsets())
            });
            told += &format!("\n  {index}: {row:?}\n     here {local:?}");
        }
    }
    for (known, index) in workload.known.borrow().iter().zip(0..) {
        let (sent, acked) = (known.sent, known.acked.len());
        told +=
            &format!("\npartition {index}: {sent} sent, {acked} acked, {} since", known.acked_since_healed);
    }
    told
}
