//! Deadlines of members: one each, earliest first. Pure: the clock is an argument.
//! Invariant: a cleared deadline is gone at once, so memory follows what is set now.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::group::id::MemberId;

/// One deadline per member, in milliseconds on a monotonic scale.
#[derive(Debug, Default)]
pub struct Deadlines {
    by_time: BTreeSet<(u64, MemberId)>,
    by_id: BTreeMap<MemberId, u64>,
}

impl Deadlines {
    /// Sets or moves a member's deadline.
    pub fn set(&mut self, id: &MemberId, at: u64) {
        if let Some(before) = self.by_id.insert(id.clone(), at) {
            self.by_time.remove(&(before, id.clone()));
        }
        self.by_time.insert((at, id.clone()));
    }

    /// Forgets a member's deadline; true when it had one.
    pub fn clear(&mut self, id: &str) -> bool {
        let Some((id, at)) = self.by_id.remove_entry(id) else { return false };
        self.by_time.remove(&(at, id))
    }

    /// Whether the member has one.
    pub fn has(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The earliest.
    pub fn next(&self) -> Option<u64> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one member whose deadline is `now` or earlier, earliest first.
    pub fn pop_due(&mut self, now: u64) -> Option<MemberId> {
        if self.next()? > now {
            return None;
        }
        let (_, id) = self.by_time.pop_first()?;
        self.by_id.remove(&id);
        Some(id)
    }

    /// Members with a deadline, by id.
    pub fn ids(&self) -> impl Iterator<Item = &MemberId> {
        self.by_id.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_one_deadline_and_it_fires_once() {
        let mut deadlines = Deadlines::default();
        let (a, b) = (MemberId::from("a"), MemberId::from("b"));
        deadlines.set(&a, 5);
        deadlines.set(&b, 7);
        deadlines.set(&a, 9);
        assert_eq!((deadlines.next(), deadlines.len()), (Some(7), 2));
        assert_eq!(deadlines.pop_due(6), None);
        assert_eq!(deadlines.pop_due(9), Some(b));
        assert!(deadlines.clear("a") && !deadlines.clear("a"));
        assert_eq!((deadlines.pop_due(99), deadlines.is_empty()), (None, true));
    }
}
