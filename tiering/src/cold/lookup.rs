//! Questions to the cold tier other than "read from here": the offset of a time, the state a log restarts from, how
//! much lies where. Invariant: one batch whose records lie is reported and passed over whole; it never panics,
//! loops or hides the batches after it.

use crate::batch::header::{BatchHeader, HEADER_BYTES, batches};
use crate::batch::stamps::{Stamp, Unreadable, largest_stamp, stamps};
use crate::cold::entry::Entry;
use crate::cold::footer::SectionKind;
use crate::cold::object::decode_epochs;
use crate::cold::reader::{ColdReadError, ColdReader};
use crate::cold::tier::TierRow;
use crate::config::LogId;
use crate::epoch::{LeaderEpoch, Lineage};
use crate::offsets::Offset;
use bytes::Bytes;

/// Bytes one step of a time lookup reads.
const STEP_BYTES: u64 = 1 << 20;

/// The first record at or after a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColdTime {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, milliseconds.
    pub timestamp_ms: i64,
    /// The epoch it was written in.
    pub leader_epoch: LeaderEpoch,
}

/// What a log takes over when it starts empty at the committed remote end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteState {
    /// Which epoch began where, from the log start to the remote end.
    pub lineage: Lineage,
    /// The bytes of the `.producers` file as of the remote end.
    pub producers: Bytes,
}

/// Where a log's cold bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierBytes {
    /// Of those in the bucket, also in the memory cache. An estimate.
    pub memory: u64,
    /// Of those in the bucket, also in the disk cache. An estimate.
    pub disk: u64,
    /// In the bucket.
    pub bucket: u64,
    /// Remote segments.
    pub segments: u64,
}

