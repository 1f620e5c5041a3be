//! Reading: which bytes of which local file answer a fetch. It reads headers, never the records themselves, and
//! takes no lock an append holds. Invariant: a slice is whole batches, all of them below the reader's bound.

use crate::hot::file::File;
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
    /// Base offset of the first batch; at most the offset asked for, unless that one was compacted away.
    pub first: Offset,
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
    /// The disk failed.
    #[error("storage failed: {what}")]
    Storage {
        /// The failed call, with the path.
        what: Arc<str>,
    },
}

impl Log {
    /// Finds at most `max_bytes` of whole batches, the first holding `from`, all below `bound` (the first offset
    /// this reader may not see: high watermark or last stable offset).
    ///
    /// A first batch larger than `max_bytes` is answered whole if `min_one`, else the answer is [`Read::Empty`].
    pub fn read(
        &self,
        _from: Offset,
        _max_bytes: u64,
        _bound: Offset,
        _min_one: bool,
    ) -> Result<Read, ReadError> {
        todo!()
    }
}
