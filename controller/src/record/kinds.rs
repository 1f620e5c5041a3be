//! Every fact the metadata log can hold, one variant per kind. Not their bytes (`record/codec.rs`) and not their
//! meaning (`image/`). Invariant: a kind's number and a version's fields never change once released.

use std::fmt;
use std::sync::Arc;

use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::epoch::LeaderEpoch;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{BrokerEpoch, BrokerId, PartitionEpoch, TopicId};

/// The newest feature level this binary writes and reads. A log at a higher one is refused.
///
/// 1: one broker. 2: several, with moves, controlled shutdown and eligible leaders (the fields marked "level 2").
/// 3: brokers say which of their replicas a failed disk took (the field marked "level 3").
pub const FEATURE_LEVEL: u16 = 3;
/// What this binary can run at.
pub const FEATURE_RANGE: FeatureRange = FeatureRange { min: 1, max: FEATURE_LEVEL };

/// What a dynamic configuration belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Resource {
    /// One life of a topic; its configuration goes with it.
    Topic(TopicId),
    /// One broker.
    Broker(BrokerId),
    /// Every broker that has none of its own (Kafka's broker resource with an empty name).
    BrokerDefault,
}

/// Where clients or brokers reach a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name, as in `listeners`.
    pub listener: String,
    /// What is advertised.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Kafka's security protocol id (0 = PLAINTEXT).
    pub protocol: i16,
}

/// The feature levels a binary can run at, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureRange {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl FeatureRange {
    /// Whether a cluster finalised at `level` can have it.
    pub fn holds(self, level: u16) -> bool {
        (self.min..=self.max).contains(&level)
    }
}

/// What a registration of level 1 does not say: it knew no other level.
impl Default for FeatureRange {
    fn default() -> Self {
        FeatureRange { min: 1, max: 1 }
    }
}

/// A broker as it registered itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Broker {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Given at registration; names this incarnation in the cluster.
    pub epoch: BrokerEpoch,
    /// Drawn by the broker's process at its start.
    pub incarnation: Uuid,
    /// One per advertised listener, in the configuration's order.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Not alive in the controller's eyes: leads nothing, is in no ISR and gets no new replicas.
    pub fenced: bool,
    /// On its way down (controlled shutdown): it leads nothing new and joins no ISR. Level 2.
    pub stopping: bool,
    /// The ids of its log directories, sorted. Level 2; empty where an older binary registered.
    pub directories: Vec<Uuid>,
    /// Names the boot of its machine: the page cache of one boot outlives processes. Level 2.
    pub boot: Option<Uuid>,
    /// What its binary can run at. Level 2.
    pub features: FeatureRange,
    /// Partitions whose replica here cannot be used, because its disk failed: sorted, each once. They end with the
    /// registration. Level 3.
    pub offline: Arc<[(TopicId, i32)]>,
}

impl Broker {
    /// It says nothing that level 1 cannot hold.
    pub fn is_plain(&self) -> bool {
        !self.stopping
            && self.directories.is_empty()
            && self.boot.is_none()
            && self.features == FeatureRange::default()
            && self.offline.is_empty()
    }

    /// Its replica of this partition cannot be used.
    pub fn is_offline(&self, topic: TopicId, index: i32) -> bool {
        self.offline.binary_search(&(topic, index)).is_ok()
    }

    /// As much of it as a cluster at `level` can hold.
    pub fn at_level(mut self, level: u16) -> Broker {
        if level < 2 {
            self.stopping = false;
            self.directories.clear();
            self.boot = None;
            self.features = FeatureRange::default();
        }
        if level < 3 {
            self.offline = Arc::default();
        }
        self
    }
}

