//! The records inside a batch, read in place: borrowed, without allocation, never trusting a length.
//! It does not open compressed batches (decompress first). Invariant: every slice lies within the input.
//!
//! ```text
//! varint length | i8 attributes | varlong timestamp delta | varint offset delta
//!   | varint key length (-1 null)   | key
//!   | varint value length (-1 null) | value
//!   | varint header count | { varint key length | key | varint value length (-1 null) | value } ...
//! ```
//!
//! Varints are zig-zag. `length` counts what follows it. Header keys are never null, may repeat, keep their order.

/// What is wrong with a record's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// The input ends inside a number or a field.
    #[error("record is cut short")]
    Truncated,
    /// A varint has more bits than its type.
    #[error("varint is too long")]
    Varint,
    /// A length below −1, or below 0 where null is not allowed.
    #[error("length {0} cannot be")]
    Length(i64),
    /// The fields take more or fewer bytes than the record's length says.
    #[error("record says {said} bytes, its fields take {took}")]
    Size {
        /// The length in front.
        said: usize,
        /// What the fields take.
        took: usize,
    },
    /// More headers than bytes.
    #[error("{0} headers cannot be in this record")]
    HeaderCount(i64),
}

/// One record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Unused bits; 0 from every known client.
    pub attributes: i8,
    /// Milliseconds after the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// `None` is null, not empty.
    pub key: Option<&'a [u8]>,
    /// `None` is null: a tombstone in a compacted log.
    pub value: Option<&'a [u8]>,
    /// In the order they were written.
    pub headers: Headers<'a>,
    /// Bytes of the whole record, length included.
    pub size: usize,
}

/// A record's headers: already checked, read again when iterated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: u32,
}

impl Headers<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    /// Key and value; a null value is `None`.
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let mut cursor = Cursor { rest: self.bytes };
        // The reader that made this value walked these bytes already, so a fault here cannot come up.
        let key = cursor.bytes().ok().flatten()?;
        let value = cursor.bytes().ok()?;
        self.bytes = cursor.rest;
        Some((key, value))
    }
}

/// Walks uncompressed records.
#[derive(Debug, Clone)]
pub struct RecordReader<'a> {
    cursor: Cursor<'a>,
}

impl<'a> RecordReader<'a> {
    /// `records` is what follows the batch header, uncompressed.
    pub fn new(records: &'a [u8]) -> Self {
        Self { cursor: Cursor { rest: records } }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.cursor.rest.len()
    }

    /// The next record; `None` at the end of the bytes. After an error nothing more is read.
    pub fn next_record(&mut self) -> Result<Option<Record<'a>>, RecordFault> {
        if self.cursor.rest.is_empty() {
            return Ok(None);
        }
        let result = self.read();
        if result.is_err() {
            self.cursor.rest = &[];
        }
        result.map(Some)
    }

    fn read(&mut self) -> Result<Record<'a>, RecordFault> {
        let before = self.cursor.rest.len();
        let said = self.cursor.varint()?;
        let said = usize::try_from(said).map_err(|_| RecordFault::Length(i64::from(said)))?;
        let (body, rest) = self.cursor.rest.split_at_checked(said).ok_or(RecordFault::Truncated)?;
        let mut fields = Cursor { rest: body };
        let attributes = fields.byte()? as i8;
        let timestamp_delta = fields.varlong()?;
        let offset_delta = fields.varint()?;
        let key = fields.bytes()?;
        let value = fields.bytes()?;
        let headers = fields.headers()?;
        if !fields.rest.is_empty() {
            return Err(RecordFault::Size { said, took: said - fields.rest.len() });
        }
        self.cursor.rest = rest;
        let size = before - rest.len();
        Ok(Record { attributes, timestamp_delta, offset_delta, key, value, headers, size })
    }
}

