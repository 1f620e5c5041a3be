//! Every version of the data plane's APIs.
//! Invariant: what one version wrote, every version reads.

use bytes::Bytes;
use firnline::wire::api_key::{ApiKey, PRODUCE_SERVED_FROM};
use firnline_tiering::batch::builder::BatchBuilder;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, DescribeProducersRequest, FetchRequest, InitProducerIdRequest,
    ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::{Bench, versions};
use crate::harness::asks::LATEST;
use crate::harness::wire_client::{frame, name};

const NOT_BEFORE: i64 = 1_000;

fn batch(timestamp: i64) -> Bytes {
    let mut batch = BatchBuilder::new();
    batch.push(timestamp, Some(b"key"), Some(b"value"), &[]);
    batch.build()
}

async fn produce_one(bench: &mut Bench, timestamp: i64) -> i64 {
    let produced = bench.client.produce("t", 0, batch(timestamp)).await.expect("an answer");
    assert_eq!(produced.error_code, 0, "{produced:?}");
    produced.base_offset
}

#[tokio::test]
async fn produce() {
    let mut bench = Bench::open().await;
    let mut next = 0;
    for version in versions(ApiKey::Produce).filter(|version| *version >= PRODUCE_SERVED_FROM) {
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch(NOT_BEFORE)));
        let missing = PartitionProduceData::default().with_index(9).with_records(Some(batch(NOT_BEFORE)));
        let topic = TopicProduceData::default().with_name(name("t")).with_partition_data(vec![data, missing]);
        for acks in [-1, 1] {
            let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000);
            let request = request.with_topic_data(vec![topic.clone()]);
            let response = bench.client.call(version, &request).await.expect("an answer");
            let parts = &response.responses[0].partition_responses;
            assert_eq!((parts[0].error_code, parts[0].base_offset), (0, next), "version {version}");
            assert_eq!((parts[1].index, parts[1].error_code), (9, 3), "version {version}");
            next += 1;
        }
    }
    assert_no_transactions(&mut bench, next).await;
    for version in 0..PRODUCE_SERVED_FROM {
        let topic = [&1i32.to_be_bytes()[..], &1i16.to_be_bytes(), b"t", &1i32.to_be_bytes()].concat();
        let partition = [0i32.to_be_bytes(), (-1i32).to_be_bytes()].concat();
        let body = [&1i16.to_be_bytes()[..], &1000i32.to_be_bytes(), &topic, &partition].concat();
        bench.client.send_frame(&frame(0, version, &body)).await.expect("sent");
        let answer = bench.client.read_frame().await.expect("refused with words");
        assert_eq!(answer[4 + topic.len() + 4..][..2], 35i16.to_be_bytes(), "version {version}: {answer:?}");
    }
    bench.close().await;
}

/// Neither a request that names a transaction nor a batch that claims to be part of one is taken, in any version.
async fn assert_no_transactions(bench: &mut Bench, end: i64) {
    let mut claiming = BatchBuilder::new().producer(7, 0, 0).transactional();
    claiming.push(NOT_BEFORE, Some(b"key"), Some(b"value"), &[]);
    let claiming = claiming.build();
    let id = TransactionalId(StrBytes::from_static_str("tx"));
    for version in versions(ApiKey::Produce).filter(|version| *version >= PRODUCE_SERVED_FROM) {
        for (id, records) in [(Some(id.clone()), batch(NOT_BEFORE)), (None, claiming.clone())] {
            let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
            let topic = TopicProduceData::default().with_name(name("t")).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_transactional_id(id).with_acks(-1);
            let request = request.with_timeout_ms(10_000).with_topic_data(vec![topic]);
            let response = bench.client.call(version, &request).await.expect("an answer");
            let part = &response.responses[0].partition_responses[0];
            assert_eq!((part.error_code, part.base_offset), (53, -1), "version {version}");
            let said = part.error_message.as_deref();
            assert_eq!(said, (version >= 8).then_some("transactions are not built yet"), "version {version}");
        }
    }
    assert_eq!(bench.client.offset("t", 0, LATEST).await, end, "nothing of it was kept");
}

