//! What a batch must satisfy before it is appended: Kafka's checks in Kafka's order, one walk, no allocation.
//! It writes nothing and knows no error codes. Invariant: an uncompressed batch that passes holds exactly its
//! count of well-formed records with offsets 0..n-1, so that no reader can trip over it later.

use crate::batch::compress::{DecompressError, decompress, decompress_limit};
use crate::batch::header::{
    BatchError, BatchHeader, Codec, HEADER_BYTES, TimestampType, set_log_append_time, set_max_timestamp,
};
use crate::batch::record::{Record, RecordFault, RecordReader};
use crate::config::LogConfig;

/// Record errors reported at most; a batch with more is refused all the same.
pub const MAX_RECORD_ERRORS: usize = 1000;

/// Who appends, which decides how much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A producer: everything is checked.
    Client,
    /// A coordinator in this broker: may write control batches and batches without sequences.
    Coordinator,
    /// Replication: the leader checked it; only damage is looked for, and the offsets are kept.
    Follower,
}

/// The rules for one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Who appends.
    pub origin: Origin,
    /// Wall clock now, milliseconds.
    pub now_ms: i64,
    /// Largest batch, header included.
    pub max_message_bytes: u32,
    /// Every record needs a key.
    pub compact: bool,
    /// Whose clock counts.
    pub timestamp_type: TimestampType,
    /// How far in the past a CreateTime may lie.
    pub timestamp_before_max_ms: i64,
    /// How far in the future a CreateTime may lie.
    pub timestamp_after_max_ms: i64,
    /// Open compressed batches too.
    pub validate_compressed: bool,
    /// Produce requests below version 7 must not send zstd (KIP-110).
    pub zstd_allowed: bool,
}

impl Rules {
    /// The rules of a log. `produce_version` is the request's; coordinators and followers pass any ≥ 7.
    pub fn of(config: &LogConfig, origin: Origin, now_ms: i64, produce_version: i16) -> Self {
        Self {
            origin,
            now_ms,
            max_message_bytes: config.max_message_bytes,
            compact: config.compact,
            timestamp_type: config.timestamp_type,
            timestamp_before_max_ms: config.timestamp_before_max_ms,
            timestamp_after_max_ms: config.timestamp_after_max_ms,
            validate_compressed: config.validate_compressed,
            zstd_allowed: produce_version >= 7,
        }
    }
}

/// What is wrong with one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordReason {
    /// Compaction needs a key.
    #[error("Compacted topic cannot accept message without key")]
    NullKey,
    /// Outside `[now - before.max, now + after.max]`.
    #[error("Timestamp {timestamp} of message is out of range [{earliest}, {latest}]")]
    Timestamp {
        /// The record's, milliseconds.
        timestamp: i64,
        /// Earliest allowed.
        earliest: i64,
        /// Latest allowed.
        latest: i64,
    },
    /// Only the broker may stamp LogAppendTime.
    #[error("Producer should not set timestamp type to LogAppendTime")]
    TimestampType,
}

/// One refused record: its place in the batch, from 0, and why (KIP-467).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordError {
    /// Counted from 0.
    pub index: i32,
    /// Why.
    pub reason: RecordReason,
}

/// Why a batch is refused, in the order the checks run. The whole batch is refused, never a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No batch at all.
    #[error("no record batch")]
    Empty,
    /// Shorter than its header or its length says, or a length that cannot be. A client's framing error.
    #[error(transparent)]
    Framing(BatchError),
    /// Not magic 2.
    #[error("batch has magic {0}, must be 2")]
    Magic(i8),
    /// Something follows the batch: a request carries exactly one per partition.
    #[error("{trailing} bytes follow the only batch allowed")]
    MoreThanOne {
        /// Bytes after the first batch.
        trailing: usize,
    },
    /// zstd in a request too old for it (KIP-110).
    #[error("zstd needs Produce version 7 or later")]
    ZstdTooOld,
    /// Clients count from 0.
    #[error("base offset is {0}, must be 0")]
    BaseOffset(i64),
    /// Larger than `max.message.bytes`.
    #[error("batch has {size} bytes, max.message.bytes is {limit}")]
    TooLarge {
        /// The batch, header included.
        size: usize,
        /// What is allowed.
        limit: u32,
    },
    /// The bytes were damaged on the way.
    #[error(transparent)]
    Crc(BatchError),
    /// Codec numbers 5-7.
    #[error("codec {0} does not exist")]
    UnknownCodec(i16),
    /// Count and last offset delta do not agree.
    #[error(transparent)]
    Count(BatchError),
    /// Clients may not write control records.
    #[error("clients are not allowed to write control records")]
    Control,
    /// A producer id without a sequence.
    #[error("producer {producer_id} sent sequence {base_sequence}")]
    Sequence {
        /// From the header.
        producer_id: i64,
        /// From the header.
        base_sequence: i32,
    },
    /// A record's bytes contradict themselves.
    #[error("record {index} of the batch: {fault}")]
    Record {
        /// Counted from 0.
        index: i32,
        /// What contradicts.
        fault: RecordFault,
    },
    /// A record is not where it should be.
    #[error("record {index} has offset delta {delta}")]
    OffsetDelta {
        /// Counted from 0, which the delta must be.
        index: i32,
        /// What it is.
        delta: i32,
    },
    /// Fewer records than the header counts, or bytes after the last.
    #[error("batch counts {count} records and holds {found}, with {trailing} bytes after them")]
    RecordCount {
        /// From the header.
        count: i32,
        /// Read.
        found: i32,
        /// Bytes left.
        trailing: usize,
    },
    /// The records could not be decompressed.
    #[error(transparent)]
    Compression(DecompressError),
    /// Some records break a rule.
    #[error("{total} records of the batch are not allowed")]
    Records {
        /// The first of them, at most [`MAX_RECORD_ERRORS`].
        errors: Vec<RecordError>,
        /// All of them.
        total: usize,
    },
}

