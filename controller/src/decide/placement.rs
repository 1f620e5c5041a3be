//! Which brokers hold a new partition's replicas: leaders round robin over all, followers in as many racks as there
//! are. It knows no load (`decide/balance.rs` does). Invariant: a partition's replicas are different brokers, in as
//! many different racks as replicas and racks allow.

use std::collections::{BTreeMap, VecDeque};

use crate::id::BrokerId;

/// A broker that can hold replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The broker.
    pub id: BrokerId,
    /// Its rack; those without one share a rack without a name, as in Kafka.
    pub rack: Option<String>,
}

/// Replicas for partitions `first..first + count`, preferred leader first. `seed` picks the starting broker, so that
/// small topics do not all begin on the same one.
///
/// Needs `1 ≤ replication_factor ≤ brokers.len()`; panics otherwise, deciding so is the caller's.
pub fn spread(
    brokers: &[Place],
    first: i32,
    count: i32,
    replication_factor: i16,
    seed: u64,
) -> Vec<Vec<BrokerId>> {
    let (n, wanted) = (brokers.len() as u64, replication_factor as u64);
    assert!(wanted >= 1 && wanted <= n, "{wanted} replicas on {n} brokers");
    let ring = alternate(brokers);
    (first..first + count)
        .map(|partition| {
            let turn = seed.wrapping_add(partition as u64);
            let leader = turn % n;
            // Followers walk the other brokers, one step further on every round of leaders.
            let shift = if n > 1 { (turn / n) % (n - 1) } else { 0 };
            let follower = |at: u64| (leader + 1 + (shift + at) % (n - 1)) % n;
            let walk = std::iter::once(leader).chain((0..n - 1).map(follower));
            choose(walk.map(|at| ring[at as usize]), wanted as usize)
        })
        .collect()
}

/// All brokers in a row in which racks take turns.
fn alternate(brokers: &[Place]) -> Vec<&Place> {
    let mut racks: BTreeMap<Option<&str>, VecDeque<&Place>> = BTreeMap::new();
    for place in brokers {
        racks.entry(place.rack.as_deref()).or_default().push_back(place);
    }
    let mut ring = Vec::with_capacity(brokers.len());
    while ring.len() < brokers.len() {
        ring.extend(racks.values_mut().filter_map(VecDeque::pop_front));
    }
    ring
}

/// The first of a walk, then whoever brings the rack that was used least so far.
fn choose<'p>(walk: impl Iterator<Item = &'p Place>, wanted: usize) -> Vec<BrokerId> {
    let mut left: Vec<&Place> = walk.collect();
    let mut used: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut chosen = Vec::with_capacity(wanted);
    while chosen.len() < wanted {
        let times = |place: &&Place| used.get(&place.rack.as_deref()).copied().unwrap_or(0);
        let Some((at, _)) = left.iter().enumerate().min_by_key(|(at, place)| (times(place), *at)) else {
            break;
        };
        let place = left.remove(at);
        *used.entry(place.rack.as_deref()).or_default() += 1;
        chosen.push(place.id);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn replicas_differ_racks_are_used_and_leaders_spread(
            racks in prop::collection::vec(0_u8..4, 1..12),
            wanted in 1_i16..12,
            first in 0..50,
            count in 1..100,
            seed: u64,
        ) {
            let n = racks.len() as i32;
            let wanted = wanted.min(n as i16);
            let rack = |rack: u8| (rack > 0).then(|| rack.to_string());
            let brokers: Vec<Place> =
                racks.iter().zip(0..).map(|(in_rack, id)| Place { id: BrokerId(id * 7), rack: rack(*in_rack) }).collect();
            let of = |id: &BrokerId| racks[id.0 as usize / 7];
            let there_are = racks.iter().collect::<BTreeSet<_>>().len();
            let placed = spread(&brokers, first, count, wanted, seed);
            prop_assert_eq!(placed.len(), count as usize);
            let mut led: BTreeMap<BrokerId, i32> = BTreeMap::new();
            for replicas in &placed {
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), wanted as usize);
                let used = replicas.iter().map(of).collect::<BTreeSet<_>>().len();
                prop_assert_eq!(used, there_are.min(wanted as usize), "{:?} in racks {:?}", replicas, racks);
                *led.entry(replicas[0]).or_default() += 1;
            }
            let most = led.values().max().copied().unwrap_or(0);
            prop_assert!(most <= (count + n - 1) / n + 1, "one of {} brokers leads {} of {}", n, most, count);
        }
    }

    #[test]
    fn followers_of_one_leader_are_not_always_the_same() {
        let brokers: Vec<Place> = (0..6).map(|id| Place { id: BrokerId(id), rack: None }).collect();
        let placed = spread(&brokers, 0, 60, 3, 0);
        let pairs: BTreeSet<_> = placed.iter().filter(|replicas| replicas[0] == BrokerId(0)).collect();
        assert!(pairs.len() >= 4, "{pairs:?}");
    }
}
