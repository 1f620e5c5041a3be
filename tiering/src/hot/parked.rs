//! A segment's file that is open only while somebody needs it: [`Handles`] closes it when it was idle, and the next
//! use opens it again by its name. It is not for who needs the file after its name may have gone: that is pinned.
//! Invariants: a descriptor is closed only when everything written through it is durable, so that no error of
//! write-back goes with it; an fsync that failed is final; a retired file is never opened by a name that may be
//! another's.

use crate::hot::file::{File, Files, OpenMode};
use crate::hot::handles::{Handles, Parkable};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Makes a file of `files`, found again at `path`, one that is closed while nobody uses it; where descriptors are not
/// counted it stays what it is.
pub fn park(files: &Arc<dyn Files>, path: PathBuf, open: Arc<dyn File>) -> Arc<dyn File> {
    match files.handles() {
        // A file without a descriptor is parked already.
        Some(handles) if open.as_fd().is_some() => parked(handles, files.clone(), path, open),
        _ => open,
    }
}

fn parked(
    handles: &'static Handles,
    files: Arc<dyn Files>,
    path: PathBuf,
    open: Arc<dyn File>,
) -> Arc<dyn File> {
    let file = Arc::new_cyclic(|me: &Weak<Parked>| Parked {
        handles,
        me: me.clone(),
        files,
        path,
        open: ArcSwapOption::empty(),
        used: AtomicBool::new(true),
        retired: AtomicBool::new(false),
        settled: AtomicBool::new(false),
        // Who wrote it before is not known.
        dirty: AtomicBool::new(true),
        failed: OnceLock::new(),
    });
    file.keep(open);
    file
}

/// What lies in the slot: `ArcSwapOption` wants a sized value.
#[derive(Debug)]
struct Open(Arc<dyn File>);

/// A file that is open only while somebody needs it.
#[derive(Debug)]
struct Parked {
    handles: &'static Handles,
    me: Weak<Parked>,
    files: Arc<dyn Files>,
    path: PathBuf,
    open: ArcSwapOption<Open>,
    used: AtomicBool,
    retired: AtomicBool,
    /// Nobody writes to it any more.
    settled: AtomicBool,
    /// Written since the last fsync: a descriptor that is closed takes the error of its write-back with it.
    dirty: AtomicBool,
    /// An fsync of ours that failed; it is final.
    failed: OnceLock<String>,
}

impl Parked {
    fn file(&self) -> io::Result<Arc<dyn File>> {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        if let Some(open) = self.open.load().as_ref() {
            return Ok(open.0.clone());
        }
        let file = self.files.open(&self.path, OpenMode::Existing)?;
        // After the open: who gives the name to another file retires this one first.
        if self.retired.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.settled.load(Ordering::Relaxed) {
            file.settle();
        }
        self.keep(file.clone());
        Ok(file)
    }

    /// Keeps an open file, unless another thread was faster.
    fn keep(&self, file: Arc<dyn File>) {
        let none: Option<Arc<Open>> = None;
        let before = self.open.compare_and_swap(&none, Some(Arc::new(Open(file))));
        if before.is_none() {
            self.handles.opened(self.me.clone());
        }
    }

    /// For what changes the file.
    fn sound(&self) -> io::Result<Arc<dyn File>> {
        match self.failed.get() {
            Some(why) => Err(io::Error::other(format!("an earlier fsync failed: {why}"))),
            None => self.file(),
        }
    }
}

impl Parkable for Parked {
    fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn settle(&self) -> bool {
        if !self.dirty.load(Ordering::Acquire) {
            return true;
        }
        match self.sync() {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(file = %self.path.display(), %error, "an idle segment could not be made durable");
                // The first failure is the one that is told.
                let _ = self.failed.set(error.to_string());
                false
            }
        }
    }

    fn close(&self) -> bool {
        if self.dirty.load(Ordering::Acquire) {
            return false;
        }
        if self.open.swap(None).is_some() {
            // Whoever holds it goes on with it.
            self.handles.closed();
        }
        true
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if self.open.load().is_some() {
            self.handles.closed();
        }
    }
}

