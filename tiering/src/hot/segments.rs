//! The segments of a log in order, as an immutable value that readers hold while it is replaced.
//! Invariant: there is always one, the last one is active, and each ends at or before the next one's base.

use crate::hot::segment::Segment;
use crate::offsets::Offset;
use std::sync::Arc;

/// Oldest first; never empty.
#[derive(Debug, Clone)]
pub struct Segments {
    list: Vec<Arc<Segment>>,
}

impl Segments {
    /// Panics if the list is empty or its bases do not rise.
    pub fn new(list: Vec<Arc<Segment>>) -> Self {
        assert!(!list.is_empty(), "a log has at least one segment");
        for pair in list.windows(2) {
            let (next, base) = (pair[0].next(), pair[1].base());
            assert!(
                next <= base && pair[0].base() < base,
                "a segment ends at {next}, the next begins at {base}"
            );
        }
        Self { list }
    }

    /// The one that grows.
    pub fn active(&self) -> &Arc<Segment> {
        &self.list[self.list.len() - 1]
    }

    /// Those that do not grow any more, oldest first.
    pub fn sealed(&self) -> &[Arc<Segment>] {
        &self.list[..self.list.len() - 1]
    }

    /// All, oldest first.
    pub fn all(&self) -> &[Arc<Segment>] {
        &self.list
    }

    /// First offset on local disk.
    pub fn start(&self) -> Offset {
        self.list[0].base()
    }

    /// The offset after the last.
    pub fn end(&self) -> Offset {
        self.active().next()
    }

    /// The offset where the segment at `at` gives way to the next one.
    pub fn next_of(&self, at: usize) -> Offset {
        self.list.get(at + 1).map_or_else(|| self.end(), |next| next.base())
    }

    /// Place of the segment that holds `offset`, or the first if it lies below all.
    pub fn find(&self, offset: Offset) -> usize {
        self.list.partition_point(|segment| segment.base() <= offset).saturating_sub(1)
    }

    /// With one more, which becomes active.
    pub fn with(&self, segment: Arc<Segment>) -> Segments {
        let mut list = Vec::with_capacity(self.list.len() + 1);
        list.extend_from_slice(&self.list);
        list.push(segment);
        Self::new(list)
    }

    /// Without the sealed ones that end at or below `below`; those, and the rest.
    pub fn split_front(&self, below: Offset) -> (Vec<Arc<Segment>>, Segments) {
        let gone = (0..self.sealed().len()).take_while(|at| self.next_of(*at) <= below).count();
        (self.list[..gone].to_vec(), Self::new(self.list[gone..].to_vec()))
    }

    /// Log data in bytes.
    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|segment| segment.bytes()).sum()
    }
}
