//! Reading a segment's file from end to end: after a crash with every check, or only its headers to rebuild an
//! index. It cuts nothing and decides nothing. Invariant: what it counts as whole is a prefix of valid batches with
//! rising offsets; it stops at the first byte that is not, and allocates nothing by a length it read.

use crate::batch::control::{Control, read_control};
use crate::batch::header::{BatchError, BatchHeader, CRC_FROM, HEADER_BYTES};
use crate::hot::file::File;
use crate::hot::index::{MemoryIndex, OffsetEntry, TimeEntry};
use crate::hot::segment::{Opened, SEGMENT_BYTES_MAX};
use crate::offsets::Offset;
use std::io;

/// How much of a batch is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Headers, in a file that was written whole.
    Headers,
    /// Headers and CRC.
    Checked,
}

/// Why a walk stopped before the end of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a batch, or a damaged one.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Offsets that do not rise, or do not fit the segment.
    #[error(
        "batch covers {base} to {last}, where {expected} or more was expected, in the segment at {segment}"
    )]
    Offsets {
        /// The batch's first offset.
        base: Offset,
        /// The batch's last offset.
        last: Offset,
        /// The end of the batch before it.
        expected: Offset,
        /// The segment's base.
        segment: Offset,
    },
    /// More bytes than a segment can have.
    #[error("the file goes on past the {SEGMENT_BYTES_MAX} bytes a segment can have")]
    TooLong,
}

impl Fault {
    /// The file simply ends inside a batch: what a crash during a write leaves.
    pub fn is_torn(&self) -> bool {
        matches!(self, Fault::Batch(BatchError::Truncated { .. }))
    }
}

/// One batch met on the way.
#[derive(Debug, Clone, Copy)]
pub struct Met {
    /// Its header.
    pub header: BatchHeader,
    /// Its first byte.
    pub position: u64,
}

/// Largest control batch that is opened; a marker has about 80 bytes.
const CONTROL_BYTES_MAX: usize = 4096;

/// A walk over the batches of a file.
pub struct Walk<'a> {
    file: &'a dyn File,
    len: u64,
    depth: Depth,
    segment: Offset,
    position: u64,
    next: Offset,
    window: Window,
    fault: Option<Fault>,
}

impl<'a> Walk<'a> {
    /// Walks `[position, len)` of the segment that begins at `segment`; `position` is a batch border. Offsets must
    /// be at least `next`.
    pub fn new(
        file: &'a dyn File,
        segment: Offset,
        depth: Depth,
        position: u64,
        len: u64,
        next: Offset,
    ) -> Self {
        let most: u64 = if depth == Depth::Checked { 256 << 10 } else { 8 << 10 };
        // No more than there is to read: thousands of logs hold little or nothing.
        let window = Window::new(most.min(len) as usize);
        Self { file, len, depth, segment, position, next, window, fault: None }
    }

    /// The next whole batch; `None` at the end or at a fault.
    pub fn step(&mut self) -> io::Result<Option<Met>> {
        if self.position >= self.len || self.fault.is_some() {
            return Ok(None);
        }
        match self.look()? {
            Ok(header) => {
                let position = self.position;
                self.position += header.size() as u64;
                self.next = header.next_offset();
                Ok(Some(Met { header, position }))
            }
            Err(fault) => {
                self.fault = Some(fault);
                Ok(None)
            }
        }
    }

    /// What the control batch just met says; `None` if it is no control batch or says nothing we know.
    pub fn control(&mut self, met: &Met) -> io::Result<Option<Control>> {
        if !met.header.is_control() || met.header.size() > CONTROL_BYTES_MAX {
            return Ok(None);
        }
        let batch = self.window.bytes(self.file, met.position, met.header.size(), self.len)?;
        Ok(read_control(&met.header, batch).ok())
    }

    /// The end of the whole batches.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The offset after the last whole batch.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Why the walk stopped early.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn look(&mut self) -> io::Result<Result<BatchHeader, Fault>> {
        let room = usize::try_from(self.len - self.position).unwrap_or(usize::MAX);
        let head = self.window.bytes(self.file, self.position, HEADER_BYTES.min(room), self.len)?;
        let header = match BatchHeader::parse(head) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault.into())),
        };
        if header.size() > room {
            return Ok(Err(BatchError::Truncated { have: room, need: header.size() }.into()));
        }
        if self.position + header.size() as u64 > SEGMENT_BYTES_MAX {
            return Ok(Err(Fault::TooLong));
        }
        let (base, last) = (header.base_offset, header.last_offset());
        if base < self.next || header.last_offset_delta < 0 || last - self.segment > i64::from(i32::MAX) {
            return Ok(Err(Fault::Offsets { base, last, expected: self.next, segment: self.segment }));
        }
        if self.depth == Depth::Checked {
            let computed = self.window.crc(
                self.file,
                self.position + CRC_FROM as u64,
                self.position + header.size() as u64,
            )?;
            if computed != header.crc {
                return Ok(Err(BatchError::Crc { stored: header.crc, computed }.into()));
            }
        }
        Ok(Ok(header))
    }
}

/// A part of the file in memory.
struct Window {
    buffer: Vec<u8>,
    at: u64,
    filled: usize,
}

