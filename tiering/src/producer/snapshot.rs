//! Producer state on disk and in objects: Kafka's `.snapshot` (last batch of each) and our `.producers` (all five).
//! It writes no file. Invariant: bytes that decode are the bytes that were encoded, or an error says what is wrong.
//!
//! ```text
//! .snapshot, version 1 (Kafka's, big-endian):
//!  0          2         6           10
//!  | version  | crc-32c | count i32 | count x 46 bytes:
//!  | i16 = 1  | 6..end  |           | producer id i64, epoch i16, last sequence i32, last offset i64,
//!                                     offset delta i32, timestamp i64, coordinator epoch i32,
//!                                     transaction start i64 (-1 none)
//! .producers, version 1 (ours, big-endian):
//!  0         4           6         10         18          22
//!  | "FPRD"  | version   | crc-32c | as of    | count u32 | count entries, rising ids:
//!  |         | u16 = 1   | 10..end | i64      |           | producer id i64, epoch i16, coordinator epoch i32,
//!                                     last timestamp i64, touched i64, transaction start i64 (-1 none),
//!                                     batches u8, batches x 24 bytes: last sequence i32, last offset i64,
//!                                     offset delta i32, timestamp i64
//! ```

use crate::batch::header::crc32c;
use crate::offsets::Offset;
use crate::producer::state::{PastBatch, ProducerState, ProducerTable, WINDOW};

const KAFKA_VERSION: i16 = 1;
const KAFKA_CRC_FROM: usize = 6;
const KAFKA_ENTRY_BYTES: usize = 46;
const MAGIC: [u8; 4] = *b"FPRD";
const VERSION: u16 = 1;
const CRC_FROM: usize = 10;
const ENTRY_MIN_BYTES: usize = 39;

/// Why bytes are not producer state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The file ends inside a field.
    #[error("producer snapshot is cut short")]
    Truncated,
    /// Not our file.
    #[error("producer snapshot begins with {0:02x?}")]
    Magic([u8; 4]),
    /// A version this binary does not read.
    #[error("producer snapshot has version {0}, known is 1")]
    Version(i32),
    /// The bytes were damaged.
    #[error("producer snapshot crc is {computed:#010x}, it says {stored:#010x}")]
    Crc {
        /// In the file.
        stored: u32,
        /// Over the bytes.
        computed: u32,
    },
    /// A field holds what it cannot.
    #[error("producer snapshot: {0}")]
    Field(&'static str),
}

/// Kafka's `.snapshot` of a table.
pub fn encode_snapshot(table: &ProducerTable) -> Vec<u8> {
    let mut out = Vec::with_capacity(KAFKA_CRC_FROM + 4 + table.len() * KAFKA_ENTRY_BYTES);
    out.extend_from_slice(&KAFKA_VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(table.len() as i32).to_be_bytes());
    for state in table.iter() {
        let last = state.last_batch();
        out.extend_from_slice(&state.producer_id.to_be_bytes());
        out.extend_from_slice(&state.epoch.to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |batch| batch.last_sequence).to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset.0).to_be_bytes());
        out.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        out.extend_from_slice(&state.last_timestamp.to_be_bytes());
        out.extend_from_slice(&state.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&state.transaction_start.map_or(-1, |start| start.0).to_be_bytes());
    }
    let crc = crc32c(&out[KAFKA_CRC_FROM..]);
    out[2..KAFKA_CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Reads Kafka's `.snapshot`, in the order of the file.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Vec<ProducerState>, SnapshotError> {
    let mut fields = Fields { rest: bytes };
    let version = i16::from_be_bytes(fields.take()?);
    if version != KAFKA_VERSION {
        return Err(SnapshotError::Version(i32::from(version)));
    }
    check_crc(u32::from_be_bytes(fields.take()?), &bytes[KAFKA_CRC_FROM..])?;
    let count = i32::from_be_bytes(fields.take()?);
    let count = usize::try_from(count).map_err(|_| SnapshotError::Field("negative count"))?;
    if count.checked_mul(KAFKA_ENTRY_BYTES) != Some(fields.rest.len()) {
        return Err(SnapshotError::Field("count does not fit the bytes"));
    }
    let mut states = Vec::with_capacity(count);
    for _ in 0..count {
        states.push(decode_kafka_entry(&mut fields)?);
    }
    Ok(states)
}

fn decode_kafka_entry(fields: &mut Fields<'_>) -> Result<ProducerState, SnapshotError> {
    let mut state =
        ProducerState::new(i64::from_be_bytes(fields.take()?), i16::from_be_bytes(fields.take()?));
    let last_sequence = i32::from_be_bytes(fields.take()?);
    let last_offset = i64::from_be_bytes(fields.take()?);
    let offset_delta = i32::from_be_bytes(fields.take()?);
    state.last_timestamp = i64::from_be_bytes(fields.take()?);
    state.touched_ms = state.last_timestamp;
    state.coordinator_epoch = i32::from_be_bytes(fields.take()?);
    let start = i64::from_be_bytes(fields.take()?);
    state.transaction_start = (start >= 0).then_some(Offset(start));
    if last_offset >= 0 {
        let timestamp = state.last_timestamp;
        let batch = PastBatch { last_sequence, last_offset: Offset(last_offset), offset_delta, timestamp };
        state.remember(checked(batch)?);
    }
    Ok(state)
}

