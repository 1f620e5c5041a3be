//! Readers of committed records: what they see while transactions are open, what they are told to leave out, and that
//! both stay true over a crash and over the seam to the bucket. There is no coordinator yet: records and markers go to
//! the partition as one would write them.

use std::collections::BTreeSet;

use firnline::partition::leader::{LeaderAppend, ProduceRefused};
use firnline::partition::replica::PartitionHandle;
use firnline_tiering::batch::builder::BatchBuilder;
use firnline_tiering::batch::control::{Outcome, end_transaction};
use firnline_tiering::batch::validate::Origin;
use firnline_tiering::clock::{Clock, SystemClock};
use firnline_tiering::log::append::AppendError;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::asks::{COLD, EARLIEST_LOCAL, LATEST, LATEST_TIERED, bytes, fetching, of};
use crate::harness::broker::{Client, TestBroker};
use crate::harness::records::values;
use crate::harness::wait::{DEADLINE, until};
use crate::harness::wire_client::name;

fn append(partition: &PartitionHandle, mut batch: Vec<u8>) -> i64 {
    let how = LeaderAppend {
        origin: Origin::Coordinator,
        now_ms: SystemClock.now_ms(),
        produce_version: 9,
        all_replicas: true,
    };
    loop {
        match partition.append(&mut batch, &how) {
            Ok(done) => return done.appended.base_offset.0,
            // Housekeeping holds the lock for a moment.
            Err(ProduceRefused::Log(AppendError::Busy)) => std::thread::yield_now(),
            Err(refused) => panic!("{refused}"),
        }
    }
}

/// One record of a transaction of `producer`; 0 stands for a producer without one.
fn write(partition: &PartitionHandle, producer: i64, sequence: i32, value: &str) -> i64 {
    let mut builder = BatchBuilder::new();
    if producer > 0 {
        builder = builder.producer(producer, 0, sequence).transactional();
    }
    builder.push(SystemClock.now_ms(), Some(b"k"), Some(value.as_bytes()), &[]);
    append(partition, builder.build().to_vec())
}

fn end(partition: &PartitionHandle, producer: i64, outcome: Outcome) -> i64 {
    append(partition, end_transaction(producer, 0, outcome, 1, SystemClock.now_ms()).to_vec())
}

async fn fetch(client: &mut Client, topic: &str, from: i64, committed: bool) -> PartitionData {
    let request = fetching(topic, &[(0, from)], 0).with_isolation_level(i8::from(committed));
    let response = client.call(11, &request).await.expect("Fetch");
    of(&response, 0).clone()
}

async fn latest(client: &mut Client, topic: &str, committed: bool) -> i64 {
    let part = ListOffsetsPartition::default()
        .with_partition_index(0)
        .with_current_leader_epoch(-1)
        .with_timestamp(LATEST);
    let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![part]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(committed))
        .with_topics(vec![topic]);
    client.call(9, &request).await.expect("ListOffsets").topics[0].partitions[0].offset
}

/// Offsets of the records, the last stable offset, and (producer, first offset) of what to leave out.
async fn committed(client: &mut Client, topic: &str, from: i64) -> (Vec<i64>, i64, Vec<(i64, i64)>) {
    let answer = fetch(client, topic, from, true).await;
    assert_eq!(answer.error_code, 0);
    let offsets = values(&bytes(&answer)).into_iter().map(|(offset, _)| offset).collect();
    let aborted = answer.aborted_transactions.expect("a list for readers of committed records");
    let aborted = aborted.iter().map(|one| (one.producer_id.0, one.first_offset)).collect();
    (offsets, answer.last_stable_offset, aborted)
}

