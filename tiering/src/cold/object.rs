//! Version 1 of a remote segment, as one object: the log bytes verbatim, then sections, footer and tail.
//! Pure bytes in and out. Not the upload (`offload/upload.rs`) nor reading ranges (`cold/reader.rs`).
//! Invariant: whatever an object says about itself is checked against its footer before it is believed.
//!
//! ```text
//! | log bytes, verbatim | offset index | time index | chunk crcs | producers | transactions | epochs | labels | codec | footer | tail 32 |
//! 0                     log bytes                                                                             footer at        end
//!
//! offset index  relative offset u32, position u32         | ...       ascending; the first batch is always there
//! time index    timestamp i64, relative offset u32        | ...       largest timestamp up to and with that batch
//! chunk crcs    crc32c u32 per MiB of log bytes           | ...
//! producers     the bytes of a `.producers` file as of `next`
//! transactions  producer i64, first i64, last i64, last stable i64 | ...   every aborted one that overlaps [base, next)
//! epochs        leader epoch i32, start offset i64        | ...
//! labels        name length u16, name, value length u16, value     | ...
//! codec         compression u8 = 0, encryption u8 = 0, key id length u16 = 0
//! ```
//!
//! Big-endian; footer and tail as in `cold/footer.rs`.

use crate::batch::header::crc32c;
use crate::cold::footer::{Footer, Section, SectionKind, Tail};
use crate::cold::format::{Decoder, Encoder, FormatError, check_crc};
use crate::cold::scan::Scanned;
use crate::epoch::LeaderEpoch;
use crate::hot::transactions::AbortedTransaction;
use crate::offsets::Offset;
use bytes::Bytes;
use firnline_cache::key::{CHUNK_BYTES, Check};
use uuid::Uuid;

const WHAT: &str = "remote segment section";

/// What goes behind the log bytes.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// The object's.
    pub uuid: Uuid,
    /// First offset.
    pub base: Offset,
    /// The offset after the last.
    pub next: Offset,
    /// What the pass over the log bytes learnt.
    pub scanned: &'a Scanned,
    /// The bytes of the `.producers` file as of `next`.
    pub producers: &'a [u8],
    /// Every aborted transaction that overlaps `[base, next)`.
    pub aborted: &'a [AbortedTransaction],
    /// Opaque names and values; make the bucket self-describing.
    pub labels: &'a [(String, String)],
}

/// Everything behind the log bytes, and where its footer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// Sections, footer, tail.
    pub bytes: Bytes,
    /// Where the footer is.
    pub tail: Tail,
}

impl Contents<'_> {
    /// Lays out everything behind the log bytes.
    pub fn trailer(&self) -> Trailer {
        let mut bytes = Vec::new();
        let mut sections = Vec::new();
        for kind in SectionKind::ALL {
            let content = self.section(kind);
            let at = self.scanned.log_bytes + bytes.len() as u64;
            let len = content.len() as u64;
            sections.push(Section { kind: kind.number(), at, len, crc: crc32c(&content) });
            bytes.extend_from_slice(&content);
        }
        let (uuid, base, next, log_bytes) = (self.uuid, self.base, self.next, self.scanned.log_bytes);
        let footer = Footer { uuid, base, next, log_bytes, sections }.encode();
        let tail = Tail {
            footer_at: log_bytes + bytes.len() as u64,
            footer_len: u32::try_from(footer.len()).unwrap_or(u32::MAX),
            footer_crc: crc32c(&footer),
        };
        bytes.extend_from_slice(&footer);
        bytes.extend_from_slice(&tail.encode());
        Trailer { bytes: bytes.into(), tail }
    }

    fn section(&self, kind: SectionKind) -> Vec<u8> {
        let mut out = Encoder::new();
        match kind {
            SectionKind::OffsetIndex => {
                self.scanned.offset_index.iter().for_each(|(offset, at)| _ = out.u32(*offset).u32(*at));
            }
            SectionKind::TimeIndex => {
                self.scanned.time_index.iter().for_each(|(time, offset)| _ = out.i64(*time).u32(*offset));
            }
            SectionKind::ChunkChecksums => self.scanned.chunk_crcs.iter().for_each(|crc| _ = out.u32(*crc)),
            SectionKind::Producers => _ = out.raw(self.producers),
            SectionKind::Transactions => self.aborted.iter().for_each(|one| {
                out.i64(one.producer_id).i64(one.first.0).i64(one.last.0).i64(one.last_stable.0);
            }),
            SectionKind::Epochs => {
                self.scanned.epochs.iter().for_each(|(epoch, start)| _ = out.i32(epoch.0).i64(start.0));
            }
            SectionKind::Labels => {
                self.labels.iter().for_each(|(name, value)| _ = out.text(name).text(value));
            }
            SectionKind::Codec => _ = out.u8(0).u8(0).u16(0),
        }
        out.finish()
    }
}

/// The part of an object a reader of log bytes needs: where batches begin, and what each chunk must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The table of sections.
    pub footer: Footer,
    /// First offset.
    pub base: Offset,
    offset_index: Vec<(u32, u32)>,
    time_index: Vec<(i64, u32)>,
    chunk_crcs: Vec<u32>,
}

