//! The index files of a segment, held against its batches as they are walked: an entry must not lead a reader past
//! what it looks for. One pass, the index in memory. Only the first fault of a file is kept.

use crate::hot::file::Files;
use crate::hot::index::{Entry, OffsetEntry, TimeEntry, absolute};
use crate::inspect::finding::{Damage, Finding};
use crate::offsets::Offset;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Largest index file that is read.
const INDEX_MAX: u64 = 256 << 20;

/// An index file and how far its entries were compared.
#[derive(Debug)]
struct Compared<E> {
    file: PathBuf,
    damage: Damage,
    entries: Vec<E>,
    at: usize,
    found: Option<Finding>,
}

impl<E: Entry> Compared<E> {
    /// Reads an index file; nothing to compare if there is none.
    fn read(files: &dyn Files, file: PathBuf, damage: Damage) -> io::Result<Self> {
        let mut this = Self { file, damage, entries: Vec::new(), at: 0, found: None };
        let bytes = match files.read_all(&this.file, INDEX_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(this),
            Err(error) => return Err(error),
        };
        // Kafka makes room for the index of an active segment ahead: zeroes, until a clean stop cuts them off.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let used = used.next_multiple_of(E::BYTES);
        this.entries = bytes[..used.min(bytes.len())].chunks_exact(E::BYTES).map(E::read).collect();
        if bytes.len() % E::BYTES != 0 {
            this.at = this.entries.len();
            this.note(format!("{} bytes are no whole number of entries", bytes.len()));
            this.at = 0;
        }
        Ok(this)
    }

    fn entry(&self) -> Option<E> {
        self.entries.get(self.at).copied()
    }

    fn before(&self) -> Option<E> {
        self.entries.get(self.at.checked_sub(1)?).copied()
    }

    fn note(&mut self, why: String) {
        let at = Some((self.at * E::BYTES) as u64);
        let (file, damage) = (self.file.clone(), self.damage);
        self.found.get_or_insert(Finding { file, at, damage, why });
    }
}

/// Both indexes of one segment.
#[derive(Debug)]
pub(super) struct Indexes {
    base: Offset,
    offsets: Compared<OffsetEntry>,
    times: Compared<TimeEntry>,
    /// The offset after the last batch met.
    next: Offset,
    largest: i64,
}

impl Indexes {
    pub fn read(files: &dyn Files, base: Offset, offsets: &Path, times: &Path) -> io::Result<Self> {
        Ok(Self {
            base,
            offsets: Compared::read(files, offsets.to_owned(), Damage::OffsetIndex)?,
            times: Compared::read(files, times.to_owned(), Damage::TimeIndex)?,
            next: base,
            largest: -1,
        })
    }

    /// The next whole batch: its first byte, first offset, last offset and largest timestamp.
    pub fn meet(&mut self, position: u64, last: Offset, timestamp: i64) {
        self.meet_offsets(position);
        self.meet_times(last);
        self.next = last.next();
        self.largest = self.largest.max(timestamp);
    }

    /// Entries up to the batch that begins at `position`.
    fn meet_offsets(&mut self, position: u64) {
        while let Some(entry) = self.offsets.entry().filter(|entry| u64::from(entry.position) <= position) {
            let offset = absolute(self.base, entry.relative);
            let falls = self
                .offsets
                .before()
                .is_some_and(|before| before.relative >= entry.relative || before.position >= entry.position);
            if falls {
                self.offsets.note(format!("entries do not rise: offset {offset} at byte {}", entry.position));
            } else if u64::from(entry.position) < position {
                self.offsets.note(format!(
                    "offset {offset} is said to lie at byte {}, inside a batch",
                    entry.position
                ));
            } else if offset + 1 < self.next {
                let next = self.next;
                self.offsets
                    .note(format!("offset {offset} is said to lie at byte {position}, where {next} begins"));
            }
            self.offsets.at += 1;
        }
    }

    /// Entries whose offset lies before the batch that ends at `last`.
    fn meet_times(&mut self, last: Offset) {
        while let Some(entry) = self.times.entry().filter(|entry| absolute(self.base, entry.relative) < last)
        {
            self.check_time(&entry);
            self.times.at += 1;
        }
    }

    fn check_time(&mut self, entry: &TimeEntry) {
        let offset = absolute(self.base, entry.relative);
        let falls = self
            .times
            .before()
            .is_some_and(|before| before.timestamp >= entry.timestamp || before.relative > entry.relative);
        if falls {
            self.times.note(format!("entries do not rise: time {} at offset {offset}", entry.timestamp));
        } else if entry.timestamp < self.largest {
            let (said, largest) = (entry.timestamp, self.largest);
            self.times.note(format!(
                "no record up to offset {offset} is said to be younger than {said}, one has {largest}"
            ));
        }
    }

    /// The end of the file, or of what could be walked (`whole` is false): what is wrong.
    pub fn end(mut self, bytes: u64, whole: bool) -> impl Iterator<Item = Finding> {
        if whole {
            if let Some(entry) = self.offsets.entry() {
                let offset = absolute(self.base, entry.relative);
                self.offsets.note(format!(
                    "offset {offset} is said to lie at byte {}, the segment has {bytes} bytes",
                    entry.position
                ));
            }
            while let Some(entry) = self.times.entry() {
                let offset = absolute(self.base, entry.relative);
                self.check_time(&entry);
                if offset >= self.next && self.next > self.base {
                    let next = self.next;
                    self.times.note(format!("offset {offset} is named, the segment ends before {next}"));
                }
                self.times.at += 1;
            }
        }
        [self.offsets.found, self.times.found].into_iter().flatten()
    }
}
