//! The 61-byte header of a record batch, magic 2: parsed, checked and patched in place. Records stay unopened.
//!
//! ```text
//!  0        8            12           16    17     21          23              27             35
//!  | base   | batch      | leader     |magic| crc  | attributes| last offset   | base          |
//!  | offset | length     | epoch      | = 2 | u32  | i16       | delta i32     | timestamp i64 |
//!  | i64    | i32        | i32        | i8  |      |           |               |               |
//!  35           43            51         53         57           61
//!  | max        | producer    | producer | base     | record     | records ...
//!  | timestamp  | id i64      | epoch    | sequence | count i32  |
//!  | i64        |             | i16      | i32      |            |
//! ```
//!
//! Big-endian. `batch length` counts from byte 12; the CRC-32C covers byte 21 to the end, so base offset and
//! leader epoch may be set without touching it. Attributes: bits 0-2 codec, 3 LogAppendTime, 4 transactional,
//! 5 control, 6 base timestamp is a delete horizon (KIP-534).

use crate::codec::CODEC_MASK;
use crate::epoch::LeaderEpoch;
use crate::offsets::Offset;

// The words stand below `config`; readers of batches find them here too.
pub use crate::codec::{Codec, TimestampType};

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that `batch length` counts: base offset and the length itself.
pub const LOG_OVERHEAD: usize = 12;
/// Where the bytes under the CRC begin.
pub const CRC_FROM: usize = 21;
/// The only batch format stored or accepted.
pub const MAGIC: i8 = 2;

pub(crate) const LOG_APPEND_TIME: i16 = 1 << 3;
pub(crate) const TRANSACTIONAL: i16 = 1 << 4;
pub(crate) const CONTROL: i16 = 1 << 5;
pub(crate) const DELETE_HORIZON: i16 = 1 << 6;

/// Why bytes are not a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a header, or than the batch says it has.
    #[error("batch is cut short: {have} bytes of {need}")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that should be.
        need: usize,
    },
    /// The length field cannot be: negative, or too small for a header.
    #[error("batch length {0} cannot be")]
    Length(i32),
    /// Not version 2 of the format.
    #[error("batch has magic {0}, only 2 is stored")]
    Magic(i8),
    /// The bytes were damaged.
    #[error("batch crc is {computed:#010x}, its header says {stored:#010x}")]
    Crc {
        /// In the header.
        stored: u32,
        /// Over the bytes.
        computed: u32,
    },
    /// Attribute bits 0-2 hold a number without meaning.
    #[error("batch names codec {0}, known are 0 to 4")]
    Codec(i16),
    /// Count and last offset delta contradict each other, or a number is negative that cannot be.
    #[error("batch counts {count} records with last offset delta {last_offset_delta}")]
    Count {
        /// The record count.
        count: i32,
        /// The last offset delta.
        last_offset_delta: i32,
    },
}

