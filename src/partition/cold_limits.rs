//! How long requests wait for the bucket; operators change it while the broker runs.
//! It reads no settings itself (`broker/tiers.rs` hands them in). Invariant: a request sees the newest value handed in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Limits of those who wait for the bucket, shared by all cores.
#[derive(Debug)]
pub struct ColdLimits {
    fetch_wait_ms_max: AtomicU64,
    list_offsets_ms_max: AtomicU64,
}

impl ColdLimits {
    /// `remote.fetch.max.wait.ms` and `remote.list.offsets.request.timeout.ms`.
    pub fn new(fetch_wait_ms_max: u64, list_offsets_ms_max: u64) -> Self {
        let (fetch, list) = (AtomicU64::new(fetch_wait_ms_max), AtomicU64::new(list_offsets_ms_max));
        Self { fetch_wait_ms_max: fetch, list_offsets_ms_max: list }
    }

    /// Both anew.
    pub fn set(&self, fetch_wait_ms_max: u64, list_offsets_ms_max: u64) {
        self.fetch_wait_ms_max.store(fetch_wait_ms_max, Ordering::Relaxed);
        self.list_offsets_ms_max.store(list_offsets_ms_max, Ordering::Relaxed);
    }

    /// How long a fetch that needs the bucket waits, whatever its client allows for new records.
    pub fn fetch_wait_max(&self) -> Duration {
        Duration::from_millis(self.fetch_wait_ms_max.load(Ordering::Relaxed))
    }

    /// How long a lookup by time waits.
    pub fn list_offsets_max(&self) -> Duration {
        Duration::from_millis(self.list_offsets_ms_max.load(Ordering::Relaxed))
    }
}
