//! An idempotent producer of unique values, one per partition, with up to five batches under way as Kafka's has.
//! It reads nothing. Invariant: a value it sent is sent again until it is acked, before any later one that is not under
//! way yet; so what stands in the log must be its values, in order, each once (I2, I3).

use std::collections::VecDeque;

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;

use crate::cluster::{NODES, Promise};
use crate::scenario::wire_client::name;
use crate::workload::{Client, PATIENCE, PAUSE, Stage, TOPIC, Workload, connect, value};
use crate::world::clock::EPOCH_MS;

/// Batches under way: as many as a broker remembers of a producer.
const WINDOW: usize = 5;
const PRODUCE_VERSION: i16 = 9;

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const UNKNOWN_PRODUCER_ID: i16 = 59;

/// One that writes a partition.
pub struct Producer {
    workload: Workload,
    partition: i32,
    dice: StdRng,
    id: i64,
    /// The serial before the first of this producer id.
    base: u64,
    /// Something of it was acked.
    is_known: bool,
    /// Losses it began after.
    losses: u32,
    /// Sent and not acked, oldest first: serial, losses when it was first sent, value.
    under_way: VecDeque<(u64, u32, Bytes)>,
    /// The last serial that was taken up.
    last: u64,
    client: Option<Client>,
    turn: usize,
    /// The node it writes to, and the newest leader epoch it was told.
    leader: (usize, i32),
}

/// How the cluster took a round of batches.
enum Round {
    /// All were acked.
    Acked,
    /// Not all: they are sent again, elsewhere.
    Again,
    /// The cluster lost what it acked, as it may: a new producer goes on.
    Lost,
}

impl Producer {
    /// Writes until the run is healed and this partition took ten more values.
    pub async fn run(workload: Workload, partition: i32, seed: u64) {
        let mut new = Self {
            workload,
            partition,
            dice: StdRng::seed_from_u64(seed),
            id: -1,
            base: 0,
            is_known: false,
            losses: 0,
            under_way: VecDeque::new(),
            last: 0,
            client: None,
            turn: partition as usize,
            leader: (0, -1),
        };
        new.begin().await;
        while new.workload.known.borrow()[partition as usize].acked_since_healed < 10 {
            new.take_up();
            match new.round().await {
                Round::Acked => {
                    new.try_a_gap().await;
                    let pause_ms = new.dice.random_range(0..400);
                    tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
                }
                Round::Again => {
                    new.client = None;
                    tokio::time::sleep(PAUSE).await;
                }
                Round::Lost => {
                    // Whether what is under way was written nobody knows: it is given up, not doubled.
                    new.under_way.clear();
                    new.workload.known.borrow_mut()[partition as usize].resets += 1;
                    new.begin().await;
                }
            }
        }
    }

