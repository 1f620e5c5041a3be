//! Timestamps of a batch's records, for searches by time. It keeps nothing and searches nothing.
//! Invariant: a batch that cannot be read to its end is an error, whatever its first records say.

use crate::batch::compress::{DecompressError, decompress};
use crate::batch::header::{BatchError, BatchHeader, Codec, TimestampType};
use crate::batch::record::{RecordFault, RecordReader};
use crate::offsets::Offset;

/// Why the records of a batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// No codec we know.
    #[error(transparent)]
    Codec(#[from] BatchError),
    /// It cannot be opened, or opens to more than is allowed.
    #[error(transparent)]
    Compression(#[from] DecompressError),
    /// A record contradicts itself.
    #[error(transparent)]
    Record(#[from] RecordFault),
}

/// A record's offset and timestamp, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The offset.
    pub offset: Offset,
    /// The timestamp.
    pub timestamp_ms: i64,
}

/// Gives every record of a batch to `see`. `records` are its bytes after the header; `limit` bounds what they open to.
pub fn stamps(
    header: &BatchHeader,
    records: &[u8],
    limit: usize,
    mut see: impl FnMut(Stamp),
) -> Result<(), Unreadable> {
    let opened;
    let plain = match header.codec()? {
        Codec::None => records,
        codec => {
            opened = decompress(codec, records, limit)?;
            &opened[..]
        }
    };
    let mut reader = RecordReader::new(plain);
    while let Some(record) = reader.next_record()? {
        let timestamp_ms = match header.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => header.base_timestamp.wrapping_add(record.timestamp_delta),
        };
        see(Stamp { offset: header.base_offset + i64::from(record.offset_delta), timestamp_ms });
    }
    Ok(())
}

/// The record of a batch with the largest timestamp among those `counts` takes; of equals the first.
pub fn largest_stamp(
    header: &BatchHeader,
    records: &[u8],
    limit: usize,
    counts: impl Fn(Offset) -> bool,
) -> Result<Option<Stamp>, Unreadable> {
    let mut largest: Option<Stamp> = None;
    stamps(header, records, limit, |stamp| {
        let is_larger = largest.is_none_or(|known| stamp.timestamp_ms > known.timestamp_ms);
        if is_larger && counts(stamp.offset) {
            largest = Some(stamp);
        }
    })?;
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;
    use crate::batch::header::HEADER_BYTES;

    fn largest(timestamps: &[i64], counts: impl Fn(Offset) -> bool) -> Option<(i64, i64)> {
        let mut builder = BatchBuilder::new().base_offset(Offset(10)).codec(Codec::Lz4);
        for timestamp in timestamps {
            builder.push(*timestamp, None, Some(b"v"), &[]);
        }
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).expect("a header");
        let found = largest_stamp(&header, &batch[HEADER_BYTES..], 1 << 20, counts).expect("opens");
        found.map(|stamp| (stamp.offset.0, stamp.timestamp_ms))
    }

    #[test]
    fn the_first_of_the_largest_that_count_is_told() {
        assert_eq!(largest(&[5, 9, 7, 9], |_| true), Some((11, 9)));
        assert_eq!(largest(&[5, 9, 7, 8], |offset| offset.0 > 11), Some((13, 8)));
        assert_eq!(largest(&[5], |_| false), None);
    }

    #[test]
    fn what_cannot_be_read_to_its_end_is_an_error() {
        let mut builder = BatchBuilder::new();
        builder.push(5, None, Some(b"value"), &[]);
        builder.push(6, None, Some(b"value"), &[]);
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).expect("a header");
        let cut = &batch[HEADER_BYTES..batch.len() - 2];
        assert!(largest_stamp(&header, cut, 1 << 20, |_| true).is_err());
    }
}
