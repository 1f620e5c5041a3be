//! Which cold local bytes are read before anybody asks: readers in sequence are recognised, and for each a window of
//! what comes next is kept. It reads nothing; the lane does, and hands in the handles of its reads.
//! Invariant: a chunk belongs to one stream, chunks of a stream follow each other without a hole, and nothing is read
//! ahead past what the file's log says never changes.

use std::collections::VecDeque;

/// Streams remembered. A reader beyond them is served without read-ahead.
const STREAMS_MAX: usize = 64;

/// Window after the second read in sequence; doubles with every next one.
const WINDOW_FIRST: u64 = 1 << 20;

/// Largest window of one stream.
const WINDOW_MAX: u64 = 8 << 20;

/// Largest read ahead: large enough for a disk to be fast, small enough to be there soon.
const CHUNK_MAX: u64 = 2 << 20;

/// Looks of housekeeping that an unused stream survives: about five seconds.
const SWEEPS_IDLE: u64 = 10;

/// What a reader asks.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// First byte.
    pub at: u64,
    /// Bytes, at least 1.
    pub len: u64,
    /// Bytes of the file that never change.
    pub steady: u64,
}

/// A stretch of a file to be read ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// First byte.
    pub at: u64,
    /// Bytes.
    pub len: u64,
}

/// Bytes that were read ahead for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<R> {
    /// The read that brings them, or brought them.
    pub read: R,
    /// Where they begin in it.
    pub from: u64,
    /// How many of them are wanted.
    pub len: u64,
}

/// All streams. `F` tells files apart and keeps them open; `R` is a read under way or done.
#[derive(Debug)]
pub struct Ahead<F, R> {
    streams: Vec<Stream<F, R>>,
    sweeps: u64,
    asked: u64,
}

#[derive(Debug)]
struct Stream<F, R> {
    file: F,
    /// Where its reader comes next.
    next: u64,
    window: u64,
    /// In asks, to find the one unused for longest.
    used: u64,
    swept: u64,
    chunks: VecDeque<Chunk<R>>,
}

#[derive(Debug)]
struct Chunk<R> {
    at: u64,
    len: u64,
    read: R,
}

impl<R> Chunk<R> {
    fn end(&self) -> u64 {
        self.at + self.len
    }
}

impl<F: PartialEq + Clone, R: Clone> Ahead<F, R> {
    /// Nobody reads.
    pub fn new() -> Self {
        Self { streams: Vec::new(), sweeps: 0, asked: 0 }
    }

    /// A reader wants bytes: what is there for it, and how much of them. `begin` starts a read ahead, or answers
    /// `None` when there is no room for one.
    pub fn ask(&mut self, file: &F, want: Want, begin: impl FnMut(Stretch) -> Option<R>) -> Option<Found<R>> {
        self.asked += 1;
        let known = self.streams.iter().position(|stream| stream.next == want.at && stream.file == *file);
        let Some(known) = known else {
            self.remember(file, want);
            return None;
        };
        let stream = &mut self.streams[known];
        (stream.used, stream.swept) = (self.asked, self.sweeps);
        let found = stream.take(want);
        stream.next = want.at + found.as_ref().map_or(want.len, |found| found.len);
        stream.window = (stream.window * 2).clamp(WINDOW_FIRST, WINDOW_MAX);
        stream.extend(want.steady, begin);
        found
    }

    /// A read failed or was lost: what follows in its stream goes too.
    pub fn forget(&mut self, file: &F, next: u64) {
        self.streams.retain(|stream| stream.next != next || stream.file != *file);
    }

    /// Drops the streams that were not used for a while; called by housekeeping.
    pub fn sweep(&mut self) {
        self.sweeps += 1;
        let sweeps = self.sweeps;
        self.streams.retain(|stream| sweeps - stream.swept <= SWEEPS_IDLE);
    }

    /// Drops what was read ahead for the stream unused for longest; false when nothing was.
    pub fn give_way(&mut self) -> bool {
        let holders = self.streams.iter_mut().filter(|stream| !stream.chunks.is_empty());
        let Some(oldest) = holders.min_by_key(|stream| stream.used) else { return false };
        oldest.chunks.clear();
        oldest.window = 0;
        true
    }

    fn remember(&mut self, file: &F, want: Want) {
        if self.streams.len() >= STREAMS_MAX {
            let oldest = (0..self.streams.len()).min_by_key(|at| self.streams[*at].used);
            oldest.map(|at| self.streams.swap_remove(at));
        }
        self.streams.push(Stream {
            file: file.clone(),
            next: want.at + want.len,
            window: 0,
            used: self.asked,
            swept: self.sweeps,
            chunks: VecDeque::new(),
        });
    }
}

