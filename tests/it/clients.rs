//! librdkafka, the client most others are built on, through its own door: what it does unasked (ApiVersions, retries,
//! sessions, idempotence, rebalances) is the test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use firnline_tiering::batch::header::BatchHeader;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::asks::{COLD, EARLIEST_LOCAL, LATEST_TIERED};
use crate::harness::broker::TestBroker;
use crate::harness::wait::{DEADLINE, until};

fn config(broker: &TestBroker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap()).set("broker.address.family", "v4");
    config
}

fn producer(broker: &TestBroker, set: &[(&str, &str)]) -> FutureProducer {
    let mut config = config(broker);
    config.set("linger.ms", "5").set("message.timeout.ms", "60000");
    for (key, value) in set {
        config.set(*key, *value);
    }
    config.create().expect("a producer")
}

fn consumer(broker: &TestBroker, group: &str, set: &[(&str, &str)]) -> StreamConsumer {
    let mut config = config(broker);
    config
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "10000")
        .set("check.crcs", "true");
    for (key, value) in set {
        config.set(*key, *value);
    }
    config.create().expect("a consumer")
}

async fn create(broker: &TestBroker, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = config(broker).create().expect("an admin client");
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (key, value) in configs {
        new = new.set(key, value);
    }
    let created = admin.create_topics([&new], &AdminOptions::new()).await.expect("CreateTopics");
    created.into_iter().for_each(|result| assert!(result.is_ok(), "{result:?}"));
}

/// Sends values in order to one partition, many at once; all must be acked.
async fn send(producer: &FutureProducer, topic: &str, partition: i32, values: &[Vec<u8>]) {
    let mut waiting = Vec::new();
    for value in values {
        let record = FutureRecord::<(), _>::to(topic).partition(partition).payload(value);
        waiting.push(producer.send_result(record).map_err(|(error, _)| error).expect("room in the queue"));
    }
    for delivery in waiting {
        delivery.await.expect("the producer lives").map_err(|(error, _)| error).expect("acked");
    }
}

