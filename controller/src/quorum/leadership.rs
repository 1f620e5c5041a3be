//! Whether this member may decide: it leads, a majority heard it lately, and everything decided before is applied.
//! Not how it came to lead. Invariant: a session ends before another member can have begun one, unless its process
//! has gone.

use tokio::time::Instant;

use crate::id::BrokerId;
use crate::quorum::type_config::VoterId;

/// A time of leading without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Counts this member's sessions, from 1.
    pub number: u64,
    /// Its term.
    pub term: u64,
}

/// Who leads, as far as this member knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// This member does.
    pub session: Option<Session>,
    /// Whom raft names; may be gone.
    pub leader: Option<VoterId>,
    /// The node that led before this member began to lead, and when it was heard last.
    pub before: Option<(BrokerId, Instant)>,
    /// The member has stopped for good.
    pub stopped: Option<String>,
}
