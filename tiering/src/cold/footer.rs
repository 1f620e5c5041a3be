//! The footer of a remote segment: which sections the object has, where, with which checksum; and the tail of
//! fixed size behind it. Pure bytes. Not the sections' contents (`cold/object.rs`) nor the log bytes before them.
//! Invariant: a reader that does not know a section passes over it, unless the minimum version forbids it to read.
//!
//! ```text
//! footer  "FRNF" | version u16 =1 | min reader u16 =1 | uuid | base i64 | next i64 | log bytes u64
//!                | count u32 | sections: kind u16, at u64, len u64, crc32c u32 |
//! tail    | footer at u64 | footer len u32 | footer crc32c u32 | tail crc32c u32 | version u16 | min reader u16 | "FIRNSEG1" |
//!         0               8                12                  16                20            22               24          32
//! ```
//!
//! Big-endian. The tail's own CRC covers its first 16 bytes. Section kinds are [`SectionKind`].

use crate::batch::header::crc32c;
use crate::cold::format::{Decoder, Encoder, FormatError, check_crc};
use crate::offsets::Offset;
use uuid::Uuid;

/// The version of the object that is written, and the newest read.
pub const OBJECT_VERSION: u16 = 1;
/// Bytes of the tail.
pub const TAIL_BYTES: usize = 32;
/// No footer is longer; a tail that says so lies.
pub const MAX_FOOTER_BYTES: u32 = 64 << 10;
/// No section is longer; a footer that says so lies.
pub const MAX_SECTION_BYTES: u64 = 64 << 20;
const FOOTER: &[u8; 4] = b"FRNF";
const TAIL: &[u8; 8] = b"FIRNSEG1";
const FOOTER_WHAT: &str = "remote segment footer";
const TAIL_WHAT: &str = "remote segment";
const SECTION_BYTES: usize = 2 + 8 + 8 + 4;

/// What a section holds. Numbers are for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SectionKind {
    /// Sparse: relative offset u32, byte position u32 (Kafka's `.index` entries).
    OffsetIndex,
    /// Sparse: timestamp i64, relative offset u32 (Kafka's `.timeindex` entries).
    TimeIndex,
    /// A CRC-32C per chunk of log bytes.
    ChunkChecksums,
    /// The producers' five-batch windows at `next` (the bytes of a `.producers` file).
    Producers,
    /// Aborted transactions that overlap [base, next).
    Transactions,
    /// Epoch i32 → start offset i64.
    Epochs,
    /// Opaque names and values.
    Labels,
    /// How log bytes are coded and encrypted.
    Codec,
}

impl SectionKind {
    /// All, in the order they are written.
    pub const ALL: [SectionKind; 8] = [
        Self::OffsetIndex,
        Self::TimeIndex,
        Self::ChunkChecksums,
        Self::Producers,
        Self::Transactions,
        Self::Epochs,
        Self::Labels,
        Self::Codec,
    ];

    /// The number on disk.
    pub const fn number(self) -> u16 {
        match self {
            Self::OffsetIndex => 1,
            Self::TimeIndex => 2,
            Self::ChunkChecksums => 3,
            Self::Producers => 4,
            Self::Transactions => 5,
            Self::Epochs => 6,
            Self::Labels => 7,
            Self::Codec => 8,
        }
    }
}

/// Where one section lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// [`SectionKind::number`], or a kind of a later version.
    pub kind: u16,
    /// First byte in the object.
    pub at: u64,
    /// Length in bytes.
    pub len: u64,
    /// CRC-32C.
    pub crc: u32,
}

/// The table of an object's sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The object's uuid, so that an object under a wrong name is noticed.
    pub uuid: Uuid,
    /// First offset.
    pub base: Offset,
    /// The offset after the last.
    pub next: Offset,
    /// Bytes of log before the first section.
    pub log_bytes: u64,
    /// The sections, ascending.
    pub sections: Vec<Section>,
}

