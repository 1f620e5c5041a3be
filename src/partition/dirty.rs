//! Partitions of one log directory whose newest bytes are not fsynced yet: what the next round has to look at.
//! It fsyncs nothing (`broker/durability.rs` does). Invariant: an append that is noted after it was published is seen by
//! the round that takes the note.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::purgatory::delayed::WaitKey;

/// Notes of one log directory. It grows to one note per partition at most: a replica notes itself once per round.
#[derive(Debug, Default)]
pub struct DirtyList {
    noted: Mutex<Vec<WaitKey>>,
    some: Notify,
}

impl DirtyList {
    /// Adds a partition. Costs a wake only if the rounds sleep.
    pub(super) fn note(&self, key: WaitKey) {
        self.noted.lock().push(key);
        self.some.notify_one();
    }

    /// Takes what was noted; waits until there is something.
    pub async fn take(&self) -> Vec<WaitKey> {
        loop {
            let noted = std::mem::take(&mut *self.noted.lock());
            if !noted.is_empty() {
                return noted;
            }
            self.some.notified().await;
        }
    }
}
