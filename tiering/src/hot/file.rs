//! The door to files: everything this crate and the floors above keep on a local disk goes through [`Files`].
//! It knows no log and no format. Invariant: what [`Files::write_atomic`] leaves is the old file or the new one.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is the door to files")]

use crate::hot::handles::Handles;
use crate::hot::syscall;
use crate::hot::uncached::Uncached;
use bytes::Bytes;
use std::any::Any;
use std::fmt::{self, Debug};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Name of the file that holds a directory's lock (Kafka's name).
pub const LOCK_FILE: &str = ".lock";

/// How [`Files::open`] treats a file that is or is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; writes fail.
    Read,
    /// Created if missing; keeps what it holds.
    ReadWrite,
    /// Must not exist.
    CreateNew,
    /// Must exist; may be written.
    Existing,
}

/// Room on the file system of a path, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The whole file system.
    pub total: u64,
    /// What this process may still use.
    pub available: u64,
}

/// An exclusive lock on a directory; released when dropped or when the process dies.
pub struct DirLock {
    _guard: Box<dyn Any + Send + Sync>,
}

impl DirLock {
    /// `guard` releases the lock when dropped.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self { _guard: Box::new(guard) }
    }
}

impl Debug for DirLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirLock")
    }
}

/// A file system. All paths are used as given; relative ones are the process's.
pub trait Files: Send + Sync + Debug {
    /// Makes a directory and its parents; fine if it is there.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names (not paths) in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Replaces `to` atomically; durable only after [`Files::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; missing is `NotFound`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all in it; missing is `NotFound`.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether a file or directory is there. Errors other than "missing" count as there.
    fn exists(&self, path: &Path) -> bool;
    /// A file's length in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Locks a directory against other processes and other holders in this one; `WouldBlock` if taken.
    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock>;
    /// Room left on the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// How long an fsync would keep its thread now, where no call may block: in a simulation, whose callers sleep this
    /// long instead. Zero for real disks, whose calls take what they take.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }

    /// Counts and bounds open segment files; `None` where descriptors cost nothing (simulation).
    fn handles(&self) -> Option<&'static Handles> {
        None
    }

    /// Replaces a small file as a whole: temporary sibling (`NAME.tmp`), fsync, rename, fsync of the directory.
    /// After an error the old content is still there.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write_renamed(path, bytes)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// As [`Files::write_atomic`], durable only after [`Files::sync_dir`]: a power loss before that leaves the old file
    /// or the new one.
    fn write_renamed(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let tmp = temporary_sibling(path)?;
        match self.remove(&tmp) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.open(&tmp, OpenMode::CreateNew)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        drop(file);
        self.rename(&tmp, path)
    }

    /// A whole file of at most `limit` bytes; a longer one is `InvalidData`.
    fn read_all(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let len = file.len()?;
        if len > limit {
            let text = format!("{} has {len} bytes, more than the {limit} allowed", path.display());
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        // The length is bounded by `limit`, which the caller chose, and by what really lies on disk.
        let mut bytes = vec![0; len as usize];
        let read = file.read_full_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// An open file, shared by all cores: every call names its position.
pub trait File: Send + Sync + Debug {
    /// Writes all of `buf` at byte `at`, growing the file if needed.
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()>;
    /// Reads some bytes at `at`; 0 means the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Makes written bytes durable (fdatasync). After an error the file's state is unknown: never retry.
    fn sync(&self) -> io::Result<()>;
    /// Takes room on the disk for the first `len` bytes; the length stays what it is. Whatever lies beyond the end goes
    /// back with [`File::truncate`]. Does nothing where the file system cannot.
    fn reserve(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }
    /// Cuts or extends (with zeroes) to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// The descriptor for sendfile; `None` where there is none (simulation): copy instead.
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;
    /// Whether `[at, at+len)` can be read without waiting for a disk.
    fn resident(&self, at: u64, len: u64) -> bool;
    /// Reads `len` bytes at `at`, fewer only at the end, without leaving their pages in the page cache where that
    /// can be had. Waits for the disk.
    fn read_uncached(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; len];
        let read = self.read_full_at(&mut bytes, at)?;
        bytes.truncate(read);
        Ok(bytes.into())
    }

    /// Nobody will write to it: reads past the page cache need not mind a writer. A write takes it back.
    fn settle(&self) {}

    /// Its name is about to go, perhaps to another file: one that is open only at times is not opened by it again.
    fn retire(&self) {}

    /// The open file behind one that is open only at times: it stays readable when its name goes. `None`: this is it.
    fn pinned(&self) -> Option<io::Result<Arc<dyn File>>> {
        None
    }

    /// Reads until `buf` is full or the file ends; returns how much was read.
    fn read_full_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Fills `buf` or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let read = self.read_full_at(buf, at)?;
        if read == buf.len() {
            return Ok(());
        }
        let text = format!("file ends {read} bytes after {at}, {} were asked for", buf.len());
        Err(io::Error::new(ErrorKind::UnexpectedEof, text))
    }
}

fn temporary_sibling(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        let text = format!("{} names no file", path.display());
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    };
    let mut name = name.to_owned();
    name.push(".tmp");
    Ok(path.with_file_name(name))
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFiles;

impl Files for OsFiles {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true).create(true).truncate(false),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::Existing => options.write(true),
        };
        Ok(Arc::new(OsFile { file: options.open(path)?, uncached: Uncached::default() }))
    }

    fn handles(&self) -> Option<&'static Handles> {
        /// Descriptors are the process's.
        static HANDLES: Handles = Handles::new();
        Some(&HANDLES)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::File::open(dir)?.sync_all().map_err(lost)
    }

    fn exists(&self, path: &Path) -> bool {
        path.try_exists().unwrap_or(true)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        let path = dir.join(LOCK_FILE);
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirLock::new(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let text = format!("{} is held by another process", path.display());
                Err(io::Error::new(ErrorKind::WouldBlock, text))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), available: bytes(stat.f_bavail) })
    }
}

