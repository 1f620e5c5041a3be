//! Request layouts, field by field with the versions each is present in: what the guard walks.
//! Not here: responses. Its one invariant, tested against
//! kafka-protocol for every advertised version: a layout consumes exactly the bytes that the codec does.

use crate::wire::api_key::ApiKey;

/// What a field looks like on the wire.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// This many bytes.
    Fixed(usize),
    /// A string: `i16` length, or compact.
    Text,
    /// Bytes: `i32` length, or compact.
    Blob,
    /// `i32` count, or compact, then that many of these.
    List(&'static Kind),
    /// Fields, then tags in flexible versions.
    Struct(&'static [Field]),
    /// One byte, negative for null, then the struct.
    Nullable(&'static [Field]),
}

/// A field and the versions it is present in.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The protocol guide's name.
    pub name: &'static str,
    /// Its layout.
    pub kind: Kind,
    /// First version.
    pub from: i16,
    /// Last version.
    pub to: i16,
}

impl Field {
    /// Whether this version has the field.
    pub fn present(&self, version: i16) -> bool {
        (self.from..=self.to).contains(&version)
    }

    const fn since(mut self, version: i16) -> Field {
        self.from = version;
        self
    }

    const fn until(mut self, version: i16) -> Field {
        self.to = version;
        self
    }
}

impl Kind {
    /// Fewest bytes a value of this kind takes.
    pub fn least(&self, version: i16, compact: bool) -> usize {
        match self {
            Kind::Fixed(bytes) => *bytes,
            Kind::Text if !compact => 2,
            Kind::Blob | Kind::List(_) if !compact => 4,
            Kind::Text | Kind::Blob | Kind::List(_) | Kind::Nullable(_) => 1,
            Kind::Struct(fields) => {
                let present = fields.iter().filter(|field| field.present(version));
                let least: usize = present.map(|field| field.kind.least(version, compact)).sum();
                least + usize::from(compact)
            }
        }
    }
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, from: 0, to: i16::MAX }
}

const fn byte(name: &'static str) -> Field {
    field(name, Kind::Fixed(1))
}

const fn short(name: &'static str) -> Field {
    field(name, Kind::Fixed(2))
}

const fn int(name: &'static str) -> Field {
    field(name, Kind::Fixed(4))
}

const fn long(name: &'static str) -> Field {
    field(name, Kind::Fixed(8))
}

const fn uuid(name: &'static str) -> Field {
    field(name, Kind::Fixed(16))
}

const fn text(name: &'static str) -> Field {
    field(name, Kind::Text)
}

const fn list(name: &'static str, of: &'static Kind) -> Field {
    field(name, Kind::List(of))
}

const INT: Kind = Kind::Fixed(4);

