//! [`TwinDisk`]: a file system in memory behind the door to files. Who holds a [`Nature`] sees every call first and
//! decides what becomes of it. It models one disk and the processes that use it one after the other.
//! Invariant: a handle of a dead process never reads or writes again, and what was synced survives everything.

use super::dice::Dice;
use super::node::{Bytes, Id, Names, Naming};
use firnline_tiering::hot::file::{DirLock, File, Files, OpenMode, Space};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What a call would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    CreateDir,
    Create,
    Open,
    Write,
    Read,
    Sync,
    Truncate,
    Rename,
    Remove,
    RemoveDir,
    SyncDir,
    List,
    Ask,
    Lock,
}

impl Verb {
    /// Whether it changes what lies on the disk, or what is safe there.
    pub fn changes(self) -> bool {
        !matches!(self, Verb::Open | Verb::Read | Verb::List | Verb::Ask | Verb::Lock)
    }
}

/// One call, before it happens.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub verb: Verb,
    pub path: &'a Path,
    /// Of a write or read: how many and where. Of a truncation: 0 and where to.
    pub bytes: usize,
    pub at: u64,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It happens.
    Happens,
    /// It fails like this; of a write, so many bytes are there all the same.
    Fails(ErrorKind, usize),
    /// The process dies in it; of a write, so many bytes are there.
    Dies(usize),
}