/// One partition's row: who holds it, who leads, who is in sync.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Partition {
    /// In order of preference, first is the preferred leader.
    #[serde(with = "crate::serial::shared")]
    pub replicas: Arc<[BrokerId]>,
    /// The replicas in sync, in the order of `replicas`.
    #[serde(with = "crate::serial::shared")]
    pub isr: Arc<[BrokerId]>,
    /// Who appends; none while nobody eligible is alive.
    pub leader: Option<BrokerId>,
    /// Rises whenever `leader` is chosen anew.
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change to this row.
    pub epoch: PartitionEpoch,
    /// Replicas that a reassignment brings, all among `replicas` (KIP-455). Level 2.
    #[serde(with = "crate::serial::shared")]
    pub adding: Arc<[BrokerId]>,
    /// Replicas that leave when the reassignment is complete, all among `replicas`. Level 2.
    #[serde(with = "crate::serial::shared")]
    pub removing: Arc<[BrokerId]>,
    /// Out of sync, yet holding everything acked: they left an ISR that was below `min.insync.replicas`, where
    /// nothing is acked (KIP-966). None of them is in `isr`. Level 2.
    #[serde(with = "crate::serial::shared")]
    pub elr: Arc<[BrokerId]>,
    /// Who led last, while nobody does. Level 2.
    pub last_leader: Option<BrokerId>,
}

impl Partition {
    /// It says nothing that level 1 cannot hold.
    pub fn is_plain(&self) -> bool {
        self.adding.is_empty()
            && self.removing.is_empty()
            && self.elr.is_empty()
            && self.last_leader.is_none()
    }

    /// A reassignment is under way.
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }
}

/// One fact. The comment's number is the kind on disk.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// 1: the formats that follow are those of this level; the first record of every log and snapshot.
    FeatureLevel {
        /// At most [`FEATURE_LEVEL`] in a log this binary may open.
        level: u16,
    },
    /// 2: whose metadata this is.
    Cluster {
        /// Kafka's cluster id, as formatted.
        id: String,
    },
    /// 3: a broker registered; replaces its earlier registration.
    Broker(Broker),
    /// 4: a topic exists; its partitions follow, 0 first.
    Topic {
        /// Never used before.
        id: TopicId,
        /// Unique among live topics.
        name: String,
    },
    /// 5: a partition's row, new or changed.
    Partition {
        /// A live topic.
        topic: TopicId,
        /// From 0, without holes.
        index: i32,
        /// The whole row.
        row: Partition,
    },
    /// 6: the topic is gone for clients; what it left in the bucket awaits its purge.
    TopicDeleted {
        /// The topic.
        id: TopicId,
        /// The name it had, for messages.
        name: String,
        /// Logs it had: partitions 0 to this, exclusive.
        partitions: i32,
    },
    /// 7: nothing of a deleted topic is left in the bucket.
    TopicPurged {
        /// The topic.
        id: TopicId,
    },
    /// 8: a dynamic configuration's value.
    Config {
        /// Whose.
        resource: Resource,
        /// The key, as in Kafka's documentation.
        key: String,
        /// `None` removes it.
        value: Option<String>,
    },
    /// 9: producer ids below this are given out.
    ProducerIds {
        /// First id of the next block.
        next: i64,
    },
    /// 10: a step of one log's tier row.
    TierChanged {
        /// A live topic.
        topic: TopicId,
        /// Its partition.
        index: i32,
        /// Names the version and leader epoch it was decided on.
        change: TierChange,
    },
    /// 11: a log's whole tier row; written by snapshots.
    TierRow {
        /// A live or deleted topic.
        topic: TopicId,
        /// Its partition.
        index: i32,
        /// The row.
        row: Arc<TierRow>,
    },
    /// 12: a broker was unregistered; nothing names it any more. Level 2.
    BrokerGone {
        /// The broker.
        id: BrokerId,
    },
    /// 13: registrations get broker epochs from here on; written by snapshots, when those below belong to brokers
    /// that are gone. Level 2.
    BrokerEpochs {
        /// The next registration's epoch.
        next: BrokerEpoch,
    },
}

impl Record {
    /// The oldest feature level at which it may be written.
    pub fn level(&self) -> u16 {
        match self {
            Record::FeatureLevel { level } => *level,
            Record::Broker(broker) if !broker.offline.is_empty() => 3,
            Record::Broker(broker) if !broker.is_plain() => 2,
            Record::Partition { row, .. } if !row.is_plain() => 2,
            Record::BrokerGone { .. } | Record::BrokerEpochs { .. } => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Topic(id) => write!(f, "topic {id}"),
            Resource::Broker(id) => write!(f, "broker {id}"),
            Resource::BrokerDefault => f.write_str("broker default"),
        }
    }
}
