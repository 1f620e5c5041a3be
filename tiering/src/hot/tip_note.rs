//! How far an active segment was known to be whole, and what was known of it there: bytes to read less of it after a
//! process died. It touches no file. Invariant: it is believed only in the boot of the machine in which it was written,
//! because it is never fsynced, and neither are the bytes it speaks of: the page cache it tells about outlives
//! processes, but no boot.
//!
//! ```text
//! tip-note, version 1 (big-endian):
//!  0         4           6         10        26         34          38         46
//!  | "FTIP"  | version   | crc-32c | boot id | base     | bytes u32 | next     | largest timestamp i64,
//!  |         | u16 = 1   | 10..end | 16      | i64      |           | i64      | its offset i64
//!  62                    70          74          78            82
//!  | first timestamp i64 | index     | timeindex | producers   | .index, .timeindex and .producers bytes
//!  |                     | bytes u32 | bytes u32 | bytes u32   |
//! ```

use crate::batch::header::crc32c;
use crate::hot::index::{Entry, OFFSET_ENTRY, OffsetEntry, TIME_ENTRY, TimeEntry};
use crate::offsets::Offset;
use uuid::Uuid;

const MAGIC: [u8; 4] = *b"FTIP";
const VERSION: u16 = 1;
const CRC_FROM: usize = 10;
/// The fixed part.
const HEAD: usize = 82;

/// What was known of an active segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TipNote {
    /// The boot of the machine.
    pub boot: Uuid,
    /// The segment.
    pub base: Offset,
    /// Bytes of whole batches.
    pub bytes: u32,
    /// The offset after the last of them.
    pub next: Offset,
    /// Largest timestamp in them and the last offset of the batch that has it; (−1, base) if none.
    pub largest: (i64, Offset),
    /// Max timestamp of the first batch, −1 if none.
    pub first_timestamp: i64,
    /// The offset index, as in its file.
    pub offsets: Vec<u8>,
    /// The time index, as in its file.
    pub times: Vec<u8>,
    /// The producers as of `next`, as in a `.producers` file.
    pub producers: Vec<u8>,
}

/// Why bytes are no note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TipNoteError {
    /// Not a note of a version this binary reads.
    #[error("not a tip note of version 1")]
    Unknown,
    /// The bytes were damaged, or written in part.
    #[error("the crc of the tip note is wrong")]
    Crc,
    /// A field holds what it cannot.
    #[error("tip note: {0}")]
    Field(&'static str),
}

