//! Kafka's error codes under their names, and the only place where our errors become codes. Each room's error enum
//! is mapped here by one `impl From<&TheirError> for ErrorCode` with an exhaustive match, so that a new variant
//! does not compile until somebody has chosen its code.
//! Its one invariant: nothing maps to `UnknownServer`.

/// A Kafka error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
#[rustfmt::skip]
pub enum ErrorCode {
    /// An error we have no name for. Never sent on purpose.
    UnknownServer = -1,
    /// No error.
    None = 0,
    /// Offset below the log start or above the log end.
    OffsetOutOfRange = 1,
    /// A batch fails its checksum or does not add up.
    CorruptMessage = 2,
    /// No such topic or partition.
    UnknownTopicOrPartition = 3,
    /// The partition has no leader now.
    LeaderNotAvailable = 5,
    /// Another broker leads this partition.
    NotLeaderOrFollower = 6,
    /// Not acknowledged in time.
    RequestTimedOut = 7,
    /// No such replica here.
    ReplicaNotAvailable = 9,
    /// Batch above `max.message.bytes`.
    MessageTooLarge = 10,
    /// Commit metadata above `offset.metadata.max.bytes`.
    OffsetMetadataTooLarge = 12,
    /// The coordinator is replaying its partition.
    CoordinatorLoadInProgress = 14,
    /// The coordinator's partition does not exist or has no leader yet.
    CoordinatorNotAvailable = 15,
    /// Another broker coordinates this group.
    NotCoordinator = 16,
    /// Topic name that is not allowed, or an internal topic.
    InvalidTopic = 17,
    /// Batch above `segment.bytes`.
    RecordListTooLarge = 18,
    /// Fewer replicas in sync than `min.insync.replicas`; nothing was appended.
    NotEnoughReplicas = 19,
    /// Appended, but too few replicas in sync to acknowledge.
    NotEnoughReplicasAfterAppend = 20,
    /// `acks` is not 0, 1 or -1.
    InvalidRequiredAcks = 21,
    /// Generation is not the group's.
    IllegalGeneration = 22,
    /// No assignor in common with the group.
    InconsistentGroupProtocol = 23,
    /// Group id is empty or not allowed.
    InvalidGroupId = 24,
    /// No such member.
    UnknownMemberId = 25,
    /// Session timeout outside the broker's range.
    InvalidSessionTimeout = 26,
    /// The group rebalances: join again.
    RebalanceInProgress = 27,
    /// A commit larger than a batch may be.
    InvalidCommitOffsetSize = 28,
    /// Not allowed on this topic.
    TopicAuthorizationFailed = 29,
    /// Not allowed on this group.
    GroupAuthorizationFailed = 30,
    /// Not allowed on the cluster.
    ClusterAuthorizationFailed = 31,
    /// Timestamp outside the topic's bounds.
    InvalidTimestamp = 32,
    /// Version not supported.
    UnsupportedVersion = 35,
    /// A topic has this name.
    TopicAlreadyExists = 36,
    /// Number of partitions is not allowed.
    InvalidPartitions = 37,
    /// Replication factor is not allowed, or above the number of live brokers.
    InvalidReplicationFactor = 38,
    /// Replica assignment does not add up.
    InvalidReplicaAssignment = 39,
    /// Configuration key or value is not allowed.
    InvalidConfig = 40,
    /// Another node leads the quorum. Never leaves a broker listener.
    NotController = 41,
    /// The request contradicts itself.
    InvalidRequest = 42,
    /// The topic's policy does not allow it.
    PolicyViolation = 44,
    /// A gap in a producer's sequence.
    OutOfOrderSequenceNumber = 45,
    /// A sequence older than the window that is kept.
    DuplicateSequenceNumber = 46,
    /// A fenced producer epoch.
    InvalidProducerEpoch = 47,
    /// Not what the producer's transaction allows now.
    InvalidTxnState = 48,
    /// Transaction timeout outside the broker's range.
    InvalidTransactionTimeout = 50,
    /// A marker of a transaction coordinator that was replaced.
    TransactionCoordinatorFenced = 52,
    /// Not allowed on this transactional id; also how transactions are refused while they do not exist.
    TransactionalIdAuthorizationFailed = 53,
    /// No authorizer is configured.
    SecurityDisabled = 54,
    /// Disk or bucket failed.
    KafkaStorage = 56,
    /// No such log directory.
    LogDirNotFound = 57,
    /// No state for this producer.
    UnknownProducerId = 59,
    /// The partition is being moved.
    ReassignmentInProgress = 60,
    /// The group has members.
    NonEmptyGroup = 68,
    /// No such group.
    GroupIdNotFound = 69,
    /// No such fetch session.
    FetchSessionIdNotFound = 70,
    /// Fetch session epoch out of order.
    InvalidFetchSessionEpoch = 71,
    /// No such listener.
    ListenerNotFound = 72,
    /// `delete.topic.enable` is false.
    TopicDeletionDisabled = 73,
    /// The client's leader epoch is older than ours.
    FencedLeaderEpoch = 74,
    /// The client's leader epoch is newer than ours.
    UnknownLeaderEpoch = 75,
    /// This compression needs a newer version.
    UnsupportedCompressionType = 76,
    /// Of an earlier registration of this broker.
    StaleBrokerEpoch = 77,
    /// The high watermark has not caught up after an election.
    OffsetNotAvailable = 78,
    /// Join again with the member id in this answer.
    MemberIdRequired = 79,
    /// The preferred leader is not in sync, or not alive.
    PreferredLeaderNotAvailable = 80,
    /// The group is full.
    GroupMaxSizeReached = 81,
    /// Another member holds this instance id.
    FencedInstanceId = 82,
    /// Nobody may lead.
    EligibleLeadersNotAvailable = 83,
    /// The leader is already the one.
    ElectionNotNeeded = 84,
    /// The partition is not being moved.
    NoReassignmentInProgress = 85,
    /// The group still reads this topic.
    GroupSubscribedToTopic = 86,
    /// A record breaks a rule of its topic or format.
    InvalidRecord = 87,
    /// A transaction holds these offsets open.
    UnstableOffsetCommit = 88,
    /// Too fast: try later.
    ThrottlingQuotaExceeded = 89,
    /// No such resource.
    ResourceNotFound = 91,
    /// A feature level that the cluster cannot have.
    InvalidUpdateVersion = 95,
    /// The features were not changed.
    FeatureUpdateFailed = 96,
    /// No topic has this id.
    UnknownTopicId = 100,
    /// Another live broker has this id.
    DuplicateBrokerRegistration = 101,
    /// No broker has this id.
    BrokerIdNotRegistered = 102,
    /// Meant for another cluster.
    InconsistentClusterId = 104,
    /// Names and ids mixed in one fetch session.
    FetchSessionTopicId = 106,
    /// A broker that may not join an ISR.
    IneligibleReplica = 107,
    /// The leader has it in the bucket only: a follower goes on where the bucket ends (KIP-405).
    OffsetMovedToTieredStorage = 109,
    /// The listener is not of the kind asked for.
    MismatchedEndpointType = 114,
    /// No such kind of listener.
    UnsupportedEndpointType = 115,
    /// It votes already.
    DuplicateVoter = 126,
    /// No such voter.
    VoterNotFound = 127,
}

