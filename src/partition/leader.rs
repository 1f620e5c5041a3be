//! Appending as leader: what has to hold before a batch reaches the log, and what it moves afterwards.
//! It is not validation of the batch itself (the log does that) and wakes nobody (the caller announces the append).
//! Invariant: an append is answered to a client that asked for all replicas once it is below the high watermark: at once
//! with the only replica here, after the next round of fsyncs where `firn.durability=disk`, after the followers' fetches
//! where there are any.

use firnline_tiering::log::append::{AppendAs, AppendError, Appended, Origin};
use firnline_tiering::offsets::Offset;

use crate::partition::replica::Replica;
use crate::partition::role::Reign;

/// Who appends, and what was promised to him.
#[derive(Clone, Copy, Debug)]
pub struct LeaderAppend {
    /// A client's produce request or a coordinator's own record.
    pub origin: Origin,
    /// The wall clock, milliseconds since 1970: asked once per request.
    pub now_ms: i64,
    /// Version of the Produce request, which decides what compression is allowed; coordinators send the newest.
    pub produce_version: i16,
    /// acks=all: the in-sync replicas must be enough before anything is written.
    pub all_replicas: bool,
}

/// An append that is in the log.
#[derive(Clone, Copy, Debug)]
pub struct LeaderAppended {
    /// What the log answered.
    pub appended: Appended,
    /// The log's start at that time.
    pub log_start: Offset,
    /// The reign it was appended in: once that is over, the high watermark says nothing about it.
    pub reign: Reign,
}

/// Why a batch did not reach the log.
#[derive(Debug, thiserror::Error)]
pub enum ProduceRefused {
    /// This broker does not lead the partition (any more).
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// Coordinators write internal topics, clients do not.
    #[error("an internal topic is written by its coordinator only")]
    Internal,
    /// Fewer replicas in sync than `min.insync.replicas` asks for.
    #[error("{in_sync} replicas in sync, {required} required")]
    NotEnoughReplicas {
        /// In sync now.
        in_sync: i32,
        /// `min.insync.replicas`, limited to the replica count.
        required: i32,
    },
    /// The disk is filled down to its reserve.
    #[error("the log directory is below firn.disk.reserve.bytes")]
    DiskReserve,
    /// The log refused, or its lock is taken (`AppendError::Busy`: yield and try again).
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Replica {
    /// Appends one batch in place: base offset and leader epoch are written into `batch`. Never parks.
    pub fn append(&self, batch: &mut [u8], how: &LeaderAppend) -> Result<LeaderAppended, ProduceRefused> {
        let reign = self.reign();
        if !self.is_leader() {
            return Err(ProduceRefused::NotLeader);
        }
        if self.is_internal() && matches!(how.origin, Origin::Client) {
            return Err(ProduceRefused::Internal);
        }
        let (in_sync, required) = self.in_sync();
        if how.all_replicas && in_sync < required {
            return Err(ProduceRefused::NotEnoughReplicas { in_sync, required });
        }
        if self.room().is_full() {
            return Err(ProduceRefused::DiskReserve);
        }
        let append = AppendAs {
            leader_epoch: self.leader_epoch(),
            now_ms: how.now_ms,
            origin: how.origin,
            produce_version: how.produce_version,
        };
        let bytes = batch.len() as u64;
        let appended = self.log().append(batch, &append)?;
        self.room().take(bytes);
        self.appended();
        Ok(LeaderAppended { appended, log_start: self.offsets().log_start, reign })
    }
}
