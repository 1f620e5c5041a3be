//! How every format of the cold tier is read and written: big-endian fields, a bounds-checked cursor, one error.
//! It knows no format itself. Invariant: no read goes past the bytes at hand and no length found in them allocates.

use crate::batch::header::crc32c;
use uuid::Uuid;

/// Why bytes are not what they should be. `what` names the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end inside a field.
    #[error("{what} is cut short: {wanted} bytes wanted, {left} left")]
    Truncated {
        /// The format.
        what: &'static str,
        /// Bytes the field needs.
        wanted: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// It does not begin (or end) with the format's mark.
    #[error("this is no {what}: its mark is missing")]
    Mark {
        /// The format.
        what: &'static str,
    },
    /// Written by a newer Firnline.
    #[error("{what} has version {found}, this binary reads up to version {known}: run a newer one")]
    NewerVersion {
        /// The format.
        what: &'static str,
        /// The version it asks of its reader.
        found: u16,
        /// The newest version known here.
        known: u16,
    },
    /// The checksum disagrees: the bytes were damaged.
    #[error("{what} is damaged: crc {computed:#010x}, stored {stored:#010x}")]
    Checksum {
        /// The format.
        what: &'static str,
        /// The checksum kept with the bytes.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A field holds what it cannot.
    #[error("{what} is invalid: {why}")]
    Invalid {
        /// The format.
        what: &'static str,
        /// Which field, and how.
        why: String,
    },
}

/// A cursor over bytes nobody vouches for.
#[derive(Debug, Clone)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(FormatError::Truncated { what: self.what, wanted: len, left: self.rest.len() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, FormatError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, FormatError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// Text of at most 65,535 bytes behind its u16 length.
    pub(crate) fn text(&mut self) -> Result<&'a str, FormatError> {
        let len = self.u16()?;
        let bytes = self.take(usize::from(len))?;
        std::str::from_utf8(bytes).map_err(|_| self.invalid("text is not UTF-8"))
    }

    /// A u32 count of elements of at least `each` bytes; refused when the bytes left cannot hold them.
    pub(crate) fn count(&mut self, each: usize) -> Result<usize, FormatError> {
        let count = self.u32()?;
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        if wanted > self.rest.len() / each.max(1) {
            return Err(self.invalid(format!("{count} elements cannot fit in {} bytes", self.rest.len())));
        }
        Ok(wanted)
    }

    /// The mark, then version and minimum reader version; a minimum above `known` is refused by name.
    pub(crate) fn open(&mut self, mark: &[u8; 4], known: u16) -> Result<u16, FormatError> {
        if self.take(4)? != mark {
            return Err(FormatError::Mark { what: self.what });
        }
        let version = self.u16()?;
        let min_reader = self.u16()?;
        if min_reader > known {
            return Err(FormatError::NewerVersion { what: self.what, found: min_reader, known });
        }
        if version == 0 || min_reader == 0 {
            return Err(self.invalid("version 0 was never written"));
        }
        Ok(version)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left over.
    pub(crate) fn finish(self) -> Result<(), FormatError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.invalid(format!("{} bytes too many", self.rest.len())))
        }
    }

    pub(crate) fn invalid(&self, why: impl Into<String>) -> FormatError {
        FormatError::Invalid { what: self.what, why: why.into() }
    }
}

/// Writes fields one after the other.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Mark, version, minimum reader version.
    pub(crate) fn marked(mark: &[u8; 4], version: u16, min_reader: u16) -> Self {
        let mut encoder = Self::new();
        encoder.raw(mark).u16(version).u16(min_reader);
        encoder
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.raw(value.as_bytes())
    }

    /// Text behind its u16 length. Ours is always short; longer text is a bug.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let len = u16::try_from(text.len());
        assert!(len.is_ok(), "text of {} bytes in a format that holds 65535", text.len());
        self.u16(len.unwrap_or(0)).raw(text.as_bytes())
    }

    /// A count behind which elements follow.
    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        let count32 = u32::try_from(count);
        assert!(count32.is_ok(), "{count} elements in a format that holds 2^32");
        self.u32(count32.unwrap_or(0))
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The bytes so far with their CRC-32C behind them.
    pub(crate) fn sealed(&mut self) -> Vec<u8> {
        let crc = crc32c(&self.out);
        self.u32(crc).finish()
    }
}

/// Splits off the CRC-32C that [`Encoder::sealed`] wrote and checks it.
///
/// Mark and version are the caller's to check first (through [`Decoder::open`] on the whole), so that a newer
/// version is named as such and not as damage.
pub(crate) fn unseal<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a [u8], FormatError> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(FormatError::Truncated { what, wanted: 4, left: bytes.len() });
    };
    check_crc(body, u32::from_be_bytes(*crc), what)?;
    Ok(body)
}

/// Compares a checksum kept elsewhere.
pub(crate) fn check_crc(bytes: &[u8], stored: u32, what: &'static str) -> Result<(), FormatError> {
    let computed = crc32c(bytes);
    if computed == stored { Ok(()) } else { Err(FormatError::Checksum { what, stored, computed }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_cannot_fit_is_refused_before_anything_is_allocated() {
        let bytes = u32::MAX.to_be_bytes();
        let refused = Decoder::new(&bytes, "thing").count(1);
        assert!(matches!(refused, Err(FormatError::Invalid { .. })), "{refused:?}");
    }

    #[test]
    fn a_newer_minimum_reader_is_named_and_a_newer_version_alone_is_read() {
        let newer = Encoder::marked(b"TEST", 9, 2).finish();
        let error = Decoder::new(&newer, "thing").open(b"TEST", 1);
        assert_eq!(error, Err(FormatError::NewerVersion { what: "thing", found: 2, known: 1 }));
        let compatible = Encoder::marked(b"TEST", 9, 1).finish();
        assert_eq!(Decoder::new(&compatible, "thing").open(b"TEST", 1), Ok(9));
    }

    #[test]
    fn a_seal_notices_one_flipped_bit() {
        let mut bytes = Encoder::new().text("abc").sealed();
        assert!(unseal(&bytes, "thing").is_ok());
        bytes[3] ^= 1;
        assert!(matches!(unseal(&bytes, "thing"), Err(FormatError::Checksum { .. })));
    }
}
