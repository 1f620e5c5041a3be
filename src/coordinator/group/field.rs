//! The fields that group records are made of: Kafka's big-endian numbers, strings, bytes and counts, plain or compact.
//! It knows no record. Invariant: a reader never believes a length before comparing it with the bytes that remain.

use bytes::Bytes;

/// What is wrong with a record's bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The bytes end inside a field.
    #[error("{wanted} bytes wanted where {left} are left")]
    Truncated {
        /// Bytes the field asks for.
        wanted: u64,
        /// Bytes there are.
        left: usize,
    },
    /// A length below -1, or null where a value must stand.
    #[error("length {0} cannot be")]
    Length(i64),
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A varint of more than 32 bits.
    #[error("a varint is too long")]
    Varint,
}

/// Reads fields off the front of a slice.
pub struct Fields {
    rest: Bytes,
    /// Compact lengths (flexible versions): unsigned varint, plus one.
    compact: bool,
}

impl Fields {
    /// Reads `bytes`. Byte fields are slices of it, not copies.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes, compact: false }
    }

    /// Lengths are compact from here on.
    pub fn set_compact(&mut self, compact: bool) {
        self.compact = compact;
    }

    fn take(&mut self, wanted: u64) -> Result<Bytes, FieldError> {
        let left = self.rest.len();
        match usize::try_from(wanted) {
            Ok(count) if count <= left => Ok(self.rest.split_to(count)),
            _ => Err(FieldError::Truncated { wanted, left }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FieldError> {
        let mut out = [0; N];
        out.copy_from_slice(&self.take(N as u64)?);
        Ok(out)
    }

    /// Big-endian, 16 bits.
    pub fn i16(&mut self) -> Result<i16, FieldError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Big-endian, 32 bits.
    pub fn i32(&mut self) -> Result<i32, FieldError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Big-endian, 64 bits.
    pub fn i64(&mut self) -> Result<i64, FieldError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn uvarint(&mut self) -> Result<u32, FieldError> {
        let mut value = 0_u64;
        for at in 0..5 {
            let byte = self.array::<1>()?[0];
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| FieldError::Varint);
            }
        }
        Err(FieldError::Varint)
    }

    /// A length: `None` is null.
    fn length(
        &mut self,
        plain: impl FnOnce(&mut Self) -> Result<i64, FieldError>,
    ) -> Result<Option<u64>, FieldError> {
        let length = if self.compact { i64::from(self.uvarint()?) - 1 } else { plain(self)? };
        match length {
            -1 => Ok(None),
            length => u64::try_from(length).map(Some).map_err(|_| FieldError::Length(length)),
        }
    }

    /// A string or null.
    pub fn nullable_string(&mut self) -> Result<Option<String>, FieldError> {
        let Some(length) = self.length(|fields| fields.i16().map(i64::from))? else { return Ok(None) };
        let bytes = self.take(length)?;
        std::str::from_utf8(&bytes).map(|text| Some(text.to_owned())).map_err(|_| FieldError::NotUtf8)
    }

    /// A string.
    pub fn string(&mut self) -> Result<String, FieldError> {
        self.nullable_string()?.ok_or(FieldError::Length(-1))
    }

    /// Bytes. Null, which old brokers wrote for "none", reads as empty.
    pub fn bytes(&mut self) -> Result<Bytes, FieldError> {
        let length = self.length(|fields| fields.i32().map(i64::from))?;
        length.map_or(Ok(Bytes::new()), |length| self.take(length))
    }

    /// How many elements follow, each of at least `least` bytes: more than can lie in what remains are refused. A
    /// caller reserves no room for them all the same: they may be larger in memory than here.
    pub fn count(&mut self, least: u64) -> Result<usize, FieldError> {
        let count = self.length(|fields| fields.i32().map(i64::from))?.ok_or(FieldError::Length(-1))?;
        let (wanted, left) = (count.saturating_mul(least.max(1)), self.rest.len());
        if wanted > left as u64 {
            return Err(FieldError::Truncated { wanted, left });
        }
        Ok(count as usize)
    }

    /// The tagged fields at the end of a flexible struct: all skipped, as nothing depends on one. None when not compact.
    pub fn skip_tags(&mut self) -> Result<(), FieldError> {
        if !self.compact {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let size = self.uvarint()?;
            self.take(u64::from(size))?;
        }
        Ok(())
    }
}

/// A text or a count that its length field cannot express. Clients can bring one in: compact strings have no limit of
/// their own, and ids grow when the coordinator appends to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} does not fit its length field")]
pub struct TooLong(pub usize);

/// Appends a string: 16-bit length.
pub fn put_string(out: &mut Vec<u8>, text: &str) -> Result<(), TooLong> {
    let length = i16::try_from(text.len()).map_err(|_| TooLong(text.len()))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Appends a string or null (-1).
pub fn put_nullable_string(out: &mut Vec<u8>, text: Option<&str>) -> Result<(), TooLong> {
    match text {
        Some(text) => put_string(out, text),
        None => {
            out.extend_from_slice(&(-1_i16).to_be_bytes());
            Ok(())
        }
    }
}

/// Appends bytes: 32-bit length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooLong> {
    put_count(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends an element count, 32 bits.
pub fn put_count(out: &mut Vec<u8>, count: usize) -> Result<(), TooLong> {
    let length = i32::try_from(count).map_err(|_| TooLong(count))?;
    out.extend_from_slice(&length.to_be_bytes());
    Ok(())
}
