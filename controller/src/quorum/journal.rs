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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, LOSSES, Loss};
    use crate::quorum::raft_codec::tests::log_id;
    use crate::quorum::type_config::LogEntry;
    use crate::record::entry::{Entry, Group};
    use crate::record::kinds::Record;
    use openraft::EntryPayload;
    use proptest::prelude::*;

    /// So small that most writes begin a file.
    const SEGMENT: u64 = 160;

    fn dir() -> &'static Path {
        Path::new("/quorum")
    }

    /// Entries of different lengths that tell by their content which attempt wrote them.
    fn entry(index: u64, attempt: u64) -> LogEntry {
        let id = "x".repeat((index * 7 % 40) as usize) + &attempt.to_string();
        let group = Group { preconditions: Vec::new(), records: vec![Record::Cluster { id }] };
        LogEntry { log_id: log_id(1, index), payload: EntryPayload::Normal(Entry { groups: [group].into() }) }
    }

    fn open(disk: &Disk, from: u64) -> Result<Opened, StartError> {
        Journal::open(Arc::new(disk.clone()), dir(), from, SEGMENT)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append(u64),
        Truncate(u64),
        Purge(u64),
        Reopen,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1_u64..5).prop_map(Step::Append),
            1 => (0_u64..6).prop_map(Step::Truncate),
            1 => (0_u64..8).prop_map(Step::Purge),
            1 => Just(Step::Reopen),
        ];
        prop::collection::vec(step, 1..25)
    }

    /// What the journal must hold; the purge's end is what the log store keeps in a file of its own.
    #[derive(Debug, Clone, Default)]
    struct Model {
        from: u64,
        entries: Vec<LogEntry>,
        attempts: u64,
    }

    impl Model {
        fn end(&self) -> u64 {
            self.from + self.entries.len() as u64
        }

        /// Takes one step in both; the model as it is if the disk held.
        fn take(&mut self, journal: &mut Journal, disk: &Disk, step: &Step) -> Result<(), String> {
            let failed = |error: io::Error| error.to_string();
            match step {
                Step::Append(count) => {
                    self.attempts += 1;
                    let new: Vec<_> = (0..*count).map(|nth| entry(self.end() + nth, self.attempts)).collect();
                    journal.append(&new).map_err(failed)?;
                    self.entries.extend(new);
                }
                Step::Truncate(back) => {
                    let keep = self.entries.len().saturating_sub(*back as usize);
                    journal.truncate(self.from + keep as u64).map_err(failed)?;
                    self.entries.truncate(keep);
                }
                Step::Purge(ahead) => {
                    // Beyond the end too: a snapshot from another node may reach further than the log.
                    let from = self.from + ahead;
                    self.entries.drain(..(*ahead as usize).min(self.entries.len()));
                    self.from = from;
                    journal.purge(from).map_err(failed)?;
                }
                Step::Reopen => {
                    let opened = open(disk, self.from).map_err(|error| error.to_string())?;
                    assert_eq!(opened.entries, self.entries);
                    *journal = opened.journal;
                }
            }
            assert_eq!(journal.next_index(), self.end(), "after {step:?}");
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn any_steps_leave_what_they_should(steps in steps()) {
            let disk = Disk::default();
            let (mut model, mut journal) = (Model::default(), open(&disk, 0).expect("empty").journal);
            for step in &steps {
                model.take(&mut journal, &disk, step).expect("the disk holds");
            }
            prop_assert_eq!(open(&disk, model.from).expect("whole").entries, model.entries);
        }

        #[test]
        fn power_lost_anywhere_keeps_what_was_durable(steps in steps(), after in 0_u64..60) {
            let disk = Disk::default();
            let (mut model, mut journal) = (Model::default(), open(&disk, 0).expect("empty").journal);
            disk.lose_power_after(after);
            let mut interrupted = None;
            for step in &steps {
                if model.take(&mut journal, &disk, step).is_err() {
                    interrupted = Some(step.clone());
                    break;
                }
            }
            for loss in LOSSES {
                let opened = open(&disk.after_power_loss(loss), model.from);
                let opened = opened.unwrap_or_else(|error| panic!("{loss:?} in {interrupted:?}: {error}"));
                let found = &opened.entries;
                match interrupted {
                    // What was cut may be there or not, from its end on.
                    Some(Step::Truncate(_)) => {
                        prop_assert_eq!(found.as_slice(), &model.entries[..found.len()], "{:?}", loss);
                    }
                    // What was being written may be there in part, from its front on.
                    _ => {
                        let durable = model.entries.len();
                        prop_assert!(found.len() >= durable, "{:?}: {} of {}", loss, found.len(), durable);
                        prop_assert_eq!(&found[..durable], model.entries.as_slice(), "{:?}", loss);
                        let written = found[durable..].iter().zip(model.end()..);
                        for (found, index) in written {
                            prop_assert_eq!(found, &entry(index, model.attempts));
                        }
                    }
                }
            }
        }

        #[test]
        fn a_flipped_bit_is_noticed_or_was_in_a_last_write(at in 0_usize..2000, bit in 0_u8..8) {
            let disk = Disk::default();
            let mut journal = open(&disk, 0).expect("empty").journal;
            let all: Vec<_> = (0..12).map(|index| entry(index, 0)).collect();
            for pair in all.chunks(2) {
                journal.append(pair).expect("the disk holds");
            }
            let files: Vec<_> = disk.contents().into_iter().collect();
            let (path, bytes) = &files[at % files.len()];
            let byte = at % bytes.len();
            disk.tamper(path, |bytes| bytes[byte] ^= 1 << bit);
            match open(&disk, 0) {
                Ok(opened) => {
                    prop_assert!(opened.entries.len() >= 10, "only the last write may go: {}", opened.entries.len());
                    prop_assert_eq!(&opened.entries[..], &all[..opened.entries.len()]);
                    prop_assert!(opened.bytes_cut > 0, "a flipped bit went unnoticed");
                }
                Err(error) => {
                    let named = matches!(error, StartError::Corrupt { .. } | StartError::Unknown { .. });
                    prop_assert!(named, "{}", error);
                }
            }
        }
    }

    #[test]
    fn a_missing_file_in_the_middle_is_refused() {
        let disk = Disk::default();
        let mut journal = open(&disk, 0).expect("empty").journal;
        (0..12).for_each(|index| journal.append(&[entry(index, 0)]).expect("the disk holds"));
        let files: Vec<_> = disk.contents().into_keys().collect();
        assert!(files.len() > 3, "{files:?}");
        disk.remove(&files[1]).expect("it is there");
        let refused = open(&disk, 0).expect_err("a hole");
        assert!(matches!(refused, StartError::Corrupt { .. }), "{refused}");
        let disk = disk.after_power_loss(Loss::None);
        disk.remove(&files[0]).expect("it is there");
        let refused = open(&disk, 0).expect_err("a log that begins late without a purge");
        assert!(matches!(refused, StartError::Corrupt { .. }), "{refused}");
    }

    #[test]
    fn a_newer_file_is_named_and_left_alone() {
        let disk = Disk::default();
        open(&disk, 0).expect("empty").journal.append(&[entry(0, 0)]).expect("the disk holds");
        let path = disk.contents().into_keys().next().expect("one file");
        disk.tamper(&path, |bytes| bytes[5] = 2);
        let before = disk.contents();
        let refused = open(&disk, 0).expect_err("a newer file");
        assert!(matches!(&refused, StartError::Unknown { what } if what.contains("version 2")), "{refused}");
        assert_eq!(disk.contents(), before);
    }
}
