//! Clients of the simulated cluster: one idempotent producer of unique values per partition, readers beside them.
//! They retry as a client library does and never give up. Invariant: a producer sends its next value only after the one
//! before was acked, so what stands in the log must be its values, in order, each once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, InitProducerIdRequest};
use kafka_protocol::protocol::StrBytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;

use crate::cluster::{Cluster, NODES, PORT};
use crate::scenario::values;
use crate::scenario::wire_client::{WireClient, name};
use crate::world::clock::EPOCH_MS;

/// The topic everything happens in.
pub const TOPIC: &str = "ledger";
/// Its partitions.
pub const PARTITIONS: i32 = 3;
/// A request without an answer is tried elsewhere after this.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// How far the run is; the driver moves it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The topic is being made.
    Founding,
    /// Things go wrong.
    Trouble,
    /// Everything works again: what is written now must be acked.
    Healed,
    /// All replicas are in sync again.
    Whole,
    /// Everybody has stopped.
    Done,
}

/// What clients learned of one partition.
#[derive(Debug, Default, Clone)]
pub struct Known {
    /// Acked values by offset.
    pub acked: BTreeMap<i64, Bytes>,
    /// Values sent so far: serials 1 to this.
    pub sent: u64,
    /// The highest high watermark a reader was told.
    pub watermark: i64,
    /// Acked since everything works again.
    pub acked_since_healed: u64,
}

/// Shared by the clients and the driver.
#[derive(Clone)]
pub struct Workload {
    pub cluster: Cluster,
    pub stage: Rc<RefCell<Stage>>,
    pub known: Rc<RefCell<Vec<Known>>>,
}

type Client = WireClient<turmoil::net::TcpStream>;

impl Workload {
    /// Nothing sent yet.
    pub fn new(cluster: Cluster) -> Self {
        let known = vec![Known::default(); PARTITIONS as usize];
        Self { cluster, stage: Rc::new(RefCell::new(Stage::Founding)), known: Rc::new(RefCell::new(known)) }
    }

