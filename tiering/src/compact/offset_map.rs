//! Key → last offset, for as many keys as the dedupe buffer holds: 24 bytes a slot, keys by hash, no key stored.
//! It never grows and never forgets. Invariant: an offset it answers is the last one put for that key.
//!
//! A key is its SHA-256 cut to 128 bits. Two keys that hash alike would cost one of them its record: among n keys the
//! odds are n² / 2¹²⁹ (10⁹ keys: 1.5 in 10²¹), and, other than with MD5, nobody knows how to look for such a pair.

use crate::offsets::Offset;
use sha2::{Digest, Sha256};

/// Bytes of a slot: 16 of the key's hash, 8 of the offset.
pub const SLOT_BYTES: u64 = 24;

/// Open addressing, linear probing. A slot is [hash, hash, offset + 1]; all zero is free.
#[derive(Debug)]
pub struct OffsetMap {
    slots: Vec<[u64; 3]>,
    len: usize,
    most: usize,
    latest: Option<Offset>,
}

impl OffsetMap {
    /// A map in at most `bytes` that fills up to `load_factor` (0..1) of its slots; it takes no more room than
    /// `records` could fill. It always takes at least one key.
    pub fn new(bytes: u64, load_factor: f64, records: u64) -> OffsetMap {
        let load = load_factor.clamp(0.05, 0.99);
        let wanted = (records as f64 / load).ceil() as u64;
        let slots = (bytes / SLOT_BYTES).min(wanted.saturating_add(1)).max(2);
        let slots = usize::try_from(slots).unwrap_or(usize::MAX);
        // One slot stays free, so that every search ends.
        let most = ((slots as f64 * load) as usize).clamp(1, slots - 1);
        OffsetMap { slots: vec![[0; 3]; slots], len: 0, most, latest: None }
    }

    /// Keys in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No key in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How full it is, in percent of all slots.
    pub fn percent(&self) -> u64 {
        (self.len as u64).saturating_mul(100) / self.slots.len() as u64
    }

    /// The last offset it speaks for; `None` while there is none.
    pub fn latest(&self) -> Option<Offset> {
        self.latest
    }

    /// It has seen every record up to this offset.
    pub fn reached(&mut self, offset: Offset) {
        self.latest = Some(self.latest.map_or(offset, |latest| latest.max(offset)));
    }

    /// Notes the last offset of a key. False if the key is new and there is no room for it.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = hash(key);
        let at = self.find(hash);
        let slot = &mut self.slots[at];
        if slot[2] == 0 {
            if self.len == self.most {
                return false;
            }
            self.len += 1;
        }
        // cannot wrap: an offset is at least 0 and below 2⁶³.
        *slot = [hash[0], hash[1], offset.0 as u64 + 1];
        true
    }

    /// The last offset of a key, if it was put.
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        match self.slots[self.find(hash(key))][2] {
            0 => None,
            found => Some(Offset((found - 1) as i64)),
        }
    }

    /// The slot of this hash, or the free one where it would go.
    fn find(&self, hash: [u64; 2]) -> usize {
        let slots = self.slots.len();
        // The high part of hash × slots spreads over any number of slots.
        let mut at = ((u128::from(hash[0]) * slots as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || slot[..2] == hash {
                return at;
            }
            at = if at + 1 == slots { 0 } else { at + 1 };
        }
    }
}

fn hash(key: &[u8]) -> [u64; 2] {
    let digest = Sha256::digest(key);
    let word = |at: usize| digest[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    [word(0), word(8)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_hash_is_the_beginning_of_sha_256() {
        // FIPS 180-2, the message "abc".
        assert_eq!(hash(b"abc"), [0xba78_16bf_8f01_cfea, 0x4141_40de_5dae_2223]);
    }

    #[test]
    fn room_is_bounded_by_bytes_and_by_need() {
        let map = OffsetMap::new(24 * 100, 0.9, u64::MAX);
        assert_eq!((map.slots.len(), map.most), (100, 90));
        let map = OffsetMap::new(u64::MAX, 0.5, 10);
        assert_eq!((map.slots.len(), map.most), (21, 10));
        let mut least = OffsetMap::new(0, 0.9, 0);
        assert!(least.put(b"a", Offset(0)) && !least.put(b"b", Offset(1)) && least.put(b"a", Offset(2)));
        assert_eq!((least.get(b"a"), least.get(b"b"), least.percent()), (Some(Offset(2)), None, 50));
    }

    proptest! {
        #[test]
        fn it_answers_as_a_map_does(keys in prop::collection::vec(0..60_u8, 0..200), room in 2..80_u64) {
            let mut map = OffsetMap::new(room * SLOT_BYTES, 0.9, u64::MAX);
            let mut model = BTreeMap::new();
            for (at, key) in keys.iter().enumerate() {
                let fits = model.contains_key(key) || model.len() < map.most;
                prop_assert_eq!(map.put(&[*key], Offset(at as i64)), fits);
                if fits {
                    model.insert(*key, Offset(at as i64));
                }
            }
            prop_assert_eq!(map.len(), model.len());
            for key in 0..60 {
                prop_assert_eq!(map.get(&[key]), model.get(&key).copied());
            }
        }
    }
}
