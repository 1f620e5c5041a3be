//! Whoever fetches for partitions that other brokers lead, as the assignment sees him.
//! It is not the fetching. Invariant: a partition that does not follow any more is not fetched for any more.

use std::fmt::Debug;

use crate::partition::replica::PartitionHandle;

/// Fetches for followers.
pub trait Follow: Send + Sync + Debug {
    /// The partition's role may have changed: look whom it follows now. Waits for nothing.
    fn attend(&self, partition: &PartitionHandle);
}
