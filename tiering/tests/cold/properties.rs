//! Decoders of the cold tier against arbitrary and damaged bytes: an error or the same value, never a panic.

use crate::row::entry;
use firnline_tiering::cold::entry::{ENTRY_BYTES, Entry};
use firnline_tiering::cold::footer::{Footer, Section, Tail};
use firnline_tiering::cold::layout::ObjectName;
use firnline_tiering::cold::manifest::{Grave, Leaf, Manifest};
use firnline_tiering::cold::object::{Opened, decode_aborted, decode_epochs, decode_labels};
use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::offload::intent::Intent;
use firnline_tiering::offsets::Offset;
use proptest::prelude::*;
use uuid::Uuid;

fn decode_everything(bytes: &[u8]) {
    let _ = Entry::decode(bytes);
    let _ = TierRow::decode(bytes);
    let _ = TierChange::decode(bytes);
    let _ = Manifest::decode(bytes);
    let _ = Leaf::decode(bytes);
    let _ = Intent::decode(bytes);
    let _ = Tail::decode(bytes, bytes.len() as u64);
    let crc = firnline_tiering::batch::header::crc32c(bytes);
    if let Ok(footer) = Footer::decode(bytes, u64::MAX, crc) {
        let _ = Opened::decode(footer, bytes, 0);
    }
    let _ = decode_aborted(bytes);
    let _ = decode_epochs(bytes);
    let _ = decode_labels(bytes);
}

fn manifest(count: u8, graves: u8) -> Manifest {
    let entries: Vec<Entry> = (0..i64::from(count))
        .map(|n| entry(n * 10, n * 10 + 10, 0, if n == 0 { -1 } else { 0 }, n as u128 + 1))
        .collect();
    let graveyard = (0..graves)
        .map(|n| Grave {
            name: ObjectName::Segment {
                base: Offset(n.into()),
                leader_epoch: LeaderEpoch(0),
                uuid: Uuid::from_u128(1000 + u128::from(n)),
            },
            since_ms: n.into(),
        })
        .collect();
    let end = entries.last().map_or(Offset(0), |last| last.next);
    Manifest { uuid: Uuid::from_u128(77), log_start: Offset(0), end, leaves: Vec::new(), entries, graveyard }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        decode_everything(&bytes);
    }

    #[test]
    fn bytes_that_begin_right_never_panic(mark in 0..4_usize, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut marked = [b"FRNM", b"FRNL", b"FRNF", b"FRNI"][mark].to_vec();
        marked.extend_from_slice(&[0, 1, 0, 1]);
        marked.extend_from_slice(&bytes);
        decode_everything(&marked);
        // With a checksum that holds, so that what lies behind it is reached.
        let crc = firnline_tiering::batch::header::crc32c(&marked);
        marked.extend_from_slice(&crc.to_be_bytes());
        decode_everything(&marked);
    }

    #[test]
    fn a_manifest_survives_its_bytes_and_notices_any_flipped_bit(count in 0..20_u8, graves in 0..9_u8, flip in any::<prop::sample::Index>()) {
        let manifest = manifest(count, graves);
        let (mut bytes, pointer) = manifest.encode(5);
        prop_assert_eq!(Manifest::decode(&bytes), Ok(manifest.clone()));
        prop_assert_eq!((pointer.segments, pointer.graves), (u32::from(count), u32::from(graves)));
        let at = flip.index(bytes.len());
        bytes[at] ^= 0x10;
        prop_assert!(Manifest::decode(&bytes).is_err(), "byte {at}");
    }

    #[test]
    fn an_entry_survives_its_bytes_and_is_small(base in 0..i64::MAX / 2, len in 1..i64::from(i32::MAX), epoch in 0..i32::MAX, uuid in any::<u128>()) {
        let entry = entry(base, base + len, epoch, epoch - 1, uuid);
        let bytes = entry.encode();
        prop_assert!(bytes.len() == ENTRY_BYTES && bytes.len() <= 256);
        prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
        for cut in 0..bytes.len() {
            prop_assert!(Entry::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_footer_survives_its_bytes_and_refuses_sections_that_overlap(lens in proptest::collection::vec(0..1000_u64, 0..12), shift in 1..50_u64) {
        let mut at = 500;
        let mut sections = Vec::new();
        for (n, len) in lens.iter().enumerate() {
            sections.push(Section { kind: n as u16, at, len: *len, crc: 0 });
            at += len;
        }
        let footer = Footer { uuid: Uuid::from_u128(1), base: Offset(0), next: Offset(1), log_bytes: 500, sections };
        let bytes = footer.encode();
        let crc = firnline_tiering::batch::header::crc32c(&bytes);
        prop_assert_eq!(Footer::decode(&bytes, at, crc), Ok(footer.clone()));
        prop_assert!(Footer::decode(&bytes, at, crc ^ 1).is_err());
        if let Some(last) = footer.sections.last().copied() {
            let mut lying = footer.clone();
            lying.sections.push(Section { at: last.at + last.len - shift.min(last.len + last.at - 1), ..last });
            let bytes = lying.encode();
            let crc = firnline_tiering::batch::header::crc32c(&bytes);
            if shift <= last.len || last.at + last.len - shift < 500 {
                prop_assert!(Footer::decode(&bytes, u64::MAX, crc).is_err());
            }
        }
    }
}