impl Footer {
    /// The section of this kind.
    pub fn section(&self, kind: SectionKind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind.number())
    }

    /// The footer's bytes, without its tail.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::marked(FOOTER, OBJECT_VERSION, OBJECT_VERSION);
        out.uuid(self.uuid).i64(self.base.0).i64(self.next.0).u64(self.log_bytes);
        out.count(self.sections.len());
        for section in &self.sections {
            out.u16(section.kind).u64(section.at).u64(section.len).u32(section.crc);
        }
        out.finish()
    }

    /// Reads a footer that stands at `at` in its object, with the CRC that its tail or entry keeps.
    pub fn decode(bytes: &[u8], at: u64, crc: u32) -> Result<Self, FormatError> {
        check_crc(bytes, crc, FOOTER_WHAT)?;
        let mut from = Decoder::new(bytes, FOOTER_WHAT);
        let version = from.open(FOOTER, OBJECT_VERSION)?;
        let mut footer = Self {
            uuid: from.uuid()?,
            base: Offset(from.i64()?),
            next: Offset(from.i64()?),
            log_bytes: from.u64()?,
            sections: Vec::new(),
        };
        let mut free_from = footer.log_bytes;
        for _ in 0..from.count(SECTION_BYTES)? {
            let section = Section { kind: from.u16()?, at: from.u64()?, len: from.u64()?, crc: from.u32()? };
            let end = section.at.saturating_add(section.len);
            if section.at < free_from || end > at || section.len > MAX_SECTION_BYTES {
                return Err(
                    from.invalid(format!("section {section:?} overlaps another, or the footer at {at}"))
                );
            }
            free_from = end;
            footer.sections.push(section);
        }
        // A later version may put more behind the table; ours ends here.
        if version == OBJECT_VERSION {
            from.finish()?;
        }
        Ok(footer)
    }
}

/// The last bytes of every object: enough to find the footer when nothing else is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Where the footer stands.
    pub footer_at: u64,
    /// Its length.
    pub footer_len: u32,
    /// Its CRC-32C.
    pub footer_crc: u32,
}

impl Tail {
    /// The tail's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let place = Encoder::new().u64(self.footer_at).u32(self.footer_len).u32(self.footer_crc).finish();
        let bytes = Encoder::new()
            .raw(&place)
            .u32(crc32c(&place))
            .u16(OBJECT_VERSION)
            .u16(OBJECT_VERSION)
            .raw(TAIL)
            .finish();
        assert_eq!(bytes.len(), TAIL_BYTES, "the tail's length is fixed");
        bytes
    }

    /// Reads the last [`TAIL_BYTES`] of an object of `object_bytes`.
    pub fn decode(bytes: &[u8], object_bytes: u64) -> Result<Self, FormatError> {
        let mut from = Decoder::new(bytes, TAIL_WHAT);
        let place = from.take(16)?;
        let crc = from.u32()?;
        let (_version, min_reader) = (from.u16()?, from.u16()?);
        if from.take(8)? != TAIL {
            return Err(FormatError::Mark { what: TAIL_WHAT });
        }
        from.finish()?;
        if min_reader > OBJECT_VERSION {
            return Err(FormatError::NewerVersion {
                what: TAIL_WHAT,
                found: min_reader,
                known: OBJECT_VERSION,
            });
        }
        check_crc(place, crc, TAIL_WHAT)?;
        let mut from = Decoder::new(place, TAIL_WHAT);
        let tail = Self { footer_at: from.u64()?, footer_len: from.u32()?, footer_crc: from.u32()? };
        let end = tail.footer_at.saturating_add(u64::from(tail.footer_len)).saturating_add(TAIL_BYTES as u64);
        if end != object_bytes || tail.footer_len > MAX_FOOTER_BYTES {
            return Err(from.invalid(format!("{tail:?} does not fit an object of {object_bytes} bytes")));
        }
        Ok(tail)
    }
}
