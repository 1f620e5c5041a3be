//! Reads that leave nothing in the page cache, so that one reader of cold data does not push out what others read.
//! A file nobody writes any more: O_DIRECT, the cheapest. One that grows: the same, handed over to the disk, since a
//! direct read that waits makes the file's writer wait too; where its bytes are not on the disk yet RWF_DONTCACHE (Linux
//! 6.14), else a plain read whose pages are given back. They wait for the disk. Invariant: all ways answer the same
//! bytes; which one works is found out by trying, once per file.

use crate::hot::buffers::{ALIGN, Buffer};
use crate::hot::syscall::{read_handed_over, written_back};
use bytes::Bytes;
use rustix::fs::{Advice, Mode, OFlags, fadvise, open};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// `RWF_DONTCACHE`, which rustix does not name yet.
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// How a read keeps its pages out of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    HandedOver,
    DontCache,
    GiveBack,
}

/// Second descriptors kept open, of all files together: beyond them one is opened for each read.
const KEPT_MAX: usize = 512;

/// How many are.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// A second descriptor that counts.
#[derive(Debug)]
struct Kept(OwnedFd);

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A second descriptor for one read.
enum Door<'a> {
    Kept(BorrowedFd<'a>),
    Once(OwnedFd),
}

impl Door<'_> {
    /// The one in `slot`, put there if it is new and there is room.
    fn open<'a>(
        slot: &'a OnceLock<Kept>,
        open: impl FnOnce() -> Result<OwnedFd, Errno>,
    ) -> Result<Door<'a>, Errno> {
        if let Some(kept) = slot.get() {
            return Ok(Door::Kept(kept.0.as_fd()));
        }
        let fd = open()?;
        if KEPT.fetch_add(1, Ordering::Relaxed) >= KEPT_MAX {
            KEPT.fetch_sub(1, Ordering::Relaxed);
            return Ok(Door::Once(fd));
        }
        let kept = Kept(fd);
        Ok(Door::Kept(slot.get_or_init(move || kept).0.as_fd()))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Door::Kept(fd) => *fd,
            Door::Once(fd) => fd.as_fd(),
        }
    }
}

/// A file's second door, opened at the first such read.
#[derive(Debug, Default)]
pub struct Uncached {
    /// The file again: read-ahead is a property of the open file, and the first one keeps it.
    again: OnceLock<Kept>,
    direct: OnceLock<Kept>,
    /// Nobody writes to the file.
    settled: AtomicBool,
    no_direct: AtomicBool,
    no_handed_over: AtomicBool,
    no_dont_cache: AtomicBool,
}

impl Uncached {
    /// Nobody writes to the file any more.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Somebody does again.
    pub fn unsettle(&self) {
        if self.settled.load(Ordering::Relaxed) {
            self.settled.store(false, Ordering::Relaxed);
        }
    }

