//! A batch written anew from some of its records, or from none. Base offset, last offset, producer and sequence stay,
//! so that offsets and the producer's window outlive the records. It decides nothing.
//! Invariant: what stays of a record, key to headers, is byte for byte what was there.

use crate::batch::compress::compress;
use crate::batch::header::{
    BatchHeader, CONTROL, CRC_FROM, Codec, DELETE_HORIZON, HEADER_BYTES, LOG_APPEND_TIME, LOG_OVERHEAD,
    TRANSACTIONAL, TimestampType, crc32c,
};
use crate::batch::record::{Record, put_varlong};
use std::io;

/// A record that stays, and its bytes in the batch, length included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'a> {
    pub record: Record<'a>,
    pub bytes: &'a [u8],
}

/// The batch without records: 61 bytes that keep offsets and sequence.
pub(super) fn emptied(batch: &[u8], header: &BatchHeader) -> Vec<u8> {
    let attributes = header.attributes & (LOG_APPEND_TIME | TRANSACTIONAL | CONTROL);
    let header = BatchHeader { attributes, base_timestamp: -1, record_count: 0, ..*header };
    written(batch, &header, &[])
}

/// The batch with these records only. With a new delete horizon the base timestamp is that, and the records' deltas
/// count from it (KIP-534).
pub(super) fn rebuilt(
    batch: &[u8],
    header: &BatchHeader,
    codec: Codec,
    kept: &[Kept<'_>],
    new_horizon: Option<i64>,
) -> io::Result<Vec<u8>> {
    let mut header = BatchHeader { record_count: kept.len() as i32, ..*header };
    let time = |kept: &Kept<'_>| header.base_timestamp.wrapping_add(kept.record.timestamp_delta);
    if header.timestamp_type() == TimestampType::CreateTime {
        header.max_timestamp = kept.iter().map(time).max().unwrap_or(-1);
    }
    let mut records = Vec::with_capacity(kept.iter().map(|kept| kept.bytes.len() + 9).sum());
    match new_horizon {
        None => kept.iter().for_each(|kept| records.extend_from_slice(kept.bytes)),
        Some(horizon) => {
            for kept in kept {
                let delta =
                    header.base_timestamp.wrapping_add(kept.record.timestamp_delta).wrapping_sub(horizon);
                put_shifted(&mut records, kept, delta);
            }
            header.base_timestamp = horizon;
            header.attributes |= DELETE_HORIZON;
        }
    }
    let body = if codec == Codec::None { records } else { compress(codec, &records)? };
    Ok(written(batch, &header, &body))
}

/// The record with another timestamp delta.
fn put_shifted(out: &mut Vec<u8>, kept: &Kept<'_>, timestamp_delta: i64) {
    let length = after_varint(kept.bytes);
    let (attributes, rest) = (&length[..1], after_varint(&length[1..]));
    let mut front = Vec::with_capacity(11);
    front.extend_from_slice(attributes);
    put_varlong(&mut front, timestamp_delta);
    put_varlong(out, (front.len() + rest.len()) as i64);
    out.extend_from_slice(&front);
    out.extend_from_slice(rest);
}

/// What follows the varint at the start of a record that was read before.
fn after_varint(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte < 0x80).map_or(bytes.len(), |last| last + 1);
    &bytes[end..]
}

/// `header` over `body`, with length and CRC as they come out.
fn written(batch: &[u8], header: &BatchHeader, body: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES - LOG_OVERHEAD + body.len();
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&batch[..HEADER_BYTES]);
    out.extend_from_slice(body);
    // cannot truncate: a batch never grows past a segment but by its codec's few bytes, and fits 31 bits.
    out[8..12].copy_from_slice(&(length as i32).to_be_bytes());
    out[21..23].copy_from_slice(&header.attributes.to_be_bytes());
    out[27..35].copy_from_slice(&header.base_timestamp.to_be_bytes());
    out[35..43].copy_from_slice(&header.max_timestamp.to_be_bytes());
    out[57..61].copy_from_slice(&header.record_count.to_be_bytes());
    let crc = crc32c(&out[CRC_FROM..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}
