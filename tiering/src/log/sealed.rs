//! Sealed segments as offload and retention see them: values to plan with, and the bytes an object is made of.
//! Invariant: everything here is fsynced, and neighbours line up: one's `next` is the other's `base`.

use crate::epoch::Lineage;
use crate::hot::file::File;
use crate::log::unified::Log;
use crate::offsets::Offset;
use std::io;
use std::sync::Arc;

/// One sealed, fsynced segment.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// First offset.
    pub base: Offset,
    /// The offset after its last.
    pub next: Offset,
    /// Bytes of log data.
    pub bytes: u64,
    /// Largest record timestamp, milliseconds; −1 if there is none.
    pub max_timestamp_ms: i64,
    /// The log data; exactly `bytes` of it.
    pub file: Arc<dyn File>,
    /// Epochs that wrote `[base, next)`.
    pub lineage: Lineage,
}

impl Sealed {
    /// The `.index` file's bytes (8 per entry).
    pub fn offset_index(&self) -> io::Result<Vec<u8>> {
        todo!()
    }

    /// The `.timeindex` file's bytes (12 per entry).
    pub fn time_index(&self) -> io::Result<Vec<u8>> {
        todo!()
    }

    /// The `.producers` file's bytes as of `next`: the whole five-batch window of every producer.
    pub fn producers(&self) -> io::Result<Vec<u8>> {
        todo!()
    }
}

impl Log {
    /// Sealed segments that [`Log::maintain`] has made durable, oldest first.
    pub fn sealed(&self) -> Vec<Sealed> {
        todo!()
    }
}
