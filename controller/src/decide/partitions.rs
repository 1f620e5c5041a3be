//! New partitions, of a new topic or of one that grows: assignments checked or placed, rows made.
//! Invariant: a new row's ISR is its live replicas, its leader the first of them, all epochs 0.

use std::collections::BTreeSet;

use firnline_tiering::epoch::LeaderEpoch;
use serde::{Deserialize, Serialize};

use crate::decide::decision::Decision;
use crate::decide::placement::{self, Place};
use crate::error::CreatePartitionsError;
use crate::id::{BrokerId, PartitionEpoch, TopicId};
use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;
use crate::record::kinds::{Broker, Partition, Record};

/// Partitions one request may create (Kafka's MAX_PARTITIONS_PER_BATCH).
pub const PARTITIONS_PER_REQUEST_MAX: u64 = 10_000;

/// One partition's replicas, preferred leader first.
pub type Assignment = Vec<BrokerId>;

/// A topic that shall have more partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPartitions {
    /// A live topic.
    pub topic: TopicId,
    /// How many it shall have in all.
    pub count: i32,
    /// One per added partition; empty lets the controller choose.
    pub assignments: Vec<Assignment>,
}

/// Adds partitions; answers how many the topic has then. `earlier` counts those of the same request's earlier topics.
pub fn grow(
    image: &MetadataImage,
    new: &NewPartitions,
    earlier: u64,
) -> Result<Decision<i32>, CreatePartitionsError> {
    let topic = image.topics.get(new.topic).ok_or(CreatePartitionsError::UnknownTopic(new.topic))?;
    let current = topic.partition_count();
    if new.count <= current {
        return Err(CreatePartitionsError::InvalidPartitions { current, asked: new.count });
    }
    let added = new.count - current;
    let asked = earlier.saturating_add(added as u64);
    if asked > PARTITIONS_PER_REQUEST_MAX {
        return Err(CreatePartitionsError::TooManyPartitions { asked, limit: PARTITIONS_PER_REQUEST_MAX });
    }
    let replication_factor = topic.partition(0).map_or(1, |row| row.replicas.len() as i16);
    let assignments = if new.assignments.is_empty() {
        place(image, current, added, replication_factor, new.topic).map_err(|live| {
            CreatePartitionsError::InvalidReplicationFactor { asked: replication_factor, live }
        })?
    } else {
        check_count(new, added, replication_factor).map_err(CreatePartitionsError::InvalidAssignment)?;
        new.assignments.clone()
    };
    let rows = rows(image, assignments).map_err(CreatePartitionsError::InvalidAssignment)?;
    let mut preconditions = vec![Precondition::PartitionCount(new.topic, current)];
    preconditions.extend(brokers_of(image, &rows));
    let records = rows.into_iter().zip(current..);
    let records = records.map(|(row, index)| Record::Partition { topic: new.topic, index, row }).collect();
    Ok(Decision::new(preconditions, records, new.count))
}

fn check_count(new: &NewPartitions, added: i32, replication_factor: i16) -> Result<(), String> {
    if new.assignments.len() != added as usize {
        return Err(format!("{} assignments for {added} new partition(s)", new.assignments.len()));
    }
    match new.assignments.iter().find(|replicas| replicas.len() != replication_factor as usize) {
        Some(odd) => Err(format!("{} replicas where the topic has {replication_factor}", odd.len())),
        None => Ok(()),
    }
}

/// Assignments in the order of their partitions, which must be 0, 1, 2... and equally replicated.
pub(crate) fn in_order(assignments: &[(i32, Assignment)]) -> Result<Vec<Assignment>, String> {
    let mut sorted: Vec<&(i32, Assignment)> = assignments.iter().collect();
    sorted.sort_by_key(|(index, _)| *index);
    for ((index, replicas), wanted) in sorted.iter().zip(0..) {
        if *index != wanted {
            return Err(format!(
                "assignments must be for partitions 0, 1, 2...: found {index} instead of {wanted}"
            ));
        }
        let first = sorted[0].1.len();
        if replicas.len() != first {
            return Err(format!(
                "partition {index} has {} replicas, partition 0 has {first}",
                replicas.len()
            ));
        }
    }
    Ok(sorted.into_iter().map(|(_, replicas)| replicas.clone()).collect())
}

/// Places partitions on the active brokers; the number of those if they cannot hold that many replicas.
pub(crate) fn place(
    image: &MetadataImage,
    first: i32,
    count: i32,
    replication_factor: i16,
    topic: TopicId,
) -> Result<Vec<Assignment>, usize> {
    let brokers: Vec<Place> =
        image.brokers.active().map(|broker| Place { id: broker.id, rack: broker.rack.clone() }).collect();
    if replication_factor < 1 || replication_factor as usize > brokers.len() {
        return Err(brokers.len());
    }
    let seed = topic.0.as_u64_pair().1;
    Ok(placement::spread(&brokers, first, count, replication_factor, seed))
}

/// Rows for assignments: each names known, different brokers, at least one of them live.
pub(crate) fn rows(image: &MetadataImage, assignments: Vec<Assignment>) -> Result<Vec<Partition>, String> {
    assignments.into_iter().map(|replicas| row(image, replicas)).collect()
}

fn row(image: &MetadataImage, replicas: Assignment) -> Result<Partition, String> {
    if replicas.is_empty() {
        return Err("an assignment names no replica".to_owned());
    }
    if replicas.iter().collect::<BTreeSet<_>>().len() < replicas.len() {
        return Err(format!("an assignment names a broker twice: {replicas:?}"));
    }
    if let Some(unknown) = replicas.iter().find(|id| image.brokers.get(**id).is_none()) {
        return Err(format!("an assignment names broker {unknown}, which is not registered"));
    }
    let isr: Vec<BrokerId> = replicas.iter().copied().filter(|id| image.brokers.is_active(*id)).collect();
    let leader = isr.first().copied();
    if leader.is_none() {
        return Err(format!("none of the brokers an assignment names is alive: {replicas:?}"));
    }
    let (leader_epoch, epoch) = (LeaderEpoch(0), PartitionEpoch(0));
    let (replicas, isr) = (replicas.into(), isr.into());
    Ok(Partition { replicas, isr, leader, leader_epoch, epoch, ..Partition::default() })
}

/// The registrations that rows rest on.
pub(crate) fn brokers_of(image: &MetadataImage, rows: &[Partition]) -> Vec<Precondition> {
    let ids: BTreeSet<BrokerId> = rows.iter().flat_map(|row| row.replicas.iter().copied()).collect();
    let known = ids.into_iter().filter_map(|id| image.brokers.get(id));
    let in_sync = |id: &BrokerId| rows.iter().any(|row| row.isr.contains(id));
    let fact = |broker: &Broker| match image.feature_level {
        level if level >= 2 && in_sync(&broker.id) => Precondition::BrokerActive(broker.id, broker.epoch),
        _ => Precondition::BrokerEpoch(broker.id, broker.epoch),
    };
    known.map(fact).collect()
}
