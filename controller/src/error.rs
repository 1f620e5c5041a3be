//! Why a request to the controller was not done: one enum per verb, each with what the caller can do about it.
//! No Kafka code here: those are the broker's table. Invariant: a refusal left no trace in the image.

use firnline_tiering::cold::tier::Refused;
use firnline_tiering::epoch::LeaderEpoch;
use serde::{Deserialize, Serialize};

use crate::id::{BrokerEpoch, BrokerId, PartitionEpoch, TopicId};

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
    /// Negative id, no listener, a listener or directory named twice, a directory of another broker.
    #[error("{0}")]
    InvalidRequest(String),
    /// Another process is registered under this id and heard of: two nodes have one `node.id`.
    #[error(
        "broker id {id} is in use by another node, with other log directories, whose session has not ended"
    )]
    Duplicate {
        /// The id.
        id: BrokerId,
    },
    /// The broker's binary cannot run at the cluster's feature level.
    #[error("broker {id} can run at feature levels {min} to {max}; the cluster is at {level}")]
    UnsupportedLevel {
        /// The broker.
        id: BrokerId,
        /// The cluster's.
        level: u16,
        /// The broker's oldest.
        min: u16,
        /// The broker's newest.
        max: u16,
    },
    /// A second broker needs records that the cluster's level does not have.
    #[error("broker {id} would be the second one, which needs feature level 2; the cluster is at {level}")]
    LevelTooLow {
        /// The broker.
        id: BrokerId,
        /// The cluster's.
        level: u16,
    },
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a heartbeat was not heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum HeartbeatError {
    /// It has to register first.
    #[error("broker {0} is not registered")]
    UnknownBroker(BrokerId),
    /// Another incarnation registered since.
    #[error("broker {id} is registered under epoch {current}, not {found}")]
    StaleEpoch {
        /// The broker.
        id: BrokerId,
        /// In the heartbeat.
        found: BrokerEpoch,
        /// Registered.
        current: BrokerEpoch,
    },
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a partition's ISR was not changed (KIP-497's AlterPartition, one per partition).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AlterPartitionError {
    /// The asker is not registered under this epoch.
    #[error("broker {id} is not registered under epoch {epoch}")]
    StaleBrokerEpoch {
        /// The asker.
        id: BrokerId,
        /// As it says.
        epoch: BrokerEpoch,
    },
    /// No live topic has this id.
    #[error("no topic has id {0}")]
    UnknownTopic(TopicId),
    /// The topic has no such partition.
    #[error("topic {0} has no partition {1}")]
    UnknownPartition(TopicId, i32),
    /// The asker has seen epochs this controller has not: another one leads the quorum.
    #[error("the asker knows newer epochs than this controller")]
    NewerThanController,
    /// Somebody was elected since.
    #[error("the partition is led under epoch {current} now")]
    FencedLeaderEpoch {
        /// The row's.
        current: LeaderEpoch,
    },
    /// The row changed since.
    #[error("the partition is at epoch {current} now")]
    StalePartitionEpoch {
        /// The row's.
        current: PartitionEpoch,
    },
    /// The asker does not lead, or its ISR is none.
    #[error("{0}")]
    InvalidRequest(String),
    /// A member is fenced, on its way down, not registered or of another incarnation.
    #[error("broker {id} cannot be in sync: it {why}")]
    IneligibleReplica {
        /// The member.
        id: BrokerId,
        /// What it is.
        why: String,
    },
    /// The ISR was changed, and with it the leader: a reassignment is complete, or the asker is on its way down.
    #[error("the change elected another leader")]
    NewLeaderElected,
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a leader was not elected (KIP-183's ElectLeaders, one per partition).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ElectError {
    /// No live topic has this partition.
    #[error("topic {0} has no partition {1}")]
    UnknownPartition(TopicId, i32),
    /// The preferred replica leads; or, for an unclean election, somebody does.
    #[error("an election is not needed")]
    NotNeeded,
    /// The preferred replica is not in sync, or not alive.
    #[error("the preferred replica is not available")]
    PreferredNotAvailable,
    /// No replica is alive.
    #[error("no replica is available to lead")]
    EligibleNotAvailable,
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a reassignment was not begun or cancelled (KIP-455, one per partition).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ReassignError {
    /// No live topic has this partition.
    #[error("topic {0} has no partition {1}")]
    UnknownPartition(TopicId, i32),
    /// Replicas that are none, repeated or not registered; or going back would lose what was acked.
    #[error("{0}")]
    InvalidAssignment(String),
    /// The asker did not allow another number of replicas (KIP-860).
    #[error("{asked} replica(s) where there are {now}")]
    InvalidReplicationFactor {
        /// Before the move.
        now: usize,
        /// As asked.
        asked: usize,
    },
    /// There is nothing to cancel.
    #[error("no reassignment is in progress")]
    NotMoving,
    /// The cluster cannot write it down yet.
    #[error("reassignments need feature level 2; the cluster is at {level}")]
    LevelTooLow {
        /// The cluster's.
        level: u16,
    },
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a broker was not unregistered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum UnregisterError {
    /// There is none of that id.
    #[error("broker {0} is not registered")]
    UnknownBroker(BrokerId),
    /// The cluster cannot write it down yet.
    #[error("unregistering needs feature level 2; the cluster is at {level}")]
    LevelTooLow {
        /// The cluster's.
        level: u16,
    },
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why the feature level was not changed (KIP-584's UpdateFeatures).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum FeatureLevelError {
    /// What was written at this level cannot be read at a lower one.
    #[error("the feature level is {current} and cannot fall to {asked}")]
    Downgrade {
        /// The cluster's.
        current: u16,
        /// As asked.
        asked: u16,
    },
    /// The controllers' binary does not know it.
    #[error("feature level {asked} is not between 1 and {newest}, which this binary knows")]
    Unknown {
        /// As asked.
        asked: u16,
        /// The newest.
        newest: u16,
    },
    /// A voter's binary does not know it.
    #[error("controller {id} can run at feature levels up to {newest}, not {asked}: update it first")]
    UnsupportedByVoter {
        /// The voter.
        id: BrokerId,
        /// Its newest.
        newest: u16,
        /// As asked.
        asked: u16,
    },
    /// A voter has not said what its binary knows.
    #[error(
        "controller {id} has not been heard, so that nobody knows whether it can run at feature level {asked}: start it, or remove it from the voters"
    )]
    UnheardVoter {
        /// The voter.
        id: BrokerId,
        /// As asked.
        asked: u16,
    },
    /// A registered broker's binary does not know it.
    #[error("broker {id} can run at feature levels {min} to {max}, not {asked}")]
    UnsupportedByBroker {
        /// The broker.
        id: BrokerId,
        /// Its oldest.
        min: u16,
        /// Its newest.
        max: u16,
        /// As asked.
        asked: u16,
    },
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

/// Why the quorum's voters did not change (KIP-853's AddRaftVoter and RemoveRaftVoter).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum VoterError {
    /// No member runs in this node with this metadata directory.
    #[error("node {0} is no member of the quorum, or not with this directory id")]
    Unknown(BrokerId),
    /// It votes already.
    #[error("node {0} is a voter already")]
    AlreadyVotes(BrokerId),
    /// Another directory of that node votes already: the one it had before its disk was wiped.
    #[error("node {0} is a voter already, under another directory id: remove that voter first")]
    VotesElsewhere(BrokerId),
    /// It misses entries; one that cannot vote for them yet would make the quorum weaker.
    #[error("node {0} has not caught up with the leader")]
    NotCaughtUp(BrokerId),
    /// It does not vote.
    #[error("node {0} is no voter, or not with this directory id")]
    NoVoter(BrokerId),
    /// Without it nobody would vote.
    #[error("node {0} is the last voter")]
    LastVoter(BrokerId),
    /// One change at a time.
    #[error("another change of the quorum's members is under way")]
    InProgress,
    /// The quorum.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
