//! Reading history: offset → segment → chunks → whole batches, with read-ahead for those who read on.
//! Not who may read how far (the caller's `bound`), nor the hot tier. Invariant: what is returned is byte for byte
//! what was uploaded, begins with the batch that holds the offset asked for, and ends with a whole batch.

use crate::batch::header::{BatchHeader, HEADER_BYTES};
use crate::cold::ahead::Streams;
use crate::cold::entry::Entry;
use crate::cold::footer::SectionKind;
use crate::cold::manifest_store::ManifestStore;
use crate::cold::marker::Bucket;
use crate::cold::object::{Opened, decode_aborted};
use crate::cold::remote::RemoteSegments;
use crate::cold::tier::TierRow;
use crate::config::LogId;
use crate::hot::transactions::AbortedTransaction;
use crate::offsets::Offset;
use bytes::{Bytes, BytesMut};
use firnline_cache::error::LoadError;
use firnline_cache::key::CHUNK_BYTES;
use firnline_cache::read_through::ReadThrough;
use futures::future::try_join_all;
use parking_lot::Mutex;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::runtime::Handle;

/// One read returns no more than this, unless its first batch alone is larger.
pub const MAX_READ_BYTES: u64 = 8 << 20;

/// Whole batches from one remote segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdBatches {
    /// The batches as they were appended; the first holds the offset asked for. Empty only if all that is left
    /// lies at or above the bound.
    pub bytes: Bytes,
    /// The offset after the last batch: where to read on.
    pub next: Offset,
    /// Aborted transactions that overlap the batches, from the same segment.
    pub aborted: Vec<AbortedTransaction>,
}

/// Why nothing came of a cold read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColdReadError {
    /// Not an offset of the cold tier: ask for the row again, then the hot tier.
    #[error("offset {asked} is outside the bucket's [{log_start}, {end})")]
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// First offset there is.
        log_start: Offset,
        /// The committed remote end.
        end: Offset,
    },
    /// The row names an object that is not there: the row is old (ask for it again), or the object was lost.
    #[error("not found: {what}")]
    NotFound {
        /// Which object.
        what: String,
    },
    /// The bucket fails or is another cluster's; later may work.
    #[error("the bucket is unavailable: {what}")]
    Unavailable {
        /// What failed.
        what: String,
    },
    /// Damage, confirmed by a second read.
    #[error("remote bytes are damaged: {what}")]
    Corrupt {
        /// Which bytes.
        what: String,
    },
}

impl From<LoadError> for ColdReadError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NotFound { what } => Self::NotFound { what },
            LoadError::Unavailable { what } => Self::Unavailable { what },
            LoadError::Corrupt { what } => Self::Corrupt { what },
        }
    }
}

/// Reads the cold tier of every log.
pub struct ColdReader {
    pub(super) manifests: Arc<ManifestStore>,
    pub(super) segments: Arc<RemoteSegments>,
    streams: Mutex<Streams>,
    cold: Handle,
}

impl ColdReader {
    /// Requests to the bucket run on `cold` and outlive the reads that asked for them.
    pub fn new(
        bucket: Arc<Bucket>,
        manifests: Arc<ManifestStore>,
        cache: Arc<ReadThrough>,
        cold: Handle,
    ) -> Arc<Self> {
        let segments = RemoteSegments::new(bucket, cache, cold.clone());
        Arc::new(Self { manifests, segments, streams: Mutex::new(Streams::default()), cold })
    }

