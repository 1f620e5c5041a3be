//! What a log does off the serving cores: rolls idle segments, makes sealed ones durable, writes snapshots, removes
//! deleted files, closes. Invariant: nothing here holds the append lock across a wait for a disk.

use crate::log::unified::Log;
use crate::offsets::Offset;
use std::io;

impl Log {
    /// Seals the active segment if `segment.ms` passed over it. Returns whether it did.
    pub fn roll_if_due(&self) -> io::Result<bool> {
        todo!()
    }

    /// Seals the active segment unless it is empty. Returns whether it did.
    pub fn roll(&self) -> io::Result<bool> {
        todo!()
    }

    /// One turn of housekeeping: fsyncs sealed segments, writes their indexes, producer snapshots and the lineage,
    /// advances the recovery point, removes files whose delay passed, forgets expired producers.
    pub fn maintain(&self) -> io::Result<()> {
        todo!()
    }

    /// Makes everything appended so far durable and returns the offset up to which it is. After an error the log
    /// is offline: a failed fsync is never retried.
    pub fn flush(&self) -> io::Result<Offset> {
        todo!()
    }

    /// Flushes, writes indexes and snapshots, and refuses further appends.
    pub fn close(&self) -> io::Result<()> {
        todo!()
    }
}
