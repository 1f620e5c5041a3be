//! [`Log`]: one partition's log, shared by all cores. Here is what it is made of and what it answers at once;
//! what it does lives beside it (`append`, `read`, `truncate`, `time`, `housekeeping`).

use crate::config::{LogConfig, LogId};
use crate::epoch::{LeaderEpoch, Lineage};
use crate::offsets::{LogOffsets, Offset};
use std::path::Path;
use std::sync::Arc;

/// One log. Cheap to share (`Arc<Log>`).
#[derive(Debug)]
pub struct Log {
    pub(super) id: LogId,
}

impl Log {
    /// The log's name.
    pub fn id(&self) -> &LogId {
        &self.id
    }

    /// The directory its files lie in.
    pub fn dir(&self) -> &Path {
        todo!()
    }

    /// The settings now in force.
    pub fn config(&self) -> Arc<LogConfig> {
        todo!()
    }

    /// Replaces the settings; the next append or housekeeping turn follows them.
    pub fn set_config(&self, _config: LogConfig) {
        todo!()
    }

    /// Where the log starts and ends, in one consistent, lock-free snapshot.
    pub fn offsets(&self) -> LogOffsets {
        todo!()
    }

    /// Which epoch began where.
    pub fn lineage(&self) -> Arc<Lineage> {
        todo!()
    }

    /// The largest known epoch ≤ `epoch` and where it ended (KIP-101, KIP-279); `None` if `epoch` is newer than
    /// everything known.
    pub fn end_of_epoch(&self, _epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        todo!()
    }

    /// Bytes of log data on local disk.
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }

    /// Everything below is fsynced.
    pub fn recovery_point(&self) -> Offset {
        todo!()
    }

    /// Why the log no longer takes writes, once a disk failed under it.
    pub fn offline(&self) -> Option<Arc<str>> {
        todo!()
    }
}
impl Log {
    /// Shows the log what the quorum knows about its cold tier.
    pub fn set_tier(&self, _row: Arc<crate::cold::tier::TierRow>) {
        todo!()
    }
}