impl ErrorCode {
    /// The code on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether it stands for success.
    pub const fn is_none(self) -> bool {
        matches!(self, ErrorCode::None)
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> i16 {
        code.code()
    }
}

/// Why one part of a request was not done: the code, and the reason in words where the API has a place for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kafka's code, never `None`.
    pub code: ErrorCode,
    /// The reason in words, for people.
    pub message: Option<String>,
}

impl Failure {
    /// A code with its reason.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Failure {
        Failure { code, message: Some(message.into()) }
    }

    /// One of our errors, with its own words.
    pub fn of<E: std::fmt::Display>(error: &E) -> Failure
    where
        for<'a> ErrorCode: From<&'a E>,
    {
        Failure::new(ErrorCode::from(error), error.to_string())
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Failure {
        Failure { code, message: None }
    }
}

/// Administration: what the controller and the table of configuration keys refuse.
mod admin {
    use firnline_controller::error::{
        AllocateError, AlterConfigsError, CreatePartitionsError, CreateTopicError, DeleteTopicError,
        ElectError, FeatureLevelError, ReassignError, Unavailable, UnregisterError, VoterError,
    };

    use super::ErrorCode;
    use crate::config::error::ConfigError;

    impl From<&Unavailable> for ErrorCode {
        /// Worth another try. NOT_CONTROLLER never leaves a broker's listener.
        fn from(_: &Unavailable) -> ErrorCode {
            ErrorCode::RequestTimedOut
        }
    }