    /// Reads `len` bytes of `file` at `at`, fewer only at its end.
    pub fn read(&self, file: BorrowedFd<'_>, at: u64, len: usize) -> io::Result<Bytes> {
        let blocks = Blocks::around(at, len);
        loop {
            let way = self.way(|| written_back(file, blocks.from, blocks.span as u64));
            let (read, refused) = match way {
                Way::Direct => (self.direct(file, blocks, waiting), &self.no_direct),
                Way::HandedOver => (self.direct(file, blocks, handed_over), &self.no_handed_over),
                Way::DontCache => (self.without_cache(file, at, len), &self.no_dont_cache),
                Way::GiveBack => return Ok(give_back(file, at, len)?),
            };
            match read {
                Ok(bytes) => return Ok(bytes),
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => refused.store(true, Ordering::Relaxed),
                // Not allowed in this container, or no more of them on this machine.
                Err(Errno::PERM | Errno::AGAIN) if way == Way::HandedOver => {
                    refused.store(true, Ordering::Relaxed);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// `on_disk` tells whether the disk has all that is read: a direct read makes the kernel write what it lacks first,
    /// under the file's lock.
    fn way(&self, on_disk: impl FnOnce() -> bool) -> Way {
        let no_direct = self.no_direct.load(Ordering::Relaxed);
        if self.settled.load(Ordering::Relaxed) && !no_direct {
            Way::Direct
        } else if !no_direct && !self.no_handed_over.load(Ordering::Relaxed) && on_disk() {
            Way::HandedOver
        } else if !self.no_dont_cache.load(Ordering::Relaxed) {
            Way::DontCache
        } else {
            Way::GiveBack
        }
    }

    fn without_cache(&self, file: BorrowedFd<'_>, at: u64, len: usize) -> Result<Bytes, Errno> {
        let again = Door::open(&self.again, || {
            let again = open_again(file, OFlags::RDONLY)?;
            // Else the kernel fills the cache ahead of us, and those pages look as if somebody wanted them there.
            fadvise(&again, 0, None, Advice::Random)?;
            Ok(again)
        });
        let fd = again.as_ref().map_or(file, Door::fd);
        fill(len, at, |buffer, at| preadv2(fd, &mut [IoSliceMut::new(buffer)], at, DONT_CACHE))
    }

    /// Reads whole blocks past the page cache by `read` and answers the part that was asked for.
    fn direct(
        &self,
        file: BorrowedFd<'_>,
        blocks: Blocks,
        read: impl Fn(BorrowedFd<'_>, &mut [u8], u64) -> Result<usize, Errno>,
    ) -> Result<Bytes, Errno> {
        let direct = Door::open(&self.direct, || open_again(file, OFlags::RDONLY | OFlags::DIRECT));
        let Ok(door) = direct else { return Err(Errno::INVAL) };
        let Blocks { from, span, before, len } = blocks;
        let mut buffer = Buffer::take(len);
        let mut done = 0;
        while done < span {
            match read(door.fd(), &mut buffer.room(span)[done..], from + done as u64) {
                Ok(0) => break,
                Ok(read) => {
                    done += read;
                    if done % ALIGN != 0 {
                        // Only the end of the file is not a whole block.
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let end = done.min(before + len);
        Ok(buffer.into_bytes(before.min(end)..end))
    }
}

/// The whole blocks around what is asked for.
#[derive(Clone, Copy)]
struct Blocks {
    /// Where they begin.
    from: u64,
    /// Their bytes.
    span: usize,
    /// Bytes in them before what is asked for.
    before: usize,
    /// Bytes asked for.
    len: usize,
}

impl Blocks {
    fn around(at: u64, len: usize) -> Self {
        let from = at / ALIGN as u64 * ALIGN as u64;
        let before = (at - from) as usize;
        Self { from, span: (before + len).next_multiple_of(ALIGN), before, len }
    }
}

fn waiting(fd: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    pread(fd, buffer, at)
}

fn handed_over(fd: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let read = read_handed_over(fd, buffer, at);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn give_back(file: BorrowedFd<'_>, at: u64, len: usize) -> Result<Bytes, Errno> {
    let read = fill(len, at, |buffer, at| pread(file, buffer, at))?;
    if let Some(read) = std::num::NonZeroU64::new(read.len() as u64) {
        // An advice: pages that stay cost others a little room, no more.
        let _ = fadvise(file, at, Some(read), Advice::DontNeed);
    }
    Ok(read)
}

/// Reads until `len` bytes are there or the file ends.
fn fill(
    len: usize,
    at: u64,
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, Errno>,
) -> Result<Bytes, Errno> {
    let mut buffer = Buffer::take(len);
    let mut done = 0;
    while done < len {
        match read(&mut buffer.room(len)[done..], at + done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(buffer.into_bytes(0..done))
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
    use std::os::unix::fs::FileExt;

    const LEN: usize = 3_000_001;

    fn cold_file() -> (std::fs::File, Vec<u8>) {
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let content: Vec<u8> = (0..LEN).map(|at| (at / 7) as u8).collect();
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        (file, content)
    }

    fn by(way: Way) -> Uncached {
        let uncached = Uncached::default();
        match way {
            Way::Direct => uncached.settle(),
            Way::HandedOver => {}
            Way::DontCache => uncached.no_handed_over.store(true, Ordering::Relaxed),
            Way::GiveBack => {
                uncached.no_handed_over.store(true, Ordering::Relaxed);
                uncached.no_dont_cache.store(true, Ordering::Relaxed);
            }
        }
        assert_eq!(uncached.way(|| true), way);
        uncached
    }

    #[test]
    fn every_way_reads_the_same_bytes_at_any_place() {
        let (file, content) = cold_file();
        for way in [Way::HandedOver, Way::DontCache, Way::Direct, Way::GiveBack] {
            let uncached = by(way);
            for (at, len) in
                [(0, LEN), (1, 1), (4095, 4098), (4096, 4096), (LEN - 5, 100), (LEN, 10), (LEN + 9000, 1)]
            {
                let expected = &content[at.min(LEN)..(at + len).min(LEN)];
                let read = uncached.read(file.as_fd(), at as u64, len).unwrap();
                assert!(read == expected, "{way:?}: {len} at {at}, got {}", read.len());
            }
            assert_eq!(uncached.way(|| true), way, "it was not refused");
        }
    }

    #[test]
    fn what_was_not_cached_is_not_cached_after() {
        let (file, _) = cold_file();
        for way in [Way::HandedOver, Way::DontCache, Way::Direct] {
            let uncached = by(way);
            uncached.read(file.as_fd(), 0, 1 << 20).unwrap();
            for page in 0..1 << 8 {
                assert!(
                    !resident(file.as_fd(), page << 12, 1),
                    "page {page} stayed, by {:?}",
                    uncached.way(|| true)
                );
            }
        }
    }

    #[test]
    fn a_direct_read_waits_itself_only_while_nobody_writes() {
        let uncached = Uncached::default();
        assert_eq!((uncached.way(|| true), uncached.way(|| false)), (Way::HandedOver, Way::DontCache));
        uncached.settle();
        assert_eq!((uncached.way(|| true), uncached.way(|| false)), (Way::Direct, Way::Direct));
        uncached.unsettle();
        assert_eq!((uncached.way(|| true), uncached.way(|| false)), (Way::HandedOver, Way::DontCache));
    }

    #[test]
    fn what_is_not_on_the_disk_yet_is_read_as_it_was_written() {
        let (file, content) = cold_file();
        file.write_all_at(&content[..5000], 8192).unwrap();
        let read = Uncached::default().read(file.as_fd(), 0, 1 << 20).unwrap();
        assert_eq!(read[8192..13192], content[..5000]);
        assert_eq!(read[..8192], content[..8192]);
    }

    #[test]
    fn beyond_the_descriptors_that_are_kept_each_read_opens_its_own() {
        let (file, content) = cold_file();
        KEPT.fetch_add(KEPT_MAX, Ordering::Relaxed);
        for way in [Way::HandedOver, Way::DontCache, Way::Direct] {
            let uncached = by(way);
            let read = uncached.read(file.as_fd(), 10, 20).unwrap();
            assert!(read == content[10..30] && uncached.way(|| true) == way);
            assert!(uncached.again.get().is_none() && uncached.direct.get().is_none());
        }
        KEPT.fetch_sub(KEPT_MAX, Ordering::Relaxed);
    }

    #[test]
    fn what_was_cached_stays_cached() {
        let (file, _) = cold_file();
        let mut page = [0; 4096];
        pread(&file, &mut page, 8192).unwrap();
        let uncached = Uncached::default();
        uncached.read(file.as_fd(), 0, 1 << 20).unwrap();
        let by_advice = uncached.way(|| false) == Way::GiveBack;
        assert!(
            by_advice || resident(file.as_fd(), 8192, 4096),
            "the hot page went, by {:?}",
            uncached.way(|| true)
        );
    }
}