    /// Gets a producer id; its sequences count from what was taken up so far.
    async fn begin(&mut self) {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        loop {
            self.turn += 1;
            let losses = self.workload.losses();
            if let Some(mut client) = connect(NODES[self.turn % NODES.len()]).await
                && let Ok(Ok(answer)) = timeout(PATIENCE, client.call(4, &request)).await
                && answer.error_code == 0
            {
                (self.id, self.base, self.losses) = (answer.producer_id.0, self.last, losses);
                self.is_known = false;
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes up to as many new values as fit beside those under way.
    fn take_up(&mut self) {
        // A broker that does not know a producer takes any sequence for its first (as Kafka does): so the first batch
        // goes alone, or one behind it could be taken in its place.
        let wanted = if self.is_known { self.dice.random_range(1..=WINDOW) } else { 1 };
        while self.under_way.len() < wanted {
            self.last += 1;
            let value = value(self.partition, self.last);
            self.under_way.push_back((self.last, self.workload.losses(), value));
        }
        self.workload.known.borrow_mut()[self.partition as usize].sent = self.last;
    }

    /// Sends all that is under way on one connection, then takes the answers.
    async fn round(&mut self) -> Round {
        if self.client.is_none() {
            self.turn += 1;
            self.client = self.connect_to_leader().await;
        }
        let Some(mut client) = self.client.take() else { return Round::Again };
        let mut sent = Vec::new();
        for (serial, _, value) in &self.under_way {
            let request = self.request(*serial, value);
            match timeout(PATIENCE, client.send(PRODUCE_VERSION, &request)).await {
                Ok(Ok(correlation)) => sent.push(correlation),
                _ => return Round::Again,
            }
        }
        for (place, correlation) in sent.into_iter().enumerate() {
            let answer = client.receive::<ProduceRequest>(PRODUCE_VERSION, correlation);
            let Ok(Ok(mut answer)) = timeout(PATIENCE, answer).await else { return Round::Again };
            let answer = answer.responses.remove(0).partition_responses.remove(0);
            match self.take(&answer, place == 0) {
                Round::Acked => {}
                other => return other,
            }
        }
        self.client = Some(client);
        Round::Acked
    }

    /// A connection to whom some node takes for the leader. As Kafka's clients it does not go back to an older epoch than
    /// it was told (KIP-320): who was cut off still takes itself for the leader, and has not heard of what was acked since.
    async fn connect_to_leader(&mut self) -> Option<Client> {
        let (leader, epoch) = self.workload.leader_of(self.partition, self.turn).await?;
        if epoch < self.leader.1 {
            return None;
        }
        self.leader = (leader, epoch);
        connect(NODES[leader]).await
    }

    /// Now and then a batch comes that leaves a gap, as one whose predecessors were lost would: nobody may take it (I3).
    async fn try_a_gap(&mut self) {
        // Where everything may be lost, the producer too may be unknown, and any sequence is its first.
        let known = self.workload.cluster.promise != Promise::CacheLost && self.under_way.is_empty();
        if self.dice.random_range(0..8) > 0 || !known {
            return;
        }
        let Some(mut client) = self.client.take() else { return };
        let request = self.request(self.last + 1_000, &Bytes::from_static(b"never to be seen"));
        let answer = client.call(PRODUCE_VERSION, &request);
        let Ok(Ok(mut answer)) = timeout(PATIENCE, answer).await else { return };
        let answer = answer.responses.remove(0).partition_responses.remove(0);
        assert_ne!(answer.error_code, 0, "I3: partition {} takes a batch behind a gap", self.partition);
        self.client = Some(client).filter(|_| answer.error_code == OUT_OF_ORDER_SEQUENCE_NUMBER);
    }

    fn request(&self, serial: u64, value: &Bytes) -> ProduceRequest {
        let sequence = i32::try_from(serial - self.base - 1).expect("a short run");
        let mut batch = BatchBuilder::new().producer(self.id, 0, sequence);
        let now_ms = turmoil::sim_elapsed().unwrap_or_default().as_millis() as i64;
        batch.push(EPOCH_MS + now_ms, Some(&serial.to_be_bytes()), Some(value), &[]);
        let data =
            PartitionProduceData::default().with_index(self.partition).with_records(Some(batch.build()));
        let topic = TopicProduceData::default().with_name(name(TOPIC)).with_partition_data(vec![data]);
        ProduceRequest::default().with_acks(-1).with_timeout_ms(2_500).with_topic_data(vec![topic])
    }

    /// What one answer means for the oldest value under way. Behind a batch that was refused, others may be out of
    /// order; the first may not, and a retry of one of the last five has to be answered its offset.
    fn take(&mut self, answer: &PartitionProduceResponse, first: bool) -> Round {
        let (partition, code) = (self.partition, answer.error_code);
        let lost = self.workload.losses() > self.losses;
        let (serial, losses, _) = self.under_way.front().expect("an answer to what is under way");
        match code {
            0 => {
                let (offset, losses) = (answer.base_offset, *losses);
                let (_, _, value) = self.under_way.pop_front().expect("just seen");
                self.is_known = true;
                self.acked(offset, losses, value);
                Round::Acked
            }
            OUT_OF_ORDER_SEQUENCE_NUMBER | UNKNOWN_PRODUCER_ID | DUPLICATE_SEQUENCE_NUMBER if lost => {
                Round::Lost
            }
            OUT_OF_ORDER_SEQUENCE_NUMBER | UNKNOWN_PRODUCER_ID if first => {
                let (leader, epoch) = (NODES[self.leader.0], self.leader.1);
                panic!(
                    "I2: partition {partition} does not know what it acked before serial {serial}: error {code} of {leader}, epoch {epoch}"
                )
            }
            DUPLICATE_SEQUENCE_NUMBER => {
                panic!(
                    "I2: partition {partition} does not know serial {serial}, one of the last five, for itself"
                )
            }
            // UNKNOWN_SERVER_ERROR is nobody's answer (I18).
            -1 => panic!("I18: partition {partition}: unknown server error"),
            _ => {
                let (leader, epoch) = (NODES[self.leader.0], self.leader.1);
                let journal = &self.workload.cluster.journal;
                journal.note("client", format_args!("{partition}: error {code} of {leader}, epoch {epoch}"));
                Round::Again
            }
        }
    }

    fn acked(&mut self, offset: i64, losses: u32, value: Bytes) {
        let (now, stage) = (self.workload.losses(), self.workload.stage());
        let mut known = self.workload.known.borrow_mut();
        let known = &mut known[self.partition as usize];
        if losses == now {
            let before = known.acked.insert(offset, value);
            assert_eq!(before, None, "I2: partition {}: offset {offset} was acked twice", self.partition);
        }
        known.acked_since_healed += u64::from(stage >= Stage::Healed);
    }
}
