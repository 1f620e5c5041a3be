//! Bytes kept for ever: every format of the bucket and of the quorum's tier rows, version by version. A changed byte
//! here is a broken promise to every bucket written so far. `FIRN_BLESS=1` writes a fixture that does not exist yet.

use crate::harness::segment::made;
use crate::harness::world::World;
use crate::row::entry;
use firnline_tiering::batch::header::Codec;
use firnline_tiering::cold::entry::Entry;
use firnline_tiering::cold::footer::{Footer, SectionKind, TAIL_BYTES, Tail};
use firnline_tiering::cold::layout::ObjectName;
use firnline_tiering::cold::manifest::{Grave, Leaf, LeafRef, Manifest};
use firnline_tiering::cold::marker::marker;
use firnline_tiering::cold::object::{Contents, Opened, decode_aborted, decode_labels, section_of};
use firnline_tiering::cold::scan::LogScan;
use firnline_tiering::cold::tier::{TierChange, TierChangeKind, TierRow, TierVersion};
use firnline_tiering::config::LogId;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::transactions::AbortedTransaction;
use firnline_tiering::offload::intent::Intent;
use firnline_tiering::offsets::Offset;
use std::path::Path;
use uuid::Uuid;

/// The fixture's bytes; `made` are today's, which must be the same.
fn kept(name: &str, made: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    if !path.exists() && std::env::var_os("FIRN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(
        kept == made,
        "{name} is no longer what is written: {} bytes kept, {} made",
        kept.len(),
        made.len()
    );
    kept
}

fn an_entry() -> Entry {
    Entry {
        min_timestamp: 1_700_000_000_000,
        max_timestamp: 1_700_000_360_000,
        first_epoch: LeaderEpoch(4),
        log_bytes: 1_048_577,
        footer_at: 1_050_000,
        footer_len: 232,
        footer_crc: 0xdead_beef,
        aborted: 2,
        ..entry(12_345, 23_456, 5, 4, 0x0123_4567_89ab_4def_8123_4567_89ab_cdef)
    }
}

fn a_manifest() -> Manifest {
    let leaf = LeafRef {
        uuid: Uuid::from_u128(21),
        base: Offset(0),
        next: Offset(12_345),
        max_timestamp: 1_699_999_999_999,
        first_epoch: LeaderEpoch(0),
        last_epoch: LeaderEpoch(4),
        segments: 3,
        log_bytes: 3_000_000,
        object_bytes: 300,
        crc: 0x0bad_cafe,
    };
    let graves = [
        ObjectName::Segment { base: Offset(1), leader_epoch: LeaderEpoch(2), uuid: Uuid::from_u128(31) },
        ObjectName::Manifest { on_version: 6, uuid: Uuid::from_u128(32) },
        ObjectName::Leaf { base: Offset(0), uuid: Uuid::from_u128(33) },
    ];
    Manifest {
        uuid: Uuid::from_u128(20),
        log_start: Offset(7),
        end: Offset(23_456),
        leaves: vec![leaf],
        entries: vec![an_entry()],
        graveyard: graves.into_iter().map(|name| Grave { name, since_ms: 1_700_000_400_000 }).collect(),
    }
}

#[test]
fn tier_entry_v1() {
    let bytes = kept("tier-entry/v1/entry.bin", &an_entry().encode());
    assert_eq!(Entry::decode(&bytes), Ok(an_entry()));
}

#[test]
fn manifest_v1() {
    let (made, _) = a_manifest().encode(9);
    let bytes = kept("manifest/v1/root.firnm", &made);
    assert_eq!(Manifest::decode(&bytes), Ok(a_manifest()));
}

#[test]
fn manifest_leaf_v1() {
    let leaf =
        Leaf { uuid: Uuid::from_u128(21), entries: vec![entry(0, 10, 1, -1, 1), entry(10, 30, 1, 1, 2)] };
    let bytes = kept("manifest-leaf/v1/leaf.firnm", &leaf.encode());
    assert_eq!(Leaf::decode(&bytes), Ok(leaf));
}

#[test]
fn tier_row_v1() {
    let (_, pointer) =
        Manifest { entries: Vec::new(), leaves: a_manifest().leaves, end: Offset(12_345), ..a_manifest() }
            .encode(9);
    let row = TierRow {
        version: TierVersion(10),
        leader_epoch: LeaderEpoch(5),
        log_start: Offset(7),
        end: Offset(23_456),
        end_epoch: LeaderEpoch(5),
        manifest: Some(pointer),
        entries: vec![an_entry()],
    };
    let bytes = kept("tier-row/v1/row.bin", &row.encode());
    assert_eq!(TierRow::decode(&bytes), Ok(row));
    let empty = TierRow::new(LeaderEpoch(0), Offset(0));
    let bytes = kept("tier-row/v1/empty.bin", &empty.encode());
    assert_eq!(TierRow::decode(&bytes), Ok(empty));
}

