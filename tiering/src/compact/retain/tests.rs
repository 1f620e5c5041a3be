//! One batch at a time: what stays of it, and in which bytes.
//! No file and no log: those are in `tests/compaction`.
#![cfg(test)]

use super::*;
use crate::batch::builder::BatchBuilder;
use crate::batch::control::{Outcome, end_transaction};
use crate::batch::header::{TimestampType, set_base_offset, set_log_append_time};
use crate::compact::transactions::Aborted;
use proptest::prelude::*;

const NOW: i64 = 5_000_000;
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

type Pair<'a> = (&'a str, Option<&'a str>);

fn batch(base: i64, codec: Codec, pairs: &[Pair<'_>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().codec(codec).base_offset(Offset(base)).producer(9, 1, 40);
    for (at, (key, value)) in pairs.iter().enumerate() {
        builder.push(1000 + at as i64, Some(key.as_bytes()), value.map(str::as_bytes), &[(b"h", Some(b"x"))]);
    }
    builder.build().to_vec()
}

/// A map that knows these, up to offset `latest`.
fn map(latest: i64, keys: &[(&str, i64)]) -> OffsetMap {
    let mut map = OffsetMap::new(1 << 20, 0.9, 1000);
    keys.iter().for_each(|(key, offset)| assert!(map.put(key.as_bytes(), Offset(*offset))));
    map.reached(Offset(latest));
    map
}

struct Case {
    map: OffsetMap,
    producers: BTreeMap<i64, LastWrite>,
    now_ms: i64,
    aborted: Vec<Aborted>,
}

impl Case {
    fn of(map: OffsetMap) -> Case {
        Case { map, producers: BTreeMap::new(), now_ms: NOW, aborted: Vec::new() }
    }

    fn stays(&self, batch: &[u8], is_last: bool) -> (Stays, Tally) {
        let knowledge = Knowledge {
            map: &self.map,
            producers: &self.producers,
            high_watermark: Offset(1_000_000),
            now_ms: self.now_ms,
            delete_retention_ms: 100,
            limit: 1 << 20,
        };
        let (mut walked, mut tally) = (Walked::new(&self.aborted), Tally::default());
        let header = BatchHeader::parse_whole(batch).unwrap();
        (knowledge.stays(batch, &header, is_last, &mut walked, &mut tally), tally)
    }

    fn instead(&self, batch: &[u8]) -> (BatchHeader, Vec<u8>) {
        let (Stays::Instead(bytes), _) = self.stays(batch, false) else { panic!("it stays as it is") };
        let header = BatchHeader::parse_whole(&bytes).unwrap();
        header.check_crc(&bytes).unwrap();
        (header, bytes)
    }
}

/// (offset, time, key, value) of every record.
fn read(bytes: &[u8]) -> Vec<(i64, i64, String, Option<String>)> {
    let header = BatchHeader::parse_whole(bytes).unwrap();
    let plain = decompress(header.codec().unwrap(), &bytes[HEADER_BYTES..], 1 << 20).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = records(&plain, &header).unwrap();
    all.iter()
        .map(|kept| {
            let record = &kept.record;
            assert_eq!(record.headers.collect::<Vec<_>>(), [(&b"h"[..], Some(&b"x"[..]))]);
            let time = match header.timestamp_type() {
                TimestampType::LogAppendTime => header.max_timestamp,
                TimestampType::CreateTime => header.base_timestamp + record.timestamp_delta,
            };
            let offset = header.base_offset.0 + i64::from(record.offset_delta);
            (offset, time, text(record.key.unwrap()), record.value.map(text))
        })
        .collect()
}

#[test]
fn the_last_of_each_key_stays_at_its_offset_in_every_codec() {
    let case = Case::of(map(20, &[("a", 12), ("b", 11), ("c", 20)]));
    for codec in CODECS {
        let batch =
            batch(10, codec, &[("a", Some("1")), ("b", Some("2")), ("a", Some("3")), ("c", Some("4"))]);
        let (header, bytes) = case.instead(&batch);
        let kept = [(11, 1001, "b".into(), Some("2".into())), (12, 1002, "a".into(), Some("3".into()))];
        assert_eq!(read(&bytes), kept, "{}", codec.name());
        let before = BatchHeader::parse(&batch).unwrap();
        let same = |header: &BatchHeader| {
            (
                header.base_offset,
                header.last_offset(),
                header.producer_id,
                header.base_sequence,
                header.attributes,
            )
        };
        assert_eq!((same(&header), header.record_count, header.max_timestamp), (same(&before), 2, 1002));
    }
}

#[test]
fn what_the_map_does_not_speak_for_stays_as_it_is() {
    let case = Case::of(map(9, &[("a", 5)]));
    let above = batch(10, Codec::Lz4, &[("a", Some("1")), ("a", None)]);
    assert_eq!(case.stays(&above, false), (Stays::Whole, Tally { records: 2, kept: 2, lies: 0 }));
    let unknown = batch(5, Codec::None, &[("x", Some("1")), ("y", Some("2"))]);
    assert_eq!(case.stays(&unknown, false).0, Stays::Whole, "no younger record of these keys is known");
}

#[test]
fn a_tombstone_gets_its_horizon_and_goes_after_it() {
    let mut case = Case::of(map(20, &[("a", 10), ("b", 11)]));
    for codec in CODECS {
        let batch = batch(10, codec, &[("a", None), ("b", Some("2"))]);
        let (header, bytes) = case.instead(&batch);
        assert_eq!(header.delete_horizon_ms(), Some(NOW + 100));
        assert_eq!(read(&bytes), [(10, 1000, "a".into(), None), (11, 1001, "b".into(), Some("2".into()))]);
        case.now_ms = NOW + 99;
        assert_eq!(case.stays(&bytes, false).0, Stays::Whole);
        case.now_ms = NOW + 100;
        let (header, after) = case.instead(&bytes);
        assert_eq!(header.delete_horizon_ms(), Some(NOW + 100), "it is set once");
        assert_eq!(read(&after), [(11, 1001, "b".into(), Some("2".into()))]);
        case.now_ms = NOW;
    }
}

#[test]
fn append_times_survive_a_horizon() {
    let case = Case::of(map(20, &[("a", 10)]));
    let mut stamped = batch(10, Codec::Zstd, &[("a", None), ("a", None)]);
    set_log_append_time(&mut stamped, 77);
    let case = Case { map: map(20, &[("a", 11)]), ..case };
    let (header, bytes) = case.instead(&stamped);
    assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, 77));
    assert_eq!(read(&bytes), [(11, 77, "a".into(), None)]);
}

