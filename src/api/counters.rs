//! What the serving path counts: plain atomics, walked by telemetry.
//! No names of metrics and no clock here. Invariant: counters only grow; gauges are named as such.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::api_key::ApiKey;

/// A number that several cores add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes `amount` away: for gauges.
    pub fn sub(&self, amount: u64) {
        let before = self.0.fetch_sub(amount, Ordering::Relaxed);
        debug_assert!(before >= amount, "a gauge at {before} fell by {amount}");
    }

    /// Makes it `value`: for gauges.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Largest API key counted by itself.
const KEYS: usize = 96;

/// Everything the serving path counts.
#[derive(Debug)]
pub struct Counters {
    /// Record bytes that left by sendfile.
    pub fetch_sendfile_bytes: Counter,
    /// Record bytes copied from resident local files or from the chunk cache's answer of an earlier moment.
    pub fetch_copy_bytes: Counter,
    /// Record bytes that took the cold lane: local but not in the page cache, or from the bucket.
    pub fetch_cold_bytes: Counter,
    /// Record bytes appended by clients.
    pub produce_bytes: Counter,
    /// Batches appended by clients.
    pub produce_batches: Counter,
    /// Appends that found the log's lock taken and tried again.
    pub append_retries: Counter,
    /// Partitions of produce requests that failed.
    pub produce_failures: Counter,
    /// Partitions of fetch requests that failed.
    pub fetch_failures: Counter,
    /// Rounds of fsyncs for `firn.durability=disk`.
    pub durability_rounds: Counter,
    /// Partitions fsynced in them.
    pub durability_syncs: Counter,
    /// Open segment files, as housekeeping saw them last (a gauge).
    pub open_segment_files: Counter,
    /// Open client connections (a gauge).
    pub connections: Counter,
    /// Connections accepted since the start.
    pub connections_accepted: Counter,
    /// Connections refused because there were too many.
    pub connections_refused: Counter,
    /// Connections closed because they sent what is not Kafka's protocol or a request nobody can serve.
    pub connections_broken: Counter,
    requests: Vec<Counter>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            open_segment_files: Counter::default(),
            fetch_sendfile_bytes: Counter::default(),
            fetch_copy_bytes: Counter::default(),
            fetch_cold_bytes: Counter::default(),
            produce_bytes: Counter::default(),
            produce_batches: Counter::default(),
            append_retries: Counter::default(),
            produce_failures: Counter::default(),
            fetch_failures: Counter::default(),
            durability_rounds: Counter::default(),
            durability_syncs: Counter::default(),
            connections: Counter::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            connections_broken: Counter::default(),
            requests: (0..KEYS).map(|_| Counter::default()).collect(),
        }
    }
}

impl Counters {
    /// Requests of one API.
    pub fn requests(&self, key: ApiKey) -> &Counter {
        // Keys come from our own table, all below KEYS; the last place takes what a longer table might add.
        &self.requests[(key as usize).min(KEYS - 1)]
    }
}