impl File for Parked {
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let file = self.sound()?;
        self.dirty.store(true, Ordering::Release);
        self.settled.store(false, Ordering::Relaxed);
        file.write_at(buf, at)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file()?.read_at(buf, at)
    }

    fn sync(&self) -> io::Result<()> {
        let file = self.sound()?;
        // Before the fsync: what is written while it runs makes the file dirty again.
        self.dirty.store(false, Ordering::Release);
        file.sync().inspect_err(|_| self.dirty.store(true, Ordering::Release))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let file = self.sound()?;
        self.dirty.store(true, Ordering::Release);
        file.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        // It may be closed at any time: pin it.
        None
    }

    fn resident(&self, at: u64, len: u64) -> bool {
        self.file().is_ok_and(|file| file.resident(at, len))
    }

    fn read_uncached(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.file()?.read_uncached(at, len)
    }

    fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
        if let Some(open) = self.open.load().as_ref() {
            open.0.settle();
        }
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    fn pinned(&self) -> Option<io::Result<Arc<dyn File>>> {
        Some(self.file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::file::OsFiles;

    fn handles() -> &'static Handles {
        Box::leak(Box::new(Handles::new()))
    }

    fn files(handles: &'static Handles, dir: &std::path::Path, count: usize) -> Vec<Arc<dyn File>> {
        let park = |at: usize| {
            let path = dir.join(format!("{at}.log"));
            let open = OsFiles.open(&path, OpenMode::CreateNew).expect("creates");
            open.write_at(&[at as u8; 10], 0).expect("writes");
            let file = parked(handles, Arc::new(OsFiles), path, open);
            file.sync().expect("syncs");
            file
        };
        (0..count).map(park).collect()
    }

    #[test]
    fn clean_files_are_closed_at_the_limit_and_open_again_when_used() {
        let dir = tempfile::tempdir().expect("a directory");
        let handles = handles();
        handles.set_limit(4);
        let files = files(handles, dir.path(), 20);
        // The last one came in before it was synced.
        assert!(handles.open() <= 5, "{} are open", handles.open());
        for (at, file) in files.iter().enumerate() {
            let mut byte = [0; 1];
            file.read_exact_at(&mut byte, 9).expect("reads");
            assert_eq!(byte[0] as usize, at);
            assert!(handles.open() <= 5, "{} are open", handles.open());
        }
        drop(files);
        assert_eq!(handles.open(), 0);
    }

    #[test]
    fn a_retired_file_is_not_mistaken_for_its_successor() {
        let dir = tempfile::tempdir().expect("a directory");
        let handles = handles();
        let files = files(handles, dir.path(), 2);
        files[0].retire();
        OsFiles.rename(&dir.path().join("1.log"), &dir.path().join("0.log")).expect("takes the name");
        let mut byte = [9; 1];
        files[0].read_exact_at(&mut byte, 0).expect("is open");
        assert_eq!(byte, [0], "the old file while it is open");
        handles.set_limit(1);
        let more = tempfile::tempdir().expect("a directory");
        let _more = self::files(handles, more.path(), 2);
        assert_eq!(files[0].read_exact_at(&mut byte, 0).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_not_durable_stays_open_until_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let handles = handles();
        let files = files(handles, dir.path(), 3);
        files[1].write_at(b"new", 0).expect("writes");
        handles.set_limit(1);
        let pinned = files[2].pinned().expect("is parked").expect("opens");
        let more = tempfile::tempdir().expect("a directory");
        let _more = self::files(handles, more.path(), 1);
        assert_eq!(handles.open(), 2, "the written one, and the newest, which was not durable when it came");
        files[1].sync().expect("syncs");
        files[0].len().expect("opens");
        assert_eq!(handles.open(), 1, "the one just used");
        OsFiles.remove(&dir.path().join("2.log")).expect("removes");
        assert_eq!(pinned.len().expect("a pinned file outlives its name"), 10);
        assert_eq!(files[2].len().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!dir.path().join("2.log").exists(), "opening again creates nothing");
    }
}