    impl From<&CreateTopicError> for ErrorCode {
        fn from(error: &CreateTopicError) -> ErrorCode {
            match error {
                CreateTopicError::Exists { .. } => ErrorCode::TopicAlreadyExists,
                CreateTopicError::InvalidName(_) | CreateTopicError::Collides { .. } => {
                    ErrorCode::InvalidTopic
                }
                CreateTopicError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
                CreateTopicError::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
                CreateTopicError::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
                CreateTopicError::InvalidRequest(_) => ErrorCode::InvalidRequest,
                CreateTopicError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
                CreateTopicError::Unavailable(unavailable) => unavailable.into(),
            }
        }
    }

    impl From<&DeleteTopicError> for ErrorCode {
        fn from(error: &DeleteTopicError) -> ErrorCode {
            match error {
                DeleteTopicError::UnknownTopic(_) => ErrorCode::UnknownTopicId,
                DeleteTopicError::Duplicate(_) => ErrorCode::InvalidRequest,
                DeleteTopicError::Unavailable(unavailable) => unavailable.into(),
            }
        }
    }

    impl From<&CreatePartitionsError> for ErrorCode {
        fn from(error: &CreatePartitionsError) -> ErrorCode {
            match error {
                CreatePartitionsError::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
                CreatePartitionsError::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
                CreatePartitionsError::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
                CreatePartitionsError::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
                CreatePartitionsError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
                CreatePartitionsError::Unavailable(unavailable) => unavailable.into(),
            }
        }
    }

    impl From<&AlterConfigsError> for ErrorCode {
        fn from(error: &AlterConfigsError) -> ErrorCode {
            match error {
                AlterConfigsError::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
                AlterConfigsError::InvalidRequest(_) => ErrorCode::InvalidRequest,
                AlterConfigsError::Unavailable(unavailable) => unavailable.into(),
            }
        }
    }

    impl From<&AllocateError> for ErrorCode {
        fn from(error: &AllocateError) -> ErrorCode {
            match error {
                // Clients ask again on this one, as they do while Kafka's coordinator loads.
                AllocateError::Unavailable(_) => ErrorCode::CoordinatorLoadInProgress,
                AllocateError::Exhausted => ErrorCode::PolicyViolation,
            }
        }
    }

    impl From<&ElectError> for ErrorCode {
        fn from(error: &ElectError) -> ErrorCode {
            match error {
                ElectError::UnknownPartition(..) => ErrorCode::UnknownTopicOrPartition,
                ElectError::NotNeeded => ErrorCode::ElectionNotNeeded,
                ElectError::PreferredNotAvailable => ErrorCode::PreferredLeaderNotAvailable,
                ElectError::EligibleNotAvailable => ErrorCode::EligibleLeadersNotAvailable,
                ElectError::Unavailable(unavailable) => unavailable.into(),
            }
        }
    }

    impl From<&ReassignError> for ErrorCode {
        fn from(error: &ReassignError) -> ErrorCode {
            match error {
                ReassignError::UnknownPartition(..) => ErrorCode::UnknownTopicOrPartition,
                ReassignError::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
                ReassignError::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
                ReassignError::NotMoving => ErrorCode::NoReassignmentInProgress,
                ReassignError::LevelTooLow { .. } => ErrorCode::UnsupportedVersion,
                ReassignError::Unavailable(unavailable) => unavailable.into(),
            }
        }
    }

    impl From<&UnregisterError> for ErrorCode {
        fn from(error: &UnregisterError) -> ErrorCode {
            match error {
                UnregisterError::UnknownBroker(_) => ErrorCode::BrokerIdNotRegistered,
                UnregisterError::LevelTooLow { .. } => ErrorCode::UnsupportedVersion,
                UnregisterError::Unavailable(unavailable) => unavailable.into(),
            }
        }
    }

    impl From<&FeatureLevelError> for ErrorCode {
        fn from(error: &FeatureLevelError) -> ErrorCode {
            match error {
                FeatureLevelError::Downgrade { .. }
                | FeatureLevelError::Unknown { .. }
                | FeatureLevelError::UnsupportedByBroker { .. }
                | FeatureLevelError::UnsupportedByVoter { .. }
                | FeatureLevelError::UnheardVoter { .. } => ErrorCode::InvalidUpdateVersion,
                FeatureLevelError::Unavailable(unavailable) => unavailable.into(),
            }
        }
    }

