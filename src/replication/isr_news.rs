//! Which partitions led here may want another ISR: noted on serving cores, taken by the keeper of the ISRs.
//! It decides nothing. Invariant: each partition is noted at most once until it is taken.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::partition::replica::PartitionId;

/// Notes of one broker; at most one per partition.
#[derive(Debug, Default)]
pub struct IsrNews {
    noted: Mutex<BTreeSet<PartitionId>>,
    some: Notify,
    shrinks: AtomicU64,
    expands: AtomicU64,
    failures: AtomicU64,
}

impl IsrNews {
    /// Asks the keeper to look at a partition. Costs a wake only when it sleeps.
    pub fn look_at(&self, id: PartitionId) {
        if self.noted.lock().insert(id) {
            self.some.notify_one();
        }
    }

    /// An ISR went from `before` to `after` members because its leader here asked for it.
    pub fn count_change(&self, before: usize, after: usize) {
        match after.cmp(&before) {
            std::cmp::Ordering::Less => self.shrinks.fetch_add(1, Ordering::Relaxed),
            _ => self.expands.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// The quorum refused a change, or nobody knows whether it did.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// ISRs that shrank, that grew, and changes that failed, since the start.
    pub fn counts(&self) -> [u64; 3] {
        [&self.shrinks, &self.expands, &self.failures].map(|count| count.load(Ordering::Relaxed))
    }

    /// Takes what was noted; waits until there is something.
    pub async fn take(&self) -> BTreeSet<PartitionId> {
        loop {
            let noted = std::mem::take(&mut *self.noted.lock());
            if !noted.is_empty() {
                return noted;
            }
            self.some.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firnline_controller::id::TopicId;

    #[tokio::test]
    async fn a_partition_is_taken_once_however_often_it_was_noted() {
        let news = IsrNews::default();
        let id = |index| PartitionId { topic: TopicId::ZERO, index };
        [3, 1, 3].into_iter().for_each(|index| news.look_at(id(index)));
        assert_eq!(news.take().await, BTreeSet::from([id(1), id(3)]));
        assert!(futures::poll!(std::pin::pin!(news.take())).is_pending());
        news.look_at(id(2));
        assert_eq!(news.take().await, BTreeSet::from([id(2)]));
    }
}