/// The body's fields.
pub fn body(api_key: ApiKey) -> &'static [Field] {
    match api_key {
        ApiKey::Node => &[],
        ApiKey::Produce => PRODUCE,
        ApiKey::Fetch => FETCH,
        ApiKey::ListOffsets => LIST_OFFSETS,
        ApiKey::Metadata => METADATA,
        ApiKey::OffsetCommit => OFFSET_COMMIT,
        ApiKey::OffsetFetch => OFFSET_FETCH,
        ApiKey::FindCoordinator => FIND_COORDINATOR,
        ApiKey::JoinGroup => JOIN_GROUP,
        ApiKey::Heartbeat => HEARTBEAT,
        ApiKey::LeaveGroup => LEAVE_GROUP,
        ApiKey::SyncGroup => SYNC_GROUP,
        ApiKey::DescribeGroups => DESCRIBE_GROUPS,
        ApiKey::ListGroups => LIST_GROUPS,
        ApiKey::ApiVersions => API_VERSIONS,
        ApiKey::CreateTopics => CREATE_TOPICS,
        ApiKey::DeleteTopics => DELETE_TOPICS,
        ApiKey::DeleteRecords => DELETE_RECORDS,
        ApiKey::InitProducerId => INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => DESCRIBE_CONFIGS,
        ApiKey::DescribeLogDirs => DESCRIBE_LOG_DIRS,
        ApiKey::CreatePartitions => CREATE_PARTITIONS,
        ApiKey::DeleteGroups => DELETE_GROUPS,
        ApiKey::IncrementalAlterConfigs => INCREMENTAL_ALTER_CONFIGS,
        ApiKey::DescribeCluster => DESCRIBE_CLUSTER,
        ApiKey::DescribeTopicPartitions => DESCRIBE_TOPIC_PARTITIONS,
        ApiKey::AlterReplicaLogDirs => ALTER_REPLICA_LOG_DIRS,
        ApiKey::ElectLeaders => ELECT_LEADERS,
        ApiKey::AlterPartitionReassignments => ALTER_PARTITION_REASSIGNMENTS,
        ApiKey::ListPartitionReassignments => LIST_PARTITION_REASSIGNMENTS,
        ApiKey::OffsetDelete => OFFSET_DELETE,
        ApiKey::DescribeProducers => DESCRIBE_PRODUCERS,
        ApiKey::DescribeQuorum => DESCRIBE_QUORUM,
        ApiKey::UpdateFeatures => UPDATE_FEATURES,
        ApiKey::UnregisterBroker => UNREGISTER_BROKER,
        ApiKey::AddRaftVoter => ADD_RAFT_VOTER,
        ApiKey::RemoveRaftVoter => REMOVE_RAFT_VOTER,
    }
}

const ALTER_REPLICA_LOG_DIRS: &[Field] = &[list("dirs", &ALTER_REPLICA_LOG_DIR)];
const ALTER_REPLICA_LOG_DIR: Kind = Kind::Struct(&[text("path"), list("topics", &TOPIC_PARTITIONS)]);
const TOPIC_PARTITIONS: Kind = Kind::Struct(&[text("topic"), list("partitions", &INT)]);

const ELECT_LEADERS: &[Field] =
    &[byte("election_type").since(1), list("topic_partitions", &TOPIC_PARTITIONS), int("timeout_ms")];

const ALTER_PARTITION_REASSIGNMENTS: &[Field] = &[
    int("timeout_ms"),
    byte("allow_replication_factor_change").since(1),
    list("topics", &REASSIGNABLE_TOPIC),
];
const REASSIGNABLE_TOPIC: Kind = Kind::Struct(&[text("name"), list("partitions", &REASSIGNABLE_PARTITION)]);
const REASSIGNABLE_PARTITION: Kind = Kind::Struct(&[int("partition_index"), list("replicas", &INT)]);

const LIST_PARTITION_REASSIGNMENTS: &[Field] = &[int("timeout_ms"), list("topics", &TOPIC_PARTITIONS)];

const DESCRIBE_PRODUCERS: &[Field] = &[list("topics", &DESCRIBE_PRODUCERS_TOPIC)];
const DESCRIBE_PRODUCERS_TOPIC: Kind = Kind::Struct(&[text("name"), list("partition_indexes", &INT)]);

const OFFSET_DELETE: &[Field] = &[text("group_id"), list("topics", &OFFSET_DELETE_TOPIC)];
const OFFSET_DELETE_TOPIC: Kind = Kind::Struct(&[text("name"), list("partitions", &OFFSET_DELETE_PARTITION)]);
const OFFSET_DELETE_PARTITION: Kind = Kind::Struct(&[int("partition_index")]);

const DESCRIBE_QUORUM: &[Field] = &[list("topics", &DESCRIBE_QUORUM_TOPIC)];
const DESCRIBE_QUORUM_TOPIC: Kind =
    Kind::Struct(&[text("topic_name"), list("partitions", &DESCRIBE_QUORUM_PARTITION)]);
const DESCRIBE_QUORUM_PARTITION: Kind = Kind::Struct(&[int("partition_index")]);

