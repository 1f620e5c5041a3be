//! One segment of a log: a file of record batches, its sparse indexes, and what a reader needs to find its way
//! without a lock. One writer appends (whoever holds the log's append lock). It decides nothing: no roll, no
//! deletion. Invariant: bytes below the published tip are whole batches and never change.

use crate::batch::header::{BatchError, BatchHeader, HEADER_BYTES};
use crate::hot::dir::{Kind, file_name};
use crate::hot::file::{File, Files, OpenMode};
use crate::hot::index::{MemoryIndex, OffsetEntry, TimeEntry, absolute, floor_in_file};
use crate::hot::parked::park;
use crate::hot::tail::{Tail, TailBatch};
use crate::hot::transactions::{AbortedTransaction, TransactionIndex};
use crate::offsets::Offset;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// Largest segment: positions are Kafka's int32.
pub const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;
/// Places remembered for sequential readers.
const MARKS: usize = 4;

/// Why a segment could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not in memory, and the question was not to wait for the disk.
    #[error("not in memory")]
    Cold,
    /// No batch where one must begin.
    #[error("byte {position}: {fault}")]
    Batch {
        /// Where.
        position: u64,
        /// What is there instead.
        fault: BatchError,
    },
}

/// Whether finding a place may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// What is not in memory is [`SegmentError::Cold`]: for serving cores.
    Never,
    /// Reads what it needs.
    Disk,
}

/// Where a batch lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Its first byte.
    pub position: u64,
    /// Its bytes.
    pub size: u64,
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last.
    pub next: Offset,
}

/// A segment. Shared by all readers.
#[derive(Debug)]
pub struct Segment {
    base: Offset,
    dir: PathBuf,
    files: Arc<dyn Files>,
    file: Arc<dyn File>,
    /// Offset after the last less the base | bytes. Published after the batch lies in the file.
    tip: AtomicU64,
    largest: Largest,
    /// Max timestamp of the first batch; −1 while there is none. What rolling by time counts from.
    first_timestamp: AtomicI64,
    /// When the first batch was appended, by our clock; 0 while there is none.
    first_append_ms: AtomicI64,
    since_index: AtomicU32,
    tail: OnceLock<Tail>,
    /// Until the index files are written.
    memory: ArcSwapOption<MemoryIndex>,
    offset_file: OnceLock<IndexFile>,
    time_file: OnceLock<IndexFile>,
    transactions: TransactionIndex,
    marks: Mutex<Marks>,
}

#[derive(Debug)]
struct IndexFile {
    file: Arc<dyn File>,
    entries: usize,
}

/// (offset, position) pairs: where slices ended that readers took, so that the next read needs no search.
#[derive(Debug, Default)]
struct Marks {
    places: [(i64, u64); MARKS],
    next: usize,
}

/// What a segment starts from when it is opened.
#[derive(Debug)]
pub struct Opened {
    /// Bytes of whole batches.
    pub bytes: u64,
    /// The offset after the last.
    pub next: Offset,
    /// Largest timestamp and the last offset of the batch that has it; (−1, base) if none.
    pub largest: (i64, Offset),
    /// Max timestamp of the first batch, −1 if none.
    pub first_timestamp: i64,
    /// When the first batch was appended, or a guess; 0 if there is none.
    pub first_append_ms: i64,
    /// The indexes; `None` if both files are whole.
    pub memory: Option<MemoryIndex>,
}

impl Opened {
    /// A segment that holds nothing yet.
    pub fn empty(base: Offset) -> Self {
        Self {
            bytes: 0,
            next: base,
            largest: (-1, base),
            first_timestamp: -1,
            first_append_ms: 0,
            memory: Some(MemoryIndex::new()),
        }
    }
}

impl Segment {
    /// Makes the file of a new segment, which must not exist. Its first batch will be at `next` or above.
    pub fn create(files: &Arc<dyn Files>, dir: &Path, base: Offset, next: Offset) -> io::Result<Segment> {
        let path = dir.join(file_name(base, Kind::Log));
        let file = files.open(&path, OpenMode::CreateNew)?;
        Ok(Self::opened(files, dir, base, file, Opened { next, ..Opened::empty(base) }))
    }

