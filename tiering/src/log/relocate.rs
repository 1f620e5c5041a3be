//! A log's files copied into another directory while it is written, until what is left is little: then the log is closed,
//! the rest follows, and the copy can take its place (`log/directory.rs` renames). Nothing is opened there.
//! Invariant: after `finish` the copy holds the same segments, byte for byte, with epochs, indexes and producers, all
//! durable; a log that was cut meanwhile is never taken for copied.

use crate::hot::dir::{Kind, LEADER_EPOCH_CHECKPOINT, file_name, parse_file_name};
use crate::hot::file::{File, Files, OpenMode};
use crate::hot::segment::Segment;
use crate::log::clean::CleanerHold;
use crate::log::unified::Log;
use crate::offsets::Offset;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are read and written at once.
const CHUNK: usize = 1 << 20;

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that this step copied.
    pub bytes: u64,
    /// Bytes of log data that are not copied yet.
    pub left: u64,
    /// Bytes of log data in the copy.
    pub copied: u64,
    /// Everything below is in the copy; segments count whole.
    pub upto: Offset,
}

/// Why a copy cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RelocateError {
    /// The log was cut: what was copied is not its beginning any more. Start over.
    #[error("the log was cut while it was copied")]
    Cut,
    /// One of the two disks failed, or is full.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A copy in the making. While it exists the cleaner leaves the log alone.
#[derive(Debug)]
pub struct Relocation {
    hold: CleanerHold,
    to: PathBuf,
    /// Bytes copied of each segment's records.
    copied: BTreeMap<Offset, u64>,
    /// Copied whole, and made durable.
    settled: BTreeSet<Offset>,
}

impl Relocation {
    /// Begins to copy `log` into the directory `to`, which is there and holds no segment. `None` while the cleaner
    /// works on the log.
    pub fn begin(log: &Arc<Log>, to: &Path) -> io::Result<Option<Relocation>> {
        let hold = CleanerHold::take(log)?;
        let (copied, settled) = Default::default();
        Ok(hold.map(|hold| Relocation { hold, to: to.to_owned(), copied, settled }))
    }

    /// The log that is copied.
    pub fn log(&self) -> &Arc<Log> {
        self.hold.log()
    }

    /// Where the copy lies.
    pub fn to(&self) -> &Path {
        &self.to
    }

    /// Copies at most `most` bytes of records more. Waits for both disks.
    pub fn step(&mut self, most: u64) -> Result<Progress, RelocateError> {
        if self.hold.was_cut() {
            return Err(RelocateError::Cut);
        }
        let log = self.hold.log().clone();
        let segments = log.segments.load_full();
        let mut bytes = 0;
        for (at, segment) in segments.all().iter().enumerate() {
            if bytes < most {
                bytes += self.copy_records(&log, segment, most - bytes)?;
            }
            let sealed = at + 1 < segments.all().len();
            if sealed && self.copied_of(segment) == segment.bytes() && self.settled.insert(segment.base()) {
                self.open(&log, &file_name(segment.base(), Kind::Log))?.sync()?;
            }
        }
        Ok(self.progress(&log, bytes))
    }

    fn progress(&self, log: &Log, bytes: u64) -> Progress {
        let segments = log.segments.load_full();
        let whole = |segment: &&Arc<Segment>| self.copied_of(segment) >= segment.bytes();
        let upto = match segments.all().iter().find(|segment| !whole(segment)) {
            Some(first) => first.base(),
            None => segments.end(),
        };
        let copied: u64 = segments.all().iter().map(|segment| self.copied_of(segment)).sum();
        Progress { bytes, left: segments.bytes().saturating_sub(copied), copied, upto }
    }

    fn copied_of(&self, segment: &Segment) -> u64 {
        self.copied.get(&segment.base()).copied().unwrap_or(0)
    }

    fn open(&self, log: &Log, name: &str) -> io::Result<Arc<dyn File>> {
        log.files.open(&self.to.join(name), OpenMode::ReadWrite)
    }

    /// Copies more of one segment's records, at most `most` bytes; what is published is never changed.
    fn copy_records(&mut self, log: &Log, segment: &Segment, most: u64) -> io::Result<u64> {
        let (begun, end) = (self.copied_of(segment), segment.bytes());
        let upto = end.min(begun.saturating_add(most));
        if begun == upto && self.copied.contains_key(&segment.base()) {
            return Ok(0);
        }
        let to = self.open(log, &file_name(segment.base(), Kind::Log))?;
        let mut at = begun;
        while at < upto {
            // At most a chunk.
            let bytes = segment.bytes_at(at, (upto - at).min(CHUNK as u64) as usize)?;
            to.write_at(&bytes, at)?;
            at += bytes.len() as u64;
        }
        self.copied.insert(segment.base(), at);
        Ok(at - begun)
    }

    /// Copies what is left of a log that is closed by now, and makes all of it durable, names included.
    pub fn finish(&mut self) -> Result<(), RelocateError> {
        while self.step(u64::MAX)?.left > 0 {}
        let log = self.hold.log().clone();
        let segments = log.segments.load_full();
        for segment in segments.all().iter().filter(|segment| !self.settled.contains(&segment.base())) {
            self.open(&log, &file_name(segment.base(), Kind::Log))?.sync()?;
        }
        let mut kept: BTreeSet<String> =
            segments.all().iter().map(|segment| file_name(segment.base(), Kind::Log)).collect();
        for name in log.files.list(&log.dir)? {
            let beside = parse_file_name(&name).is_some_and(|(_, kind)| kind != Kind::Log);
            if beside || name == LEADER_EPOCH_CHECKPOINT {
                self.copy_beside(&log, &name)?;
                kept.insert(name);
            }
        }
        // Retention took segments that were copied before.
        for name in log.files.list(&self.to)? {
            if parse_file_name(&name).is_some() && !kept.contains(&name) {
                log.files.remove(&self.to.join(name))?;
            }
        }
        if self.hold.was_cut() {
            return Err(RelocateError::Cut);
        }
        Ok(log.files.sync_dir(&self.to)?)
    }

    /// Copies a whole small file, durably.
    fn copy_beside(&self, log: &Log, name: &str) -> io::Result<()> {
        let from = log.files.open(&log.dir.join(name), OpenMode::Read)?;
        let (to, len) = (self.open(log, name)?, from.len()?);
        let (mut buffer, mut at) = (vec![0; CHUNK.min(len as usize)], 0);
        while at < len {
            let read = from.read_full_at(&mut buffer, at)?;
            if read == 0 {
                break;
            }
            to.write_at(&buffer[..read], at)?;
            at += read as u64;
        }
        to.truncate(at)?;
        to.sync()
    }
}

/// Removes a copy that will not be used. Fine if it is gone.
pub fn discard(files: &dyn Files, dir: &Path) -> io::Result<()> {
    match files.remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
