//! Which replicas to move so that brokers hold and lead equally much, or so that one holds nothing: a plan of
//! reassignments, for `firn cluster rebalance` and `drain`. Nothing is moved here. Invariant: a planned move keeps
//! the number of replicas, brings no partition into fewer racks, and puts nothing on a broker that is not active.

use std::collections::BTreeMap;

use crate::decide::reassign::Reassignment;
use crate::id::{BrokerId, TopicId};
use crate::image::metadata::MetadataImage;

/// Moves, and the partitions for which there was no place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// To be asked for as they are; partitions that are already moving are left out.
    pub moves: Vec<Reassignment>,
    /// Every other active broker has a replica of it already, or it is being moved.
    pub stuck: Vec<(TopicId, i32)>,
}

/// Moves everything off `leaving`, to where least is.
pub fn drain(image: &MetadataImage, leaving: BrokerId) -> Plan {
    let mut table = Table::of(image);
    table.active.remove(&leaving);
    let mut stuck = Vec::new();
    for at in 0..table.rows.len() {
        let row = &table.rows[at];
        if !row.replicas.contains(&leaving) {
            continue;
        }
        match table.best_for(row, leaving).filter(|_| !row.moving) {
            Some(to) => table.swap(at, leaving, to),
            None => stuck.push((row.topic, row.index)),
        }
    }
    Plan { moves: table.moves(), stuck }
}

/// Evens out replicas, then preferred leaders. At most `limit` partitions change.
pub fn rebalance(image: &MetadataImage, limit: usize) -> Plan {
    let mut table = Table::of(image);
    table.even_out_replicas(limit);
    table.even_out_leaders(limit);
    Plan { moves: table.moves(), stuck: Vec::new() }
}

#[derive(Debug, Clone)]
struct Row {
    topic: TopicId,
    index: i32,
    before: Vec<BrokerId>,
    replicas: Vec<BrokerId>,
    moving: bool,
}

/// Replicas and preferred leaders of one broker.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    replicas: usize,
    leaders: usize,
}

struct Table {
    rows: Vec<Row>,
    racks: BTreeMap<BrokerId, Option<String>>,
    active: BTreeMap<BrokerId, Load>,
    changed: usize,
}

impl Table {
    fn of(image: &MetadataImage) -> Table {
        let racks = image.brokers.iter().map(|broker| (broker.id, broker.rack.clone())).collect();
        let mut active: BTreeMap<BrokerId, Load> =
            image.brokers.active().map(|broker| (broker.id, Load::default())).collect();
        let mut rows = Vec::new();
        for topic in image.topics.iter() {
            for (row, index) in topic.partitions.iter().zip(0..) {
                let stays = row.replicas.iter().copied().filter(|id| !row.removing.contains(id));
                let replicas: Vec<BrokerId> = stays.collect();
                for (id, nth) in replicas.iter().zip(0_usize..) {
                    if let Some(load) = active.get_mut(id) {
                        load.replicas += 1;
                        load.leaders += usize::from(nth == 0);
                    }
                }
                rows.push(Row {
                    topic: topic.id,
                    index,
                    before: replicas.clone(),
                    replicas,
                    moving: row.is_moving(),
                });
            }
        }
        Table { rows, racks, active, changed: 0 }
    }

