//! Directories of logs that move from one log directory to another: the copy's, the exchange of the two, and what a crash
//! left of a move. When to do what is decided elsewhere (`log_mover.rs`, `assignment.rs`).
//! Invariant: at any crash point the log lies whole in at least one directory, and where it lies in two the marked one
//! counts.

use std::collections::BTreeMap;
use std::path::Path;

use firnline_controller::id::TopicId;
use firnline_tiering::log::directory::{CheckpointKind, LogName};
use firnline_tiering::offsets::Offset;

use crate::broker::log_dir::LogDir;
use crate::broker::storage::{Storage, Wanted, metadata_of, text};
use crate::broker::storage_error::StorageError;
use crate::partition::replica::PartitionId;

/// What the checkpoints of the new directory have to say of a log.
#[derive(Debug, Clone, Copy)]
pub struct Points {
    /// Its log start.
    pub start: Offset,
    /// Its end: everything below is durable in the copy.
    pub end: Offset,
    /// Its high watermark.
    pub high_watermark: Offset,
    /// How far it was cleaned, if it ever was.
    pub clean: Option<Offset>,
}

impl Storage {
    /// Makes the directory of a copy of a log in `to`; its name.
    pub fn make_copy(&self, name: &LogName, topic: TopicId, to: &Path) -> Result<String, StorageError> {
        let dir = self.at(name, to)?;
        Ok(dir.judged(dir.directory.create_future(name, &metadata_of(topic), &*self.entropy))?)
    }

    /// Removes a copy that is not wanted.
    pub fn discard_copy(&self, to: &Path, copy: &str) -> Result<(), StorageError> {
        match self.working().find(|dir| dir.directory.root() == to) {
            Some(dir) => Ok(dir.judged(dir.directory.discard_future(copy))?),
            None => Ok(()),
        }
    }

    /// Whether a directory has no room to spare.
    pub fn is_full(&self, root: &Path) -> bool {
        self.dirs().iter().any(|dir| dir.directory.root() == root && dir.room.is_full())
    }

    fn at(&self, name: &LogName, root: &Path) -> Result<&LogDir, StorageError> {
        let gone = || StorageError::NotExchanged {
            log: text(name),
            why: format!("log directory {} is offline", root.display()),
        };
        self.working().find(|dir| dir.directory.root() == root).ok_or_else(gone)
    }

    /// Puts the copy of a closed log in its place: after this it lies in `to`, and what lay in `from` waits for its
    /// removal. After an error it lies where it lay.
    pub fn exchange(
        &self,
        (name, id): (&LogName, PartitionId),
        from: &Path,
        (to, copy): (&Path, &str),
        points: &Points,
    ) -> Result<(), StorageError> {
        let (source, target) = (self.at(name, from)?, self.at(name, to)?);
        // From an earlier move: of two marks nobody could tell which counts.
        source.judged(source.directory.settle_moved(name))?;
        // Listed first: the checkpoints that housekeeping writes meanwhile have it in them.
        target.logs.lock().insert(name.clone(), id);
        if let Err(error) = target.take(name, copy, points) {
            target.logs.lock().remove(name);
            return Err(error);
        }
        source.logs.lock().remove(name);
        if let Some(clean) = points.clean {
            target.clean_points.lock().insert(name.clone(), clean);
        }
        source.clean_points.lock().remove(name);
        // The log is exchanged. Whatever fails from here on is told apart by the mark at the next start.
        if let Err(error) = source.judged(source.directory.delete_log(name, &*self.entropy)) {
            tracing::error!(log = text(name), %error, "what a log was moved from stays on disk");
            return Ok(());
        }
        if let Err(error) = target.judged(target.directory.settle_moved(name)) {
            tracing::warn!(log = text(name), %error, "the mark of a moved log stays");
        }
        Ok(())
    }

    /// At the start: copies that were not finished go, to be made again; of two directories of one log the marked one
    /// stays.
    pub(super) fn settle_moves(&self) -> Result<(), StorageError> {
        let mut places: BTreeMap<LogName, Vec<&LogDir>> = BTreeMap::new();
        for dir in self.working() {
            for (name, copy) in dir.directory.futures()? {
                tracing::info!(log = text(&name), to = %dir.directory.root().display(), "a move between directories begins again");
                dir.directory.discard_future(&copy)?;
                self.unfinished.lock().insert(name, dir.directory.root().to_owned());
            }
            for name in &dir.found {
                places.entry(name.clone()).or_default().push(dir);
            }
        }
        for (name, dirs) in places.into_iter().filter(|(_, dirs)| dirs.len() > 1) {
            let Some(kept) = dirs.iter().find(|dir| dir.directory.is_moved(&name)) else {
                tracing::error!(log = text(&name), "the log lies in two directories: the first one counts");
                continue;
            };
            for old in dirs.iter().filter(|dir| dir.directory.root() != kept.directory.root()) {
                tracing::info!(log = text(&name), from = %old.directory.root().display(), to = %kept.directory.root().display(), "a move between directories is completed");
                old.directory.delete_log(&name, &*self.entropy)?;
            }
            kept.directory.settle_moved(&name)?;
        }
        Ok(())
    }

    /// A log of this start was on its way elsewhere when the last process ended.
    pub(super) fn resume_move(&self, wanted: &Wanted, dir: &LogDir) {
        if let Some(to) = self.unfinished.lock().remove(&wanted.name)
            && to != dir.directory.root()
        {
            self.moves.ask(wanted.id, &to);
        }
    }
}

impl LogDir {
    /// Keeps what has to be known of a log and gives its copy its name.
    fn take(&self, name: &LogName, copy: &str, points: &Points) -> Result<(), StorageError> {
        self.keep_starts(&[(name.clone(), points.start)].into())?;
        self.keep_point(name, points.end)?;
        self.keep_high_watermark(name, points.high_watermark)?;
        Ok(self.judged(self.directory.install_future(copy, name))?)
    }

    /// Everything of a log below `end` is durable here.
    fn keep_point(&self, name: &LogName, end: Offset) -> Result<(), StorageError> {
        let mut saved = self.recovery_points.lock();
        let mut next = saved.clone();
        next.insert(name.clone(), end);
        self.judged(self.directory.save(CheckpointKind::RecoveryPoint, &next))?;
        *saved = next;
        Ok(())
    }

    /// Until the next checkpoint says so.
    fn keep_high_watermark(&self, name: &LogName, at: Offset) -> Result<(), StorageError> {
        let mut marks = self.judged(self.directory.load(CheckpointKind::HighWatermark))?;
        marks.insert(name.clone(), at);
        Ok(self.judged(self.directory.save(CheckpointKind::HighWatermark, &marks))?)
    }
}
