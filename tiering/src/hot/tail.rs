//! The last batches of a growing segment, in a ring that readers search while one writer adds: a fetch at the tail
//! finds its bytes without touching the file. Not an index: what fell out of the ring is found through that.
//! Invariant: a slot is read whole or not at all (its first word is void while it changes).

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Batches remembered.
pub const TAIL_BATCHES: usize = 64;
const VOID: u64 = u64::MAX;

/// Where one batch lies. Offsets are relative to the segment's base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailBatch {
    /// First offset.
    pub base: u32,
    /// The offset after its last.
    pub next: u32,
    /// First byte.
    pub position: u32,
    /// Bytes.
    pub size: u32,
}

impl TailBatch {
    /// The byte after its last.
    pub fn end(&self) -> u32 {
        self.position + self.size
    }
}

#[derive(Debug)]
struct Slot {
    /// next | position; [`VOID`] while the slot changes.
    upper: AtomicU64,
    /// base | size
    lower: AtomicU64,
}

/// The ring.
#[derive(Debug)]
pub struct Tail {
    slots: Box<[Slot]>,
    /// Batches ever added.
    added: AtomicU64,
}

impl Default for Tail {
    fn default() -> Self {
        Self::new()
    }
}

impl Tail {
    /// Empty.
    pub fn new() -> Self {
        let slot = || Slot { upper: AtomicU64::new(VOID), lower: AtomicU64::new(0) };
        Self { slots: std::iter::repeat_with(slot).take(TAIL_BATCHES).collect(), added: AtomicU64::new(0) }
    }

    /// Adds a batch that lies right after the last one. One writer only.
    pub fn push(&self, batch: TailBatch) {
        let added = self.added.load(Ordering::Relaxed);
        let slot = &self.slots[added as usize % TAIL_BATCHES];
        slot.upper.store(VOID, Ordering::Relaxed);
        // A reader that sees the new lower word must also see the void above it.
        fence(Ordering::Release);
        slot.lower.store(pack(batch.base, batch.size), Ordering::Relaxed);
        slot.upper.store(pack(batch.next, batch.position), Ordering::Release);
        self.added.store(added + 1, Ordering::Release);
    }

    /// The first batch that ends above `relative`, if the ring can tell which one that is.
    pub fn first_ending_after(&self, relative: u32) -> Option<TailBatch> {
        let mut first = None;
        for batch in self.newest_first() {
            if batch.next <= relative {
                return first;
            }
            first = Some(batch);
        }
        // Older batches fell out of the ring, unless this one opens the segment.
        first.filter(|batch| batch.position == 0)
    }

    /// The last batch that ends at or below byte `position`, if it is in the ring.
    pub fn last_ending_within(&self, position: u32) -> Option<TailBatch> {
        self.newest_first().find(|batch| batch.end() <= position)
    }

    /// Newest first; ends where a slot was overwritten while we read.
    fn newest_first(&self) -> impl Iterator<Item = TailBatch> + '_ {
        let added = self.added.load(Ordering::Acquire);
        let oldest = added.saturating_sub(TAIL_BATCHES as u64);
        let mut above = u32::MAX;
        (oldest..added).rev().map_while(move |at| {
            let batch = self.read(at as usize % TAIL_BATCHES)?;
            // An overwritten slot holds a newer batch: positions stop falling.
            let older = batch.position < above;
            above = batch.position;
            older.then_some(batch)
        })
    }

    fn read(&self, at: usize) -> Option<TailBatch> {
        let slot = &self.slots[at];
        let upper = slot.upper.load(Ordering::Acquire);
        let lower = slot.lower.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if upper == VOID || slot.upper.load(Ordering::Relaxed) != upper {
            return None;
        }
        let ((next, position), (base, size)) = (unpack(upper), unpack(lower));
        Some(TailBatch { base, next, position, size })
    }
}

fn pack(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(at: u32) -> TailBatch {
        TailBatch { base: at * 10, next: at * 10 + 8, position: at * 100, size: 100 }
    }

    #[test]
    fn finds_what_it_holds_and_admits_what_it_lost() {
        let tail = Tail::new();
        assert_eq!(tail.first_ending_after(0), None);
        (0..3).for_each(|at| tail.push(batch(at)));
        assert_eq!(tail.first_ending_after(0), Some(batch(0)));
        assert_eq!(tail.first_ending_after(7), Some(batch(0)));
        // 8 and 9 were compacted away: the next batch is the first that ends above them.
        assert_eq!(tail.first_ending_after(8), Some(batch(1)));
        assert_eq!(tail.first_ending_after(28), None);
        assert_eq!(tail.last_ending_within(299), Some(batch(1)));
        assert_eq!(tail.last_ending_within(99), None);
        (3..200).for_each(|at| tail.push(batch(at)));
        assert_eq!(tail.first_ending_after(1995), Some(batch(199)));
        let oldest = 200 - TAIL_BATCHES as u32;
        assert_eq!(tail.first_ending_after(oldest * 10), None, "nothing says no older batch ends above");
        assert_eq!(tail.first_ending_after(oldest * 10 + 8), Some(batch(oldest + 1)));
    }

    #[test]
    fn a_reader_never_sees_half_a_slot() {
        let tail = Tail::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200_000).for_each(|at| tail.push(batch(at))));
            for probe in (0..2_000_000_u32).step_by(97) {
                if let Some(found) = tail.first_ending_after(probe) {
                    assert_eq!(found, batch(found.position / 100));
                    assert!(found.next > probe);
                }
            }
        });
    }
}