impl TipNote {
    /// Its bytes. Panics if an index or the producers take more than 4 GiB, which their owners do not allow.
    pub fn encode(&self) -> Vec<u8> {
        let parts = [&self.offsets, &self.times, &self.producers];
        let mut out = Vec::with_capacity(HEAD + parts.iter().map(|part| part.len()).sum::<usize>());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.boot.as_bytes());
        out.extend_from_slice(&self.base.0.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        for number in [self.next.0, self.largest.0, self.largest.1.0, self.first_timestamp] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for part in parts {
            assert!(u32::try_from(part.len()).is_ok(), "a part of {} bytes", part.len());
            out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        }
        parts.into_iter().for_each(|part| out.extend_from_slice(part));
        let crc = crc32c(&out[CRC_FROM..]);
        out[6..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads [`TipNote::encode`] back. The producers' bytes are not looked into.
    pub fn decode(bytes: &[u8]) -> Result<TipNote, TipNoteError> {
        if bytes.len() < HEAD || bytes[..4] != MAGIC || bytes[4..6] != VERSION.to_be_bytes() {
            return Err(TipNoteError::Unknown);
        }
        if crc32c(&bytes[CRC_FROM..]) != u32_at(bytes, 6) {
            return Err(TipNoteError::Crc);
        }
        let mut rest = &bytes[HEAD..];
        let mut part = |at: usize| {
            let len = u32_at(bytes, at) as usize;
            let (part, after) =
                rest.split_at_checked(len).ok_or(TipNoteError::Field("a part is cut short"))?;
            rest = after;
            Ok(part.to_vec())
        };
        let (offsets, times, producers) = (part(70)?, part(74)?, part(78)?);
        let note = TipNote {
            // cannot fail: 16 bytes.
            boot: Uuid::from_slice(&bytes[10..26]).unwrap_or_default(),
            base: Offset(i64_at(bytes, 26)),
            bytes: u32_at(bytes, 34),
            next: Offset(i64_at(bytes, 38)),
            largest: (i64_at(bytes, 46), Offset(i64_at(bytes, 54))),
            first_timestamp: i64_at(bytes, 62),
            offsets,
            times,
            producers,
        };
        if !rest.is_empty() {
            return Err(TipNoteError::Field("bytes follow it"));
        }
        note.checked()
    }

    /// First byte of the last batch that the offset index knows; 0 without one.
    pub fn last_indexed(&self) -> u64 {
        let last = self.offsets.chunks_exact(OFFSET_ENTRY).last();
        last.map_or(0, |bytes| u64::from(OffsetEntry::read(bytes).position))
    }

    fn checked(self) -> Result<TipNote, TipNoteError> {
        let span = self.next.0.checked_sub(self.base.0).and_then(|span| u64::try_from(span).ok());
        let Some(span) = span.filter(|span| *span <= 1 << 31 && self.base.0 >= 0) else {
            return Err(TipNoteError::Field("offsets that fit no segment"));
        };
        let whole =
            self.offsets.len().is_multiple_of(OFFSET_ENTRY) && self.times.len().is_multiple_of(TIME_ENTRY);
        let offsets: Vec<OffsetEntry> = self.offsets.chunks_exact(OFFSET_ENTRY).map(Entry::read).collect();
        let times: Vec<TimeEntry> = self.times.chunks_exact(TIME_ENTRY).map(Entry::read).collect();
        let rise = offsets.is_sorted_by(|a, b| a.relative < b.relative && a.position < b.position)
            && times.is_sorted_by(|a, b| a.timestamp < b.timestamp && a.relative <= b.relative);
        let inside =
            offsets.last().is_none_or(|last| u64::from(last.relative) < span && last.position < self.bytes)
                && times.last().is_none_or(|last| u64::from(last.relative) < span);
        if whole && rise && inside { Ok(self) } else { Err(TipNoteError::Field("an index that cannot be")) }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(four)
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V1: &[u8] = include_bytes!("../../tests/fixtures/tip-note/v1/two-batches.note");

    fn note() -> TipNote {
        let (mut offsets, mut times) = (Vec::new(), Vec::new());
        OffsetEntry { relative: 9, position: 5000 }.write(&mut offsets);
        TimeEntry { timestamp: 1_700_000_000_000, relative: 9 }.write(&mut times);
        TipNote {
            boot: Uuid::from_u128(0x1111_2222_3333_4444_8555_6666_7777_8888),
            base: Offset(100),
            bytes: 9000,
            next: Offset(120),
            largest: (1_700_000_000_007, Offset(119)),
            first_timestamp: 1_700_000_000_000,
            offsets,
            times,
            producers: b"FPRD..".to_vec(),
        }
    }

    #[test]
    fn version_1_stays_what_it_is() {
        assert_eq!(note().encode(), V1);
        assert_eq!(TipNote::decode(V1), Ok(note()));
        assert_eq!(note().last_indexed(), 5000);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: &dyn Fn(&mut TipNote)| {
            let mut wrong = note();
            change(&mut wrong);
            assert!(matches!(TipNote::decode(&wrong.encode()), Err(TipNoteError::Field(_))), "{wrong:?}");
        };
        refused(&|note| note.next = Offset(99));
        refused(&|note| note.base = Offset(-1));
        refused(&|note| note.next = Offset(i64::MAX));
        refused(&|note| note.bytes = 5000);
        refused(&|note| note.next = Offset(109));
        refused(&|note| note.offsets.truncate(OFFSET_ENTRY - 1));
        refused(&|note| note.times.extend_from_within(..));
        let mut longer = note().encode();
        longer.push(0);
        assert_eq!(TipNote::decode(&longer), Err(TipNoteError::Crc));
        assert_eq!(TipNote::decode(b"FTIP"), Err(TipNoteError::Unknown));
    }

    proptest! {
        #[test]
        fn damage_is_seen(at in 0..V1.len(), bit in 0..8, cut in 0..V1.len()) {
            let mut damaged = V1.to_vec();
            damaged[at] ^= 1_u8 << bit;
            prop_assert!(TipNote::decode(&damaged).is_err());
            prop_assert!(TipNote::decode(&V1[..cut]).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = TipNote::decode(&bytes);
            // The same behind a right head and checksum.
            let mut framed = note().encode();
            framed.truncate(HEAD);
            framed.extend_from_slice(&bytes);
            let crc = crc32c(&framed[CRC_FROM..]);
            framed[6..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
            let _ = TipNote::decode(&framed);
        }
    }
}