    /// How far the run is.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Makes the topic; everything else waits for it.
    pub async fn found(&self) {
        let config = |name: &'static str, value: &'static str| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_static_str(value)))
        };
        let configs = vec![
            config("remote.storage.enable", "true"),
            config("segment.bytes", "1048576"),
            config("local.retention.ms", "2000"),
            config("retention.ms", "-1"),
        ];
        let topic = CreatableTopic::default()
            .with_name(name(TOPIC))
            .with_num_partitions(PARTITIONS)
            .with_replication_factor(3)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        for turn in 0.. {
            if let Some(mut client) = connect(NODES[turn % NODES.len()]).await
                && let Ok(Ok(response)) = timeout(PATIENCE, client.call(7, &request)).await
                && [0, 36].contains(&response.topics[0].error_code)
            {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes until the run is healed and this partition took ten more values.
    pub async fn produce(self, partition: i32) {
        let at = partition as usize;
        let producer = self.producer_id(partition).await;
        let mut leader = None;
        for serial in 1_u64.. {
            self.known.borrow_mut()[at].sent = serial;
            let value = value(partition, serial);
            let sequence = i32::try_from(serial - 1).expect("a short run");
            let offset = self.send_until_acked(partition, producer, sequence, &value, &mut leader).await;
            let mut known = self.known.borrow_mut();
            let known = &mut known[at];
            if let Some(offset) = offset {
                let before = known.acked.insert(offset, value);
                assert_eq!(before, None, "partition {partition}: offset {offset} was acked twice");
            }
            if self.stage() >= Stage::Healed {
                known.acked_since_healed += 1;
                if known.acked_since_healed >= 10 {
                    return;
                }
            }
        }
    }

    /// The offset it was acked at; `None` if only "it is there already" was answered.
    async fn send_until_acked(
        &self,
        partition: i32,
        producer: i64,
        sequence: i32,
        value: &Bytes,
        leader: &mut Option<Client>,
    ) -> Option<i64> {
        let mut turn = sequence as usize;
        loop {
            if leader.is_none() {
                *leader = self.leader_of(partition, turn).await;
                turn += 1;
            }
            let Some(client) = leader.as_mut() else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let mut batch = BatchBuilder::new().producer(producer, 0, sequence);
            batch.push(EPOCH_MS + i64::from(sequence), Some(&sequence.to_be_bytes()), Some(value), &[]);
            match timeout(PATIENCE, client.produce(TOPIC, partition, batch.build())).await {
                Ok(Ok(answer)) if answer.error_code == 0 => return Some(answer.base_offset),
                Ok(Ok(answer)) if answer.error_code == DUPLICATE_SEQUENCE_NUMBER => return None,
                Ok(Ok(answer)) => {
                    assert_ne!(
                        answer.error_code, OUT_OF_ORDER_SEQUENCE_NUMBER,
                        "partition {partition} does not know what it acked before sequence {sequence}"
                    );
                    self.cluster
                        .journal
                        .note("client", format_args!("{partition}: error {}", answer.error_code));
                    *leader = None;
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Err(_)) | Err(_) => *leader = None,
            }
        }
    }

    async fn producer_id(&self, partition: i32) -> i64 {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        for turn in partition as usize.. {
            if let Some(mut client) = connect(NODES[turn % NODES.len()]).await
                && let Ok(Ok(answer)) = timeout(PATIENCE, client.call(4, &request)).await
                && answer.error_code == 0
            {
                return answer.producer_id.0;
            }
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("the turns never end")
    }

    /// A connection to the node that some node says leads.
    pub async fn leader_of(&self, partition: i32, turn: usize) -> Option<Client> {
        let mut client = connect(NODES[turn % NODES.len()]).await?;
        let metadata = timeout(PATIENCE, client.metadata(TOPIC)).await.ok()?.ok()?;
        let topic = metadata.topics.first()?;
        let row = topic.partitions.iter().find(|row| row.partition_index == partition)?;
        let leader = usize::try_from(row.leader_id.0).ok()?.checked_sub(1)?;
        connect(NODES.get(leader)?).await
    }

    /// Reads again and again from the start; what was seen at an offset never changes, and is what was sent.
    pub async fn read(self, partition: i32) {
        let mut seen: BTreeMap<i64, Bytes> = BTreeMap::new();
        let mut turn = partition as usize;
        while self.stage() < Stage::Done {
            tokio::time::sleep(Duration::from_millis(150)).await;
            turn += 1;
            let Some(mut client) = self.leader_of(partition, turn).await else { continue };
            let from = if turn.is_multiple_of(3) { 0 } else { seen.keys().last().map_or(0, |last| last + 1) };
            let fetch = client.fetch(TOPIC, partition, from, 1 << 20, 200);
            let Ok(Ok(answer)) = timeout(PATIENCE, fetch).await else { continue };
            if answer.error_code != 0 {
                continue;
            }
            let mut known = self.known.borrow_mut();
            let known = &mut known[partition as usize];
            known.watermark = known.watermark.max(answer.high_watermark);
            for (offset, found) in values(&answer.records.unwrap_or_default()) {
                assert!(offset < known.watermark, "partition {partition}: {offset} is not committed");
                let before = seen.entry(offset).or_insert_with(|| found.clone());
                assert_eq!(*before, found, "partition {partition}: offset {offset} changed");
            }
        }
    }
}

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

/// A value nobody else sends, 2 to 12 KiB long, so that segments roll.
pub fn value(partition: i32, serial: u64) -> Bytes {
    let mut dice = StdRng::seed_from_u64(serial << 8 | partition as u64);
    let mut value = vec![0; dice.random_range(2 << 10..12 << 10)];
    dice.fill(&mut value[..]);
    value.into()
}

async fn connect(node: &str) -> Option<Client> {
    let stream = timeout(PATIENCE, turmoil::net::TcpStream::connect((node, PORT))).await.ok()?.ok()?;
    Some(WireClient::new(stream))
}
