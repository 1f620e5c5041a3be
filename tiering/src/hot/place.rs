//! How a reader finds its way in a segment: from an offset, a byte or a time to a batch border, by the tail in memory,
//! the sparse indexes and then the batches themselves. It reads no records. Invariant: an index is a hint; whatever it
//! says, what is answered is a border that the batches confirm.

use crate::batch::header::{BatchError, BatchHeader, HEADER_BYTES};
use crate::hot::dir::Kind;
use crate::hot::index::{OFFSET_ENTRY, OffsetEntry, TIME_ENTRY, TimeEntry, absolute, floor_in_file};
use crate::hot::segment::Segment;
use crate::offsets::Offset;
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

/// Where a batch lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Its first byte.
    pub position: u64,
    /// Its bytes.
    pub size: u64,
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last.
    pub next: Offset,
}

impl Segment {
    /// The first batch that ends above `offset`; `None` if the segment has none.
    pub fn locate(&self, offset: Offset) -> Result<Option<Located>, SegmentError> {
        self.locate_as(offset, Waits::Disk)
    }

    /// As [`Segment::locate`], for who may not wait.
    pub fn locate_as(&self, offset: Offset, waits: Waits) -> Result<Option<Located>, SegmentError> {
        let (end, bytes) = self.tip();
        if offset >= end {
            return Ok(None);
        }
        let relative = u32::try_from(offset - self.base).unwrap_or(0);
        if let Some(found) = self.tail.get().and_then(|tail| tail.first_ending_after(relative)) {
            return Ok(Some(Located {
                position: u64::from(found.position),
                size: u64::from(found.size),
                base: absolute(self.base, found.base),
                next: absolute(self.base, found.next),
            }));
        }
        let (from, indexed) = match self.marks.get(offset) {
            Some(position) => (position, false),
            // An entry that points past the end is damaged too.
            None => {
                (Some(self.position_below(relative, waits)?).filter(|from| *from < bytes).unwrap_or(0), true)
            }
        };
        match self.walk_to(from, offset, bytes, waits) {
            // An index is a hint: if it led astray, the batches themselves still lead there.
            Err(SegmentError::Batch { .. }) if from > 0 => self.walk_to(0, offset, bytes, waits),
            // The batch an entry names begins at or below the entry's offset: this one was named by a damaged entry.
            Ok(Some(found)) if indexed && from > 0 && found.position == from && found.base > offset => {
                self.walk_to(0, offset, bytes, waits)
            }
            found => found,
        }
    }

    fn walk_to(
        &self,
        from: u64,
        offset: Offset,
        bytes: u64,
        waits: Waits,
    ) -> Result<Option<Located>, SegmentError> {
        let mut position = from;
        while position < bytes {
            let header = self.header_as(position, bytes, waits)?;
            if header.next_offset() > offset {
                let size = header.size() as u64;
                let (base, next) = (header.base_offset, header.next_offset());
                return Ok(Some(Located { position, size, base, next }));
            }
            position += header.size() as u64;
        }
        Ok(None)
    }

    /// The last batch border at or below byte `target`, at or above `from`, which is a border itself; with the
    /// offset that follows, where it is known.
    pub fn border_below(
        &self,
        from: u64,
        target: u64,
        waits: Waits,
    ) -> Result<(u64, Option<Offset>), SegmentError> {
        let (end, bytes) = self.tip();
        if target >= bytes {
            return Ok((bytes, Some(end)));
        }
        if let Some(found) = self.tail.get().and_then(|tail| tail.last_ending_within(target as u32)) {
            let next = absolute(self.base, found.next);
            let position = u64::from(found.end());
            return Ok(if position >= from { (position, Some(next)) } else { (from, None) });
        }
        let indexed = self.indexed_below(target, waits)?.max(from);
        match self.border_from(indexed, target, bytes, waits) {
            // As in `locate`: the index is a hint.
            Err(SegmentError::Batch { .. }) if indexed > from => self.border_from(from, target, bytes, waits),
            found => found,
        }
    }

