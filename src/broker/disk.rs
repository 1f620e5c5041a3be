//! Watches the room on each log directory's disk: below the reserve produce is refused, above it taken again.
//! It frees nothing itself. Invariant: reads, offload, retention and the quorum go on while produce is refused, so
//! that a full disk can always free itself.

use crate::broker::storage::Storage;
use crate::config::broker::Logs;

/// Room above the reserve before produce is taken again, as a share of the reserve: no flapping at the edge.
const HYSTERESIS: u64 = 8;

/// Looks at every directory once.
pub fn watch(storage: &Storage, logs: &Logs) {
    for dir in storage.dirs().iter().filter(|dir| dir.health.failed().is_none()) {
        let path = dir.directory.root().display();
        let space = match dir.directory.space() {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(dir = %path, %error, "room on disk is unknown");
                continue;
            }
        };
        dir.seen.note_space(space.total, space.available);
        let reserve = logs.reserve_bytes(space.total);
        let (was_full, left) = (dir.noted_full(), left(space.available, reserve, dir.noted_full()));
        dir.room.set_left(left);
        if !dir.note_full(left <= 0) {
            continue;
        }
        let available = space.available;
        if was_full {
            tracing::info!(dir = %path, available, reserve, "disk has room: produce is taken");
        } else {
            tracing::error!(dir = %path, available, reserve, "disk is full: produce is refused");
        }
    }
}

/// Bytes that may still be produced.
fn left(available: u64, reserve: u64, was_full: bool) -> i64 {
    let bound = if was_full { reserve.saturating_add(reserve / HYSTERESIS) } else { reserve };
    // A directory that just became full stays so until there is room worth resuming for.
    let above = available.saturating_sub(bound);
    i64::try_from(above).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn produce_stops_at_the_reserve_and_resumes_above_it() {
        assert_eq!(left(900, 800, false), 100);
        assert_eq!(left(800, 800, false), 0);
        assert_eq!(left(10, 800, false), 0);
        assert_eq!(left(900, 800, true), 0);
        assert_eq!(left(901, 800, true), 1);
    }
}
