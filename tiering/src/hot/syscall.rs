//! System calls without a safe wrapper: whether pages of a file are in memory (cachestat(2) where the kernel has it,
//! else preadv2(RWF_NOWAIT)), a socket option, and how many descriptors this process may have. The only file with
//! `unsafe`. Invariant: the probe never blocks on a disk.
#![allow(unsafe_code, reason = "these calls have no safe wrapper yet; each block states its proof")]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes probed per preadv2 call where cachestat is missing; lives on the stack.
const PROBE_BYTES: usize = 32 << 10;

/// cachestat(2) has the same number on every architecture (it was added after the tables were unified).
const SYS_CACHESTAT: libc::c_long = 451;

/// Set once the kernel said it has no cachestat, so that we ask only once.
static NO_CACHESTAT: AtomicBool = AtomicBool::new(false);

#[repr(C)]
struct CachestatRange {
    off: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Cachestat {
    nr_cache: u64,
    nr_dirty: u64,
    nr_writeback: u64,
    nr_evicted: u64,
    nr_recently_evicted: u64,
}

/// Whether every page of `[at, at+len)` is in the page cache now, so that sendfile or read will not wait for a
/// disk. An empty range is resident. A file system that cannot answer counts as not resident.
pub fn resident(fd: BorrowedFd<'_>, at: u64, len: u64) -> bool {
    if len == 0 {
        return true;
    }
    if !NO_CACHESTAT.load(Ordering::Relaxed) {
        match cached_pages(fd, at, len) {
            Ok(pages) => return pages >= pages_spanned(at, len),
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                NO_CACHESTAT.store(true, Ordering::Relaxed);
            }
            // EPERM under a seccomp filter, EOPNOTSUPP on an odd file system: ask the other way.
            Err(_) => {}
        }
    }
    readable_without_waiting(fd, at, len)
}

/// Has a socket count as readable only once `bytes` have arrived, 1 being the kernel's own choice (SO_RCVLOWAT). Waits
/// that go on are told at once when that many are there already. The kernel takes less than asked for where the socket's
/// buffer is smaller.
pub fn set_receive_low_water(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let size = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: `socket` is borrowed, so it stays open during the call. The pointer is to a live local of the size that is
    // passed; the kernel reads it and does not keep it.
    let rc = unsafe {
        let option = (&raw const bytes).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, option, size)
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Raises this process's limit of open descriptors to what it is allowed; answers the limit now in force.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, exclusively borrowed local of the type the call fills; nothing is kept.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: the pointer is to a live local that the call only reads; nothing is kept.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            limit = raised;
        }
    }
    Ok(limit.rlim_cur)
}

fn cached_pages(fd: BorrowedFd<'_>, at: u64, len: u64) -> io::Result<u64> {
    let mut range = CachestatRange { off: at, len };
    let mut stat = Cachestat::default();
    // SAFETY: `fd` is borrowed, so it stays open during the call. Both pointers are to live, exclusively borrowed
    // locals whose `repr(C)` layout is the kernel's (two and five u64, no padding); the kernel reads the first,
    // writes the second and keeps neither. Flags must be 0. An unknown number only returns ENOSYS.
    let rc = unsafe {
        libc::syscall(SYS_CACHESTAT, fd.as_raw_fd(), &raw mut range, &raw mut stat, 0 as libc::c_uint)
    };
    if rc == 0 { Ok(stat.nr_cache) } else { Err(io::Error::last_os_error()) }
}

fn pages_spanned(at: u64, len: u64) -> u64 {
    let page = page_size();
    (at.saturating_add(len) - 1) / page - at / page + 1
}

fn page_size() -> u64 {
    static PAGE: OnceLock<u64> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: sysconf takes a number and returns one; it touches no memory of ours.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        u64::try_from(page).ok().filter(|page| page.is_power_of_two()).unwrap_or(4096)
    })
}

/// The copying probe. A page that is missing makes the kernel start read-ahead and answer EAGAIN.
fn readable_without_waiting(fd: BorrowedFd<'_>, at: u64, len: u64) -> bool {
    let mut buffer = [0_u8; PROBE_BYTES];
    let mut done = 0;
    while done < len {
        let want = usize::try_from(len - done).map_or(PROBE_BYTES, |left| left.min(PROBE_BYTES));
        let mut slices = [IoSliceMut::new(&mut buffer[..want])];
        match rustix::io::preadv2(fd, &mut slices, at + done, rustix::io::ReadWriteFlags::NOWAIT) {
            // Past the end of the file nothing can block.
            Ok(0) => return true,
            Ok(read) => done += read as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    const LEN: u64 = 300_000;

    fn written() -> std::fs::File {
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&[7; LEN as usize]).unwrap();
        file.sync_all().unwrap();
        file
    }

    #[test]
    fn fresh_pages_are_resident_by_either_probe() {
        let file = written();
        for (at, len) in [(0, LEN), (4095, 2), (LEN - 1, 1), (8192, 4096)] {
            assert!(resident(file.as_fd(), at, len), "{len} at {at}");
            assert!(readable_without_waiting(file.as_fd(), at, len), "{len} at {at}");
        }
    }

    #[test]
    fn dropped_pages_are_not_resident() {
        let file = written();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(!resident(file.as_fd(), 0, LEN));
    }

    #[test]
    fn the_limit_of_descriptors_is_raised_once_and_for_all() {
        let raised = raise_open_files().unwrap();
        assert!(raised >= 64, "{raised}");
        assert_eq!(raise_open_files().unwrap(), raised);
    }

    #[test]
    fn pages_are_counted_where_they_are_touched() {
        let page = page_size();
        assert_eq!(pages_spanned(0, 1), 1);
        assert_eq!(pages_spanned(0, page), 1);
        assert_eq!(pages_spanned(page - 1, 2), 2);
        assert_eq!(pages_spanned(page, page + 1), 2);
    }
}
