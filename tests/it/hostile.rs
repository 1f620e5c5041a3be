//! Bytes nobody should send. Each flow ends with the same question: does the broker still serve the others?

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, DescribeTopicPartitionsRequest, GroupId,
    OffsetCommitRequest, OffsetForLeaderEpochRequest,
};
use kafka_protocol::protocol::Decodable;

use crate::harness::asks::{LATEST, text};
use crate::harness::broker::{Client, TestBroker};
use crate::harness::records::batch;
use crate::harness::wire_client::{frame, name};

const METADATA: i16 = 3;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;

/// Another connection, opened before the bad bytes came, and a new one are both served.
async fn assert_alive(broker: &TestBroker, bystander: &mut Client, topic: &str) {
    bystander.append(topic, 0, batch(&["still here"])).await;
    broker.client().await.append(topic, 0, batch(&["and new ones"])).await;
}

async fn scene() -> (TestBroker, Client) {
    let broker = TestBroker::start().await;
    let mut bystander = broker.client().await;
    bystander.create("alive", 1, &[]).await;
    (broker, bystander)
}

#[tokio::test]
async fn a_count_larger_than_its_frame_ends_one_connection_only() {
    let (broker, mut bystander) = scene().await;
    // What kills a process whose codec reserves memory by a length from the wire: an array of a billion topics.
    for body in [&[0x03, 0x3c, 0x0c, 0x00, 0xb6][..], &[0x7f, 0xff, 0xff, 0xff], &[0x80, 0, 0, 0], &[0, 0]] {
        let mut client = broker.client().await;
        client.send_frame(&frame(METADATA, 0, body)).await.unwrap();
        assert!(client.read_frame().await.is_err(), "{body:02x?} was answered");
        assert_alive(&broker, &mut bystander, "alive").await;
    }
    // The same in every API there is, in its lowest and a flexible version.
    for key in 0..=92 {
        for version in [0, 1, 4, 9] {
            let mut client = broker.client().await;
            let body = [0xff, 0x03, 0x3c, 0x0c, 0x00, 0xb6, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            client.send_frame(&frame(key, version, &body)).await.unwrap();
            // Answered or closed; what counts is that it ends and harms nobody.
            client.send_frame(&frame(API_VERSIONS, 0, &[])).await.ok();
        }
    }
    assert_alive(&broker, &mut bystander, "alive").await;
}

#[tokio::test]
async fn sizes_that_cannot_be_end_the_connection() {
    let (broker, mut bystander) = scene().await;
    for size in [0i32, -1, i32::MIN, i32::MAX] {
        let mut client = broker.client().await;
        client.send_bytes(&size.to_be_bytes()).await.unwrap();
        assert!(client.read_frame().await.is_err(), "a frame of {size} bytes was answered");
    }
    // Announced and never sent: the connection may wait, the others do not.
    let mut slow = broker.client().await;
    slow.send_bytes(&(50_000_000i32).to_be_bytes()).await.unwrap();
    slow.send_bytes(&[0; 100]).await.unwrap();
    assert_alive(&broker, &mut bystander, "alive").await;
}

#[tokio::test]
async fn a_request_above_the_cap_ends_its_connection_and_one_below_is_served() {
    let broker = TestBroker::with(&["socket.request.max.bytes=10000"]).await;
    let mut bystander = broker.client().await;
    bystander.create("alive", 1, &[]).await;
    let mut client = broker.client().await;
    client.append("alive", 0, batch(&[&"x".repeat(9_000)])).await;
    assert!(client.produce("alive", 0, batch(&[&"x".repeat(11_000)])).await.is_err());
    assert_eq!(bystander.offset("alive", 0, LATEST).await, 1, "nothing of it was kept");
    assert_alive(&broker, &mut bystander, "alive").await;
}

/// What each API that names topics and partitions says of one it does not know; (API, code).
async fn unknown_codes(client: &mut Client, topic: &str, index: i32) -> Vec<(&'static str, i16)> {
    let mut told = Vec::new();
    told.push(("Produce", client.produce(topic, index, batch(&["x"])).await.unwrap().error_code));
    told.push(("Fetch", client.fetch(topic, index, 0, 1 << 20, 0).await.unwrap().error_code));
    told.push(("ListOffsets", client.try_offset(topic, index, LATEST).await.0));
    told.push(("DeleteRecords", client.delete_records(topic, index, 0).await.error_code));
    let part = OffsetForLeaderPartition::default().with_partition(index).with_leader_epoch(0);
    let asked = OffsetForLeaderTopic::default().with_topic(name(topic)).with_partitions(vec![part]);
    let request =
        OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
    let answer = client.call(4, &request).await.unwrap();
    told.push(("OffsetForLeaderEpoch", answer.topics[0].partitions[0].error_code));
    let part = OffsetCommitRequestPartition::default().with_partition_index(index);
    let asked = OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![part]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("readers")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![asked]);
    let answer = client.call(9, &request).await.unwrap();
    told.push(("OffsetCommit", answer.topics[0].partitions[0].error_code));
    told
}