async fn next(consumer: &StreamConsumer) -> OwnedMessage {
    loop {
        match tokio::time::timeout(DEADLINE, consumer.recv()).await.expect("a message comes") {
            Ok(message) => return message.detach(),
            // Reported and tried again by the client itself.
            Err(error) if error.to_string().contains("Transport") => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads one partition from `from` until `count` records came, outside any group's assignment.
async fn read(
    broker: &TestBroker,
    topic: &str,
    partition: i32,
    from: i64,
    count: usize,
) -> Vec<OwnedMessage> {
    let consumer = consumer(broker, "unused", &[]);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(from)).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let mut read = Vec::new();
    while read.len() < count {
        read.push(next(&consumer).await);
    }
    read
}

fn payloads(messages: &[OwnedMessage]) -> Vec<Vec<u8>> {
    messages.iter().map(|message| message.payload().unwrap_or_default().to_vec()).collect()
}

#[tokio::test]
async fn keys_values_headers_and_nulls_come_back_as_sent() {
    let broker = TestBroker::start().await;
    create(&broker, "round", 1, &[]).await;
    let producer = producer(&broker, &[("acks", "all")]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "h", value: Some("1") })
        .insert(Header { key: "h", value: Some("2") })
        .insert(Header::<&str> { key: "null", value: None });
    let record =
        FutureRecord::to("round").key("k").payload("v").timestamp(1_700_000_000_123).headers(headers);
    let sent = producer.send(record, Duration::from_secs(60)).await.expect("acked");
    assert_eq!((sent.partition, sent.offset), (0, 0));
    let tombstone = FutureRecord::<_, str>::to("round").key("k");
    producer.send(tombstone, Duration::from_secs(60)).await.expect("acked");
    let read = read(&broker, "round", 0, 0, 2).await;
    assert_eq!((read[0].key(), read[0].payload()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!(read[0].timestamp().to_millis(), Some(1_700_000_000_123));
    let headers: Vec<_> =
        read[0].headers().unwrap().iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect();
    let expected = [("h", Some(b"1".to_vec())), ("h", Some(b"2".to_vec())), ("null", None)];
    assert_eq!(headers, expected.map(|(key, value)| (key.to_owned(), value)));
    assert_eq!((read[1].key(), read[1].payload()), (Some(&b"k"[..]), None));
}

#[tokio::test]
async fn all_four_codecs_write_and_read() {
    let broker = TestBroker::start().await;
    let codecs = ["gzip", "snappy", "lz4", "zstd"];
    create(&broker, "codecs", codecs.len() as i32, &[]).await;
    let values: Vec<Vec<u8>> =
        (0..500).map(|n| format!("value {n} {}", "repeat ".repeat(20)).into_bytes()).collect();
    for (partition, codec) in codecs.iter().enumerate() {
        let producer = producer(&broker, &[("compression.type", codec)]);
        send(&producer, "codecs", partition as i32, &values).await;
        let read = read(&broker, "codecs", partition as i32, 0, values.len()).await;
        assert_eq!(payloads(&read), values, "{codec}");
    }
    // Stored compressed, each by its own codec.
    let mut client = broker.client().await;
    for partition in 0..codecs.len() as i32 {
        let batches = client.read("codecs", partition, 0, values.len() as i64).await;
        // librdkafka sends a small batch plain where compression does not pay.
        let of_codec = |header: &BatchHeader| i32::from(header.attributes & 7) == partition + 1;
        let compressed = batches.iter().filter(|(header, _)| of_codec(header));
        let records: i32 = compressed.map(|(header, _)| header.record_count).sum();
        assert!(records as usize > values.len() / 2, "{records} records by codec {}", partition + 1);
    }
}

#[tokio::test]
async fn an_idempotent_producer_writes_each_record_once_and_in_order() {
    let mut broker = TestBroker::start().await;
    create(&broker, "idem", 1, &[]).await;
    let values: Vec<Vec<u8>> = (0..2_000u32).map(|n| n.to_be_bytes().to_vec()).collect();
    let idempotent = [("enable.idempotence", "true"), ("batch.num.messages", "10")];
    {
        let producer = producer(&broker, &idempotent);
        send(&producer, "idem", 0, &values).await;
    }
    let all = read(&broker, "idem", 0, 0, values.len()).await;
    assert_eq!(payloads(&all), values);
    let mut client = broker.client().await;
    let batches = client.read("idem", 0, 0, values.len() as i64).await;
    assert!(batches.iter().all(|(header, _)| header.producer_id >= 0));
    let first: BTreeSet<i64> = batches.iter().map(|(header, _)| header.producer_id).collect();
    // A producer after a restart is another one: ids are never given twice.
    broker.restart().await;
    let producer = producer(&broker, &idempotent);
    send(&producer, "idem", 0, &values[..10]).await;
    let mut client = broker.client().await;
    let end = values.len() as i64;
    let later = client.read("idem", 0, end, end + 10).await;
    assert!(later.iter().all(|(header, _)| !first.contains(&header.producer_id)));
}

#[tokio::test]
async fn a_consumer_from_zero_never_notices_the_seam_between_tiers() {
    let broker = TestBroker::start().await;
    create(&broker, "history", 1, COLD).await;
    let producer = producer(&broker, &[("enable.idempotence", "true"), ("batch.size", "65536")]);
    let values: Vec<Vec<u8>> =
        (0..6_000u32).map(|n| [&n.to_be_bytes()[..], &[n as u8; 1_000]].concat()).collect();
    send(&producer, "history", 0, &values).await;
    let mut client = broker.client().await;
    let mut local = 0;
    until("most of it lies in the bucket only", async || {
        local = client.offset("history", 0, EARLIEST_LOCAL).await;
        local > 3_000 && client.offset("history", 0, LATEST_TIERED).await == local - 1
    })
    .await;
    assert!(local < 6_000, "the active segment is hot");
    let read = read(&broker, "history", 0, 0, values.len()).await;
    assert!(read.iter().enumerate().all(|(place, message)| message.offset() == place as i64));
    assert!(payloads(&read) == values, "what came back is not what was sent");
}

#[tokio::test]
async fn two_consumers_share_a_group_and_a_third_goes_on_where_they_stopped() {
    let mut broker = TestBroker::start().await;
    create(&broker, "shared", 4, &[]).await;
    let writer = producer(&broker, &[]);
    let values: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n]).collect();
    for partition in 0..4 {
        send(&writer, "shared", partition, &values).await;
    }
    let members = [consumer(&broker, "team", &[]), consumer(&broker, "team", &[])];
    for member in &members {
        member.subscribe(&["shared"]).expect("subscribed");
    }
    // Both read until every record was seen by one of them; a rebalance may show some twice.
    let mut seen: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
    while seen.values().map(BTreeSet::len).sum::<usize>() < 200 {
        let message = tokio::select! {
            message = next(&members[0]) => message,
            message = next(&members[1]) => message,
        };
        seen.entry(message.partition()).or_default().insert(message.offset());
    }
    until("both have a share", async || {
        // Polled so that the rebalance goes on.
        for member in &members {
            let _ = tokio::time::timeout(Duration::from_millis(20), member.recv()).await;
        }
        members.iter().all(|member| member.assignment().is_ok_and(|mine| mine.count() == 2))
    })
    .await;
    for member in &members {
        let mut offsets = TopicPartitionList::new();
        for element in member.assignment().expect("an assignment").elements() {
            offsets
                .add_partition_offset("shared", element.partition(), Offset::Offset(50))
                .expect("an offset");
        }
        member.commit(&offsets, CommitMode::Sync).expect("committed");
    }
    drop(members);
    broker.restart().await;
    let writer = producer(&broker, &[]);
    for partition in 0..4 {
        send(&writer, "shared", partition, &[b"new".to_vec()]).await;
    }
    let late = consumer(&broker, "team", &[]);
    late.subscribe(&["shared"]).expect("subscribed");
    let mut news = BTreeSet::new();
    while news.len() < 4 {
        let message = next(&late).await;
        assert_eq!((message.payload(), message.offset()), (Some(&b"new"[..]), 50), "read on, not again");
        news.insert(message.partition());
    }
}
