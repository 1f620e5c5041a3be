//! openraft's type choices, and short names for its types with our ids in them. Not their bytes (`raft_codec.rs`).
//! Invariant: nothing openraft-typed leaves this room.

use openraft::{BasicNode, TokioRuntime};

use crate::image::fold::Outcome;
use crate::quorum::snapshot_file::SnapshotFile;
use crate::record::entry::Entry;

/// A voter's or learner's id: its `node.id` and the salt of its metadata directory (`identity.rs`).
pub type VoterId = u64;

/// What applying one entry answered: one fate per group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcomes(pub Vec<Outcome>);

openraft::declare_raft_types!(
    /// The metadata quorum's types.
    pub TypeConfig:
        D = Entry,
        R = Outcomes,
        NodeId = VoterId,
        Node = BasicNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotFile,
        AsyncRuntime = TokioRuntime,
);

/// One entry of the log, as openraft sees it.
pub type LogEntry = openraft::Entry<TypeConfig>;
/// An entry's place: term, leader, index.
pub type LogId = openraft::LogId<VoterId>;
/// Term and candidate this node stands by.
pub type Vote = openraft::Vote<VoterId>;
/// Voters and learners.
pub type Membership = openraft::Membership<VoterId, BasicNode>;
/// A membership and the entry that set it.
pub type StoredMembership = openraft::StoredMembership<VoterId, BasicNode>;
/// Why openraft stops.
pub type StorageError = openraft::StorageError<VoterId>;
/// The same, before it says where.
pub type StorageIoError = openraft::StorageIOError<VoterId>;
/// openraft, for us.
pub type Raft = openraft::Raft<TypeConfig>;