#[tokio::test]
async fn an_unknown_topic_or_partition_has_its_code_in_every_api_that_names_one() {
    let (broker, mut bystander) = scene().await;
    let mut client = broker.client().await;
    for (topic, index) in [("ghost", 0), ("alive", 1), ("alive", -1), ("alive", i32::MAX)] {
        for (api, code) in unknown_codes(&mut client, topic, index).await {
            assert_eq!(code, UNKNOWN_TOPIC_OR_PARTITION, "{api} of {topic}-{index}");
        }
    }
    let asked = TopicRequest::default().with_name(name("ghost"));
    let request = DescribeTopicPartitionsRequest::default().with_topics(vec![asked]).with_cursor(None);
    let answer = client.call(0, &request.with_response_partition_limit(10)).await.unwrap();
    assert_eq!(answer.topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
    let ghost = client.fetch("ghost", 0, 0, 1 << 20, 0).await.unwrap();
    assert_eq!(ghost.error_code, UNKNOWN_TOPIC_OR_PARTITION, "none of it made the topic");
    assert_alive(&broker, &mut bystander, "alive").await;
}

#[tokio::test]
async fn http_and_tls_are_recognised_and_closed() {
    let (broker, mut bystander) = scene().await;
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"POST /x HTTP/1.1\r\n\r\n", &hello] {
        let mut client = broker.client().await;
        client.send_bytes(bytes).await.unwrap();
        assert!(client.read_frame().await.is_err());
    }
    assert_alive(&broker, &mut bystander, "alive").await;
}

#[tokio::test]
async fn an_unknown_api_and_a_version_nobody_has_close_the_connection() {
    let (broker, mut bystander) = scene().await;
    for (key, version) in [(999, 0), (-1, 0), (METADATA, 99), (METADATA, -1), (4, 0)] {
        let mut client = broker.client().await;
        client.send_frame(&frame(key, version, &[0; 8])).await.unwrap();
        assert!(client.read_frame().await.is_err(), "key {key} version {version} was answered");
    }
    assert_alive(&broker, &mut bystander, "alive").await;
}

#[tokio::test]
async fn api_versions_of_the_future_are_answered_in_the_oldest_form() {
    let (broker, _) = scene().await;
    let mut client = broker.client().await;
    client.send_frame(&frame(API_VERSIONS, 99, &[0; 3])).await.unwrap();
    let mut answer = client.read_frame().await.unwrap();
    let correlation_id = answer.split_to(4);
    assert_eq!(correlation_id[..], 7i32.to_be_bytes());
    let response = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!((response.error_code, answer.len()), (UNSUPPORTED_VERSION, 0));
    let told = response.api_keys.iter().find(|row| row.api_key == API_VERSIONS).expect("what to try instead");
    let version = told.max_version;
    // The same connection takes the advice.
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("flows"))
        .with_client_software_version(text("1"));
    let response = client.call(version, &request).await.unwrap();
    assert_eq!(response.error_code, 0);
    assert!(response.api_keys.iter().any(|row| row.api_key == 0 && row.min_version == 0), "Produce from 0");
}

#[tokio::test]
async fn half_requests_and_noise_leave_the_broker_standing() {
    let (broker, mut bystander) = scene().await;
    let mut good = BytesMut::new();
    let body = frame(METADATA, 1, &[0, 0, 0, 1, 0, 5, b'a', b'l', b'i', b'v', b'e']);
    good.put_i32(i32::try_from(body.len()).unwrap());
    good.put_slice(&body);
    for cut in 0..good.len() {
        let mut client = broker.client().await;
        client.send_bytes(&good[..cut]).await.unwrap();
    }
    // Every byte wrong in turn, behind a size that holds.
    for at in 4..good.len() {
        let mut noisy = good.clone();
        noisy[at] ^= 0xff;
        let mut client = broker.client().await;
        client.send_bytes(&noisy).await.unwrap();
    }
    assert_alive(&broker, &mut bystander, "alive").await;
}
