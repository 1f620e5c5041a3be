//! Every reason to refuse a batch, in the order the reasons are looked for.
//! Each test names its rule; none looks at an error's text.
#![cfg(test)]

use super::*;
use crate::batch::builder::BatchBuilder;
use crate::batch::header::{CRC_FROM, crc32c};
use crate::offsets::Offset;
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;

fn rules() -> Rules {
    Rules::of(&LogConfig::default(), Origin::Client, NOW, 11)
}

fn builder() -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    builder.push(NOW - 2, Some(b"a"), Some(b"1"), &[(b"h", None)]);
    builder.push(NOW, Some(b"b"), None, &[]).push(NOW - 1, Some(b"c"), Some(b"3"), &[]);
    builder
}

fn batch() -> Vec<u8> {
    builder().build().to_vec()
}

/// Writes `bytes` at `at` and makes the CRC right again.
fn patched(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn a_good_batch_is_stored_as_sent() {
    let batch = batch();
    let validated = validate(&batch, &rules()).unwrap();
    assert_eq!((validated.stamp, validated.opened), (Stamp::Keep, true));
    assert_eq!(validated.header, BatchHeader::parse(&batch).unwrap());
}

#[test]
fn framing_comes_first() {
    let good = batch();
    assert_eq!(validate(&[], &rules()), Err(Invalid::Empty));
    for len in 1..good.len() {
        let result = validate(&good[..len], &rules());
        assert!(matches!(result, Err(Invalid::Framing(BatchError::Truncated { .. }))), "{len}: {result:?}");
    }
    let two = [good.clone(), good.clone()].concat();
    assert_eq!(validate(&two, &rules()), Err(Invalid::MoreThanOne { trailing: good.len() }));
    for magic in [0, 1] {
        let old = patched(good.clone(), 16, &[magic]);
        assert_eq!(validate(&old, &rules()), Err(Invalid::Magic(magic as i8)));
    }
    let negative = patched(good, 8, &(-1_i32).to_be_bytes());
    assert_eq!(validate(&negative, &rules()), Err(Invalid::Framing(BatchError::Length(-1))));
}

#[test]
fn offset_then_size_then_crc() {
    let mut wrong = batch();
    wrong[70] ^= 1;
    let tight = Rules { max_message_bytes: 10, ..rules() };
    let mut all_three = wrong.clone();
    all_three[..8].copy_from_slice(&5_i64.to_be_bytes());
    assert_eq!(validate(&all_three, &tight), Err(Invalid::BaseOffset(5)));
    assert_eq!(validate(&wrong, &tight), Err(Invalid::TooLarge { size: wrong.len(), limit: 10 }));
    assert!(matches!(validate(&wrong, &rules()), Err(Invalid::Crc(BatchError::Crc { .. }))));
    let exact = Rules { max_message_bytes: batch().len() as u32, ..rules() };
    assert!(validate(&batch(), &exact).is_ok(), "the limit itself is allowed");
}

#[test]
fn codecs_must_exist_and_zstd_needs_version_7() {
    let unknown = patched(batch(), 21, &5_i16.to_be_bytes());
    assert_eq!(validate(&unknown, &rules()), Err(Invalid::UnknownCodec(5)));
    let zstd = builder().codec(Codec::Zstd).build();
    let old = Rules::of(&LogConfig::default(), Origin::Client, NOW, 6);
    assert_eq!(validate(&zstd, &old), Err(Invalid::ZstdTooOld));
    assert!(validate(&zstd, &rules()).is_ok());
}

#[test]
fn counts_that_lie_are_refused() {
    for (count, delta) in [(0, 2), (-1, 2), (4, 2), (3, 3), (3, -1), (i32::MAX, i32::MAX - 1)] {
        let lying = patched(batch(), 57, &i32::to_be_bytes(count));
        let lying = patched(lying, 23, &i32::to_be_bytes(delta));
        let result = validate(&lying, &rules());
        let refused = matches!(result, Err(Invalid::Count(_) | Invalid::RecordCount { .. }));
        assert!(refused, "count {count}, last offset delta {delta}: {result:?}");
    }
    let fewer = patched(patched(batch(), 57, &2_i32.to_be_bytes()), 23, &1_i32.to_be_bytes());
    assert!(matches!(validate(&fewer, &rules()), Err(Invalid::RecordCount { count: 2, found: 2, .. })));
}

#[test]
fn clients_write_no_control_batches_and_no_producer_without_sequence() {
    let control = builder().control().build();
    assert_eq!(validate(&control, &rules()), Err(Invalid::Control));
    let coordinator = Rules { origin: Origin::Coordinator, ..rules() };
    assert!(validate(&control, &coordinator).is_ok());
    let unsequenced = builder().producer(5, 0, -1).build();
    let error = Invalid::Sequence { producer_id: 5, base_sequence: -1 };
    assert_eq!(validate(&unsequenced, &rules()), Err(error));
    assert!(validate(&unsequenced, &coordinator).is_ok());
}

#[test]
fn an_uncompressed_batch_is_walked_whatever_the_crc_says() {
    let good = batch();
    let mut seen = std::collections::BTreeSet::new();
    for at in HEADER_BYTES..good.len() {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let poisoned = patched(good.clone(), at, &[byte]);
            match validate(&poisoned, &rules()) {
                Ok(validated) => {
                    let records: Vec<_> = RecordReader::new(&poisoned[HEADER_BYTES..]).collect();
                    assert!(records.iter().all(Result::is_ok), "byte {at} = {byte}");
                    assert_eq!(records.len(), validated.header.record_count as usize, "byte {at} = {byte}");
                }
                Err(error) => {
                    seen.insert(kind(&error));
                }
            }
        }
    }
    let seen: Vec<&str> = seen.into_iter().collect();
    assert_eq!(seen, ["offset delta", "record"]);
}

