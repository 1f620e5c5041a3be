//! How often the duties look at all logs of the broker.
//! Only numbers. Invariant: with many logs a look comes later, so that idle logs cost next to nothing.

use std::time::Duration;

/// How often logs are looked at: a sealed segment is durable and may be offloaded about this much later.
pub(super) const TURN: Duration = Duration::from_millis(500);

/// Pause per log between two looks at all of them: with 10,000 logs a look comes every two seconds, so that idle logs
/// cost next to nothing.
const TURN_PER_LOG: Duration = Duration::from_micros(200);

/// Time between two looks at so many logs.
pub(super) fn pause(logs: usize) -> Duration {
    TURN.max(TURN_PER_LOG.saturating_mul(u32::try_from(logs).unwrap_or(u32::MAX)))
}
