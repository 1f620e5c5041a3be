//! What lies in the bucket: entries, footers, manifests, tier rows, intents, and the scan before an upload.
//! Invariant: what decodes is consistent, and is written back to bytes that decode to the same.

use firnline_tiering::batch::header::{batches, crc32c};
use firnline_tiering::cold::entry::Entry;
use firnline_tiering::cold::footer::{Footer, SectionKind, TAIL_BYTES, Tail};
use firnline_tiering::cold::layout::ObjectName;
use firnline_tiering::cold::manifest::{Leaf, Manifest};
use firnline_tiering::cold::object::{Opened, decode_aborted, decode_epochs, decode_labels, section_of};
use firnline_tiering::cold::scan::LogScan;
use firnline_tiering::cold::tier::{TierChange, TierRow};
use firnline_tiering::offload::intent::Intent;
use firnline_tiering::offsets::Offset;

use super::seal;

/// An entry; and the same text as an object's name.
pub fn entry(data: &[u8]) {
    if let Ok(entry) = Entry::decode(data) {
        assert_eq!(entry.contradiction(), None);
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
    if let Some(name) = std::str::from_utf8(data).ok().and_then(ObjectName::parse) {
        assert_eq!(ObjectName::parse(&name.to_string()), Some(name));
    }
}

/// An object's end: sections, footer and tail. Byte 0: whether checksums are made right.
pub fn footer(data: &[u8]) {
    let Some((&choice, object)) = data.split_first() else { return };
    let Some(tail_at) = object.len().checked_sub(TAIL_BYTES) else { return };
    let _ = Tail::decode(&object[tail_at..], object.len() as u64);
    // The tail's own numbers rarely fit an object a fuzzer made: the footer's place is byte 1 to 2 instead.
    let Some((place, object)) = object.split_first_chunk::<2>() else { return };
    let at = usize::from(u16::from_be_bytes(*place)).min(object.len());
    let crc = if choice & 1 == 0 { crc32c(&object[at..]) } else { 0 };
    let Ok(mut footer) = Footer::decode(&object[at..], at as u64, crc) else { return };
    let written = footer.encode();
    assert_eq!(Footer::decode(&written, at as u64, crc32c(&written)).as_ref(), Ok(&footer));
    for section in &mut footer.sections {
        let range = section.at as usize..(section.at + section.len) as usize;
        if choice & 2 == 0 {
            section.crc = object.get(range).map_or(0, crc32c);
        }
    }
    sections(footer, object);
}

fn sections(footer: Footer, object: &[u8]) {
    let of = |kind| section_of(&footer, kind, object, 0);
    let _ = of(SectionKind::Epochs).map(decode_epochs);
    let _ = of(SectionKind::Transactions).map(decode_aborted);
    let _ = of(SectionKind::Labels).map(decode_labels);
    let Ok(opened) = Opened::decode(footer, object, 0) else { return };
    for offset in [0, 1, 1000, i64::MAX] {
        assert!(opened.position_of(Offset(offset)) < opened.footer.log_bytes.max(1));
        let _ = opened.offset_before(offset);
    }
    let _ = (opened.check(0), opened.check(u32::MAX), opened.cost());
}

/// A manifest or one of its leaves. Byte 0: whether the CRC at its end is made right.
pub fn manifest(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if choice & 1 == 0 {
        seal::at_the_end(&mut bytes);
    }
    if let Ok(manifest) = Manifest::decode(&bytes) {
        assert_eq!(manifest.contradiction(), None);
        let (written, _) = manifest.encode(7);
        for offset in [0, 1, i64::MAX] {
            let _ = (manifest.entry(Offset(offset)), manifest.leaf(Offset(offset)));
        }
        assert_eq!(Manifest::decode(&written), Ok(manifest));
    }
    if let Ok(leaf) = Leaf::decode(&bytes) {
        let _ = leaf.entry(Offset(1));
        assert_eq!(Leaf::decode(&leaf.encode()), Ok(leaf));
    }
}

/// A tier row, a change to one, or an intent. Byte 0: whether the CRC at the end is made right.
pub fn tier(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if choice & 1 == 0 {
        seal::at_the_end(&mut bytes);
    }
    let row = TierRow::decode(&bytes);
    if let Ok(row) = &row {
        assert_eq!(row.contradiction(), None);
        assert_eq!(TierRow::decode(&row.encode()).as_ref(), Ok(row));
        let _ = (row.last_tiered(), row.log_bytes(), row.segments(), row.inline_entry(Offset(1)));
    }
    if let Ok(change) = TierChange::decode(&bytes) {
        assert_eq!(TierChange::decode(&change.encode()).as_ref(), Ok(&change));
    }
    if let Ok(intent) = Intent::decode(&bytes) {
        assert_eq!(Intent::decode(&intent.encode()), Ok(intent));
    }
}

/// The pass over a segment before its upload. Byte 0: the batch whose CRC is left as it is.
pub fn scan(data: &[u8]) {
    let Some((&spared, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    bytes.truncate(1 << 20);
    seal::batches(&mut bytes, spared);
    let mut scan = LogScan::new(Offset(0), Offset(1 << 20));
    let Ok(scanned) = scan.feed(&bytes).and_then(|()| scan.finish()) else { return };
    assert_eq!(scanned.log_bytes, bytes.len() as u64);
    let mut expected = Offset(0);
    for batch in batches(&bytes) {
        let (header, batch) = batch.expect("what was accepted is whole batches");
        header.check_crc(batch).expect("what was accepted has its CRCs");
        assert!(header.base_offset >= expected && header.next_offset() > header.base_offset);
        expected = header.next_offset();
    }
}
