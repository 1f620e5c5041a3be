//! Places in a segment where slices ended that readers took, so that who reads on needs no search.
//! A hint only: one that is lost, or that a lock hides for a moment, costs a search. Invariant: position 0 is never
//! kept, since it needs no search.

use crate::offsets::Offset;
use parking_lot::Mutex;

/// Places remembered.
const MARKS: usize = 4;

/// The last few places; nobody ever waits for them.
#[derive(Debug, Default)]
pub(super) struct Marks {
    ring: Mutex<Ring>,
}

/// (offset, position) pairs.
#[derive(Debug, Default)]
struct Ring {
    places: [(i64, u64); MARKS],
    next: usize,
}

impl Marks {
    /// The batch after `offset` begins at `position`.
    pub(super) fn put(&self, offset: Offset, position: u64) {
        if let Some(mut ring) = self.ring.try_lock() {
            let at = ring.next % MARKS;
            ring.places[at] = (offset.0, position);
            ring.next = at + 1;
        }
    }

    /// Where the batch after `offset` begins, if that is remembered.
    pub(super) fn get(&self, offset: Offset) -> Option<u64> {
        let ring = self.ring.try_lock()?;
        let found = ring.places.iter().find(|(at, position)| *at == offset.0 && *position > 0);
        found.map(|(_, position)| *position)
    }
}
