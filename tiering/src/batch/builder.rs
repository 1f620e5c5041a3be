//! Writes a record batch from records: for coordinators, tools and tests.
//! Client batches are never rebuilt with it. Invariant: what it builds passes `validate`.

use crate::batch::compress::compress;
use crate::batch::header::{Codec, HEADER_BYTES, LOG_OVERHEAD, MAGIC, crc32c};
use crate::batch::record::put_varlong;
use crate::epoch::LeaderEpoch;
use crate::offsets::Offset;
use bytes::Bytes;

/// A header of a record: key, and a value that may be null.
pub type HeaderRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// Collects records and writes them as one batch.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    codec: Codec,
    transactional: bool,
    control: bool,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    records: Vec<u8>,
    scratch: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An uncompressed batch at offset 0 without producer.
    pub fn new() -> Self {
        Self {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch(-1),
            codec: Codec::None,
            transactional: false,
            control: false,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp: 0,
            max_timestamp: -1,
            count: 0,
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Compresses the records with `codec`.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// The first record's offset.
    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.base_offset = offset;
        self
    }

    /// The appending leader's epoch.
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = epoch;
        self
    }

    /// The idempotent producer that writes it, and the first record's sequence (−1 for markers).
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Part of a transaction.
    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// Holds a control record.
    pub fn control(mut self) -> Self {
        self.control = true;
        self
    }

    /// Adds a record; its offset is the next one. `timestamp` in milliseconds.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> &mut Self {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let body = &mut self.scratch;
        body.clear();
        body.push(0);
        put_varlong(body, timestamp.wrapping_sub(self.base_timestamp));
        put_varlong(body, i64::from(self.count));
        put_bytes(body, key);
        put_bytes(body, value);
        put_varlong(body, headers.len() as i64);
        for (key, value) in headers {
            put_bytes(body, Some(key));
            put_bytes(body, *value);
        }
        put_varlong(&mut self.records, self.scratch.len() as i64);
        self.records.extend_from_slice(&self.scratch);
        assert!(self.count < i32::MAX, "a batch counts its records in 31 bits");
        self.count += 1;
        self
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// No record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch if it were built now, uncompressed.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch. A codec that fails leaves it uncompressed. Panics without a record, or past 2 GiB.
    pub fn build(self) -> Bytes {
        assert!(self.count > 0, "a batch has a record");
        let closed = match self.codec {
            Codec::None => None,
            codec => compress(codec, &self.records).ok().map(|closed| (codec, closed)),
        };
        let (codec, records) = closed.unwrap_or((Codec::None, self.records));
        let length = HEADER_BYTES - LOG_OVERHEAD + records.len();
        assert!(length <= i32::MAX as usize, "a batch of {length} bytes does not fit its length field");
        let attributes = codec.bits()
            | if self.transactional { 1 << 4 } else { 0 }
            | if self.control { 1 << 5 } else { 0 };

        let mut covered = Vec::with_capacity(length - 9);
        covered.extend_from_slice(&attributes.to_be_bytes());
        covered.extend_from_slice(&(self.count - 1).to_be_bytes());
        covered.extend_from_slice(&self.base_timestamp.to_be_bytes());
        covered.extend_from_slice(&self.max_timestamp.to_be_bytes());
        covered.extend_from_slice(&self.producer_id.to_be_bytes());
        covered.extend_from_slice(&self.producer_epoch.to_be_bytes());
        covered.extend_from_slice(&self.base_sequence.to_be_bytes());
        covered.extend_from_slice(&self.count.to_be_bytes());
        covered.extend_from_slice(&records);

        let mut batch = Vec::with_capacity(LOG_OVERHEAD + length);
        batch.extend_from_slice(&self.base_offset.0.to_be_bytes());
        batch.extend_from_slice(&(length as i32).to_be_bytes());
        batch.extend_from_slice(&self.leader_epoch.0.to_be_bytes());
        batch.extend_from_slice(&MAGIC.to_be_bytes());
        batch.extend_from_slice(&crc32c(&covered).to_be_bytes());
        batch.extend_from_slice(&covered);
        Bytes::from(batch)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(out, -1),
        Some(bytes) => {
            put_varlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::compress::decompress;
    use crate::batch::header::BatchHeader;
    use crate::batch::record::RecordReader;
    use proptest::prelude::*;

    type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..40)
    }

    fn record() -> impl Strategy<Value = Owned> {
        let headers = proptest::collection::vec((bytes(), proptest::option::of(bytes())), 0..4);
        (any::<i64>(), proptest::option::of(bytes()), proptest::option::of(bytes()), headers)
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_read_back(records in proptest::collection::vec(record(), 1..30), codec in 0..5_i16) {
            let codec = Codec::from_bits(codec).unwrap();
            let mut builder = BatchBuilder::new().codec(codec).base_offset(Offset(5));
            for (timestamp, key, value, headers) in &records {
                let headers: Vec<HeaderRef<'_>> = headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
                builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
            }
            let size = builder.size();
            let batch = builder.build();
            let header = BatchHeader::parse_whole(&batch).unwrap();
            prop_assert_eq!(header.check_crc(&batch), Ok(()));
            prop_assert_eq!(header.check_count(), Ok(()));
            prop_assert_eq!(header.codec(), Ok(codec));
            let opened = decompress(codec, &batch[HEADER_BYTES..], 1 << 20).unwrap();
            prop_assert_eq!(opened.len() + HEADER_BYTES, size);
            let mut read = Vec::new();
            for record in RecordReader::new(&opened) {
                let record = record.unwrap();
                prop_assert_eq!(record.offset_delta as usize, read.len());
                let headers = record.headers.map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
                let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
                read.push((timestamp, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers));
            }
            prop_assert_eq!(read, records);
        }
    }

    #[test]
    #[should_panic(expected = "a batch has a record")]
    fn a_batch_without_records_is_a_bug() {
        BatchBuilder::new().build();
    }

    /// See the README beside the files.
    fn as_kafka_wrote_it(codec: Codec) -> BatchBuilder {
        let mut builder = BatchBuilder::new()
            .codec(codec)
            .base_offset(Offset(100))
            .leader_epoch(LeaderEpoch(3))
            .producer(4000, 2, 17);
        for i in 0..40 {
            let (key, value) =
                (format!("key-{i}"), format!("value {i} of {}{}", codec.name(), " ".repeat(i)));
            let key = (i % 7 != 0).then_some(key.as_bytes());
            let value = (i % 11 != 0).then_some(value.as_bytes());
            let headers: &[HeaderRef<'_>] =
                if i % 3 == 0 { &[(b"h", Some(b"one")), (b"h", None)] } else { &[] };
            builder.push(1_700_000_000_000 + i as i64, key, value, headers);
        }
        builder
    }

    #[test]
    fn batches_that_kafka_wrote_are_read_and_the_uncompressed_one_is_rebuilt_to_the_byte() {
        let fixtures: [(Codec, &[u8]); 5] = [
            (Codec::None, include_bytes!("../../tests/fixtures/record-batch/v2/none.batch")),
            (Codec::Gzip, include_bytes!("../../tests/fixtures/record-batch/v2/gzip.batch")),
            (Codec::Snappy, include_bytes!("../../tests/fixtures/record-batch/v2/snappy.batch")),
            (Codec::Lz4, include_bytes!("../../tests/fixtures/record-batch/v2/lz4.batch")),
            (Codec::Zstd, include_bytes!("../../tests/fixtures/record-batch/v2/zstd.batch")),
        ];
        for (codec, theirs) in fixtures {
            let header = BatchHeader::parse_whole(theirs).unwrap();
            header.check_crc(theirs).unwrap();
            assert_eq!(header.codec(), Ok(codec));
            let ours = as_kafka_wrote_it(codec).build();
            let open = |batch: &[u8]| decompress(codec, &batch[HEADER_BYTES..], 1 << 20).unwrap();
            assert_eq!(open(theirs), open(&ours), "{}", codec.name());
            let rebuilt = BatchHeader::parse(&ours).unwrap();
            let (batch_length, crc) = (header.batch_length, header.crc);
            assert_eq!(header, BatchHeader { batch_length, crc, ..rebuilt });
            if codec == Codec::None {
                assert_eq!(theirs, &ours[..]);
            }
        }
    }
}
