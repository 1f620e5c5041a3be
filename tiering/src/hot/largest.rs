//! The largest timestamp of a segment and the offset that has it, read together without a lock (a sequence lock).
//! It compares nothing. Invariant: a reader sees a pair that was set as one, never half of two.

use crate::offsets::Offset;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering, fence};

/// A pair that one writer changes and readers see whole.
#[derive(Debug)]
pub(super) struct Largest {
    /// Odd while it changes.
    turn: AtomicU32,
    timestamp: AtomicI64,
    offset: AtomicI64,
}

impl Largest {
    pub(super) fn new(timestamp: i64, offset: Offset) -> Self {
        let (timestamp, offset) = (AtomicI64::new(timestamp), AtomicI64::new(offset.0));
        Self { turn: AtomicU32::new(0), timestamp, offset }
    }

    pub(super) fn set(&self, timestamp: i64, offset: Offset) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.timestamp.store(timestamp, Ordering::Relaxed);
        self.offset.store(offset.0, Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(2), Ordering::Release);
    }

    pub(super) fn get(&self) -> (i64, Offset) {
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            let pair = (self.timestamp.load(Ordering::Relaxed), Offset(self.offset.load(Ordering::Relaxed)));
            fence(Ordering::Acquire);
            if turn.is_multiple_of(2) && self.turn.load(Ordering::Relaxed) == turn {
                return pair;
            }
            std::hint::spin_loop();
        }
    }
}