    fn border_from(
        &self,
        from: u64,
        target: u64,
        bytes: u64,
        waits: Waits,
    ) -> Result<(u64, Option<Offset>), SegmentError> {
        let mut border = (from, None);
        loop {
            let header = self.header_as(border.0, bytes, waits)?;
            let after = border.0 + header.size() as u64;
            if after > target {
                return Ok(border);
            }
            border = (after, Some(header.next_offset()));
        }
    }

    /// Remembers that the batch after `offset` begins at `position`, for a reader that will come back for it.
    pub fn mark(&self, offset: Offset, position: u64) {
        self.marks.put(offset, position);
    }

    /// Where to look for the first record at or after a time: every batch before this position is older.
    pub fn position_before_time(&self, timestamp: i64) -> Result<u64, SegmentError> {
        let entry = match self.memory.load().as_ref() {
            Some(memory) => memory.floor_time(timestamp),
            None => {
                let index = self.index_file(&self.time_file, Kind::TimeIndex, TIME_ENTRY)?;
                floor_in_file(&*index.file, index.entries, |entry: &TimeEntry| entry.timestamp <= timestamp)?
            }
        };
        let Some(entry) = entry else { return Ok(0) };
        let (position, bytes) = (self.position_below(entry.relative, Waits::Disk)?, self.bytes());
        if position == 0 || position >= bytes {
            return Ok(0);
        }
        match self.header_at(position, bytes) {
            Ok(header) if header.base_offset <= absolute(self.base, entry.relative) => Ok(position),
            // As in `locate`: a damaged entry named this place, so begin where no entry is needed.
            Ok(_) | Err(SegmentError::Batch { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The header of the batch that begins at `position`, which lies below `bytes`.
    pub fn header_at(&self, position: u64, bytes: u64) -> Result<BatchHeader, SegmentError> {
        self.header_as(position, bytes, Waits::Disk)
    }

    fn header_as(&self, position: u64, bytes: u64, waits: Waits) -> Result<BatchHeader, SegmentError> {
        if waits == Waits::Never && !self.file.resident(position, HEADER_BYTES as u64) {
            return Err(SegmentError::Cold);
        }
        let mut head = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut head, position)?;
        let header = BatchHeader::parse(&head).map_err(|fault| SegmentError::Batch { position, fault })?;
        let room = bytes - position;
        if header.size() as u64 > room {
            let fault = BatchError::Truncated { have: room as usize, need: header.size() };
            return Err(SegmentError::Batch { position, fault });
        }
        if header.last_offset_delta < 0 || header.base_offset < self.base || header.base_offset >= self.next()
        {
            let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
            return Err(SegmentError::Batch {
                position,
                fault: BatchError::Count { count, last_offset_delta },
            });
        }
        Ok(header)
    }

    /// A batch border at or below the first batch that ends above `relative`.
    fn position_below(&self, relative: u32, waits: Waits) -> Result<u64, SegmentError> {
        let entry = match self.memory.load().as_ref() {
            Some(memory) => memory.floor_offset(relative),
            None => self.offset_floor(waits, |entry| entry.relative <= relative)?,
        };
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    /// A batch border at or below byte `target`.
    fn indexed_below(&self, target: u64, waits: Waits) -> Result<u64, SegmentError> {
        let entry = match self.memory.load().as_ref() {
            Some(memory) => memory.floor_position(target as u32),
            None => self.offset_floor(waits, |entry| u64::from(entry.position) <= target)?,
        };
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    fn offset_floor(
        &self,
        waits: Waits,
        below: impl Fn(&OffsetEntry) -> bool,
    ) -> Result<Option<OffsetEntry>, SegmentError> {
        if waits == Waits::Never && self.offset_file.get().is_none() {
            return Err(SegmentError::Cold);
        }
        let index = self.index_file(&self.offset_file, Kind::OffsetIndex, OFFSET_ENTRY)?;
        let bytes = (index.entries * OFFSET_ENTRY) as u64;
        if waits == Waits::Never && !index.file.resident(0, bytes) {
            return Err(SegmentError::Cold);
        }
        Ok(floor_in_file(&*index.file, index.entries, below)?)
    }
}
