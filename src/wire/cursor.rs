//! A read position over a request's bytes, shared by the header, the guard and our own views.
//! It is not a decoder of messages. Every read is checked against what remains; nothing allocates.
//! Its one invariant: a length it hands out lies inside the slice it was made over.
use std::ops::Range;

use crate::wire::error::WireError;

/// A checked read position.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Moves on by `count` bytes.
    pub fn skip(&mut self, count: usize) -> Result<(), WireError> {
        self.range(count).map(|_| ())
    }

    /// Takes `count` bytes as a range of the underlying slice.
    pub fn range(&mut self, count: usize) -> Result<Range<usize>, WireError> {
        if count > self.remaining() {
            return Err(WireError::Truncated {
                at: self.at,
                wanted: count as u64,
                remaining: self.remaining() as u64,
            });
        }
        let range = self.at..self.at + count;
        self.at = range.end;
        Ok(range)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let range = self.range(N)?;
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[range]);
        Ok(out)
    }

    /// One signed byte.
    pub fn i8(&mut self) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// Big-endian 16 bits.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Big-endian 32 bits.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Big-endian 64 bits.
    pub fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Sixteen bytes of a UUID.
    pub fn uuid(&mut self) -> Result<uuid::Uuid, WireError> {
        Ok(uuid::Uuid::from_bytes(self.array()?))
    }

    /// An unsigned varint of at most five bytes and 32 bits; anything wider is refused.
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let start = self.at;
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.array::<1>()?[0];
            if shift == 28 && byte > 0x0f {
                return Err(WireError::BadVarint { at: start });
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::BadVarint { at: start })
    }

    /// A length written as `i16`, `-1` for null.
    pub fn nullable_string_range(&mut self) -> Result<Option<Range<usize>>, WireError> {
        let at = self.at;
        match self.i16()? {
            -1 => Ok(None),
            length if length >= 0 => self.range(length as usize).map(Some),
            length => Err(WireError::NegativeLength { at, length: i64::from(length) }),
        }
    }

    /// A length written as `i32`, `-1` for null.
    pub fn nullable_bytes_range(&mut self) -> Result<Option<Range<usize>>, WireError> {
        let at = self.at;
        match self.i32()? {
            -1 => Ok(None),
            length if length >= 0 => self.range(length as usize).map(Some),
            length => Err(WireError::NegativeLength { at, length: i64::from(length) }),
        }
    }

    /// A length written as unsigned varint plus one, `0` for null.
    pub fn compact_range(&mut self) -> Result<Option<Range<usize>>, WireError> {
        match self.uvarint()? {
            0 => Ok(None),
            length => self.range(length as usize - 1).map(Some),
        }
    }

    /// An element count, `None` for null. It is refused when that many elements of at least
    /// `least` bytes each cannot lie in what remains.
    pub fn count(&mut self, compact: bool, least: usize) -> Result<Option<usize>, WireError> {
        let at = self.at;
        let count = if compact {
            match self.uvarint()? {
                0 => return Ok(None),
                count => count as usize - 1,
            }
        } else {
            match self.i32()? {
                -1 => return Ok(None),
                count if count >= 0 => count as usize,
                count => return Err(WireError::NegativeLength { at, length: i64::from(count) }),
            }
        };
        let wanted = count as u64 * least.max(1) as u64;
        if wanted > self.remaining() as u64 {
            let remaining = self.remaining() as u64;
            return Err(WireError::Truncated { at, wanted, remaining });
        }
        Ok(Some(count))
    }

    /// Walks over a tag section (KIP-482) without keeping anything.
    pub fn skip_tagged_fields(&mut self) -> Result<usize, WireError> {
        let at = self.at;
        let count = self.uvarint()? as usize;
        if count as u64 * 2 > self.remaining() as u64 {
            let (wanted, remaining) = (count as u64 * 2, self.remaining() as u64);
            return Err(WireError::Truncated { at, wanted, remaining });
        }
        for _ in 0..count {
            self.uvarint()?;
            let size = self.uvarint()? as usize;
            self.skip(size)?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::writer::Writer;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_read_back(value in any::<u32>()) {
            let mut writer = Writer::new(true, 5);
            writer.uvarint(value);
            let mut cursor = Cursor::new(&writer.out);
            prop_assert_eq!(cursor.uvarint(), Ok(value));
            prop_assert_eq!(cursor.remaining(), 0);
            for length in 0..writer.out.len() {
                prop_assert!(Cursor::new(&writer.out[..length]).uvarint().is_err());
            }
        }

        #[test]
        fn strings_read_back_in_both_encodings(text in proptest::option::of("\\PC{0,200}"), compact in any::<bool>()) {
            let mut writer = Writer::new(compact, 16);
            writer.nullable_string(text.as_deref());
            let mut cursor = Cursor::new(&writer.out);
            let range = if compact { cursor.compact_range() } else { cursor.nullable_string_range() };
            let read = range.expect("fits").map(|range| &writer.out[range]);
            prop_assert_eq!(read, text.as_deref().map(str::as_bytes));
        }

        #[test]
        fn no_read_leaves_the_slice(bytes in proptest::collection::vec(any::<u8>(), 0..40), least in 0usize..20) {
            let mut cursor = Cursor::new(&bytes);
            while cursor.remaining() > 0 {
                let before = cursor.position();
                let _ = cursor.clone().skip_tagged_fields();
                let _ = cursor.clone().compact_range();
                let _ = cursor.clone().nullable_bytes_range();
                if let Ok(Some(count)) = cursor.clone().count(true, least) {
                    prop_assert!(count * least.max(1) <= bytes.len());
                }
                let _ = cursor.uvarint();
                prop_assert!(cursor.position() > before && cursor.position() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_varint_wider_than_32_bits_is_refused() {
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
        assert_eq!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint(),
            Err(WireError::BadVarint { at: 0 })
        );
        assert_eq!(Cursor::new(&[0x80; 6]).uvarint(), Err(WireError::BadVarint { at: 0 }));
    }

    #[test]
    fn lengths_below_null_are_refused() {
        let short = (-2i16).to_be_bytes();
        assert_eq!(
            Cursor::new(&short).nullable_string_range(),
            Err(WireError::NegativeLength { at: 0, length: -2 })
        );
    }
}
