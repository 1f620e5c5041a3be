//! The sparse indexes of a segment: offset → position and timestamp → offset, in memory while it grows, in files
//! once it is sealed. They are hints: a reader scans batches from where they point. Readers take no lock.
//! Invariant: entries rise strictly, and an entry never points past the batch it names.
//!
//! ```text
//! .index      u32 offset - base | u32 position            8 bytes; offset is the last of the batch at position
//! .timeindex  i64 timestamp | u32 offset - base           12 bytes; no record up to offset is younger
//! ```
//!
//! Big-endian. One offset entry per `index.interval.bytes` of log; a time entry goes with it if time moved on.

use crate::hot::file::File;
use crate::offsets::Offset;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bytes of an offset index entry.
pub const OFFSET_ENTRY: usize = 8;
/// Bytes of a time index entry.
pub const TIME_ENTRY: usize = 12;
/// Entries a file search reads at once, when it has narrowed down to them.
const BLOCK: usize = 256;

/// A batch's last offset and its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch, less the segment's base.
    pub relative: u32,
    /// First byte of the batch.
    pub position: u32,
}

/// No record up to this offset has a larger timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// Milliseconds.
    pub timestamp: i64,
    /// Last offset of the batch that brought it, less the segment's base.
    pub relative: u32,
}

/// An index entry as it lies in a file and in memory words.
pub trait Entry: Copy {
    /// Bytes in a file.
    const BYTES: usize;
    /// Reads one from exactly [`Entry::BYTES`] bytes.
    fn read(bytes: &[u8]) -> Self;
    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// As memory words.
    fn words(&self) -> [u64; 2];
    /// From memory words.
    fn of_words(words: [u64; 2]) -> Self;
}

impl Entry for OffsetEntry {
    const BYTES: usize = OFFSET_ENTRY;