    /// A segment whose file was checked.
    pub fn opened(
        files: &Arc<dyn Files>,
        dir: &Path,
        base: Offset,
        file: Arc<dyn File>,
        opened: Opened,
    ) -> Segment {
        Segment {
            base,
            dir: dir.to_owned(),
            files: files.clone(),
            file: park(files, dir.join(file_name(base, Kind::Log)), file),
            tip: AtomicU64::new(pack_tip(base, opened.next, opened.bytes)),
            largest: Largest::new(opened.largest.0, opened.largest.1),
            first_timestamp: AtomicI64::new(opened.first_timestamp),
            first_append_ms: AtomicI64::new(opened.first_append_ms),
            since_index: AtomicU32::new(0),
            tail: OnceLock::new(),
            memory: ArcSwapOption::from_pointee(opened.memory),
            offset_file: OnceLock::new(),
            time_file: OnceLock::new(),
            transactions: TransactionIndex::default(),
            marks: Mutex::default(),
        }
    }

    /// First offset it may hold; also its name.
    pub fn base(&self) -> Offset {
        self.base
    }

    /// The offset after its last.
    pub fn next(&self) -> Offset {
        self.tip().0
    }

    /// Bytes of whole batches.
    pub fn bytes(&self) -> u64 {
        self.tip().1
    }

    /// The offset after the last and the bytes, at one moment.
    pub fn tip(&self) -> (Offset, u64) {
        let tip = self.tip.load(Ordering::Acquire);
        (absolute(self.base, (tip >> 32) as u32), tip & u64::from(u32::MAX))
    }

    /// Holds no batch.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// The log data, which may have to be opened by its name.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Its files lose their names, perhaps to others: none that is closed is opened again.
    pub fn retire(&self) {
        self.file.retire();
        let indexes = [self.offset_file.get(), self.time_file.get()];
        indexes.into_iter().flatten().for_each(|index| index.file.retire());
    }

    /// The log data, open now: it stays readable when the segment's name goes.
    pub fn pinned(&self) -> io::Result<Arc<dyn File>> {
        self.file.pinned().unwrap_or_else(|| Ok(self.file.clone()))
    }

    /// Path of one of its files.
    pub fn path(&self, kind: Kind) -> PathBuf {
        self.dir.join(file_name(self.base, kind))
    }

    /// Largest timestamp and the last offset of the first batch that has it; −1 if there is none.
    pub fn largest_timestamp(&self) -> (i64, Offset) {
        self.largest.get()
    }

    /// Max timestamp of the first batch, −1 if none.
    pub fn first_timestamp(&self) -> i64 {
        self.first_timestamp.load(Ordering::Relaxed)
    }

    /// When the first batch was appended, by our clock; `None` while there is none.
    pub fn first_append_ms(&self) -> Option<i64> {
        (!self.is_empty()).then(|| self.first_append_ms.load(Ordering::Relaxed))
    }

    /// The aborted transactions whose marker lies in it.
    pub fn transactions(&self) -> &TransactionIndex {
        &self.transactions
    }

    /// Whether its index files would have no room for another entry.
    pub fn index_is_full(&self, bytes: u32) -> bool {
        self.memory.load().as_ref().is_some_and(|memory| memory.is_full(bytes))
    }

    /// Whether `last` can be told from the base in an index entry.
    pub fn reaches(&self, last: Offset) -> bool {
        (0..=i64::from(i32::MAX)).contains(&(last - self.base))
    }

    // ---- writing: under the log's append lock ----

    /// Writes a batch at the end of the file with one write. Nothing is published: readers do not see it yet.
    pub fn write(&self, batch: &[u8]) -> io::Result<()> {
        self.file.write_at(batch, self.bytes())
    }

    /// Takes back what a failed [`Segment::write`] may have left.
    pub fn unwrite(&self) -> io::Result<()> {
        self.file.truncate(self.bytes())
    }

    /// Publishes the batch just written, whose header is `batch` with its final offsets.
    pub fn publish(&self, batch: &BatchHeader, index_interval: u32, now_ms: i64) {
        let (end, bytes) = self.tip();
        assert!(batch.base_offset >= end, "batch at {} below the end {end}", batch.base_offset);
        assert!(self.reaches(batch.last_offset()), "{} is too far from {}", batch.last_offset(), self.base);
        if bytes == 0 {
            self.first_timestamp.store(batch.max_timestamp, Ordering::Relaxed);
            self.first_append_ms.store(now_ms, Ordering::Relaxed);
        }
        let since = self.since_index.load(Ordering::Relaxed);
        let due = self.note(batch, bytes, since, index_interval);
        let size = batch.size() as u32;
        let since = if due { size } else { since.saturating_add(size) };
        self.since_index.store(since, Ordering::Relaxed);
        self.tail.get_or_init(Tail::new).push(TailBatch {
            base: self.relative(batch.base_offset),
            next: self.relative(batch.next_offset()),
            position: bytes as u32,
            size,
        });
        let tip = pack_tip(self.base, batch.next_offset(), bytes + batch.size() as u64);
        self.tip.store(tip, Ordering::Release);
    }

