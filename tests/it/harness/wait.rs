//! Waiting without a clock in the assertion: look again and again until it is so.
//! The deadline only keeps a defect from hanging the run; no flow depends on how long anything takes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Nothing that works needs this long.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Looks until there is an answer; panics with `what` when the deadline passes.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came about: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The same for a condition.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, async || holds().await.then_some(())).await;
}
