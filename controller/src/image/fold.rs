//! record → next image. Pure: no clock, no randomness, no I/O. Not the decision that made the record.
//! Invariant: a group changes the image as a whole or not at all.

use std::fmt;
use std::sync::Arc;

use firnline_tiering::cold::tier::{Refused, TierChange, TierRow};

use crate::id::{BrokerEpoch, BrokerId, TopicId};
use crate::image::metadata::MetadataImage;
use crate::image::precondition::{self, Failed};
use crate::image::topics::{Tombstone, Topic};
use crate::record::entry::{Entry, Group};
use crate::record::kinds::{Broker, FEATURE_LEVEL, Partition, Record, Resource};

/// Why a group was a no-op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoOp {
    /// A fact it was decided on no longer holds.
    Stale(Failed),
    /// A log's tier row did not take its step.
    Tier(Refused),
    /// It contradicts the image in a way no precondition named.
    Contradiction(String),
}

/// What a group did: the tier rows it made, in the order of its records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// One per tier record.
    pub tiers: Vec<Arc<TierRow>>,
}

/// A group's fate, the same on every node.
pub type Outcome = Result<Applied, NoOp>;

impl fmt::Display for NoOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoOp::Stale(failed) => failed.fmt(f),
            NoOp::Tier(refused) => refused.fmt(f),
            NoOp::Contradiction(why) => f.write_str(why),
        }
    }
}

impl MetadataImage {
    /// The image after an entry's groups, and each one's fate. Offset and term are the caller's to set.
    pub fn apply(&self, entry: &Entry) -> (MetadataImage, Vec<Outcome>) {
        let mut image = self.clone();
        let outcomes = entry.groups.iter().map(|group| image.apply_group(group)).collect();
        (image, outcomes)
    }

    /// Changes the image by one group, or leaves it as it is.
    pub fn apply_group(&mut self, group: &Group) -> Outcome {
        for fact in &group.preconditions {
            precondition::check(self, fact).map_err(NoOp::Stale)?;
        }
        let mut next = self.clone();
        let mut applied = Applied::default();
        for record in &group.records {
            next.fold(record, &mut applied)?;
        }
        *self = next;
        Ok(applied)
    }

    pub(crate) fn fold(&mut self, record: &Record, applied: &mut Applied) -> Result<(), NoOp> {
        if self.feature_level == 0 && !matches!(record, Record::FeatureLevel { .. }) {
            return contradiction("the first record must be the feature level".to_owned());
        }
        if !matches!(record, Record::FeatureLevel { .. }) && record.level() > self.feature_level {
            let (needed, level) = (record.level(), self.feature_level);
            return contradiction(format!(
                "a record of feature level {needed} in a cluster at level {level}"
            ));
        }
        match record {
            Record::FeatureLevel { level } => self.fold_level(*level),
            Record::Cluster { id } => {
                self.cluster_id.clone_from(id);
                Ok(())
            }
            Record::Broker(broker) => self.fold_broker(broker),
            Record::Topic { id, name } => self.fold_topic(*id, name),
            Record::Partition { topic, index, row } => self.fold_partition(*topic, *index, row),
            Record::TopicDeleted { id, name, partitions } => {
                self.topics.bury(*id, Tombstone { name: name.as_str().into(), partitions: *partitions });
                self.configs.drop_resource(Resource::Topic(*id));
                Ok(())
            }
            Record::TopicPurged { id } => {
                if !self.topics.forget(*id) {
                    return contradiction(format!("topic {id} has no tombstone"));
                }
                self.tiers.forget(*id);
                Ok(())
            }
            Record::Config { resource, key, value } => self.fold_config(*resource, key, value.as_deref()),
            Record::ProducerIds { next } => match self.producer_ids.advance(*next) {
                true => Ok(()),
                false => contradiction(format!("next producer id falls to {next}")),
            },
            Record::TierChanged { topic, index, change } => {
                applied.tiers.push(self.fold_tier_change(*topic, *index, change)?);
                Ok(())
            }
            Record::TierRow { topic, index, row } => {
                self.tiers.set(*topic, *index, row.clone());
                Ok(())
            }
            Record::BrokerGone { id } => {
                self.nobody_counts_on(*id)?;
                if !self.brokers.forget(*id) {
                    return contradiction(format!("broker {id} is not registered"));
                }
                self.configs.drop_resource(Resource::Broker(*id));
                Ok(())
            }
            Record::BrokerEpochs { next } => {
                self.brokers.skip_to(*next);
                Ok(())
            }
        }
    }

