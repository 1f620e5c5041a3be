//! What the cache counts. Plain numbers; the floors above give them names.
//! It names and exports nothing. Invariant: counters only rise.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of the counters since the cache was made, and of its present size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheMetrics {
    /// Gets answered from memory.
    pub hits_memory: u64,
    /// Gets answered from disk, after their checksum held.
    pub hits_disk: u64,
    /// Gets that neither tier could answer.
    pub misses: u64,
    /// Loads started.
    pub loads: u64,
    /// Loads that failed.
    pub load_errors: u64,
    /// Gets that waited for a load somebody else had started.
    pub joins: u64,
    /// Disk entries whose bytes were not the chunk: treated as misses.
    pub disk_lies: u64,
    /// Disk reads that failed: treated as misses.
    pub disk_errors: u64,
    /// Chunks kept out of the disk tier because nobody had come back for them.
    pub not_admitted: u64,
    /// Chunks the disk tier dropped because its write queue was full.
    pub dropped_inserts: u64,
    /// Prefetches dropped because too many were under way.
    pub dropped_prefetches: u64,
    /// Bytes loaded since start.
    pub loaded_bytes: u64,
    /// Bytes in memory now.
    pub memory_bytes: u64,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of a cache.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits_memory: Counter,
    pub(crate) hits_disk: Counter,
    pub(crate) misses: Counter,
    pub(crate) loads: Counter,
    pub(crate) load_errors: Counter,
    pub(crate) joins: Counter,
    pub(crate) disk_lies: Counter,
    pub(crate) disk_errors: Counter,
    pub(crate) not_admitted: Counter,
    pub(crate) dropped_inserts: Arc<Counter>,
    pub(crate) dropped_prefetches: Counter,
    pub(crate) loaded_bytes: Counter,
}

impl Counters {
    pub(crate) fn snapshot(&self, memory_bytes: u64) -> CacheMetrics {
        CacheMetrics {
            hits_memory: self.hits_memory.get(),
            hits_disk: self.hits_disk.get(),
            misses: self.misses.get(),
            loads: self.loads.get(),
            load_errors: self.load_errors.get(),
            joins: self.joins.get(),
            disk_lies: self.disk_lies.get(),
            disk_errors: self.disk_errors.get(),
            not_admitted: self.not_admitted.get(),
            dropped_inserts: self.dropped_inserts.get(),
            dropped_prefetches: self.dropped_prefetches.get(),
            loaded_bytes: self.loaded_bytes.get(),
            memory_bytes,
        }
    }
}
