//! A file system in memory: what the log targets open. Nothing fails in it but what is not there.
//! Invariant: it starts empty and knows one process.

use firnline_tiering::clock::Clock;
use firnline_tiering::hot::file::{DirLock, File, Files, OpenMode, Space};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Content = Arc<Mutex<Vec<u8>>>;

/// Files by path.
#[derive(Debug, Default)]
pub struct MemoryFiles {
    content: Mutex<BTreeMap<PathBuf, Content>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryFiles {
    /// Puts a file there.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        locked(&self.content).insert(path.to_owned(), Arc::new(Mutex::new(bytes.to_vec())));
    }

    /// What a file holds; empty if it is not there.
    pub fn get(&self, path: &Path) -> Vec<u8> {
        locked(&self.content).get(path).map_or(Vec::new(), |content| locked(content).clone())
    }
}

impl Files for MemoryFiles {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let content = locked(&self.content);
        let names = content.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut content = locked(&self.content);
        let found = match (content.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Read) => return Err(ErrorKind::NotFound.into()),
            (Some(found), _) => found.clone(),
            (None, _) => content.entry(path.to_owned()).or_default().clone(),
        };
        Ok(Arc::new(MemoryFile { content: found }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut content = locked(&self.content);
        let moved = content.remove(from).ok_or(ErrorKind::NotFound)?;
        content.insert(to.to_owned(), moved);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.content).remove(path).map(|_| ()).ok_or(ErrorKind::NotFound.into())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        locked(&self.content).retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        locked(&self.content).contains_key(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        locked(&self.content)
            .get(path)
            .map(|content| locked(content).len() as u64)
            .ok_or(ErrorKind::NotFound.into())
    }

    fn lock_dir(&self, _: &Path) -> io::Result<DirLock> {
        Ok(DirLock::new(()))
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { total: 1 << 40, available: 1 << 40 })
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: Content,
}

impl File for MemoryFile {
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let mut content = locked(&self.content);
        let end = at as usize + buf.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[at as usize..end].copy_from_slice(buf);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let content = locked(&self.content);
        let rest = usize::try_from(at).ok().and_then(|at| content.get(at..)).unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        locked(&self.content).resize(len as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.content).len() as u64)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn resident(&self, _: u64, _: u64) -> bool {
        true
    }
}

/// A clock that stands still.
#[derive(Debug)]
pub struct Still(pub i64);

impl Clock for Still {
    fn now_ms(&self) -> i64 {
        self.0
    }
}
