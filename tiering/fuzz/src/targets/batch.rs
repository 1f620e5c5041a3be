//! One batch: the validator, the record reader, and each decompressor with its limit.
//! Invariant: what passes the validator can be read by everybody after it.

use firnline_tiering::batch::compress::decompress;
use firnline_tiering::batch::header::{BatchHeader, Codec, HEADER_BYTES, TimestampType};
use firnline_tiering::batch::record::RecordReader;
use firnline_tiering::batch::validate::{Origin, Rules, validate};

use super::seal;

/// What a decompressor may give.
const LIMIT: usize = 1 << 20;

/// Byte 0: who appends, the topic's rules, and whether length and CRC are made right; then the batch.
pub fn validated(data: &[u8]) {
    let Some((&choice, batch)) = data.split_first() else { return };
    let mut batch = batch.to_vec();
    if choice & 0x80 != 0 {
        seal::batch(&mut batch);
    }
    let rules = rules(choice);
    let Ok(valid) = validate(&batch, &rules) else { return };
    valid.stamp(&mut batch);
    let header = BatchHeader::parse_whole(&batch).expect("an accepted batch has a header");
    header.check_crc(&batch).expect("a stamped batch has its CRC");
    assert_eq!(header, BatchHeader { crc: header.crc, attributes: header.attributes, ..valid.header });
    let codec = header.codec().expect("an accepted batch has a known codec");
    if !valid.opened {
        return;
    }
    let opened = decompress(codec, &batch[HEADER_BYTES..], 64 << 20).expect("it was opened before");
    let mut reader = RecordReader::new(&opened);
    let mut count = 0;
    while let Some(record) = reader.next_record().expect("an accepted record") {
        assert_eq!(record.offset_delta, count, "offsets count from 0");
        assert!(!rules.compact || record.key.is_some(), "a compacted topic has keys");
        count += 1;
    }
    assert_eq!(count, header.record_count);
}

fn rules(choice: u8) -> Rules {
    let origin = match choice & 3 {
        0 | 1 => Origin::Client,
        2 => Origin::Coordinator,
        _ => Origin::Follower,
    };
    let stamped = choice & 4 != 0;
    Rules {
        origin,
        now_ms: 1_700_000_000_000,
        max_message_bytes: 1 << 20,
        compact: choice & 8 != 0,
        timestamp_type: if stamped { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        timestamp_before_max_ms: if choice & 16 != 0 { 1000 } else { i64::MAX },
        timestamp_after_max_ms: 3_600_000,
        validate_compressed: choice & 32 != 0,
        zstd_allowed: choice & 64 == 0,
    }
}

/// Records, uncompressed, without a header before them.
pub fn records(data: &[u8]) {
    let mut reader = RecordReader::new(data);
    let mut taken = 0;
    while let Ok(Some(record)) = reader.next_record() {
        let fields = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let headers: usize =
            record.headers.map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum();
        assert!(fields + headers < record.size, "{record:?} holds more than it takes");
        assert_eq!(record.headers.count(), record.headers.len());
        taken += record.size;
    }
    assert!(taken <= data.len(), "{taken} bytes of {}", data.len());
}

/// Any bytes as gzip.
pub fn gzip(data: &[u8]) {
    opened(Codec::Gzip, data);
}

/// Any bytes as snappy, raw or in the Java client's framing.
pub fn snappy(data: &[u8]) {
    opened(Codec::Snappy, data);
}

/// Any bytes as an LZ4 frame.
pub fn lz4(data: &[u8]) {
    opened(Codec::Lz4, data);
}

/// Any bytes as zstd.
pub fn zstd(data: &[u8]) {
    opened(Codec::Zstd, data);
}

fn opened(codec: Codec, data: &[u8]) {
    if let Ok(opened) = decompress(codec, data, LIMIT) {
        assert!(opened.len() <= LIMIT, "{} bytes came out", opened.len());
        let again = decompress(codec, data, LIMIT).expect("it opened before");
        assert_eq!(opened, again);
        if let Some(less) = opened.len().checked_sub(1) {
            assert!(decompress(codec, data, less).is_err(), "the limit {less} was passed");
        }
    }
}
