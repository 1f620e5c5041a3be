//! A compacted topic from a client's side: many updates go in, and the last of each key stays at its offset, over
//! cleanings and restarts. What exactly stays of a log is tested in the tiering crate.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetCommitRequest};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::asks::text;
use crate::harness::broker::TestBroker;
use crate::harness::wait::{DEADLINE, until};
use crate::harness::wire_client::name;

const KEYS: usize = 40;
const UPDATES: usize = 5000;
const COMPACT: &[(&str, &str)] =
    &[("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0.01")];

/// Offset → (key, value); a null value deletes the key.
type Records = BTreeMap<i64, (Vec<u8>, Option<Vec<u8>>)>;

fn client(broker: &TestBroker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap()).set("broker.address.family", "v4");
    config
}

/// Updates of few keys, in every codec librdkafka has; a key's last one may delete it.
async fn update(broker: &TestBroker, topic: &str, first: usize, sent: &mut Records) {
    for (part, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
        let mut config = client(broker);
        config.set("enable.idempotence", "true").set("compression.type", *codec).set("linger.ms", "5");
        let producer: FutureProducer = config.create().expect("a producer");
        let mut waiting = Vec::new();
        for at in (first + part * UPDATES / 5)..(first + (part + 1) * UPDATES / 5) {
            let key = format!("key-{}", at * 7 % KEYS).into_bytes();
            // Random enough that no codec makes the log small.
            let value: Vec<u8> =
                (0..1000_usize).map(|byte| (((at * 31 + byte) * 2_654_435_761) >> 13) as u8).collect();
            let value = (at % 11 != 0).then_some(value);
            let mut record = FutureRecord::<[u8], [u8]>::to(topic).partition(0).key(&key[..]);
            if let Some(value) = &value {
                record = record.payload(&value[..]);
            }
            let delivery =
                producer.send_result(record).map_err(|(error, _)| error).expect("room in the queue");
            waiting.push((delivery, key, value));
        }
        for (delivery, key, value) in waiting {
            let acked = delivery.await.expect("the producer lives").map_err(|(error, _)| error);
            sent.insert(acked.expect("acked").offset, (key, value));
        }
    }
}

