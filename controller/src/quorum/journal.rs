//! The quorum's log on disk: frames in segment files, oldest first. Not a cache of entries and not openraft's
//! trait (`quorum/log_store.rs`). Invariant: an entry whose append returned is there after any crash.
//!
//! ```text
//!  <first index, 20 digits>.raft:  | "FRNQ" | version u16 = 1 | 0 u16 | frame ... |
//! ```
//!
//! A crash can tear only the last write, so only the last file can end in broken bytes: they are cut at open.
//! Broken bytes before a write that followed them are damage: the log refuses to open and changes nothing.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firnline_tiering::hot::file::{File, Files, OpenMode};

use crate::error::StartError;
use crate::quorum::frame::{self, NoFrame};
use crate::quorum::type_config::LogEntry;

const MARK: &[u8; 4] = b"FRNQ";
const VERSION: u16 = 1;
const HEADER_BYTES: u64 = 8;
const SUFFIX: &str = ".raft";

/// Where an entry stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its file's first index.
    segment: u64,
    /// Its frame's first byte in that file.
    at: u64,
}

/// The files, and where each entry stands in them.
#[derive(Debug)]
pub struct Journal {
    files: Arc<dyn Files>,
    dir: PathBuf,
    segment_bytes: u64,
    /// First indexes of the files, rising.
    segments: VecDeque<u64>,
    /// The last file, open for appending, and its length.
    active: Option<(Arc<dyn File>, u64)>,
    /// Places of the entries from `first` on.
    places: VecDeque<Place>,
    first: u64,
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// Ready to append after the last entry.
    pub journal: Journal,
    /// Every entry at or above the index asked for, without a hole.
    pub entries: Vec<LogEntry>,
    /// Bytes of a torn last write that were cut off.
    pub bytes_cut: u64,
}