    /// Whole batches below `bound`, the first of them the one that holds `from`: at most `max_bytes`, but at least
    /// one batch, and none from beyond the segment.
    pub async fn read(
        &self,
        log: &LogId,
        row: &TierRow,
        from: Offset,
        max_bytes: u64,
        bound: Offset,
    ) -> Result<ColdBatches, ColdReadError> {
        if from < row.log_start || from >= row.end {
            return Err(ColdReadError::OutOfRange { asked: from, log_start: row.log_start, end: row.end });
        }
        let mut asked = from;
        loop {
            let Some(entry) = self.manifests.entry(log, row, asked).await? else {
                return Err(ColdReadError::NotFound {
                    what: format!("a segment of {log} with offset {asked}"),
                });
            };
            let opened = self.segments.open(log, &entry).await?;
            let mut window = Window::new(self, log, &entry, &opened, opened.position_of(asked));
            match window.find(asked).await? {
                Some(first) => return self.take(log, row, window, from, first, max_bytes, bound).await,
                // Everything from here to the segment's end was compacted away: the next one has it.
                None if entry.next < row.end => asked = entry.next,
                None => {
                    return Ok(ColdBatches { bytes: Bytes::new(), next: entry.next, aborted: Vec::new() });
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the read's own arguments, and where it begins")]
    async fn take(
        &self,
        log: &LogId,
        row: &TierRow,
        mut window: Window<'_>,
        from: Offset,
        first: BatchHeader,
        max_bytes: u64,
        bound: Offset,
    ) -> Result<ColdBatches, ColdReadError> {
        if first.base_offset >= bound {
            return Ok(ColdBatches { bytes: Bytes::new(), next: from, aborted: Vec::new() });
        }
        let entry = *window.entry;
        let start = window.at;
        let want = max_bytes.min(MAX_READ_BYTES).max(first.size() as u64);
        window.fill(start + want).await?;
        let end = window.walk(start + want, bound)?;
        let bytes = window.slice(start, end);
        let chunks = chunk_of(start)..=chunk_of(end - 1);
        let next = window.next;
        self.read_ahead(log, row, from, next, &entry, chunks);
        let aborted = self.aborted(log, &entry, from, next).await?;
        Ok(ColdBatches { bytes, next, aborted })
    }

    async fn aborted(
        &self,
        log: &LogId,
        entry: &Entry,
        from: Offset,
        next: Offset,
    ) -> Result<Vec<AbortedTransaction>, ColdReadError> {
        if entry.aborted == 0 {
            return Ok(Vec::new());
        }
        let section = self.segments.section(log, entry, SectionKind::Transactions).await?;
        let mut aborted =
            decode_aborted(&section).map_err(|error| ColdReadError::Corrupt { what: error.to_string() })?;
        aborted.retain(|one| one.first < next && one.last >= from);
        Ok(aborted)
    }

    fn read_ahead(
        &self,
        log: &LogId,
        row: &TierRow,
        from: Offset,
        next: Offset,
        entry: &Entry,
        chunks: RangeInclusive<u32>,
    ) {
        let after =
            |base: Offset| if base < row.end { self.manifests.entry_at_hand(row, base) } else { None };
        let ahead = self.streams.lock().observe(log, from, next, entry, chunks, after);
        for one in ahead {
            if let Some(opened) = self.segments.opened(&one.entry) {
                self.segments.prefetch(log, &one.entry, &opened, one.chunk);
                continue;
            }
            let (segments, log) = (self.segments.clone(), log.clone());
            self.cold.spawn(async move {
                // A failure here is met again, and reported, by who comes to read.
                if let Ok(opened) = segments.open(&log, &one.entry).await {
                    segments.prefetch(&log, &one.entry, &opened, one.chunk);
                }
            });
        }
    }
}

/// A run of a segment's chunks, and a cursor in it.
struct Window<'a> {
    reader: &'a ColdReader,
    log: &'a LogId,
    entry: &'a Entry,
    opened: &'a Opened,
    first_chunk: u32,
    chunks: Vec<Bytes>,
    /// The cursor: a batch begins here.
    at: u64,
    /// The offset after the last batch the cursor passed.
    next: Offset,
}

impl<'a> Window<'a> {
    fn new(reader: &'a ColdReader, log: &'a LogId, entry: &'a Entry, opened: &'a Opened, at: u64) -> Self {
        let first_chunk = chunk_of(at);
        Self { reader, log, entry, opened, first_chunk, chunks: Vec::new(), at, next: entry.base }
    }

    /// Makes the bytes up to `end` (or the segment's end) available; missing chunks are asked for together.
    async fn fill(&mut self, end: u64) -> Result<(), ColdReadError> {
        let end = end.min(self.entry.log_bytes);
        let have = self.first_chunk + u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        let need = u32::try_from(end.div_ceil(CHUNK_BYTES)).unwrap_or(u32::MAX);
        let (segments, log) = (&self.reader.segments, self.log);
        let missing = (have..need).map(|chunk| segments.chunk(log, self.entry, self.opened, chunk));
        self.chunks.extend(try_join_all(missing).await?);
        Ok(())
    }

    /// Moves the cursor to the batch that holds `offset`, or to the first one after it.
    async fn find(&mut self, offset: Offset) -> Result<Option<BatchHeader>, ColdReadError> {
        while self.at < self.entry.log_bytes {
            self.fill(self.at + HEADER_BYTES as u64).await?;
            let header = self.header(self.at)?;
            if header.next_offset() > offset {
                return Ok(Some(header));
            }
            self.at += header.size() as u64;
            while chunk_of(self.at) > self.first_chunk && !self.chunks.is_empty() {
                self.chunks.remove(0);
                self.first_chunk += 1;
            }
            if self.chunks.is_empty() {
                self.first_chunk = chunk_of(self.at);
            }
        }
        Ok(None)
    }

    /// Passes whole batches below `bound` that end at or before `limit`; the first always counts.
    fn walk(&mut self, limit: u64, bound: Offset) -> Result<u64, ColdReadError> {
        let limit = limit.min(self.entry.log_bytes);
        let first = self.at;
        while self.at + HEADER_BYTES as u64 <= limit {
            let header = self.header(self.at)?;
            let end = self.at + header.size() as u64;
            if end > limit || (self.at > first && header.base_offset >= bound) {
                break;
            }
            self.at = end;
            self.next = header.next_offset();
        }
        Ok(self.at)
    }

    fn header(&self, at: u64) -> Result<BatchHeader, ColdReadError> {
        let end = (at + HEADER_BYTES as u64).min(self.entry.log_bytes);
        let header = BatchHeader::parse(&self.slice(at, end)).map_err(|error| self.corrupt(at, &error))?;
        if at + header.size() as u64 > self.entry.log_bytes {
            return Err(self.corrupt(at, &format!("batch of {} bytes leaves the segment", header.size())));
        }
        Ok(header)
    }

    fn corrupt(&self, at: u64, why: &dyn std::fmt::Display) -> ColdReadError {
        ColdReadError::Corrupt {
            what: format!("{}, segment {}, byte {at}: {why}", self.log, self.entry.uuid),
        }
    }

    /// Bytes that [`Window::fill`] made available; shared where one chunk holds them all.
    fn slice(&self, start: u64, end: u64) -> Bytes {
        let mut out = BytesMut::new();
        let mut at = start;
        while at < end {
            let chunk = &self.chunks[(chunk_of(at) - self.first_chunk) as usize];
            // cannot truncate: both are below CHUNK_BYTES.
            let (from, left) = ((at % CHUNK_BYTES) as usize, (end - at).min(CHUNK_BYTES) as usize);
            let to = chunk.len().min(from + left);
            assert!(from < to, "byte {at} of segment {} is not in its chunk", self.entry.uuid);
            if at == start && to - from == left && (end - at) as usize == left {
                return chunk.slice(from..to);
            }
            if out.is_empty() {
                // Bounded by chunks already held.
                out.reserve((end - start) as usize);
            }
            out.extend_from_slice(&chunk[from..to]);
            at += (to - from) as u64;
        }
        out.freeze()
    }
}

fn chunk_of(at: u64) -> u32 {
    u32::try_from(at / CHUNK_BYTES).unwrap_or(u32::MAX)
}