const UPDATE_FEATURES: &[Field] =
    &[int("timeout_ms"), list("feature_updates", &FEATURE_UPDATE), byte("validate_only").since(1)];
const FEATURE_UPDATE: Kind = Kind::Struct(&[
    text("feature"),
    short("max_version_level"),
    byte("allow_downgrade").until(0),
    byte("upgrade_type").since(1),
]);

const UNREGISTER_BROKER: &[Field] = &[int("broker_id")];

const ADD_RAFT_VOTER: &[Field] = &[
    text("cluster_id"),
    int("timeout_ms"),
    int("voter_id"),
    uuid("voter_directory_id"),
    list("listeners", &RAFT_LISTENER),
];
const RAFT_LISTENER: Kind = Kind::Struct(&[text("name"), text("host"), short("port")]);

const REMOVE_RAFT_VOTER: &[Field] = &[text("cluster_id"), int("voter_id"), uuid("voter_directory_id")];

const PRODUCE: &[Field] =
    &[text("transactional_id").since(3), short("acks"), int("timeout_ms"), list("topics", &PRODUCE_TOPIC)];
const PRODUCE_TOPIC: Kind = Kind::Struct(&[text("name"), list("partitions", &PRODUCE_PARTITION)]);
const PRODUCE_PARTITION: Kind = Kind::Struct(&[int("index"), field("records", Kind::Blob)]);

const FETCH: &[Field] = &[
    int("replica_id").until(14),
    int("max_wait_ms"),
    int("min_bytes"),
    int("max_bytes"),
    byte("isolation_level"),
    int("session_id").since(7),
    int("session_epoch").since(7),
    list("topics", &FETCH_TOPIC),
    list("forgotten_topics_data", &FETCH_FORGOTTEN).since(7),
    text("rack_id").since(11),
];
const FETCH_TOPIC: Kind = Kind::Struct(&[
    text("topic").until(12),
    uuid("topic_id").since(13),
    list("partitions", &FETCH_PARTITION),
]);
const FETCH_PARTITION: Kind = Kind::Struct(&[
    int("partition"),
    int("current_leader_epoch").since(9),
    long("fetch_offset"),
    int("last_fetched_epoch").since(12),
    long("log_start_offset").since(5),
    int("partition_max_bytes"),
]);
const FETCH_FORGOTTEN: Kind =
    Kind::Struct(&[text("topic").until(12), uuid("topic_id").since(13), list("partitions", &INT)]);

const LIST_OFFSETS: &[Field] = &[
    int("replica_id"),
    byte("isolation_level").since(2),
    list("topics", &LIST_OFFSETS_TOPIC),
    int("timeout_ms").since(10),
];
const LIST_OFFSETS_TOPIC: Kind = Kind::Struct(&[text("name"), list("partitions", &LIST_OFFSETS_PARTITION)]);
const LIST_OFFSETS_PARTITION: Kind =
    Kind::Struct(&[int("partition_index"), int("current_leader_epoch").since(4), long("timestamp")]);

const METADATA: &[Field] = &[
    list("topics", &METADATA_TOPIC),
    byte("allow_auto_topic_creation").since(4),
    byte("include_cluster_authorized_operations").since(8).until(10),
    byte("include_topic_authorized_operations").since(8),
];
const METADATA_TOPIC: Kind = Kind::Struct(&[uuid("topic_id").since(10), text("name")]);

const OFFSET_COMMIT: &[Field] = &[
    text("group_id"),
    int("generation_id_or_member_epoch"),
    text("member_id"),
    text("group_instance_id").since(7),
    long("retention_time_ms").until(4),
    list("topics", &OFFSET_COMMIT_TOPIC),
];
const OFFSET_COMMIT_TOPIC: Kind = Kind::Struct(&[text("name"), list("partitions", &OFFSET_COMMIT_PARTITION)]);
const OFFSET_COMMIT_PARTITION: Kind = Kind::Struct(&[
    int("partition_index"),
    long("committed_offset"),
    int("committed_leader_epoch").since(6),
    text("committed_metadata"),
]);

