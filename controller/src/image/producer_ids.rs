//! Where the next block of producer ids begins. Not who got the blocks below it.
//! Invariant: it never falls, so no id is given out twice (I2).

/// The counter, in producer ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProducerIds {
    next: i64,
}

impl ProducerIds {
    /// First id nobody has.
    pub fn next(self) -> i64 {
        self.next
    }

    /// Moves up; false if that would give an id out again.
    pub(crate) fn advance(&mut self, next: i64) -> bool {
        let rises = next >= self.next;
        if rises {
            self.next = next;
        }
        rises
    }
}