/// A copy of a batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (kept by compaction even when that record is gone).
    pub base_offset: Offset,
    /// Bytes after the length field, as written.
    pub batch_length: i32,
    /// Epoch of the leader that appended it; −1 from a client.
    pub leader_epoch: LeaderEpoch,
    /// Format version; 2.
    pub magic: i8,
    /// CRC-32C from byte 21 to the end.
    pub crc: u32,
    /// Raw attribute bits.
    pub attributes: i16,
    /// Last record's offset less the base offset.
    pub last_offset_delta: i32,
    /// What records' timestamp deltas count from, or the delete horizon. Milliseconds.
    pub base_timestamp: i64,
    /// Largest timestamp, or the append time. Milliseconds; −1 if none.
    pub max_timestamp: i64,
    /// −1 if not idempotent.
    pub producer_id: i64,
    /// −1 if not idempotent.
    pub producer_epoch: i16,
    /// Sequence of the first record; −1 if not idempotent.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Copies the header at the start of `bytes`. The records need not be there yet; the CRC is not checked.
    ///
    /// Errors if fewer than 61 bytes are there, the length cannot be, or the magic is not 2.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // Magic stands at the same place in every version, so an old batch is named even if it is shorter.
        match bytes.get(16) {
            Some(&magic) if magic as i8 != MAGIC => return Err(BatchError::Magic(magic as i8)),
            _ => {}
        }
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { have: bytes.len(), need: HEADER_BYTES });
        };
        let header = Self {
            base_offset: Offset(i64::from_be_bytes(field(head, 0))),
            batch_length: i32::from_be_bytes(field(head, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(head, 12))),
            magic: i8::from_be_bytes(field(head, 16)),
            crc: u32::from_be_bytes(field(head, 17)),
            attributes: i16::from_be_bytes(field(head, 21)),
            last_offset_delta: i32::from_be_bytes(field(head, 23)),
            base_timestamp: i64::from_be_bytes(field(head, 27)),
            max_timestamp: i64::from_be_bytes(field(head, 35)),
            producer_id: i64::from_be_bytes(field(head, 43)),
            producer_epoch: i16::from_be_bytes(field(head, 51)),
            base_sequence: i32::from_be_bytes(field(head, 53)),
            record_count: i32::from_be_bytes(field(head, 57)),
        };
        if header.batch_length < (HEADER_BYTES - LOG_OVERHEAD) as i32 {
            return Err(BatchError::Length(header.batch_length));
        }
        Ok(header)
    }

    /// As [`BatchHeader::parse`], and the whole batch must be there.
    pub fn parse_whole(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse(bytes)?;
        if bytes.len() < header.size() {
            return Err(BatchError::Truncated { have: bytes.len(), need: header.size() });
        }
        Ok(header)
    }

    /// Bytes of the batch, header included.
    pub fn size(&self) -> usize {
        debug_assert!(self.batch_length >= 0, "parse refuses batch length {}", self.batch_length);
        LOG_OVERHEAD + self.batch_length as usize
    }

    /// Offset of the last record (kept by compaction even when that record is gone).
    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// The codec; an error for the numbers without meaning.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        Codec::from_bits(self.attributes).ok_or(BatchError::Codec(self.attributes & CODEC_MASK))
    }

    /// Whose clock the timestamps are.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Holds a marker of the broker's, not records of a client's.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// When compaction may drop the tombstones in it, once set (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// Written by an idempotent producer.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence of the last record; −1 without a producer. Wraps from 2³¹−1 to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        add_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Whether count and last offset delta agree as a producer must send them.
    pub fn check_count(&self) -> Result<(), BatchError> {
        let ok = self.record_count > 0 && self.last_offset_delta == self.record_count - 1;
        let (count, last_offset_delta) = (self.record_count, self.last_offset_delta);
        if ok { Ok(()) } else { Err(BatchError::Count { count, last_offset_delta }) }
    }

    /// Checks the CRC of the batch that this header was parsed from; `batch` is exactly that batch.
    pub fn check_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        assert_eq!(batch.len(), self.size(), "the slice is the batch");
        let computed = crc32c(&batch[CRC_FROM..]);
        if computed == self.crc { Ok(()) } else { Err(BatchError::Crc { stored: self.crc, computed }) }
    }
}

/// Sequences wrap from 2³¹−1 to 0; `delta` may not be negative.
pub const fn add_sequence(sequence: i32, delta: i32) -> i32 {
    ((sequence as i64 + delta as i64) & 0x7fff_ffff) as i32
}

/// CRC-32C (Castagnoli), the checksum of batches, chunks and our own formats.
pub fn crc32c(bytes: &[u8]) -> u32 {
    // cannot truncate: a 32-bit checksum in the crate's common 64-bit return type.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Sets the base offset in place; outside the CRC.
pub fn set_base_offset(batch: &mut [u8], offset: Offset) {
    batch[0..8].copy_from_slice(&offset.0.to_be_bytes());
}

/// Sets the leader epoch in place; outside the CRC.
pub fn set_leader_epoch(batch: &mut [u8], epoch: LeaderEpoch) {
    batch[12..16].copy_from_slice(&epoch.0.to_be_bytes());
}

/// Sets LogAppendTime and the max timestamp, and recomputes the CRC. `batch` is exactly one whole batch.
pub fn set_log_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | LOG_APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    set_max_timestamp(batch, now_ms);
}

