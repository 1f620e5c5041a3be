//! A disk in memory that fails as disks and processes do: a write torn by the process's death, and EIO.
//! What a killed process wrote stays (its page cache survives it); what it was writing is cut at any byte.
//! Invariant: after `kill`, nothing changes until `revive`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use firnline_tiering::hot::file::{DirLock, File, Files, OpenMode, Space};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::journal::Journal;

/// Chances of each fault per call, in 1/10,000.
#[derive(Debug, Clone, Copy)]
pub struct Chances {
    /// The process dies in the middle of a write.
    pub torn_write: u32,
    /// A read of a segment fails with EIO.
    pub read_eio: u32,
    /// A write to a segment fails with EIO before its first byte.
    pub write_eio: u32,
}

impl Chances {
    /// A disk that works.
    pub const NONE: Chances = Chances { torn_write: 0, read_eio: 0, write_eio: 0 };
}

/// The disk; clones share it.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    journal: Journal,
}

#[derive(Debug)]
struct State {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<Mutex<Vec<u8>>>>,
    locked: BTreeSet<PathBuf>,
    dice: StdRng,
    chances: Chances,
    /// Told when the process died; a dead process's calls all fail.
    dead: bool,
    died: Arc<tokio::sync::Notify>,
}

impl SimDisk {
    pub fn new(seed: u64, journal: Journal) -> Self {
        let state = State {
            dirs: BTreeSet::new(),
            files: BTreeMap::new(),
            locked: BTreeSet::new(),
            dice: StdRng::seed_from_u64(seed),
            chances: Chances::NONE,
            dead: false,
            died: Arc::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), journal }
    }

    pub fn set_chances(&self, chances: Chances) {
        self.state().chances = chances;
    }

    /// The process is gone: its locks fall, its calls fail.
    pub fn kill(&self) {
        let mut state = self.state();
        state.dead = true;
        state.locked.clear();
        state.died.notify_one();
    }

    /// A new process may use the disk.
    pub fn revive(&self) {
        self.state().dead = false;
    }

    /// Whether the process died and was not replaced yet.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Names of all files, for the closing check.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().files.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no caller panics inside the disk")
    }

    /// Writes the call down and hands over the disk, unless the process is dead.
    fn enter(&self, call: &str, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        self.journal.note("files", format_args!("{call} {}", path.display()));
        let state = self.state();
        if state.dead {
            return Err(eio("the process is dead"));
        }
        Ok(state)
    }
}

fn eio(why: &str) -> io::Error {
    io::Error::other(format!("simulated EIO: {why}"))
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{} is not there", path.display()))
}

/// Only segments get EIO: a broker whose quorum log fails stops, and that is another scenario.
fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
        && !path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("__"))
}

impl State {
    fn chance(&mut self, of_10_000: u32) -> bool {
        of_10_000 > 0 && self.dice.random_range(0..10_000) < of_10_000
    }
}