/// An fsync that failed has lost bytes, whatever the reason: nobody may take it for a disk that is merely full.
fn lost(error: io::Error) -> io::Error {
    io::Error::other(format!("fsync failed: {error}"))
}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    uncached: Uncached,
}

impl File for OsFile {
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.uncached.unsettle();
        self.file.write_all_at(buf, at)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(lost)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(AsFd::as_fd(&self.file))
    }

    fn resident(&self, at: u64, len: u64) -> bool {
        syscall::resident(AsFd::as_fd(&self.file), at, len)
    }

    fn read_uncached(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.uncached.read(AsFd::as_fd(&self.file), at, len)
    }

    fn settle(&self) {
        self.uncached.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_from_any_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = OsFiles.open(&path, OpenMode::ReadWrite).unwrap();
        file.write_at(b"glacier", 0).unwrap();
        file.write_at(b"firn", 100).unwrap();
        file.sync().unwrap();
        assert_eq!((file.len().unwrap(), OsFiles.len(&path).unwrap()), (104, 104));
        let mut buf = [9; 8];
        assert_eq!(file.read_full_at(&mut buf, 98).unwrap(), 6);
        assert_eq!(&buf[..6], b"\0\0firn");
        let eof = file.read_exact_at(&mut buf, 98).unwrap_err();
        assert_eq!(eof.kind(), ErrorKind::UnexpectedEof);
        file.truncate(4).unwrap();
        assert_eq!(OsFiles.read_all(&path, 4).unwrap(), b"glac");
    }

    #[test]
    fn reserved_room_changes_no_length_and_goes_back() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = OsFiles.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(b"firn", 0).unwrap();
        file.reserve(8 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 4);
        let taken = || fs::metadata(&path).unwrap().blocks() * 512;
        let reserved = taken();
        file.truncate(4).unwrap();
        // A file system that cannot reserve took nothing before either.
        assert!(reserved >= 8 << 20 || reserved == taken(), "{reserved} bytes taken");
        assert!(taken() < 1 << 20, "{} bytes still taken", taken());
        assert_eq!(OsFiles.read_all(&path, 10).unwrap(), b"firn");
    }

    #[test]
    fn modes_mean_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let kind = |mode| OsFiles.open(&path, mode).map(drop).map_err(|error| error.kind());
        assert_eq!(kind(OpenMode::Read), Err(ErrorKind::NotFound));
        assert_eq!(kind(OpenMode::CreateNew), Ok(()));
        assert_eq!(kind(OpenMode::CreateNew), Err(ErrorKind::AlreadyExists));
        OsFiles.open(&path, OpenMode::ReadWrite).unwrap().write_at(b"kept", 0).unwrap();
        let reader = OsFiles.open(&path, OpenMode::Read).unwrap();
        assert!(reader.write_at(b"no", 0).is_err());
        assert_eq!(OsFiles.read_all(&path, 100).unwrap(), b"kept");
    }

    #[test]
    fn a_longer_file_than_allowed_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        OsFiles.open(&path, OpenMode::CreateNew).unwrap().truncate(1 << 40).unwrap();
        assert_eq!(OsFiles.read_all(&path, 1000).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn an_atomic_write_replaces_the_file_and_a_leftover_of_the_last_try() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.properties");
        OsFiles.write_atomic(&path, b"one").unwrap();
        OsFiles.open(&dir.path().join("meta.properties.tmp"), OpenMode::CreateNew).unwrap();
        OsFiles.write_atomic(&path, b"two").unwrap();
        assert_eq!(OsFiles.read_all(&path, 10).unwrap(), b"two");
        assert_eq!(OsFiles.list(dir.path()).unwrap(), ["meta.properties"]);
    }

    #[test]
    fn a_directory_is_locked_once_and_free_again_when_the_lock_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let lock = OsFiles.lock_dir(dir.path()).unwrap();
        let taken = OsFiles.lock_dir(dir.path()).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::WouldBlock);
        drop(lock);
        OsFiles.lock_dir(dir.path()).unwrap();
    }

    #[test]
    fn names_come_sorted_and_things_go_away() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            OsFiles.open(&dir.path().join(name), OpenMode::CreateNew).unwrap();
        }
        OsFiles.rename(&dir.path().join("c"), &dir.path().join("a")).unwrap();
        OsFiles.create_dir_all(&dir.path().join("d/e")).unwrap();
        OsFiles.sync_dir(dir.path()).unwrap();
        assert_eq!(OsFiles.list(dir.path()).unwrap(), ["a", "b", "d"]);
        OsFiles.remove(&dir.path().join("a")).unwrap();
        OsFiles.remove_dir_all(&dir.path().join("d")).unwrap();
        assert!(!OsFiles.exists(&dir.path().join("a")) && OsFiles.exists(&dir.path().join("b")));
        assert_eq!(OsFiles.remove(&dir.path().join("a")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn space_is_told_and_fresh_pages_are_resident() {
        let dir = tempfile::tempdir().unwrap();
        let space = OsFiles.space(dir.path()).unwrap();
        assert!(space.available > 0 && space.available <= space.total, "{space:?}");
        let file = OsFiles.open(&dir.path().join("log"), OpenMode::CreateNew).unwrap();
        file.write_at(&[7; 100_000], 0).unwrap();
        assert!(file.resident(0, 100_000) && file.resident(4095, 2) && file.resident(0, 0));
    }
}