impl Window {
    fn new(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes], at: 0, filled: 0 }
    }

    /// `want` bytes at `at`, which are there; `want` is less than the window.
    fn bytes(&mut self, file: &dyn File, at: u64, want: usize, len: u64) -> io::Result<&[u8]> {
        assert!(want <= self.buffer.len(), "{want} bytes in a window of {}", self.buffer.len());
        if at < self.at || at + want as u64 > self.at + self.filled as u64 {
            let most = usize::try_from(len - at).unwrap_or(usize::MAX).min(self.buffer.len());
            self.filled = 0;
            file.read_exact_at(&mut self.buffer[..most], at)?;
            (self.at, self.filled) = (at, most);
        }
        let from = (at - self.at) as usize;
        Ok(&self.buffer[from..from + want])
    }

    /// CRC-32C of `[from, to)`, a window at a time.
    fn crc(&mut self, file: &dyn File, from: u64, to: u64) -> io::Result<u32> {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        let mut at = from;
        while at < to {
            let inside = at >= self.at && at < self.at + self.filled as u64;
            if !inside {
                // What follows the batch is needed next, so the window is filled past it.
                let most = file.read_full_at(&mut self.buffer, at)?;
                (self.at, self.filled) = (at, most);
                if most == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let start = (at - self.at) as usize;
            let stop = self.filled.min((to - self.at) as usize);
            digest.update(&self.buffer[start..stop]);
            at += (stop - start) as u64;
        }
        // cannot truncate: a 32-bit checksum in the crate's common 64-bit return type.
        Ok(digest.finalize() as u32)
    }
}

/// What a whole segment holds.
#[derive(Debug)]
pub struct Scanned {
    /// What to open it with; `first_append_ms` is left 0.
    pub opened: Opened,
    /// Why the whole batches end before the file does.
    pub fault: Option<Fault>,
}

/// Where a scan begins, and what is known of everything before.
#[derive(Debug)]
pub struct Begin {
    /// A batch border.
    pub position: u64,
    /// The offset after the batch before.
    pub next: Offset,
    /// Largest timestamp so far and the last offset of the batch that has it; (−1, base) if none.
    pub largest: (i64, Offset),
    /// Max timestamp of the first batch, −1 if none.
    pub first_timestamp: i64,
    /// Bytes since the last batch with an offset entry began.
    pub since_indexed: u64,
    /// The entries so far.
    pub memory: MemoryIndex,
}

impl Begin {
    /// At the first byte of the segment at `base`.
    pub fn at_start(base: Offset) -> Self {
        let (largest, memory) = ((-1, base), MemoryIndex::new());
        Self { position: 0, next: base, largest, first_timestamp: -1, since_indexed: 0, memory }
    }
}

/// Reads a segment from its first byte, builds its indexes, and shows every whole batch to `each`.
pub fn scan(
    file: &dyn File,
    base: Offset,
    depth: Depth,
    index_interval: u32,
    each: impl FnMut(&BatchHeader),
) -> io::Result<Scanned> {
    scan_from(file, base, depth, index_interval, Begin::at_start(base), each)
}

/// As [`scan`], from where `begin` says; what it answers is of the whole segment.
pub fn scan_from(
    file: &dyn File,
    base: Offset,
    depth: Depth,
    index_interval: u32,
    begin: Begin,
    mut each: impl FnMut(&BatchHeader),
) -> io::Result<Scanned> {
    let len = file.len()?;
    let mut walk = Walk::new(file, base, depth, begin.position, len, begin.next);
    let Begin { mut largest, mut first_timestamp, since_indexed: mut since, memory, .. } = begin;
    while let Some(met) = walk.step()? {
        let header = &met.header;
        each(header);
        if met.position == 0 {
            first_timestamp = header.max_timestamp;
        }
        if header.max_timestamp > largest.0 {
            largest = (header.max_timestamp, header.last_offset());
        }
        if since > u64::from(index_interval) {
            let relative = (header.last_offset() - base) as u32;
            memory.push_offset(OffsetEntry { relative, position: met.position as u32 });
            memory.push_time(TimeEntry { timestamp: largest.0, relative: (largest.1 - base) as u32 });
            since = 0;
        }
        since += header.size() as u64;
    }
    let opened = Opened {
        bytes: walk.position(),
        next: walk.next(),
        largest,
        first_timestamp,
        first_append_ms: 0,
        memory: Some(memory),
    };
    Ok(Scanned { opened, fault: walk.fault().cloned() })
}

/// The first valid batch (CRC and all) that begins after byte `from` and lies above offset `above`: proof that what
/// stands at `from` is damage in the middle, not the torn end of a write. Looks at every byte, since a damaged
/// length says nothing about where the next batch begins.
pub fn valid_batch_after(file: &dyn File, from: u64, above: Offset) -> io::Result<Option<u64>> {
    let len = file.len()?;
    let (mut window, mut crcs) = (Window::new(256 << 10), Window::new(256 << 10));
    let mut position = from + 1;
    while position + HEADER_BYTES as u64 <= len {
        let head = window.bytes(file, position, HEADER_BYTES, len)?;
        if let Ok(header) = BatchHeader::parse(head) {
            let end = position + header.size() as u64;
            let near = header.base_offset >= above && header.base_offset - above <= i64::from(i32::MAX);
            if near && header.last_offset_delta >= 0 && end <= len {
                let computed = crcs.crc(file, position + CRC_FROM as u64, end)?;
                if computed == header.crc {
                    return Ok(Some(position));
                }
            }
        }
        position += 1;
    }
    Ok(None)
}
