//! Headers of a segment's batches, read one after the other. It finds nothing by itself (`place.rs` does). What does
//! not lie in the page cache is read past it, in blocks that grow while the headers lie close together: the kernel's
//! read-ahead would bring megabytes for each of them. Invariant: a header is answered only if it fits its segment.

use crate::batch::header::{BatchError, BatchHeader, HEADER_BYTES};
use crate::hot::buffers::ALIGN;
use crate::hot::segment::Segment;
use bytes::Bytes;
use std::io;

/// Why a segment could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not in memory, and the question was not to wait for the disk.
    #[error("not in memory")]
    Cold,
    /// No batch where one must begin.
    #[error("byte {position}: {fault}")]
    Batch {
        /// Where.
        position: u64,
        /// What is there instead.
        fault: BatchError,
    },
}

/// Whether finding a place may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// What is not in memory is [`SegmentError::Cold`]: for serving cores.
    Never,
    /// Reads what it needs.
    Disk,
}

/// Largest block.
const BLOCK_MAX: usize = 256 << 10;

/// A reader of headers below one tip of a segment.
#[derive(Debug)]
pub struct Headers<'a> {
    segment: &'a Segment,
    bytes: u64,
    waits: Waits,
    /// What was read last, and where it begins.
    block: (u64, Bytes),
    /// Bytes of the next block if it follows this one.
    grows: usize,
}

impl<'a> Headers<'a> {
    /// For the first `bytes` bytes of `segment`.
    pub(super) fn new(segment: &'a Segment, bytes: u64, waits: Waits) -> Self {
        Self { segment, bytes, waits, block: (0, Bytes::new()), grows: ALIGN }
    }

    /// The header of the batch that begins at `position`, which lies below the segment's bytes.
    pub fn at(&mut self, position: u64) -> Result<BatchHeader, SegmentError> {
        let header = BatchHeader::parse(&self.head(position)?)
            .map_err(|fault| SegmentError::Batch { position, fault })?;
        let room = self.bytes - position;
        if header.size() as u64 > room {
            let fault = BatchError::Truncated { have: room as usize, need: header.size() };
            return Err(SegmentError::Batch { position, fault });
        }
        let (base, next) = (self.segment.base(), self.segment.next());
        if header.last_offset_delta < 0 || header.base_offset < base || header.base_offset >= next {
            let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
            let fault = BatchError::Count { count, last_offset_delta };
            return Err(SegmentError::Batch { position, fault });
        }
        Ok(header)
    }

    fn head(&mut self, position: u64) -> Result<[u8; HEADER_BYTES], SegmentError> {
        let mut head = [0; HEADER_BYTES];
        let file = self.segment.file();
        if !self.held(position) {
            if file.resident(position, HEADER_BYTES as u64) {
                file.read_exact_at(&mut head, position)?;
                return Ok(head);
            }
            if self.waits == Waits::Never {
                return Err(SegmentError::Cold);
            }
            self.read_block(position)?;
        }
        let (from, block) = &self.block;
        let at = (position - from) as usize;
        let Some(found) = block.get(at..at + HEADER_BYTES) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        };
        head.copy_from_slice(found);
        Ok(head)
    }

    fn held(&self, position: u64) -> bool {
        let (from, block) = &self.block;
        position >= *from && position + HEADER_BYTES as u64 <= from + block.len() as u64
    }

    /// Reads whole pages, the first of them that of `position`.
    fn read_block(&mut self, position: u64) -> io::Result<()> {
        let (from, block) = &self.block;
        let follows = !block.is_empty() && position <= from + (block.len() + ALIGN) as u64;
        self.grows = if follows { (self.grows * 2).min(BLOCK_MAX) } else { ALIGN };
        let page = ALIGN as u64;
        let from = position / page * page;
        let end = (position + HEADER_BYTES as u64).next_multiple_of(page).max(from + self.grows as u64);
        let len = (end.min(self.bytes).max(position) - from) as usize;
        self.block = (from, self.segment.file().read_uncached(from, len)?);
        Ok(())
    }
}
