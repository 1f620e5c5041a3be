//! Buffers for reads past the page cache, aligned as O_DIRECT wants them and used again: on a fresh page a read costs
//! five times as much as on one that was touched before. It reads nothing. Invariants: a buffer has one owner at a
//! time, what is handed out as bytes was written by the read, and at most [`IDLE_BYTES_MAX`] lie idle.

use bytes::Bytes;
use parking_lot::Mutex;
use std::ops::Range;

/// Offsets, lengths and buffers of O_DIRECT reads are multiples of this: more than any disk asks for.
pub(super) const ALIGN: usize = 4096;

/// Room for a read that begins and ends within a block, and to begin at an aligned byte.
const SLACK: usize = 3 * ALIGN;

/// Buffers hold this many bytes, doubled up to [`LARGEST`]; so none is more than twice what was asked for.
const SMALLEST: usize = 128 << 10;
const LARGEST: usize = 2 << 20;

/// Most bytes that lie idle.
const IDLE_BYTES_MAX: usize = 16 << 20;

static IDLE: Idle = Idle::new();

/// Memory that a read fills, its first byte aligned. It goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// One for `len` bytes and what lies beside them in their blocks; what it holds is old.
    pub(super) fn take(len: usize) -> Buffer {
        let memory = match len.max(SMALLEST).next_power_of_two() {
            size if size <= LARGEST => IDLE.take(size + SLACK),
            _ => vec![0; len + SLACK],
        };
        // A vector begins where it likes.
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Buffer { memory, start }
    }

    /// Its first `len` bytes, fewer if it is smaller.
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        let end = (self.start + len).min(self.memory.len());
        &mut self.memory[self.start..end]
    }

    /// This part of what was read into it.
    pub(super) fn into_bytes(self, part: Range<usize>) -> Bytes {
        let (from, end) = (self.start + part.start, self.start + part.end);
        Bytes::from_owner(Filled { buffer: self, part: from..end })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        IDLE.put(std::mem::take(&mut self.memory));
    }
}

struct Filled {
    buffer: Buffer,
    part: Range<usize>,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer.memory[self.part.clone()]
    }
}

/// Frees the buffers nobody has needed since the last call; called by housekeeping.
pub fn release_idle() {
    IDLE.release();
}

#[derive(Debug)]
struct Idle(Mutex<Shelf>);

/// Idle buffers, the last used on top.
#[derive(Debug)]
struct Shelf {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
    /// Fewest that lay here since the last release: so many were not needed.
    unused: usize,
}

impl Idle {
    const fn new() -> Idle {
        Idle(Mutex::new(Shelf { buffers: Vec::new(), bytes: 0, unused: 0 }))
    }

    /// One of exactly this size.
    fn take(&self, size: usize) -> Vec<u8> {
        let mut shelf = self.0.lock();
        let Some(at) = shelf.buffers.iter().rposition(|buffer| buffer.len() == size) else {
            drop(shelf);
            return vec![0; size];
        };
        let buffer = shelf.buffers.remove(at);
        shelf.bytes -= size;
        shelf.unused = shelf.unused.min(shelf.buffers.len());
        buffer
    }

    fn put(&self, buffer: Vec<u8>) {
        let pooled = (SMALLEST + SLACK..=LARGEST + SLACK).contains(&buffer.len());
        let whole = buffer.len().wrapping_sub(SLACK).is_power_of_two();
        let mut shelf = self.0.lock();
        if pooled && whole && shelf.bytes + buffer.len() <= IDLE_BYTES_MAX {
            shelf.bytes += buffer.len();
            shelf.buffers.push(buffer);
        }
    }

    fn release(&self) {
        let mut shelf = self.0.lock();
        let unused = shelf.unused;
        let gone: Vec<Vec<u8>> = shelf.buffers.drain(..unused).collect();
        shelf.bytes -= gone.iter().map(Vec::len).sum::<usize>();
        shelf.unused = shelf.buffers.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_large_enough_and_not_twice_what_is_needed() {
        for len in [1, 4096, SMALLEST, SMALLEST + 1, 1 << 20, LARGEST, LARGEST + 1, 5 << 20] {
            let mut buffer = Buffer::take(len);
            let room = buffer.room(len.next_multiple_of(ALIGN) + ALIGN);
            assert_eq!(room.as_ptr().align_offset(ALIGN), 0, "{len}");
            assert_eq!(room.len(), len.next_multiple_of(ALIGN) + ALIGN, "{len}");
            assert!(buffer.memory.len() <= (2 * len).max(SMALLEST) + SLACK, "{len}");
        }
    }

    #[test]
    fn idle_buffers_are_taken_again_bounded_and_freed_when_nobody_needs_them() {
        let idle = Idle::new();
        let size = LARGEST + SLACK;
        (0..20).for_each(|_| idle.put(vec![7; size]));
        let lie = |idle: &Idle| (idle.0.lock()).buffers.len();
        assert_eq!(lie(&idle), IDLE_BYTES_MAX / size, "no more lie idle");
        idle.put(vec![7; size + 1]);
        assert_eq!(lie(&idle), IDLE_BYTES_MAX / size, "nor any of another size");
        idle.release();
        let taken = idle.take(size);
        assert!(taken[0] == 7 && idle.take(SMALLEST + SLACK)[0] == 0, "the one of that size");
        idle.put(taken);
        idle.release();
        assert_eq!(lie(&idle), 1, "one was needed since");
        idle.release();
        assert_eq!(lie(&idle), 0);
        assert_eq!(idle.0.lock().bytes, 0);
    }

    #[test]
    fn bytes_are_the_part_that_was_asked_for_and_give_the_buffer_back() {
        let mut buffer = Buffer::take(1 << 20);
        buffer.room(10).copy_from_slice(b"0123456789");
        let bytes = buffer.into_bytes(2..5);
        assert_eq!(&bytes[..], b"234");
        assert_eq!(&bytes.slice(1..)[..], b"34");
    }
}
