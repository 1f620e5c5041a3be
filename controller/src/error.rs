//! Why a request to the controller was not done: one enum per verb, each with what the caller can do about it.
//! No Kafka code here: those are the broker's table. Invariant: a refusal left no trace in the image.

use firnline_tiering::cold::tier::Refused;
use serde::{Deserialize, Serialize};

use crate::id::{BrokerId, TopicId};

/// The quorum cannot take the request now; nobody knows better than to ask again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Unavailable {
    /// Another node leads the quorum, or none does.
    #[error("this node does not lead the quorum; {}", match .leader { Some(id) => format!("node {id} does"), None => "no node is known to".to_owned() })]
    NotLeader {
        /// Who does, if known.
        leader: Option<BrokerId>,
    },
    /// Leadership moved while the request was under way: it may or may not have been done.
    #[error("the quorum's leader changed while the request was under way; its outcome is unknown")]
    Interrupted,
    /// What the request was decided on had changed when it was applied; nothing was done.
    #[error("another decision came first: {0}")]
    Overtaken(String),
    /// The controller has shut down, or stopped at an error it must not go past.
    #[error("the controller has stopped: {0}")]
    Stopped(String),
}

/// Why a controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The disk said no.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Bytes that were once durable read back wrong; nothing was changed on disk.
    #[error("{what}")]
    Corrupt {
        /// Where, and what is wrong with it.
        what: String,
    },
    /// Bytes of a newer binary; the message names kind and version.
    #[error("{what}")]
    Unknown {
        /// Where, and which kind and version.
        what: String,
    },
    /// The metadata belongs to another cluster.
    #[error("the metadata log is of cluster {found}, this node is configured for {wanted}")]
    OtherCluster {
        /// In the log.
        found: String,
        /// In the configuration.
        wanted: String,
    },
    /// The metadata belongs to another node.
    #[error("the metadata log was written by voter {found}, this node is {wanted}")]
    OtherNode {
        /// In the log.
        found: u64,
        /// In the configuration.
        wanted: u64,
    },
    /// The quorum came up and fell again.
    #[error("the quorum did not start: {0}")]
    Quorum(String),
    /// Leadership was won but the first records were not taken.
    #[error("the quorum took no records: {0}")]
    Unavailable(#[from] Unavailable),
}

/// Why a topic was not created (KIP-4's CreateTopics, one per topic).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CreateTopicError {
    /// There is one of that name.
    #[error("topic '{name}' already exists")]
    Exists {
        /// The name.
        name: String,
        /// Its id.
        id: TopicId,
    },
    /// The name breaks Kafka's rules.
    #[error("topic name is invalid: {0}")]
    InvalidName(String),
    /// Metric names cannot tell it from an existing one.
    #[error(
        "topic '{name}' collides with existing topic '{existing}': '.' and '_' are the same in metric names"
    )]
    Collides {
        /// The name asked for.
        name: String,
        /// The topic that stands in the way.
        existing: String,
    },
    /// Not a positive number of partitions.
    #[error("number of partitions must be larger than 0, not {0}")]
    InvalidPartitions(i32),
    /// Not a positive number of replicas, or more than brokers.
    #[error("replication factor {asked} is not between 1 and the {live} live broker(s)")]
    InvalidReplicationFactor {
        /// As asked.
        asked: i16,
        /// Brokers that could hold a replica.
        live: usize,
    },
    /// Assignments that are not consecutive, not equally long, repeat a broker or name an unknown one.
    #[error("{0}")]
    InvalidAssignment(String),
    /// The request contradicts itself.
    #[error("{0}")]
    InvalidRequest(String),
    /// More than one request may create at once.
    #[error("{asked} partitions in one request, more than {limit}")]
    TooManyPartitions {
        /// As asked, with what the request's earlier topics took.
        asked: u64,
        /// The limit.
        limit: u64,
    },
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a topic was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DeleteTopicError {
    /// No live topic has this id.
    #[error("no topic has id {0}")]
    UnknownTopic(TopicId),
    /// The request names it twice.
    #[error("topic id {0} is named twice")]
    Duplicate(TopicId),
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why partitions were not added (KIP-195's CreatePartitions, one per topic).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CreatePartitionsError {
    /// No live topic has this id.
    #[error("no topic has id {0}")]
    UnknownTopic(TopicId),
    /// A topic's partitions can only grow in number.
    #[error("topic has {current} partition(s), which {asked} would not increase")]
    InvalidPartitions {
        /// Partitions now.
        current: i32,
        /// Partitions asked for.
        asked: i32,
    },
    /// The topic's replication factor does not fit the live brokers.
    #[error("replication factor {asked} is larger than the {live} live broker(s)")]
    InvalidReplicationFactor {
        /// The topic's.
        asked: i16,
        /// Brokers that could hold a replica.
        live: usize,
    },
    /// Assignments that are not one per new partition, of the topic's replication factor, on known brokers.
    #[error("{0}")]
    InvalidAssignment(String),
    /// More than one request may create at once.
    #[error("{asked} new partitions in one request, more than {limit}")]
    TooManyPartitions {
        /// As asked.
        asked: u64,
        /// The limit.
        limit: u64,
    },
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a resource's dynamic configuration did not change. Names and values are the broker's to check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AlterConfigsError {
    /// No live topic has this id.
    #[error("no topic has id {0}")]
    UnknownTopic(TopicId),
    /// A key is empty, repeated or too long, or a value too long.
    #[error("{0}")]
    InvalidRequest(String),
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a broker was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RegisterError {
    /// The broker was set up for another cluster.
    #[error("broker {id} belongs to cluster {found}, this is {wanted}")]
    OtherCluster {
        /// The broker.
        id: BrokerId,
        /// Its cluster.
        found: String,
        /// Ours.
        wanted: String,
    },
    /// Negative id, no listener, a listener named twice.
    #[error("{0}")]
    InvalidRequest(String),
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why no block of producer ids was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AllocateError {
    /// 2^63 ids were given out.
    #[error("all producer ids are used up")]
    Exhausted,
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a purge was not finished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum FinishPurgeError {
    /// No deleted topic of this id awaits its purge.
    #[error("no deleted topic {0} awaits its purge")]
    UnknownTopic(TopicId),
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a step of a log's tier row was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TierRefused {
    /// No live topic has this partition.
    #[error("topic {0} has no partition {1}")]
    UnknownPartition(TopicId, i32),
    /// Decided on a row or under a leader that is no longer current, or breaking the row's invariants.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
