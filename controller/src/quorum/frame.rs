//! One entry's frame in the quorum's log file. Not the file (`quorum/journal.rs`).
//! Invariant: a frame is whole and undamaged, or it is no frame.
//!
//! ```text
//!  0     4        8       16     24       32      33     34
//!  | len | crc32c | index | term | leader | flags | kind | payload ... |
//!  | u32 | u32    | u64   | u64  | u64    | u8    | u8   |               big-endian
//!
//!  len: bytes behind the crc.   crc: of len and of everything behind the crc.
//!  flags: bit 0 set on the first frame of a write. As a write begins only after the one before it is durable,
//!         such a frame proves that every byte before it was.
//!  kind: 1 blank, 2 entry (record/entry_codec.rs), 3 membership (raft_codec.rs)
//! ```

use openraft::{EntryPayload, LeaderId};

use crate::quorum::raft_codec;
use crate::quorum::type_config::{LogEntry, LogId};
use crate::record::bytes::{CodecError, Reader, Writer, checksum};
use crate::record::entry_codec;

/// Bytes before a payload.
pub const HEAD_BYTES: usize = 34;
/// Set on a write's first frame.
const FIRST_OF_WRITE: u8 = 1;

/// A frame as read.
#[derive(Debug)]
pub struct Frame {
    /// What it carries.
    pub entry: LogEntry,
    /// Bytes it takes.
    pub len: usize,
}

/// Why there is no frame.
#[derive(Debug, PartialEq, Eq)]
pub enum NoFrame {
    /// The bytes end before it does, or its checksum disagrees: torn or damaged.
    Broken(String),
    /// It is as it was written, but not for this binary; or it lies about its content.
    Unreadable(CodecError),
}

/// Appends an entry's frame.
pub fn encode(entry: &LogEntry, first_of_write: bool, out: &mut Vec<u8>) {
    let at = out.len();
    let mut body = Writer::default();
    let id = &entry.log_id;
    body.u64(id.index).u64(id.leader_id.term).u64(id.leader_id.node_id).u8(u8::from(first_of_write));
    match &entry.payload {
        EntryPayload::Blank => _ = body.u8(1),
        EntryPayload::Normal(entry) => entry_codec::encode(entry, body.u8(2)),
        EntryPayload::Membership(membership) => raft_codec::write_membership(membership, body.u8(3)),
    }
    let body = body.finish();
    assert!(u32::try_from(body.len()).is_ok(), "an entry of {} bytes in a frame that holds 2^32", body.len());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&body);
    let crc = checksum_of(&out[at..]);
    out[at + 4..at + 8].copy_from_slice(&crc.to_be_bytes());
}

/// Reads the frame that begins with the first byte.
pub fn decode(bytes: &[u8]) -> Result<Frame, NoFrame> {
    let frame = whole(bytes).map_err(NoFrame::Broken)?;
    let entry = read_body(&frame[8..]).map_err(NoFrame::Unreadable)?;
    Ok(Frame { entry, len: frame.len() })
}

/// Whether a write's first frame, of an entry above `index`, begins with the first byte.
pub fn begins_later_write(bytes: &[u8], index: u64) -> bool {
    let Ok(frame) = whole(bytes) else { return false };
    let later = frame[8..16].try_into().is_ok_and(|at: [u8; 8]| u64::from_be_bytes(at) > index);
    later && frame[HEAD_BYTES - 2] & FIRST_OF_WRITE != 0
}

/// The frame's bytes, if they are all there and undamaged.
fn whole(bytes: &[u8]) -> Result<&[u8], String> {
    let mut from = Reader::new(bytes);
    let (Ok(len), Ok(stored)) = (from.u32(), from.u32()) else {
        return Err(format!("{} bytes hold no frame's head", bytes.len()));
    };
    let len = len as usize;
    if len < HEAD_BYTES - 8 {
        return Err(format!("a frame cannot have {len} bytes"));
    }
    let Some(frame) = bytes.get(..8 + len) else {
        return Err(format!("a frame of {len} bytes is cut off after {}", from.left()));
    };
    let computed = checksum_of(frame);
    if computed != stored {
        return Err(format!("a frame's crc is {computed:#010x}, stored {stored:#010x}"));
    }
    Ok(frame)
}