impl Journal {
    /// Opens the log in `dir`; entries below `from` were purged and are skipped. A new file is begun once the last
    /// has `segment_bytes` bytes.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        from: u64,
        segment_bytes: u64,
    ) -> Result<Opened, StartError> {
        let mut segments = VecDeque::new();
        let names = files.list(dir).map_err(|source| io_error("list", dir, source))?;
        for name in names.iter().filter_map(|name| name.strip_suffix(SUFFIX)) {
            let first = (name.len() == 20).then(|| name.parse().ok()).flatten();
            segments.push_back(
                first.ok_or_else(|| corrupt(dir, 0, format!("{name}{SUFFIX} is no log file's name")))?,
            );
        }
        let (dir, active, places) = (dir.to_owned(), None, VecDeque::new());
        let mut journal = Journal { files, dir, segment_bytes, segments, active, places, first: from };
        let (mut entries, mut bytes_cut) = (Vec::new(), 0);
        for first in journal.segments.clone() {
            bytes_cut += journal.read_segment(first, &mut entries)?;
        }
        journal.drop_purged().map_err(|source| io_error("drop purged files in", &journal.dir, source))?;
        if let Some(last) = journal.segments.back().copied() {
            journal.reopen(last).map_err(|source| io_error("open", &journal.path(last), source))?;
        }
        Ok(Opened { journal, entries, bytes_cut })
    }

    /// Reads one file's frames into `entries`; returns how many bytes of a torn write it cut off.
    fn read_segment(&mut self, first: u64, entries: &mut Vec<LogEntry>) -> Result<u64, StartError> {
        let path = self.path(first);
        // As long as the file: what lies on disk bounds it.
        let bytes = self.files.read_all(&path, u64::MAX).map_err(|source| io_error("read", &path, source))?;
        let is_last = self.segments.back() == Some(&first);
        let mut index = first;
        let mut at = match check_header(&bytes) {
            Ok(()) => HEADER_BYTES as usize,
            Err(NoFrame::Unreadable(error)) => return Err(unknown(&path, 0, error)),
            Err(NoFrame::Broken(why)) => return self.cut(&path, &bytes, 0, first, is_last, why),
        };
        while at < bytes.len() {
            match frame::decode(&bytes[at..]) {
                Ok(frame) => {
                    self.take_frame(&path, first, at, index, frame.entry, entries)?;
                    (at, index) = (at + frame.len, index + 1);
                }
                Err(NoFrame::Unreadable(error)) => return Err(unknown(&path, at, error)),
                Err(NoFrame::Broken(why)) => return self.cut(&path, &bytes, at, index, is_last, why),
            }
        }
        Ok(0)
    }

    fn take_frame(
        &mut self,
        path: &Path,
        segment: u64,
        at: usize,
        wanted: u64,
        entry: LogEntry,
        entries: &mut Vec<LogEntry>,
    ) -> Result<(), StartError> {
        let found = entry.log_id.index;
        if found != wanted {
            return Err(corrupt(path, at, format!("entry {found} stands where {wanted} must")));
        }
        if found < self.first {
            return Ok(());
        }
        if self.places.is_empty() && found != self.first {
            return Err(corrupt(path, at, format!("entries {} to {found} are missing", self.first)));
        }
        let next = self.next_index();
        if found != next {
            return Err(corrupt(path, at, format!("entry {found} follows {next} entries")));
        }
        self.places.push_back(Place { segment, at: at as u64 });
        entries.push(entry);
        Ok(())
    }

    /// Cuts a torn write off the last file, unless what follows proves that it was durable once.
    fn cut(
        &mut self,
        path: &Path,
        bytes: &[u8],
        at: usize,
        index: u64,
        is_last: bool,
        why: String,
    ) -> Result<u64, StartError> {
        let durable = || (at + 1..bytes.len()).any(|from| frame::begins_later_write(&bytes[from..], index));
        if !is_last || durable() {
            return Err(corrupt(path, at, why));
        }
        let cut = (bytes.len() - at) as u64;
        tracing::warn!(file = %path.display(), at, bytes = cut, why, "cut a torn write off the quorum's log");
        let done = if at as u64 <= HEADER_BYTES {
            self.segments.pop_back();
            self.files.remove(path).and_then(|()| self.files.sync_dir(&self.dir))
        } else {
            let file = self.files.open(path, OpenMode::ReadWrite);
            file.and_then(|file| file.truncate(at as u64).and_then(|()| file.sync()))
        };
        done.map_err(|source| io_error("cut", path, source))?;
        Ok(cut)
    }

    /// The index the next entry must have.
    pub fn next_index(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    /// Appends entries in one write and makes them durable. After an error the files' state is unknown: the caller
    /// must not append again.
    pub fn append(&mut self, entries: &[LogEntry]) -> io::Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        if self.places.is_empty() && self.active.is_none() {
            self.first = first.log_id.index;
        }
        let full = self.active.as_ref().is_none_or(|(_, len)| *len >= self.segment_bytes);
        let segment = if full { first.log_id.index } else { self.segments.back().copied().unwrap_or(0) };
        let mut bytes = if full { header() } else { Vec::new() };
        let start = if full { 0 } else { self.active.as_ref().map_or(0, |(_, len)| *len) };
        let mut places = Vec::with_capacity(entries.len());
        for (nth, entry) in entries.iter().enumerate() {
            let wanted = self.next_index() + nth as u64;
            assert_eq!(entry.log_id.index, wanted, "entries are appended without a hole");
            places.push(Place { segment, at: start + bytes.len() as u64 });
            frame::encode(entry, nth == 0, &mut bytes);
        }
        if full {
            self.begin_segment(segment)?;
        }
        let Some((file, len)) = &mut self.active else {
            return Err(io::Error::other("the quorum's log has no open file"));
        };
        file.write_at(&bytes, *len)?;
        file.sync()?;
        *len += bytes.len() as u64;
        if full {
            // The file's name must be as durable as its content.
            self.files.sync_dir(&self.dir)?;
        }
        self.places.extend(places);
        Ok(())
    }

    /// Removes every entry at or above `index`.
    pub fn truncate(&mut self, index: u64) -> io::Result<()> {
        let Some(nth) =
            index.checked_sub(self.first).map(|nth| nth as usize).filter(|nth| *nth < self.places.len())
        else {
            return Ok(());
        };
        let place = self.places[nth];
        self.active = None;
        // Newest first and one by one, so that a crash in between leaves no hole.
        while let Some(last) = self.segments.back().copied().filter(|last| *last > place.segment) {
            self.remove_segment(last)?;
            self.segments.pop_back();
        }
        if place.at == HEADER_BYTES {
            self.remove_segment(place.segment)?;
            self.segments.pop_back();
        } else {
            let file = self.files.open(&self.path(place.segment), OpenMode::ReadWrite)?;
            file.truncate(place.at)?;
            file.sync()?;
        }
        self.places.truncate(nth);
        match self.segments.back().copied() {
            Some(last) => self.reopen(last),
            None => Ok(()),
        }
    }

    /// Forgets every entry below `from` and removes the files that hold nothing else. The caller has made the
    /// purge durable before.
    pub fn purge(&mut self, from: u64) -> io::Result<()> {
        let gone = from.saturating_sub(self.first).min(self.places.len() as u64);
        self.places.drain(..gone as usize);
        self.first = self.first.max(from);
        self.drop_purged()
    }

    /// Removes files of which no entry is left, oldest first. When none is left at all the next append may begin
    /// anywhere above.
    fn drop_purged(&mut self) -> io::Result<()> {
        let oldest_needed = self.places.front().map(|place| place.segment);
        if oldest_needed.is_none() {
            self.active = None;
        }
        while let Some(oldest) = self.segments.front().copied() {
            if oldest_needed.is_some_and(|needed| oldest >= needed) {
                break;
            }
            self.remove_segment(oldest)?;
            self.segments.pop_front();
        }
        Ok(())
    }

    fn begin_segment(&mut self, first: u64) -> io::Result<()> {
        let file = self.files.open(&self.path(first), OpenMode::CreateNew)?;
        self.segments.push_back(first);
        self.active = Some((file, 0));
        Ok(())
    }

    fn reopen(&mut self, segment: u64) -> io::Result<()> {
        let file = self.files.open(&self.path(segment), OpenMode::ReadWrite)?;
        let len = file.len()?;
        self.active = Some((file, len));
        Ok(())
    }

    fn remove_segment(&self, first: u64) -> io::Result<()> {
        self.files.remove(&self.path(first))?;
        self.files.sync_dir(&self.dir)
    }

    fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}{SUFFIX}"))
    }
}

