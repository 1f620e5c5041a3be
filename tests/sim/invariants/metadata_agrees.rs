//! Metadata: a node's image never goes backwards while its process lives, and the same offset says the same everywhere.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::workload::TOPIC;

/// What was seen.
#[derive(Debug, Default)]
pub struct MetadataAgrees {
    /// The term and what the first node that showed an offset said there.
    said: BTreeMap<u64, (u64, String)>,
    /// Per node: its process, and how far that got.
    reached: BTreeMap<i32, (usize, u64)>,
}

impl MetadataAgrees {
    /// Looks at all nodes that run.
    pub fn look(&mut self, cluster: &Cluster) {
        for node in cluster.nodes.iter() {
            let Some(shared) = node.shared() else { continue };
            let image = shared.controller.image();
            let process = std::sync::Arc::as_ptr(&shared) as usize;
            let reached = self.reached.entry(node.id).or_insert((process, 0));
            assert!(
                reached.0 != process || reached.1 <= image.offset,
                "{}: metadata fell from {} to {}",
                node.name,
                reached.1,
                image.offset
            );
            *reached = (process, image.offset);
            let rows = image.topics.by_name(TOPIC).map(|topic| &topic.partitions);
            let brokers: Vec<_> =
                image.brokers.iter().map(|broker| (broker.id, broker.epoch, broker.fenced)).collect();
            let says = format!("term {}: {rows:?} {brokers:?}", image.term);
            let (_, said) = self.said.entry(image.offset).or_insert_with(|| (image.term, says.clone()));
            assert_eq!(*said, says, "offset {} differs on {}", image.offset, node.name);
            let later = self.said.range(image.offset..).map(|(offset, (term, _))| (*term, *offset)).min();
            assert!(
                later.is_none_or(|(term, _)| term >= image.term),
                "offset {} is of term {}, and {later:?} is later",
                image.offset,
                image.term
            );
        }
        while self.said.len() > 512 {
            self.said.pop_first();
        }
    }
}
