//! The cleaned segments of one group of sources while they are written: one, or several where what stays does not fit
//! one. It decides nothing about records. Invariant: a segment never passes Kafka's int32 in bytes or offsets.

use crate::batch::header::BatchHeader;
use crate::hot::file::File;
use crate::hot::segment::SEGMENT_BYTES_MAX;
use crate::log::clean::{Cleaned, CleanerHold};
use crate::offsets::Offset;
use std::io;
use std::sync::Arc;

/// A segment being written.
#[derive(Debug)]
struct Open {
    base: Offset,
    file: Arc<dyn File>,
    /// Bytes in the file.
    flushed: u64,
    pending: Vec<u8>,
}

impl Open {
    fn create(hold: &CleanerHold, base: Offset) -> io::Result<Open> {
        Ok(Open { base, file: hold.create(base)?, flushed: 0, pending: Vec::new() })
    }

    fn bytes(&self) -> u64 {
        self.flushed + self.pending.len() as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.pending, self.flushed)?;
        self.flushed += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn finish(mut self, hold: &CleanerHold) -> io::Result<Cleaned> {
        self.flush()?;
        hold.finish(self.base, self.file)
    }
}

/// Everything written for one group.
#[derive(Debug)]
pub(super) struct Output {
    open: Open,
    finished: Vec<Cleaned>,
    buffer: usize,
    /// Bytes written so far.
    pub bytes: u64,
    /// Something differs from the sources.
    pub changed: bool,
}

impl Output {
    /// Begins at the base of the group; writes `buffer` bytes at once.
    pub fn create(hold: &CleanerHold, base: Offset, buffer: usize) -> io::Result<Output> {
        let (finished, bytes, changed) = (Vec::new(), 0, false);
        Ok(Output { open: Open::create(hold, base)?, finished, buffer, bytes, changed })
    }

    /// Adds a batch whose offsets are those of `header`.
    pub fn push(&mut self, hold: &CleanerHold, header: &BatchHeader, batch: &[u8]) -> io::Result<()> {
        let bytes = self.open.bytes() + batch.len() as u64;
        let reach = header.last_offset() - self.open.base;
        // The first batch always fits, so that there is progress.
        if self.open.bytes() > 0 && (bytes > SEGMENT_BYTES_MAX || reach > i64::from(i32::MAX)) {
            let next = Open::create(hold, header.base_offset)?;
            let full = std::mem::replace(&mut self.open, next);
            self.finished.push(full.finish(hold)?);
            self.changed = true;
        }
        self.open.pending.extend_from_slice(batch);
        self.bytes += batch.len() as u64;
        if self.open.pending.len() >= self.buffer { self.open.flush() } else { Ok(()) }
    }

    /// Makes all of it durable.
    pub fn finish(mut self, hold: &CleanerHold) -> io::Result<Vec<Cleaned>> {
        self.finished.push(self.open.finish(hold)?);
        Ok(self.finished)
    }
}
