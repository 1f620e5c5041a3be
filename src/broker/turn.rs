//! How often the duties look at the logs of the broker.
//! Only numbers. Invariant: after a look at many logs the next comes later, so that looking stays cheap.

use std::time::Duration;

/// How often logs are looked at: a sealed segment is durable and may be offloaded about this much later.
pub(super) const TURN: Duration = Duration::from_millis(500);

/// Pause per log that was looked at: after 10,000 of them the next look comes in two seconds.
const TURN_PER_LOG: Duration = Duration::from_micros(200);

/// Time between two looks, of which the first was at so many logs.
pub(super) fn pause(logs: usize) -> Duration {
    TURN.max(TURN_PER_LOG.saturating_mul(u32::try_from(logs).unwrap_or(u32::MAX)))
}