const OFFSET_FETCH: &[Field] = &[
    text("group_id").until(7),
    list("topics", &OFFSET_FETCH_TOPIC).until(7),
    list("groups", &OFFSET_FETCH_GROUP).since(8),
    byte("require_stable").since(7),
];
const OFFSET_FETCH_TOPIC: Kind = Kind::Struct(&[text("name"), list("partition_indexes", &INT)]);
const OFFSET_FETCH_GROUP: Kind = Kind::Struct(&[
    text("group_id"),
    text("member_id").since(9),
    int("member_epoch").since(9),
    list("topics", &OFFSET_FETCH_TOPIC),
]);

const FIND_COORDINATOR: &[Field] =
    &[text("key").until(3), byte("key_type").since(1), list("coordinator_keys", &Kind::Text).since(4)];

const JOIN_GROUP: &[Field] = &[
    text("group_id"),
    int("session_timeout_ms"),
    int("rebalance_timeout_ms").since(1),
    text("member_id"),
    text("group_instance_id").since(5),
    text("protocol_type"),
    list("protocols", &JOIN_GROUP_PROTOCOL),
    text("reason").since(8),
];
const JOIN_GROUP_PROTOCOL: Kind = Kind::Struct(&[text("name"), field("metadata", Kind::Blob)]);

const HEARTBEAT: &[Field] =
    &[text("group_id"), int("generation_id"), text("member_id"), text("group_instance_id").since(3)];

const LEAVE_GROUP: &[Field] =
    &[text("group_id"), text("member_id").until(2), list("members", &LEAVE_GROUP_MEMBER).since(3)];
const LEAVE_GROUP_MEMBER: Kind =
    Kind::Struct(&[text("member_id"), text("group_instance_id"), text("reason").since(5)]);

const SYNC_GROUP: &[Field] = &[
    text("group_id"),
    int("generation_id"),
    text("member_id"),
    text("group_instance_id").since(3),
    text("protocol_type").since(5),
    text("protocol_name").since(5),
    list("assignments", &SYNC_GROUP_ASSIGNMENT),
];
const SYNC_GROUP_ASSIGNMENT: Kind = Kind::Struct(&[text("member_id"), field("assignment", Kind::Blob)]);

const DESCRIBE_GROUPS: &[Field] =
    &[list("groups", &Kind::Text), byte("include_authorized_operations").since(3)];

const LIST_GROUPS: &[Field] =
    &[list("states_filter", &Kind::Text).since(4), list("types_filter", &Kind::Text).since(5)];

const API_VERSIONS: &[Field] =
    &[text("client_software_name").since(3), text("client_software_version").since(3)];

const CREATE_TOPICS: &[Field] =
    &[list("topics", &CREATE_TOPICS_TOPIC), int("timeout_ms"), byte("validate_only")];
const CREATE_TOPICS_TOPIC: Kind = Kind::Struct(&[
    text("name"),
    int("num_partitions"),
    short("replication_factor"),
    list("assignments", &CREATE_TOPICS_ASSIGNMENT),
    list("configs", &CREATE_TOPICS_CONFIG),
]);
const CREATE_TOPICS_ASSIGNMENT: Kind = Kind::Struct(&[int("partition_index"), list("broker_ids", &INT)]);
const CREATE_TOPICS_CONFIG: Kind = Kind::Struct(&[text("name"), text("value")]);

const DELETE_TOPICS: &[Field] = &[
    list("topics", &DELETE_TOPICS_TOPIC).since(6),
    list("topic_names", &Kind::Text).until(5),
    int("timeout_ms"),
];
const DELETE_TOPICS_TOPIC: Kind = Kind::Struct(&[text("name"), uuid("topic_id")]);

