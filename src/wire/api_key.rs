//! The one table of APIs that Firnline speaks: key, name, versions, first flexible version.
//! ApiVersions answers, header parsing, the guard and docs/protocol.md are all driven by it; nothing else
//! decides which version is served. Rows are sorted by key.
use std::fmt;

/// An API that Firnline speaks, by the protocol guide's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
#[rustfmt::skip]
pub enum ApiKey {
    /// Append record batches.
    Produce = 0,
    /// Read record batches.
    Fetch = 1,
    /// Offsets by time or by place.
    ListOffsets = 2,
    /// Brokers, topics, leaders.
    Metadata = 3,
    /// Store a group's offsets.
    OffsetCommit = 8,
    /// Read a group's offsets.
    OffsetFetch = 9,
    /// Which broker coordinates a group.
    FindCoordinator = 10,
    /// Enter a group's rebalance.
    JoinGroup = 11,
    /// Stay in a group.
    Heartbeat = 12,
    /// Leave a group.
    LeaveGroup = 13,
    /// Receive an assignment.
    SyncGroup = 14,
    /// Members and state of groups.
    DescribeGroups = 15,
    /// All groups.
    ListGroups = 16,
    /// This table, to a client.
    ApiVersions = 18,
    /// Create topics.
    CreateTopics = 19,
    /// Delete topics.
    DeleteTopics = 20,
    /// Move a log's start.
    DeleteRecords = 21,
    /// Identity of an idempotent producer.
    InitProducerId = 22,
    /// Where an epoch ends.
    OffsetForLeaderEpoch = 23,
    /// Effective configuration.
    DescribeConfigs = 32,
    /// Move replicas between log directories.
    AlterReplicaLogDirs = 34,
    /// Disk use by partition.
    DescribeLogDirs = 35,
    /// Add partitions.
    CreatePartitions = 37,
    /// Delete groups.
    DeleteGroups = 42,
    /// Choose leaders anew.
    ElectLeaders = 43,
    /// Change configuration.
    IncrementalAlterConfigs = 44,
    /// Give partitions other replicas.
    AlterPartitionReassignments = 45,
    /// Moves under way.
    ListPartitionReassignments = 46,
    /// Forget some of a group's offsets.
    OffsetDelete = 47,
    /// Voters, observers and their places in the metadata log.
    DescribeQuorum = 55,
    /// Raise the cluster's feature level.
    UpdateFeatures = 57,
    /// Cluster id, controller, brokers.
    DescribeCluster = 60,
    /// Who writes to a partition.
    DescribeProducers = 61,
    /// Forget a broker that is gone.
    UnregisterBroker = 64,
    /// Topics page by page.
    DescribeTopicPartitions = 75,
    /// Let a controller vote.
    AddRaftVoter = 80,
    /// Take a controller's vote.
    RemoveRaftVoter = 81,
    /// Ours: what nodes of one cluster say to each other. Never advertised, and opaque to this room.
    Node = 32100,
}

/// The row of [`ApiKey::Node`]: no client is told of it, so the table does not hold it.
const NODE: Api = Api {
    key: ApiKey::Node,
    name: "Node",
    min: 0,
    max: 0,
    flexible_from: i16::MAX,
    doc: "Between nodes of one cluster.",
    test: "",
    outside: "",
};

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// The key.
    pub key: ApiKey,
    /// The protocol guide's name.
    pub name: &'static str,
    /// Lowest version advertised.
    pub min: i16,
    /// Highest version advertised.
    pub max: i16,
    /// First version with compact encodings and tagged fields (KIP-482).
    pub flexible_from: i16,
    /// What it is for, in a few words.
    pub doc: &'static str,
    /// The test under `tests/it` that sends every version to a running broker: `file::function`.
    pub test: &'static str,
    /// Outside clients that have spoken it with us, with the versions they used; that of `tests/outside`, which speaks
    /// all of them, is left to its evidence.
    pub outside: &'static str,
}

