//! A limit on bytes per second to or from the bucket (KIP-956's quotas). It decides who goes when and sends nothing.
//! Whoever is over the limit waits; nobody is refused. Invariant: what passes in any stretch of time is at most the
//! rate times that stretch, plus one second's worth, plus one request.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Bytes per second that mean "no limit" (Kafka's default of the quota keys).
pub const UNLIMITED: u64 = i64::MAX as u64;

/// What may pass at once after a quiet time.
const BURST: Duration = Duration::from_secs(1);

/// One direction's limit; shared by all requests of that direction.
#[derive(Debug)]
pub struct Pace {
    rate: watch::Sender<u64>,
    queue: Mutex<Queue>,
    waited_us: AtomicU64,
}

/// When the next byte may pass: every request moves it on by its own length.
#[derive(Debug, Default)]
struct Queue {
    free_at: Option<Instant>,
}

impl Queue {
    /// A place for `bytes`: how long from `now` until they may pass at `rate` bytes per second.
    fn take(&mut self, now: Instant, bytes: u64, rate: u64) -> Duration {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = self.free_at.map_or(earliest, |free| free.max(earliest));
        // A limit of one byte per second and an object of a gigabyte are still a number of seconds that fits.
        let cost = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        self.free_at = Some(start.checked_add(cost).unwrap_or(start));
        start.saturating_duration_since(now)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { rate: watch::Sender::new(UNLIMITED), queue: Mutex::default(), waited_us: AtomicU64::new(0) }
    }
}

impl Pace {
    /// From now on `rate` bytes per second, at least 1; [`UNLIMITED`] lifts the limit. Who waits is reckoned anew.
    pub fn set(&self, rate: u64) {
        let changed = self.rate.send_if_modified(|now| std::mem::replace(now, rate.max(1)) != rate.max(1));
        if changed {
            self.queue.lock().free_at = None;
        }
    }

    /// Waits until `bytes` may pass. Dropped while it waits, the place stays taken: the limit holds all the same.
    pub async fn turn(&self, bytes: u64) {
        let mut rates = self.rate.subscribe();
        let begun = Instant::now();
        loop {
            let rate = *rates.borrow_and_update();
            if rate >= UNLIMITED {
                break;
            }
            let wait = self.queue.lock().take(Instant::now(), bytes, rate);
            if wait.is_zero() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => break,
                // A new rate reckons every place anew.
                Ok(()) = rates.changed() => {}
            }
        }
        let waited = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(waited, Ordering::Relaxed);
    }

    /// How long requests have waited here in all.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_stretch_of_time_sees_more_than_the_limit(
            rate in 1u64..1_000_000,
            asks in proptest::collection::vec((0u64..3_000, 0u64..500_000), 1..60),
        ) {
            let start = Instant::now() + Duration::from_secs(10);
            let (mut queue, mut now) = (Queue::default(), start);
            let mut passed: Vec<(Duration, u64)> = Vec::new();
            for (later_ms, bytes) in asks {
                now += Duration::from_millis(later_ms);
                let at = now + queue.take(now, bytes, rate);
                passed.push((at - start, bytes));
            }
            for (index, (from, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (until, bytes) in &passed[index..] {
                    let allowed = (until.saturating_sub(*from) + BURST).as_secs_f64() * rate as f64;
                    prop_assert!(sum as f64 <= allowed + 1.0, "{sum} bytes of at most {allowed}");
                    sum += bytes;
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_over_the_limit_wait_in_line_and_a_lifted_limit_frees_them() {
        let pace = std::sync::Arc::new(Pace::default());
        let begun = Instant::now();
        pace.turn(u64::MAX).await;
        pace.set(1_000);
        tokio::time::advance(Duration::from_secs(5)).await;
        pace.turn(1_000).await;
        pace.turn(3_000).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(5), "the burst, and one request beyond it");
        pace.turn(1).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(8));
        let slow = tokio::spawn({
            let pace = pace.clone();
            async move {
                pace.turn(1 << 40).await;
                pace.turn(1).await;
            }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!slow.is_finished());
        pace.set(UNLIMITED);
        slow.await.expect("the waiter");
        assert!(pace.waited() >= Duration::from_secs(60), "{:?}", pace.waited());
    }
}
