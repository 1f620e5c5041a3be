//! One member of a classic group: what it said when it joined, what it was assigned, and which answers it waits for.
//! It decides nothing. Invariant: a new member has never got a join answer, so it cannot send heartbeats.

use bytes::Bytes;

use crate::coordinator::group::id::{InstanceId, MemberId};
use crate::coordinator::group::records::MemberValue;

/// Stands for a request that waits for its answer; whoever drives the state machine knows which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiter(pub u64);

/// One protocol (assignor) a member offers, with the bytes its clients exchange through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// `range`, `cooperative-sticky`...
    pub name: String,
    /// Opaque: it never changes between the member and the leader.
    pub metadata: Bytes,
}

/// A member.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its lasting name, for a static member.
    pub instance: Option<InstanceId>,
    /// The client's own name, from the request header.
    pub client_id: String,
    /// Where it connected from, in Kafka's spelling: `/127.0.0.1`.
    pub client_host: String,
    /// How long a rebalance waits for it, ms.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, ms.
    pub session_timeout_ms: i32,
    /// What it offers, in its order of preference.
    pub protocols: Vec<Protocol>,
    /// What the leader assigned to it; empty before.
    pub assignment: Bytes,
    /// A join that waits for the rebalance to complete.
    pub joining: Option<Waiter>,
    /// A sync that waits for the leader's assignment.
    pub syncing: Option<Waiter>,
    /// It joined in this rebalance and does not know its id yet.
    pub is_new: bool,
}

impl Member {
    /// Its bytes for `protocol`; empty when it does not offer it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let offered = self.protocols.iter().find(|offered| offered.name == protocol);
        offered.map_or_else(Bytes::new, |offered| offered.metadata.clone())
    }

    /// Silence is no sign of death while it waits for us; a new member's only sign of life is its join.
    pub fn is_excused(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    /// The first of its protocols among those that `all` members offer.
    pub fn vote(&self, all: impl Fn(&str) -> bool) -> Option<&str> {
        self.protocols.iter().map(|offered| offered.name.as_str()).find(|name| all(name))
    }

    /// What the log keeps of it: its bytes for the chosen protocol only.
    pub fn to_record(&self, id: &MemberId, protocol: &str, assignment: Bytes) -> MemberValue {
        MemberValue {
            id: id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    /// A member as the log knows it: it offers the chosen protocol only.
    pub fn from_record(value: &MemberValue, protocol: &str) -> Member {
        Member {
            instance: value.instance.clone(),
            client_id: value.client_id.clone(),
            client_host: value.client_host.clone(),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            session_timeout_ms: value.session_timeout_ms,
            protocols: vec![Protocol { name: protocol.to_owned(), metadata: value.subscription.clone() }],
            assignment: value.assignment.clone(),
            joining: None,
            syncing: None,
            is_new: false,
        }
    }
}
