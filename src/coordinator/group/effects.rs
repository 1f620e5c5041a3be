//! What a step of the state machine asks of the world: answers to give and records to store.
//! It does neither. Invariant: whoever drives the machine takes no other step before it has told it how each store
//! ended, so that records lie in the log in the order of the steps that wrote them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::coordinator::group::error::{GroupError, JoinRefused};
use crate::coordinator::group::id::{GroupId, InstanceId, MemberId};
use crate::coordinator::group::member::{Member, Waiter};
use crate::coordinator::group::records::Record;

/// The moment of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For records: ms since 1970. May jump.
    pub wall_ms: i64,
    /// For deadlines: ms on a monotonic scale.
    pub tick_ms: u64,
}

/// Effects of one step or several.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answers to joins.
    pub joined: Vec<(Waiter, Result<Joined, JoinRefused>)>,
    /// Answers to syncs.
    pub synced: Vec<(Waiter, Result<Synced, GroupError>)>,
    /// Answers to requests that only wait for their records.
    pub settled: Vec<(Waiter, Result<(), GroupError>)>,
    /// Records, in this order.
    pub stores: VecDeque<Store>,
}

impl Effects {
    /// Nothing left to do.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.synced.is_empty() && self.settled.is_empty() && self.stores.is_empty()
    }
}

/// A completed join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The generation that begins.
    pub generation: i32,
    /// `consumer`, `connect`...
    pub protocol_type: Option<String>,
    /// The elected protocol.
    pub protocol: Option<String>,
    /// The member that has to assign.
    pub leader: Option<MemberId>,
    /// The member that is answered.
    pub member: MemberId,
    /// All members with their bytes for the protocol: for the leader only.
    pub members: Vec<JoinedMember>,
    /// The leader must not assign: the group keeps what it has (KIP-814).
    pub skip_assignment: bool,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub id: MemberId,
    /// Its lasting name.
    pub instance: Option<InstanceId>,
    /// Its bytes for the protocol.
    pub metadata: Bytes,
}

/// A completed sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// `consumer`, `connect`...
    pub protocol_type: Option<String>,
    /// The generation's protocol.
    pub protocol: Option<String>,
    /// The member's assignment, untouched.
    pub assignment: Bytes,
}

/// Records that go into one batch, and what the group does once they are in the log or refused.
#[derive(Debug)]
pub struct Store {
    /// The group they belong to.
    pub group: GroupId,
    /// At least one.
    pub records: Vec<Record>,
    /// What follows.
    pub then: Then,
}

/// What follows a store.
#[derive(Debug)]
pub enum Then {
    /// A group was opened. Refused: it never was.
    Opened,
    /// The leader's assignment. Stored: the group is stable and everybody is answered. Refused: join again.
    Assigned {
        /// The generation it was made for.
        generation: i32,
        /// By member; whoever is missing gets nothing.
        assignment: BTreeMap<MemberId, Bytes>,
        /// The time that the record carries.
        since_ms: i64,
    },
    /// The last member left. Refused: a replay would find the generation before, whose members then time out.
    Emptied,
    /// A static member came back under a new id. Refused: the old id holds again.
    Replaced(Box<Replaced>),
    /// Offsets or tombstones, applied from the records themselves when stored.
    Applied {
        /// Who waits for it.
        waiter: Option<Waiter>,
    },
}

/// A replaced static member, as it was.
#[derive(Debug)]
pub struct Replaced {
    /// The instance that stays.
    pub instance: InstanceId,
    /// The id that is fenced from now on.
    pub old_id: MemberId,
    /// The member under that id.
    pub old: Member,
    /// The id that replaced it.
    pub new_id: MemberId,
    /// The leader before; clients below version 9 are told this one, so that they do not assign.
    pub old_leader: Option<MemberId>,
    /// The client understands `skip_assignment`.
    pub may_skip: bool,
}
