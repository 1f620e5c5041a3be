//! What the command line does with topics: create, list, describe, delete, and read their settings.
//! Plain values in and out; the messages stay in here.

use std::collections::BTreeMap;
use std::time::Duration;

use firnline_controller::id::TopicId;

use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::wire::message::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use crate::wire::message::delete_topics_request::DeleteTopicState;
use crate::wire::message::describe_configs_request::DescribeConfigsResource;
use crate::wire::message::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use crate::wire::message::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::message::metadata_request::MetadataRequestTopic;
use crate::wire::message::metadata_response::MetadataResponseTopic;
use crate::wire::message::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, ListOffsetsRequest, MetadataRequest, StrBytes, TopicName,
};

/// How long the broker may take over an admin request.
const ADMIN_PATIENCE: Duration = Duration::from_secs(30);
const RESOURCE_TOPIC: i8 = 2;
const SOURCE_TOPIC: i8 = 1;

/// A topic as Metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Topic id, hyphenated.
    pub id: String,
    /// One of the broker's own.
    pub internal: bool,
    /// In index order.
    pub partitions: Vec<Partition>,
}

/// A partition as Metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Index.
    pub index: i32,
    /// Leading broker, -1 for none.
    pub leader: i32,
    /// Brokers that hold a replica.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub in_sync: Vec<i32>,
}

/// What a new topic should be; -1 leaves a number to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
    /// Topic configs.
    pub configs: Vec<(String, String)>,
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// Creates a topic; answers its number of partitions, -1 where the version does not tell.
pub async fn create(connection: &mut Connection, new: &NewTopic) -> Result<i32, ClientError> {
    let config = |(name, value): &(String, String)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(&new.name)))
        .with_num_partitions(new.partitions)
        .with_replication_factor(new.replication_factor)
        .with_configs(new.configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(ADMIN_PATIENCE.as_millis() as i32);
    let answer = connection.call(7, &request).await?;
    let mut partitions = -1;
    for topic in answer.topics {
        ClientError::check(topic.error_code, topic.error_message.as_deref())?;
        partitions = topic.num_partitions;
    }
    Ok(partitions)
}

/// Deletes topics by name; the first that is refused is the error.
pub async fn delete(connection: &mut Connection, names: &[String]) -> Result<(), ClientError> {
    let version = connection.version::<DeleteTopicsRequest>(6)?;
    let names: Vec<TopicName> = names.iter().map(|name| TopicName(text(name))).collect();
    let request = DeleteTopicsRequest::default().with_timeout_ms(ADMIN_PATIENCE.as_millis() as i32);
    let request = match version {
        6.. => request.with_topics(
            names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name))).collect(),
        ),
        _ => request.with_topic_names(names),
    };
    let answer = connection.call_in(version, &request).await?;
    answer
        .responses
        .iter()
        .try_for_each(|topic| ClientError::check(topic.error_code, topic.error_message.as_deref()))
}

/// All topics, or those named; a name that does not exist is an error. In name order.
pub async fn describe(
    connection: &mut Connection,
    names: Option<&[String]>,
) -> Result<Vec<Topic>, ClientError> {
    let asked = names.map(|names| {
        names
            .iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(text(name)))))
            .collect()
    });
    let request = MetadataRequest::default().with_topics(asked).with_allow_auto_topic_creation(false);
    let answer = connection.call(12, &request).await?;
    let mut topics = Vec::with_capacity(answer.topics.len());
    for topic in answer.topics {
        let name = topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default();
        ClientError::check(topic.error_code, Some(&format!("topic {name}")))?;
        topics.push(read(name, topic));
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

fn read(name: String, topic: MetadataResponseTopic) -> Topic {
    let mut partitions: Vec<Partition> = topic
        .partitions
        .into_iter()
        .map(|partition| Partition {
            index: partition.partition_index,
            leader: partition.leader_id.0,
            replicas: partition.replica_nodes.iter().map(|node| node.0).collect(),
            in_sync: partition.isr_nodes.iter().map(|node| node.0).collect(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    Topic { name, id: TopicId(topic.topic_id).to_string(), internal: topic.is_internal, partitions }
}

/// The first offset of a partition's whole log.
pub async fn earliest(connection: &mut Connection, topic: &str, index: i32) -> Result<i64, ClientError> {
    let offsets = offsets(connection, topic, &[index], End::First).await?;
    Ok(offsets.first().copied().unwrap_or_default())
}

/// Which end of a log is asked for, as Kafka's special timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The log start.
    First = -2,
    /// One past the last record a consumer may see.
    Last = -1,
}

/// One end of several partitions' logs, in the order asked.
pub async fn offsets(
    connection: &mut Connection,
    topic: &str,
    indexes: &[i32],
    end: End,
) -> Result<Vec<i64>, ClientError> {
    let part = |index: &i32| {
        ListOffsetsPartition::default()
            .with_partition_index(*index)
            .with_current_leader_epoch(-1)
            .with_timestamp(end as i64)
    };
    let parts = indexes.iter().map(part).collect();
    let topic = ListOffsetsTopic::default().with_name(TopicName(text(topic))).with_partitions(parts);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer = connection.call(7, &request).await?;
    let mut found = BTreeMap::new();
    for part in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        ClientError::check(part.error_code, None)?;
        found.insert(part.partition_index, part.offset);
    }
    Ok(indexes.iter().map(|index| found.get(index).copied().unwrap_or_default()).collect())
}

/// Sets configs of a topic; the others stay as they are.
pub async fn alter(
    connection: &mut Connection,
    topic: &str,
    configs: &[(&str, &str)],
) -> Result<(), ClientError> {
    let config = |(name, value): &(&str, &str)| {
        AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(text(topic))
        .with_configs(configs.iter().map(config).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.call(1, &request).await?;
    answer
        .responses
        .iter()
        .try_for_each(|result| ClientError::check(result.error_code, result.error_message.as_deref()))
}

/// The settings a topic has of its own, by name.
pub async fn own_configs(
    connection: &mut Connection,
    topic: &str,
) -> Result<BTreeMap<String, String>, ClientError> {
    let resource =
        DescribeConfigsResource::default().with_resource_type(RESOURCE_TOPIC).with_resource_name(text(topic));
    let resource = resource.with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.call(4, &request).await?;
    let mut own = BTreeMap::new();
    for result in answer.results {
        ClientError::check(result.error_code, result.error_message.as_deref())?;
        for config in result.configs.into_iter().filter(|config| config.config_source == SOURCE_TOPIC) {
            own.insert(
                config.name.to_string(),
                config.value.map(|value| value.to_string()).unwrap_or_default(),
            );
        }
    }
    Ok(own)
}