impl Opened {
    /// Takes the three index sections out of `bytes`, which begin at byte `at` of the object.
    ///
    /// The codec section must say "none": a coded object names a newer minimum reader, so this is the second lock.
    pub fn decode(footer: Footer, bytes: &[u8], at: u64) -> Result<Self, FormatError> {
        let offset_index = pairs(section_of(&footer, SectionKind::OffsetIndex, bytes, at)?, |from| {
            Ok((from.u32()?, from.u32()?))
        })?;
        let time_index = pairs(section_of(&footer, SectionKind::TimeIndex, bytes, at)?, |from| {
            Ok((from.i64()?, from.u32()?))
        })?;
        let crcs = section_of(&footer, SectionKind::ChunkChecksums, bytes, at)?;
        let chunk_crcs = pairs(crcs, |from| from.u32())?;
        let invalid = |why: String| Err(FormatError::Invalid { what: WHAT, why });
        if chunk_crcs.len() as u64 != footer.log_bytes.div_ceil(CHUNK_BYTES) {
            return invalid(format!(
                "{} chunk checksums for {} log bytes",
                chunk_crcs.len(),
                footer.log_bytes
            ));
        }
        let ascending = offset_index.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        let inside = offset_index.last().is_some_and(|(_, at)| u64::from(*at) < footer.log_bytes);
        if !ascending || !inside || offset_index.first().map(|first| first.1) != Some(0) {
            return invalid("the offset index does not ascend from the first batch".to_owned());
        }
        let base = footer.base;
        Ok(Self { footer, base, offset_index, time_index, chunk_crcs })
    }

    /// Where to begin to look for the batch that holds `offset`: a batch begins there, at or before it.
    pub fn position_of(&self, offset: Offset) -> u64 {
        let relative = u32::try_from((offset - self.base).max(0)).unwrap_or(u32::MAX);
        let above = self.offset_index.partition_point(|(at, _)| *at <= relative);
        self.offset_index.get(above.saturating_sub(1)).map_or(0, |(_, position)| u64::from(*position))
    }

    /// An offset before which no record has a timestamp of `time` or later.
    pub fn offset_before(&self, time: i64) -> Offset {
        // The last indexed batch whose largest timestamp so far is still below.
        let below = self.time_index.partition_point(|(largest, _)| *largest < time);
        let relative =
            below.checked_sub(1).and_then(|at| self.time_index.get(at)).map_or(0, |(_, offset)| *offset);
        self.base + i64::from(relative)
    }

    /// What chunk `chunk` must be; `None` past the end.
    pub fn check(&self, chunk: u32) -> Option<Check> {
        let crc32c = *self.chunk_crcs.get(usize::try_from(chunk).ok()?)?;
        let start = u64::from(chunk) * CHUNK_BYTES;
        let len = (self.footer.log_bytes - start).min(CHUNK_BYTES);
        Some(Check { crc32c, len: u32::try_from(len).ok()? })
    }

    /// Memory this takes, about.
    pub fn cost(&self) -> usize {
        256 + self.offset_index.len() * 8 + self.time_index.len() * 16 + self.chunk_crcs.len() * 4
    }
}

/// A section's checked content; `bytes` begin at byte `at` of the object.
pub fn section_of<'a>(
    footer: &Footer,
    kind: SectionKind,
    bytes: &'a [u8],
    at: u64,
) -> Result<&'a [u8], FormatError> {
    let missing = || FormatError::Invalid { what: WHAT, why: format!("{kind:?} is missing") };
    let section = footer.section(kind).ok_or_else(missing)?;
    let start =
        section.at.checked_sub(at).and_then(|start| usize::try_from(start).ok()).ok_or_else(missing)?;
    let len = usize::try_from(section.len).map_err(|_| missing())?;
    let content = bytes.get(start..).and_then(|rest| rest.get(..len)).ok_or_else(missing)?;
    check_crc(content, section.crc, WHAT)?;
    Ok(content)
}

/// The epochs section.
pub fn decode_epochs(bytes: &[u8]) -> Result<Vec<(LeaderEpoch, Offset)>, FormatError> {
    pairs(bytes, |from| Ok((LeaderEpoch(from.i32()?), Offset(from.i64()?))))
}

/// The transactions section.
pub fn decode_aborted(bytes: &[u8]) -> Result<Vec<AbortedTransaction>, FormatError> {
    pairs(bytes, |from| {
        Ok(AbortedTransaction {
            producer_id: from.i64()?,
            first: Offset(from.i64()?),
            last: Offset(from.i64()?),
            last_stable: Offset(from.i64()?),
        })
    })
}

/// The labels section.
pub fn decode_labels(bytes: &[u8]) -> Result<Vec<(String, String)>, FormatError> {
    pairs(bytes, |from| Ok((from.text()?.to_owned(), from.text()?.to_owned())))
}

/// Elements until the bytes end; each takes at least one, so their number is bounded by what is there.
fn pairs<T>(
    bytes: &[u8],
    mut one: impl FnMut(&mut Decoder<'_>) -> Result<T, FormatError>,
) -> Result<Vec<T>, FormatError> {
    let mut from = Decoder::new(bytes, WHAT);
    let mut out = Vec::new();
    while !from.is_empty() {
        out.push(one(&mut from)?);
    }
    Ok(out)
}
