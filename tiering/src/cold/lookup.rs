//! Questions to the cold tier other than "read from here": the offset of a time, the state a log restarts from, how
//! much lies where. Invariant: one batch whose records lie is reported and passed over whole; it never panics,
//! loops or hides the batches after it.

use crate::batch::compress::decompress;
use crate::batch::header::{BatchHeader, Codec, HEADER_BYTES, TimestampType, batches};
use crate::batch::record::RecordReader;
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
            let opened = self.segments.open(log, &entry).await?;
            let mut from = opened.offset_before(time_ms).max(row.log_start);
            while from < entry.next && from < bound {
                let read = self.read(log, row, from, STEP_BYTES, bound).await?;
                if let Some(found) = first_at(&read.bytes, time_ms, row.log_start, bound, limit) {
                    return Ok(Some(found));
                }
                if read.next <= from {
                    break;
                }
                from = read.next;
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
        let entries = self.manifests.entries(log, row).await?;
        let live = entries.iter().filter(|entry| entry.next > row.log_start);
        match live.map(|entry| entry.max_timestamp).max() {
            Some(newest) => self.offset_for_time(log, row, newest, bound, limit).await,
            None => Ok(None),
        }
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

/// The first record in these batches at or after a time and inside `[start, bound)`.
fn first_at(bytes: &[u8], time_ms: i64, start: Offset, bound: Offset, limit: usize) -> Option<ColdTime> {
    for (header, batch) in batches(bytes).map_while(Result::ok) {
        if header.max_timestamp < time_ms {
            continue;
        }
        match first_in(&header, &batch[HEADER_BYTES..], time_ms, start, bound, limit) {
            Ok(None) => {}
            Ok(found) => return found,
            Err(why) => {
                tracing::warn!(
                    base = header.base_offset.0,
                    why,
                    "a batch cannot be opened; passed over whole"
                );
            }
        }
    }
    None
}

fn first_in(
    header: &BatchHeader,
    records: &[u8],
    time_ms: i64,
    start: Offset,
    bound: Offset,
    limit: usize,
) -> Result<Option<ColdTime>, String> {
    let codec = header.codec().map_err(|error| error.to_string())?;
    let opened;
    let records = if codec == Codec::None {
        records
    } else {
        opened = decompress(codec, records, limit).map_err(|error| error.to_string())?;
        &opened[..]
    };
    let mut reader = RecordReader::new(records);
    for _ in 0..header.record_count.max(0) {
        let Some(record) = reader.next_record().map_err(|error| error.to_string())? else {
            return Err("fewer records than its header counts".to_owned());
        };
        let timestamp_ms = match header.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => header.base_timestamp.saturating_add(record.timestamp_delta),
        };
        let offset = header.base_offset + i64::from(record.offset_delta);
        if timestamp_ms >= time_ms && offset >= start && offset < bound {
            return Ok(Some(ColdTime { offset, timestamp_ms, leader_epoch: header.leader_epoch }));
        }
    }
    Ok(None)
}