    impl From<&VoterError> for ErrorCode {
        fn from(error: &VoterError) -> ErrorCode {
            match error {
                VoterError::Unknown(_) | VoterError::NoVoter(_) => ErrorCode::VoterNotFound,
                VoterError::AlreadyVotes(_) | VoterError::VotesElsewhere(_) => ErrorCode::DuplicateVoter,
                VoterError::NotCaughtUp(_) | VoterError::InProgress => ErrorCode::RequestTimedOut,
                VoterError::LastVoter(_) => ErrorCode::InvalidRequest,
                VoterError::Unavailable(unavailable) => unavailable.into(),
            }
        }
    }

    impl From<&ConfigError> for ErrorCode {
        fn from(_: &ConfigError) -> ErrorCode {
            ErrorCode::InvalidConfig
        }
    }
}

/// Groups: what their coordinator refuses.
mod groups {
    use super::ErrorCode;
    use crate::coordinator::group::error::GroupError;

    impl From<&GroupError> for ErrorCode {
        fn from(error: &GroupError) -> ErrorCode {
            match error {
                GroupError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
                GroupError::NotCoordinator => ErrorCode::NotCoordinator,
                GroupError::Loading => ErrorCode::CoordinatorLoadInProgress,
                GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
                GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
                GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
                GroupError::UnknownMember => ErrorCode::UnknownMemberId,
                GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
                GroupError::FencedInstance => ErrorCode::FencedInstanceId,
                GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
                GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
                GroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
                GroupError::NonEmpty => ErrorCode::NonEmptyGroup,
                GroupError::Subscribed => ErrorCode::GroupSubscribedToTopic,
                GroupError::NotFound => ErrorCode::GroupIdNotFound,
                GroupError::MetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
                GroupError::RecordTooLarge => ErrorCode::InvalidCommitOffsetSize,
            }
        }
    }
}

/// Serving: what partitions and sessions refuse.
mod data {
    use firnline_tiering::batch::validate::Invalid;
    use firnline_tiering::cold::commit::CommitError;
    use firnline_tiering::cold::reader::ColdReadError;
    use firnline_tiering::log::append::AppendError;
    use firnline_tiering::log::read::ReadError;
    use firnline_tiering::log::truncate::CutError;
    use firnline_tiering::producer::state::SequenceError;

    use super::ErrorCode;
    use crate::api::data::fetch_session::SessionRefused;
    use crate::partition::leader::ProduceRefused;
    use crate::partition::read::ReadRefused;
    use crate::partition::replica::EpochRefused;
    use crate::partition::times::TimeError;
    use crate::partition::trim::TrimRefused;

    impl From<&SessionRefused> for ErrorCode {
        fn from(refused: &SessionRefused) -> ErrorCode {
            match refused {
                SessionRefused::NotFound => ErrorCode::FetchSessionIdNotFound,
                SessionRefused::Epoch { .. } => ErrorCode::InvalidFetchSessionEpoch,
                SessionRefused::TopicNaming => ErrorCode::FetchSessionTopicId,
            }
        }
    }

    impl From<&EpochRefused> for ErrorCode {
        fn from(refused: &EpochRefused) -> ErrorCode {
            match refused {
                EpochRefused::Fenced { .. } => ErrorCode::FencedLeaderEpoch,
                EpochRefused::Unknown { .. } => ErrorCode::UnknownLeaderEpoch,
            }
        }
    }

    impl From<&ReadRefused> for ErrorCode {
        fn from(refused: &ReadRefused) -> ErrorCode {
            match refused {
                ReadRefused::NotLeader => ErrorCode::NotLeaderOrFollower,
                ReadRefused::Epoch(refused) => refused.into(),
                ReadRefused::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
                ReadRefused::Log(error) => error.into(),
            }
        }
    }

    impl From<&ReadError> for ErrorCode {
        fn from(error: &ReadError) -> ErrorCode {
            match error {
                ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
                ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
                // A question that may wait never ends so; who may not wait asks that one next.
                ReadError::Storage { .. } | ReadError::Waits => ErrorCode::KafkaStorage,
            }
        }
    }

    impl From<&ProduceRefused> for ErrorCode {
        fn from(refused: &ProduceRefused) -> ErrorCode {
            match refused {
                ProduceRefused::NotLeader => ErrorCode::NotLeaderOrFollower,
                ProduceRefused::Internal => ErrorCode::InvalidTopic,
                ProduceRefused::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
                ProduceRefused::DiskReserve => ErrorCode::KafkaStorage,
                ProduceRefused::Log(error) => error.into(),
            }
        }
    }

