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

    /// From whoever holds most to whoever holds least, while that makes them more equal.
    fn even_out_replicas(&mut self, limit: usize) {
        for at in 0..self.rows.len() {
            if self.changed >= limit {
                return;
            }
            if self.rows[at].moving {
                continue;
            }
            let row = &self.rows[at];
            let held = row.replicas.iter().filter_map(|id| Some((self.active.get(id)?.replicas, *id)));
            let Some((most, from)) = held.max() else { continue };
            let racks = self.racks_of(row, from, from);
            let free = self.active.iter().filter(|(id, _)| !row.replicas.contains(id));
            let fits = free.filter(|(id, _)| self.racks_of(row, from, **id) >= racks);
            let Some((least, to)) = fits.map(|(id, load)| (load.replicas, *id)).min() else { continue };
            if most > least + 1 {
                self.swap(at, from, to);
            }
        }
    }

    /// Puts another replica first where the preferred leader leads more than that one.
    fn even_out_leaders(&mut self, limit: usize) {
        for at in 0..self.rows.len() {
            let row = &self.rows[at];
            if row.moving || (self.changed >= limit && row.before == row.replicas) {
                continue;
            }
            let Some(first) = row.replicas.first().copied() else { continue };
            let leads = |id: &BrokerId| self.active.get(id).map(|load| (load.leaders, *id));
            let most = leads(&first).map_or(usize::MAX, |(leaders, _)| leaders);
            let Some((least, to)) = row.replicas[1..].iter().filter_map(leads).min() else { continue };
            if most <= least.saturating_add(1) {
                continue;
            }
            let row = &mut self.rows[at];
            self.changed += usize::from(row.before == row.replicas);
            if let Some(nth) = row.replicas.iter().position(|id| *id == to) {
                row.replicas.swap(0, nth);
            }
            for (id, more) in [(first, false), (to, true)] {
                if let Some(load) = self.active.get_mut(&id) {
                    load.leaders = if more { load.leaders + 1 } else { load.leaders - 1 };
                }
            }
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
