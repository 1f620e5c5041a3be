//! Watches the room on each log directory's disk: below the reserve produce is refused, above it taken again.
//! It frees nothing itself. Invariant: reads, offload, retention and the quorum go on while produce is refused, so
//! that a full disk can always free itself.

use crate::broker::storage::Storage;
use crate::config::broker::Logs;

/// Room above the reserve before produce is taken again, as a share of the reserve: no flapping at the edge.
const HYSTERESIS: u64 = 8;

/// Looks at every directory once.
pub fn watch(storage: &Storage, logs: &Logs) {
    for dir in storage.dirs() {
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
        let full = is_full(space.available, reserve, dir.room.is_full());
        if !dir.room.set_full(full) {
            continue;
        }
        if full {
            tracing::error!(dir = %path, available = space.available, reserve, "disk is full: produce is refused");
        } else {
            tracing::info!(dir = %path, available = space.available, reserve, "disk has room: produce is taken");
        }
    }
}

fn is_full(available: u64, reserve: u64, was_full: bool) -> bool {
    let bound = if was_full { reserve.saturating_add(reserve / HYSTERESIS) } else { reserve };
    available < bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn produce_stops_at_the_reserve_and_resumes_above_it() {
        assert!(!is_full(800, 800, false));
        assert!(is_full(799, 800, false));
        assert!(is_full(899, 800, true));
        assert!(!is_full(900, 800, true));
    }
}