const DELETE_RECORDS: &[Field] = &[list("topics", &DELETE_RECORDS_TOPIC), int("timeout_ms")];
const DELETE_RECORDS_TOPIC: Kind =
    Kind::Struct(&[text("name"), list("partitions", &DELETE_RECORDS_PARTITION)]);
const DELETE_RECORDS_PARTITION: Kind = Kind::Struct(&[int("partition_index"), long("offset")]);

const INIT_PRODUCER_ID: &[Field] = &[
    text("transactional_id"),
    int("transaction_timeout_ms"),
    long("producer_id").since(3),
    short("producer_epoch").since(3),
];

const OFFSET_FOR_LEADER_EPOCH: &[Field] =
    &[int("replica_id").since(3), list("topics", &OFFSET_FOR_LEADER_EPOCH_TOPIC)];
const OFFSET_FOR_LEADER_EPOCH_TOPIC: Kind =
    Kind::Struct(&[text("topic"), list("partitions", &OFFSET_FOR_LEADER_EPOCH_PARTITION)]);
const OFFSET_FOR_LEADER_EPOCH_PARTITION: Kind =
    Kind::Struct(&[int("partition"), int("current_leader_epoch"), int("leader_epoch")]);

const DESCRIBE_CONFIGS: &[Field] = &[
    list("resources", &DESCRIBE_CONFIGS_RESOURCE),
    byte("include_synonyms"),
    byte("include_documentation").since(3),
];
const DESCRIBE_CONFIGS_RESOURCE: Kind =
    Kind::Struct(&[byte("resource_type"), text("resource_name"), list("configuration_keys", &Kind::Text)]);

const DESCRIBE_LOG_DIRS: &[Field] = &[list("topics", &DESCRIBE_LOG_DIRS_TOPIC)];
const DESCRIBE_LOG_DIRS_TOPIC: Kind = Kind::Struct(&[text("topic"), list("partitions", &INT)]);

const CREATE_PARTITIONS: &[Field] =
    &[list("topics", &CREATE_PARTITIONS_TOPIC), int("timeout_ms"), byte("validate_only")];
const CREATE_PARTITIONS_TOPIC: Kind =
    Kind::Struct(&[text("name"), int("count"), list("assignments", &CREATE_PARTITIONS_ASSIGNMENT)]);
const CREATE_PARTITIONS_ASSIGNMENT: Kind = Kind::Struct(&[list("broker_ids", &INT)]);

const DELETE_GROUPS: &[Field] = &[list("groups_names", &Kind::Text)];

const INCREMENTAL_ALTER_CONFIGS: &[Field] =
    &[list("resources", &INCREMENTAL_ALTER_CONFIGS_RESOURCE), byte("validate_only")];
const INCREMENTAL_ALTER_CONFIGS_RESOURCE: Kind = Kind::Struct(&[
    byte("resource_type"),
    text("resource_name"),
    list("configs", &INCREMENTAL_ALTER_CONFIGS_CONFIG),
]);
const INCREMENTAL_ALTER_CONFIGS_CONFIG: Kind =
    Kind::Struct(&[text("name"), byte("config_operation"), text("value")]);

const DESCRIBE_CLUSTER: &[Field] = &[
    byte("include_cluster_authorized_operations"),
    byte("endpoint_type").since(1),
    byte("include_fenced_brokers").since(2),
];

const DESCRIBE_TOPIC_PARTITIONS: &[Field] = &[
    list("topics", &DESCRIBE_TOPIC_PARTITIONS_TOPIC),
    int("response_partition_limit"),
    field("cursor", Kind::Nullable(DESCRIBE_TOPIC_PARTITIONS_CURSOR)),
];
const DESCRIBE_TOPIC_PARTITIONS_TOPIC: Kind = Kind::Struct(&[text("name")]);
const DESCRIBE_TOPIC_PARTITIONS_CURSOR: &[Field] = &[text("topic_name"), int("partition_index")];
