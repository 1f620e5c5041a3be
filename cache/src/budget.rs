//! How many bytes may be on their way into the cache at once, so that slow loads cannot fill memory.
//! It counts bytes, not requests. Invariant: read-ahead never takes what somebody waits for.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Least bytes for loads that somebody waits for.
const DEMAND_FLOOR: u64 = 8 << 20;
/// Most bytes for them.
const DEMAND_CEILING: u64 = 128 << 20;
/// Disk reads at once.
const DISK_READS: usize = 16;

/// Byte permits for loads, and a number of disk reads.
#[derive(Debug)]
pub struct Budget {
    demand: Arc<Semaphore>,
    demand_bytes: u32,
    ahead: Arc<Semaphore>,
    ahead_bytes: u32,
    disk: Semaphore,
}

/// Holds bytes of the budget until dropped.
#[derive(Debug)]
pub struct Permit {
    _held: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A quarter of the memory tier for loads that somebody waits for, within 8 to 128 MiB; half of that for
    /// read-ahead.
    pub fn for_memory(memory_bytes: u64) -> Self {
        let demand_bytes = (memory_bytes / 4).clamp(DEMAND_FLOOR, DEMAND_CEILING) as u32;
        Self::new(demand_bytes, demand_bytes / 2)
    }

    /// These many bytes for loads that somebody waits for, and for read-ahead.
    pub fn new(demand_bytes: u32, ahead_bytes: u32) -> Self {
        Self {
            demand: Arc::new(Semaphore::new(demand_bytes as usize)),
            demand_bytes,
            ahead: Arc::new(Semaphore::new(ahead_bytes as usize)),
            ahead_bytes,
            disk: Semaphore::new(DISK_READS),
        }
    }

    /// Waits for room for a load of `bytes`; one larger than the whole budget takes all of it.
    pub async fn demand(&self, bytes: u32) -> Permit {
        let bytes = bytes.min(self.demand_bytes);
        // The semaphore is never closed; if it were, an unbounded load is better than none.
        Permit { _held: self.demand.clone().acquire_many_owned(bytes).await.ok() }
    }

    /// Room for read-ahead of `bytes` if there is any now.
    pub fn ahead(&self, bytes: u32) -> Option<Permit> {
        let bytes = bytes.min(self.ahead_bytes);
        self.ahead.clone().try_acquire_many_owned(bytes).ok().map(|held| Permit { _held: Some(held) })
    }

    /// Waits for a turn at the disk.
    pub async fn disk(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.disk.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn read_ahead_ends_where_its_budget_ends_and_leaves_demand_alone() {
        let budget = Budget::new(10, 5);
        let held = budget.ahead(3).unwrap();
        assert!(budget.ahead(3).is_none());
        let demand = budget.demand(10).await;
        drop(held);
        assert!(budget.ahead(3).is_some());
        drop(demand);
    }

    #[tokio::test]
    async fn a_load_larger_than_the_budget_still_goes_alone() {
        let budget = Budget::new(10, 5);
        let all = budget.demand(1000).await;
        assert_eq!(budget.demand.available_permits(), 0);
        drop(all);
        assert_eq!(budget.demand.available_permits(), 10);
    }

    #[test]
    fn the_budget_follows_the_memory_tier_within_its_bounds() {
        assert_eq!(Budget::for_memory(0).demand_bytes, 8 << 20);
        assert_eq!(Budget::for_memory(256 << 20).demand_bytes, 64 << 20);
        assert_eq!(Budget::for_memory(1 << 40).demand_bytes, 128 << 20);
    }
}
