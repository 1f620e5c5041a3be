//! What one raft entry carries: groups of records, each applied whole or not at all, each with the facts it was
//! decided on. Not bytes (`record/codec.rs`). Invariant: a group whose precondition fails at apply changes nothing.

use std::sync::Arc;

use firnline_tiering::epoch::LeaderEpoch;

use crate::id::{BrokerEpoch, BrokerId, PartitionEpoch, TopicId};
use crate::record::kinds::Record;

/// A fact of the image a group was decided on, checked again when it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// 1: no record was ever applied: the log is being formatted.
    Unformatted,
    /// 2: no live topic has this name, or one that metrics cannot tell from it.
    NameFree(String),
    /// 3: the topic lives and has this many partitions.
    PartitionCount(TopicId, i32),
    /// 4: the partition's row is at this epoch.
    PartitionEpoch(TopicId, i32, PartitionEpoch),
    /// 5: the partition is led under this epoch.
    LeaderEpoch(TopicId, i32, LeaderEpoch),
    /// 6: the broker is registered under this epoch.
    BrokerEpoch(BrokerId, BrokerEpoch),
    /// 7: the next registration gets this epoch.
    NextBrokerEpoch(BrokerEpoch),
    /// 8: the next block of producer ids begins here.
    NextProducerId(i64),
    /// 9: the deleted topic awaits its purge.
    AwaitsPurge(TopicId),
    /// 10: the broker is registered under this epoch, neither fenced nor on its way down. Level 2.
    BrokerActive(BrokerId, BrokerEpoch),
}

/// Records that stand or fall together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    /// All must hold.
    pub preconditions: Vec<Precondition>,
    /// Folded in order.
    pub records: Vec<Record>,
}

/// What one proposal to the quorum holds. Cheap to clone: the log, the network and the state machine share it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry {
    /// In decision order; each may build on those before it.
    pub groups: Arc<[Group]>,
}
