//! Writing as a follower: exactly what the leader stored, cut where the leader's log leaves ours.
//! It fetches nothing (`replication` does) and waits for disks: never on a serving core. Invariants: what was fetched in
//! one role is never written in another, and a follower's high watermark is never above its leader's nor its own end.

use std::io;
use std::sync::atomic::Ordering;

use firnline_tiering::batch::header::BatchHeader;
use firnline_tiering::epoch::Lineage;
use firnline_tiering::log::append::{AppendAs, AppendError, Origin};
use firnline_tiering::log::truncate::CutError;
use firnline_tiering::offsets::Offset;

use crate::partition::replica::Replica;
use crate::partition::role::Following;

/// Why a follower did not take what its leader sent.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Its role changed meanwhile: what was fetched is of no use any more.
    #[error("the partition follows somebody else now")]
    OtherRole,
    /// The log refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log could not be cut.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// A checkpoint, or state that was taken over, could not be written.
    #[error("not written: {0}")]
    Checkpoint(#[from] io::Error),
}

impl Replica {
    /// Whether what was fetched under `following` may still be written. Hold the gate.
    fn follows(&self, following: Following) -> Result<(), FollowError> {
        if self.following() == Some(following) { Ok(()) } else { Err(FollowError::OtherRole) }
    }

    /// Appends one batch exactly as its leader stored it; one that is there already is passed over. Answers whether it
    /// was written. `AppendError::Busy`: yield and try again.
    pub fn append_fetched(
        &self,
        following: Following,
        batch: &mut [u8],
        now_ms: i64,
    ) -> Result<bool, FollowError> {
        let _gate = self.gate.lock();
        self.follows(following)?;
        let end = self.log.offsets().end;
        if BatchHeader::parse(batch).is_ok_and(|header| header.next_offset() <= end) {
            return Ok(false);
        }
        let how = AppendAs {
            leader_epoch: following.epoch,
            now_ms,
            origin: Origin::Follower,
            produce_version: i16::MAX,
        };
        let bytes = batch.len() as u64;
        self.log.append(batch, &how)?;
        self.room().take(bytes);
        Ok(true)
    }

    /// Takes over its leader's high watermark, as far as this log reaches. True when it moved.
    pub fn adopt_high_watermark(&self, following: Following, leaders: Offset) -> bool {
        let _gate = self.gate.lock();
        self.follows(following).is_ok() && self.raise_high_watermark(leaders.min(self.own_end()))
    }

    /// Cuts the log where its leader's leaves it (KIP-101). Waits for the disk.
    pub fn truncate_fetched(&self, following: Following, to: Offset) -> Result<(), FollowError> {
        let _gate = self.gate.lock();
        self.follows(following)?;
        self.log.truncate(to)?;
        self.end_fell()
    }

    /// Drops everything local and begins empty at `at`: nothing of this log is in its leader's. Waits for the disk.
    pub fn restart_fetched(&self, following: Following, at: Offset) -> Result<(), FollowError> {
        let _gate = self.gate.lock();
        self.follows(following)?;
        self.log.restart_at(at)?;
        self.end_fell()
    }

    /// Begins once more, still empty, at the base of a batch that the log start lies in. Waits for the disk.
    pub fn restart_inside(&self, following: Following, base: Offset) -> Result<(), FollowError> {
        let _gate = self.gate.lock();
        self.follows(following)?;
        self.log.restart_inside(base)?;
        self.end_fell()
    }

    /// Drops everything local and begins empty at `at` with the epochs and producers (`.producers` bytes) of another log
    /// that ends there. Refused while this broker leads. Waits for the disk.
    pub fn restart_with(&self, at: Offset, lineage: Lineage, producers: &[u8]) -> Result<(), FollowError> {
        let _gate = self.gate.lock();
        if self.is_leader() {
            return Err(FollowError::OtherRole);
        }
        self.log.restart_at(at)?;
        self.log.restore(lineage, Some(producers))?;
        self.end_fell()?;
        // What it stands for was committed before it left this log.
        self.raise_high_watermark(at);
        Ok(())
    }

    /// Nothing is committed above the end, and what comes there may be torn by a crash.
    fn end_fell(&self) -> Result<(), FollowError> {
        let end = self.log.offsets().end;
        let log_start = self.log.offsets().log_start;
        self.high_watermark.fetch_min(end.0, Ordering::AcqRel);
        self.high_watermark.fetch_max(log_start.0.min(end.0), Ordering::AcqRel);
        let keeper = self.keeper.upgrade().ok_or_else(|| io::Error::other("the broker has stopped"))?;
        Ok(keeper.lower_recovery_point(self.topic_name(), self.id().index, end)?)
    }
}
