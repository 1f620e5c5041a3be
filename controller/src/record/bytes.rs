//! How every format of the quorum is read and written: big-endian fields, a bounds-checked cursor, one error.
//! It knows no format itself. Invariant: no length found in bytes allocates more than the bytes that remain.

use crc_fast::CrcAlgorithm;
use firnline_tiering::cold::FormatError;
use uuid::Uuid;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a field.
    #[error("{wanted} bytes wanted, {left} left")]
    Truncated {
        /// Bytes the field needs.
        wanted: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// Written by a newer Firnline, or not by one.
    #[error("{what} {kind} version {version} is unknown to this binary: run a newer one")]
    Unknown {
        /// Record, precondition, entry...
        what: &'static str,
        /// Its number.
        kind: u16,
        /// Its version.
        version: u16,
    },
    /// A field holds what it cannot.
    #[error("{0}")]
    Invalid(String),
    /// Tiering's part of a record.
    #[error(transparent)]
    Tier(#[from] FormatError),
}

impl CodecError {
    /// The bytes are of a newer version, not damaged.
    pub fn is_unknown(&self) -> bool {
        matches!(self, CodecError::Unknown { .. } | CodecError::Tier(FormatError::NewerVersion { .. }))
    }
}

/// CRC-32C (Castagnoli), as everywhere in the house.
pub fn checksum(bytes: &[u8]) -> u32 {
    // The algorithm is 32 bits wide; crc-fast answers in 64.
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// A cursor over bytes nobody vouches for.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let left = self.rest.len();
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or(CodecError::Truncated { wanted: len, left })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(CodecError::Invalid(format!("a flag is {other}"))),
        }
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, CodecError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Two bytes, signed.
    pub fn i16(&mut self) -> Result<i16, CodecError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Four bytes, signed.
    pub fn i32(&mut self) -> Result<i32, CodecError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Result<i64, CodecError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<Uuid, CodecError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// UTF-8 behind its u16 length.
    pub fn text(&mut self) -> Result<String, CodecError> {
        let len = usize::from(self.u16()?);
        let bytes = self.take(len)?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| CodecError::Invalid("text is not UTF-8".to_owned()))?;
        Ok(text.to_owned())
    }

    /// Text, if the flag before it is set.
    pub fn optional_text(&mut self) -> Result<Option<String>, CodecError> {
        if self.flag()? { self.text().map(Some) } else { Ok(None) }
    }

    /// A u32 count of elements of at least `each` bytes; refused when the bytes left cannot hold them.
    pub fn count(&mut self, each: usize) -> Result<usize, CodecError> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / each.max(1) {
            let left = self.rest.len();
            return Err(CodecError::Invalid(format!("{count} elements cannot fit in {left} bytes")));
        }
        Ok(count)
    }

    /// Nothing may be left over.
    pub fn finish(self) -> Result<(), CodecError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(CodecError::Invalid(format!("{left} bytes too many"))),
        }
    }
}

/// Writes fields one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// 0 or 1.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Two bytes, signed.
    pub fn i16(&mut self, value: i16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Four bytes, signed.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.raw(value.as_bytes())
    }

    /// Text behind its u16 length. Decisions bound every text far below; a longer one is a bug.
    pub fn text(&mut self, text: &str) -> &mut Self {
        assert!(
            text.len() <= usize::from(u16::MAX),
            "text of {} bytes in a format that holds 65535",
            text.len()
        );
        self.u16(text.len() as u16).raw(text.as_bytes())
    }

    /// Text behind a flag.
    pub fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        self.flag(text.is_some());
        match text {
            Some(text) => self.text(text),
            None => self,
        }
    }

    /// A u32 count behind which elements follow.
    pub fn count(&mut self, count: usize) -> &mut Self {
        assert!(u32::try_from(count).is_ok(), "{count} elements in a format that holds 2^32");
        self.u32(count as u32)
    }

    /// How much was written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Writes a u32 length and then what `body` writes.
    pub fn sized(&mut self, body: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.out.len();
        self.u32(0);
        body(self);
        let len = self.out.len() - at - 4;
        assert!(u32::try_from(len).is_ok(), "{len} bytes in a format that holds 2^32");
        self.out[at..at + 4].copy_from_slice(&(len as u32).to_be_bytes());
        self
    }

    /// The bytes; the writer is empty then.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}
