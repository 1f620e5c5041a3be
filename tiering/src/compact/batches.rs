//! Batches of a segment's file, one after the other, through one buffer. It opens no batch.
//! Invariant: a batch is handed out only if it lies whole below the given end; the buffer grows to the largest batch
//! that is really there and shrinks again with the reader.

use crate::batch::header::{BatchError, BatchHeader, HEADER_BYTES};
use crate::hot::file::File;
use std::io;

/// A reader with one buffer for many files.
#[derive(Debug)]
pub struct BatchReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold file content from `at` on.
    filled: usize,
    at: u64,
    chunk: usize,
}

impl BatchReader {
    /// Reads `chunk` bytes at a time, or a whole batch where that is larger.
    pub fn new(chunk: usize) -> BatchReader {
        BatchReader { buffer: Vec::new(), filled: 0, at: 0, chunk: chunk.max(HEADER_BYTES) }
    }

    /// Another file follows.
    pub fn forget(&mut self) {
        self.filled = 0;
    }

    /// The batch at `position`, which lies below `end`; the inner error says that none begins there.
    pub fn batch(
        &mut self,
        file: &dyn File,
        position: u64,
        end: u64,
    ) -> io::Result<Result<(BatchHeader, &[u8]), BatchError>> {
        let room = usize::try_from(end - position).unwrap_or(usize::MAX);
        let head = self.bytes(file, position, HEADER_BYTES.min(room), room)?;
        let header = match BatchHeader::parse(head) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        if header.size() > room {
            return Ok(Err(BatchError::Truncated { have: room, need: header.size() }));
        }
        if header.last_offset_delta < 0 {
            let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
            return Ok(Err(BatchError::Count { count, last_offset_delta }));
        }
        Ok(Ok((header, self.bytes(file, position, header.size(), room)?)))
    }

    /// `want` of the `room` bytes at `position`. What is asked for lies in the file, so that is what bounds the buffer.
    fn bytes(&mut self, file: &dyn File, position: u64, want: usize, room: usize) -> io::Result<&[u8]> {
        let held = position >= self.at && position + want as u64 <= self.at + self.filled as u64;
        if !held {
            let most = self.chunk.max(want).min(room);
            self.buffer.resize(most, 0);
            self.filled = 0;
            file.read_exact_at(&mut self.buffer, position)?;
            (self.at, self.filled) = (position, most);
        }
        let from = (position - self.at) as usize;
        Ok(&self.buffer[from..from + want])
    }
}
