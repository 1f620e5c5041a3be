//! Create and delete topics: what is allowed, and the records. Not configuration values (the broker checks them).
//! Invariant: a topic comes with all its partitions or not at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::decision::Decision;
use crate::decide::names;
use crate::decide::partitions::{self, Assignment, PARTITIONS_PER_REQUEST_MAX};
use crate::error::{CreateTopicError, DeleteTopicError};
use crate::id::TopicId;
use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;
use crate::record::kinds::{Record, Resource};

/// A topic to create. Defaults are resolved by the asker, except that assignments want −1 in both counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NewTopic {
    /// Kafka's name.
    pub name: String,
    /// How many; −1 with `assignments`.
    pub partitions: i32,
    /// Replicas of each; −1 with `assignments`.
    pub replication_factor: i16,
    /// Which brokers hold which partition; empty lets the controller choose.
    pub assignments: Vec<(i32, Assignment)>,
    /// Dynamic configuration, checked by the asker.
    pub configs: Vec<(String, String)>,
}

/// A topic that was created, or would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// This life's id; a made-up one if the request only validated.
    pub id: TopicId,
    /// How many partitions.
    pub partitions: i32,
    /// Replicas of partition 0.
    pub replication_factor: i16,
    /// As asked.
    pub configs: Vec<(String, String)>,
}

/// How often each name occurs in a request: a name in it twice is refused both times.
pub fn occurrences(topics: &[NewTopic]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for topic in topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    counts
}

/// Ids come with the request: a topic of this name and id is the asker's own, from an attempt whose answer it missed.
fn own(image: &MetadataImage, new: &NewTopic, id: TopicId) -> Result<Option<CreatedTopic>, CreateTopicError> {
    match image.topics.get(id) {
        Some(topic) if *topic.name == *new.name => Ok(Some(CreatedTopic {
            name: new.name.clone(),
            id,
            partitions: topic.partition_count(),
            replication_factor: topic.partition(0).map_or(0, |row| row.replicas.len() as i16),
            configs: new.configs.clone(),
        })),
        None if image.topics.tombstone(id).is_none() && id.is_drawn() => Ok(None),
        _ => Err(CreateTopicError::InvalidRequest(format!("{id} cannot be a new topic's id"))),
    }
}

/// Creates `new` under the fresh `id`. `earlier` counts the partitions of the same request's earlier topics.
pub fn create(
    image: &MetadataImage,
    new: &NewTopic,
    id: TopicId,
    earlier: u64,
) -> Result<Decision<CreatedTopic>, CreateTopicError> {
    if let Some(done) = own(image, new, id)? {
        return Ok(Decision::nothing_to_do(done));
    }
    check_name(image, &new.name)?;
    check_configs(&new.configs)?;
    let assignments = choose(image, new, id, earlier)?;
    let rows = partitions::rows(image, assignments).map_err(CreateTopicError::InvalidAssignment)?;
    let mut preconditions = vec![Precondition::NameFree(new.name.clone())];
    preconditions.extend(partitions::brokers_of(image, &rows));
    let created = CreatedTopic {
        name: new.name.clone(),
        id,
        partitions: rows.len() as i32,
        replication_factor: rows.first().map_or(0, |row| row.replicas.len() as i16),
        configs: new.configs.clone(),
    };
    let mut records = vec![Record::Topic { id, name: new.name.clone() }];
    records.extend(rows.into_iter().zip(0..).map(|(row, index)| Record::Partition { topic: id, index, row }));
    records.extend(new.configs.iter().map(|(key, value)| Record::Config {
        resource: Resource::Topic(id),
        key: key.clone(),
        value: Some(value.clone()),
    }));
    Ok(Decision::new(preconditions, records, created))
}

/// Deletes a topic: free for clients at once, its objects purged later.
pub fn delete(image: &MetadataImage, id: TopicId) -> Result<Decision<()>, DeleteTopicError> {
    let topic = image.topics.get(id).ok_or(DeleteTopicError::UnknownTopic(id))?;
    let partitions = topic.partition_count();
    let record = Record::TopicDeleted { id, name: topic.name.to_string(), partitions };
    Ok(Decision::new(vec![Precondition::PartitionCount(id, partitions)], vec![record], ()))
}

/// Ends a deleted topic's purge: nothing of it is left in the bucket.
pub fn finish_purge(image: &MetadataImage, id: TopicId) -> Option<Decision<()>> {
    image.topics.tombstone(id)?;
    Some(Decision::new(vec![Precondition::AwaitsPurge(id)], vec![Record::TopicPurged { id }], ()))
}

fn check_name(image: &MetadataImage, name: &str) -> Result<(), CreateTopicError> {
    if let Some(why) = names::illegal(name) {
        return Err(CreateTopicError::InvalidName(why));
    }
    if let Some(topic) = image.topics.by_name(name) {
        return Err(CreateTopicError::Exists { name: name.to_owned(), id: topic.id });
    }
    if let Some(existing) = image.topics.colliding(name) {
        let existing = existing.name.to_string();
        return Err(CreateTopicError::Collides { name: name.to_owned(), existing });
    }
    Ok(())
}

fn check_configs(configs: &[(String, String)]) -> Result<(), CreateTopicError> {
    let changes = configs.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())));
    match crate::decide::configs::illegal(changes) {
        Some(why) => Err(CreateTopicError::InvalidRequest(why)),
        None => Ok(()),
    }
}

/// The partitions' replicas: as asked, or placed here.
fn choose(
    image: &MetadataImage,
    new: &NewTopic,
    id: TopicId,
    earlier: u64,
) -> Result<Vec<Assignment>, CreateTopicError> {
    let limit = PARTITIONS_PER_REQUEST_MAX;
    let within = |count: u64| match earlier.saturating_add(count) {
        asked if asked > limit => Err(CreateTopicError::TooManyPartitions { asked, limit }),
        _ => Ok(()),
    };
    if !new.assignments.is_empty() {
        if new.partitions != -1 || new.replication_factor != -1 {
            let why = "a request with assignments must leave partitions and replication factor at -1";
            return Err(CreateTopicError::InvalidRequest(why.to_owned()));
        }
        within(new.assignments.len() as u64)?;
        return partitions::in_order(&new.assignments).map_err(CreateTopicError::InvalidAssignment);
    }
    if new.partitions <= 0 {
        return Err(CreateTopicError::InvalidPartitions(new.partitions));
    }
    within(new.partitions as u64)?;
    partitions::place(image, 0, new.partitions, new.replication_factor, id)
        .map_err(|live| CreateTopicError::InvalidReplicationFactor { asked: new.replication_factor, live })
}