#[test]
fn nothing_is_left_of_an_outdated_batch_but_what_hangs_on_it() {
    let mut case = Case::of(map(20, &[("a", 20)]));
    let outdated = batch(10, Codec::Gzip, &[("a", Some("1")), ("a", Some("2"))]);
    assert_eq!(case.stays(&outdated, false).0, Stays::Nothing);
    let (Stays::Instead(last), _) = case.stays(&outdated, true) else { panic!("the last one stays") };
    case.producers.insert(9, LastWrite::Data(Offset(11)));
    let (header, bytes) = case.instead(&outdated);
    assert_eq!(last, bytes);
    assert_eq!((bytes.len(), header.record_count, header.codec()), (HEADER_BYTES, 0, Ok(Codec::None)));
    assert_eq!((header.last_offset(), header.base_sequence, header.last_sequence()), (Offset(11), 40, 41));
    assert_eq!((header.base_timestamp, header.max_timestamp), (-1, 1001));
    assert_eq!(case.stays(&bytes, false).0, Stays::Whole, "an empty batch is held as long as it is needed");
    case.producers.insert(9, LastWrite::Data(Offset(15)));
    assert_eq!(case.stays(&bytes, false).0, Stays::Nothing);
}

#[test]
fn a_record_without_a_key_has_no_place() {
    let mut builder = BatchBuilder::new().base_offset(Offset(3));
    builder.push(0, None, Some(b"lost"), &[]);
    assert_eq!(Case::of(map(20, &[])).stays(&builder.build(), false).0, Stays::Nothing);
}

