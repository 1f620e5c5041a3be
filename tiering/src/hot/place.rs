//! How a reader finds its way in a segment: from an offset, a byte or a time to a batch border, by the tail in memory,
//! the sparse indexes and then the batches themselves. It reads no records. Invariant: an index is a hint; whatever it
//! says, what is answered is a border that the batches confirm.

use crate::batch::header::BatchHeader;
use crate::hot::dir::Kind;
use crate::hot::headers::{Headers, SegmentError, Waits};
use crate::hot::index::{OFFSET_ENTRY, OffsetEntry, TIME_ENTRY, TimeEntry, absolute, floor_in_file};
use crate::hot::marks::{Located, Mark};
use crate::hot::segment::Segment;
use crate::offsets::Offset;

/// A batch border of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Border {
    /// The byte.
    pub position: u64,
    /// Every batch before it ends at or below this offset, every one behind it above; `None` if that is not known.
    pub after: Option<Offset>,
    /// The batch that begins there, if its header was read.
    pub batch: Option<Located>,
}

/// Slices whose ends are found at once for a reader that goes on.
const MARKED_AHEAD: usize = 8;

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
        let marked = self.marks.at(offset);
        if let Some(found) = marked.and_then(|mark| mark.batch) {
            return Ok(Some(found));
        }
        let (from, indexed) = match marked {
            Some(mark) => (mark.position, false),
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
        let (mut position, mut headers) = (from, Headers::new(self, bytes, waits));
        while position < bytes {
            let header = headers.at(position)?;
            if header.next_offset() > offset {
                return Ok(Some(Located::of(&header, position)));
            }
            position += header.size() as u64;
        }
        Ok(None)
    }

    /// The last batch border at or below byte `target`, at or above `from`, which is a border itself.
    pub fn border_below(&self, from: u64, target: u64, waits: Waits) -> Result<Border, SegmentError> {
        let (end, bytes) = self.tip();
        if target >= bytes {
            return Ok(Border { position: bytes, after: Some(end), batch: None });
        }
        if let Some(found) = self.tail.get().and_then(|tail| tail.last_ending_within(target as u32)) {
            let next = absolute(self.base, found.next);
            let position = u64::from(found.end());
            return Ok(match position >= from {
                true => Border { position, after: Some(next), batch: None },
                false => Border { position: from, after: None, batch: None },
            });
        }
        if let Some(mark) = self.marks.around(target).filter(|mark| mark.position >= from) {
            return Ok(Border { position: mark.position, after: Some(mark.after), batch: mark.batch });
        }
        let indexed = self.indexed_below(target, waits)?.max(from);
        match self.border_from(indexed, target, bytes, waits) {
            // As in `locate`: the index is a hint.
            Err(SegmentError::Batch { .. }) if indexed > from => self.border_from(from, target, bytes, waits),
            found => found,
        }
    }

    fn border_from(&self, from: u64, target: u64, bytes: u64, waits: Waits) -> Result<Border, SegmentError> {
        let (mut position, mut after, mut headers) = (from, None, Headers::new(self, bytes, waits));
        loop {
            let header = headers.at(position)?;
            let end = position + header.size() as u64;
            if end > target {
                let batch = Located::of(&header, position);
                // What lies before it ends at or below its base.
                return Ok(Border { position, after: Some(after.unwrap_or(batch.base)), batch: Some(batch) });
            }
            (position, after) = (end, Some(header.next_offset()));
        }
    }

    /// Remembers a border, for a reader that will come back for what follows it.
    pub fn mark(&self, border: &Border) {
        if let Some(after) = border.after {
            self.marks.put(Mark { after, position: border.position, batch: border.batch });
        }
    }

    /// Finds where slices of `step` bytes will end that follow each other from byte `from`, and remembers it, so that
    /// their reader finds them without waiting. Waits for the disk.
    pub fn mark_ahead(&self, from: u64, step: u64) -> Result<(), SegmentError> {
        let mut at = from;
        for _ in 0..MARKED_AHEAD {
            let border = self.border_below(at, at.saturating_add(step), Waits::Disk)?;
            if border.position <= at || border.batch.is_none() {
                break;
            }
            self.mark(&border);
            at = border.position;
        }
        Ok(())
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
        self.headers(bytes).at(position)
    }

    /// Headers of the first `bytes` bytes, for who may wait.
    pub fn headers(&self, bytes: u64) -> Headers<'_> {
        Headers::new(self, bytes, Waits::Disk)
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
