//! System calls without a safe wrapper: whether pages of a file are in memory (cachestat(2) where the kernel has it,
//! else preadv2(RWF_NOWAIT)), a direct read that holds up no writer, a socket option, and how many descriptors this
//! process may have. The only file with `unsafe`. Invariants: the probe never blocks on a disk, and no call leaves the
//! kernel with a pointer of ours.
#![allow(unsafe_code, reason = "these calls have no safe wrapper yet; each block states its proof")]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

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
    match cachestat(fd, at, len) {
        Ok(stat) => stat.nr_cache >= pages_spanned(at, len),
        // ENOSYS, EPERM under a seccomp filter, EOPNOTSUPP on an odd file system: ask the other way.
        Err(_) => readable_without_waiting(fd, at, len),
    }
}

/// Whether no page of `[at, at+len)` still has to be written, nor is being written. False where nobody can tell.
pub fn written_back(fd: BorrowedFd<'_>, at: u64, len: u64) -> bool {
    len == 0 || cachestat(fd, at, len).is_ok_and(|stat| stat.nr_dirty + stat.nr_writeback == 0)
}

/// Reads into `buffer` past the page cache and waits for it, holding the file's lock only while the read is handed to
/// the disk: pread(2) holds it until the disk has answered, and an append waits that long. For a descriptor opened with
/// O_DIRECT, with everything aligned as that wants. Answers how many bytes came, fewer only at the file's end.
pub fn read_handed_over(fd: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let queue = Queue::take()?;
    let read = queue.read(fd, buffer, at);
    if !matches!(read, Err(Handed::Unanswered(_))) {
        queue.put();
    }
    read.map_err(|handed| match handed {
        Handed::Refused(error) | Handed::Unanswered(error) => error,
    })
}

/// Why a read that was to be handed over brought nothing.
enum Handed {
    /// The kernel did not take it, or the disk failed it: it is over.
    Refused(io::Error),
    /// The kernel has it and we could not wait for it.
    Unanswered(io::Error),
}

/// The kernel's side of reads under way (io_setup(2)), one at a time here. Dropped, it waits for what is under way.
struct Queue(libc::c_ulong);

/// Queues that nobody uses: as many as there were reads at the same time, so as many as the cold lane has places.
static QUEUES: Mutex<Vec<Queue>> = Mutex::new(Vec::new());

/// `struct iocb` of linux/aio_abi.h; which of `key` and `rw_flags` comes first is the processor's, and both stay 0.
#[repr(C)]
#[derive(Default)]
struct Submission {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    at: i64,
    reserved: u64,
    flags: u32,
    event_fd: u32,
}

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Default)]
struct Completion {
    data: u64,
    submission: u64,
    outcome: i64,
    outcome_of_event: i64,
}

impl Queue {
    fn take() -> io::Result<Queue> {
        if let Some(queue) = QUEUES.lock().pop() {
            return Ok(queue);
        }
        let mut queue: libc::c_ulong = 0;
        // SAFETY: the pointer is to a live, exclusively borrowed local of the type that the call fills; it is not kept.
        let rc = unsafe { libc::syscall(libc::SYS_io_setup, 1 as libc::c_uint, &raw mut queue) };
        if rc == 0 { Ok(Queue(queue)) } else { Err(io::Error::last_os_error()) }
    }

    /// For the next read; only when none is under way.
    fn put(self) {
        QUEUES.lock().push(self);
    }

    fn read(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize, Handed> {
        let submission = Submission {
            // IOCB_CMD_PREAD is 0.
            fd: fd.as_raw_fd().cast_unsigned(),
            buffer: buffer.as_mut_ptr() as u64,
            bytes: buffer.len() as u64,
            at: i64::try_from(at).map_err(|error| Handed::Refused(io::Error::other(error)))?,
            ..Submission::default()
        };
        let list = [&raw const submission];
        // SAFETY: the layout is the kernel's, and it copies the submission and the list during the call. `buffer` is
        // borrowed exclusively for as long as this function runs, which returns only once the kernel has answered;
        // when that cannot be seen (`Unanswered`) the caller drops the queue, which waits for it, before it returns.
        let rc = unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1 as libc::c_long, list.as_ptr()) };
        match rc {
            1 => {}
            0 => return Err(Handed::Refused(io::ErrorKind::WouldBlock.into())),
            _ => return Err(Handed::Refused(io::Error::last_os_error())),
        }
        let outcome = self.wait().map_err(Handed::Unanswered)?;
        usize::try_from(outcome).map_err(|_| {
            let errno = i32::try_from(-outcome).unwrap_or(libc::EIO);
            Handed::Refused(io::Error::from_raw_os_error(errno))
        })
    }

    /// Waits for the only read under way; answers bytes, or an error's number below 0.
    fn wait(&self) -> io::Result<i64> {
        let mut completion = Completion::default();
        loop {
            // SAFETY: the pointer is to a live, exclusively borrowed local with the kernel's layout and room for the one
            // event asked for; it is not kept. No time limit is a null pointer.
            let rc = unsafe {
                let no_limit: *mut libc::timespec = std::ptr::null_mut();
                let one: libc::c_long = 1;
                libc::syscall(libc::SYS_io_getevents, self.0, one, one, &raw mut completion, no_limit)
            };
            if rc == 1 {
                return Ok(completion.outcome);
            }
            let error = io::Error::last_os_error();
            if rc < 0 && error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the number is a queue that io_setup made and nobody else holds. The call waits for what is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
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

fn cachestat(fd: BorrowedFd<'_>, at: u64, len: u64) -> io::Result<Cachestat> {
    if NO_CACHESTAT.load(Ordering::Relaxed) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut range = CachestatRange { off: at, len };
    let mut stat = Cachestat::default();
    // SAFETY: `fd` is borrowed, so it stays open during the call. Both pointers are to live, exclusively borrowed
    // locals whose `repr(C)` layout is the kernel's (two and five u64, no padding); the kernel reads the first,
    // writes the second and keeps neither. Flags must be 0. An unknown number only returns ENOSYS.
    let rc = unsafe {
        libc::syscall(SYS_CACHESTAT, fd.as_raw_fd(), &raw mut range, &raw mut stat, 0 as libc::c_uint)
    };
    if rc == 0 {
        return Ok(stat);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOSYS) {
        NO_CACHESTAT.store(true, Ordering::Relaxed);
    }
    Err(error)
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
    fn a_fresh_write_is_not_written_back_until_it_is_synced() {
        let mut file = written();
        assert!(written_back(file.as_fd(), 0, LEN) || NO_CACHESTAT.load(Ordering::Relaxed));
        file.write_all(&[8; 10]).unwrap();
        assert!(!written_back(file.as_fd(), 0, LEN + 10));
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
