//! An operator who goes on administering while everything breaks: moves replicas, elects preferred leaders, makes and
//! deletes topics, deletes records. Whether a request succeeds is no matter; what it may break is the invariants'.
//! Invariant: once the run is healed, it leaves every partition of the run's topic on all nodes.

use std::time::Duration;

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, DeleteRecordsRequest, DeleteTopicsRequest,
    ElectLeadersRequest,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;

use crate::cluster::NODES;
use crate::scenario::wire_client::name;
use crate::workload::{Client, PARTITIONS, PATIENCE, PAUSE, Stage, TOPIC, Workload, connect, create};

/// Topics it makes and deletes.
const OTHERS: [&str; 2] = ["notes", "sketches"];

/// The operator.
pub struct Meddler {
    workload: Workload,
    dice: StdRng,
}

impl Meddler {
    /// Meddles until the run is healed, then puts everything back.
    pub async fn run(workload: Workload, seed: u64) {
        let mut new = Self { workload, dice: StdRng::seed_from_u64(seed) };
        while new.workload.stage() < Stage::Healed {
            tokio::time::sleep(Duration::from_millis(new.dice.random_range(300..3_000))).await;
            let node = NODES[new.dice.random_range(0..NODES.len())];
            if let Some(client) = connect(node).await {
                // Whether it worked is no matter.
                let _ = timeout(PATIENCE, new.meddle(client)).await;
            }
        }
        new.put_back().await;
    }

    async fn meddle(&mut self, mut client: Client) -> std::io::Result<()> {
        let partition = self.dice.random_range(0..PARTITIONS);
        let journal = self.workload.cluster.journal.clone();
        match self.dice.random_range(0..8) {
            0..=2 => {
                let mut replicas: Vec<i32> = (1..=NODES.len() as i32).collect();
                replicas.shuffle(&mut self.dice);
                replicas.truncate(self.dice.random_range(2..=NODES.len()));
                journal.note("operator", format_args!("moves {partition} to {replicas:?}"));
                client.call(0, &reassign(partition, Some(replicas))).await?;
            }
            3 => _ = client.call(0, &reassign(partition, None)).await?,
            4 => {
                let all = TopicPartitions::default()
                    .with_topic(name(TOPIC))
                    .with_partitions((0..PARTITIONS).collect());
                let request = ElectLeadersRequest::default()
                    .with_topic_partitions(Some(vec![all]))
                    .with_timeout_ms(2_000);
                client.call(1, &request).await?;
            }
            5 => {
                let topic = OTHERS[self.dice.random_range(0..OTHERS.len())];
                client.call(7, &create(topic, 2, &[])).await?;
            }
            6 => {
                let topic = OTHERS[self.dice.random_range(0..OTHERS.len())];
                client.call(5, &delete(topic)).await?;
            }
            _ => self.delete_records(partition).await,
        }
        Ok(())
    }

    /// Up to some offset that readers saw, at the leader.
    async fn delete_records(&mut self, partition: i32) {
        let at = partition as usize;
        let (watermark, losses) = (self.workload.known.borrow()[at].watermark, self.workload.losses());
        if watermark == 0 || losses > 0 || self.dice.random_range(0..2) == 0 {
            return;
        }
        let upto = self.dice.random_range(0..watermark);
        let turn = self.dice.random_range(0..NODES.len());
        let Some(mut client) = self.workload.connect_to_leader(partition, turn).await else { return };
        let asked = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(upto);
        let topic = DeleteRecordsTopic::default().with_name(name(TOPIC)).with_partitions(vec![asked]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(2_000);
        {
            let known = &mut self.workload.known.borrow_mut()[at];
            known.start_asked = known.start_asked.max(upto);
        }
        let Ok(answer) = client.call(1, &request).await else { return };
        let answer = &answer.topics[0].partitions[0];
        if answer.error_code == 0 {
            self.workload.cluster.journal.fault("records_deleted", format_args!("{partition} to {upto}"));
            let known = &mut self.workload.known.borrow_mut()[at];
            known.start = known.start.max(answer.low_watermark);
        }
    }

    /// Every partition on all nodes again; asked until it is taken.
    async fn put_back(&mut self) {
        for (turn, partition) in (0..PARTITIONS).enumerate() {
            for again in turn.. {
                let replicas: Vec<i32> = (1..=NODES.len() as i32).collect();
                if let Some(mut client) = connect(NODES[again % NODES.len()]).await
                    && let Ok(Ok(answer)) =
                        timeout(PATIENCE, client.call(0, &reassign(partition, Some(replicas)))).await
                    && answer.error_code == 0
                    && answer.responses[0].partitions[0].error_code == 0
                {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn reassign(partition: i32, replicas: Option<Vec<i32>>) -> AlterPartitionReassignmentsRequest {
    let replicas = replicas.map(|ids| ids.into_iter().map(BrokerId).collect());
    let part = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
    let topic = ReassignableTopic::default().with_name(name(TOPIC)).with_partitions(vec![part]);
    AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]).with_timeout_ms(2_000)
}

fn delete(topic: &str) -> DeleteTopicsRequest {
    DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]).with_timeout_ms(2_000)
}
