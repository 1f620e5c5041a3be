//! One pass over a segment's log bytes before they leave: checks every batch (so that local damage is found while
//! the local copy still counts) and builds what the object carries beside them. Pure; fed chunk by chunk.
//! Not a trust in local index files: positions come from the bytes that are uploaded.
//! Invariant: what [`LogScan::finish`] accepts is whole batches, ascending, each with its own CRC intact.

use crate::batch::header::{BatchError, BatchHeader, CRC_FROM, HEADER_BYTES, crc32c};
use crate::epoch::LeaderEpoch;
use crate::offsets::Offset;
use crc_fast::{CrcAlgorithm, Digest};
use firnline_cache::key::CHUNK_BYTES;

/// Log bytes between two index entries. A reader takes whole chunks, so a finer index only costs bytes.
pub const INDEX_INTERVAL: u64 = 32 << 10;

/// Why a segment may not be uploaded: its local bytes are not what they must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// No batch stands where one must, or its CRC disagrees.
    #[error("no whole batch at byte {position}: {why}")]
    Batch {
        /// Byte in the segment.
        position: u64,
        /// What is wrong.
        why: BatchError,
    },
    /// Batches fall back, or leave the segment's range.
    #[error(
        "batch at byte {position} covers [{base}, {next}), expected at or after {expected} and below {end}"
    )]
    Range {
        /// Byte in the segment.
        position: u64,
        /// The batch's first offset.
        base: Offset,
        /// The offset after its last.
        next: Offset,
        /// The lowest it may begin at.
        expected: Offset,
        /// The segment's end.
        end: Offset,
    },
    /// A batch's leader epoch is below the one before it.
    #[error("batch at byte {position} has leader epoch {epoch} after {before}")]
    Epoch {
        /// Byte in the segment.
        position: u64,
        /// The batch's.
        epoch: LeaderEpoch,
        /// The one before.
        before: LeaderEpoch,
    },
    /// The segment is empty, or too long for 32-bit positions.
    #[error("segment has {0} bytes")]
    Length(u64),
}

/// What the pass learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes seen.
    pub log_bytes: u64,
    /// CRC-32C per chunk of [`CHUNK_BYTES`].
    pub chunk_crcs: Vec<u32>,
    /// Relative offset → byte position, about one per [`INDEX_INTERVAL`]; the first batch is always there.
    pub offset_index: Vec<(u32, u32)>,
    /// Largest timestamp up to and with the batch → its relative offset, beside the offset index.
    pub time_index: Vec<(i64, u32)>,
    /// Epoch → first offset written under it, within the segment.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Smallest base timestamp, −1 if none.
    pub min_timestamp: i64,
    /// Largest timestamp, −1 if none.
    pub max_timestamp: i64,
}

/// The pass.
#[derive(Debug)]
pub struct LogScan {
    base: Offset,
    end: Offset,
    /// The lowest offset the next batch may begin at.
    expected: Offset,
    position: u64,
    /// The header of the next batch, as far as it has come.
    head: Vec<u8>,
    body: Option<Body>,
    last_indexed: Option<u64>,
    out: Scanned,
}

#[derive(Debug)]
struct Body {
    at: u64,
    stored: u32,
    left: usize,
    digest: Digest,
}

impl LogScan {
    /// A pass over a segment that covers `[base, end)`.
    pub fn new(base: Offset, end: Offset) -> Self {
        let out = Scanned {
            log_bytes: 0,
            chunk_crcs: Vec::new(),
            offset_index: Vec::new(),
            time_index: Vec::new(),
            epochs: Vec::new(),
            min_timestamp: -1,
            max_timestamp: -1,
        };
        let head = Vec::with_capacity(HEADER_BYTES);
        Self { base, end, expected: base, position: 0, head, body: None, last_indexed: None, out }
    }

