//! A batch opened to the last record: what its header says against what it holds. One batch at a time.
//! Not what a broker checks at append (`batch::validate`): compaction may have taken records since.

use crate::batch::compress::{DecompressError, decompress, decompress_limit};
use crate::batch::control::{ControlError, read_control};
use crate::batch::header::{BatchError, BatchHeader, Codec, HEADER_BYTES};
use crate::batch::record::{Record, RecordFault, RecordReader};
use bytes::Bytes;
use std::borrow::Cow;

/// What is wrong inside a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsFault {
    /// A codec without meaning.
    #[error(transparent)]
    Codec(#[from] BatchError),
    /// It does not open, or opens to too much.
    #[error(transparent)]
    Closed(#[from] DecompressError),
    /// A record contradicts itself.
    #[error("record {index}: {fault}")]
    Record {
        /// Counted from 0.
        index: i32,
        /// What contradicts.
        fault: RecordFault,
    },
    /// Offsets do not rise within the batch.
    #[error("record {index} has offset delta {delta} after {before}, the batch ends at {last}")]
    Delta {
        /// Counted from 0.
        index: i32,
        /// Its delta.
        delta: i32,
        /// The one before, −1 for the first.
        before: i32,
        /// The batch's.
        last: i32,
    },
    /// More or fewer records than the header counts.
    #[error("the header counts {said} records, {found} are there and {trailing} bytes more")]
    Count {
        /// In the header.
        said: i32,
        /// Read.
        found: i32,
        /// Bytes left.
        trailing: usize,
    },
    /// A control batch without a marker in it.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// The records of a batch, opened. `batch` is the whole batch that `header` was parsed from.
///
/// # Errors
/// Unknown codec, not what the codec writes, or more than 64 times the batch and 64 MiB.
pub fn opened<'a>(header: &BatchHeader, batch: &'a [u8]) -> Result<Cow<'a, [u8]>, RecordsFault> {
    let records = &batch[HEADER_BYTES..];
    let codec = header.codec()?;
    // Compaction leaves empty batches, whose attributes still name the codec.
    if codec == Codec::None || records.is_empty() {
        return Ok(Cow::Borrowed(records));
    }
    let limit = decompress_limit(u32::try_from(batch.len()).unwrap_or(u32::MAX));
    let opened: Bytes = decompress(codec, records, limit)?;
    Ok(Cow::Owned(opened.into()))
}

/// Shows each record of a batch. Answers how many there are.
///
/// # Errors
/// The first contradiction; what was shown before it stands.
pub fn each(
    header: &BatchHeader,
    batch: &[u8],
    mut show: impl FnMut(&Record<'_>),
) -> Result<u64, RecordsFault> {
    let opened = opened(header, batch)?;
    let mut reader = RecordReader::new(&opened);
    let (mut index, mut before) = (0, -1);
    loop {
        let record = match reader.next_record() {
            Ok(Some(record)) if index < header.record_count => record,
            Ok(None) => break,
            Ok(Some(record)) => {
                let trailing = reader.remaining() + record.size;
                return Err(RecordsFault::Count { said: header.record_count, found: index, trailing });
            }
            Err(fault) => return Err(RecordsFault::Record { index, fault }),
        };
        let (delta, last) = (record.offset_delta, header.last_offset_delta);
        if delta <= before || delta > last {
            return Err(RecordsFault::Delta { index, delta, before, last });
        }
        before = delta;
        show(&record);
        index += 1;
    }
    if index != header.record_count {
        return Err(RecordsFault::Count { said: header.record_count, found: index, trailing: 0 });
    }
    if header.is_control() {
        read_control(header, batch)?;
    }
    Ok(u64::from(index.unsigned_abs()))
}
