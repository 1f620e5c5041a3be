//! Appends the protocol's primitive types to a buffer, plain or compact. Our own answers (Produce, Fetch) use it.
//! It knows no message. Its one invariant: `compact` is fixed for a body, as a version is flexible or is not.
use bytes::{BufMut, BytesMut};

/// A growing body.
#[derive(Debug)]
pub struct Writer {
    /// What was written since it was last taken.
    pub out: BytesMut,
    compact: bool,
}

impl Writer {
    /// Starts an empty body; `compact` for flexible versions.
    pub fn new(compact: bool, capacity: usize) -> Writer {
        Writer { out: BytesMut::with_capacity(capacity), compact }
    }

    /// 8 bits.
    pub fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    /// 16 bits.
    pub fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    /// 32 bits.
    pub fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    /// 64 bits.
    pub fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// A UUID's sixteen bytes.
    pub fn uuid(&mut self, value: uuid::Uuid) {
        self.out.put_slice(value.as_bytes());
    }

    /// An unsigned varint.
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    /// A string; longer than a non-flexible length can say, it is cut at a character.
    pub fn string(&mut self, value: &str) {
        self.nullable_string(Some(value));
    }

    /// A string or null.
    pub fn nullable_string(&mut self, value: Option<&str>) {
        match (value, self.compact) {
            (None, true) => self.uvarint(0),
            (None, false) => self.i16(-1),
            (Some(text), true) => {
                self.uvarint(text.len() as u32 + 1);
                self.out.put_slice(text.as_bytes());
            }
            (Some(text), false) => {
                let text = &text[..text.floor_char_boundary(i16::MAX as usize)];
                self.i16(text.len() as i16);
                self.out.put_slice(text.as_bytes());
            }
        }
    }

    /// The count in front of an array.
    pub fn count(&mut self, count: usize) {
        if self.compact { self.uvarint(count as u32 + 1) } else { self.i32(count as i32) }
    }

    /// A null array.
    pub fn null_array(&mut self) {
        if self.compact { self.uvarint(0) } else { self.i32(-1) }
    }

    /// The length in front of bytes.
    pub fn bytes_length(&mut self, length: usize) {
        if self.compact { self.uvarint(length as u32 + 1) } else { self.i32(length as i32) }
    }

    /// An empty tag section, nothing in a version that has none.
    pub fn no_tags(&mut self) {
        if self.compact {
            self.uvarint(0);
        }
    }

    /// A tag section of these tags (ascending), each with its encoded value. Nothing in a version that has none.
    pub fn tags(&mut self, tags: &[(u32, BytesMut)]) {
        if !self.compact {
            return;
        }
        debug_assert!(tags.is_sorted_by_key(|(tag, _)| *tag), "tags out of order: {tags:?}");
        self.uvarint(tags.len() as u32);
        for (tag, value) in tags {
            self.uvarint(*tag);
            self.uvarint(value.len() as u32);
            self.out.put_slice(value);
        }
    }
}