impl Files for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter("create_dir_all", dir)?;
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.enter("list", dir)?;
        if !state.dirs.contains(dir) {
            return Err(missing(dir));
        }
        let children = state.dirs.iter().chain(state.files.keys()).filter(|path| path.parent() == Some(dir));
        let names = children.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.enter("open", path)?;
        let known = state.files.get(path).cloned();
        let bytes = match (known, mode) {
            (Some(_), OpenMode::CreateNew) => {
                return Err(io::Error::new(ErrorKind::AlreadyExists, path.display().to_string()));
            }
            (Some(bytes), _) => bytes,
            (None, OpenMode::Read | OpenMode::Existing) => return Err(missing(path)),
            (None, _) => {
                if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
                    return Err(missing(path));
                }
                let bytes = Arc::<Mutex<Vec<u8>>>::default();
                state.files.insert(path.to_owned(), bytes.clone());
                bytes
            }
        };
        Ok(Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), bytes }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.enter("rename", from)?;
        self.journal.note("files", format_args!("renamed to {}", to.display()));
        if let Some(bytes) = state.files.remove(from) {
            state.files.insert(to.to_owned(), bytes);
            return Ok(());
        }
        if !state.dirs.contains(from) {
            return Err(missing(from));
        }
        let moved = |path: &PathBuf| {
            path.strip_prefix(from).map(|rest| to.join(rest)).unwrap_or_else(|_| path.clone())
        };
        state.dirs = state.dirs.iter().map(moved).map(|path| path.components().collect()).collect();
        let files = std::mem::take(&mut state.files);
        state.files = files.into_iter().map(|(path, bytes)| (moved(&path), bytes)).collect();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.enter("remove", path)?.files.remove(path).map(drop).ok_or_else(|| missing(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter("remove_dir_all", dir)?;
        if !state.dirs.contains(dir) {
            return Err(missing(dir));
        }
        state.dirs.retain(|path| !path.starts_with(dir));
        state.files.retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.enter("sync_dir", dir).map(drop)
    }

    fn exists(&self, path: &Path) -> bool {
        self.enter("exists", path)
            .is_ok_and(|state| state.files.contains_key(path) || state.dirs.contains(path))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.enter("len", path)?;
        let bytes = state.files.get(path).ok_or_else(|| missing(path))?;
        let len = bytes.lock().expect("no caller panics inside a file").len();
        Ok(len as u64)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        let mut state = self.enter("lock_dir", dir)?;
        if !state.locked.insert(dir.to_owned()) {
            return Err(io::Error::new(ErrorKind::WouldBlock, format!("{} is locked", dir.display())));
        }
        Ok(DirLock::new(Unlock { disk: self.clone(), dir: dir.to_owned() }))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        drop(self.enter("space", path)?);
        Ok(Space { total: 1 << 40, available: 1 << 39 })
    }
}

struct Unlock {
    disk: SimDisk,
    dir: PathBuf,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // A dead process lost its locks when it died; the name may belong to its successor by now.
        if !state.dead {
            state.locked.remove(&self.dir);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl SimFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().expect("no caller panics inside a file")
    }

    fn put(&self, buf: &[u8], at: u64) {
        let (at, mut bytes) = (at as usize, self.bytes());
        if bytes.len() < at + buf.len() {
            bytes.resize(at + buf.len(), 0);
        }
        bytes[at..at + buf.len()].copy_from_slice(buf);
    }
}

impl File for SimFile {
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.enter("write_at", &self.path)?;
        self.disk.journal.note("files", format_args!("wrote {} bytes at {at}", buf.len()));
        let chances = state.chances;
        if is_segment(&self.path) && state.chance(chances.write_eio) {
            self.disk.journal.fault("write_eio", self.path.display());
            return Err(eio("write"));
        }
        if state.chance(chances.torn_write) {
            let kept = state.dice.random_range(0..=buf.len());
            drop(state);
            self.put(&buf[..kept], at);
            self.disk
                .journal
                .fault("torn_write", format_args!("{} kept {kept} of {}", self.path.display(), buf.len()));
            self.disk.kill();
            return Err(eio("the process died in this write"));
        }
        drop(state);
        self.put(buf, at);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.enter("read_at", &self.path)?;
        self.disk.journal.note("files", format_args!("read {} bytes at {at}", buf.len()));
        let chances = state.chances;
        if is_segment(&self.path) && state.chance(chances.read_eio) {
            self.disk.journal.fault("read_eio", self.path.display());
            return Err(eio("read"));
        }
        drop(state);
        let bytes = self.bytes();
        let from = (at as usize).min(bytes.len());
        let read = buf.len().min(bytes.len() - from);
        buf[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.enter("sync", &self.path).map(drop)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        drop(self.disk.enter("truncate", &self.path)?);
        self.bytes().resize(len as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        drop(self.disk.enter("file_len", &self.path)?);
        Ok(self.bytes().len() as u64)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn resident(&self, _at: u64, _len: u64) -> bool {
        true
    }
}
