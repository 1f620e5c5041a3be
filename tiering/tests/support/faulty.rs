//! A file system that fails when told, and that can forget what was never fsynced. It wraps the real one.

use firnline_tiering::hot::file::{DirLock, File, Files, OpenMode, OsFiles, Space};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What goes wrong, and when.
#[derive(Debug, Default)]
pub struct Plan {
    /// The next write puts down only this many bytes, then fails like this.
    pub write: Option<(usize, io::ErrorKind)>,
    /// The next truncation fails.
    pub truncate: bool,
    /// The next fsync fails.
    pub sync: bool,
    /// Creating a file fails like this.
    pub create: Option<io::ErrorKind>,
    /// Bytes that were fsynced, by file.
    pub synced: BTreeMap<PathBuf, u64>,
}

#[derive(Debug, Default, Clone)]
pub struct FaultyFiles {
    pub plan: Arc<Mutex<Plan>>,
}

impl FaultyFiles {
    pub fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().expect("no test panics in here")
    }

    /// Every file whose name ends in `suffix` loses bytes after what was fsynced: `keep` of 1.0 loses nothing.
    pub fn lose_unsynced(&self, dir: &Path, suffix: &str, keep: f64) {
        let synced = self.plan().synced.clone();
        for name in OsFiles.list(dir).expect("lists").into_iter().filter(|name| name.ends_with(suffix)) {
            let path = dir.join(name);
            let len = OsFiles.len(&path).expect("has a length");
            let safe = synced.get(&path).copied().unwrap_or(0).min(len);
            let left = safe + ((len - safe) as f64 * keep) as u64;
            OsFiles.open(&path, OpenMode::ReadWrite).and_then(|file| file.truncate(left)).expect("truncates");
        }
    }
}

impl Files for FaultyFiles {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        OsFiles.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsFiles.list(dir)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if mode == OpenMode::CreateNew
            && let Some(kind) = self.plan().create.take()
        {
            return Err(kind.into());
        }
        let inner = OsFiles.open(path, mode)?;
        Ok(Arc::new(FaultyFile { path: path.to_owned(), inner, plan: self.plan.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFiles.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove(path)
    }
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        OsFiles.remove_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsFiles.sync_dir(dir)
    }
    fn exists(&self, path: &Path) -> bool {
        OsFiles.exists(path)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        OsFiles.len(path)
    }
    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        OsFiles.lock_dir(dir)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        OsFiles.space(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    path: PathBuf,
    inner: Arc<dyn File>,
    plan: Arc<Mutex<Plan>>,
}

impl FaultyFile {
    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().expect("no test panics in here")
    }
}

impl File for FaultyFile {
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let failure = self.plan().write.take();
        let Some((bytes, kind)) = failure else { return self.inner.write_at(buf, at) };
        self.inner.write_at(&buf[..bytes.min(buf.len())], at)?;
        Err(kind.into())
    }
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.inner.read_at(buf, at)
    }
    fn sync(&self) -> io::Result<()> {
        let mut plan = self.plan();
        if std::mem::take(&mut plan.sync) {
            return Err(io::Error::other("injected"));
        }
        plan.synced.insert(self.path.clone(), self.inner.len()?);
        Ok(())
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        if std::mem::take(&mut self.plan().truncate) {
            return Err(io::Error::other("injected"));
        }
        self.inner.truncate(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.as_fd()
    }
    fn resident(&self, at: u64, len: u64) -> bool {
        self.inner.resident(at, len)
    }
}