#[tokio::test]
async fn open_transactions_hide_what_follows_and_aborted_ones_are_named() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("hot", 1, &[]).await;
    let partition = broker.partition("hot", 0);
    assert_eq!(write(&partition, 0, 0, "plain"), 0);
    assert_eq!(write(&partition, 7, 0, "to abort"), 1);
    assert_eq!(write(&partition, 8, 0, "to commit"), 2);
    assert_eq!(write(&partition, 0, 0, "plain"), 3);
    assert_eq!(committed(&mut client, "hot", 0).await, (vec![0], 1, vec![]));
    assert_eq!((latest(&mut client, "hot", true).await, latest(&mut client, "hot", false).await), (1, 4));
    assert_eq!(committed(&mut client, "hot", 1).await, (vec![], 1, vec![]), "nothing is stable yet");
    let uncommitted = fetch(&mut client, "hot", 0, false).await;
    assert_eq!((values(&bytes(&uncommitted)).len(), uncommitted.high_watermark), (4, 4));
    assert_eq!(uncommitted.aborted_transactions, None);
    assert_eq!(end(&partition, 7, Outcome::Abort), 4);
    assert_eq!(committed(&mut client, "hot", 0).await, (vec![0, 1], 2, vec![(7, 1)]));
    assert_eq!(end(&partition, 8, Outcome::Commit), 5);
    let whole = committed(&mut client, "hot", 0).await;
    assert_eq!((whole.1, whole.2.as_slice()), (6, [(7, 1)].as_slice()));
    assert_eq!(committed(&mut client, "hot", 4).await.2, [(7, 1)], "its marker lies here");
    assert!(committed(&mut client, "hot", 5).await.2.is_empty());
    drop(partition);
    broker.kill();
    broker.revive().await;
    let mut client = broker.client().await;
    assert_eq!(committed(&mut client, "hot", 0).await, whole, "after a crash");
    broker.restart().await;
    let mut client = broker.client().await;
    assert_eq!(committed(&mut client, "hot", 0).await, whole, "after a clean stop");
}

/// Everything a real client sees, in order.
async fn read(broker: &TestBroker, isolation: &str, count: usize) -> Vec<String> {
    let mut config = ClientConfig::new();
    let bootstrap = broker.bootstrap();
    let set = [("bootstrap.servers", bootstrap.as_str()), ("broker.address.family", "v4"), ("group.id", "g")];
    set.iter().chain(&[("isolation.level", isolation)]).for_each(|(key, value)| _ = config.set(*key, *value));
    let consumer: StreamConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("seam", 0, Offset::Offset(0)).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let mut seen = Vec::new();
    while seen.len() < count {
        let message = tokio::time::timeout(DEADLINE, consumer.recv()).await.expect("a message comes");
        let message = message.expect("no error");
        let value = String::from_utf8_lossy(message.payload().expect("a value")).into_owned();
        seen.push(value.trim_end_matches('.').to_owned());
    }
    seen
}

#[tokio::test]
async fn an_aborted_transaction_over_the_seam_stays_out_of_sight() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("seam", 1, COLD).await;
    let partition = broker.partition("seam", 0);
    let (mut all, mut kept, mut sequences) = (Vec::new(), Vec::new(), [0; 4]);
    let mut put = |producer: i64, text: String| {
        write(&partition, producer, sequences[producer as usize], &format!("{text:.<65000}"));
        sequences[producer as usize] += 1;
        all.push(text.clone());
        if producer != 1 && producer != 3 {
            kept.push(text);
        }
    };
    // Producer 1 aborts what it began three segments ago, 2 commits each record, 3 aborts a short one at the seam.
    for round in 0..20 {
        put(1, format!("aborted {round}"));
        put(2, format!("committed {round}"));
        end(&partition, 2, Outcome::Commit);
        put(0, format!("plain {round}"));
    }
    assert_eq!(client.offset("seam", 0, LATEST_TIERED).await, -1, "nothing undecided is offloaded");
    end(&partition, 1, Outcome::Abort);
    for round in 20..32 {
        put(3, format!("aborted {round}"));
        end(&partition, 3, Outcome::Abort);
        put(0, format!("plain {round}"));
    }
    let expected: BTreeSet<&String> = kept.iter().collect();
    assert_eq!(expected.len(), kept.len());
    until("sealed segments left the disk", async || {
        let local = client.offset("seam", 0, EARLIEST_LOCAL).await;
        local > 60 && client.offset("seam", 0, LATEST_TIERED).await == local - 1
    })
    .await;
    assert_eq!(read(&broker, "read_uncommitted", all.len()).await, all);
    assert_eq!(read(&broker, "read_committed", kept.len()).await, kept);
}