    /// Indexes a batch as Kafka does. Answers whether an offset entry was made.
    fn note(&self, batch: &BatchHeader, position: u64, since: u32, interval: u32) -> bool {
        let relative = self.relative(batch.last_offset());
        if batch.max_timestamp > self.largest.get().0 {
            self.largest.set(batch.max_timestamp, batch.last_offset());
        }
        let due = since > interval;
        if due && let Some(memory) = self.memory.load().as_ref() {
            memory.push_offset(OffsetEntry { relative, position: position as u32 });
            memory.push_time(self.time_entry());
        }
        due
    }

    fn time_entry(&self) -> TimeEntry {
        let (timestamp, offset) = self.largest.get();
        TimeEntry { timestamp, relative: self.relative(offset) }
    }

    fn relative(&self, offset: Offset) -> u32 {
        let relative = offset - self.base;
        debug_assert!(
            u32::try_from(relative).is_ok(),
            "offset {offset} is not in the segment at {}",
            self.base
        );
        relative as u32
    }

    // ---- sealing: off the serving cores, nobody appends any more ----

    /// Whether the index files are still to be written.
    pub fn index_is_in_memory(&self) -> bool {
        self.memory.load().is_some()
    }

    /// Writes and fsyncs the index files. The indexes stay in memory until [`Segment::forget_memory_index`].
    pub fn write_indexes(&self) -> io::Result<()> {
        let Some(memory) = self.memory.load_full() else { return Ok(()) };
        memory.push_time(self.time_entry());
        // Transactions first: whoever finds the other two finds these, if there are any.
        match self.transactions.bytes() {
            Some(bytes) if !bytes.is_empty() => self.write_index(Kind::TxnIndex, &bytes)?,
            Some(_) => match self.files.remove(&self.path(Kind::TxnIndex)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            None => {}
        }
        self.write_index(Kind::OffsetIndex, &memory.offset_bytes())?;
        self.write_index(Kind::TimeIndex, &memory.time_bytes())
    }

    fn write_index(&self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let file = self.files.open(&self.path(kind), OpenMode::ReadWrite)?;
        file.truncate(0)?;
        file.write_at(bytes, 0)?;
        file.sync()
    }

    /// From now on the files answer. Only for a sealed segment whose index files are written.
    pub fn forget_memory_index(&self) {
        self.memory.store(None);
        self.transactions.forget();
    }

    /// Opens the index files, if they answer, so that readers of this value find what belongs to its log file even
    /// when other files take over the names.
    pub fn hold_indexes(&self) -> io::Result<()> {
        if !self.index_is_in_memory() {
            self.index_file(&self.offset_file, Kind::OffsetIndex, crate::hot::index::OFFSET_ENTRY)?;
            self.index_file(&self.time_file, Kind::TimeIndex, crate::hot::index::TIME_ENTRY)?;
        }
        Ok(())
    }

    // ---- reading: any thread, no lock ----

    /// The first batch that ends above `offset`; `None` if the segment has none.
    pub fn locate(&self, offset: Offset) -> Result<Option<Located>, SegmentError> {
        self.locate_as(offset, Waits::Disk)
    }

    /// As [`Segment::locate`], for who may not wait.
    pub fn locate_as(&self, offset: Offset, waits: Waits) -> Result<Option<Located>, SegmentError> {
        let (end, bytes) = self.tip();
        if offset >= end {
            return Ok(None);
        }
        let relative = u32::try_from(offset - self.base).unwrap_or(0);
        if let Some(found) = self.tail.get().and_then(|tail| tail.first_ending_after(relative)) {
            return Ok(Some(Located {
                position: u64::from(found.position),
                size: u64::from(found.size),
                base: absolute(self.base, found.base),
                next: absolute(self.base, found.next),
            }));
        }
        let (from, indexed) = match self.marked(offset) {
            Some(position) => (position, false),
            // An entry that points past the end is damaged too.
            None => {
                (Some(self.position_below(relative, waits)?).filter(|from| *from < bytes).unwrap_or(0), true)
            }
        };
        match self.walk_to(from, offset, bytes, waits) {
            // An index is a hint: if it led astray, the batches themselves still lead there.
            Err(SegmentError::Batch { .. }) if from > 0 => self.walk_to(0, offset, bytes, waits),
            // The batch an entry names begins at or below the entry's offset: this one was named by a damaged entry.
            Ok(Some(found)) if indexed && from > 0 && found.position == from && found.base > offset => {
                self.walk_to(0, offset, bytes, waits)
            }
            found => found,
        }
    }

    fn walk_to(
        &self,
        from: u64,
        offset: Offset,
        bytes: u64,
        waits: Waits,
    ) -> Result<Option<Located>, SegmentError> {
        let mut position = from;
        while position < bytes {
            let header = self.header_as(position, bytes, waits)?;
            if header.next_offset() > offset {
                let size = header.size() as u64;
                let (base, next) = (header.base_offset, header.next_offset());
                return Ok(Some(Located { position, size, base, next }));
            }
            position += header.size() as u64;
        }
        Ok(None)
    }

    /// The last batch border at or below byte `target`, at or above `from`, which is a border itself; with the
    /// offset that follows, where it is known.
    pub fn border_below(
        &self,
        from: u64,
        target: u64,
        waits: Waits,
    ) -> Result<(u64, Option<Offset>), SegmentError> {
        let (end, bytes) = self.tip();
        if target >= bytes {
            return Ok((bytes, Some(end)));
        }
        if let Some(found) = self.tail.get().and_then(|tail| tail.last_ending_within(target as u32)) {
            let next = absolute(self.base, found.next);
            let position = u64::from(found.end());
            return Ok(if position >= from { (position, Some(next)) } else { (from, None) });
        }
        let indexed = self.indexed_below(target, waits)?.max(from);
        match self.border_from(indexed, target, bytes, waits) {
            // As in `locate`: the index is a hint.
            Err(SegmentError::Batch { .. }) if indexed > from => self.border_from(from, target, bytes, waits),
            found => found,
        }
    }

    fn border_from(
        &self,
        from: u64,
        target: u64,
        bytes: u64,
        waits: Waits,
    ) -> Result<(u64, Option<Offset>), SegmentError> {
        let mut border = (from, None);
        loop {
            let header = self.header_as(border.0, bytes, waits)?;
            let after = border.0 + header.size() as u64;
            if after > target {
                return Ok(border);
            }
            border = (after, Some(header.next_offset()));
        }
    }

    /// Remembers that the batch after `offset` begins at `position`, for a reader that will come back for it.
    pub fn mark(&self, offset: Offset, position: u64) {
        if let Some(mut marks) = self.marks.try_lock() {
            let at = marks.next % MARKS;
            marks.places[at] = (offset.0, position);
            marks.next = at + 1;
        }
    }

    fn marked(&self, offset: Offset) -> Option<u64> {
        let marks = self.marks.try_lock()?;
        // Position 0 is never marked: it needs no search.
        marks
            .places
            .iter()
            .find(|(at, position)| *at == offset.0 && *position > 0)
            .map(|(_, position)| *position)
    }

    /// Where to look for the first record at or after a time: every batch before this position is older.
    pub fn position_before_time(&self, timestamp: i64) -> Result<u64, SegmentError> {
        let entry = match self.memory.load().as_ref() {
            Some(memory) => memory.floor_time(timestamp),
            None => {
                let index =
                    self.index_file(&self.time_file, Kind::TimeIndex, crate::hot::index::TIME_ENTRY)?;
                floor_in_file(&*index.file, index.entries, |entry: &TimeEntry| entry.timestamp <= timestamp)?
            }
        };
        let Some(entry) = entry else { return Ok(0) };
        let (position, bytes) = (self.position_below(entry.relative, Waits::Disk)?, self.bytes());
        if position == 0 || position >= bytes {
            return Ok(0);
        }
        match self.header_at(position, bytes) {
            Ok(header) if header.base_offset <= absolute(self.base, entry.relative) => Ok(position),
            // As in `locate`: a damaged entry named this place, so begin where no entry is needed.
            Ok(_) | Err(SegmentError::Batch { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Adds to `found` the aborted transactions of this segment that overlap `[from, to)`. Answers whether later
    /// segments can hold no more of them.
    pub fn aborted(&self, from: Offset, to: Offset, found: &mut Vec<AbortedTransaction>) -> io::Result<bool> {
        let file = || self.files.open(&self.path(Kind::TxnIndex), OpenMode::Read);
        self.transactions.collect(from, to, file, found)
    }

    /// The header of the batch that begins at `position`, which lies below `bytes`.
    pub fn header_at(&self, position: u64, bytes: u64) -> Result<BatchHeader, SegmentError> {
        self.header_as(position, bytes, Waits::Disk)
    }

    fn header_as(&self, position: u64, bytes: u64, waits: Waits) -> Result<BatchHeader, SegmentError> {
        if waits == Waits::Never && !self.file.resident(position, HEADER_BYTES as u64) {
            return Err(SegmentError::Cold);
        }
        let mut head = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut head, position)?;
        let header = BatchHeader::parse(&head).map_err(|fault| SegmentError::Batch { position, fault })?;
        let room = bytes - position;
        if header.size() as u64 > room {
            let fault = BatchError::Truncated { have: room as usize, need: header.size() };
            return Err(SegmentError::Batch { position, fault });
        }
        if header.last_offset_delta < 0 || header.base_offset < self.base || header.base_offset >= self.next()
        {
            let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
            return Err(SegmentError::Batch {
                position,
                fault: BatchError::Count { count, last_offset_delta },
            });
        }
        Ok(header)
    }

    /// A batch border at or below the first batch that ends above `relative`.
    fn position_below(&self, relative: u32, waits: Waits) -> Result<u64, SegmentError> {
        let entry = match self.memory.load().as_ref() {
            Some(memory) => memory.floor_offset(relative),
            None => self.offset_floor(waits, |entry| entry.relative <= relative)?,
        };
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    /// A batch border at or below byte `target`.
    fn indexed_below(&self, target: u64, waits: Waits) -> Result<u64, SegmentError> {
        let entry = match self.memory.load().as_ref() {
            Some(memory) => memory.floor_position(target as u32),
            None => self.offset_floor(waits, |entry| u64::from(entry.position) <= target)?,
        };
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    fn offset_floor(
        &self,
        waits: Waits,
        below: impl Fn(&OffsetEntry) -> bool,
    ) -> Result<Option<OffsetEntry>, SegmentError> {
        if waits == Waits::Never && self.offset_file.get().is_none() {
            return Err(SegmentError::Cold);
        }
        let index = self.index_file(&self.offset_file, Kind::OffsetIndex, crate::hot::index::OFFSET_ENTRY)?;
        let bytes = (index.entries * crate::hot::index::OFFSET_ENTRY) as u64;
        if waits == Waits::Never && !index.file.resident(0, bytes) {
            return Err(SegmentError::Cold);
        }
        Ok(floor_in_file(&*index.file, index.entries, below)?)
    }

    fn index_file<'a>(
        &self,
        slot: &'a OnceLock<IndexFile>,
        kind: Kind,
        entry: usize,
    ) -> io::Result<&'a IndexFile> {
        if let Some(open) = slot.get() {
            return Ok(open);
        }
        let path = self.path(kind);
        let file = self.files.open(&path, OpenMode::Read)?;
        let entries = usize::try_from(file.len()?).unwrap_or(usize::MAX) / entry;
        let file = park(&self.files, path, file);
        Ok(slot.get_or_init(|| IndexFile { file, entries }))
    }
}

fn pack_tip(base: Offset, next: Offset, bytes: u64) -> u64 {
    assert!(bytes <= SEGMENT_BYTES_MAX, "a segment of {bytes} bytes");
    let relative = u32::try_from(next - base);
    assert!(relative.is_ok(), "a segment from {base} to {next}");
    u64::from(relative.unwrap_or(u32::MAX)) << 32 | bytes
}

/// A pair that one writer changes and readers see whole.
#[derive(Debug)]
struct Largest {
    /// Odd while it changes.
    turn: AtomicU32,
    timestamp: AtomicI64,
    offset: AtomicI64,
}

impl Largest {
    fn new(timestamp: i64, offset: Offset) -> Self {
        let (timestamp, offset) = (AtomicI64::new(timestamp), AtomicI64::new(offset.0));
        Self { turn: AtomicU32::new(0), timestamp, offset }
    }

    fn set(&self, timestamp: i64, offset: Offset) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.timestamp.store(timestamp, Ordering::Relaxed);
        self.offset.store(offset.0, Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(2), Ordering::Release);
    }

    fn get(&self) -> (i64, Offset) {
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            let pair = (self.timestamp.load(Ordering::Relaxed), Offset(self.offset.load(Ordering::Relaxed)));
            fence(Ordering::Acquire);
            if turn.is_multiple_of(2) && self.turn.load(Ordering::Relaxed) == turn {
                return pair;
            }
            std::hint::spin_loop();
        }
    }
}