    impl From<&AppendError> for ErrorCode {
        fn from(error: &AppendError) -> ErrorCode {
            match error {
                // Produce tries again instead of telling; whoever does tell wants the request repeated.
                AppendError::Busy => ErrorCode::RequestTimedOut,
                AppendError::Invalid(invalid) => invalid.into(),
                AppendError::Control(_) | AppendError::OutOfOrder { .. } => ErrorCode::InvalidRecord,
                AppendError::Sequence(refused) => refused.into(),
                AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
                AppendError::StaleEpoch { .. } | AppendError::Closed => ErrorCode::NotLeaderOrFollower,
                AppendError::DiskFull { .. } | AppendError::Storage { .. } => ErrorCode::KafkaStorage,
            }
        }
    }

    impl From<&SequenceError> for ErrorCode {
        fn from(refused: &SequenceError) -> ErrorCode {
            match refused {
                SequenceError::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
                SequenceError::InvalidEpoch { .. } => ErrorCode::InvalidProducerEpoch,
                SequenceError::OutsideTransaction { .. } => ErrorCode::InvalidTxnState,
                SequenceError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
            }
        }
    }

    impl From<&Invalid> for ErrorCode {
        /// Kafka's codes for what its validator throws.
        fn from(invalid: &Invalid) -> ErrorCode {
            match invalid {
                Invalid::Framing(_) | Invalid::Crc(_) => ErrorCode::CorruptMessage,
                Invalid::ZstdTooOld => ErrorCode::UnsupportedCompressionType,
                Invalid::TooLarge { .. } => ErrorCode::MessageTooLarge,
                Invalid::Compression(_) => ErrorCode::CorruptMessage,
                Invalid::Records { .. } if invalid.is_timestamp() => ErrorCode::InvalidTimestamp,
                Invalid::Records { .. } => ErrorCode::InvalidRecord,
                Invalid::Empty
                | Invalid::Magic(_)
                | Invalid::MoreThanOne { .. }
                | Invalid::BaseOffset(_)
                | Invalid::UnknownCodec(_)
                | Invalid::Count(_)
                | Invalid::Control
                | Invalid::Sequence { .. }
                | Invalid::Record { .. }
                | Invalid::OffsetDelta { .. }
                | Invalid::RecordCount { .. } => ErrorCode::InvalidRecord,
            }
        }
    }

    impl From<&ColdReadError> for ErrorCode {
        fn from(error: &ColdReadError) -> ErrorCode {
            match error {
                ColdReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
                ColdReadError::NotFound { .. } | ColdReadError::Unavailable { .. } => ErrorCode::KafkaStorage,
                ColdReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
            }
        }
    }

    impl From<&TimeError> for ErrorCode {
        fn from(error: &TimeError) -> ErrorCode {
            match error {
                TimeError::Local(error) => error.into(),
                TimeError::Cold(error) => error.into(),
                TimeError::NoBucket | TimeError::Lane(_) => ErrorCode::KafkaStorage,
            }
        }
    }

    impl From<&TrimRefused> for ErrorCode {
        fn from(refused: &TrimRefused) -> ErrorCode {
            match refused {
                TrimRefused::NotLeader => ErrorCode::NotLeaderOrFollower,
                TrimRefused::CompactOnly => ErrorCode::PolicyViolation,
                TrimRefused::Commit(error) => error.into(),
                TrimRefused::Cut(error) => error.into(),
                TrimRefused::Lane(_) => ErrorCode::KafkaStorage,
            }
        }
    }

    impl From<&CommitError> for ErrorCode {
        /// All but a missing log pass: the client may ask again.
        fn from(error: &CommitError) -> ErrorCode {
            match error {
                CommitError::NoSuchLog => ErrorCode::UnknownTopicOrPartition,
                CommitError::Refused(_) | CommitError::Unavailable(_) => ErrorCode::NotLeaderOrFollower,
                CommitError::Unknown(_) => ErrorCode::RequestTimedOut,
            }
        }
    }

    impl From<&CutError> for ErrorCode {
        fn from(error: &CutError) -> ErrorCode {
            match error {
                CutError::AboveEnd { .. } | CutError::BelowFloor { .. } => ErrorCode::OffsetOutOfRange,
                CutError::Storage { .. } => ErrorCode::KafkaStorage,
            }
        }
    }
}