impl Invalid {
    /// Refused records; empty where the batch as a whole is at fault.
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Invalid::Records { errors, .. } => errors,
            _ => &[],
        }
    }

    /// At least one record is refused for its timestamp: Kafka answers that code for the whole batch.
    pub fn is_timestamp(&self) -> bool {
        self.record_errors().iter().any(|error| !matches!(error.reason, RecordReason::NullKey))
    }
}

/// What the broker must write into the header before it appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// Nothing: the batch is stored as sent.
    Keep,
    /// LogAppendTime and this max timestamp.
    LogAppendTime(i64),
    /// The max timestamp the records have; the header's was wrong.
    MaxTimestamp(i64),
}

/// A batch that may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validated {
    /// As received, with the max timestamp it will have once stamped.
    pub header: BatchHeader,
    /// What to write into it; see [`Validated::stamp`].
    pub stamp: Stamp,
    /// The records were read, not trusted.
    pub opened: bool,
}

impl Validated {
    /// Writes what [`Validated::stamp`] says into the batch, with its CRC. `batch` is the one that was validated.
    pub fn stamp(&self, batch: &mut [u8]) {
        match self.stamp {
            Stamp::Keep => {}
            Stamp::LogAppendTime(now_ms) => set_log_append_time(batch, now_ms),
            Stamp::MaxTimestamp(max_timestamp) => set_max_timestamp(batch, max_timestamp),
        }
    }
}

/// Checks `batch`, which must be one whole record batch and nothing else.
pub fn validate(batch: &[u8], rules: &Rules) -> Result<Validated, Invalid> {
    let header = frame(batch)?;
    let client = rules.origin == Origin::Client;
    let codec = header.codec();
    if client && codec == Ok(Codec::Zstd) && !rules.zstd_allowed {
        return Err(Invalid::ZstdTooOld);
    }
    if client && header.base_offset.0 != 0 {
        return Err(Invalid::BaseOffset(header.base_offset.0));
    }
    if rules.origin != Origin::Follower && batch.len() > rules.max_message_bytes as usize {
        return Err(Invalid::TooLarge { size: batch.len(), limit: rules.max_message_bytes });
    }
    header.check_crc(batch).map_err(Invalid::Crc)?;
    let codec = codec.map_err(|_| Invalid::UnknownCodec(header.attributes & 7))?;
    if rules.origin == Origin::Follower {
        // Compaction may have taken records, never the offset range.
        let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
        if count < 0 || last_offset_delta < 0 {
            return Err(Invalid::Count(BatchError::Count { count, last_offset_delta }));
        }
        return Ok(Validated { header, stamp: Stamp::Keep, opened: false });
    }
    if client {
        check_client(&header)?;
    }
    let records = &batch[HEADER_BYTES..];
    let walked = match codec {
        Codec::None => Some(walk(records, &header, rules)?),
        _ if rules.validate_compressed || rules.compact => {
            let limit = decompress_limit(rules.max_message_bytes);
            let opened = decompress(codec, records, limit).map_err(Invalid::Compression)?;
            Some(walk(&opened, &header, rules)?)
        }
        _ => {
            check_trusted(&header, rules)?;
            None
        }
    };
    let mut validated = Validated { header, stamp: Stamp::Keep, opened: walked.is_some() };
    if rules.timestamp_type == TimestampType::LogAppendTime {
        validated.stamp = Stamp::LogAppendTime(rules.now_ms);
        validated.header.max_timestamp = rules.now_ms;
    } else if let Some(max_timestamp) = walked.filter(|max| *max != header.max_timestamp) {
        validated.stamp = Stamp::MaxTimestamp(max_timestamp);
        validated.header.max_timestamp = max_timestamp;
    }
    Ok(validated)
}

