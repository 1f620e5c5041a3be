//! Produce and Fetch of one partition as our own client speaks them: plain values in and out.
//! No retries and no buffering. Invariant: an error code of the broker is an error here, never an empty answer.

use bytes::Bytes;

use crate::client::connection::Connection;
use crate::client::error::ClientError;
use crate::wire::message::fetch_request::{FetchPartition, FetchTopic};
use crate::wire::message::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::message::{
    BrokerId, FetchRequest, FetchResponse, InitProducerIdRequest, ProduceRequest, ProduceResponse, StrBytes,
    TopicName,
};

/// Newest version of Produce spoken: the last that names topics and not their ids is newer, this one is flexible.
pub const PRODUCE_VERSION: i16 = 9;
/// Newest version of Fetch spoken: the last that names topics.
pub const FETCH_VERSION: i16 = 12;
/// How long the broker may take over a produce.
const PRODUCE_PATIENCE_MS: i32 = 30_000;
/// Every in-sync replica acknowledges.
pub const ACKS_ALL: i16 = -1;

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Appends one whole batch, acknowledged by all in-sync replicas.
pub fn production(topic: &str, index: i32, batch: Bytes) -> ProduceRequest {
    production_with(topic, index, batch, ACKS_ALL)
}

/// Appends one whole batch; `acks` as Kafka numbers them: -1 all, 1 the leader, 0 nobody, and then there is no answer.
pub fn production_with(topic: &str, index: i32, batch: Bytes, acks: i16) -> ProduceRequest {
    let part = PartitionProduceData::default().with_index(index).with_records(Some(batch));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![part]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(PRODUCE_PATIENCE_MS)
        .with_topic_data(vec![topic])
}

/// An id and epoch for an idempotent producer.
pub async fn producer_identity(connection: &mut Connection) -> Result<(i64, i16), ClientError> {
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(0);
    let answer = connection.call(4, &request).await?;
    ClientError::check(answer.error_code, None)?;
    Ok((answer.producer_id.0, answer.producer_epoch))
}

/// The base offset an acknowledgement names.
pub fn acked(answer: &ProduceResponse) -> Result<i64, ClientError> {
    let parts = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    let mut base = None;
    for part in parts {
        ClientError::check(part.error_code, part.error_message.as_deref())?;
        base = Some(part.base_offset);
    }
    base.ok_or_else(missing)
}

/// What a fetch asks of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchAsk<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub index: i32,
    /// First offset wanted.
    pub from: i64,
    /// Bytes at most, but always a whole first batch.
    pub bytes_max: i32,
    /// How long the broker may wait for bytes, milliseconds.
    pub wait_ms: i32,
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Batches as stored; the last may be torn.
    pub records: Bytes,
    /// First offset of the whole log.
    pub log_start: i64,
    /// One past the last offset a consumer may see.
    pub high_watermark: i64,
}

/// Reads one partition without a session.
pub async fn fetch(connection: &mut Connection, ask: &FetchAsk<'_>) -> Result<Fetched, ClientError> {
    let parts = [(ask.index, ask.from)];
    let together = FetchTogether {
        topic: ask.topic,
        parts: &parts,
        part_bytes_max: ask.bytes_max,
        bytes_max: ask.bytes_max,
        wait_ms: ask.wait_ms,
    };
    let mut fetched = fetch_together(connection, &together).await?;
    fetched.pop().map(|(_, part)| part).ok_or_else(missing)
}

/// What one fetch asks of several partitions of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchTogether<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partitions and the first offset wanted of each; the first ones are served first.
    pub parts: &'a [(i32, i64)],
    /// Bytes of each at most, but always a whole first batch.
    pub part_bytes_max: i32,
    /// Bytes of all at most, but always a whole first batch.
    pub bytes_max: i32,
    /// How long the broker may wait for bytes, milliseconds.
    pub wait_ms: i32,
}

/// Reads several partitions at once, without a session: index and content of each, in the order of the answer.
pub async fn fetch_together(
    connection: &mut Connection,
    ask: &FetchTogether<'_>,
) -> Result<Vec<(i32, Fetched)>, ClientError> {
    let part = |(index, from): &(i32, i64)| {
        FetchPartition::default()
            .with_partition(*index)
            .with_fetch_offset(*from)
            .with_partition_max_bytes(ask.part_bytes_max)
    };
    let topic = FetchTopic::default()
        .with_topic(name(ask.topic))
        .with_partitions(ask.parts.iter().map(part).collect());
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(ask.wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(ask.bytes_max)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    fetched(connection.call(FETCH_VERSION, &request).await?)
}

fn fetched(answer: FetchResponse) -> Result<Vec<(i32, Fetched)>, ClientError> {
    ClientError::check(answer.error_code, None)?;
    let parts = answer.responses.into_iter().flat_map(|topic| topic.partitions);
    let fetched = parts.map(|part| {
        ClientError::check(part.error_code, None)?;
        let fetched = Fetched {
            records: part.records.unwrap_or_default(),
            log_start: part.log_start_offset,
            high_watermark: part.high_watermark,
        };
        Ok((part.partition_index, fetched))
    });
    let fetched: Vec<_> = fetched.collect::<Result<_, ClientError>>()?;
    if fetched.is_empty() { Err(missing()) } else { Ok(fetched) }
}

fn missing() -> ClientError {
    ClientError::Refused {
        code: UNKNOWN_SERVER_ERROR,
        message: Some("the partition is not in the answer".into()),
    }
}

const UNKNOWN_SERVER_ERROR: i16 = -1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::fetch_response::{FetchableTopicResponse, PartitionData};
    use crate::wire::message::produce_response::{PartitionProduceResponse, TopicProduceResponse};

    #[test]
    fn a_refused_partition_is_an_error() {
        let part = |code| {
            let part = PartitionProduceResponse::default().with_error_code(code).with_base_offset(7);
            let topic = TopicProduceResponse::default().with_partition_responses(vec![part]);
            ProduceResponse::default().with_responses(vec![topic])
        };
        assert_eq!(acked(&part(0)).unwrap(), 7);
        assert_eq!(acked(&part(2)).unwrap_err().to_string(), "CORRUPT_MESSAGE");
        assert!(acked(&ProduceResponse::default()).is_err());
    }

    #[test]
    fn a_fetch_without_its_partition_is_an_error() {
        let part = PartitionData::default().with_error_code(1);
        let topic = FetchableTopicResponse::default().with_partitions(vec![part]);
        let answer = FetchResponse::default().with_responses(vec![topic]);
        assert_eq!(fetched(answer).unwrap_err().to_string(), "OFFSET_OUT_OF_RANGE");
        assert!(fetched(FetchResponse::default()).is_err());
    }
}
