//! Offsets for timestamps: the first record at or after a time, and the record with the largest one.
//! Only the local part of the log is searched. Invariant: the answer is exact to the record, whatever the codec.

use crate::batch::compress::decompress_limit;
use crate::batch::header::{BatchHeader, HEADER_BYTES};
use crate::batch::stamps::{Stamp, Unreadable, largest_stamp, stamps};
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

impl Range {
    fn holds(&self, offset: Offset) -> bool {
        (self.start..self.bound).contains(&offset)
    }
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
                if let Some(found) = found {
                    return Ok(found.answer());
                }
            }
            Ok(TimeAnswer::NotFound)
        })
    }

    /// The first record with the largest timestamp in `[local start, bound)` (ListOffsets −3, KIP-734).
    pub fn max_timestamp(&self, bound: Offset) -> Result<TimeAnswer, ReadError> {
        self.on_segments(|segments| {
            let range = self.range(segments, bound);
            let mut hopes = Vec::new();
            for segment in segments.all() {
                let largest = largest_below(segment, range).map_err(|e| ReadError::of(segment, e))?;
                if largest >= 0 {
                    hopes.push((largest, segment));
                }
            }
            // The largest first, of equals the older: the sort is stable.
            hopes.sort_by_key(|(largest, _)| std::cmp::Reverse(*largest));
            let mut best: Option<Found> = None;
            for (largest, segment) in hopes {
                if best.is_some_and(|best| best.stamp.timestamp_ms > largest) {
                    break;
                }
                let found = largest_of(segment, largest, range).map_err(|e| ReadError::of(segment, e))?;
                best = better(best, found);
            }
            Ok(best.map_or(TimeAnswer::NotFound, Found::answer))
        })
    }

    fn range(&self, segments: &Segments, bound: Offset) -> Range {
        let limit = decompress_limit(self.config.load().max_message_bytes);
        Range { start: self.log_start().max(segments.start()), bound, limit }
    }
}

/// A record that was found.
#[derive(Clone, Copy)]
struct Found {
    stamp: Stamp,
    epoch: LeaderEpoch,
}

impl Found {
    fn answer(self) -> TimeAnswer {
        let Stamp { offset, timestamp_ms } = self.stamp;
        TimeAnswer::Found { offset, timestamp_ms, leader_epoch: (self.epoch.0 >= 0).then_some(self.epoch) }
    }
}

/// The one with the larger timestamp, of equals the older.
fn better(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    let rank = |found: &Found| (found.stamp.timestamp_ms, std::cmp::Reverse(found.stamp.offset));
    one.into_iter().chain(other).max_by_key(rank)
}

/// The record in range with the largest timestamp of a segment whose batches promise at most `largest`. The one that
/// has it may lie below the log's start while its batch does not, or in a batch that lies: then all are asked.
fn largest_of(segment: &Segment, largest: i64, range: Range) -> Result<Option<Found>, SegmentError> {
    if let Some(found) = first_since(segment, largest, range)? {
        return Ok(Some(found));
    }
    let bytes = segment.bytes();
    let Some(first) = segment.locate(range.start.max(segment.base()))? else { return Ok(None) };
    let (mut position, mut headers, mut best) = (first.position, segment.headers(bytes), None);
    while position < bytes {
        let header = headers.at(position)?;
        if header.next_offset() > range.bound {
            break;
        }
        if best.is_none_or(|best: Found| best.stamp.timestamp_ms < header.max_timestamp) {
            let stamp = open(segment, position, &header, |records| {
                largest_stamp(&header, records, range.limit, |offset| range.holds(offset))
            })?;
            best = better(best, stamp.map(|stamp| Found { stamp, epoch: header.leader_epoch }));
        }
        position += header.size() as u64;
    }
    Ok(best)
}

/// Largest timestamp that the batches in range promise; −1 if there is none.
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

fn first_since(segment: &Segment, timestamp: i64, range: Range) -> Result<Option<Found>, SegmentError> {
    let bytes = segment.bytes();
    let mut position = segment.position_before_time(timestamp)?;
    let mut headers = segment.headers(bytes);
    while position < bytes {
        let header = headers.at(position)?;
        if header.next_offset() > range.bound {
            return Ok(None);
        }
        if header.max_timestamp >= timestamp && header.last_offset() >= range.start {
            let wanted = |stamp: &Stamp| stamp.timestamp_ms >= timestamp && range.holds(stamp.offset);
            let first = open(segment, position, &header, |records| {
                let mut first = None;
                stamps(&header, records, range.limit, |stamp| {
                    first = first.or_else(|| Some(stamp).filter(wanted));
                })?;
                Ok(first)
            })?;
            if let Some(stamp) = first {
                return Ok(Some(Found { stamp, epoch: header.leader_epoch }));
            }
        }
        position += header.size() as u64;
    }
    Ok(None)
}

/// Asks the records of one batch. A batch that cannot be opened is reported and skipped whole, as every reader of
/// records does.
fn open(
    segment: &Segment,
    position: u64,
    header: &BatchHeader,
    ask: impl FnOnce(&[u8]) -> Result<Option<Stamp>, Unreadable>,
) -> Result<Option<Stamp>, SegmentError> {
    // The size was checked against what lies in the file.
    let batch = segment.bytes_at(position + HEADER_BYTES as u64, header.size() - HEADER_BYTES)?;
    Ok(ask(&batch).unwrap_or_else(|why| {
        tracing::warn!(segment = %segment.base(), position, %why, "batch cannot be opened, skipped");
        None
    }))
}
