//! What the quorum keeps about one remote segment: enough to find, open and judge it without asking the bucket.
//! Not what the segment's own footer holds in full. Invariant: an encoded entry has at most 256 bytes.
//!
//! ```text
//!  0       1        9        17          25          33       37       41       45       49
//!  | ver=1 | base   | next   | min time  | max time  | leader | prev   | first  | last   |
//!  | u8    | i64    | i64    | i64 ms    | i64 ms    | epoch  | epoch  | epoch  | epoch  |   (epochs i32)
//!  49          57          65       69       73      77          93
//!  | log bytes | footer at | footer | footer | aborted | uuid     |
//!  | u64       | u64       | len u32| crc u32| count u32 (73..77) |
//! ```
//!
//! Big-endian. The object is the log bytes, its sections, the footer and a tail of fixed size (`cold/footer.rs`).

use crate::cold::footer::TAIL_BYTES;
use crate::cold::format::{Decoder, Encoder, FormatError};
use crate::epoch::LeaderEpoch;
use crate::offsets::Offset;
use firnline_cache::key::CHUNK_BYTES;
use uuid::Uuid;

/// The version written, and the newest read.
pub const ENTRY_VERSION: u8 = 1;
/// Bytes of a version-1 entry.
pub const ENTRY_BYTES: usize = 93;
const WHAT: &str = "tier entry";

/// One committed remote segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// First offset it covers.
    pub base: Offset,
    /// The offset after the last it covers; above `base`.
    pub next: Offset,
    /// Smallest base timestamp of its batches, milliseconds; −1 if none has one. A hint, not a bound: a record may
    /// lie below its batch's base timestamp.
    pub min_timestamp: i64,
    /// Largest timestamp of its records, milliseconds; −1 if none has one.
    pub max_timestamp: i64,
    /// Epoch of the leader that uploaded it.
    pub leader_epoch: LeaderEpoch,
    /// Epoch of the record just before `base` in the uploader's log; −1 where its log had none.
    pub previous_epoch: LeaderEpoch,
    /// Epoch of its first batch.
    pub first_epoch: LeaderEpoch,
    /// Epoch of its last batch.
    pub last_epoch: LeaderEpoch,
    /// Bytes of the log in it: the object's first section, from byte 0.
    pub log_bytes: u64,
    /// Where its footer stands in the object.
    pub footer_at: u64,
    /// The footer's length in bytes.
    pub footer_len: u32,
    /// CRC-32C of the footer.
    pub footer_crc: u32,
    /// Aborted transactions its transaction section lists; 0 spares a reader the section.
    pub aborted: u32,
    /// Names the object; never used again.
    pub uuid: Uuid,
}

impl Entry {
    /// Length of the whole object in bytes.
    pub fn object_bytes(&self) -> u64 {
        self.footer_at.saturating_add(u64::from(self.footer_len)).saturating_add(TAIL_BYTES as u64)
    }

    /// Chunks of [`CHUNK_BYTES`] its log bytes make; the last may be shorter.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.log_bytes.div_ceil(CHUNK_BYTES)).unwrap_or(u32::MAX)
    }

    /// Whether `offset` lies in `[base, next)`.
    pub fn covers(&self, offset: Offset) -> bool {
        self.base <= offset && offset < self.next
    }

    /// Whether `next` can follow this entry: no gap, no overlap, and the uploader saw this entry's last epoch
    /// just before its first record (I8).
    pub fn is_followed_by(&self, next: &Entry) -> bool {
        self.next == next.base && next.previous_epoch == self.last_epoch
    }

    /// Why the entry contradicts itself, if it does.
    pub fn contradiction(&self) -> Option<String> {
        let Self { base, next, first_epoch, last_epoch, leader_epoch, previous_epoch, .. } = self;
        if base.0 < 0 || next <= base {
            return Some(format!("it covers [{base}, {next})"));
        }
        if previous_epoch > first_epoch || first_epoch > last_epoch || last_epoch > leader_epoch {
            return Some(format!(
                "epochs fall: {previous_epoch} before it, {first_epoch} to {last_epoch} in it, uploaded under {leader_epoch}"
            ));
        }
        if self.log_bytes == 0 || self.footer_at < self.log_bytes || self.footer_len == 0 {
            let Self { log_bytes, footer_at, footer_len, .. } = self;
            return Some(format!("{log_bytes} log bytes, a footer of {footer_len} bytes at {footer_at}"));
        }
        if self.log_bytes.div_ceil(CHUNK_BYTES) > u64::from(u32::MAX) {
            return Some(format!("{} log bytes are more than chunks can count", self.log_bytes));
        }
        None
    }

    /// The entry's bytes; at most 256.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(ENTRY_VERSION).i64(self.base.0).i64(self.next.0);
        out.i64(self.min_timestamp).i64(self.max_timestamp);
        out.i32(self.leader_epoch.0).i32(self.previous_epoch.0);
        out.i32(self.first_epoch.0).i32(self.last_epoch.0);
        out.u64(self.log_bytes).u64(self.footer_at);
        out.u32(self.footer_len).u32(self.footer_crc).u32(self.aborted).uuid(self.uuid);
        let bytes = out.finish();
        assert_eq!(bytes.len(), ENTRY_BYTES, "an entry's length is fixed");
        bytes
    }

    /// Reads [`Entry::encode`]'s bytes back; an entry that contradicts itself is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut from = Decoder::new(bytes, WHAT);
        let entry = Self::read(&mut from)?;
        from.finish()?;
        Ok(entry)
    }

    /// Reads one entry where others may follow.
    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, FormatError> {
        let version = from.u8()?;
        if version > ENTRY_VERSION {
            let (found, known) = (u16::from(version), u16::from(ENTRY_VERSION));
            return Err(FormatError::NewerVersion { what: WHAT, found, known });
        }
        let entry = Self {
            base: Offset(from.i64()?),
            next: Offset(from.i64()?),
            min_timestamp: from.i64()?,
            max_timestamp: from.i64()?,
            leader_epoch: LeaderEpoch(from.i32()?),
            previous_epoch: LeaderEpoch(from.i32()?),
            first_epoch: LeaderEpoch(from.i32()?),
            last_epoch: LeaderEpoch(from.i32()?),
            log_bytes: from.u64()?,
            footer_at: from.u64()?,
            footer_len: from.u32()?,
            footer_crc: from.u32()?,
            aborted: from.u32()?,
            uuid: from.uuid()?,
        };
        match entry.contradiction() {
            Some(why) => Err(FormatError::Invalid { what: WHAT, why }),
            None => Ok(entry),
        }
    }
}

/// Why neighbours in `entries` do not line up, if they do not: they ascend without overlap, and from the log start
/// on each begins where the one before ends and continues its epochs.
pub(crate) fn entries_contradiction(entries: &[Entry], log_start: Offset) -> Option<String> {
    for pair in entries.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        if before.is_followed_by(after) {
            continue;
        }
        let dead_gap = before.next <= log_start && after.base >= before.next && after.base <= log_start;
        if !dead_gap || after.first_epoch < before.last_epoch {
            return Some(format!(
                "[{}, {}) to epoch {} is followed by [{}, {}) after epoch {}",
                before.base, before.next, before.last_epoch, after.base, after.next, after.previous_epoch
            ));
        }
    }
    None
}
