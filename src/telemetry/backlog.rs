//! How far a log is from being in the bucket: computed from its sealed segments and its tier row, without asking anyone.
//! Values only; metrics and tier status both read them.

use firnline_tiering::log::unified::Log;

/// Bytes and segments of one log, or of several added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Sealed local segments above the remote end.
    pub sealed: u64,
    /// Their bytes.
    pub sealed_bytes: u64,
    /// Bytes of local segments that lie in the bucket too.
    pub both_bytes: u64,
    /// Bytes of log on the local disk.
    pub local_bytes: u64,
    /// Bytes of log in the bucket.
    pub bucket_bytes: u64,
    /// Remote segments.
    pub segments: u64,
}

impl Backlog {
    /// Of one log.
    pub fn of(log: &Log) -> Backlog {
        let tier = log.tier();
        let mut backlog = Backlog { local_bytes: log.size_bytes(), ..Backlog::default() };
        let Some(row) = tier else { return backlog };
        backlog.bucket_bytes = row.log_bytes();
        backlog.segments = row.segments() as u64;
        for sealed in log.sealed() {
            if sealed.next <= row.end {
                backlog.both_bytes += sealed.bytes;
            } else {
                backlog.sealed += 1;
                backlog.sealed_bytes += sealed.bytes;
            }
        }
        backlog
    }

    /// Adds another's numbers.
    pub fn add(&mut self, other: &Backlog) {
        self.sealed += other.sealed;
        self.sealed_bytes += other.sealed_bytes;
        self.both_bytes += other.both_bytes;
        self.local_bytes += other.local_bytes;
        self.bucket_bytes += other.bucket_bytes;
        self.segments += other.segments;
    }

    /// Bytes that lie in the bucket and nowhere on the local disk (outside the cache).
    pub fn bucket_only_bytes(&self) -> u64 {
        self.bucket_bytes.saturating_sub(self.both_bytes)
    }

    /// Local bytes that are not in the bucket yet, the active segment's included.
    pub fn waiting_bytes(&self) -> u64 {
        self.local_bytes.saturating_sub(self.both_bytes)
    }
}
