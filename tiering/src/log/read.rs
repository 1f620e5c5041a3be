//! Reading: which bytes of which local file answer a fetch. It reads headers, never the records themselves, and
//! takes no lock an append holds. Invariant: a slice is whole batches, all of them below the reader's bound.

use crate::hot::dir::Kind;
use crate::hot::file::File;
use crate::hot::headers::{SegmentError, Waits};
use crate::hot::marks::Located;
use crate::hot::place::Border;
use crate::hot::segment::Segment;
use crate::hot::segments::Segments;
use crate::log::unified::Log;
use crate::offsets::Offset;
use std::sync::Arc;

/// Where an answer lies.
#[derive(Debug, Clone)]
pub enum Read {
    /// On local disk.
    Hot(Slice),
    /// Below the local start: ask the cold reader.
    Cold,
    /// Nothing below the bound yet, or the first batch is larger than asked for.
    Empty,
}

/// Whole batches in a file that is never overwritten in place. It holds the file: retention may delete the name.
#[derive(Debug, Clone)]
pub struct Slice {
    /// The file.
    pub file: Arc<dyn File>,
    /// First byte.
    pub at: u64,
    /// Bytes, at least 1.
    pub len: u64,
    /// Bytes of the file that never change: what lies below may be read ahead.
    pub steady: u64,
    /// Base offset of the first batch; at most the offset asked for, unless that one was compacted away.
    pub first: Offset,
    /// Every batch of it ends at or below this offset.
    pub upto: Offset,
}

/// Why nothing can be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Below the log start or above its end.
    #[error("offset {asked} is outside [{log_start}, {end}]")]
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// First offset there is.
        log_start: Offset,
        /// The log's end.
        end: Offset,
    },
    /// Bytes on disk are no batch where one must begin.
    #[error("{what} is damaged at byte {position}: {why}")]
    Corrupt {
        /// The file.
        what: Arc<str>,
        /// Where.
        position: u64,
        /// What is wrong.
        why: Arc<str>,
    },
    /// On local disk, but not in memory, and the question was not to wait for it.
    #[error("not in memory")]
    Waits,
    /// The disk failed.
    #[error("storage failed: {what}")]
    Storage {
        /// The failed call, with the path.
        what: Arc<str>,
    },
}

/// What a read is bounded by.
struct Limits {
    max_bytes: u64,
    bound: Offset,
    min_one: bool,
    waits: Waits,
}

/// Times a read starts over because the segment it was in has gone.
const TRIES: usize = 8;

impl Log {
    /// Finds at most `max_bytes` of whole batches, the first holding `from`, all below `bound` (the first offset
    /// this reader may not see: high watermark or last stable offset).
    ///
    /// A first batch larger than `max_bytes` is answered whole if `min_one`, else the answer is [`Read::Empty`].
    pub fn read(
        &self,
        from: Offset,
        max_bytes: u64,
        bound: Offset,
        min_one: bool,
    ) -> Result<Read, ReadError> {
        self.read_as(from, Limits { max_bytes, bound, min_one, waits: Waits::Disk })
    }

    /// As [`Log::read`], for a serving core: what cannot be found without waiting for the disk is
    /// [`ReadError::Waits`], to be asked again where waiting is allowed. The bytes found may still lie on disk only.
    pub fn read_now(
        &self,
        from: Offset,
        max_bytes: u64,
        bound: Offset,
        min_one: bool,
    ) -> Result<Read, ReadError> {
        self.read_as(from, Limits { max_bytes, bound, min_one, waits: Waits::Never })
    }

    /// A reader took `slice` and will come back for more, `max_bytes` at a time: looks where those slices end, so that
    /// [`Log::read_now`] finds them. Waits for the disk. What it cannot find, the reader finds out by itself.
    pub fn look_ahead(&self, slice: &Slice, max_bytes: u64) {
        let segments = self.segments.load_full();
        let Some(segment) = segments.all().get(segments.find(slice.upto)) else { return };
        if let Ok(Some(next)) = segment.locate(slice.upto)
            && let Err(error) = segment.mark_ahead(next.position, max_bytes)
        {
            tracing::debug!(log = %self.id, %error, "cannot look ahead of a reader");
        }
    }

    fn read_as(&self, from: Offset, limits: Limits) -> Result<Read, ReadError> {
        self.on_segments(|segments| self.read_in(segments, from, &limits))
    }

    /// Answers from one list of segments; once more if it failed because retention took a file in between.
    pub(super) fn on_segments<T>(
        &self,
        answer: impl Fn(&Segments) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        for _ in 1..TRIES {
            let segments = self.segments.load_full();
            let result = answer(&segments);
            if result.is_ok() || Arc::ptr_eq(&segments, &self.segments.load()) {
                return result;
            }
        }
        answer(&self.segments.load())
    }

    fn read_in(&self, segments: &Segments, from: Offset, limits: &Limits) -> Result<Read, ReadError> {
        let (log_start, end) = (self.log_start(), segments.end());
        if from < log_start || from > end {
            return Err(ReadError::OutOfRange { asked: from, log_start, end });
        }
        if from < segments.start() {
            return Ok(Read::Cold);
        }
        if from >= limits.bound {
            return Ok(Read::Empty);
        }
        // The offset may lie in a segment whose last records were compacted away: then the next one answers.
        for segment in &segments.all()[segments.find(from)..] {
            let broken = |error| ReadError::of(segment, error);
            if let Some(first) = segment.locate_as(from, limits.waits).map_err(broken)? {
                let slice = slice(segment, &first, limits).map_err(broken)?;
                return Ok(slice.map_or(Read::Empty, Read::Hot));
            }
        }
        Ok(Read::Empty)
    }
}

impl ReadError {
    pub(super) fn of(segment: &Segment, error: SegmentError) -> ReadError {
        let path = segment.path(Kind::Log);
        match error {
            SegmentError::Io(error) => {
                ReadError::Storage { what: format!("read {}: {error}", path.display()).into() }
            }
            SegmentError::Cold => ReadError::Waits,
            SegmentError::Batch { position, fault } => ReadError::Corrupt {
                what: path.display().to_string().into(),
                position,
                why: fault.to_string().into(),
            },
        }
    }
}

/// Whole batches of one segment from `first` on: below `bound`, at most `max_bytes`.
fn slice(segment: &Arc<Segment>, first: &Located, limits: &Limits) -> Result<Option<Slice>, SegmentError> {
    let Limits { max_bytes, bound, min_one, waits } = *limits;
    let (end, bytes) = segment.tip();
    let limit = if bound >= end {
        bytes
    } else {
        // The first batch that reaches past the bound is the first that may not be seen.
        segment
            .locate_as(bound.max(segment.base()), waits)?
            .map_or(bytes, |hidden| hidden.position.min(bytes))
    };
    if first.next > bound || limit <= first.position {
        return Ok(None);
    }
    let (mut stop, mut upto) = (limit, end.min(bound));
    if limit - first.position > max_bytes {
        let border = segment.border_below(first.position, first.position + max_bytes, waits)?;
        let fits = border.position > first.position;
        if !fits && !min_one {
            return Ok(None);
        }
        let one = Border { position: first.position + first.size, after: Some(first.next), batch: None };
        let border = if fits { border } else { one };
        (stop, upto) = (border.position, border.after.unwrap_or(upto));
        // A reader in the past comes back for what follows; one at the tail is served by the ring.
        segment.mark(&border);
    }
    let (file, at, len) = (segment.pinned()?, first.position, stop - first.position);
    Ok(Some(Slice { file, at, len, steady: bytes, first: first.base, upto }))
}
