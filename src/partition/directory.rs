//! A log directory as the rest of the broker sees it: its path, and the room last seen on its disk.
//! It opens and asks nothing: housekeeping looks and notes. Invariant: total and usable are of the same look.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firnline_tiering::hot::health::DirHealth;
use parking_lot::Mutex;

/// A log directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    health: Arc<DirHealth>,
    space: Mutex<(i64, i64)>,
}

impl Directory {
    /// A directory nobody has looked at yet.
    pub fn new(path: PathBuf, health: Arc<DirHealth>) -> Directory {
        Directory { path, health, space: Mutex::new((-1, -1)) }
    }

    /// Why it is offline; `None` while its disk works.
    pub fn failed(&self) -> Option<Arc<str>> {
        self.health.failed()
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes what a look found, in bytes.
    pub fn note_space(&self, total: u64, usable: u64) {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        *self.space.lock() = (bytes(total), bytes(usable));
    }

    /// Total and usable bytes of its file system, -1 while unknown.
    pub fn space(&self) -> (i64, i64) {
        *self.space.lock()
    }
}
