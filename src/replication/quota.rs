//! How fast throttled replicas are copied (KIP-73): what was copied lately, counted in short windows as Kafka counts it,
//! against a limit that may change while the broker runs.
//! It decides for no partition: leader and follower ask it (`api/data/fetch_replica.rs`, `fetcher.rs`). Invariant: while
//! whoever copies stops at the limit, no ten of eleven windows carry more than the limit for all eleven and one answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// No limit: Kafka's default of every rate.
pub const UNLIMITED: i64 = i64::MAX;

/// Windows that are remembered, and how long each is (`replication.quota.window.num`, `.window.size.seconds`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// How many, at least 1.
    pub count: u32,
    /// How long each is; longer than nothing.
    pub length: Duration,
}

/// Kafka's.
impl Default for Windows {
    fn default() -> Self {
        Windows { count: 11, length: Duration::from_secs(1) }
    }
}

/// What was copied lately. Pure: it is told the time.
#[derive(Debug)]
pub struct Recent {
    windows: Windows,
    /// Oldest first, each with its beginning and its bytes; at most `windows.count`.
    open: VecDeque<(Instant, u64)>,
}

impl Recent {
    /// Nothing was copied yet.
    pub fn new(windows: Windows) -> Recent {
        Recent { windows, open: VecDeque::new() }
    }

    /// Notes bytes that were copied.
    pub fn note(&mut self, bytes: u64, now: Instant) {
        self.forget(now);
        match self.open.back_mut() {
            Some((began, sum)) if now.saturating_duration_since(*began) < self.windows.length => {
                *sum = sum.saturating_add(bytes);
            }
            _ => self.open.push_back((now, bytes)),
        }
    }

    /// Whether more than `limit` bytes per second were copied since the oldest window that is remembered began.
    pub fn exceeds(&mut self, limit: u64, now: Instant) -> bool {
        self.forget(now);
        let Some((oldest, _)) = self.open.front() else { return false };
        let elapsed = now.saturating_duration_since(*oldest).max(self.windows.length);
        let bytes: u128 = self.open.iter().map(|(_, bytes)| u128::from(*bytes)).sum();
        bytes * Duration::from_secs(1).as_nanos() > u128::from(limit) * elapsed.as_nanos()
    }

    /// Windows that began too long ago count no more.
    fn forget(&mut self, now: Instant) {
        let all = self.windows.length * self.windows.count.max(1);
        while self.open.front().is_some_and(|(began, _)| now.saturating_duration_since(*began) >= all) {
            self.open.pop_front();
        }
    }
}

/// One limit and what counts against it. Safe from every core; a lock is taken only where there is a limit.
#[derive(Debug)]
pub struct Quota {
    /// Bytes per second.
    limit: AtomicI64,
    recent: Mutex<Recent>,
    copied: AtomicU64,
    held_back: AtomicU64,
}

