//! The monotonic scale that coordinators' deadlines are on, and the alarm for the earliest of them.
//! It runs nothing: one task sleeps by it and then asks every shard what is due. Invariant: a deadline set after the
//! sleeper looked and before it sleeps still wakes it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Scale and alarm.
#[derive(Debug)]
pub struct Ticker {
    started: Instant,
    alarm: Mutex<Alarm>,
    wake: Notify,
}

#[derive(Debug)]
struct Alarm {
    /// The earliest deadline set since the sleeper last looked.
    earliest: u64,
    /// When the sleeper wakes by itself; `None` while it is awake.
    sleeps_until: Option<u64>,
}

impl Default for Ticker {
    /// A scale that starts now.
    fn default() -> Self {
        let alarm = Alarm { earliest: u64::MAX, sleeps_until: None };
        Self { started: Instant::now(), alarm: Mutex::new(alarm), wake: Notify::new() }
    }
}

impl Ticker {
    /// Milliseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// There is something to do at `at`.
    pub fn wake_by(&self, at: u64) {
        let mut alarm = self.alarm.lock();
        alarm.earliest = alarm.earliest.min(at);
        if alarm.sleeps_until.is_some_and(|until| at < until) {
            alarm.sleeps_until = Some(at);
            self.wake.notify_one();
        }
    }

    /// The sleeper is about to look at everything: deadlines set before this are its to find.
    pub fn look(&self) {
        *self.alarm.lock() = Alarm { earliest: u64::MAX, sleeps_until: None };
    }

    /// Sleeps until `at`, or until the earliest deadline that was set since the look, or is set while it sleeps.
    pub async fn sleep_until(&self, at: u64) {
        let until = {
            let mut alarm = self.alarm.lock();
            let until = at.min(alarm.earliest);
            alarm.sleeps_until = Some(until);
            until
        };
        let wait = Duration::from_millis(until.saturating_sub(self.now()));
        tokio::select! {
            () = tokio::time::sleep(wait.min(LONGEST)) => {}
            () = self.wake.notified() => {}
        }
    }
}

/// A sleep without deadline ends now and then all the same; timers of tokio have an end of their own.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_cuts_the_sleep_and_a_later_one_does_not() {
        let ticker = Ticker::default();
        ticker.look();
        tokio::join!(ticker.sleep_until(1000), async { ticker.wake_by(2000) });
        assert_eq!(ticker.now(), 1000);
        ticker.look();
        tokio::join!(ticker.sleep_until(9000), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ticker.wake_by(1600);
        });
        assert_eq!(ticker.now(), 1500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_set_between_look_and_sleep_is_not_missed_and_one_before_the_look_wakes_nobody() {
        let ticker = Ticker::default();
        ticker.wake_by(1);
        ticker.look();
        ticker.wake_by(5);
        ticker.sleep_until(1000).await;
        assert_eq!(ticker.now(), 5);
        ticker.look();
        ticker.sleep_until(1000).await;
        assert_eq!(ticker.now(), 1000);
    }
}