/// Exactly one whole batch of magic 2.
fn frame(batch: &[u8]) -> Result<BatchHeader, Invalid> {
    if batch.is_empty() {
        return Err(Invalid::Empty);
    }
    let header = BatchHeader::parse_whole(batch).map_err(|error| match error {
        BatchError::Magic(magic) => Invalid::Magic(magic),
        other => Invalid::Framing(other),
    })?;
    match batch.len() - header.size() {
        0 => Ok(header),
        trailing => Err(Invalid::MoreThanOne { trailing }),
    }
}

fn check_client(header: &BatchHeader) -> Result<(), Invalid> {
    header.check_count().map_err(Invalid::Count)?;
    if header.is_control() {
        return Err(Invalid::Control);
    }
    if header.has_producer() && header.base_sequence < 0 {
        let (producer_id, base_sequence) = (header.producer_id, header.base_sequence);
        return Err(Invalid::Sequence { producer_id, base_sequence });
    }
    Ok(())
}

/// A compressed batch that stays closed: what the header admits to is held against the rules.
fn check_trusted(header: &BatchHeader, rules: &Rules) -> Result<(), Invalid> {
    let mut errors = Errors::default();
    if header.timestamp_type() == TimestampType::LogAppendTime {
        errors.add(0, RecordReason::TimestampType);
    }
    for (index, timestamp) in [(0, header.base_timestamp), (header.last_offset_delta, header.max_timestamp)] {
        if errors.total == 0
            && let Some(reason) = out_of_range(timestamp, rules)
        {
            errors.add(index, reason);
        }
    }
    errors.into_result()
}

/// Checks the opened records of a batch that was trusted by its header so far. Answers the largest timestamp.
pub fn check_records(records: &[u8], header: &BatchHeader, rules: &Rules) -> Result<i64, Invalid> {
    walk(records, header, rules)
}

/// Reads every record once. Answers the largest timestamp.
fn walk(records: &[u8], header: &BatchHeader, rules: &Rules) -> Result<i64, Invalid> {
    let mut reader = RecordReader::new(records);
    let mut errors = Errors::default();
    let mut max_timestamp = -1;
    let mut index = 0;
    let stamped_by_producer = header.timestamp_type() == TimestampType::LogAppendTime;
    while index < header.record_count {
        let record = match reader.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            Err(fault) => return Err(Invalid::Record { index, fault }),
        };
        if record.offset_delta != index {
            return Err(Invalid::OffsetDelta { index, delta: record.offset_delta });
        }
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        if stamped_by_producer {
            errors.add(index, RecordReason::TimestampType);
        } else if let Some(reason) = check_record(&record, timestamp, rules) {
            errors.add(index, reason);
        }
        index += 1;
    }
    if index != header.record_count || reader.remaining() > 0 {
        let (count, found, trailing) = (header.record_count, index, reader.remaining());
        return Err(Invalid::RecordCount { count, found, trailing });
    }
    errors.into_result()?;
    Ok(max_timestamp)
}

#[inline]
fn check_record(record: &Record<'_>, timestamp: i64, rules: &Rules) -> Option<RecordReason> {
    if rules.compact && record.key.is_none() {
        return Some(RecordReason::NullKey);
    }
    out_of_range(timestamp, rules)
}

#[inline]
fn out_of_range(timestamp: i64, rules: &Rules) -> Option<RecordReason> {
    // −1 means "no timestamp", and with LogAppendTime the producer's does not matter.
    if timestamp == -1 || rules.timestamp_type == TimestampType::LogAppendTime {
        return None;
    }
    let age = rules.now_ms.saturating_sub(timestamp);
    if age <= rules.timestamp_before_max_ms && age >= rules.timestamp_after_max_ms.saturating_neg() {
        return None;
    }
    let earliest = rules.now_ms.saturating_sub(rules.timestamp_before_max_ms);
    let latest = rules.now_ms.saturating_add(rules.timestamp_after_max_ms);
    Some(RecordReason::Timestamp { timestamp, earliest, latest })
}

/// Collects refused records; the empty one allocates nothing.
#[derive(Default)]
struct Errors {
    first: Vec<RecordError>,
    total: usize,
}

impl Errors {
    #[cold]
    fn add(&mut self, index: i32, reason: RecordReason) {
        self.total += 1;
        if self.first.len() < MAX_RECORD_ERRORS {
            self.first.push(RecordError { index, reason });
        }
    }

    fn into_result(self) -> Result<(), Invalid> {
        if self.total == 0 { Ok(()) } else { Err(Invalid::Records { errors: self.first, total: self.total }) }
    }
}

#[cfg(test)]
mod tests;
