//! Batches as clients send them, and what came back taken apart. It knows no broker.

use bytes::Bytes;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::header::{BatchHeader, batches};
use firnline_tiering::clock::{Clock, SystemClock};
use kafka_protocol::records::RecordBatchDecoder;

/// One batch of these values, stamped now, without producer or compression.
pub fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(SystemClock.now_ms(), Some(b"k"), Some(value.as_bytes()), &[]);
    }
    builder.build()
}

/// One batch with one record of `len` bytes that no other serial has.
pub fn bulk(serial: u64, len: usize) -> Bytes {
    let mut state = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut value = Vec::with_capacity(len + 8);
    while value.len() < len {
        // xorshift: incompressible, and the same for the same serial.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.extend_from_slice(&state.to_le_bytes());
    }
    value.truncate(len);
    let mut builder = BatchBuilder::new();
    builder.push(SystemClock.now_ms(), Some(&serial.to_be_bytes()), Some(&value), &[]);
    builder.build()
}

/// The whole batches in a fetch answer; a torn last one is left out, as a client does.
pub fn whole(records: &Bytes) -> Vec<(BatchHeader, Bytes)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&records[at..]) {
        let end = at + header.size();
        if end > records.len() {
            break;
        }
        found.push((header, records.slice(at..end)));
        at = end;
    }
    found
}

/// Asserts that `stored` is `sent` but for base offset and leader epoch, which the CRC does not cover.
pub fn assert_same_batch(stored: &Bytes, sent: &Bytes) {
    assert_eq!(stored.len(), sent.len());
    assert!(stored[8..12] == sent[8..12] && stored[16..] == sent[16..], "a batch came back changed");
}

/// Offsets and values of all records in a fetch answer.
pub fn values(records: &Bytes) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for (_, batch) in whole(records) {
        let set = RecordBatchDecoder::decode(&mut batch.clone()).expect("a whole batch");
        let text = |value: Option<Bytes>| {
            String::from_utf8(value.unwrap_or_default().to_vec()).expect("a flow's text")
        };
        found.extend(set.records.into_iter().map(|record| (record.offset, text(record.value))));
    }
    found
}

/// How many batches `records` holds, whole or not.
pub fn count(records: &Bytes) -> usize {
    batches(records).count()
}
