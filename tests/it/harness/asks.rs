//! What flows ask for again and again, in one line each. Every answer is handed back as it came, errors included,
//! but where the name says otherwise.

use bytes::Bytes;
use firnline_tiering::batch::header::BatchHeader;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_records_response::DeleteRecordsPartitionResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse,
    ListOffsetsRequest, ProduceRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::broker::Client;
use super::records::whole;
use super::wait::eventually;
use super::wire_client::name;

/// ListOffsets: the log end.
pub const LATEST: i64 = -1;
/// ListOffsets: the log start.
pub const EARLIEST: i64 = -2;
/// ListOffsets: the first offset on the local disk.
pub const EARLIEST_LOCAL: i64 = -4;
/// ListOffsets: the last offset in the bucket.
pub const LATEST_TIERED: i64 = -5;

/// Settings of a topic whose sealed segments move to the bucket and leave the disk at once.
pub const COLD: &[(&str, &str)] =
    &[("remote.storage.enable", "true"), ("segment.bytes", "1048576"), ("local.retention.bytes", "1")];

/// A text as the messages want it.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A CreateTopics request for one topic.
pub fn creation(topic: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let config = |(key, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000)
}

/// A Produce request for several partitions of one topic, each with its bytes.
pub fn production(topic: &str, acks: i16, parts: Vec<(i32, Bytes)>) -> ProduceRequest {
    let parts = parts.into_iter().map(|(index, records)| {
        PartitionProduceData::default().with_index(index).with_records(Some(records))
    });
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(parts.collect());
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// A Fetch request for partitions of one topic, each from its offset; no session.
pub fn fetching(topic: &str, parts: &[(i32, i64)], wait_ms: i32) -> FetchRequest {
    let part = |(index, offset): &(i32, i64)| {
        FetchPartition::default()
            .with_partition(*index)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(8 << 20)
    };
    let topic =
        FetchTopic::default().with_topic(name(topic)).with_partitions(parts.iter().map(part).collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(32 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// What a Fetch answer says of one partition.
pub fn of(response: &FetchResponse, index: i32) -> &PartitionData {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.find(|partition| partition.partition_index == index).expect("the partition is answered")
}

/// Bytes of a partition's records.
pub fn bytes(partition: &PartitionData) -> Bytes {
    partition.records.clone().unwrap_or_default()
}

impl Client {
    /// Creates a topic and hands back its result.
    pub async fn try_create(
        &mut self,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> CreatableTopicResult {
        let mut response = self.call(7, &creation(topic, partitions, configs)).await.expect("CreateTopics");
        response.topics.remove(0)
    }

    /// Creates a topic, which must succeed.
    pub async fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let created = self.try_create(topic, partitions, configs).await;
        assert_eq!(created.error_code, 0, "{topic}: {:?}", created.error_message);
    }

    /// Deletes a topic by name; its error code.
    pub async fn delete(&mut self, topic: &str) -> i16 {
        let state = DeleteTopicState::default().with_name(Some(name(topic)));
        let request = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(30_000);
        self.call(6, &request).await.expect("DeleteTopics").responses[0].error_code
    }

    /// Writes one batch with acks=all, which must be acked; its base offset.
    pub async fn append(&mut self, topic: &str, index: i32, batch: Bytes) -> i64 {
        let acked = self.produce(topic, index, batch).await.expect("Produce");
        assert_eq!(acked.error_code, 0, "{topic}-{index}: {:?}", acked.error_message);
        acked.base_offset
    }

    /// One offset by Kafka's special timestamps; (error, offset).
    pub async fn try_offset(&mut self, topic: &str, index: i32, timestamp: i64) -> (i16, i64) {
        let part = ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![part]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let response = self.call(9, &request).await.expect("ListOffsets");
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.offset)
    }

    /// The same; it must succeed.
    pub async fn offset(&mut self, topic: &str, index: i32, timestamp: i64) -> i64 {
        let (error, offset) = self.try_offset(topic, index, timestamp).await;
        assert_eq!(error, 0, "ListOffsets of {topic}-{index} at {timestamp}");
        offset
    }

    /// Moves the log start up.
    pub async fn delete_records(&mut self, topic: &str, index: i32, to: i64) -> DeleteRecordsPartitionResult {
        let part = DeleteRecordsPartition::default().with_partition_index(index).with_offset(to);
        let topic = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![part]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        self.call(2, &request).await.expect("DeleteRecords").topics.remove(0).partitions.remove(0)
    }

    /// Fetches without a session.
    pub async fn fetch_parts(&mut self, topic: &str, parts: &[(i32, i64)], wait_ms: i32) -> FetchResponse {
        self.call(11, &fetching(topic, parts, wait_ms)).await.expect("Fetch")
    }

    /// Reads whole batches of one partition from `from` to `to`, as a consumer does: answers that are still empty
    /// are asked for again, errors are not allowed.
    pub async fn read(&mut self, topic: &str, index: i32, from: i64, to: i64) -> Vec<(BatchHeader, Bytes)> {
        let (mut next, mut read) = (from, Vec::new());
        while next < to {
            let what = format!("{topic}-{index} serves offset {next}");
            let found = eventually(&what, async || {
                let answer = self.fetch(topic, index, next, 4 << 20, 1_000).await.expect("Fetch");
                assert_eq!(answer.error_code, 0, "{topic}-{index} at offset {next}");
                Some(whole(&bytes(&answer))).filter(|found| !found.is_empty())
            });
            let found = found.await;
            assert!(found[0].0.base_offset.0 <= next, "{topic}-{index} skips offset {next}");
            for (header, batch) in found {
                assert!(read.is_empty() || header.base_offset.0 == next, "a hole at {next}");
                next = header.next_offset().0;
                read.push((header, batch));
            }
        }
        read
    }
}