fn kind(error: &Invalid) -> &'static str {
    match error {
        Invalid::OffsetDelta { .. } => "offset delta",
        Invalid::Record { .. } => "record",
        other => panic!("not a lie inside a record: {other:?}"),
    }
}

#[test]
fn a_compacted_topic_names_every_record_without_key() {
    let rules = Rules { compact: true, ..rules() };
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new().codec(codec);
        for key in [Some(&b"k"[..]), None, Some(b""), None] {
            builder.push(NOW, key, None, &[]);
        }
        let error = validate(&builder.build(), &rules).unwrap_err();
        let indexes: Vec<i32> = error.record_errors().iter().map(|error| error.index).collect();
        assert_eq!(indexes, [1, 3], "{}", codec.name());
        assert!(!error.is_timestamp());
    }
}

#[test]
fn create_times_out_of_range_are_named() {
    let config =
        LogConfig { timestamp_before_max_ms: 1000, timestamp_after_max_ms: 500, ..LogConfig::default() };
    let rules = Rules::of(&config, Origin::Client, NOW, 11);
    let mut builder = BatchBuilder::new();
    for timestamp in [NOW - 1000, NOW - 1001, -1, NOW + 500, NOW + 501, i64::MIN, i64::MAX] {
        builder.push(timestamp, None, None, &[]);
    }
    let error = validate(&builder.build(), &rules).unwrap_err();
    let indexes: Vec<i32> = error.record_errors().iter().map(|error| error.index).collect();
    assert_eq!(indexes, [1, 4, 5, 6]);
    assert!(error.is_timestamp());
    let (earliest, latest) = (NOW - 1000, NOW + 500);
    let reason = RecordReason::Timestamp { timestamp: NOW - 1001, earliest, latest };
    assert_eq!(error.record_errors()[0].reason, reason);
}

