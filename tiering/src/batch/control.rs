//! Control batches: the markers that end a transaction on a partition, as bytes and back.
//! It decides no transaction. Invariant: a control batch holds one record and takes one offset.
//!
//! ```text
//! key:   i16 version = 0 | i16 type (0 abort, 1 commit, 2.. others: skip)
//! value: i16 version = 0 | i32 coordinator epoch
//! ```

use crate::batch::builder::BatchBuilder;
use crate::batch::header::{BatchHeader, Codec, HEADER_BYTES};
use crate::batch::record::RecordReader;
use bytes::Bytes;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its records must not be shown to read_committed readers.
    Abort,
    /// Its records count.
    Commit,
}

/// A control batch's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Ends a transaction.
    EndTransaction {
        /// How.
        outcome: Outcome,
        /// Epoch of the transaction coordinator that says so.
        coordinator_epoch: i32,
    },
    /// A type that does not concern this log (leader changes, snapshots, or newer ones): skipped.
    Other(i16),
    /// The batch was emptied by compaction.
    Emptied,
}

/// Why a control batch says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Not a control batch at all.
    #[error("batch is not a control batch")]
    NotControl,
    /// Control batches are never compressed by a coordinator.
    #[error("control batch is compressed")]
    Compressed,
    /// Its record, key or value is not what the format asks for.
    #[error("control record is malformed")]
    Malformed,
}

/// The batch that ends a transaction of `producer_id`, at `timestamp` milliseconds.
pub fn end_transaction(
    producer_id: i64,
    producer_epoch: i16,
    outcome: Outcome,
    coordinator_epoch: i32,
    timestamp: i64,
) -> Bytes {
    let kind: i16 = match outcome {
        Outcome::Abort => 0,
        Outcome::Commit => 1,
    };
    let mut key = [0; 4];
    key[2..].copy_from_slice(&kind.to_be_bytes());
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let mut builder = BatchBuilder::new().producer(producer_id, producer_epoch, -1).transactional().control();
    builder.push(timestamp, Some(&key), Some(&value), &[]);
    builder.build()
}

/// Reads a control batch. `batch` is the whole batch that `header` was parsed from.
pub fn read_control(header: &BatchHeader, batch: &[u8]) -> Result<Control, ControlError> {
    if !header.is_control() {
        return Err(ControlError::NotControl);
    }
    if header.codec() != Ok(Codec::None) {
        return Err(ControlError::Compressed);
    }
    if header.record_count == 0 {
        return Ok(Control::Emptied);
    }
    let records = batch.get(HEADER_BYTES..).ok_or(ControlError::Malformed)?;
    let record = RecordReader::new(records).next_record().ok().flatten().ok_or(ControlError::Malformed)?;
    // Later versions only append fields, so what stands behind the known ones is skipped.
    let (version, key) = split_i16(record.key.unwrap_or_default())?;
    let (kind, _) = split_i16(key)?;
    if version < 0 {
        return Err(ControlError::Malformed);
    }
    let outcome = match kind {
        0 => Outcome::Abort,
        1 => Outcome::Commit,
        other => return Ok(Control::Other(other)),
    };
    let (version, value) = split_i16(record.value.unwrap_or_default())?;
    let epoch = value.first_chunk::<4>().ok_or(ControlError::Malformed)?;
    if version < 0 {
        return Err(ControlError::Malformed);
    }
    Ok(Control::EndTransaction { outcome, coordinator_epoch: i32::from_be_bytes(*epoch) })
}

fn split_i16(bytes: &[u8]) -> Result<(i16, &[u8]), ControlError> {
    let (number, rest) = bytes.split_first_chunk::<2>().ok_or(ControlError::Malformed)?;
    Ok((i16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_round_trips() {
        for outcome in [Outcome::Abort, Outcome::Commit] {
            let batch = end_transaction(4000, 3, outcome, 7, 1_700_000_000_000);
            let header = BatchHeader::parse_whole(&batch).unwrap();
            header.check_crc(&batch).unwrap();
            assert!(header.is_control() && header.is_transactional());
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4000, 3, -1));
            assert_eq!((header.record_count, header.last_offset_delta), (1, 0));
            let control = read_control(&header, &batch);
            assert_eq!(control, Ok(Control::EndTransaction { outcome, coordinator_epoch: 7 }));
        }
    }

    fn control_with(key: &[u8], value: &[u8]) -> Result<Control, ControlError> {
        let mut builder = BatchBuilder::new().control();
        builder.push(0, Some(key), Some(value), &[]);
        let batch = builder.build();
        read_control(&BatchHeader::parse_whole(&batch).unwrap(), &batch)
    }

    #[test]
    fn other_types_are_named_and_later_versions_read_as_far_as_known() {
        assert_eq!(control_with(&[0, 0, 0, 2], &[]), Ok(Control::Other(2)));
        assert_eq!(control_with(&[0, 0, 0x7f, 0xff], &[]), Ok(Control::Other(i16::MAX)));
        let newer = control_with(&[0, 1, 0, 1, 9], &[0, 1, 0, 0, 0, 5, 9, 9]);
        assert_eq!(newer, Ok(Control::EndTransaction { outcome: Outcome::Commit, coordinator_epoch: 5 }));
    }

    #[test]
    fn malformed_ones_are_refused() {
        assert_eq!(control_with(&[0, 0, 0], &[0, 0, 0, 0, 0, 0]), Err(ControlError::Malformed));
        assert_eq!(control_with(&[0xff, 0, 0, 1], &[0, 0, 0, 0, 0, 0]), Err(ControlError::Malformed));
        assert_eq!(control_with(&[0, 0, 0, 1], &[0, 0, 0, 0, 0]), Err(ControlError::Malformed));
        let mut data = BatchBuilder::new();
        data.push(0, None, None, &[]);
        let data = data.build();
        let header = BatchHeader::parse_whole(&data).unwrap();
        assert_eq!(read_control(&header, &data), Err(ControlError::NotControl));
    }
}
