//! Places in a segment where slices ended that readers took, and where the next ones will end, so that who reads on
//! needs neither a search nor the disk. A hint only: one that is lost, or that a lock hides for a moment, costs a search.
//! Invariants: position 0 is never kept, since it needs no search; a batch that is told was read from the file.

use crate::batch::header::BatchHeader;
use crate::offsets::Offset;
use parking_lot::Mutex;

/// Where a batch lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Its first byte.
    pub position: u64,
    /// Its bytes.
    pub size: u64,
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last.
    pub next: Offset,
}

impl Located {
    pub(super) fn of(header: &BatchHeader, position: u64) -> Self {
        let (base, next) = (header.base_offset, header.next_offset());
        Self { position, size: header.size() as u64, base, next }
    }
}

/// Places remembered of a segment that is read.
const MARKS: usize = 24;

/// The last places; nobody ever waits for them.
#[derive(Debug, Default)]
pub(super) struct Marks {
    ring: Mutex<Ring>,
}

/// Without memory until somebody reads.
#[derive(Debug, Default)]
struct Ring {
    places: Vec<Mark>,
    next: usize,
}

/// A batch border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Every batch before it ends at or below this offset.
    pub after: Offset,
    /// The byte.
    pub position: u64,
    /// The batch that begins there, if its header was read.
    pub batch: Option<Located>,
}

impl Mark {
    fn answers(&self, offset: Offset) -> bool {
        self.after == offset || self.batch.is_some_and(|batch| (self.after..batch.next).contains(&offset))
    }
}

impl Marks {
    /// Remembers a border.
    pub(super) fn put(&self, mark: Mark) {
        if mark.position == 0 {
            return;
        }
        let Some(mut ring) = self.ring.try_lock() else { return };
        if let Some(known) = ring.places.iter_mut().find(|known| known.position == mark.position) {
            if mark.batch.is_some() || known.batch.is_none() {
                *known = mark;
            }
        } else if ring.places.len() < MARKS {
            ring.places.push(mark);
        } else {
            let at = ring.next % MARKS;
            ring.places[at] = mark;
            ring.next = at + 1;
        }
    }

    /// The border where the first batch that ends above `offset` begins, if that is remembered.
    pub(super) fn at(&self, offset: Offset) -> Option<Mark> {
        self.find(|mark| mark.answers(offset))
    }

    /// The border whose batch holds byte `position`, if that is remembered.
    pub(super) fn around(&self, position: u64) -> Option<Mark> {
        let holds = |batch: Located| (batch.position..batch.position + batch.size).contains(&position);
        self.find(|mark| mark.batch.is_some_and(holds))
    }

    fn find(&self, wanted: impl Fn(&Mark) -> bool) -> Option<Mark> {
        self.ring.try_lock()?.places.iter().find(|mark| wanted(mark)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(after: i64, position: u64, size: Option<u64>) -> Mark {
        let located = |size| Located { position, size, base: Offset(after + 1), next: Offset(after + 10) };
        Mark { after: Offset(after), position, batch: size.map(located) }
    }

    #[test]
    fn a_border_is_found_by_the_offset_before_it_and_one_with_its_batch_by_all_it_holds() {
        let marks = Marks::default();
        marks.put(mark(0, 0, Some(9)));
        assert_eq!(marks.at(Offset(0)), None, "the beginning needs no search");
        marks.put(mark(10, 100, None));
        marks.put(mark(20, 200, Some(50)));
        assert_eq!(marks.at(Offset(10)), Some(mark(10, 100, None)));
        assert_eq!(marks.at(Offset(11)), None);
        for (offset, found) in [(19, false), (20, true), (29, true), (30, false)] {
            assert_eq!(marks.at(Offset(offset)).is_some(), found, "{offset}");
        }
        for (position, found) in [(100, false), (199, false), (200, true), (249, true), (250, false)] {
            assert_eq!(marks.around(position).is_some(), found, "{position}");
        }
    }

    #[test]
    fn the_oldest_go_first_and_what_is_known_better_stays() {
        let marks = Marks::default();
        (1..=MARKS as i64 + 2).for_each(|at| marks.put(mark(at * 10, at as u64 * 100, Some(1))));
        assert_eq!((marks.at(Offset(10)), marks.at(Offset(20))), (None, None));
        assert!(marks.at(Offset(30)).is_some());
        marks.put(mark(30, 300, None));
        assert!(marks.around(300).is_some(), "its batch is still known");
    }
}