/// Decides about every call.
pub trait Nature: Send + Sync + Debug {
    fn decide(&self, call: &Call<'_>) -> Fate;
    /// How long an fsync takes now.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }
    /// The process died, by [`Fate::Dies`] or by [`TwinDisk::kill`].
    fn died(&self) {}
}

/// Nothing ever goes wrong.
#[derive(Debug)]
pub struct Kind;

impl Nature for Kind {
    fn decide(&self, _: &Call<'_>) -> Fate {
        Fate::Happens
    }
}

/// The disk; clones share it.
#[derive(Debug, Clone)]
pub struct TwinDisk {
    state: Arc<Mutex<State>>,
    nature: Arc<dyn Nature>,
}

#[derive(Debug)]
enum Node {
    File(Bytes),
    Dir(Names),
}

const ROOT: Id = 0;

#[derive(Debug)]
struct State {
    nodes: BTreeMap<Id, Node>,
    next: Id,
    locked: BTreeSet<PathBuf>,
    /// The process that may use the disk now; handles remember theirs.
    process: u64,
    dead: bool,
    /// How often the power came back.
    boots: u128,
    capacity: u64,
}

impl TwinDisk {
    pub fn new(nature: Arc<dyn Nature>) -> Self {
        let state = State {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Names::default()))]),
            next: 1,
            locked: BTreeSet::new(),
            process: 0,
            dead: false,
            boots: 1,
            capacity: 1 << 40,
        };
        Self { state: Arc::new(Mutex::new(state)), nature }
    }

    /// The same disk, seen by somebody else's nature.
    pub fn with(&self, nature: Arc<dyn Nature>) -> Self {
        Self { state: self.state.clone(), nature }
    }

    /// The file system takes so many bytes of files in all.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// The process is gone: its locks fall, its calls fail for ever. What it wrote stays.
    pub fn kill(&self) {
        self.state().die();
        self.nature.died();
    }

    /// The power goes: what was not synced survives as the seed says. The process is dead too.
    pub fn lose_power(&self, seed: u64) {
        let mut state = self.state();
        state.die();
        state.boots += 1;
        let mut dice = Dice::new(seed);
        for node in state.nodes.values_mut() {
            match node {
                Node::File(bytes) => bytes.lose(&mut dice),
                Node::Dir(names) => names.lose(&mut dice),
            }
        }
        state.forget_nameless();
    }

    /// Another, empty disk stands here. The process that used the old one is dead.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.die();
        state.nodes = BTreeMap::from([(ROOT, Node::Dir(Names::default()))]);
    }

    /// A new process may use the disk.
    pub fn revive(&self) {
        self.state().dead = false;
    }

    /// What names this boot of the machine.
    pub fn boot(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(self.state().boots)
    }

    /// Whether the process died and was not replaced yet.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// All files, with their bytes as a reader sees them.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (state, mut files) = (self.state(), BTreeMap::new());
        let mut todo = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, id)) = todo.pop() {
            match &state.nodes[&id] {
                Node::File(bytes) => drop(files.insert(path, bytes.now.clone())),
                Node::Dir(names) => todo.extend(names.now.iter().map(|(name, id)| (path.join(name), *id))),
            }
        }
        files
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no caller panics inside the disk")
    }

    /// Asks the nature about a call of the process alive now; answers the disk, and why the call fails if it does.
    fn enter(&self, call: &Call<'_>) -> io::Result<(MutexGuard<'_, State>, Option<io::Error>, usize)> {
        if self.state().dead {
            return Err(dead());
        }
        let fate = self.nature.decide(call);
        let mut state = self.state();
        match fate {
            Fate::Happens => Ok((state, None, call.bytes)),
            Fate::Fails(kind, kept) => {
                let error =
                    io::Error::new(kind, format!("simulated: {:?} {}", call.verb, call.path.display()));
                Ok((state, Some(error), kept.min(call.bytes)))
            }
            Fate::Dies(kept) => {
                state.die();
                drop(state);
                self.nature.died();
                Ok((self.state(), Some(dead()), kept.min(call.bytes)))
            }
        }
    }

    /// A call that happens whole or not at all.
    fn whole(&self, verb: Verb, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        match self.enter(&Call { verb, path, bytes: 0, at: 0 })? {
            (state, None, _) => Ok(state),
            (_, Some(error), _) => Err(error),
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("simulated: the process is dead")
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{} is not there", path.display()))
}

fn parts(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

impl State {
    fn die(&mut self) {
        self.dead = true;
        self.process += 1;
        self.locked.clear();
    }

    fn find(&self, path: &Path) -> Option<Id> {
        let mut at = ROOT;
        for name in parts(path) {
            let Some(Node::Dir(names)) = self.nodes.get(&at) else { return None };
            at = *names.now.get(&name)?;
        }
        Some(at)
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut Bytes> {
        let id = self.find(path).ok_or_else(|| missing(path))?;
        match self.nodes.get_mut(&id) {
            Some(Node::File(bytes)) => Ok(bytes),
            _ => Err(io::Error::new(ErrorKind::IsADirectory, path.display().to_string())),
        }
    }

    fn names(&mut self, dir: &Path) -> io::Result<&mut Names> {
        let id = self.find(dir).ok_or_else(|| missing(dir))?;
        match self.nodes.get_mut(&id) {
            Some(Node::Dir(names)) => Ok(names),
            _ => Err(io::Error::new(ErrorKind::NotADirectory, dir.display().to_string())),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<Id> {
        let id = self.next;
        let name = name_of(path)?;
        self.names(parent(path))?.change(Naming::Link { name, id });
        self.next += 1;
        self.nodes.insert(id, node);
        Ok(id)
    }

    /// Nodes that have a name now.
    fn named(&self) -> BTreeSet<Id> {
        let (mut named, mut todo) = (BTreeSet::new(), vec![ROOT]);
        while let Some(id) = todo.pop() {
            named.insert(id);
            if let Some(Node::Dir(names)) = self.nodes.get(&id) {
                todo.extend(names.now.values());
            }
        }
        named
    }

    fn used(&self) -> u64 {
        let len = |id| if let Node::File(bytes) = &self.nodes[id] { bytes.now.len() as u64 } else { 0 };
        self.named().iter().map(len).sum()
    }

    /// Of so many bytes more, how many there is room for.
    fn room_for(&self, id: Id, at: usize, bytes: usize) -> usize {
        let Some(Node::File(file)) = self.nodes.get(&id) else { return bytes };
        let grows = (at + bytes).saturating_sub(file.now.len());
        if grows == 0 || self.capacity == 1 << 40 {
            return bytes;
        }
        let left = usize::try_from(self.capacity.saturating_sub(self.used())).unwrap_or(usize::MAX);
        bytes - grows.saturating_sub(left).min(bytes)
    }

    /// After a loss nothing brings a nameless node back.
    fn forget_nameless(&mut self) {
        let named = self.named();
        self.nodes.retain(|id, _| named.contains(id));
    }
}

fn name_of(path: &Path) -> io::Result<String> {
    parts(path).last().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the root has no name"))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Files for TwinDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.whole(Verb::CreateDir, dir)?;
        let mut path = PathBuf::new();
        for name in parts(dir) {
            path.push(name);
            if state.find(&path).is_none() {
                state.add(&path, Node::Dir(Names::default()))?;
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.whole(Verb::List, dir)?.names(dir)?.now.keys().cloned().collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let known = self.state().find(path).is_some();
        let verb = if known || mode == OpenMode::Read { Verb::Open } else { Verb::Create };
        let mut state = self.whole(verb, path)?;
        let id = match (state.find(path), mode) {
            (Some(_), OpenMode::CreateNew) => {
                return Err(io::Error::new(ErrorKind::AlreadyExists, path.display().to_string()));
            }
            (Some(id), _) => id,
            (None, OpenMode::Read | OpenMode::Existing) => return Err(missing(path)),
            (None, _) => state.add(path, Node::File(Bytes::default()))?,
        };
        let (process, writes) = (state.process, mode != OpenMode::Read);
        Ok(Arc::new(TwinFile { disk: self.clone(), path: path.to_owned(), id, process, writes }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.whole(Verb::Rename, from)?;
        let id = state.find(from).ok_or_else(|| missing(from))?;
        let (old, new) = (name_of(from)?, name_of(to)?);
        if parent(from) == parent(to) {
            state.names(parent(from))?.change(Naming::Rename { from: old, to: new, id });
            return Ok(());
        }
        state.names(parent(to))?.change(Naming::Link { name: new, id });
        state.names(parent(from))?.change(Naming::Unlink { name: old });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.whole(Verb::Remove, path)?;
        state.file(path)?;
        state.names(parent(path))?.change(Naming::Unlink { name: name_of(path)? });
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.whole(Verb::RemoveDir, dir)?;
        state.names(dir)?;
        state.names(parent(dir))?.change(Naming::Unlink { name: name_of(dir)? });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.whole(Verb::SyncDir, dir)?.names(dir)?.sync();
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        self.whole(Verb::Ask, path).is_ok_and(|state| state.find(path).is_some())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(self.whole(Verb::Ask, path)?.file(path)?.now.len() as u64)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        let mut state = self.whole(Verb::Lock, dir)?;
        if !state.locked.insert(dir.to_owned()) {
            return Err(io::Error::new(ErrorKind::WouldBlock, format!("{} is locked", dir.display())));
        }
        Ok(DirLock::new(Unlock { disk: self.clone(), dir: dir.to_owned(), process: state.process }))
    }

    fn lag(&self) -> Duration {
        self.nature.lag()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let state = self.whole(Verb::Ask, path)?;
        Ok(Space { total: state.capacity, available: state.capacity.saturating_sub(state.used()) })
    }
}

struct Unlock {
    disk: TwinDisk,
    dir: PathBuf,
    process: u64,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // A dead process lost its locks when it died; the name may belong to its successor by now.
        if state.process == self.process {
            state.locked.remove(&self.dir);
        }
    }
}

#[derive(Debug)]
struct TwinFile {
    disk: TwinDisk,
    path: PathBuf,
    id: Id,
    process: u64,
    writes: bool,
}

impl TwinFile {
    fn enter(
        &self,
        verb: Verb,
        bytes: usize,
        at: u64,
    ) -> io::Result<(MutexGuard<'_, State>, Option<io::Error>, usize)> {
        if self.disk.state().process != self.process {
            return Err(dead());
        }
        if verb.changes() && verb != Verb::Sync && !self.writes {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "opened for reading"));
        }
        self.disk.enter(&Call { verb, path: &self.path, bytes, at })
    }

    fn whole(&self, verb: Verb, at: u64) -> io::Result<MutexGuard<'_, State>> {
        match self.enter(verb, 0, at)? {
            (state, None, _) => Ok(state),
            (_, Some(error), _) => Err(error),
        }
    }
}

/// The file of a handle; it lives as long as its process.
fn held(state: &mut State, id: Id) -> &mut Bytes {
    match state.nodes.get_mut(&id) {
        Some(Node::File(bytes)) => bytes,
        other => panic!("a handle of {other:?}"),
    }
}

impl File for TwinFile {
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let (mut state, mut failed, mut kept) = self.enter(Verb::Write, buf.len(), at)?;
        let fits = state.room_for(self.id, at as usize, buf.len());
        if fits < kept {
            kept = fits;
            failed = failed.or(Some(ErrorKind::StorageFull.into()));
        }
        if kept > 0 {
            held(&mut state, self.id).write(&buf[..kept], at as usize);
        }
        failed.map_or(Ok(()), Err)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let (mut state, failed, _) = self.enter(Verb::Read, buf.len(), at)?;
        if let Some(error) = failed {
            return Err(error);
        }
        let bytes = &held(&mut state, self.id).now;
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let read = buf.len().min(bytes.len() - from);
        buf[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        held(&mut *self.whole(Verb::Sync, 0)?, self.id).sync();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        held(&mut *self.whole(Verb::Truncate, len)?, self.id).cut(len as usize);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(held(&mut *self.whole(Verb::Ask, 0)?, self.id).now.len() as u64)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn resident(&self, _at: u64, _len: u64) -> bool {
        true
    }
}
