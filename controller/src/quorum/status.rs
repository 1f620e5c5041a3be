//! What DescribeQuorum wants to know, without openraft's types.
//! A snapshot of one moment, for people and metrics; nothing decides by it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::BrokerId;
use crate::transport::Address;

/// One member's place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The node it runs in.
    pub id: BrokerId,
    /// Kafka's directory id of its metadata directory; nil if it has none.
    #[serde(with = "crate::serial::uuid")]
    pub directory: Uuid,
    /// Where it takes calls of members, if it said so.
    pub address: Option<Address>,
    /// Index after its last known entry (Kafka's log end offset). 0 where it is not known: only the leader knows others'.
    pub log_end: u64,
    /// When the leader last heard from it, in milliseconds on the leader's wall clock; −1 where it is not known.
    pub last_fetch: i64,
    /// When it last had everything the leader had; −1 where it is not known.
    pub last_caught_up: i64,
}

/// The quorum as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuorumStatus {
    /// Who leads, if known.
    pub leader: Option<BrokerId>,
    /// The node whose view this is leads and a majority heard it lately.
    pub leads: bool,
    /// The term (Kafka's leader epoch of `__cluster_metadata`).
    pub term: u64,
    /// Index after the last committed and applied entry.
    pub high_watermark: u64,
    /// Members that count for a majority, by node.
    pub voters: Vec<Replica>,
    /// Members that do not, by node.
    pub learners: Vec<Replica>,
    /// What keeps this node from being a member, in words for people.
    pub trouble: Option<String>,
}
