//! Sealed segments as offload and retention see them: values to plan with, and the bytes an object is made of.
//! Invariant: everything here is fsynced, and neighbours line up: one's `next` is the other's `base`.

use crate::epoch::Lineage;
use crate::hot::dir::{Kind, file_name};
use crate::hot::file::{File, Files};
use crate::hot::segment::Segment;
use crate::hot::segments::Segments;
use crate::log::producers::{SNAPSHOT_MAX, rebuild};
use crate::log::unified::Log;
use crate::offsets::Offset;
use crate::producer::snapshot::{decode_producers, encode_producers};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Largest index file that is read whole: `segment.index.bytes` is Kafka's int32.
const INDEX_MAX: u64 = 256 << 20;

/// One sealed, fsynced segment.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// First offset.
    pub base: Offset,
    /// The offset after its last; the base of the segment that follows.
    pub next: Offset,
    /// Bytes of log data.
    pub bytes: u64,
    /// Largest record timestamp, milliseconds; −1 if there is none.
    pub max_timestamp_ms: i64,
    /// The log data; exactly `bytes` of it. Readable while its name stands: what the bucket lacks is not removed.
    pub file: Arc<dyn File>,
    /// Epochs that wrote `[base, next)`.
    pub lineage: Lineage,
    source: Source,
}

#[derive(Debug, Clone)]
struct Source {
    segment: Arc<Segment>,
    segments: Arc<Segments>,
    files: Arc<dyn Files>,
    dir: PathBuf,
    now_ms: i64,
}

impl Sealed {
    /// The `.index` file's bytes (8 per entry).
    pub fn offset_index(&self) -> io::Result<Vec<u8>> {
        self.source.files.read_all(&self.source.segment.path(Kind::OffsetIndex), INDEX_MAX)
    }

    /// The `.timeindex` file's bytes (12 per entry).
    pub fn time_index(&self) -> io::Result<Vec<u8>> {
        self.source.files.read_all(&self.source.segment.path(Kind::TimeIndex), INDEX_MAX)
    }

    /// The `.producers` bytes as of `next`: the whole five-batch window of every producer. From the snapshot file;
    /// rebuilt from the log if that is missing or damaged.
    pub fn producers(&self) -> io::Result<Vec<u8>> {
        let Source { segments, files, dir, now_ms, .. } = &self.source;
        match files.read_all(&dir.join(file_name(self.next, Kind::Producers)), SNAPSHOT_MAX) {
            Ok(bytes) if decode_producers(&bytes).is_ok() => return Ok(bytes),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let table = rebuild(&**files, dir, segments, self.next, *now_ms).map_err(io::Error::other)?;
        Ok(encode_producers(&table, self.next))
    }
}

impl Log {
    /// Sealed segments that [`Log::maintain`] has made durable, oldest first.
    pub fn sealed(&self) -> Vec<Sealed> {
        let segments = self.segments.load_full();
        let lineage = self.lineage.load();
        let durable = self.recovery_point();
        let now_ms = self.clock.now_ms();
        let settled =
            segments.sealed().iter().enumerate().map(|(at, segment)| (segments.next_of(at), segment));
        settled
            .take_while(|(next, segment)| *next <= durable && !segment.index_is_in_memory())
            .map(|(next, segment)| Sealed {
                base: segment.base(),
                next,
                bytes: segment.bytes(),
                max_timestamp_ms: segment.largest_timestamp().0,
                file: segment.file().clone(),
                lineage: lineage.slice(segment.base(), next),
                source: Source {
                    segment: segment.clone(),
                    segments: segments.clone(),
                    files: self.files.clone(),
                    dir: self.dir.clone(),
                    now_ms,
                },
            })
            .collect()
    }
}