impl ColdReader {
    /// The first record in the bucket, below `bound`, whose timestamp is at or after `time_ms`; `None` if there is
    /// none. `limit` bounds what one compressed batch may open to, in bytes.
    pub async fn offset_for_time(
        &self,
        log: &LogId,
        row: &TierRow,
        time_ms: i64,
        bound: Offset,
        limit: usize,
    ) -> Result<Option<ColdTime>, ColdReadError> {
        for entry in self.manifests.entries(log, row).await? {
            if entry.max_timestamp < time_ms || entry.next <= row.log_start {
                continue;
            }
            let found = self.first_of(log, row, &entry, Wanted { time_ms, bound, limit }).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp in the bucket, below `bound`; `None` if there is none.
    pub async fn max_timestamp(
        &self,
        log: &LogId,
        row: &TierRow,
        bound: Offset,
        limit: usize,
    ) -> Result<Option<ColdTime>, ColdReadError> {
        let mut live = self.manifests.entries(log, row).await?;
        live.retain(|entry| entry.next > row.log_start && entry.base < bound);
        // The largest first, of equals the older: the sort is stable.
        live.sort_by_key(|entry| std::cmp::Reverse(entry.max_timestamp));
        let mut best: Option<ColdTime> = None;
        for entry in &live {
            if best.is_some_and(|best| best.timestamp_ms > entry.max_timestamp) {
                break;
            }
            let wanted = Wanted { time_ms: entry.max_timestamp, bound, limit };
            let found = match self.first_of(log, row, entry, wanted).await? {
                // The record that has it lies below the log's start or above the bound: the others are asked.
                None => self.largest_of(log, row, entry, wanted).await?,
                found => found,
            };
            best = better(best, found);
        }
        Ok(best)
    }

    /// The first record of one segment at or after a time.
    async fn first_of(
        &self,
        log: &LogId,
        row: &TierRow,
        entry: &Entry,
        wanted: Wanted,
    ) -> Result<Option<ColdTime>, ColdReadError> {
        let opened = self.segments.open(log, entry).await?;
        let mut from = opened.offset_before(wanted.time_ms).max(row.log_start);
        while from < entry.next && from < wanted.bound {
            let read = self.read(log, row, from, STEP_BYTES, wanted.bound).await?;
            if let Some(found) = first_at(&read.bytes, row.log_start, wanted) {
                return Ok(Some(found));
            }
            if read.next <= from {
                break;
            }
            from = read.next;
        }
        Ok(None)
    }

    /// The record of one segment with the largest timestamp, read from end to end.
    async fn largest_of(
        &self,
        log: &LogId,
        row: &TierRow,
        entry: &Entry,
        wanted: Wanted,
    ) -> Result<Option<ColdTime>, ColdReadError> {
        let (mut from, mut best) = (entry.base.max(row.log_start), None);
        while from < entry.next && from < wanted.bound {
            let read = self.read(log, row, from, STEP_BYTES, wanted.bound).await?;
            best = largest_at(&read.bytes, row.log_start, wanted, best);
            if read.next <= from {
                break;
            }
            from = read.next;
        }
        Ok(best)
    }

    /// What a log restarts from at the committed remote end; `None` if nothing was ever committed.
    pub async fn state_at_end(
        &self,
        log: &LogId,
        row: &TierRow,
    ) -> Result<Option<RemoteState>, ColdReadError> {
        let entries = self.manifests.entries(log, row).await?;
        let Some(last) = entries.last() else {
            return Ok(None);
        };
        let mut lineage = Lineage::default();
        for entry in entries.iter().filter(|entry| entry.next > row.log_start) {
            if entry.first_epoch == entry.last_epoch {
                lineage.assign(entry.first_epoch, entry.base);
                continue;
            }
            let section = self.segments.section(log, entry, SectionKind::Epochs).await?;
            let spans = decode_epochs(&section)
                .map_err(|error| ColdReadError::Corrupt { what: error.to_string() })?;
            spans.into_iter().for_each(|(epoch, start)| _ = lineage.assign(epoch, start));
        }
        let producers = self.segments.section(log, last, SectionKind::Producers).await?;
        Ok(Some(RemoteState { lineage, producers }))
    }

    /// Where the log's cold bytes lie. Asks the bucket at most for the manifest; without it only the row's own
    /// segments are looked up in the cache.
    pub async fn residency(&self, log: &LogId, row: &TierRow) -> TierBytes {
        let entries = match self.manifests.entries(log, row).await {
            Ok(entries) => entries,
            Err(_) => row.entries.clone(),
        };
        let segments = row.segments() as u64;
        let mut bytes = TierBytes { bucket: row.log_bytes(), segments, ..TierBytes::default() };
        for entry in &entries {
            let (memory, disk) = self.segments.cached_bytes(entry);
            bytes.memory += memory;
            bytes.disk += disk;
        }
        bytes
    }
}

/// What a search by time is bounded by.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    time_ms: i64,
    bound: Offset,
    /// Bytes that a compressed batch may open to.
    limit: usize,
}

/// The one with the larger timestamp, of equals the older.
fn better(one: Option<ColdTime>, other: Option<ColdTime>) -> Option<ColdTime> {
    let rank = |found: &ColdTime| (found.timestamp_ms, std::cmp::Reverse(found.offset));
    one.into_iter().chain(other).max_by_key(rank)
}

/// The first record in these batches at or after a time and inside `[start, bound)`.
fn first_at(bytes: &[u8], start: Offset, wanted: Wanted) -> Option<ColdTime> {
    for (header, batch) in batches(bytes).map_while(Result::ok) {
        if header.max_timestamp < wanted.time_ms {
            continue;
        }
        let fits = |stamp: &Stamp| {
            stamp.timestamp_ms >= wanted.time_ms && (start..wanted.bound).contains(&stamp.offset)
        };
        let mut first = None;
        let asked = stamps(&header, &batch[HEADER_BYTES..], wanted.limit, |stamp| {
            first = first.or_else(|| Some(stamp).filter(fits));
        });
        match asked {
            Ok(()) if first.is_none() => {}
            Ok(()) => return first.map(|stamp| at(&header, stamp)),
            Err(why) => passed_over(&header, &why),
        }
    }
    None
}

/// The record in these batches with the largest timestamp inside `[start, bound)`, if it beats `best`.
fn largest_at(bytes: &[u8], start: Offset, wanted: Wanted, best: Option<ColdTime>) -> Option<ColdTime> {
    let mut best = best;
    for (header, batch) in batches(bytes).map_while(Result::ok) {
        if best.is_some_and(|best| best.timestamp_ms >= header.max_timestamp) {
            continue;
        }
        let inside = |offset: Offset| (start..wanted.bound).contains(&offset);
        match largest_stamp(&header, &batch[HEADER_BYTES..], wanted.limit, inside) {
            Ok(found) => best = better(best, found.map(|stamp| at(&header, stamp))),
            Err(why) => passed_over(&header, &why),
        }
    }
    best
}

fn at(header: &BatchHeader, stamp: Stamp) -> ColdTime {
    let Stamp { offset, timestamp_ms } = stamp;
    ColdTime { offset, timestamp_ms, leader_epoch: header.leader_epoch }
}

fn passed_over(header: &BatchHeader, why: &Unreadable) {
    tracing::warn!(base = header.base_offset.0, %why, "a batch cannot be opened; passed over whole");
}
