//! A disk in memory that loses power: after a chosen operation every further one fails, and what was not synced may
//! be gone, kept, or torn. Not fast and not shared between processes.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use firnline_tiering::hot::file::{DirLock, File, Files, OpenMode, Space};

/// What happens to bytes and names that were written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All lost.
    All,
    /// All kept.
    None,
    /// Names kept; of each file's unsynced bytes the first half is kept, the rest reads as zeroes.
    Torn,
    /// Names kept; of each file's unsynced bytes the first half reads as zeroes, the rest is kept.
    TornFront,
    /// Names kept; files are as long as they were when last synced plus half of what came since.
    Short,
}

/// Every way to lose.
pub const LOSSES: [Loss; 5] = [Loss::All, Loss::None, Loss::Torn, Loss::TornFront, Loss::Short];

#[derive(Debug, Default, Clone)]
struct Inode {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    names: BTreeMap<PathBuf, u64>,
    synced_names: BTreeMap<PathBuf, u64>,
    operations: u64,
    power_lost_after: Option<u64>,
}

/// The disk; a clone is the same one.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    gate: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Handle {
    disk: Disk,
    inode: u64,
    writable: bool,
}

impl Disk {
    /// Power goes after this many more changing operations.
    pub fn lose_power_after(&self, operations: u64) {
        let mut state = self.state.lock().unwrap();
        state.power_lost_after = Some(state.operations + operations);
    }

    /// Changing operations wait while the guard lives.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap()
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().unwrap().operations
    }

    /// The disk as the next process finds it.
    pub fn after_power_loss(&self, loss: Loss) -> Disk {
        let state = self.state.lock().unwrap();
        let names = if loss == Loss::All { &state.synced_names } else { &state.names };
        let mut survived =
            State { names: names.clone(), synced_names: names.clone(), next: state.next, ..State::default() };
        for inode in names.values() {
            let bytes = lose(&state.inodes[inode], loss);
            survived.inodes.insert(*inode, Inode { synced: bytes.clone(), bytes });
        }
        Disk { state: Arc::new(Mutex::new(survived)), gate: Arc::default() }
    }

    /// Names and contents, as a process would read them now.
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state.lock().unwrap();
        state.names.iter().map(|(path, inode)| (path.clone(), state.inodes[inode].bytes.clone())).collect()
    }

    /// Changes a file behind everyone's back, durably.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock().unwrap();
        let inode = state.names[path];
        let inode = state.inodes.get_mut(&inode).unwrap();
        change(&mut inode.bytes);
        inode.synced = inode.bytes.clone();
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let _open = self.gate.lock().unwrap();
        let mut state = self.state.lock().unwrap();
        if state.power_lost_after.is_some_and(|last| state.operations >= last) {
            return Err(io::Error::other("the power is off"));
        }
        state.operations += 1;
        change(&mut state)
    }
}

fn lose(inode: &Inode, loss: Loss) -> Vec<u8> {
    let (bytes, synced) = (&inode.bytes, &inode.synced);
    let same = bytes.iter().zip(synced).take_while(|(now, before)| now == before).count();
    let middle = same + (bytes.len() - same) / 2;
    let mut kept = bytes.clone();
    match loss {
        Loss::All => kept = synced.clone(),
        Loss::None => {}
        Loss::Torn => kept[middle..].fill(0),
        Loss::TornFront => kept[same..middle].fill(0),
        Loss::Short => kept.truncate(middle),
    }
    kept
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{} is not there", path.display()))
}

impl Files for Disk {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock().unwrap();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let known = self.state.lock().unwrap().names.get(path).copied();
        let inode = match (known, mode) {
            (Some(_), OpenMode::CreateNew) => {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "it is there"));
            }
            (None, OpenMode::Read | OpenMode::Existing) => return Err(missing(path)),
            (Some(inode), _) => inode,
            (None, _) => self.change(|state| {
                let inode = state.next;
                state.next += 1;
                state.inodes.insert(inode, Inode::default());
                state.names.insert(path.to_owned(), inode);
                Ok(inode)
            })?,
        };
        Ok(Arc::new(Handle { disk: self.clone(), inode, writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let inode = state.names.remove(from).ok_or_else(|| missing(from))?;
            state.names.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.exists(path) {
            return Err(missing(path));
        }
        self.change(|state| state.names.remove(path).map(|_| ()).ok_or_else(|| missing(path)))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.change(|state| {
            state.names.retain(|path, _| !path.starts_with(dir));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|state| {
            state.synced_names.retain(|path, _| path.parent() != Some(dir));
            let inside: Vec<_> = state.names.iter().filter(|(path, _)| path.parent() == Some(dir)).collect();
            let inside: Vec<_> = inside.into_iter().map(|(path, inode)| (path.clone(), *inode)).collect();
            state.synced_names.extend(inside);
            Ok(())
        })
    }

    fn exists(&self, path: &Path) -> bool {
        self.state.lock().unwrap().names.contains_key(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.open(path, OpenMode::Read)?.len()
    }

    fn lock_dir(&self, _: &Path) -> io::Result<DirLock> {
        Ok(DirLock::new(()))
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { total: u64::MAX, available: u64::MAX })
    }
}

impl Handle {
    fn inode<T>(&self, change: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        assert!(self.writable, "a file opened for reading is written");
        self.disk.change(|state| Ok(change(state.inodes.get_mut(&self.inode).unwrap())))
    }
}

impl File for Handle {
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.inode(|inode| {
            let end = at as usize + buf.len();
            if inode.bytes.len() < end {
                inode.bytes.resize(end, 0);
            }
            inode.bytes[at as usize..end].copy_from_slice(buf);
        })
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.state.lock().unwrap();
        let bytes = &state.inodes[&self.inode].bytes;
        let rest = bytes.get(at as usize..).unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        self.inode(|inode| inode.synced = inode.bytes.clone())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inode(|inode| inode.bytes.resize(len as usize, 0))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().unwrap().inodes[&self.inode].bytes.len() as u64)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn resident(&self, _: u64, _: u64) -> bool {
        true
    }
}
