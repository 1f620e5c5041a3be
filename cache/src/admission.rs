//! Who may enter the disk tier: chunks that were loaded before, and what readers that follow each other share.
//! Pure: counts loads, not time. Invariant: a single scan, however long, is never admitted.
//!
//! A reader that asks twice for a chunk it just read finds it in memory, so a *load* is what counts as a touch: a
//! chunk loaded a second time had left memory and was wanted again. That second load also shows that somebody
//! follows on this object, so the object's chunks are then admitted at once for a while.

use std::collections::{BTreeMap, VecDeque};

use crate::key::ChunkKey;

/// Loads remembered by default: 64 GiB of chunks, in a few MiB of memory.
pub const WINDOW: usize = 64 << 10;
/// Loads after which an object counts as lone again.
const SHARED_LOADS: u64 = 1024;
/// Objects that can be shared at a time; past it the oldest is lone again.
const SHARED_OBJECTS: usize = 1024;

/// Remembers recent loads.
#[derive(Debug)]
pub struct Admission {
    window: usize,
    loads: u64,
    seen: BTreeMap<ChunkKey, u64>,
    order: VecDeque<(u64, ChunkKey)>,
    shared_until: BTreeMap<u128, u64>,
}

impl Admission {
    /// Remembers the last `window` loads, at least one.
    pub fn new(window: usize) -> Self {
        Self {
            window: window.max(1),
            loads: 0,
            seen: BTreeMap::new(),
            order: VecDeque::new(),
            shared_until: BTreeMap::new(),
        }
    }

    /// A chunk was loaded. Whether it may enter the disk tier.
    pub fn loaded(&mut self, key: ChunkKey) -> bool {
        self.loads += 1;
        let again = self.seen.insert(key, self.loads).is_some();
        self.order.push_back((self.loads, key));
        self.forget_oldest();
        if again {
            self.share(key.object);
        }
        again || self.is_shared(key.object)
    }

    /// An object is gone.
    pub fn forget_object(&mut self, object: u128) {
        self.shared_until.remove(&object);
        let of_object = ChunkKey { object, chunk: 0 }..=ChunkKey { object, chunk: u32::MAX };
        let keys: Vec<ChunkKey> = self.seen.range(of_object).map(|(key, _)| *key).collect();
        for key in keys {
            self.seen.remove(&key);
        }
    }

    fn forget_oldest(&mut self) {
        while self.order.len() > self.window {
            if let Some((load, key)) = self.order.pop_front()
                && self.seen.get(&key) == Some(&load)
            {
                self.seen.remove(&key);
            }
        }
    }

    fn share(&mut self, object: u128) {
        self.shared_until.insert(object, self.loads + SHARED_LOADS);
        if self.shared_until.len() > SHARED_OBJECTS {
            let oldest = self.shared_until.iter().min_by_key(|(object, until)| (**until, **object));
            if let Some(oldest) = oldest.map(|(object, _)| *object) {
                self.shared_until.remove(&oldest);
            }
        }
    }

    fn is_shared(&self, object: u128) -> bool {
        self.shared_until.get(&object).is_some_and(|until| self.loads <= *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(object: u128, chunk: u32) -> ChunkKey {
        ChunkKey { object, chunk }
    }

    #[test]
    fn one_long_scan_is_never_admitted() {
        let mut admission = Admission::new(1000);
        for object in 0..100 {
            for chunk in 0..100 {
                assert!(!admission.loaded(key(object, chunk)), "object {object} chunk {chunk}");
            }
        }
    }

    #[test]
    fn many_scans_of_different_objects_at_once_are_not_admitted_either() {
        let mut admission = Admission::new(1000);
        for chunk in 0..100 {
            for object in 0..50 {
                assert!(!admission.loaded(key(object, chunk)), "object {object} chunk {chunk}");
            }
        }
    }

    #[test]
    fn the_second_load_is_admitted_and_opens_the_object_to_both_readers() {
        let mut admission = Admission::new(1000);
        assert!(!admission.loaded(key(1, 10)));
        assert!(!admission.loaded(key(1, 11)));
        assert!(admission.loaded(key(1, 10)), "loaded before");
        assert!(admission.loaded(key(1, 12)), "the one ahead, now that somebody follows");
        assert!(!admission.loaded(key(2, 12)), "another object has nobody following");
    }

    #[test]
    fn an_object_is_lone_again_after_a_while() {
        let mut admission = Admission::new(10_000);
        admission.loaded(key(1, 0));
        admission.loaded(key(1, 0));
        for chunk in 0..SHARED_LOADS as u32 {
            assert!(admission.loaded(key(1, 1 + chunk)), "chunk {chunk}");
        }
        assert!(!admission.loaded(key(1, 5000)));
    }

    #[test]
    fn a_load_outside_the_window_is_forgotten() {
        let mut admission = Admission::new(10);
        admission.loaded(key(1, 0));
        for chunk in 0..10 {
            admission.loaded(key(2, chunk));
        }
        assert!(!admission.loaded(key(1, 0)));
    }

    #[test]
    fn what_is_remembered_stays_bounded() {
        let mut admission = Admission::new(100);
        for object in 0..5000 {
            admission.loaded(key(object, 0));
            admission.loaded(key(object, 0));
        }
        assert!(admission.seen.len() <= 100, "{}", admission.seen.len());
        assert_eq!(admission.order.len(), 100);
        assert_eq!(admission.shared_until.len(), SHARED_OBJECTS);
    }

    #[test]
    fn a_forgotten_object_starts_over() {
        let mut admission = Admission::new(100);
        admission.loaded(key(1, 0));
        admission.loaded(key(1, 0));
        admission.forget_object(1);
        assert!(!admission.loaded(key(1, 0)));
    }
}
