//! Which brokers hold a new partition's replicas: round robin with a shift, so that leaders and followers spread.
//! It knows no racks and no load yet. Invariant: a partition's replicas are different brokers.

use crate::id::BrokerId;

/// Replicas for partitions `first..first + count`, preferred leader first. `seed` picks the starting broker, so that
/// small topics do not all begin on the same one.
///
/// Needs `1 ≤ replication_factor ≤ brokers.len()`; panics otherwise, deciding so is the caller's.
pub fn spread(
    brokers: &[BrokerId],
    first: i32,
    count: i32,
    replication_factor: i16,
    seed: u64,
) -> Vec<Vec<BrokerId>> {
    let (n, wanted) = (brokers.len() as u64, replication_factor as u64);
    assert!(wanted >= 1 && wanted <= n, "{wanted} replicas on {n} brokers");
    (first..first + count)
        .map(|partition| {
            let turn = seed.wrapping_add(partition as u64);
            let leader = turn % n;
            // Followers walk the other brokers, one step further on every round of leaders.
            let shift = if n > 1 { (turn / n) % (n - 1) } else { 0 };
            let follower = |at: u64| (leader + 1 + (shift + at) % (n - 1)) % n;
            let places = std::iter::once(leader).chain((0..wanted - 1).map(follower));
            places.map(|at| brokers[at as usize]).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn replicas_differ_and_leaders_spread(n in 1_i32..12, wanted in 1_i16..12, first in 0..50, count in 1..100, seed: u64) {
            let wanted = wanted.min(n as i16);
            let brokers: Vec<BrokerId> = (0..n).map(|id| BrokerId(id * 7)).collect();
            let placed = spread(&brokers, first, count, wanted, seed);
            prop_assert_eq!(placed.len(), count as usize);
            let mut led: BTreeMap<BrokerId, i32> = BTreeMap::new();
            for replicas in &placed {
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), wanted as usize);
                *led.entry(replicas[0]).or_default() += 1;
            }
            let most = led.values().max().copied().unwrap_or(0);
            prop_assert!(most <= (count + n - 1) / n + 1, "one of {} brokers leads {} of {}", n, most, count);
        }
    }
}
