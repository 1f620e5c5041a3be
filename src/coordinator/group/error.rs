//! Why a group's coordinator refused. One enum for all verbs: the same rules guard join, sync, heartbeat and commit.
//! It holds no Kafka codes: `api/error_code.rs` chooses them.

use crate::coordinator::group::id::MemberId;

/// A refusal. Every one leaves the group as it was, unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// `__consumer_offsets` does not exist yet, or cannot be written just now. Ask again.
    #[error("the group's coordinator is not available")]
    NotAvailable,
    /// Another broker holds the group's partition, or its storage failed here.
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    /// The group's partition is being replayed. Ask again.
    #[error("the coordinator is still loading the group")]
    Loading,
    /// An empty group id where one is needed.
    #[error("the group id is empty")]
    InvalidGroupId,
    /// Session timeout outside `group.min.session.timeout.ms` and `group.max.session.timeout.ms`.
    #[error("the session timeout is outside the broker's limits")]
    InvalidSessionTimeout,
    /// No protocol in common with the members, or another protocol type.
    #[error("the member's protocols do not fit the group's")]
    InconsistentProtocol,
    /// The group has no such member.
    #[error("the group has no such member")]
    UnknownMember,
    /// Join again with the id in the answer (KIP-394).
    #[error("join again with the given member id")]
    MemberIdRequired,
    /// Another member holds the instance id now (KIP-345).
    #[error("another member holds the instance id")]
    FencedInstance,
    /// The generation is not the group's.
    #[error("the generation is not the group's")]
    IllegalGeneration,
    /// The group rebalances: join again.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// `group.max.size` members are in it already.
    #[error("the group is full")]
    GroupFull,
    /// Deletion of a group that has members.
    #[error("the group has members")]
    NonEmpty,
    /// There is no such group.
    #[error("there is no such group")]
    NotFound,
    /// Deletion of offsets of a topic that the group's members read.
    #[error("the group's members read this topic")]
    Subscribed,
    /// Commit metadata above `offset.metadata.max.bytes`.
    #[error("the commit's metadata is too large")]
    MetadataTooLarge,
    /// What would have to be written exceeds what one batch may hold.
    #[error("the record is too large")]
    RecordTooLarge,
}

/// A refused join: the answer also names a member id, the one the client should use from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The id drawn for the client, its own one back, or the empty one.
    pub member: MemberId,
}
