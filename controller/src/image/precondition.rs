//! Whether the facts a group was decided on still hold. Pure. Invariant: the same image and precondition give the
//! same answer on every node, so a refused group is refused everywhere.

use std::fmt;

use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;

/// A precondition that does not hold, and what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What was taken for granted.
    pub precondition: Precondition,
    /// What is.
    pub found: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} does not hold: {}", self.precondition, self.found)
    }
}

/// Checks one.
pub fn check(image: &MetadataImage, precondition: &Precondition) -> Result<(), Failed> {
    let found = match precondition {
        Precondition::Unformatted => level_of(image),
        Precondition::NameFree(name) => {
            let taken = image.topics.by_name(name).or_else(|| image.topics.colliding(name));
            taken.map(|topic| format!("topic {} is named {}", topic.id, topic.name))
        }
        Precondition::PartitionCount(topic, count) => {
            differs(count, image.topics.get(*topic).map(|topic| topic.partition_count()))
        }
        Precondition::PartitionEpoch(topic, index, epoch) => {
            differs(epoch, image.topics.partition(*topic, *index).map(|row| row.epoch))
        }
        Precondition::LeaderEpoch(topic, index, epoch) => {
            differs(epoch, image.topics.partition(*topic, *index).map(|row| row.leader_epoch))
        }
        Precondition::BrokerEpoch(id, epoch) => {
            differs(epoch, image.brokers.get(*id).map(|broker| broker.epoch))
        }
        Precondition::NextBrokerEpoch(epoch) => differs(epoch, Some(image.brokers.next_epoch())),
        Precondition::NextProducerId(next) => differs(next, Some(image.producer_ids.next())),
        Precondition::AwaitsPurge(topic) => {
            image.topics.tombstone(*topic).is_none().then(|| "it has no tombstone".to_owned())
        }
        Precondition::BrokerActive(id, epoch) => match image.brokers.get(*id) {
            Some(broker) if broker.fenced => Some("it is fenced".to_owned()),
            Some(broker) if broker.stopping => Some("it is shutting down".to_owned()),
            known => differs(epoch, known.map(|broker| broker.epoch)),
        },
    };
    match found {
        None => Ok(()),
        Some(found) => Err(Failed { precondition: precondition.clone(), found }),
    }
}

fn level_of(image: &MetadataImage) -> Option<String> {
    (image.feature_level != 0).then(|| format!("feature level {}", image.feature_level))
}

fn differs<T: PartialEq + fmt::Display>(wanted: &T, found: Option<T>) -> Option<String> {
    match found {
        Some(found) if found == *wanted => None,
        Some(found) => Some(format!("it is {found}")),
        None => Some("there is none".to_owned()),
    }
}
