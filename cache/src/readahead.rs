//! Which chunks a reader will want next. Pure: one value per reader, no clock, no I/O.
//! Invariant: a chunk is named at most once while a reader moves forward without seeking.

use std::ops::Range;

/// Chunks asked for ahead of a reader that has read for a while.
pub const MAX_WINDOW: u64 = 16;

/// One reader's movement through one object space (chunk numbers may run across objects).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequential {
    /// The last chunk observed; `None` before the first.
    last: Option<u64>,
    /// Chunks to stay ahead; 0 until the reader proves sequential.
    window: u64,
    /// First chunk not asked for yet.
    asked_to: u64,
}

impl Sequential {
    /// A reader that has not read.
    pub fn new() -> Self {
        Self::default()
    }

    /// The reader reads `chunk` now. Answers the chunks to ask for ahead of it, possibly none.
    ///
    /// The window is 1 at the first read, doubles on every step to the next chunk, up to [`MAX_WINDOW`], and
    /// starts again after a seek. Reading the same chunk again changes nothing.
    pub fn observe(&mut self, chunk: u64) -> Range<u64> {
        match self.last {
            Some(last) if chunk == last => return chunk..chunk,
            Some(last) if chunk == last.saturating_add(1) => self.window = (self.window * 2).min(MAX_WINDOW),
            _ => {
                self.window = 1;
                self.asked_to = 0;
            }
        }
        self.last = Some(chunk);
        let next = chunk.saturating_add(1);
        let from = self.asked_to.max(next);
        let to = next.saturating_add(self.window).max(from);
        self.asked_to = to;
        from..to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_while_reading_on_and_never_asks_twice() {
        let mut reader = Sequential::new();
        let mut asked = Vec::new();
        let mut ahead = Vec::new();
        for chunk in 10..20 {
            let range = reader.observe(chunk);
            asked.extend(range.clone());
            ahead.push(range.end.max(asked.last().map_or(0, |last| last + 1)) - chunk - 1);
        }
        assert_eq!(ahead, [1, 2, 4, 8, 16, 16, 16, 16, 16, 16]);
        assert_eq!(asked, (11..36).collect::<Vec<u64>>());
    }

    #[test]
    fn a_seek_starts_over_in_both_directions() {
        let mut reader = Sequential::new();
        for chunk in 0..6 {
            reader.observe(chunk);
        }
        assert_eq!(reader.observe(100), 101..102);
        assert_eq!(reader.observe(3), 4..5);
        assert_eq!(reader.observe(4), 5..7);
    }

    #[test]
    fn the_same_chunk_again_asks_for_nothing() {
        let mut reader = Sequential::new();
        assert_eq!(reader.observe(7), 8..9);
        assert!(reader.observe(7).is_empty());
        assert_eq!(reader.observe(8), 9..11);
    }

    #[test]
    fn the_end_of_the_number_line_does_not_overflow() {
        let mut reader = Sequential::new();
        assert!(reader.observe(u64::MAX).is_empty());
        assert!(reader.observe(u64::MAX).is_empty());
    }
}
