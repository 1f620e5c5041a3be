//! One segment of a log: a file of record batches and its sparse indexes, from the first append to the sealed files.
//! One writer appends (whoever holds the log's append lock). How readers find their way is in `place.rs`. It decides
//! nothing: no roll, no deletion. Invariant: bytes below the published tip are whole batches and never change.

use crate::batch::header::BatchHeader;
use crate::hot::dir::{Kind, file_name};
use crate::hot::file::{File, Files, OpenMode};
use crate::hot::index::{MemoryIndex, OFFSET_ENTRY, OffsetEntry, TIME_ENTRY, TimeEntry, absolute};
use crate::hot::largest::Largest;
use crate::hot::marks::Marks;
use crate::hot::parked::park;
use crate::hot::tail::{Tail, TailBatch};
use crate::hot::tip_note::TipNote;
use crate::hot::transactions::{AbortedTransaction, TransactionIndex};
use crate::offsets::Offset;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// Largest segment: positions are Kafka's int32.
pub const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;
/// A segment. Shared by all readers.
#[derive(Debug)]
pub struct Segment {
    pub(super) base: Offset,
    dir: PathBuf,
    files: Arc<dyn Files>,
    pub(super) file: Arc<dyn File>,
    /// Offset after the last less the base | bytes. Published after the batch lies in the file.
    tip: AtomicU64,
    largest: Largest,
    /// Max timestamp of the first batch; −1 while there is none. What rolling by time counts from.
    first_timestamp: AtomicI64,
    /// When the first batch was appended, by our clock; 0 while there is none.
    first_append_ms: AtomicI64,
    since_index: AtomicU32,
    pub(super) tail: OnceLock<Tail>,
    /// Until the index files are written.
    pub(super) memory: ArcSwapOption<MemoryIndex>,
    pub(super) offset_file: OnceLock<IndexFile>,
    pub(super) time_file: OnceLock<IndexFile>,
    transactions: TransactionIndex,
    /// Its file, for readers who stay when other files take the names.
    transaction_file: OnceLock<Arc<dyn File>>,
    pub(super) marks: Marks,
}

/// An index file that answers for a sealed segment.
#[derive(Debug)]
pub(super) struct IndexFile {
    pub(super) file: Arc<dyn File>,
    pub(super) entries: usize,
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
        let file = park(files, dir.join(file_name(base, Kind::Log)), file);
        if opened.memory.is_none() {
            file.settle();
        }
        Segment {
            base,
            dir: dir.to_owned(),
            files: files.clone(),
            file,
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
            transaction_file: OnceLock::new(),
            marks: Marks::default(),
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

    /// `len` bytes that lie in the file from `at`, read past the page cache if they are not in it. Waits for the disk.
    pub fn bytes_at(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let bytes = if self.file.resident(at, len as u64) {
            let mut bytes = vec![0; len];
            self.file.read_exact_at(&mut bytes, at)?;
            Bytes::from(bytes)
        } else {
            self.file.read_uncached(at, len)?
        };
        if bytes.len() == len { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
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

    /// What is known of it now; its producers are the caller's to add. `None` once its index files answer.
    pub fn tip_note(&self, boot: Uuid) -> Option<TipNote> {
        let memory = self.memory.load_full()?;
        let (next, bytes) = self.tip();
        Some(TipNote {
            boot,
            base: self.base,
            bytes: u32::try_from(bytes).ok()?,
            next,
            largest: self.largest.get(),
            first_timestamp: self.first_timestamp(),
            offsets: memory.offset_bytes(),
            times: memory.time_bytes(),
            producers: Vec::new(),
        })
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
        self.file.settle();
    }

    /// Opens the index files, if they answer, so that readers of this value find what belongs to its log file even
    /// when other files take over the names.
    pub fn hold_indexes(&self) -> io::Result<()> {
        if !self.index_is_in_memory() {
            self.index_file(&self.offset_file, Kind::OffsetIndex, OFFSET_ENTRY)?;
            self.index_file(&self.time_file, Kind::TimeIndex, TIME_ENTRY)?;
            if !self.transactions.is_empty() && self.transaction_file.get().is_none() {
                let file = self.files.open(&self.path(Kind::TxnIndex), OpenMode::Read)?;
                // Whoever was faster opened the same file.
                let _ = self.transaction_file.set(file);
            }
        }
        Ok(())
    }

    /// Adds to `found` the aborted transactions of this segment that overlap `[from, to)`. Answers whether later
    /// segments can hold no more of them.
    pub fn aborted(&self, from: Offset, to: Offset, found: &mut Vec<AbortedTransaction>) -> io::Result<bool> {
        let file = || match self.transaction_file.get() {
            Some(held) => Ok(held.clone()),
            None => self.files.open(&self.path(Kind::TxnIndex), OpenMode::Read),
        };
        self.transactions.collect(from, to, file, found)
    }

    pub(super) fn index_file<'a>(
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
