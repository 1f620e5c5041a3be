//! The deadlines of one core in order: pure, the clock is an argument.
//! It is not a source of time: whoever drives it sleeps until `next` and then asks for what is due.
//! Invariant: a cancelled deadline is gone at once, so memory follows what waits now and not what waited.

use std::collections::BTreeSet;

/// Milliseconds since the core started: a monotonic scale, coarse on purpose so that near deadlines share a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// Deadlines by tick, each owned by a number that its owner chose.
#[derive(Debug, Default)]
pub struct Timer {
    deadlines: BTreeSet<(Tick, u64)>,
}

impl Timer {
    /// Adds a deadline; true when it is now the earliest, so that the driver has to sleep shorter.
    pub fn insert(&mut self, at: Tick, owner: u64) -> bool {
        let earliest = self.next().is_none_or(|next| at < next);
        let new = self.deadlines.insert((at, owner));
        debug_assert!(new, "owner {owner} holds a deadline at {at:?} twice");
        earliest
    }

    /// Forgets a deadline; nothing happens when it already fired.
    pub fn cancel(&mut self, at: Tick, owner: u64) {
        self.deadlines.remove(&(at, owner));
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Tick> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes one owner whose deadline is `now` or earlier, oldest first.
    pub fn pop_due(&mut self, now: Tick) -> Option<u64> {
        let (at, owner) = *self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_due_fires_and_in_order() {
        let mut timer = Timer::default();
        assert!(timer.insert(Tick(30), 1));
        assert!(timer.insert(Tick(10), 2));
        assert!(!timer.insert(Tick(20), 3));
        timer.cancel(Tick(20), 3);
        assert_eq!(timer.next(), Some(Tick(10)));
        assert_eq!(timer.pop_due(Tick(9)), None);
        assert_eq!(timer.pop_due(Tick(30)), Some(2));
        assert_eq!(timer.pop_due(Tick(30)), Some(1));
        assert_eq!(timer.next(), None);
    }
}