#[tokio::test]
async fn fetch() {
    let mut bench = Bench::open().await;
    assert_eq!(produce_one(&mut bench, NOT_BEFORE).await, 0);
    for version in versions(ApiKey::Fetch) {
        let ids = version >= 13;
        let part = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
        let topic = match ids {
            true => FetchTopic::default().with_topic_id(bench.id),
            false => FetchTopic::default().with_topic(name("t")),
        };
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic.with_partitions(vec![part])]);
        let response = bench.client.call(version, &request).await.expect("an answer");
        assert_eq!(response.error_code, 0, "version {version}");
        let topic = &response.responses[0];
        assert_eq!((topic.topic_id.is_nil(), topic.topic.is_empty()), (!ids, ids), "version {version}");
        let part = &topic.partitions[0];
        assert_eq!(
            (part.error_code, part.high_watermark, part.last_stable_offset),
            (0, 1, 1),
            "version {version}"
        );
        let mut sent = batch(NOT_BEFORE).to_vec();
        let read = part.records.as_ref().expect("never null").to_vec();
        // Leader epoch: the one field the broker writes here, as the batch is the log's first.
        sent[12..16].copy_from_slice(&read[12..16]);
        assert_eq!(read, sent, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn describe_producers() {
    let mut bench = Bench::open().await;
    let mut batch = BatchBuilder::new().producer(7, 0, 0);
    batch.push(NOT_BEFORE, None, Some(b"a"), &[]);
    batch.push(NOT_BEFORE + 1, None, Some(b"b"), &[]);
    let produced = bench.client.produce("t", 0, batch.build()).await.expect("an answer");
    assert_eq!(produced.error_code, 0);
    for version in versions(ApiKey::DescribeProducers) {
        let topics = ["t", "nothing"]
            .map(|topic| TopicRequest::default().with_name(name(topic)).with_partition_indexes(vec![0, 99]));
        let request = DescribeProducersRequest::default().with_topics(topics.to_vec());
        let response = bench.client.call(version, &request).await.expect("an answer");
        let parts: Vec<_> = response.topics.iter().flat_map(|topic| &topic.partitions).collect();
        assert_eq!(
            parts.iter().map(|part| part.error_code).collect::<Vec<_>>(),
            [0, 3, 3, 3],
            "version {version}"
        );
        let producers = &parts[0].active_producers;
        let seen: Vec<_> =
            producers.iter().map(|it| (it.producer_id.0, it.producer_epoch, it.last_sequence)).collect();
        assert_eq!(seen, [(7, 0, 1)], "version {version}");
        assert_eq!(
            (producers[0].last_timestamp, producers[0].current_txn_start_offset),
            (NOT_BEFORE + 1, -1)
        );
    }
    bench.close().await;
}

#[tokio::test]
async fn list_offsets() {
    let mut bench = Bench::open().await;
    for timestamp in [NOT_BEFORE, NOT_BEFORE + 5_000, NOT_BEFORE + 1_000] {
        produce_one(&mut bench, timestamp).await;
    }
    for version in versions(ApiKey::ListOffsets) {
        let mut asked =
            vec![(-1, (0, 3)), (-2, (0, 0)), (NOT_BEFORE + 1, (0, 1)), (NOT_BEFORE + 9_000, (0, -1))];
        if version >= 7 {
            asked.push((-3, (0, 1)));
        }
        if version >= 8 {
            asked.push((-4, (0, 0)));
        }
        if version >= 9 {
            asked.push((-5, (0, -1)));
        }
        for (timestamp, wanted) in asked {
            let part = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
            let topic = ListOffsetsTopic::default().with_name(name("t")).with_partitions(vec![part]);
            let request =
                ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
            let response = bench.client.call(version, &request).await.expect("an answer");
            let part = &response.topics[0].partitions[0];
            assert_eq!((part.error_code, part.offset), wanted, "version {version}, timestamp {timestamp}");
        }
    }
    bench.close().await;
}

#[tokio::test]
async fn offset_for_leader_epoch() {
    let mut bench = Bench::open().await;
    produce_one(&mut bench, NOT_BEFORE).await;
    let epoch = bench.client.metadata("t").await.expect("metadata").topics[0].partitions[0].leader_epoch;
    for version in versions(ApiKey::OffsetForLeaderEpoch) {
        let ask = |epoch| OffsetForLeaderPartition::default().with_partition(0).with_leader_epoch(epoch);
        let parts = vec![ask(epoch), ask(epoch + 1)];
        let topic = OffsetForLeaderTopic::default().with_topic(name("t")).with_partitions(parts);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        let request = request.with_replica_id(BrokerId(if version >= 3 { -1 } else { -2 }));
        let response = bench.client.call(version, &request).await.expect("an answer");
        let ends: Vec<_> =
            response.topics[0].partitions.iter().map(|part| (part.error_code, part.end_offset)).collect();
        assert_eq!(ends, [(0, 1), (0, -1)], "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn delete_records() {
    let mut bench = Bench::open().await;
    for (version, start) in versions(ApiKey::DeleteRecords).zip(1..) {
        for _ in 0..2 {
            produce_one(&mut bench, NOT_BEFORE).await;
        }
        let ask = |offset| DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let topic =
            |offset| DeleteRecordsTopic::default().with_name(name("t")).with_partitions(vec![ask(offset)]);
        for (offset, wanted) in [(start, (0, start)), (1_000, (1, -1))] {
            let request =
                DeleteRecordsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic(offset)]);
            let response = bench.client.call(version, &request).await.expect("an answer");
            let part = response.topics[0].partitions[0].clone();
            assert_eq!((part.error_code, part.low_watermark), wanted, "version {version}");
        }
    }
    bench.close().await;
}

#[tokio::test]
async fn init_producer_id() {
    let mut bench = Bench::open().await;
    let mut seen = std::collections::BTreeSet::new();
    for version in versions(ApiKey::InitProducerId) {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        let response = bench.client.call(version, &request).await.expect("an answer");
        assert_eq!((response.error_code, response.producer_epoch), (0, 0), "version {version}");
        assert!(seen.insert(response.producer_id), "version {version}: {:?} twice", response.producer_id);
        let id = TransactionalId(StrBytes::from_static_str("tx"));
        let response =
            bench.client.call(version, &request.with_transactional_id(Some(id))).await.expect("an answer");
        assert_eq!((response.error_code, response.producer_id.0), (53, -1), "version {version}");
    }
    bench.close().await;
}
