//! The time a batch was due, written into its first record, so that a consumer in another process on the same machine
//! can tell how long the batch was on its way. Uncompressed batches only.
//!
//! ```text
//!  value of the first record:  "firnsent" | due, microseconds since 1970, u64 big-endian | ...
//! ```
//!
//! Invariant: a stamped batch has a right CRC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firnline_tiering::batch::header::{BatchHeader, CRC_FROM, HEADER_BYTES, crc32c};
use firnline_tiering::batch::record::RecordReader;

/// What a stamped value begins with.
pub const MAGIC: &[u8; 8] = b"firnsent";
/// Bytes of a value that can hold a stamp.
pub const STAMP_BYTES: usize = 16;
/// Where the CRC stands in a batch.
const CRC_AT: usize = 17;

/// Microseconds since 1970. Two processes compare it, so it is the wall clock and not this process's own.
#[allow(clippy::disallowed_methods, reason = "the load generator is no part of the simulated broker")]
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Where a stamp stands in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    batch: (usize, usize),
    stamp: usize,
}

impl Place {
    /// Where `batch` lies in `frame` and the stamp in it; `None` when there is no room for one.
    pub fn find(frame: &[u8], batch: &[u8]) -> Option<Place> {
        let from = position(frame, batch)?;
        let value = position(batch, MAGIC)?;
        Some(Place { batch: (from, from + batch.len()), stamp: from + value + MAGIC.len() })
    }

    /// Stamps the batch in `frame` and sets its CRC.
    pub fn write(&self, frame: &mut [u8], due_us: u64) {
        frame[self.stamp..self.stamp + 8].copy_from_slice(&due_us.to_be_bytes());
        let batch = &mut frame[self.batch.0..self.batch.1];
        let crc = crc32c(&batch[CRC_FROM..]);
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The stamp of a whole batch, if it has one.
pub fn read(header: &BatchHeader, batch: &[u8]) -> Option<u64> {
    if header.attributes & 0b111 != 0 {
        return None;
    }
    let first = RecordReader::new(batch.get(HEADER_BYTES..)?).next_record().ok()??;
    let stamp = first.value?.strip_prefix(MAGIC)?.get(..8)?;
    stamp.try_into().ok().map(u64::from_be_bytes)
}

fn position(within: &[u8], wanted: &[u8]) -> Option<usize> {
    within.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::produce::{Values, batch};

    #[test]
    fn a_stamp_is_read_back_and_the_crc_is_right() {
        let (batch, _) = batch(&Values { record_bytes: 100, stamp: true, ..Values::default() }, 1000);
        let mut frame = [&[1, 2, 3][..], &batch, &[4, 5]].concat();
        let place = Place::find(&frame, &batch).unwrap();
        place.write(&mut frame, 42_000_000);
        let stamped = &frame[3..3 + batch.len()];
        let header = BatchHeader::parse_whole(stamped).unwrap();
        header.check_crc(stamped).unwrap();
        assert_eq!(read(&header, stamped), Some(42_000_000));
    }

    #[test]
    fn other_batches_have_none() {
        let (batch, _) = batch(&Values { record_bytes: 100, ..Values::default() }, 1000);
        assert_eq!(read(&BatchHeader::parse_whole(&batch).unwrap(), &batch), None);
        assert_eq!(Place::find(&batch, &batch), None);
    }
}