    /// The next chunk: [`CHUNK_BYTES`] of the segment, fewer only at its end.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ScanError> {
        assert_eq!(
            self.position % CHUNK_BYTES,
            0,
            "a chunk was short before the end: at byte {}",
            self.position
        );
        self.out.chunk_crcs.push(crc32c(chunk));
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = match self.body.take() {
                Some(body) => self.feed_body(body, rest)?,
                None => self.feed_head(rest)?,
            };
        }
        Ok(())
    }

    fn feed_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], ScanError> {
        let (taken, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.head.len()));
        self.head.extend_from_slice(taken);
        self.position += taken.len() as u64;
        if self.head.len() < HEADER_BYTES {
            return Ok(rest);
        }
        let at = self.position - HEADER_BYTES as u64;
        let header = BatchHeader::parse(&self.head).map_err(|why| ScanError::Batch { position: at, why })?;
        self.note(at, &header)?;
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&self.head[CRC_FROM..]);
        self.head.clear();
        self.settle(Body { at, stored: header.crc, left: header.size() - HEADER_BYTES, digest })?;
        Ok(rest)
    }

    fn feed_body<'a>(&mut self, mut body: Body, bytes: &'a [u8]) -> Result<&'a [u8], ScanError> {
        let (taken, rest) = bytes.split_at(bytes.len().min(body.left));
        body.digest.update(taken);
        body.left -= taken.len();
        self.position += taken.len() as u64;
        self.settle(body)?;
        Ok(rest)
    }

    fn settle(&mut self, body: Body) -> Result<(), ScanError> {
        if body.left > 0 {
            self.body = Some(body);
            return Ok(());
        }
        // cannot truncate: a 32-bit checksum in a 64-bit return type.
        let computed = body.digest.finalize() as u32;
        if computed == body.stored {
            return Ok(());
        }
        Err(ScanError::Batch { position: body.at, why: BatchError::Crc { stored: body.stored, computed } })
    }

    fn note(&mut self, position: u64, header: &BatchHeader) -> Result<(), ScanError> {
        let (base, next) = (header.base_offset, header.next_offset());
        if base < self.expected || next <= base || next > self.end {
            let (expected, end) = (self.expected, self.end);
            return Err(ScanError::Range { position, base, next, expected, end });
        }
        match self.out.epochs.last() {
            Some((before, _)) if header.leader_epoch < *before => {
                return Err(ScanError::Epoch { position, epoch: header.leader_epoch, before: *before });
            }
            Some((before, _)) if header.leader_epoch == *before => {}
            _ => self.out.epochs.push((header.leader_epoch, base)),
        }
        self.expected = next;
        let out = &mut self.out;
        out.max_timestamp = out.max_timestamp.max(header.max_timestamp);
        if header.base_timestamp >= 0 && (out.min_timestamp < 0 || header.base_timestamp < out.min_timestamp)
        {
            out.min_timestamp = header.base_timestamp;
        }
        if self.last_indexed.is_none_or(|last| position - last >= INDEX_INTERVAL) {
            let relative = u32::try_from(base - self.base).map_err(|_| ScanError::Length(position))?;
            let byte = u32::try_from(position).map_err(|_| ScanError::Length(position))?;
            out.offset_index.push((relative, byte));
            out.time_index.push((out.max_timestamp, relative));
            self.last_indexed = Some(position);
        }
        Ok(())
    }

    /// The end of the segment.
    pub fn finish(mut self) -> Result<Scanned, ScanError> {
        if self.position == 0 {
            return Err(ScanError::Length(0));
        }
        if !self.head.is_empty() || self.body.is_some() {
            let left = self.body.as_ref().map_or(HEADER_BYTES - self.head.len(), |body| body.left);
            let at = self.body.as_ref().map_or(self.position - self.head.len() as u64, |body| body.at);
            // cannot truncate: positions were checked to fit 32 bits as batches began.
            let have = (self.position - at) as usize;
            let why = BatchError::Truncated { have, need: have + left };
            return Err(ScanError::Batch { position: at, why });
        }
        self.out.log_bytes = self.position;
        Ok(self.out)
    }
}
