//! Writes a Fetch request as a follower sends it, version 16, with its broker epoch (KIP-903).
//! Consumers' requests are read in `fetch.rs`. Its one invariant: what is written here, that view reads back.
//!
//! ```text
//! max_wait | min_bytes | max_bytes | isolation i8 | session_id, session_epoch
//! | [topic id | [partition, epoch, offset, last epoch, log start, max_bytes] ] | forgotten [topic id | [i32] ]
//! | rack_id "" | tag 0 cluster id, tag 1 replica state
//! ```
use bytes::BytesMut;
use uuid::Uuid;

use crate::wire::fetch::FetchPartition;
use crate::wire::writer::Writer;

/// The version that followers speak.
pub const FOLLOWER_VERSION: i16 = 16;

/// A follower's Fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchAsk {
    /// The follower.
    pub replica_id: i32,
    /// Its registration.
    pub replica_epoch: i64,
    /// Longest wait for `min_bytes`, milliseconds.
    pub max_wait_ms: i32,
    /// Bytes that end the wait.
    pub min_bytes: i32,
    /// Bound on the whole answer; the first batch may exceed it.
    pub max_bytes: i32,
    /// Session, 0 for none.
    pub session_id: i32,
    /// 0 asks for a session of what follows; later ones rise by one.
    pub session_epoch: i32,
    /// The cluster that both belong to.
    pub cluster_id: String,
    /// Partitions by topic id, those of one topic together.
    pub topics: Vec<(Uuid, Vec<FetchPartition>)>,
    /// Partitions to drop from the session.
    pub forgotten: Vec<(Uuid, Vec<i32>)>,
}

impl FetchAsk {
    /// The body.
    pub fn encode(&self) -> BytesMut {
        let partitions: usize = self.topics.iter().map(|(_, partitions)| partitions.len()).sum();
        let mut body = Writer::new(true, 96 + 24 * self.topics.len() + 40 * partitions);
        body.i32(self.max_wait_ms);
        body.i32(self.min_bytes);
        body.i32(self.max_bytes);
        body.i8(0);
        body.i32(self.session_id);
        body.i32(self.session_epoch);
        body.count(self.topics.len());
        for (topic, partitions) in &self.topics {
            body.uuid(*topic);
            body.count(partitions.len());
            partitions.iter().for_each(|ask| partition(&mut body, ask));
            body.no_tags();
        }
        body.count(self.forgotten.len());
        for (topic, partitions) in &self.forgotten {
            body.uuid(*topic);
            body.count(partitions.len());
            partitions.iter().for_each(|index| body.i32(*index));
            body.no_tags();
        }
        body.string("");
        let mut cluster = Writer::new(true, 32);
        cluster.string(&self.cluster_id);
        let mut replica = Writer::new(true, 16);
        replica.i32(self.replica_id);
        replica.i64(self.replica_epoch);
        replica.no_tags();
        body.tags(&[(0, cluster.out), (1, replica.out)]);
        body.out
    }
}

fn partition(body: &mut Writer, ask: &FetchPartition) {
    body.i32(ask.index);
    body.i32(ask.current_leader_epoch);
    body.i64(ask.fetch_offset);
    body.i32(ask.last_fetched_epoch);
    body.i64(ask.log_start_offset);
    body.i32(ask.max_bytes);
    body.no_tags();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fetch::{FetchView, TopicRef};

    #[test]
    fn the_view_of_requests_reads_it_back() {
        let part = |index| FetchPartition {
            index,
            current_leader_epoch: 3,
            fetch_offset: 1 << 40,
            last_fetched_epoch: 2,
            log_start_offset: 7,
            max_bytes: 1 << 20,
        };
        let ask = FetchAsk {
            replica_id: 4,
            replica_epoch: 99,
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 10 << 20,
            session_id: 12,
            session_epoch: 5,
            cluster_id: "cluster".to_owned(),
            topics: vec![(Uuid::from_u128(7), vec![part(0), part(3)]), (Uuid::from_u128(9), vec![part(1)])],
            forgotten: vec![(Uuid::from_u128(8), vec![1, 2])],
        };
        let view = FetchView::parse(ask.encode(), FOLLOWER_VERSION).expect("parses");
        assert_eq!((view.replica_id, view.replica_epoch), (4, 99));
        assert_eq!((view.max_wait_ms, view.min_bytes, view.max_bytes), (500, 1, 10 << 20));
        assert_eq!((view.session_id, view.session_epoch, view.read_committed), (12, 5, false));
        assert_eq!(view.cluster_id.as_deref(), Some("cluster"));
        assert_eq!(view.topics.len(), 2);
        for (read, (topic, partitions)) in view.topics.iter().zip(&ask.topics) {
            assert_eq!((&read.topic, &read.partitions), (&TopicRef::Id(*topic), partitions));
        }
        assert_eq!(view.forgotten[0].topic, TopicRef::Id(Uuid::from_u128(8)));
        assert_eq!(view.forgotten[0].partitions, [1, 2]);
    }
}