    /// In how many racks a partition would be with `to` in place of `from`.
    fn racks_of(&self, row: &Row, from: BrokerId, to: BrokerId) -> usize {
        let ids = row.replicas.iter().map(|id| if *id == from { to } else { *id });
        ids.map(|id| self.racks.get(&id)).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// The active broker that can take a replica over and has the least, most racks first.
    fn best_for(&self, row: &Row, from: BrokerId) -> Option<BrokerId> {
        let free = self.active.iter().filter(|(id, _)| !row.replicas.contains(id));
        let leads = row.replicas.first() == Some(&from);
        let by = |(id, load): &(&BrokerId, &Load)| {
            let led = if leads { load.leaders } else { 0 };
            (std::cmp::Reverse(self.racks_of(row, from, **id)), load.replicas, led, **id)
        };
        free.min_by_key(by).map(|(id, _)| *id)
    }

    fn swap(&mut self, at: usize, from: BrokerId, to: BrokerId) {
        let row = &mut self.rows[at];
        self.changed += usize::from(row.before == row.replicas);
        let Some(nth) = row.replicas.iter().position(|id| *id == from) else { return };
        row.replicas[nth] = to;
        let leads = usize::from(nth == 0);
        if let Some(load) = self.active.get_mut(&from) {
            load.replicas -= 1;
            load.leaders -= leads;
        }
        if let Some(load) = self.active.get_mut(&to) {
            load.replicas += 1;
            load.leaders += leads;
        }
    }

    /// Whether a partition may still change: each that does counts once.
    fn may_change(&self, at: usize, limit: usize) -> bool {
        let row = &self.rows[at];
        !row.moving && (self.changed < limit || row.before != row.replicas)
    }

    /// From whoever holds most to whoever holds least, while that makes them more equal. Every step makes them so,
    /// hence it ends.
    fn even_out_replicas(&mut self, limit: usize) {
        let mut again = true;
        while again {
            again = false;
            for at in 0..self.rows.len() {
                if let Some((from, to)) = self.better_place(at).filter(|_| self.may_change(at, limit)) {
                    self.swap(at, from, to);
                    again = true;
                }
            }
        }
    }

    /// Who gives up a partition's replica, and to whom, if that evens out.
    fn better_place(&self, at: usize) -> Option<(BrokerId, BrokerId)> {
        let row = &self.rows[at];
        let held = row.replicas.iter().filter_map(|id| Some((self.active.get(id)?.replicas, *id)));
        let (most, from) = held.max()?;
        let racks = self.racks_of(row, from, from);
        let free = self.active.iter().filter(|(id, _)| !row.replicas.contains(id));
        let fits = free.filter(|(id, _)| self.racks_of(row, from, **id) >= racks);
        let (least, to) = fits.map(|(id, load)| (load.replicas, *id)).min()?;
        (most > least + 1).then_some((from, to))
    }

    /// Puts another replica first where the preferred leader leads more than that one.
    fn even_out_leaders(&mut self, limit: usize) {
        let mut again = true;
        while again {
            again = false;
            for at in 0..self.rows.len() {
                if let Some((first, to)) = self.better_leader(at).filter(|_| self.may_change(at, limit)) {
                    self.prefer(at, first, to);
                    again = true;
                }
            }
        }
    }

    fn better_leader(&self, at: usize) -> Option<(BrokerId, BrokerId)> {
        let (first, others) = self.rows[at].replicas.split_first()?;
        let leads = |id: &BrokerId| self.active.get(id).map(|load| (load.leaders, *id));
        let (least, to) = others.iter().filter_map(leads).min()?;
        // One that is not active leads nothing, and should not be preferred.
        let more = leads(first).is_none_or(|(most, _)| most > least + 1);
        more.then_some((*first, to))
    }

    fn prefer(&mut self, at: usize, first: BrokerId, to: BrokerId) {
        let row = &mut self.rows[at];
        self.changed += usize::from(row.before == row.replicas);
        if let Some(nth) = row.replicas.iter().position(|id| *id == to) {
            row.replicas.swap(0, nth);
        }
        if let Some(load) = self.active.get_mut(&first) {
            load.leaders -= 1;
        }
        if let Some(load) = self.active.get_mut(&to) {
            load.leaders += 1;
        }
    }

    fn moves(self) -> Vec<Reassignment> {
        let changed = self.rows.into_iter().filter(|row| row.before != row.replicas);
        changed
            .map(|row| Reassignment {
                topic: row.topic,
                index: row.index,
                replicas: Some(row.replicas),
                may_resize: false,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::entry::Group;
    use crate::record::kinds::{Broker, Partition, Record};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    /// Brokers 0 to n in these racks, and one topic whose partitions begin at these brokers.
    fn cluster(racks: &[u8], replicas: usize, first: &[usize]) -> MetadataImage {
        let mut image = MetadataImage::default();
        let mut records = vec![Record::FeatureLevel { level: 2 }];
        records.extend(racks.iter().zip(0..).map(|(rack, id)| {
            Record::Broker(Broker { id: BrokerId(id), rack: Some(rack.to_string()), ..Broker::default() })
        }));
        let topic = TopicId(Uuid::from_u128(7));
        records.push(Record::Topic { id: topic, name: "a".into() });
        records.extend(first.iter().zip(0..).map(|(first, index)| {
            let ids = (0..replicas).map(|nth| BrokerId(((first + nth) % racks.len()) as i32));
            let replicas: std::sync::Arc<[BrokerId]> = ids.collect();
            let row = Partition {
                isr: replicas.clone(),
                leader: Some(replicas[0]),
                replicas,
                ..Partition::default()
            };
            Record::Partition { topic, index, row }
        }));
        image.apply_group(&Group { preconditions: Vec::new(), records }).expect("a consistent cluster");
        image
    }

    /// The replicas of every partition once the plan is carried out.
    fn carried_out(image: &MetadataImage, plan: &Plan) -> Vec<Vec<BrokerId>> {
        let planned: BTreeMap<_, _> = plan
            .moves
            .iter()
            .map(|to| ((to.topic, to.index), to.replicas.clone().expect("no cancel")))
            .collect();
        let rows = image.topics.iter().flat_map(|topic| {
            topic.partitions.iter().zip(0..).map(move |(row, index)| ((topic.id, index), row))
        });
        rows.map(|(place, row)| planned.get(&place).cloned().unwrap_or_else(|| row.replicas.to_vec()))
            .collect()
    }

    fn racks_of(racks: &[u8], row: &[BrokerId]) -> usize {
        row.iter().map(|id| racks[id.0 as usize]).collect::<BTreeSet<_>>().len()
    }

    fn counts(n: usize, ids: impl Iterator<Item = BrokerId>) -> Vec<usize> {
        let mut counts = vec![0; n];
        ids.for_each(|id| counts[id.0 as usize] += 1);
        counts
    }

    fn gap(counts: &[usize]) -> usize {
        counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0)
    }

    proptest! {
        #[test]
        fn a_plan_keeps_what_is_there(
            racks in prop::collection::vec(0_u8..3, 2..8),
            replicas in 1_usize..4,
            first in prop::collection::vec(0_usize..8, 1..40),
        ) {
            let replicas = replicas.min(racks.len());
            let image = cluster(&racks, replicas, &first);
            let (drained, even) = (drain(&image, BrokerId(0)), rebalance(&image, usize::MAX));
            let before = carried_out(&image, &Plan::default());
            for (plan, drains) in [(&drained, true), (&even, false)] {
                for (row, was) in carried_out(&image, plan).iter().zip(&before) {
                    prop_assert_eq!(row.iter().collect::<BTreeSet<_>>().len(), replicas, "{:?}", row);
                    // A drained rack may be the only one of its kind.
                    prop_assert!(drains || racks_of(&racks, row) >= racks_of(&racks, was), "{:?} -> {:?}", was, row);
                }
            }
            let left = carried_out(&image, &drained);
            let held = left.iter().filter(|row| row.contains(&BrokerId(0))).count();
            prop_assert_eq!(held, drained.stuck.len());
            prop_assert!(held == 0 || replicas == racks.len(), "nowhere to go only where everybody has it");
            let after = carried_out(&image, &even);
            let load = |rows: &[Vec<BrokerId>]| gap(&counts(racks.len(), rows.iter().flatten().copied()));
            prop_assert!(load(&after) <= load(&before), "{:?} -> {:?}", before, after);
            prop_assert!(rebalance(&image, 1).moves.len() <= 1);
        }

        #[test]
        fn brokers_of_one_rack_become_even(n in 2_usize..7, replicas in 1_usize..4, partitions in 1_usize..60) {
            let replicas = replicas.min(n);
            let image = cluster(&vec![0; n], replicas, &vec![0; partitions]);
            let after = carried_out(&image, &rebalance(&image, usize::MAX));
            let held = counts(n, after.iter().flatten().copied());
            prop_assert!(gap(&held) <= 1, "replicas {:?}", held);
            let led = counts(n, after.iter().map(|row| row[0]));
            for row in &after {
                let least = row.iter().map(|id| led[id.0 as usize]).min().unwrap_or(0);
                prop_assert!(led[row[0].0 as usize] <= least + 1, "{:?} of leaders {:?}", row, led);
            }
        }
    }
}
