//! A read position over a request's bytes, shared by the header, the guard and our own views.
//! It is not a decoder of messages. Every read is checked against what remains; nothing allocates.
//! Its one invariant: a length it hands out lies inside the slice it was made over.
use std::ops::Range;

use crate::wire::request::WireError;

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