fn header() -> Vec<u8> {
    let mut bytes = MARK.to_vec();
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes
}

/// A header of zeroes or less is a torn write; another mark is not our file; another version is a newer binary's.
fn check_header(bytes: &[u8]) -> Result<(), NoFrame> {
    let Some((head, _)) = bytes.split_first_chunk::<8>() else {
        return Err(NoFrame::Broken(format!("{} bytes hold no header", bytes.len())));
    };
    let version = u16::from_be_bytes([head[4], head[5]]);
    match (&head[..4] == MARK, version) {
        (true, VERSION) if head[6..] == [0; 2] => Ok(()),
        (true, found) if found > VERSION => {
            Err(NoFrame::Unreadable(crate::record::bytes::CodecError::Unknown {
                what: "quorum log file",
                kind: 0,
                version: found,
            }))
        }
        _ => Err(NoFrame::Broken("the file has no header of ours".to_owned())),
    }
}

fn io_error(verb: &str, path: &Path, source: io::Error) -> StartError {
    StartError::Io { what: format!("cannot {verb} {}", path.display()), source }
}

fn corrupt(path: &Path, at: usize, why: String) -> StartError {
    StartError::Corrupt { what: format!("{} is damaged at byte {at}: {why}", path.display()) }
}

fn unknown(path: &Path, at: usize, error: crate::record::bytes::CodecError) -> StartError {
    let what = format!("{} at byte {at}: {error}", path.display());
    if error.is_unknown() { StartError::Unknown { what } } else { StartError::Corrupt { what } }
}
