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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KAFKA_V1: &[u8] =
        include_bytes!("../../tests/fixtures/producer-snapshot/v1/two-producers.snapshot");
    const OURS_V1: &[u8] = include_bytes!("../../tests/fixtures/producers/v1/two-producers.producers");

    fn past(last_sequence: i32, last_offset: i64, offset_delta: i32) -> PastBatch {
        let timestamp = 1_700_000_000_000 + last_offset;
        PastBatch { last_sequence, last_offset: Offset(last_offset), offset_delta, timestamp }
    }

    /// Producer 7 with a full window, and 4000 with nothing but an open transaction.
    fn two_producers() -> ProducerTable {
        let mut first = ProducerState::new(7, 3);
        for n in 0..6 {
            first.remember(past(9 + 10 * n, 109 + 10 * i64::from(n), 9));
        }
        first.last_timestamp = 1_700_000_000_159;
        first.touched_ms = 1_700_000_000_500;
        let mut second = ProducerState::new(4000, 0);
        second.coordinator_epoch = 12;
        second.last_timestamp = 1_700_000_000_001;
        second.touched_ms = 1_700_000_000_002;
        second.transaction_start = Some(Offset(160));
        let mut table = ProducerTable::new();
        table.load(first, i64::MAX);
        table.load(second, i64::MAX);
        table
    }

    #[test]
    fn version_1_of_both_formats_is_written_and_read_for_ever() {
        let table = two_producers();
        assert_eq!(encode_snapshot(&table), KAFKA_V1);
        assert_eq!(encode_producers(&table, Offset(161)), OURS_V1);
        let (as_of, states) = decode_producers(OURS_V1).unwrap();
        assert_eq!(as_of, Offset(161));
        assert_eq!(states, table.iter().copied().collect::<Vec<_>>());
        let states = decode_snapshot(KAFKA_V1).unwrap();
        assert_eq!(states.len(), 2);
        assert_eq!(states[0].batches(), [past(59, 159, 9)], "the last batch only");
        assert_eq!((states[0].last_timestamp, states[0].touched_ms), (1_700_000_000_159, 1_700_000_000_159));
        assert!(states[1].batches().is_empty());
        assert_eq!((states[1].transaction_start, states[1].coordinator_epoch), (Some(Offset(160)), 12));
    }

    /// Damages that leave the CRC right: what a wrong writer, not a wrong disk, would leave.
    fn with_right_crc(bytes: &[u8], from: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        change(&mut bytes);
        let crc = crc32c(&bytes[from..]).to_be_bytes();
        bytes[from - 4..from].copy_from_slice(&crc);
        bytes
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        for len in 0..KAFKA_V1.len() {
            assert!(decode_snapshot(&KAFKA_V1[..len]).is_err(), "{len}");
        }
        for len in 0..OURS_V1.len() {
            assert!(decode_producers(&OURS_V1[..len]).is_err(), "{len}");
        }
        for bit in 0..KAFKA_V1.len() * 8 {
            let mut bytes = KAFKA_V1.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_snapshot(&bytes).is_err(), "bit {bit}");
        }
        for bit in 0..OURS_V1.len() * 8 {
            let mut bytes = OURS_V1.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_producers(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn fields_that_cannot_be_are_refused_even_under_a_right_crc() {
        let huge = i32::MAX.to_be_bytes();
        let kafka = with_right_crc(KAFKA_V1, KAFKA_CRC_FROM, |b| b[6..10].copy_from_slice(&huge));
        assert!(matches!(decode_snapshot(&kafka), Err(SnapshotError::Field(_))));
        let ours = |change: fn(&mut Vec<u8>)| decode_producers(&with_right_crc(OURS_V1, CRC_FROM, change));
        assert_eq!(ours(|b| b[18] = 0xff), Err(SnapshotError::Field("count does not fit the bytes")));
        assert_eq!(ours(|b| b[10] = 0xff), Err(SnapshotError::Field("negative offset")));
        assert_eq!(ours(|b| b[60] = 6), Err(SnapshotError::Field("more batches than the window holds")));
        assert_eq!(ours(|b| b.push(0)), Err(SnapshotError::Field("bytes after the last producer")));
        assert_eq!(ours(|b| b[22] = 1), Err(SnapshotError::Field("producer ids do not rise")));
        assert_eq!(ours(|b| b[65] = 0xff), Err(SnapshotError::Field("batch offsets out of range")));
    }

    #[test]
    fn other_files_and_versions_are_named() {
        assert_eq!(decode_snapshot(&[0, 2, 0, 0]), Err(SnapshotError::Version(2)));
        assert_eq!(decode_producers(b"FPRD\0\x02"), Err(SnapshotError::Version(2)));
        assert_eq!(decode_producers(b"GIF89a"), Err(SnapshotError::Magic(*b"GIF8")));
    }

    fn state() -> impl Strategy<Value = ProducerState> {
        let batch = (any::<i32>(), 0..i64::MAX / 2, 0..i32::MAX, any::<i64>());
        let batches = proptest::collection::vec(batch, 0..=WINDOW);
        let start = proptest::option::of(0..i64::MAX);
        (any::<i64>(), any::<i16>(), any::<i32>(), any::<i64>(), any::<i64>(), start, batches).prop_map(
            |(producer_id, epoch, coordinator_epoch, last_timestamp, touched_ms, start, batches)| {
                let mut state = ProducerState::new(producer_id, epoch);
                state.coordinator_epoch = coordinator_epoch;
                (state.last_timestamp, state.touched_ms) = (last_timestamp, touched_ms);
                state.transaction_start = start.map(Offset);
                for (last_sequence, offset, offset_delta, timestamp) in batches {
                    let last_offset = Offset(offset.saturating_add(i64::from(offset_delta)));
                    state.remember(PastBatch { last_sequence, last_offset, offset_delta, timestamp });
                }
                state
            },
        )
    }

    proptest! {
        #[test]
        fn both_formats_round_trip(states in proptest::collection::vec(state(), 0..20), as_of in 0..i64::MAX) {
            let mut table = ProducerTable::new();
            states.iter().for_each(|state| table.load(*state, i64::MAX));
            let kept: Vec<ProducerState> = table.iter().copied().collect();
            let decoded = decode_producers(&encode_producers(&table, Offset(as_of))).unwrap();
            prop_assert_eq!(decoded, (Offset(as_of), kept.clone()));
            for (before, after) in kept.iter().zip(decode_snapshot(&encode_snapshot(&table)).unwrap()) {
                prop_assert_eq!(before.producer_id, after.producer_id);
                prop_assert_eq!((before.epoch, before.coordinator_epoch), (after.epoch, after.coordinator_epoch));
                prop_assert_eq!(before.transaction_start, after.transaction_start);
                prop_assert_eq!(before.last_timestamp, after.last_timestamp);
                prop_assert_eq!(before.last_batch().map(|b| b.last_offset), after.last_batch().map(|b| b.last_offset));
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let kafka = [&[0, 1, 0, 0, 0, 0][..], &bytes].concat();
            let _ = decode_snapshot(&with_right_crc(&kafka, KAFKA_CRC_FROM, |_| {}));
            let ours = [&b"FPRD\0\x01\0\0\0\0"[..], &bytes].concat();
            let _ = decode_producers(&with_right_crc(&ours, CRC_FROM, |_| {}));
            let _ = (decode_snapshot(&bytes), decode_producers(&bytes));
        }
    }
}