fn at(mut batch: Vec<u8>, offset: i64) -> Vec<u8> {
    set_base_offset(&mut batch, Offset(offset));
    batch
}

#[test]
fn a_marker_waits_for_its_horizon_once_its_transaction_is_gone() {
    let mut case = Case::of(map(20, &[]));
    let marker = at(end_transaction(9, 1, Outcome::Commit, 3, 1000).to_vec(), 7);
    let (header, waiting) = case.instead(&marker);
    assert!(header.is_control() && header.delete_horizon_ms() == Some(NOW + 100));
    assert_eq!(read_control(&header, &waiting), read_control(&BatchHeader::parse(&marker).unwrap(), &marker));
    assert_eq!(case.stays(&waiting, false).0, Stays::Whole);
    case.now_ms = NOW + 100;
    assert_eq!(case.stays(&waiting, false).0, Stays::Nothing);
    case.producers.insert(9, LastWrite::Marker { epoch: 1 });
    let (header, bytes) = case.instead(&waiting);
    assert!(header.is_control() && header.record_count == 0 && bytes.len() == HEADER_BYTES);
    case.producers.insert(9, LastWrite::Marker { epoch: 2 });
    assert_eq!(case.stays(&waiting, false).0, Stays::Nothing, "a later epoch fences by itself");
}

#[test]
fn records_of_an_aborted_transaction_go_unopened() {
    let mut case = Case::of(map(20, &[]));
    let mut builder = BatchBuilder::new().base_offset(Offset(5)).producer(9, 1, 0).transactional();
    builder.push(0, Some(b"k"), Some(b"v"), &[]);
    let batch = builder.build();
    assert_eq!(case.stays(&batch, false).0, Stays::Whole);
    case.aborted.push(Aborted { producer_id: 9, first: Offset(5), last: Offset(6) });
    assert_eq!(case.stays(&batch, false).0, Stays::Nothing);
}

fn with_crc(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crate::batch::header::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn a_batch_that_lies_stays_to_the_byte_and_is_counted() {
    let case = Case::of(map(20, &[("a", 20)]));
    let lied = |batch: Vec<u8>| {
        assert_eq!(case.stays(&batch, false), (Stays::Whole, Tally { lies: 1, ..Tally::default() }))
    };
    for codec in CODECS {
        let good = batch(10, codec, &[("a", Some("1")), ("a", Some("2"))]);
        let mut flipped = good.clone();
        flipped[70] ^= 1;
        lied(flipped);
        let mut counts = good.clone();
        counts[60] = 7;
        lied(with_crc(counts));
        let mut ends = good.clone();
        ends[26] = 0;
        lied(with_crc(ends));
        if codec != Codec::None {
            let mut torn = good.clone();
            torn[61..].fill(0xaa);
            lied(with_crc(torn));
        }
    }
    let mut codec = batch(10, Codec::None, &[("a", Some("1"))]);
    codec[22] |= 5;
    lied(with_crc(codec));
}

proptest! {
    #[test]
    fn any_bytes_after_a_header_are_borne(body in prop::collection::vec(any::<u8>(), 0..200), codec in 0..8_u8, count in any::<i32>()) {
        let mut bytes = batch(10, Codec::None, &[("a", Some("1"))]);
        bytes.truncate(HEADER_BYTES);
        bytes.extend(body);
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = codec;
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        Case::of(map(20, &[("a", 20)])).stays(&with_crc(bytes), false);
    }
}