#[test]
fn tier_change_v1() {
    let (_, manifest) = a_manifest().encode(9);
    let kinds = [
        ("append", TierChangeKind::Append(an_entry())),
        ("swap", TierChangeKind::Swap { manifest, folded: vec![Uuid::from_u128(1), Uuid::from_u128(2)] }),
        ("move-log-start", TierChangeKind::MoveLogStart(Offset(99))),
    ];
    for (name, kind) in kinds {
        let change = TierChange { on_version: TierVersion(10), leader_epoch: LeaderEpoch(5), kind };
        let bytes = kept(&format!("tier-change/v1/{name}.bin"), &change.encode());
        assert_eq!(TierChange::decode(&bytes), Ok(change));
    }
}

#[test]
fn offload_intent_v1() {
    let intent = Intent {
        log: LogId::new("AAAAAAAAAAAAAAAAAAAAAQ/3"),
        name: ObjectName::of_entry(&an_entry()),
        on_version: TierVersion(10),
        leader_epoch: LeaderEpoch(5),
        since_ms: 1_700_000_400_000,
    };
    let bytes = kept("offload-intent/v1/segment.intent", &intent.encode());
    assert_eq!(Intent::decode(&bytes), Ok(intent));
}

#[test]
fn cluster_marker_v1() {
    kept("cluster-marker/v1/firn-cluster.json", marker("4L6g3nShT-eMCtK--X86sw").as_bytes());
}

#[test]
fn remote_segment_v1() {
    let log = made(100, 3, 50, Codec::None, 4);
    let mut scan = LogScan::new(log.base, log.next);
    scan.feed(&log.bytes).unwrap();
    let scanned = scan.finish().unwrap();
    let aborted = [AbortedTransaction {
        producer_id: 9,
        first: Offset(101),
        last: Offset(110),
        last_stable: Offset(101),
    }];
    let labels = [("topic".to_owned(), "orders".to_owned()), ("partition".to_owned(), "3".to_owned())];
    let trailer = Contents {
        uuid: Uuid::from_u128(5),
        base: log.base,
        next: log.next,
        scanned: &scanned,
        producers: b"the window",
        aborted: &aborted,
        labels: &labels,
    }
    .trailer();
    let object = kept("remote-segment/v1/segment.firn", &[&log.bytes[..], &trailer.bytes].concat());

    // Opened from the end, as an audit would that has nothing but the object.
    let tail = Tail::decode(&object[object.len() - TAIL_BYTES..], object.len() as u64).unwrap();
    let at = usize::try_from(tail.footer_at).unwrap();
    let footer = &object[at..object.len() - TAIL_BYTES];
    let footer = Footer::decode(footer, tail.footer_at, tail.footer_crc).unwrap();
    assert_eq!((footer.base, footer.next, footer.log_bytes), (log.base, log.next, log.bytes.len() as u64));
    let section = |kind| section_of(&footer, kind, &object, 0).unwrap();
    assert_eq!(section(SectionKind::Producers), b"the window");
    assert_eq!(decode_aborted(section(SectionKind::Transactions)).unwrap(), aborted);
    assert_eq!(decode_labels(section(SectionKind::Labels)).unwrap(), labels);
    assert_eq!(section(SectionKind::Codec), [0; 4]);
    let opened = Opened::decode(footer.clone(), &object, 0).unwrap();
    assert!(opened.check(0).unwrap().holds(&log.bytes));
    assert_eq!((opened.check(1), opened.position_of(Offset(125))), (None, 0));
}

#[tokio::test]
async fn a_newer_object_is_refused_by_its_version_not_as_damage() {
    let world = World::new();
    world.upload(&made(0, 1, 10, Codec::None, 0)).await.unwrap();
    let object = world.faulty.object(&world.segments().await[0]).await;
    let mut tail = object[object.len() - TAIL_BYTES..].to_vec();
    tail[23] = 2;
    let error = Tail::decode(&tail, object.len() as u64).unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    let (mut manifest, _) = a_manifest().encode(9);
    manifest[7] = 9;
    let error = Manifest::decode(&manifest).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
}