/// The table, sorted by key. Produce is advertised from 0 because librdkafka below 2.11.1 stops
/// compressing otherwise (KAFKA-18659); versions 0-2 are refused with a message when sent.
#[rustfmt::skip]
pub const TABLE: &[Api] = &[
    Api { key: ApiKey::Produce, name: "Produce", min: 0, max: 11, flexible_from: 9, doc: "Append record batches.", test: "every_version::data::produce", outside: "librdkafka 7, 10; Java 11" },
    Api { key: ApiKey::Fetch, name: "Fetch", min: 4, max: 16, flexible_from: 12, doc: "Read record batches.", test: "every_version::data::fetch", outside: "librdkafka 11, 16; Java 16" },
    Api { key: ApiKey::ListOffsets, name: "ListOffsets", min: 1, max: 10, flexible_from: 6, doc: "Offsets by time or by place.", test: "every_version::data::list_offsets", outside: "librdkafka 2, 7; Java 10" },
    Api { key: ApiKey::Metadata, name: "Metadata", min: 0, max: 13, flexible_from: 9, doc: "Brokers, topics, leaders.", test: "every_version::admin::metadata", outside: "librdkafka 4, 13; Java 13" },
    Api { key: ApiKey::OffsetCommit, name: "OffsetCommit", min: 2, max: 9, flexible_from: 8, doc: "Store a group's offsets.", test: "every_version::groups::offset_commit", outside: "librdkafka 7, 9; Java 9" },
    Api { key: ApiKey::OffsetFetch, name: "OffsetFetch", min: 1, max: 9, flexible_from: 6, doc: "Read a group's offsets.", test: "every_version::groups::offset_fetch", outside: "librdkafka 7, 9; Java 9" },
    Api { key: ApiKey::FindCoordinator, name: "FindCoordinator", min: 0, max: 6, flexible_from: 3, doc: "Which broker coordinates a group.", test: "every_version::groups::find_coordinator", outside: "librdkafka 2; Java 6" },
    Api { key: ApiKey::JoinGroup, name: "JoinGroup", min: 0, max: 9, flexible_from: 6, doc: "Enter a group's rebalance.", test: "every_version::groups::join_group", outside: "librdkafka 5; Java 9" },
    Api { key: ApiKey::Heartbeat, name: "Heartbeat", min: 0, max: 4, flexible_from: 4, doc: "Stay in a group.", test: "every_version::groups::heartbeat", outside: "librdkafka 3; Java 4" },
    Api { key: ApiKey::LeaveGroup, name: "LeaveGroup", min: 0, max: 5, flexible_from: 4, doc: "Leave a group.", test: "every_version::groups::leave_group", outside: "librdkafka 1; Java 5" },
    Api { key: ApiKey::SyncGroup, name: "SyncGroup", min: 0, max: 5, flexible_from: 4, doc: "Receive an assignment.", test: "every_version::groups::sync_group", outside: "librdkafka 3; Java 5" },
    Api { key: ApiKey::DescribeGroups, name: "DescribeGroups", min: 0, max: 6, flexible_from: 5, doc: "Members and state of groups.", test: "every_version::groups::describe_groups", outside: "librdkafka 5; Java 6" },
    Api { key: ApiKey::ListGroups, name: "ListGroups", min: 0, max: 5, flexible_from: 3, doc: "All groups.", test: "every_version::groups::list_groups", outside: "librdkafka 5; Java 5" },
    Api { key: ApiKey::ApiVersions, name: "ApiVersions", min: 0, max: 4, flexible_from: 3, doc: "This table, to a client.", test: "every_version::admin::api_versions", outside: "librdkafka 3; Java 4" },
    Api { key: ApiKey::CreateTopics, name: "CreateTopics", min: 2, max: 7, flexible_from: 5, doc: "Create topics.", test: "every_version::admin::create_topics", outside: "librdkafka 4; Java 7" },
    Api { key: ApiKey::DeleteTopics, name: "DeleteTopics", min: 1, max: 6, flexible_from: 4, doc: "Delete topics.", test: "every_version::admin::delete_topics", outside: "librdkafka 4; Java 6" },
    Api { key: ApiKey::DeleteRecords, name: "DeleteRecords", min: 0, max: 2, flexible_from: 2, doc: "Move a log's start.", test: "every_version::data::delete_records", outside: "librdkafka 2; Java 2" },
    Api { key: ApiKey::InitProducerId, name: "InitProducerId", min: 0, max: 5, flexible_from: 2, doc: "Identity of an idempotent producer.", test: "every_version::data::init_producer_id", outside: "librdkafka 4; Java 5" },
    Api { key: ApiKey::OffsetForLeaderEpoch, name: "OffsetForLeaderEpoch", min: 2, max: 4, flexible_from: 4, doc: "Where an epoch ends.", test: "every_version::data::offset_for_leader_epoch", outside: "librdkafka 2" },
    Api { key: ApiKey::DescribeConfigs, name: "DescribeConfigs", min: 1, max: 4, flexible_from: 4, doc: "Effective configuration.", test: "every_version::admin::describe_configs", outside: "librdkafka 1; Java 4" },
    Api { key: ApiKey::AlterReplicaLogDirs, name: "AlterReplicaLogDirs", min: 1, max: 2, flexible_from: 2, doc: "Move replicas between log directories (refused so far).", test: "every_version::cluster::alter_replica_log_dirs", outside: "" },
    Api { key: ApiKey::DescribeLogDirs, name: "DescribeLogDirs", min: 1, max: 4, flexible_from: 2, doc: "Disk use by partition.", test: "every_version::admin::describe_log_dirs", outside: "Java 4" },
    Api { key: ApiKey::CreatePartitions, name: "CreatePartitions", min: 0, max: 3, flexible_from: 2, doc: "Add partitions.", test: "every_version::admin::create_partitions", outside: "librdkafka 2; Java 3" },
    Api { key: ApiKey::DeleteGroups, name: "DeleteGroups", min: 0, max: 2, flexible_from: 2, doc: "Delete groups.", test: "every_version::groups::delete_groups", outside: "librdkafka 2; Java 2" },
    Api { key: ApiKey::ElectLeaders, name: "ElectLeaders", min: 0, max: 2, flexible_from: 2, doc: "Choose leaders anew.", test: "every_version::cluster::elect_leaders", outside: "Java 2" },
    Api { key: ApiKey::IncrementalAlterConfigs, name: "IncrementalAlterConfigs", min: 0, max: 1, flexible_from: 1, doc: "Change configuration.", test: "every_version::admin::incremental_alter_configs", outside: "librdkafka 1; Java 1" },
    Api { key: ApiKey::AlterPartitionReassignments, name: "AlterPartitionReassignments", min: 0, max: 1, flexible_from: 0, doc: "Give partitions other replicas.", test: "every_version::cluster::alter_partition_reassignments", outside: "" },
    Api { key: ApiKey::ListPartitionReassignments, name: "ListPartitionReassignments", min: 0, max: 0, flexible_from: 0, doc: "Moves under way.", test: "every_version::cluster::list_partition_reassignments", outside: "" },
    Api { key: ApiKey::OffsetDelete, name: "OffsetDelete", min: 0, max: 0, flexible_from: i16::MAX, doc: "Forget some of a group's offsets.", test: "every_version::groups::offset_delete", outside: "Java 0" },
    Api { key: ApiKey::DescribeQuorum, name: "DescribeQuorum", min: 0, max: 2, flexible_from: 0, doc: "Voters, observers and their places in the metadata log.", test: "every_version::cluster::describe_quorum", outside: "Java 2" },
    Api { key: ApiKey::UpdateFeatures, name: "UpdateFeatures", min: 0, max: 2, flexible_from: 0, doc: "Raise the cluster's feature level.", test: "every_version::cluster::update_features", outside: "" },
    Api { key: ApiKey::DescribeCluster, name: "DescribeCluster", min: 0, max: 2, flexible_from: 0, doc: "Cluster id, controller, brokers.", test: "every_version::admin::describe_cluster", outside: "Java 2" },
    Api { key: ApiKey::DescribeProducers, name: "DescribeProducers", min: 0, max: 0, flexible_from: 0, doc: "Who writes to a partition.", test: "every_version::data::describe_producers", outside: "Java 0" },
    Api { key: ApiKey::UnregisterBroker, name: "UnregisterBroker", min: 0, max: 0, flexible_from: 0, doc: "Forget a broker that is gone.", test: "every_version::cluster::unregister_broker", outside: "Java 0" },
    Api { key: ApiKey::DescribeTopicPartitions, name: "DescribeTopicPartitions", min: 0, max: 0, flexible_from: 0, doc: "Topics page by page.", test: "every_version::admin::describe_topic_partitions", outside: "Java 0" },
    Api { key: ApiKey::AddRaftVoter, name: "AddRaftVoter", min: 0, max: 0, flexible_from: 0, doc: "Let a controller vote.", test: "every_version::cluster::add_raft_voter", outside: "" },
    Api { key: ApiKey::RemoveRaftVoter, name: "RemoveRaftVoter", min: 0, max: 0, flexible_from: 0, doc: "Take a controller's vote.", test: "every_version::cluster::remove_raft_voter", outside: "" },
];

/// Lowest Produce version that is served, below which a request is refused (KIP-896).
pub const PRODUCE_SERVED_FROM: i16 = 3;

impl ApiKey {
    /// The key with this code, `None` if we do not speak it.
    pub fn from_code(code: i16) -> Option<ApiKey> {
        if code == ApiKey::Node.code() {
            return Some(ApiKey::Node);
        }
        TABLE.iter().map(|api| api.key).find(|key| key.code() == code)
    }

    /// The code on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// This key's row.
    pub fn api(self) -> &'static Api {
        if self == ApiKey::Node {
            return &NODE;
        }
        let row = TABLE.binary_search_by_key(&self.code(), |api| api.key.code());
        let Ok(row) = row else { unreachable!("{self:?} has no row in the version table") };
        &TABLE[row]
    }

    /// Whether `version` lies in the advertised range.
    pub fn advertises(self, version: i16) -> bool {
        (self.api().min..=self.api().max).contains(&version)
    }

    /// Whether bodies of `version` are flexible (KIP-482).
    pub fn flexible(self, version: i16) -> bool {
        version >= self.api().flexible_from
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.api().name)
    }
}