/// Sets the max timestamp and recomputes the CRC. `batch` is exactly one whole batch.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    batch[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The whole batches at the start of `bytes`, each with its bytes. Stops after the first error; a torn last batch
/// is [`BatchError::Truncated`].
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// See [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match BatchHeader::parse_whole(self.rest) {
            Ok(header) => {
                let (batch, rest) = self.rest.split_at(header.size());
                self.rest = rest;
                Some(Ok((header, batch)))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

fn field<const N: usize>(head: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&head[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;
    use proptest::prelude::*;

    fn batch() -> Vec<u8> {
        let mut builder = BatchBuilder::new().producer(4000, 2, 17).base_offset(Offset(100));
        builder.push(1_000, Some(b"k"), Some(b"v"), &[]).push(3_000, None, None, &[]).push(
            2_000,
            None,
            None,
            &[],
        );
        builder.build().to_vec()
    }

    #[test]
    fn the_header_is_read_field_by_field() {
        let batch = batch();
        let header = BatchHeader::parse_whole(&batch).unwrap();
        assert_eq!(header.size(), batch.len());
        assert_eq!(
            (header.base_offset, header.last_offset(), header.next_offset()),
            (Offset(100), Offset(102), Offset(103))
        );
        assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 3_000));
        assert_eq!((header.producer_id, header.producer_epoch), (4000, 2));
        assert_eq!((header.base_sequence, header.last_sequence()), (17, 19));
        assert_eq!((header.codec(), header.timestamp_type()), (Ok(Codec::None), TimestampType::CreateTime));
        assert!(!header.is_control() && !header.is_transactional() && header.delete_horizon_ms().is_none());
        header.check_count().unwrap();
        header.check_crc(&batch).unwrap();
    }

    #[test]
    fn offset_and_epoch_are_set_outside_the_crc_and_time_with_it() {
        let mut batch = batch();
        set_base_offset(&mut batch, Offset(i64::MAX - 5));
        set_leader_epoch(&mut batch, LeaderEpoch(9));
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!((header.base_offset, header.leader_epoch), (Offset(i64::MAX - 5), LeaderEpoch(9)));
        header.check_crc(&batch).unwrap();
        set_log_append_time(&mut batch, 77);
        let stamped = BatchHeader::parse(&batch).unwrap();
        assert_eq!((stamped.timestamp_type(), stamped.max_timestamp), (TimestampType::LogAppendTime, 77));
        assert_ne!(stamped.crc, header.crc);
        stamped.check_crc(&batch).unwrap();
    }

    #[test]
    fn any_flipped_bit_under_the_crc_is_seen() {
        let batch = batch();
        for at in CRC_FROM..batch.len() {
            let mut damaged = batch.clone();
            damaged[at] ^= 1;
            let header = BatchHeader::parse(&damaged).unwrap();
            assert!(matches!(header.check_crc(&damaged), Err(BatchError::Crc { .. })), "byte {at}");
        }
    }

    #[test]
    fn short_old_and_lying_headers_are_refused() {
        let batch = batch();
        for len in 0..HEADER_BYTES {
            let result = BatchHeader::parse(&batch[..len]);
            assert_eq!(result, Err(BatchError::Truncated { have: len, need: HEADER_BYTES }));
        }
        let cut = &batch[..batch.len() - 1];
        let truncated = BatchError::Truncated { have: cut.len(), need: batch.len() };
        assert_eq!(BatchHeader::parse_whole(cut), Err(truncated));
        for magic in [0, 1, 3, -1_i8] {
            let mut old = batch.clone();
            old[16] = magic as u8;
            assert_eq!(BatchHeader::parse(&old), Err(BatchError::Magic(magic)));
            assert_eq!(BatchHeader::parse(&old[..17]), Err(BatchError::Magic(magic)));
        }
        for length in [i32::MIN, -1, 0, 48] {
            let mut lying = batch.clone();
            lying[8..12].copy_from_slice(&length.to_be_bytes());
            assert_eq!(BatchHeader::parse(&lying), Err(BatchError::Length(length)));
        }
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(add_sequence(i32::MAX, 1), 0);
        assert_eq!(add_sequence(i32::MAX - 1, 5), 3);
        assert_eq!(add_sequence(0, 0), 0);
        assert_eq!(add_sequence(i32::MAX, i32::MAX), i32::MAX - 1);
    }

    #[test]
    fn codec_numbers_without_meaning_are_refused() {
        for bits in 0..8_i16 {
            match Codec::from_bits(bits) {
                Some(codec) => assert_eq!(codec.bits(), bits),
                None => assert!(bits > 4, "{bits}"),
            }
        }
    }

    #[test]
    fn batches_are_walked_up_to_a_torn_one() {
        let batch = batch();
        let mut log = [batch.clone(), batch.clone()].concat();
        log.extend_from_slice(&batch[..batch.len() - 3]);
        let walked: Vec<_> = batches(&log).map(|item| item.map(|(_, bytes)| bytes.len())).collect();
        let torn = BatchError::Truncated { have: batch.len() - 3, need: batch.len() };
        assert_eq!(walked, [Ok(batch.len()), Ok(batch.len()), Err(torn)]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let walked: usize = batches(&bytes).flatten().map(|(header, batch)| {
                let _ = (header.last_offset(), header.next_offset(), header.last_sequence(), header.codec());
                let _ = header.check_crc(batch);
                batch.len()
            }).sum();
            prop_assert!(walked <= bytes.len());
        }

        #[test]
        fn the_header_survives_in_place_changes(offset in 0..i64::MAX, epoch in 0..i32::MAX, time in 0..i64::MAX) {
            let mut batch = batch();
            set_base_offset(&mut batch, Offset(offset));
            set_leader_epoch(&mut batch, LeaderEpoch(epoch));
            set_max_timestamp(&mut batch, time);
            let header = BatchHeader::parse_whole(&batch).unwrap();
            prop_assert_eq!((header.base_offset.0, header.leader_epoch.0, header.max_timestamp), (offset, epoch, time));
            prop_assert_eq!(header.check_crc(&batch), Ok(()));
        }
    }
}
