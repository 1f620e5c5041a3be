//! Reads that leave nothing in the page cache, so that one reader of cold data does not push out what others read:
//! RWF_DONTCACHE where kernel and file system have it (Linux 6.14), else O_DIRECT, else a plain read whose pages are
//! given back. It reads nothing ahead: who reads in sequence does that himself. They wait for the disk.
//! Invariant: all three ways answer the same bytes; which one works is found out by trying, once per file.

use bytes::Bytes;
use rustix::fs::{Advice, Mode, OFlags, fadvise, open};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// `RWF_DONTCACHE`, which rustix does not name yet.
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Offsets, lengths and buffers of O_DIRECT reads are multiples of this: more than any disk asks for.
const ALIGN: u64 = 4096;

/// How a read keeps its pages out of the cache, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Way {
    DontCache,
    Direct,
    GiveBack,
}

/// A file's second door, opened at the first such read.
#[derive(Debug, Default)]
pub struct Uncached {
    /// The file again: read-ahead is a property of the open file, and the first one keeps it.
    again: OnceLock<Option<OwnedFd>>,
    direct: OnceLock<Option<OwnedFd>>,
    way: AtomicU8,
}

impl Uncached {
    /// Reads `len` bytes of `file` at `at`, fewer only at its end.
    pub fn read(&self, file: BorrowedFd<'_>, at: u64, len: usize) -> io::Result<Bytes> {
        loop {
            let way = self.way();
            let read = match way {
                Way::DontCache => self.without_cache(file, at, len),
                Way::Direct => self.direct(file, at, len),
                Way::GiveBack => return Ok(give_back(file, at, len)?),
            };
            match read {
                Ok(bytes) => return Ok(bytes),
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    self.way.store(way as u8 + 1, Ordering::Relaxed);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn way(&self) -> Way {
        match self.way.load(Ordering::Relaxed) {
            0 => Way::DontCache,
            1 => Way::Direct,
            _ => Way::GiveBack,
        }
    }

    fn without_cache(&self, file: BorrowedFd<'_>, at: u64, len: usize) -> Result<Bytes, Errno> {
        let again = self.again.get_or_init(|| {
            let again = open_again(file, OFlags::RDONLY).ok()?;
            // Else the kernel fills the cache ahead of us, and those pages look as if somebody wanted them there.
            fadvise(&again, 0, None, Advice::Random).ok()?;
            Some(again)
        });
        let fd = again.as_ref().map_or(file, AsFd::as_fd);
        fill(len, at, |buffer, at| preadv2(fd, &mut [IoSliceMut::new(buffer)], at, DONT_CACHE))
            .map(Bytes::from)
    }

    fn direct(&self, file: BorrowedFd<'_>, at: u64, len: usize) -> Result<Bytes, Errno> {
        let direct = self.direct.get_or_init(|| open_again(file, OFlags::RDONLY | OFlags::DIRECT).ok());
        let Some(fd) = direct else { return Err(Errno::INVAL) };
        let from = at / ALIGN * ALIGN;
        let before = (at - from) as usize;
        let span = (before + len).next_multiple_of(ALIGN as usize);
        // A vector begins where it likes; an aligned stretch of the right size lies within a longer one.
        let mut buffer = vec![0_u8; span + ALIGN as usize];
        let start = buffer.as_ptr().align_offset(ALIGN as usize).min(ALIGN as usize);
        let mut done = 0;
        while done < span {
            match pread(fd, &mut buffer[start + done..start + span], from + done as u64) {
                Ok(0) => break,
                Ok(read) => {
                    done += read;
                    if done % ALIGN as usize != 0 {
                        // Only the end of the file is not a whole block.
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let end = done.min(before + len);
        Ok(Bytes::from(buffer).slice(start + before.min(end)..start + end))
    }
}

fn give_back(file: BorrowedFd<'_>, at: u64, len: usize) -> Result<Bytes, Errno> {
    let read = fill(len, at, |buffer, at| pread(file, buffer, at))?;
    if let Some(read) = std::num::NonZeroU64::new(read.len() as u64) {
        // An advice: pages that stay cost others a little room, no more.
        let _ = fadvise(file, at, Some(read), Advice::DontNeed);
    }
    Ok(Bytes::from(read))
}

/// Reads until `len` bytes are there or the file ends.
fn fill(
    len: usize,
    at: u64,
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, Errno>,
) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0_u8; len];
    let mut done = 0;
    while done < len {
        match read(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    buffer.truncate(done);
    Ok(buffer)
}

/// The same file, also when its name is gone.
fn open_again(file: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::syscall::resident;
    use std::io::Write;

    const LEN: usize = 3_000_001;

    fn cold_file() -> (std::fs::File, Vec<u8>) {
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let content: Vec<u8> = (0..LEN).map(|at| (at / 7) as u8).collect();
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        (file, content)
    }

    #[test]
    fn every_way_reads_the_same_bytes_at_any_place() {
        let (file, content) = cold_file();
        for way in [Way::DontCache, Way::Direct, Way::GiveBack] {
            let uncached = Uncached { way: AtomicU8::new(way as u8), ..Uncached::default() };
            for (at, len) in
                [(0, LEN), (1, 1), (4095, 4098), (4096, 4096), (LEN - 5, 100), (LEN, 10), (LEN + 9000, 1)]
            {
                let expected = &content[at.min(LEN)..(at + len).min(LEN)];
                let read = uncached.read(file.as_fd(), at as u64, len).unwrap();
                assert!(read == expected, "{way:?}: {len} at {at}, got {}", read.len());
            }
        }
    }

    #[test]
    fn what_was_not_cached_is_not_cached_after() {
        let (file, _) = cold_file();
        let uncached = Uncached::default();
        uncached.read(file.as_fd(), 0, 1 << 20).unwrap();
        for page in 0..1 << 8 {
            assert!(!resident(file.as_fd(), page << 12, 1), "page {page} stayed, by {:?}", uncached.way());
        }
    }

    #[test]
    fn what_was_cached_stays_cached() {
        let (file, _) = cold_file();
        let mut page = [0; 4096];
        pread(&file, &mut page, 8192).unwrap();
        let uncached = Uncached::default();
        uncached.read(file.as_fd(), 0, 1 << 20).unwrap();
        let by_advice = uncached.way() == Way::GiveBack;
        assert!(
            by_advice || resident(file.as_fd(), 8192, 4096),
            "the hot page went, by {:?}",
            uncached.way()
        );
    }
}
