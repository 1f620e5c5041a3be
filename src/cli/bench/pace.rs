//! When each operation was meant to begin: evenly spread by the rate, or at once when there is none.
//! It keeps no count of what was late. Invariant: a slow broker never moves the times that are still to come.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The times of one connection's operations.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    start: Instant,
    end: Instant,
    /// `None`: as fast as it goes.
    interval: Option<Duration>,
}

impl Pace {
    /// One of `connections` that share `bytes_per_second` (0 = no limit) in operations of `bytes`; place `turn` of them.
    pub fn new(
        start: Instant,
        seconds: u64,
        bytes_per_second: f64,
        bytes: usize,
        connections: u32,
        turn: u32,
    ) -> Pace {
        let end = start + Duration::from_secs(seconds);
        if bytes_per_second <= 0.0 {
            return Pace { start, end, interval: None };
        }
        let interval = Duration::from_secs_f64(bytes as f64 * f64::from(connections) / bytes_per_second);
        let start = start + interval.mul_f64(f64::from(turn) / f64::from(connections));
        Pace { start, end, interval: Some(interval) }
    }

    /// When operation `place` is meant to begin; without a rate that is the start.
    pub fn at(&self, place: u32) -> Instant {
        self.start + self.interval.unwrap_or_default() * place
    }

    /// Operations that are due before the end, at most `most`; `None` without a rate.
    pub fn planned(&self, most: u32) -> Option<u32> {
        let interval = self.interval.filter(|interval| !interval.is_zero())?;
        let time = self.end.saturating_duration_since(self.start);
        let planned = time.as_nanos().div_ceil(interval.as_nanos());
        Some(u32::try_from(planned).unwrap_or(u32::MAX).min(most))
    }

    /// Waits until operation `place` is due and answers when that was meant to be; `None` when time is over.
    pub async fn due(&self, place: u32) -> Option<Instant> {
        let due = match self.interval {
            Some(interval) => self.start + interval.checked_mul(place)?,
            None => Instant::now(),
        };
        if due >= self.end || Instant::now() >= self.end {
            return None;
        }
        if self.interval.is_some() {
            sleep_until(due).await;
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn times_are_spread_over_connections_and_do_not_move() {
        tokio::time::pause();
        let start = Instant::now();
        // 1000 bytes/s in operations of 100 bytes over two connections: each every 200 ms, the second 100 ms later.
        let pace = Pace::new(start, 1, 1000.0, 100, 2, 1);
        assert_eq!(pace.due(0).await, Some(start + Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(700)).await;
        assert_eq!(pace.due(1).await, Some(start + Duration::from_millis(300)), "late, and it shows");
        assert_eq!(pace.due(5).await, None, "after the end");
        assert_eq!((pace.planned(u32::MAX), pace.planned(3)), (Some(5), Some(3)));
        assert_eq!(pace.at(4), start + Duration::from_millis(900));
    }

    #[tokio::test]
    async fn without_a_rate_everything_is_due_now() {
        tokio::time::pause();
        let start = Instant::now();
        let pace = Pace::new(start, 1, 0.0, 100, 1, 0);
        assert_eq!(pace.due(9).await, Some(start));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.due(10).await, None);
        assert_eq!((pace.planned(9), pace.at(9)), (None, start));
    }
}