    fn fold_broker(&mut self, broker: &Broker) -> Result<(), NoOp> {
        let known = self.brokers.get(broker.id).map_or(BrokerEpoch(-1), |known| known.epoch);
        if broker.epoch < known {
            return contradiction(format!(
                "broker {} epoch falls from {known} to {}",
                broker.id, broker.epoch
            ));
        }
        if broker.fenced && self.feature_level >= 2 {
            self.nobody_counts_on(broker.id)?;
        }
        self.brokers.set(broker.clone());
        Ok(())
    }

    /// A broker that is fenced or gone is in no ISR and leads nothing: records before in the group saw to that. A
    /// walk over all rows, which a broker's end is worth.
    fn nobody_counts_on(&self, id: BrokerId) -> Result<(), NoOp> {
        let rows = self
            .topics
            .live()
            .values()
            .flat_map(|topic| topic.partitions.iter().map(move |row| (topic, row)));
        match rows.into_iter().find(|(_, row)| row.leader == Some(id) || row.isr.contains(&id)) {
            Some((topic, _)) => {
                contradiction(format!("broker {id} leads or is in sync in topic {}", topic.name))
            }
            None => Ok(()),
        }
    }

    fn fold_level(&mut self, level: u16) -> Result<(), NoOp> {
        if level == 0 || level > FEATURE_LEVEL || level < self.feature_level {
            return contradiction(format!(
                "feature level {level} is not between {} and {FEATURE_LEVEL}",
                self.feature_level.max(1)
            ));
        }
        self.feature_level = level;
        Ok(())
    }

    fn fold_topic(&mut self, id: TopicId, name: &str) -> Result<(), NoOp> {
        let taken = self.topics.by_name(name).map(|topic| topic.id);
        if taken.is_some() || self.topics.get(id).is_some() || self.topics.tombstone(id).is_some() {
            return contradiction(format!("topic {id} named {name:?} is not new: {taken:?} has the name"));
        }
        self.topics.insert(Topic { id, name: name.into(), partitions: Default::default() });
        Ok(())
    }

    /// A new leader epoch reaches the log's tier row in the same step, so that the old leader's changes are refused.
    fn fold_partition(&mut self, topic: TopicId, index: i32, row: &Partition) -> Result<(), NoOp> {
        if let Some(before) = self.topics.partition(topic, index)
            && (row.leader_epoch < before.leader_epoch || row.epoch.0 != before.epoch.0.wrapping_add(1))
        {
            // One that skips an epoch rests on a change that was never made.
            return contradiction(format!(
                "partition {topic}/{index} does not step from epochs {}, {} to {}, {}",
                before.leader_epoch, before.epoch, row.leader_epoch, row.epoch
            ));
        }
        if !self.topics.set_partition(topic, index, row.clone()) {
            return contradiction(format!("there is no place for partition {topic}/{index}"));
        }
        if let Some(tier) = self.tiers.get(topic, index)
            && tier.leader_epoch < row.leader_epoch
        {
            let tier = tier.with_leader_epoch(row.leader_epoch);
            self.tiers.set(topic, index, Arc::new(tier));
        }
        Ok(())
    }

    fn fold_config(&mut self, resource: Resource, key: &str, value: Option<&str>) -> Result<(), NoOp> {
        if let Resource::Topic(id) = resource
            && self.topics.get(id).is_none()
        {
            return contradiction(format!("topic {id} does not live"));
        }
        self.configs.set(resource, key, value);
        Ok(())
    }

    fn fold_tier_change(
        &mut self,
        topic: TopicId,
        index: i32,
        change: &TierChange,
    ) -> Result<Arc<TierRow>, NoOp> {
        let Some(row) = self.tier_row(topic, index) else {
            return Err(NoOp::Contradiction(format!("there is no partition {topic}/{index}")));
        };
        let mut next = row.apply(change).map_err(NoOp::Tier)?;
        // A row lives long and there are many: room to grow, times the partitions of a cluster, is real memory.
        next.entries.shrink_to_fit();
        let next = Arc::new(next);
        self.tiers.set(topic, index, next.clone());
        Ok(next)
    }
}

fn contradiction(why: String) -> Result<(), NoOp> {
    Err(NoOp::Contradiction(why))
}
