//! Offsets for timestamps: the first record at or after a time, and the record with the largest one.
//! Only the local part of the log is searched. Invariant: the answer is exact to the record, whatever the codec.

use crate::batch::compress::{decompress, decompress_limit};
use crate::batch::header::{BatchHeader, Codec, HEADER_BYTES, TimestampType};
use crate::batch::record::RecordReader;
use crate::epoch::LeaderEpoch;
use crate::hot::headers::SegmentError;
use crate::hot::segment::Segment;
use crate::hot::segments::Segments;
use crate::log::read::ReadError;
use crate::log::unified::Log;
use crate::offsets::Offset;

/// Answer to a time lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeAnswer {
    /// The first such record.
    Found {
        /// Its offset.
        offset: Offset,
        /// Its timestamp, milliseconds.
        timestamp_ms: i64,
        /// The epoch it was written in.
        leader_epoch: Option<LeaderEpoch>,
    },
    /// No record below the bound.
    NotFound,
    /// It may lie below the local start: ask the cold reader first, then [`Log::offset_for_time_local`].
    Cold,
}

/// Which records count: those in `[start, bound)`.
#[derive(Clone, Copy)]
struct Range {
    start: Offset,
    bound: Offset,
    /// How much a compressed batch may open to.
    limit: usize,
}

impl Log {
    /// The first record below `bound` whose timestamp is at or after `timestamp_ms`.
    /// [`TimeAnswer::Cold`] whenever the log starts below its local start.
    pub fn offset_for_time(&self, timestamp_ms: i64, bound: Offset) -> Result<TimeAnswer, ReadError> {
        if self.log_start() < self.segments.load().start() {
            return Ok(TimeAnswer::Cold);
        }
        self.offset_for_time_local(timestamp_ms, bound)
    }

    /// As [`Log::offset_for_time`], only over `[local start, bound)`.
    pub fn offset_for_time_local(&self, timestamp_ms: i64, bound: Offset) -> Result<TimeAnswer, ReadError> {
        self.on_segments(|segments| {
            let range = self.range(segments, bound);
            for segment in segments.all() {
                if segment.base() >= bound {
                    break;
                }
                if segment.largest_timestamp().0 < timestamp_ms || segment.next() <= range.start {
                    continue;
                }
                let found = first_since(segment, timestamp_ms, range);
                let found = found.map_err(|error| ReadError::of(segment, error))?;
                if let Some(answer) = found {
                    return Ok(answer);
                }
            }
            Ok(TimeAnswer::NotFound)
        })
    }

    /// The first record with the largest timestamp in `[local start, bound)` (ListOffsets −3, KIP-734).
    pub fn max_timestamp(&self, bound: Offset) -> Result<TimeAnswer, ReadError> {
        self.on_segments(|segments| {
            let range = self.range(segments, bound);
            let mut best = (-1, None);
            for segment in segments.all() {
                let largest = largest_below(segment, range).map_err(|e| ReadError::of(segment, e))?;
                if largest > best.0 {
                    best = (largest, Some(segment));
                }
            }
            let (timestamp, Some(segment)) = best else { return Ok(TimeAnswer::NotFound) };
            let found = first_since(segment, timestamp, range).map_err(|e| ReadError::of(segment, e))?;
            Ok(found.unwrap_or(TimeAnswer::NotFound))
        })
    }

    fn range(&self, segments: &Segments, bound: Offset) -> Range {
        let limit = decompress_limit(self.config.load().max_message_bytes);
        Range { start: self.log_start().max(segments.start()), bound, limit }
    }
}

/// Largest timestamp of the batches in range; −1 if there is none.
fn largest_below(segment: &Segment, range: Range) -> Result<i64, SegmentError> {
    let (timestamp, last) = segment.largest_timestamp();
    if segment.base() >= range.bound || segment.next() <= range.start {
        return Ok(-1);
    }
    if (range.start..range.bound).contains(&last) {
        return Ok(timestamp);
    }
    // Its youngest batch may not be seen (yet): ask those that may.
    let (mut largest, mut position, bytes) = (-1, 0, segment.bytes());
    let mut headers = segment.headers(bytes);
    while position < bytes {
        let header = headers.at(position)?;
        if header.next_offset() > range.bound {
            break;
        }
        if header.last_offset() >= range.start {
            largest = header.max_timestamp.max(largest);
        }
        position += header.size() as u64;
    }
    Ok(largest)
}

fn first_since(segment: &Segment, timestamp: i64, range: Range) -> Result<Option<TimeAnswer>, SegmentError> {
    let bytes = segment.bytes();
    let mut position = segment.position_before_time(timestamp)?;
    let mut headers = segment.headers(bytes);
    while position < bytes {
        let header = headers.at(position)?;
        if header.next_offset() > range.bound {
            return Ok(None);
        }
        if header.max_timestamp >= timestamp
            && header.last_offset() >= range.start
            && let Some(answer) = first_record_since(segment, position, &header, timestamp, range)?
        {
            return Ok(Some(answer));
        }
        position += header.size() as u64;
    }
    Ok(None)
}

/// Opens one batch. A batch that cannot be opened is reported and skipped whole, as every reader of records does.
fn first_record_since(
    segment: &Segment,
    position: u64,
    header: &BatchHeader,
    timestamp: i64,
    range: Range,
) -> Result<Option<TimeAnswer>, SegmentError> {
    // The size was checked against what lies in the file.
    let batch = segment.bytes_at(position + HEADER_BYTES as u64, header.size() - HEADER_BYTES)?;
    let opened;
    let records = match header.codec() {
        Ok(Codec::None) => &batch[..],
        Ok(codec) => match decompress(codec, &batch, range.limit) {
            Ok(plain) => {
                opened = plain;
                &opened[..]
            }
            Err(error) => return Ok(skip(segment, position, &error)),
        },
        Err(error) => return Ok(skip(segment, position, &error)),
    };
    let mut reader = RecordReader::new(records);
    loop {
        let record = match reader.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(skip(segment, position, &error)),
        };
        let offset = header.base_offset + i64::from(record.offset_delta);
        let timestamp_ms = match header.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => header.base_timestamp.wrapping_add(record.timestamp_delta),
        };
        if timestamp_ms >= timestamp && (range.start..range.bound).contains(&offset) {
            let leader_epoch = (header.leader_epoch.0 >= 0).then_some(header.leader_epoch);
            return Ok(Some(TimeAnswer::Found { offset, timestamp_ms, leader_epoch }));
        }
    }
}

fn skip(segment: &Segment, position: u64, why: &dyn std::fmt::Display) -> Option<TimeAnswer> {
    tracing::warn!(segment = %segment.base(), position, %why, "batch cannot be opened, skipped");
    None
}
