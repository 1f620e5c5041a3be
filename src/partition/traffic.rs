//! What went through one partition: plain atomics, added to on the serving path, walked by telemetry.
//! No names of metrics here. Invariant: all of them only grow.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one partition.
#[derive(Debug, Default)]
pub struct Traffic {
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    produces: AtomicU64,
    fetches: AtomicU64,
    produces_failed: AtomicU64,
    fetches_failed: AtomicU64,
}

impl Traffic {
    /// A client's batch was appended.
    pub fn produced(&self, records: u64, bytes: u64) {
        self.produces.fetch_add(1, Ordering::Relaxed);
        self.records_in.fetch_add(records, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A client's batch was refused.
    pub fn produce_failed(&self) {
        self.produces.fetch_add(1, Ordering::Relaxed);
        self.produces_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A consumer was answered, with `bytes` of records (0 is an answer too) or with an error.
    pub fn fetched(&self, bytes: u64, failed: bool) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        self.fetches_failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    /// A follower was answered, with records or with an error. It is no consumer: its bytes are replication's.
    pub fn copied(&self, failed: bool) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.fetches_failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    /// All counts now: records in, bytes in, bytes out, produce parts, fetch parts, and those of each that failed.
    pub fn now(&self) -> [u64; 7] {
        [
            &self.records_in,
            &self.bytes_in,
            &self.bytes_out,
            &self.produces,
            &self.fetches,
            &self.produces_failed,
            &self.fetches_failed,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_its_place() {
        let traffic = Traffic::default();
        traffic.produced(3, 100);
        traffic.produce_failed();
        traffic.fetched(70, false);
        traffic.fetched(0, true);
        traffic.copied(false);
        assert_eq!(traffic.now(), [3, 100, 70, 2, 3, 1, 1]);
    }
}