/// Our `.producers` of a table that has seen every record below `as_of`.
pub fn encode_producers(table: &ProducerTable, as_of: Offset) -> Vec<u8> {
    let mut out = Vec::with_capacity(CRC_FROM + 12 + table.len() * (ENTRY_MIN_BYTES + WINDOW * 24));
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&as_of.0.to_be_bytes());
    out.extend_from_slice(&(table.len() as u32).to_be_bytes());
    for state in table.iter() {
        out.extend_from_slice(&state.producer_id.to_be_bytes());
        out.extend_from_slice(&state.epoch.to_be_bytes());
        out.extend_from_slice(&state.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&state.last_timestamp.to_be_bytes());
        out.extend_from_slice(&state.touched_ms.to_be_bytes());
        out.extend_from_slice(&state.transaction_start.map_or(-1, |start| start.0).to_be_bytes());
        out.push(state.batches().len() as u8);
        for batch in state.batches() {
            out.extend_from_slice(&batch.last_sequence.to_be_bytes());
            out.extend_from_slice(&batch.last_offset.0.to_be_bytes());
            out.extend_from_slice(&batch.offset_delta.to_be_bytes());
            out.extend_from_slice(&batch.timestamp.to_be_bytes());
        }
    }
    let crc = crc32c(&out[CRC_FROM..]);
    out[6..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Reads our `.producers`: the offset it is as of, and the producers by rising id.
pub fn decode_producers(bytes: &[u8]) -> Result<(Offset, Vec<ProducerState>), SnapshotError> {
    let mut fields = Fields { rest: bytes };
    let magic: [u8; 4] = fields.take()?;
    if magic != MAGIC {
        return Err(SnapshotError::Magic(magic));
    }
    let version = u16::from_be_bytes(fields.take()?);
    if version != VERSION {
        return Err(SnapshotError::Version(i32::from(version)));
    }
    check_crc(u32::from_be_bytes(fields.take()?), &bytes[CRC_FROM..])?;
    let as_of = i64::from_be_bytes(fields.take()?);
    if as_of < 0 {
        return Err(SnapshotError::Field("negative offset"));
    }
    let count = u32::from_be_bytes(fields.take()?) as usize;
    if count > fields.rest.len() / ENTRY_MIN_BYTES {
        return Err(SnapshotError::Field("count does not fit the bytes"));
    }
    let mut states: Vec<ProducerState> = Vec::with_capacity(count);
    for _ in 0..count {
        let state = decode_entry(&mut fields)?;
        if states.last().is_some_and(|before| before.producer_id >= state.producer_id) {
            return Err(SnapshotError::Field("producer ids do not rise"));
        }
        states.push(state);
    }
    if !fields.rest.is_empty() {
        return Err(SnapshotError::Field("bytes after the last producer"));
    }
    Ok((Offset(as_of), states))
}

fn decode_entry(fields: &mut Fields<'_>) -> Result<ProducerState, SnapshotError> {
    let mut state =
        ProducerState::new(i64::from_be_bytes(fields.take()?), i16::from_be_bytes(fields.take()?));
    state.coordinator_epoch = i32::from_be_bytes(fields.take()?);
    state.last_timestamp = i64::from_be_bytes(fields.take()?);
    state.touched_ms = i64::from_be_bytes(fields.take()?);
    state.transaction_start = match i64::from_be_bytes(fields.take()?) {
        -1 => None,
        start if start >= 0 => Some(Offset(start)),
        _ => return Err(SnapshotError::Field("negative transaction start")),
    };
    let [batches] = fields.take()?;
    if usize::from(batches) > WINDOW {
        return Err(SnapshotError::Field("more batches than the window holds"));
    }
    for _ in 0..batches {
        state.remember(checked(PastBatch {
            last_sequence: i32::from_be_bytes(fields.take()?),
            last_offset: Offset(i64::from_be_bytes(fields.take()?)),
            offset_delta: i32::from_be_bytes(fields.take()?),
            timestamp: i64::from_be_bytes(fields.take()?),
        })?);
    }
    Ok(state)
}

fn checked(batch: PastBatch) -> Result<PastBatch, SnapshotError> {
    // Coordinators write batches without sequences (−1), so only the offsets are held to their range.
    let ok = batch.offset_delta >= 0 && batch.last_offset.0 >= i64::from(batch.offset_delta);
    if ok { Ok(batch) } else { Err(SnapshotError::Field("batch offsets out of range")) }
}

fn check_crc(stored: u32, bytes: &[u8]) -> Result<(), SnapshotError> {
    let computed = crc32c(bytes);
    if computed == stored { Ok(()) } else { Err(SnapshotError::Crc { stored, computed }) }
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(SnapshotError::Truncated)?;
        self.rest = rest;
        Ok(*field)
    }
}