impl<F: PartialEq + Clone, R: Clone> Default for Ahead<F, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F, R: Clone> Stream<F, R> {
    /// What the chunks hold of `want`, from its first byte on. Chunks that lie behind the reader go.
    fn take(&mut self, want: Want) -> Option<Found<R>> {
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= want.at) {
            self.chunks.pop_front();
        }
        let chunk = self.chunks.front().filter(|chunk| chunk.at <= want.at)?;
        let len = want.len.min(chunk.end() - want.at);
        let found = Found { read: chunk.read.clone(), from: want.at - chunk.at, len };
        if want.at + len == chunk.end() {
            // The reader holds it from now on.
            self.chunks.pop_front();
        }
        Some(found)
    }

    /// Fills the window.
    fn extend(&mut self, steady: u64, mut begin: impl FnMut(Stretch) -> Option<R>) {
        if self.chunks.front().is_some_and(|chunk| chunk.at > self.next) {
            // A demand read overtook them.
            self.chunks.clear();
        }
        let until = (self.next + self.window).min(steady);
        loop {
            let at = self.chunks.back().map_or(self.next, Chunk::end);
            let len = until.saturating_sub(at).min(CHUNK_MAX);
            // Small reads cost as much as large ones: wait until there is room for one that pays.
            let pays = (self.window / 4).clamp(WINDOW_FIRST, CHUNK_MAX);
            if len == 0 || (len < pays && until < steady) {
                return;
            }
            let Some(read) = begin(Stretch { at, len }) else { return };
            self.chunks.push_back(Chunk { at, len, read });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;
    type Read = Stretch;

    fn want(at: u64, len: u64) -> Want {
        Want { at, len, steady: 100 * MIB }
    }

    #[test]
    fn the_first_read_brings_nothing_ahead_and_the_next_ones_ever_more() {
        let mut ahead: Ahead<u8, Read> = Ahead::new();
        assert_eq!(ahead.ask(&1, want(0, MIB), |_| panic!("one read is no sequence")), None);
        let mut begun = Vec::new();
        let mut begin = |stretch: Stretch| {
            begun.push(stretch);
            Some(stretch)
        };
        assert_eq!(ahead.ask(&1, want(MIB, MIB), &mut begin), None);
        let found = ahead.ask(&1, want(2 * MIB, MIB), &mut begin).expect("was read ahead");
        assert_eq!((found.read.at + found.from, found.len), (2 * MIB, MIB));
        assert_eq!(begun.len(), 2);
        assert!(begun[1].len > begun[0].len, "{begun:?}");
    }

    #[test]
    fn another_file_or_place_is_another_stream() {
        let mut ahead: Ahead<u8, Read> = Ahead::new();
        ahead.ask(&1, want(0, MIB), |_| None);
        assert_eq!(ahead.ask(&2, want(MIB, MIB), |_| panic!("file 2 was not read before")), None);
        assert_eq!(ahead.ask(&1, want(5 * MIB, MIB), |_| panic!("a jump")), None);
    }

    #[test]
    fn nothing_is_read_past_what_never_changes() {
        let mut ahead: Ahead<u8, Read> = Ahead::new();
        let bounded = |at| Want { at, len: MIB, steady: 2 * MIB + 10 };
        ahead.ask(&1, bounded(0), |_| None);
        let mut begun = Vec::new();
        ahead.ask(&1, bounded(MIB), |stretch| {
            begun.push(stretch);
            Some(stretch)
        });
        assert_eq!(begun, [Stretch { at: 2 * MIB, len: 10 }]);
    }

    #[test]
    fn idle_streams_and_those_in_the_way_go() {
        let mut ahead: Ahead<u8, Read> = Ahead::new();
        for file in 0..3 {
            ahead.ask(&file, want(0, MIB), Some);
            ahead.ask(&file, want(MIB, MIB), Some);
        }
        assert!(ahead.give_way() && ahead.streams[0].chunks.is_empty(), "the oldest gives way first");
        assert!(ahead.give_way() && ahead.give_way() && !ahead.give_way());
        (0..SWEEPS_IDLE).for_each(|_| ahead.sweep());
        ahead.ask(&2, want(2 * MIB, MIB), |_| None);
        ahead.sweep();
        assert_eq!(ahead.streams.len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_asked_for(
            asks in prop::collection::vec((1u64..3 * MIB, any::<bool>(), 0u64..3), 1..60),
            steady in 1u64..60 * MIB,
        ) {
            let mut ahead: Ahead<u8, Read> = Ahead::new();
            let mut at = 0;
            for (len, room, jump) in asks {
                at += if jump == 0 { 12_345 } else { 0 };
                if at >= steady {
                    break;
                }
                let want = Want { at, len: len.min(steady - at), steady };
                let found = ahead.ask(&1, want, |stretch| {
                    assert!(stretch.len > 0 && stretch.at + stretch.len <= steady, "{stretch:?}");
                    room.then_some(stretch)
                });
                let took = match found {
                    Some(found) => {
                        prop_assert_eq!(found.read.at + found.from, at);
                        prop_assert!(found.len >= 1 && found.len <= want.len);
                        prop_assert!(found.from + found.len <= found.read.len);
                        found.len
                    }
                    None => want.len,
                };
                at += took;
                for stream in &ahead.streams {
                    let held: u64 = stream.chunks.iter().map(|chunk| chunk.len).sum();
                    prop_assert!(held <= WINDOW_MAX + CHUNK_MAX, "{held}");
                }
            }
        }
    }
}