impl Quota {
    /// No limit yet.
    pub fn new(windows: Windows) -> Quota {
        Quota {
            limit: AtomicI64::new(UNLIMITED),
            recent: Mutex::new(Recent::new(windows)),
            copied: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// A new limit, in bytes per second.
    pub fn set_limit(&self, limit: i64) {
        if self.limit.swap(limit, Ordering::AcqRel) != limit {
            tracing::info!(limit, "a replication limit changed");
        }
    }

    /// The limit, in bytes per second.
    pub fn limit(&self) -> i64 {
        self.limit.load(Ordering::Acquire)
    }

    /// Notes bytes that count.
    pub fn note(&self, bytes: u64) {
        self.copied.fetch_add(bytes, Ordering::Relaxed);
        if self.limit() != UNLIMITED {
            self.recent.lock().note(bytes, Instant::now());
        }
    }

    /// Whether nothing more may be copied now.
    pub fn is_exceeded(&self) -> bool {
        let limit = self.limit();
        limit != UNLIMITED && self.recent.lock().exceeds(u64::try_from(limit).unwrap_or(0), Instant::now())
    }

    /// Counts a replica that had to wait because of it.
    pub fn count_held_back(&self) {
        self.held_back.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that counted since the start, and how often a replica had to wait.
    pub fn counts(&self) -> (u64, u64) {
        (self.copied.load(Ordering::Relaxed), self.held_back.load(Ordering::Relaxed))
    }
}

/// The limits of one broker.
#[derive(Debug)]
pub struct Quotas {
    /// `leader.replication.throttled.rate`: what followers take of throttled partitions led here.
    pub leader: Quota,
    /// `follower.replication.throttled.rate`: what throttled replicas here take.
    pub follower: Quota,
    /// `replica.alter.log.dirs.io.max.bytes.per.second`: what moves between log directories.
    pub directories: Quota,
    /// All bytes of replication, throttled or not: taken from leaders, given to followers.
    copied: [AtomicU64; 2],
}

impl Quotas {
    /// Without limits; the windows of replication, and of moves between directories.
    pub fn new(replication: Windows, directories: Windows) -> Quotas {
        Quotas {
            leader: Quota::new(replication),
            follower: Quota::new(replication),
            directories: Quota::new(directories),
            copied: Default::default(),
        }
    }

    /// Bytes came from a leader.
    pub fn count_in(&self, bytes: u64) {
        self.copied[0].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes went to a follower.
    pub fn count_out(&self, bytes: u64) {
        self.copied[1].fetch_add(bytes, Ordering::Relaxed);
    }

    /// All bytes so far: in and out. They only grow, also when partitions go.
    pub fn copied(&self) -> [u64; 2] {
        [0, 1].map(|way| self.copied[way].load(Ordering::Relaxed))
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Quotas::new(Windows::default(), Windows::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_is_paid_for_and_then_forgotten() {
        let (start, mut recent) = (Instant::now(), Recent::new(Windows::default()));
        assert!(!recent.exceeds(0, start), "nothing was copied");
        recent.note(5_000, start);
        assert!(recent.exceeds(1_000, start) && recent.exceeds(1_000, start + 4_999 * MS));
        assert!(!recent.exceeds(1_000, start + 5_000 * MS), "5,000 bytes in five seconds");
        assert!(recent.exceeds(1, start + 10_999 * MS) && !recent.exceeds(1, start + 11_000 * MS));
        assert!(!recent.exceeds(5_000, start), "the first second counts as a whole one");
    }

    #[test]
    fn without_a_limit_nothing_is_exceeded_and_a_new_one_holds_at_once() {
        let quota = Quota::new(Windows::default());
        quota.note(1 << 40);
        assert!(!quota.is_exceeded());
        quota.set_limit(10);
        assert!(!quota.is_exceeded(), "what came before does not count");
        quota.note(1_000_000);
        assert!(quota.is_exceeded());
        quota.set_limit(UNLIMITED);
        assert!(!quota.is_exceeded());
        assert_eq!(quota.counts().0, (1 << 40) + 1_000_000);
    }

    proptest! {
        #[test]
        fn who_stops_at_the_limit_keeps_it(
            limit in 1..10_000_u64,
            tries in proptest::collection::vec((0..3_000_u32, 1..50_000_u64), 1..200),
        ) {
            let (mut now, mut recent) = (Instant::now(), Recent::new(Windows::default()));
            let mut took: Vec<(Instant, u64)> = Vec::new();
            for (pause, bytes) in tries {
                now += pause * MS;
                if recent.exceeds(limit, now) {
                    continue;
                }
                recent.note(bytes, now);
                took.push((now, bytes));
                let lately = took.iter().filter(|(at, _)| now.duration_since(*at) < 10_000 * MS);
                let sum: u64 = lately.map(|(_, bytes)| *bytes).sum();
                prop_assert!(sum - bytes <= 11 * limit, "{sum} at {limit} per second");
                prop_assert!(recent.open.len() <= 11);
            }
            prop_assert!(!recent.exceeds(0, now + 11_000 * MS), "whoever waits may go on");
        }
    }
}
