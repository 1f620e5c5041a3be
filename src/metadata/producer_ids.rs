//! Hands out producer ids one by one from blocks that the controller gave this broker.
//! It does not know who gets them. Invariant: an id is handed out at most once, also across restarts: what is left
//! of a block at a stop is never used.
use std::ops::Range;

use firnline_controller::client::Controller;
use firnline_controller::error::AllocateError;
use parking_lot::Mutex;

/// The block in use.
#[derive(Debug, Default)]
pub struct ProducerIds {
    left: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// The next id, of a new block where the old one is used up.
    ///
    /// # Errors
    /// The controller gives no block.
    pub async fn next(&self, controller: &Controller) -> Result<i64, AllocateError> {
        if let Some(id) = self.taken() {
            return Ok(id);
        }
        let block = controller.allocate_producer_ids().await?;
        Ok(self.taken_of(block))
    }

    fn taken(&self) -> Option<i64> {
        self.left.lock().next()
    }

    /// The first id of a new block. Its rest is kept unless it is smaller than what another asker brought meanwhile.
    fn taken_of(&self, mut block: Range<i64>) -> i64 {
        assert!(!block.is_empty(), "the controller gave the empty block {block:?}");
        let first = block.start;
        block.start += 1;
        let mut left = self.left.lock();
        if left.end - left.start < block.end - block.start {
            *left = block;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_twice_however_blocks_come() {
        let ids = ProducerIds::default();
        assert_eq!(ids.taken(), None);
        let mut seen = vec![ids.taken_of(0..3), ids.taken_of(1000..1003)];
        while let Some(id) = ids.taken() {
            seen.push(id);
        }
        seen.push(ids.taken_of(2000..2002));
        seen.extend(ids.taken());
        assert_eq!(seen, [0, 1000, 1, 2, 2000, 2001]);
    }
}