    fn read(bytes: &[u8]) -> Self {
        Self { relative: be_u32(&bytes[0..4]), position: be_u32(&bytes[4..8]) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn words(&self) -> [u64; 2] {
        [u64::from(self.relative), u64::from(self.position)]
    }

    fn of_words(words: [u64; 2]) -> Self {
        Self { relative: words[0] as u32, position: words[1] as u32 }
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = TIME_ENTRY;

    fn read(bytes: &[u8]) -> Self {
        let mut timestamp = [0; 8];
        timestamp.copy_from_slice(&bytes[0..8]);
        Self { timestamp: i64::from_be_bytes(timestamp), relative: be_u32(&bytes[8..12]) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative.to_be_bytes());
    }

    fn words(&self) -> [u64; 2] {
        [self.timestamp as u64, u64::from(self.relative)]
    }

    fn of_words(words: [u64; 2]) -> Self {
        Self { timestamp: words[0] as i64, relative: words[1] as u32 }
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Entries that one writer adds and any number of readers search at the same time, without a lock: storage grows
/// by chunks that never move, and the count is published after the entry.
#[derive(Debug)]
struct Grown<E> {
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
    len: AtomicUsize,
    _entry: std::marker::PhantomData<E>,
}

const CHUNKS: usize = 20;
/// Entries of the first chunk; every next one holds twice as many.
const FIRST_CHUNK: usize = 16;
/// Entries that fit: 16 Mi, an index of 128 MiB.
const GROWN_MAX: usize = FIRST_CHUNK * ((1 << CHUNKS) - 1);

impl<E: Entry> Grown<E> {
    fn new() -> Self {
        let chunks = std::array::from_fn(|_| OnceLock::new());
        Self { chunks, len: AtomicUsize::new(0), _entry: std::marker::PhantomData }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Only the one writer calls this.
    fn push(&self, entry: E) {
        let at = self.len.load(Ordering::Relaxed);
        assert!(at < GROWN_MAX, "an index rolls before it holds {GROWN_MAX} entries, it has {at}");
        let (chunk, slot) = place(at);
        let words = self.chunks[chunk].get_or_init(|| {
            std::iter::repeat_with(|| AtomicU64::new(0)).take(2 * (FIRST_CHUNK << chunk)).collect()
        });
        let [first, second] = entry.words();
        words[2 * slot].store(first, Ordering::Relaxed);
        words[2 * slot + 1].store(second, Ordering::Relaxed);
        self.len.store(at + 1, Ordering::Release);
    }

    /// `at` is below a length read before.
    fn get(&self, at: usize) -> Option<E> {
        let (chunk, slot) = place(at);
        let words = self.chunks[chunk].get()?;
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        Some(E::of_words([word(2 * slot), word(2 * slot + 1)]))
    }

    fn last(&self) -> Option<E> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The last entry for which `at_or_below` holds; it holds for a prefix.
    fn floor(&self, at_or_below: impl Fn(&E) -> bool) -> Option<E> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(|entry| at_or_below(&entry)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.get(low.checked_sub(1)?)
    }

    fn bytes(&self) -> Vec<u8> {
        let len = self.len();
        let mut out = Vec::with_capacity(len * E::BYTES);
        (0..len).filter_map(|at| self.get(at)).for_each(|entry| entry.write(&mut out));
        out
    }
}

fn place(at: usize) -> (usize, usize) {
    let chunk = (at / FIRST_CHUNK + 1).ilog2() as usize;
    (chunk, at - FIRST_CHUNK * ((1 << chunk) - 1))
}

/// Both indexes of a segment that still grows, or whose files are not written yet.
#[derive(Debug)]
pub struct MemoryIndex {
    offsets: Grown<OffsetEntry>,
    times: Grown<TimeEntry>,
}

impl Default for MemoryIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryIndex {
    /// No entry.
    pub fn new() -> Self {
        Self { offsets: Grown::new(), times: Grown::new() }
    }

    /// Entries from the bytes of both files, which passed [`check`].
    pub fn from_bytes(offsets: &[u8], times: &[u8]) -> Self {
        let index = Self::new();
        offsets.chunks_exact(OFFSET_ENTRY).for_each(|bytes| index.offsets.push(OffsetEntry::read(bytes)));
        times.chunks_exact(TIME_ENTRY).for_each(|bytes| index.times.push(TimeEntry::read(bytes)));
        index
    }

    /// Adds an offset entry; `entry` lies above the last. One writer only.
    pub fn push_offset(&self, entry: OffsetEntry) {
        debug_assert!(
            self.offsets
                .last()
                .is_none_or(|last| last.relative < entry.relative && last.position < entry.position),
            "offset index falls: {:?} then {entry:?}",
            self.offsets.last()
        );
        self.offsets.push(entry);
    }

    /// Adds a time entry unless time stood still since the last. One writer only.
    pub fn push_time(&self, entry: TimeEntry) {
        if entry.timestamp >= 0 && self.times.last().is_none_or(|last| last.timestamp < entry.timestamp) {
            self.times.push(entry);
        }
    }

    /// The last offset entry at or below an offset.
    pub fn floor_offset(&self, relative: u32) -> Option<OffsetEntry> {
        self.offsets.floor(|entry| entry.relative <= relative)
    }

    /// The last offset entry at or below a position.
    pub fn floor_position(&self, position: u32) -> Option<OffsetEntry> {
        self.offsets.floor(|entry| entry.position <= position)
    }

    /// The last time entry at or below a timestamp.
    pub fn floor_time(&self, timestamp: i64) -> Option<TimeEntry> {
        self.times.floor(|entry| entry.timestamp <= timestamp)
    }

    /// The newest time entry.
    pub fn last_time(&self) -> Option<TimeEntry> {
        self.times.last()
    }

    /// The newest offset entry.
    pub fn last_offset(&self) -> Option<OffsetEntry> {
        self.offsets.last()
    }

    /// Whether an index file of at most `bytes` has no room for more (Kafka keeps one time entry for sealing).
    pub fn is_full(&self, bytes: u32) -> bool {
        let offsets = (bytes as usize / OFFSET_ENTRY).min(GROWN_MAX);
        let times = (bytes as usize / TIME_ENTRY).min(GROWN_MAX);
        self.offsets.len() >= offsets || self.times.len() + 1 >= times
    }

    /// The `.index` file.
    pub fn offset_bytes(&self) -> Vec<u8> {
        self.offsets.bytes()
    }

    /// The `.timeindex` file.
    pub fn time_bytes(&self) -> Vec<u8> {
        self.times.bytes()
    }
}

/// The last entry of an index file for which `at_or_below` holds; it holds for a prefix of the file.
pub fn floor_in_file<E: Entry>(
    file: &dyn File,
    entries: usize,
    at_or_below: impl Fn(&E) -> bool,
) -> io::Result<Option<E>> {
    let mut one = [0; TIME_ENTRY];
    let (mut low, mut high) = (0, entries);
    while high - low > BLOCK {
        let middle = low + (high - low) / 2;
        file.read_exact_at(&mut one[..E::BYTES], (middle * E::BYTES) as u64)?;
        if at_or_below(&E::read(&one[..E::BYTES])) { low = middle } else { high = middle }
    }
    let mut block = [0; BLOCK * TIME_ENTRY];
    let block = &mut block[..(high - low) * E::BYTES];
    file.read_exact_at(block, (low * E::BYTES) as u64)?;
    Ok(block.chunks_exact(E::BYTES).map(E::read).take_while(|entry| at_or_below(entry)).last())
}

/// What makes an index file unusable; it is rebuilt from the log then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    /// Not whole entries.
    #[error("index of {0} bytes is not whole entries")]
    Length(u64),
    /// The last entry lies outside the segment, or not above the first: an unfinished or foreign file.
    #[error("index ends with {last}, outside its segment")]
    Ends {
        /// The last entry.
        last: String,
    },
}

/// Checks an offset index against its segment: `relative_end` is the offset after the last, less the base.
/// Cheap: the first and the last entry are looked at.
pub fn check_offsets(
    file: &dyn File,
    relative_end: u64,
    log_bytes: u64,
) -> io::Result<Result<usize, IndexFault>> {
    let (entries, ends) = match ends::<OffsetEntry>(file)? {
        Ok(found) => found,
        Err(fault) => return Ok(Err(fault)),
    };
    let fits = |entry: &OffsetEntry| {
        u64::from(entry.relative) < relative_end && u64::from(entry.position) < log_bytes
    };
    match ends {
        Some((first, last)) if !fits(&last) || (entries > 1 && last.position <= first.position) => {
            Ok(Err(IndexFault::Ends { last: format!("{last:?}") }))
        }
        _ => Ok(Ok(entries)),
    }
}

/// Checks a time index against its segment, as [`check_offsets`]. A segment with records has at least one entry
/// unless no record has a timestamp, which is rare enough to rebuild.
pub fn check_times(file: &dyn File, relative_end: u64) -> io::Result<Result<usize, IndexFault>> {
    let (entries, ends) = match ends::<TimeEntry>(file)? {
        Ok(found) => found,
        Err(fault) => return Ok(Err(fault)),
    };
    match ends {
        Some((first, last))
            if u64::from(last.relative) >= relative_end
                || (entries > 1 && last.timestamp <= first.timestamp) =>
        {
            Ok(Err(IndexFault::Ends { last: format!("{last:?}") }))
        }
        _ => Ok(Ok(entries)),
    }
}

type Ends<E> = Result<(usize, Option<(E, E)>), IndexFault>;

fn ends<E: Entry>(file: &dyn File) -> io::Result<Ends<E>> {
    let len = file.len()?;
    if len % E::BYTES as u64 != 0 {
        return Ok(Err(IndexFault::Length(len)));
    }
    let Ok(entries) = usize::try_from(len / E::BYTES as u64) else {
        return Ok(Err(IndexFault::Length(len)));
    };
    if entries == 0 {
        return Ok(Ok((0, None)));
    }
    let mut one = [0; TIME_ENTRY];
    file.read_exact_at(&mut one[..E::BYTES], 0)?;
    let first = E::read(&one[..E::BYTES]);
    file.read_exact_at(&mut one[..E::BYTES], len - E::BYTES as u64)?;
    Ok(Ok((entries, Some((first, E::read(&one[..E::BYTES]))))))
}

/// Offset of an entry in a segment.
pub fn absolute(base: Offset, relative: u32) -> Offset {
    base + i64::from(relative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::file::{Files, OpenMode, OsFiles};
    use proptest::prelude::*;

    fn offset(relative: u32, position: u32) -> OffsetEntry {
        OffsetEntry { relative, position }
    }

    #[test]
    fn chunks_tile_the_entries() {
        let mut expected = 0;
        for chunk in 0..6 {
            for slot in 0..FIRST_CHUNK << chunk {
                assert_eq!(place(expected), (chunk, slot));
                expected += 1;
            }
        }
        assert_eq!(place(GROWN_MAX - 1).0, CHUNKS - 1);
    }

    #[test]
    fn golden_bytes() {
        let index = MemoryIndex::new();
        index.push_offset(offset(9, 4132));
        index.push_offset(offset(0x01020304, 0x7fffffff));
        index.push_time(TimeEntry { timestamp: 1_700_000_000_000, relative: 9 });
        index.push_time(TimeEntry { timestamp: 1_700_000_000_000, relative: 12 });
        let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let golden = |path: &str| OsFiles.read_all(&fixtures.join(path), 1 << 16).expect(path);
        assert_eq!(index.offset_bytes(), golden("offset-index/v1/two.index"));
        assert_eq!(index.time_bytes(), golden("time-index/v1/one.timeindex"));
    }

    #[test]
    fn time_that_stands_still_adds_nothing() {
        let index = MemoryIndex::new();
        for (timestamp, relative) in [(-1, 0), (5, 1), (5, 2), (4, 3), (6, 4)] {
            index.push_time(TimeEntry { timestamp, relative });
        }
        assert_eq!(index.time_bytes().len(), 2 * TIME_ENTRY);
        assert_eq!(index.floor_time(5), Some(TimeEntry { timestamp: 5, relative: 1 }));
        assert_eq!(index.floor_time(4), None);
    }

    #[test]
    fn damaged_files_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |bytes: &[u8]| {
            let path = dir.path().join("i");
            let file = OsFiles.open(&path, OpenMode::ReadWrite).expect("opens");
            file.truncate(0).and_then(|()| file.write_at(bytes, 0)).expect("writes");
            file
        };
        let entries = |list: &[(u32, u32)]| {
            let mut bytes = Vec::new();
            list.iter().for_each(|(relative, position)| offset(*relative, *position).write(&mut bytes));
            bytes
        };
        let check = |bytes: &[u8]| check_offsets(&*write(bytes), 10, 1000).expect("reads");
        assert_eq!(check(&[]), Ok(0));
        assert_eq!(check(&entries(&[(1, 10), (9, 999)])), Ok(2));
        assert_eq!(check(&[0; 7]), Err(IndexFault::Length(7)));
        for bad in [&[(10, 10)][..], &[(9, 1000)], &[(1, 10), (0, 0)]] {
            assert!(matches!(check(&entries(bad)), Err(IndexFault::Ends { .. })), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn memory_and_file_find_the_same(steps in prop::collection::vec((1u32..50, 1u32..5000), 0..2000), probe in 0u32..60_000) {
            let index = MemoryIndex::new();
            let mut model = Vec::new();
            let (mut relative, mut position) = (0, 0);
            for (up, on) in steps {
                (relative, position) = (relative + up, position + on);
                index.push_offset(offset(relative, position));
                model.push(offset(relative, position));
            }
            let expected = model.iter().rev().find(|entry| entry.relative <= probe).copied();
            prop_assert_eq!(index.floor_offset(probe), expected);
            let by_position = model.iter().rev().find(|entry| entry.position <= probe).copied();
            prop_assert_eq!(index.floor_position(probe), by_position);
            let dir = tempfile::tempdir().expect("a directory");
            let file = OsFiles.open(&dir.path().join("i"), OpenMode::CreateNew).expect("opens");
            file.write_at(&index.offset_bytes(), 0).expect("writes");
            let found = floor_in_file::<OffsetEntry>(&*file, model.len(), |entry| entry.relative <= probe);
            prop_assert_eq!(found.expect("reads"), expected);
            let back = MemoryIndex::from_bytes(&index.offset_bytes(), &[]);
            prop_assert_eq!(back.floor_offset(probe), expected);
        }
    }
}
