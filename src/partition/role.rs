//! What a replica can be: the leader, with what it knows of its followers, or a follower. Plain values.
//! What changes a role is in `term.rs`. Invariant: only a leader knows followers, and only for the time of its term.

use firnline_controller::id::BrokerId;
use firnline_tiering::epoch::LeaderEpoch;

use crate::partition::isr::InSync;

/// What a replica is at the moment.
#[derive(Debug, Default)]
pub enum Role {
    /// This broker appends, and knows what the others have.
    Leads(Box<InSync>),
    /// Another broker appends; `None` while nobody does.
    Follows(Option<BrokerId>),
    /// Taken away or deleted, or not in its first role yet.
    #[default]
    None,
}

/// Whom a replica follows, and since when: what is fetched under it is only good while it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// The leader.
    pub leader: BrokerId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
}

/// What a follower's fetch changed at its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Not a replica of this partition as far as this broker knows, or this broker does not lead.
    Stranger,
    /// Noted.
    Follower {
        /// The high watermark moved, or what DeleteRecords waits for: waiters have to look.
        moved: bool,
        /// The follower may join the ISR: the keeper of the ISR has to look.
        joins: bool,
    },
}

/// One uninterrupted time of this broker as the leader of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign(pub(super) u32);
