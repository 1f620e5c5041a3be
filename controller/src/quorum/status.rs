//! What DescribeQuorum wants to know, without openraft's types.
//! A snapshot of one moment, for people and metrics; nothing decides by it.

/// One member's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// The voter's or learner's node id.
    pub id: u64,
    /// Index after its last known entry (Kafka's log end offset).
    pub log_end: u64,
}

/// The quorum as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuorumStatus {
    /// Who leads, if known.
    pub leader: Option<u64>,
    /// The term (Kafka's leader epoch of `__cluster_metadata`).
    pub term: u64,
    /// Index after the last committed and applied entry.
    pub high_watermark: u64,
    /// Members that count for a majority, by id.
    pub voters: Vec<Replica>,
    /// Members that do not, by id.
    pub learners: Vec<Replica>,
}
