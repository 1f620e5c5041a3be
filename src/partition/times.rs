//! Offsets for times and for the ends of a partition's tiers, over hot and cold as one log.
//! The local part is searched on the cold lane, the rest by the cold reader. Invariant: what is answered lies within
//! [log start, bound), and the cold part is asked first because its records are older.

use std::sync::Arc;

use firnline_tiering::cold::lookup::ColdTime;
use firnline_tiering::cold::reader::ColdReadError;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::log::read::ReadError;
use firnline_tiering::log::time::TimeAnswer;
use firnline_tiering::offsets::Offset;

use crate::partition::cold_desk::ColdAccess;
use crate::partition::cold_lane::ColdLane;
use crate::partition::read::Isolation;
use crate::partition::replica::PartitionHandle;

/// A place in the log: offset, timestamp (ms) and leader epoch, each -1 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The offset.
    pub offset: i64,
    /// The record's timestamp.
    pub timestamp_ms: i64,
    /// The epoch it was written in.
    pub leader_epoch: i32,
}

impl At {
    /// No such record.
    pub const NOWHERE: At = At { offset: -1, timestamp_ms: -1, leader_epoch: -1 };
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum TimeError {
    /// The local log.
    #[error(transparent)]
    Local(#[from] ReadError),
    /// The bucket.
    #[error(transparent)]
    Cold(#[from] ColdReadError),
    /// The records are in a bucket that this broker does not read (any more).
    #[error("the records are in a bucket that is not configured")]
    NoBucket,
    /// The lane for disk work has stopped.
    #[error("the search did not run: {0}")]
    Lane(#[from] std::io::Error),
}

/// Questions about times, of one partition and one isolation.
pub struct Times<'a> {
    partition: &'a PartitionHandle,
    bound: Offset,
}

impl<'a> Times<'a> {
    /// Questions as a reader of `isolation` asks them.
    pub fn new(partition: &'a PartitionHandle, isolation: Isolation) -> Self {
        Self { partition, bound: partition.bound(isolation) }
    }

    /// The end of what this reader may see.
    pub fn latest(&self) -> At {
        At { offset: self.bound.0, timestamp_ms: -1, leader_epoch: self.partition.leader_epoch().0 }
    }

    /// The first offset there is, in any tier.
    pub fn earliest(&self) -> At {
        self.at(self.partition.offsets().log_start)
    }

    /// The first offset on local disk.
    pub fn earliest_local(&self) -> At {
        self.at(self.partition.offsets().local_start)
    }

    /// The last offset in the bucket.
    pub fn latest_tiered(&self) -> At {
        let row = self.partition.log().tier();
        row.and_then(|row| row.last_tiered()).map_or(At::NOWHERE, |offset| self.at(offset))
    }

    fn at(&self, offset: Offset) -> At {
        let epoch = self.partition.log().lineage().epoch_at(offset);
        At { offset: offset.0, timestamp_ms: -1, leader_epoch: epoch.map_or(-1, |epoch| epoch.0) }
    }

    /// The first record at or after `timestamp_ms`.
    pub async fn first_since(
        &self,
        timestamp_ms: i64,
        lane: &Arc<ColdLane>,
        cold: Option<&ColdAccess>,
    ) -> Result<At, TimeError> {
        let bound = self.bound;
        let answer = self.local(lane, move |log| log.offset_for_time(timestamp_ms, bound)).await?;
        if answer != TimeAnswer::Cold {
            return Ok(place(answer));
        }
        if let Some(row) = self.partition.log().tier().filter(|row| row.has_committed()) {
            let access = cold.ok_or(TimeError::NoBucket)?;
            let id = self.partition.log().id();
            let found = access.reader().offset_for_time(id, &row, timestamp_ms, bound, OPEN_MAX).await?;
            if let Some(found) = found {
                return Ok(remote_place(found));
            }
        }
        let answer = self.local(lane, move |log| log.offset_for_time_local(timestamp_ms, bound)).await?;
        Ok(place(answer))
    }

    /// The record with the largest timestamp; of equals the first.
    pub async fn max_timestamp(
        &self,
        lane: &Arc<ColdLane>,
        cold: Option<&ColdAccess>,
    ) -> Result<At, TimeError> {
        let bound = self.bound;
        let local = place(self.local(lane, move |log| log.max_timestamp(bound)).await?);
        let offsets = self.partition.offsets();
        let row = self.partition.log().tier().filter(|row| row.has_committed());
        let Some(row) = row.filter(|_| offsets.log_start < offsets.local_start) else { return Ok(local) };
        let access = cold.ok_or(TimeError::NoBucket)?;
        let id = self.partition.log().id();
        let remote = access.reader().max_timestamp(id, &row, bound, OPEN_MAX).await?.map(remote_place);
        // An equal timestamp in the older tier comes first.
        Ok(remote.filter(|remote| remote.timestamp_ms >= local.timestamp_ms).unwrap_or(local))
    }

    async fn local(
        &self,
        lane: &Arc<ColdLane>,
        search: impl FnOnce(&firnline_tiering::log::unified::Log) -> Result<TimeAnswer, ReadError>
        + Send
        + 'static,
    ) -> Result<TimeAnswer, TimeError> {
        let log = self.partition.log().clone();
        Ok(lane.run(move || Ok(search(&log))).await??)
    }
}

/// Bytes that one compressed batch may open to while it is searched.
const OPEN_MAX: usize = 64 << 20;

fn remote_place(found: ColdTime) -> At {
    At { offset: found.offset.0, timestamp_ms: found.timestamp_ms, leader_epoch: found.leader_epoch.0 }
}

fn place(answer: TimeAnswer) -> At {
    match answer {
        TimeAnswer::Found { offset, timestamp_ms, leader_epoch } => At {
            offset: offset.0,
            timestamp_ms,
            leader_epoch: leader_epoch.map_or(-1, |LeaderEpoch(epoch)| epoch),
        },
        TimeAnswer::NotFound | TimeAnswer::Cold => At::NOWHERE,
    }
}
