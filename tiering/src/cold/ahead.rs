//! Who reads on where: matches a cold read to the one before it and names the chunks to ask for ahead, across the
//! borders of segments. Pure; the asking is the reader's. Bounded: the streams used longest ago are forgotten.
//! Invariant: along one stream a chunk is named at most once.

use crate::cold::entry::Entry;
use crate::config::LogId;
use crate::offsets::Offset;
use firnline_cache::readahead::Sequential;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use uuid::Uuid;

/// Streams remembered.
const MAX_STREAMS: usize = 512;

/// A chunk to ask for: how many segments after the one being read, and which chunk of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) entry: Entry,
    pub(crate) chunk: u32,
}

/// All streams of a reader.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// A stream is found by the offset its next read will ask for.
    by_next: BTreeMap<(LogId, Offset), (u64, Stream)>,
    by_use: BTreeMap<u64, (LogId, Offset)>,
    clock: u64,
}

#[derive(Debug, Clone)]
struct Stream {
    sequential: Sequential,
    object: Uuid,
    /// Number of the object's first chunk, counted along the stream.
    origin: u64,
    /// Where the object's successor begins, and the number of its first chunk.
    successor: (Offset, u64),
}

impl Streams {
    /// A read of `[from, next)` touched `chunks` of `entry`. Answers what to ask for ahead; `after` gives the
    /// segment that begins at an offset, if it is known without waiting.
    pub(crate) fn observe(
        &mut self,
        log: &LogId,
        from: Offset,
        next: Offset,
        entry: &Entry,
        chunks: RangeInclusive<u32>,
        after: impl Fn(Offset) -> Option<Entry>,
    ) -> Vec<Ahead> {
        let mut stream =
            self.take(log, from).map_or_else(|| Stream::at(entry), |stream| stream.moved_to(entry));
        let mut wanted = Vec::new();
        for chunk in chunks {
            wanted.extend(stream.sequential.observe(stream.origin + u64::from(chunk)));
        }
        let ahead = place(&wanted, entry, stream.origin, after);
        self.put(log, next, stream);
        ahead
    }

    fn take(&mut self, log: &LogId, from: Offset) -> Option<Stream> {
        let (used, stream) = self.by_next.remove(&(log.clone(), from))?;
        self.by_use.remove(&used);
        Some(stream)
    }

    fn put(&mut self, log: &LogId, next: Offset, stream: Stream) {
        self.clock += 1;
        let key = (log.clone(), next);
        if let Some((used, _)) = self.by_next.insert(key.clone(), (self.clock, stream)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.clock, key);
        while self.by_next.len() > MAX_STREAMS
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_next.remove(&oldest);
        }
    }
}

impl Stream {
    fn at(entry: &Entry) -> Self {
        let successor = (entry.next, u64::from(entry.chunks()));
        Self { sequential: Sequential::new(), object: entry.uuid, origin: 0, successor }
    }

    fn moved_to(mut self, entry: &Entry) -> Self {
        if self.object == entry.uuid {
            return self;
        }
        if self.successor.0 != entry.base {
            return Self::at(entry);
        }
        self.object = entry.uuid;
        self.origin = self.successor.1;
        self.successor = (entry.next, self.origin + u64::from(entry.chunks()));
        self
    }
}

/// Chunk numbers along the stream → segments and their chunks; stops at the first segment nobody knows yet.
fn place(wanted: &[u64], entry: &Entry, origin: u64, after: impl Fn(Offset) -> Option<Entry>) -> Vec<Ahead> {
    let (mut entry, mut origin) = (*entry, origin);
    let mut placed = Vec::new();
    for &number in wanted {
        while number >= origin + u64::from(entry.chunks()) {
            let Some(next) = after(entry.next) else {
                return placed;
            };
            origin += u64::from(entry.chunks());
            entry = next;
        }
        if let Ok(chunk) = u32::try_from(number.saturating_sub(origin)) {
            placed.push(Ahead { entry, chunk });
        }
    }
    placed
}