impl<'a> Iterator for RecordReader<'a> {
    type Item = Result<Record<'a>, RecordFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordFault> {
        let (first, rest) = self.rest.split_first().ok_or(RecordFault::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, RecordFault> {
        // One byte is by far the most common: small deltas, short keys, no headers.
        if let Some((&first, rest)) = self.rest.split_first()
            && first < 0x80
        {
            self.rest = rest;
            return Ok(((first >> 1) as i32) ^ -((first & 1) as i32));
        }
        let raw = self.unsigned(5)?;
        let raw = u32::try_from(raw).map_err(|_| RecordFault::Varint)?;
        Ok(((raw >> 1) as i32) ^ -((raw & 1) as i32))
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, RecordFault> {
        let raw = self.unsigned(10)?;
        Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    /// A little-endian base-128 number of at most `most` bytes.
    fn unsigned(&mut self, most: u32) -> Result<u64, RecordFault> {
        let mut value = 0_u64;
        for at in 0..most {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if at == 9 && bits > 1 {
                return Err(RecordFault::Varint);
            }
            value |= bits << (7 * at);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordFault::Varint)
    }

    /// A length and that many bytes; −1 is null.
    #[inline]
    fn bytes(&mut self) -> Result<Option<&'a [u8]>, RecordFault> {
        let len = self.varint()?;
        if len == -1 {
            return Ok(None);
        }
        let len = usize::try_from(len).map_err(|_| RecordFault::Length(i64::from(len)))?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(RecordFault::Truncated)?;
        self.rest = rest;
        Ok(Some(bytes))
    }

    #[inline]
    fn headers(&mut self) -> Result<Headers<'a>, RecordFault> {
        let said = self.varint()?;
        let count = u32::try_from(said).map_err(|_| RecordFault::HeaderCount(i64::from(said)))?;
        // A header takes two bytes at least.
        if count as usize > self.rest.len() / 2 {
            return Err(RecordFault::HeaderCount(i64::from(said)));
        }
        let start = self.rest;
        for _ in 0..count {
            if self.bytes()?.is_none() {
                return Err(RecordFault::Length(-1));
            }
            self.bytes()?;
        }
        Ok(Headers { bytes: &start[..start.len() - self.rest.len()], count })
    }
}

/// Appends a zig-zag varint.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push((raw as u8 & 0x7f) | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn varint(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_varlong(&mut out, value);
        out
    }

    #[test]
    fn varints_have_kafkas_bytes() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(-1), [1]);
        assert_eq!(varint(63), [0x7e]);
        assert_eq!(varint(-64), [0x7f]);
        assert_eq!(varint(64), [0x80, 0x01]);
        assert_eq!(varint(i64::from(i32::MAX)), [0xfe, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(varint(i64::MIN), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn a_varint_that_does_not_end_or_overflows_is_refused() {
        let read = |bytes: &[u8]| Cursor { rest: bytes }.varint();
        assert_eq!(read(&[0x80]), Err(RecordFault::Truncated));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(RecordFault::Varint));
        assert_eq!(read(&[0x80; 6]), Err(RecordFault::Varint));
        let long = |bytes: &[u8]| Cursor { rest: bytes }.varlong();
        assert_eq!(long(&[0x80; 11]), Err(RecordFault::Varint));
        assert_eq!(
            long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            Err(RecordFault::Varint)
        );
    }

    /// Key "k", value null, two headers with the same key, the second null.
    const RECORD: &[u8] = &[
        28, 0, 10, 0, 2, b'k', 1, 4, // length 14, ts +5, offset +0, key, value -1, 2 headers
        2, b'h', 2, b'v', // h = v
        2, b'h', 1, // h = null
    ];

    #[test]
    fn a_record_is_read_in_place() {
        let mut reader = RecordReader::new(RECORD);
        let record = reader.next_record().unwrap().unwrap();
        assert_eq!((record.timestamp_delta, record.offset_delta, record.size), (5, 0, 15));
        assert_eq!((record.key, record.value), (Some(&b"k"[..]), None));
        let headers: Vec<_> = record.headers.collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"v"[..])), (&b"h"[..], None)]);
        assert_eq!(reader.next_record(), Ok(None));
    }

    #[test]
    fn every_cut_of_a_record_is_refused() {
        for len in 1..RECORD.len() {
            let result = RecordReader::new(&RECORD[..len]).next_record();
            assert_eq!(result, Err(RecordFault::Truncated), "{len} of {} bytes", RECORD.len());
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let with = |at: usize, byte: u8| {
            let mut bytes = RECORD.to_vec();
            bytes[at] = byte;
            let mut reader = RecordReader::new(&bytes);
            let result = reader.next_record();
            assert_eq!(reader.next_record(), Ok(None), "nothing is read after a fault");
            result.map(|record| record.map(|r| r.size))
        };
        assert_eq!(with(0, 26), Err(RecordFault::Truncated), "record length one short");
        assert_eq!(with(0, 1), Err(RecordFault::Length(-1)), "record length negative");
        assert_eq!(with(4, 3), Err(RecordFault::Length(-2)), "key length below null");
        assert_eq!(with(7, 100), Err(RecordFault::HeaderCount(50)), "more headers than bytes");
        assert_eq!(with(7, 1), Err(RecordFault::HeaderCount(-1)), "fewer than no headers");
        assert_eq!(with(7, 2), Err(RecordFault::Size { said: 14, took: 11 }), "bytes after the last header");
        assert_eq!(with(8, 1), Err(RecordFault::Length(-1)), "null header key");
    }

    proptest! {
        #[test]
        fn varints_round_trip(value: i64) {
            let bytes = varint(value);
            let mut cursor = Cursor { rest: &bytes };
            prop_assert_eq!(cursor.varlong(), Ok(value));
            prop_assert!(cursor.rest.is_empty());
            if let Ok(small) = i32::try_from(value) {
                prop_assert_eq!(Cursor { rest: &bytes }.varint(), Ok(small));
            }
        }

        #[test]
        fn arbitrary_bytes_end_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut taken = 0;
            for record in RecordReader::new(&bytes).flatten() {
                taken += record.size;
                prop_assert!(record.headers.count() <= bytes.len());
            }
            prop_assert!(taken <= bytes.len());
        }
    }
}
