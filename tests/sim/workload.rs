//! What the clients of a run share: how far it is, the topic, what was sent, acked and read so far.
//! The clients themselves are in `clients`. Invariant: one value stands for one offset: serial n of a partition is what
//! offset n-1 must hold, as long as nothing acked was lost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::protocol::StrBytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;

use crate::cluster::{Cluster, NODES, PORT};
use crate::scenario::wire_client::{WireClient, name};

/// The topic everything happens in.
pub const TOPIC: &str = "ledger";
/// Its partitions.
pub const PARTITIONS: i32 = 3;
/// A request without an answer is tried elsewhere after this.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries.
pub const PAUSE: Duration = Duration::from_millis(100);

/// How far the run is; the driver moves it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The topic is being made.
    Founding,
    /// Things go wrong.
    Trouble,
    /// Everything works again: what is written now must be acked.
    Healed,
    /// Nobody writes any more.
    Written,
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
    /// Acked before the power went everywhere under `durability=cache`: any end of it may be lost.
    pub doubtful: BTreeMap<i64, Bytes>,
    /// What readers were shown, by offset: it is committed and must stay.
    pub read: BTreeMap<i64, Bytes>,
    /// The earliest leader epoch under which readers are sure to have been shown an offset: every later leader has it.
    pub shown_under: BTreeMap<i64, i32>,
    /// Values sent so far: serials 1 to this.
    pub sent: u64,
    /// The highest high watermark a reader was told.
    pub watermark: i64,
    /// The highest log start that a reader or who deleted records was told, and the highest that was asked for.
    pub start: i64,
    pub start_asked: i64,
    /// How often the producer began anew: values it had sent and knew nothing of may be missing.
    pub resets: u32,
    /// Acked since everything works again.
    pub acked_since_healed: u64,
}

impl Known {
    /// The power went everywhere, and what was acked was not durable.
    fn doubt(&mut self) {
        self.doubtful.append(&mut self.acked);
        self.read.clear();
        self.shown_under.clear();
        self.watermark = 0;
    }
}

/// Shared by the clients and the driver.
#[derive(Clone)]
pub struct Workload {
    pub cluster: Cluster,
    pub stage: Rc<RefCell<Stage>>,
    pub known: Rc<RefCell<Vec<Known>>>,
    /// Losses that `known` has heard of.
    losses: Rc<RefCell<u32>>,
}

/// A connection to one node.
pub type Client = WireClient<turmoil::net::TcpStream>;

impl Workload {
    /// Nothing sent yet.
    pub fn new(cluster: Cluster) -> Self {
        let known = vec![Known::default(); PARTITIONS as usize];
        let stage = Rc::new(RefCell::new(Stage::Founding));
        Self { cluster, stage, known: Rc::new(RefCell::new(known)), losses: Rc::default() }
    }

    /// How far the run is.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// How often everything acked became doubtful. An answer to what was asked before the last time proves nothing.
    pub fn losses(&self) -> u32 {
        let losses = self.cluster.losses.get();
        if self.losses.replace(losses) != losses {
            self.known.borrow_mut().iter_mut().for_each(Known::doubt);
        }
        losses
    }

    /// Makes the topic; everything else waits for it.
    pub async fn found(&self) {
        let configs = [
            ("remote.storage.enable", "true"),
            ("segment.bytes", "1048576"),
            ("segment.ms", "3000"),
            ("local.retention.ms", "2000"),
            ("retention.ms", "-1"),
        ];
        let request = create(TOPIC, PARTITIONS, &configs);
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

    /// Whom some node takes for the leader, and under which epoch.
    pub async fn leader_of(&self, partition: i32, turn: usize) -> Option<(usize, i32)> {
        let mut client = connect(NODES[turn % NODES.len()]).await?;
        let metadata = timeout(PATIENCE, client.metadata(TOPIC)).await.ok()?.ok()?;
        let topic = metadata.topics.first()?;
        let row = topic.partitions.iter().find(|row| row.partition_index == partition)?;
        let leader = usize::try_from(row.leader_id.0).ok()?.checked_sub(1)?;
        (leader < NODES.len()).then_some((leader, row.leader_epoch))
    }

    /// A connection to that leader.
    pub async fn connect_to_leader(&self, partition: i32, turn: usize) -> Option<Client> {
        let (leader, _) = self.leader_of(partition, turn).await?;
        connect(NODES[leader]).await
    }
}

/// A request for a topic with three replicas.
pub fn create(topic: &str, partitions: i32, configs: &[(&'static str, &'static str)]) -> CreateTopicsRequest {
    let config = |(name, value): &(&'static str, &'static str)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_static_str(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(3)
        .with_configs(configs.iter().map(config).collect());
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
}

/// A value nobody else sends, half a KiB to 8 KiB long, so that segments roll.
pub fn value(partition: i32, serial: u64) -> Bytes {
    let mut dice = StdRng::seed_from_u64(serial << 8 | partition as u64);
    let mut value = vec![0; dice.random_range(512..8 << 10)];
    dice.fill(&mut value[..]);
    value.into()
}

/// A connection, if the node answers in time.
pub async fn connect(node: &str) -> Option<Client> {
    let stream = timeout(PATIENCE, turmoil::net::TcpStream::connect((node, PORT))).await.ok()?.ok()?;
    Some(WireClient::new(stream))
}
