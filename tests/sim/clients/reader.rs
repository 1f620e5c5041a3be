//! A consumer per partition that reads again and again, from the start, the end or anywhere, under the leader epoch it
//! knows, an old one, or none. It writes nothing. Invariants: what was read at an offset never changes and was committed
//! (I4, I5, I6), and who shows an epoch that is over gets no records (KIP-320).

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;
use tokio::time::timeout;

use crate::cluster::NODES;
use crate::scenario::values;
use crate::scenario::wire_client::name;
use crate::workload::{Client, PATIENCE, Stage, TOPIC, Workload, connect};

const FETCH_VERSION: i16 = 12;
const FENCED_LEADER_EPOCH: i16 = 74;
const OFFSET_OUT_OF_RANGE: i16 = 1;

/// One that reads a partition.
pub struct Reader {
    workload: Workload,
    partition: i32,
    dice: StdRng,
    /// The newest leader epoch it heard of, as a claim it may still make when that is over.
    epoch: i32,
    turn: usize,
}

impl Reader {
    /// Reads until everybody has stopped.
    pub async fn run(workload: Workload, partition: i32, seed: u64) {
        let dice = StdRng::seed_from_u64(seed);
        let mut new = Self { workload, partition, dice, epoch: -1, turn: partition as usize };
        while new.workload.stage() < Stage::Done {
            tokio::time::sleep(Duration::from_millis(new.dice.random_range(20..250))).await;
            new.turn += 1;
            new.read().await;
        }
    }

    /// One fetch from whom somebody takes for the leader.
    async fn read(&mut self) {
        let Some((node, epoch)) = self.workload.leader_of(self.partition, self.turn).await else { return };
        let claimed = match self.dice.random_range(0..4) {
            0 => -1,
            // What it knew before it asked for news: a stale asker once a new leader was elected.
            1 => self.epoch.min(epoch),
            2 => (epoch - 1).max(0),
            _ => epoch,
        };
        self.epoch = self.epoch.max(epoch);
        let Some(mut client) = connect(NODES[node]).await else { return };
        let from = self.start();
        let losses = self.workload.losses();
        let epoch_there = self.epoch_at(node);
        let fetch = fetch(&mut client, self.partition, from, claimed);
        let Ok(Ok(answer)) = timeout(PATIENCE, fetch).await else { return };
        if answer.error_code != 0 {
            let under = epoch_there.map_or(claimed, |there| there.max(claimed));
            self.refused(&answer, from, losses, under);
            return;
        }
        if let Some(there) = epoch_there.filter(|there| claimed >= 0 && claimed < *there) {
            panic!("KIP-320: {} answers epoch {claimed} of {}, under {there}", NODES[node], self.partition);
        }
        // A claim that is taken is the epoch itself; without one it is at most what the node serves under now.
        let under = if claimed >= 0 { Some(claimed) } else { self.epoch_at(node).max(epoch_there) };
        if losses == self.workload.losses() {
            self.take(&answer, under.unwrap_or(i32::MAX));
        }
    }

    /// From the start, the end, or anywhere between.
    fn start(&mut self) -> i64 {
        let known = &self.workload.known.borrow()[self.partition as usize];
        let end = known.read.keys().last().map_or(0, |last| last + 1);
        match self.dice.random_range(0..6) {
            0 => known.start,
            1 if end > 0 => self.dice.random_range(0..end),
            _ => end,
        }
    }

    /// The leader epoch under which a node serves the partition, as long as its process runs: it only rises.
    fn epoch_at(&self, node: usize) -> Option<i32> {
        let shared = self.workload.cluster.nodes[node].shared()?;
        Some(shared.hosted.find(TOPIC, self.partition)?.leader_epoch().0)
    }

    /// I5, I15: what was committed stays within what is served, wherever it lies, by whoever leads under that epoch or a
    /// later one. A leader of before that nobody could tell of its end knows no better, as in Kafka. `under` is an epoch
    /// that had begun on the node when it was asked.
    fn refused(&self, answer: &PartitionData, from: i64, losses: u32, under: i32) {
        assert_ne!(answer.error_code, -1, "I18: partition {}: unknown server error", self.partition);
        let known = &self.workload.known.borrow()[self.partition as usize];
        let shown = known.shown_under.get(&from).is_some_and(|shown| *shown <= under);
        let served = from >= known.start_asked.max(known.start) && shown;
        if answer.error_code == OFFSET_OUT_OF_RANGE && losses == self.workload.cluster.losses.get() {
            assert!(
                !served,
                "I5: partition {}: offset {from} was read and is out of range under {under}",
                self.partition
            );
        }
        if answer.error_code == FENCED_LEADER_EPOCH {
            self.workload.cluster.journal.fault("stale_asker", self.partition);
        }
    }

    /// What was shown under this epoch, or an earlier one.
    fn take(&self, answer: &PartitionData, under: i32) {
        let mut known = self.workload.known.borrow_mut();
        let (partition, known) = (self.partition, &mut known[self.partition as usize]);
        known.watermark = known.watermark.max(answer.high_watermark);
        known.start = known.start.max(answer.log_start_offset);
        for (offset, found) in values(&answer.records.clone().unwrap_or_default()) {
            assert!(offset < answer.high_watermark, "I6: partition {partition}: {offset} is not committed");
            let found = Bytes::copy_from_slice(&found);
            let before = known.read.entry(offset).or_insert_with(|| found.clone());
            assert!(*before == found, "I5: partition {partition}: offset {offset} changed");
            known.shown_under.entry(offset).and_modify(|shown| *shown = under.min(*shown)).or_insert(under);
        }
    }
}

async fn fetch(
    client: &mut Client,
    partition: i32,
    from: i64,
    claimed: i32,
) -> std::io::Result<PartitionData> {
    let part = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(claimed)
        .with_fetch_offset(from)
        .with_partition_max_bytes(1 << 19);
    let topic = FetchTopic::default().with_topic(name(TOPIC)).with_partitions(vec![part]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(200)
        .with_min_bytes(1)
        .with_max_bytes(1 << 19)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let mut response = client.call(FETCH_VERSION, &request).await?;
    assert_eq!(response.error_code, 0, "fetch as a whole");
    Ok(response.responses.remove(0).partitions.remove(0))
}