#[test]
fn record_errors_are_bounded_and_all_counted() {
    let mut builder = BatchBuilder::new();
    for _ in 0..MAX_RECORD_ERRORS + 5 {
        builder.push(NOW, None, None, &[]);
    }
    match validate(&builder.build(), &Rules { compact: true, ..rules() }) {
        Err(Invalid::Records { errors, total }) => {
            assert_eq!((errors.len(), total), (MAX_RECORD_ERRORS, MAX_RECORD_ERRORS + 5));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_broker_stamps_log_append_time() {
    let mut stamped = batch();
    crate::batch::header::set_log_append_time(&mut stamped, NOW);
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let error = validate(&stamped, &Rules { timestamp_type, ..rules() }).unwrap_err();
        assert!(error.is_timestamp(), "{error:?}");
        assert_eq!(error.record_errors().len(), 3);
    }
}

#[test]
fn a_log_append_time_topic_stamps_the_batch() {
    let rules = Rules { timestamp_type: TimestampType::LogAppendTime, timestamp_before_max_ms: 0, ..rules() };
    for codec in [Codec::None, Codec::Lz4] {
        let mut batch = builder().codec(codec).build().to_vec();
        let validated = validate(&batch, &rules).unwrap();
        assert_eq!(validated.stamp, Stamp::LogAppendTime(NOW));
        validated.stamp(&mut batch);
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, NOW));
        header.check_crc(&batch).unwrap();
    }
}

#[test]
fn a_wrong_max_timestamp_is_put_right() {
    let mut lying = patched(batch(), 35, &(NOW + 99).to_be_bytes());
    let validated = validate(&lying, &rules()).unwrap();
    assert_eq!(validated.stamp, Stamp::MaxTimestamp(NOW));
    assert_eq!(validated.header.max_timestamp, NOW);
    validated.stamp(&mut lying);
    assert_eq!(validate(&lying, &rules()).unwrap().stamp, Stamp::Keep);
    assert_eq!(lying[..8], batch()[..8]);
}

#[test]
fn a_compressed_batch_is_trusted_unless_told_otherwise() {
    let compressed = builder().codec(Codec::Lz4).build().to_vec();
    assert!(!validate(&compressed, &rules()).unwrap().opened);
    let open = Rules { validate_compressed: true, ..rules() };
    assert!(validate(&compressed, &open).unwrap().opened);
    let garbage = patched(compressed, HEADER_BYTES + 8, &[0xff; 8]);
    assert!(validate(&garbage, &rules()).is_ok(), "trusted by its header");
    assert!(matches!(validate(&garbage, &open), Err(Invalid::Compression(_))));
}

#[test]
fn a_closed_batch_is_still_held_to_the_times_in_its_header() {
    let mut builder = BatchBuilder::new().codec(Codec::Zstd);
    builder.push(NOW, None, None, &[]).push(NOW + 7_200_000, None, None, &[]);
    let error = validate(&builder.build(), &rules()).unwrap_err();
    assert!(error.is_timestamp(), "{error:?}");
}

#[test]
fn a_follower_keeps_offsets_and_looks_for_damage_only() {
    let rules = Rules { origin: Origin::Follower, max_message_bytes: 1, compact: true, ..rules() };
    let mut builder = BatchBuilder::new().base_offset(Offset(500)).control();
    builder.push(i64::MAX, None, None, &[]);
    let batch = builder.build().to_vec();
    assert_eq!(validate(&batch, &rules).unwrap().header.base_offset, Offset(500));
    let mut damaged = batch.clone();
    damaged[65] ^= 4;
    assert!(matches!(validate(&damaged, &rules), Err(Invalid::Crc(_))));
    let backwards = patched(batch, 23, &(-1_i32).to_be_bytes());
    assert!(matches!(validate(&backwards, &rules), Err(Invalid::Count(_))));
}

proptest! {
    #[test]
    fn a_right_crc_over_arbitrary_records_never_plants_poison(
        records in proptest::collection::vec(any::<u8>(), 0..60), count in 0..6_i32, compact: bool,
    ) {
        let mut bytes = batch();
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(&records);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let bytes = patched(patched(bytes, 57, &count.to_be_bytes()), 23, &(count - 1).to_be_bytes());
        if validate(&bytes, &Rules { compact, timestamp_after_max_ms: i64::MAX, ..rules() }).is_ok() {
            let read: Vec<_> = RecordReader::new(&bytes[HEADER_BYTES..]).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.len(), count as usize);
            for (at, record) in read.iter().enumerate() {
                prop_assert_eq!(record.offset_delta as usize, at);
                prop_assert!(!compact || record.key.is_some());
            }
        }
    }
}