/// The crc covers the length too, so that a wrong length cannot find a right checksum by chance.
fn checksum_of(frame: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&frame[..4]);
    digest.update(&frame[8..]);
    debug_assert_eq!(checksum(b"123456789"), 0xe306_9283, "the checksum is CRC-32C");
    // The algorithm is 32 bits wide; crc-fast answers in 64.
    digest.finalize() as u32
}

fn read_body(body: &[u8]) -> Result<LogEntry, CodecError> {
    let mut from = Reader::new(body);
    let index = from.u64()?;
    let leader = LeaderId::new(from.u64()?, from.u64()?);
    let flags = from.u8()?;
    if flags & !FIRST_OF_WRITE != 0 {
        return Err(CodecError::Unknown { what: "frame flags", kind: flags.into(), version: 1 });
    }
    let payload = match from.u8()? {
        1 => EntryPayload::Blank,
        2 => EntryPayload::Normal(entry_codec::decode(from.take(from.left())?)?),
        3 => EntryPayload::Membership(raft_codec::read_membership(&mut from)?),
        kind => return Err(CodecError::Unknown { what: "frame kind", kind: kind.into(), version: 1 }),
    };
    from.finish()?;
    Ok(LogEntry { log_id: LogId::new(leader, index), payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden;
    use crate::quorum::raft_codec::tests::{log_id, membership};
    use crate::record::entry_codec::tests::{any_entry, sample};
    use proptest::prelude::*;

    fn bytes(entry: &LogEntry, first: bool) -> Vec<u8> {
        let mut out = Vec::new();
        encode(entry, first, &mut out);
        out
    }

    #[test]
    fn golden_files() {
        let payloads = [
            ("blank", EntryPayload::Blank),
            ("entry", EntryPayload::Normal(sample())),
            ("membership", EntryPayload::Membership(membership())),
        ];
        for (name, payload) in payloads {
            let entry = LogEntry { log_id: log_id(3, 17), payload };
            let stored = golden(&format!("raft-frame/v1/{name}"), &bytes(&entry, true));
            let frame = decode(&stored).expect("a frame");
            assert_eq!((frame.entry, frame.len), (entry, stored.len()), "{name}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_breaks_it() {
        let whole = bytes(&LogEntry { log_id: log_id(3, 17), payload: EntryPayload::Blank }, true);
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&damaged), Err(NoFrame::Broken(_))), "bit {bit}");
        }
        for cut in 0..whole.len() {
            assert!(matches!(decode(&whole[..cut]), Err(NoFrame::Broken(_))), "cut at {cut}");
        }
        assert!(matches!(decode(&[0; 64]), Err(NoFrame::Broken(_))), "zeroes are no frame");
    }

    #[test]
    fn only_a_later_writes_first_frame_proves_what_is_before_it() {
        let entry = LogEntry { log_id: log_id(3, 17), payload: EntryPayload::Blank };
        assert!(begins_later_write(&bytes(&entry, true), 16));
        assert!(!begins_later_write(&bytes(&entry, true), 17));
        assert!(!begins_later_write(&bytes(&entry, false), 16));
    }

    proptest! {
        #[test]
        fn frames_round_trip(entry in any_entry(), term: u64, index: u64, first: bool, after in prop::collection::vec(any::<u8>(), 0..9)) {
            let entry = LogEntry { log_id: log_id(term, index), payload: EntryPayload::Normal(entry) };
            let mut bytes = bytes(&entry, first);
            let len = bytes.len();
            bytes.extend(after);
            let frame = decode(&bytes).expect("a frame");
            prop_assert_eq!((frame.entry, frame.len), (entry, len));
        }

        #[test]
        fn any_bytes_are_a_frame_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