/// Everything from offset 0 to the end, as librdkafka hands it out.
async fn read(broker: &TestBroker, topic: &str) -> Records {
    let mut config = client(broker);
    config.set("group.id", "unused").set("enable.partition.eof", "true").set("check.crcs", "true");
    let consumer: StreamConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(0)).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let mut read = Records::new();
    loop {
        match tokio::time::timeout(DEADLINE, consumer.recv()).await.expect("a message comes") {
            Ok(message) => {
                let key = message.key().expect("a key").to_vec();
                read.insert(message.offset(), (key, message.payload().map(<[u8]>::to_vec)));
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return read,
            Err(error) if error.to_string().contains("Transport") => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn last_values(records: &Records) -> BTreeMap<&[u8], &[u8]> {
    let mut values = BTreeMap::new();
    for (key, value) in records.values() {
        match value {
            Some(value) => values.insert(&key[..], &value[..]),
            None => values.remove(&key[..]),
        };
    }
    values
}

/// Waits until everything but the active segment was cleaned.
async fn cleaned(broker: &TestBroker, topic: &str) {
    let partition = broker.partition(topic, 0);
    until("the log is clean", async || {
        let sources = partition.log().sources();
        let active = sources.last().expect("a segment").base();
        partition.log().clean_point() == Some(active) && !active.0.eq(&0)
    })
    .await;
}

#[tokio::test]
async fn the_last_value_of_each_key_is_read_from_offset_zero() {
    let mut broker = TestBroker::with(&["log.cleaner.backoff.ms=50", "log.cleaner.threads=2"]).await;
    broker.client().await.create("latest", 1, COMPACT).await;
    let mut sent = Records::new();
    update(&broker, "latest", 0, &mut sent).await;
    cleaned(&broker, "latest").await;
    let first = read(&broker, "latest").await;
    assert!(first.len() < sent.len() / 2, "{} of {} records are left", first.len(), sent.len());
    assert!(first.iter().all(|(offset, record)| sent[offset] == *record), "a record moved or changed");
    assert_eq!(last_values(&first), last_values(&sent));
    let counts = broker.broker().shared().cleaner.now();
    assert!(counts.cleanings > 0 && counts.bytes_written < counts.bytes_read && counts.lies == 0);

    // How far it was cleaned outlives a stop; what comes later is cleaned into what is there.
    let point = broker.partition("latest", 0).log().clean_point();
    broker.restart().await;
    assert!(broker.partition("latest", 0).log().clean_point() >= point);
    update(&broker, "latest", UPDATES, &mut sent).await;
    cleaned(&broker, "latest").await;
    let second = read(&broker, "latest").await;
    assert!(second.iter().all(|(offset, record)| sent[offset] == *record), "a record moved or changed");
    assert_eq!(last_values(&second), last_values(&sent));
    // And a crash.
    broker.kill();
    broker.revive().await;
    assert_eq!(read(&broker, "latest").await, second);
}

#[tokio::test]
async fn a_policy_of_neither_keeps_everything_and_one_of_both_does_both() {
    let broker = TestBroker::with(&["log.cleaner.backoff.ms=50"]).await;
    let mut client = broker.client().await;
    let both = [&[("cleanup.policy", "compact,delete"), ("retention.ms", "3600000")], &COMPACT[1..]].concat();
    client.create("both", 1, &both).await;
    let neither = [&[("cleanup.policy", ""), ("retention.ms", "1000")], &COMPACT[1..]].concat();
    client.create("neither", 1, &neither).await;
    let (mut sent, mut kept) = (Records::new(), Records::new());
    update(&broker, "both", 0, &mut sent).await;
    update(&broker, "neither", 0, &mut kept).await;
    cleaned(&broker, "both").await;
    assert_eq!(last_values(&read(&broker, "both").await), last_values(&sent));
    broker.clock.advance(Duration::from_secs(2 * 3600));
    let both = broker.partition("both", 0);
    until("retention takes what compaction left", async || both.offsets().log_start.0 > 0).await;
    assert_eq!(read(&broker, "neither").await, kept, "an empty policy deletes nothing");
}

#[tokio::test]
async fn groups_keep_their_offsets_when_their_topic_is_compacted() {
    let mut broker = TestBroker::with(&["log.cleaner.backoff.ms=50"]).await;
    broker.client().await.create("read", 1, &[]).await;
    let mut wire = broker.client().await;
    // Asking for the coordinator makes the topic that it keeps groups in.
    let asked = FindCoordinatorRequest::default().with_key(text("team")).with_key_type(0);
    until("there is a coordinator", async || {
        wire.call(2, &asked).await.expect("FindCoordinator").error_code == 0
    })
    .await;
    for offset in 1..=300 {
        let part =
            OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
        let topic = OffsetCommitRequestTopic::default().with_name(name("read")).with_partitions(vec![part]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text("team")))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        // The first one may come before the coordinator has loaded.
        until("the offset is committed", async || {
            let answer = wire.call(7, &request).await.expect("OffsetCommit");
            answer.topics[0].partitions[0].error_code == 0
        })
        .await;
    }
    let offsets = broker.partition("__consumer_offsets", 0);
    let before = offsets.log().size_bytes();
    offsets.log().roll().expect("rolls");
    cleaned(&broker, "__consumer_offsets").await;
    assert!(offsets.log().size_bytes() < before / 10, "{} of {before} bytes", offsets.log().size_bytes());
    drop((wire, offsets));
    broker.restart().await;
    let mut config = client(&broker);
    config.set("group.id", "team");
    let consumer: StreamConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition("read", 0);
    let found = tokio::task::spawn_blocking(move || consumer.committed_offsets(list, DEADLINE)).await;
    let found = found.expect("asked").expect("answered");
    assert_eq!(found.elements()[0].offset(), Offset::Offset(300));
}
