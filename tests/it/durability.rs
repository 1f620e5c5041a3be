//! `firn.durability=disk` on a disk that forgets what was never fsynced: nothing is acknowledged or read before its
//! fsync, one round serves many requests, and the loss of power takes no acknowledged record.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use firnline::broker::lifecycle::Broker;
use kafka_protocol::messages::ProduceRequest;

use crate::harness::asks::{LATEST, fetching, of, production};
use crate::harness::records::{assert_same_batch, batch, bulk};
use crate::harness::twin::disk::{Call, Fate, Kind, Nature, TwinDisk, Verb};
use crate::harness::twin_broker::{self, client};
use crate::harness::wait::until;

const TOPIC: &str = "ledger";
const PARTITIONS: i32 = 3;
/// Kafka's version of Produce that these requests speak.
const PRODUCE: i16 = 9;

fn blank() -> TwinDisk {
    TwinDisk::new(Arc::new(Kind))
}

async fn start(disk: &TwinDisk, durability: &str) -> Broker {
    let set = [
        "log.dirs=/data",
        "firn.cores=2",
        "offsets.topic.num.partitions=1",
        "log.retention.check.interval.ms=100",
        &format!("firn.durability={durability}"),
    ];
    twin_broker::start(disk, &set).await
}

/// Holds fsyncs of segments back while it is closed, and counts them.
#[derive(Debug, Default)]
struct Gate {
    closed: AtomicBool,
    syncs: AtomicUsize,
}

impl Nature for Gate {
    fn decide(&self, call: &Call<'_>) -> Fate {
        let segment = call.path.extension().is_some_and(|extension| extension == "log");
        if call.verb == Verb::Sync && segment && call.path.to_string_lossy().contains(TOPIC) {
            self.syncs.fetch_add(1, Ordering::SeqCst);
            while self.closed.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Fate::Happens
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_or_read_before_its_fsync() {
    let gate = Arc::new(Gate::default());
    let disk = blank().with(gate.clone());
    let broker = start(&disk, "disk").await;
    let mut producer = client(&broker).await;
    producer.create(TOPIC, 1, &[]).await;
    gate.closed.store(true, Ordering::SeqCst);
    let before = gate.syncs.load(Ordering::SeqCst);
    for serial in 0..8 {
        let request = production(TOPIC, if serial % 2 == 0 { -1 } else { 1 }, vec![(0, bulk(serial, 2_000))]);
        producer.send(PRODUCE, &request).await.expect("a request is taken");
    }
    let partition = broker.shared().hosted.find(TOPIC, 0).expect("a partition");
    until("all are appended", async || partition.offsets().end.0 == 8).await;
    let mut reader = client(&broker).await;
    assert_eq!(reader.offset(TOPIC, 0, LATEST).await, 0, "the high watermark waits for the fsync");
    let fetched = reader.call(12, &fetching(TOPIC, &[(0, 0)], 0)).await.expect("an answer");
    assert_eq!(of(&fetched, 0).high_watermark, 0);
    assert_eq!(of(&fetched, 0).records.as_ref().map_or(0, Bytes::len), 0, "readers see durable records only");
    let silent = tokio::time::timeout(Duration::from_millis(50), producer.read_frame()).await;
    assert!(silent.is_err(), "acknowledged before the fsync");
    gate.closed.store(false, Ordering::SeqCst);
    until("the rounds catch up", async || partition.high_watermark().0 == 8).await;
    let rounds = gate.syncs.load(Ordering::SeqCst) - before;
    assert!(rounds <= 3, "{rounds} fsyncs for eight requests: one round takes what came before it");
    broker.shutdown().await.expect("a clean stop");
}

/// Produces to all partitions with requests under way until `acks` are answered, then the power goes.
async fn lose_power_after(
    acks: usize,
    disk: &TwinDisk,
    broker: Broker,
    seed: u64,
) -> BTreeMap<(i32, i64), Bytes> {
    let (mut producer, mut acked, mut waiting) = (client(&broker).await, BTreeMap::new(), VecDeque::new());
    for serial in 0.. {
        let index = (serial % PARTITIONS as u64) as i32;
        let records = bulk(seed * 1_000 + serial, 120_000);
        let request = production(TOPIC, -1, vec![(index, records.clone())]);
        waiting.push_back((producer.send(PRODUCE, &request).await.expect("taken"), index, records));
        if waiting.len() < 5 {
            continue;
        }
        let (id, index, records) = waiting.pop_front().expect("a request under way");
        let answer = producer.receive::<ProduceRequest>(PRODUCE, id).await.expect("an answer");
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        acked.insert((index, answer.base_offset), records);
        if acked.len() == acks {
            break;
        }
    }
    disk.lose_power(seed);
    broker.abandon().await;
    disk.revive();
    acked
}

/// How many acknowledged batches are gone after power losses of several seeds.
async fn lost_under(durability: &str) -> usize {
    let mut lost = 0;
    for seed in 0..8 {
        let disk = blank();
        let broker = start(&disk, durability).await;
        client(&broker).await.create(TOPIC, PARTITIONS, &[("segment.bytes", "1048576")]).await;
        let acked = lose_power_after(30, &disk, broker, seed).await;
        let broker = start(&disk, durability).await;
        if broker.shared().hosted.topic(TOPIC).is_none() {
            panic!("the quorum lost a topic it had acknowledged");
        }
        let mut reader = client(&broker).await;
        for ((index, offset), sent) in acked {
            if reader.offset(TOPIC, index, LATEST).await <= offset {
                lost += 1;
                continue;
            }
            let stored = reader.read(TOPIC, index, offset, offset + 1).await;
            assert_same_batch(&stored[0].1, &sent);
        }
        broker.shutdown().await.expect("a clean stop");
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_power_takes_no_record_that_was_acknowledged_under_disk() {
    assert_eq!(lost_under("disk").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_above_sees_a_loss_where_there_is_one() {
    assert!(lost_under("cache").await > 0, "cache promises less, and a disk that forgets shows it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_says_its_own_durability_and_may_change_it() {
    let gate = Arc::new(Gate::default());
    let disk = blank().with(gate.clone());
    let broker = start(&disk, "cache").await;
    let mut producer = client(&broker).await;
    producer.create(TOPIC, 1, &[("firn.durability", "disk")]).await;
    let before = gate.syncs.load(Ordering::SeqCst);
    assert_eq!(producer.append(TOPIC, 0, batch(&["a"])).await, 0);
    assert!(gate.syncs.load(Ordering::SeqCst) > before, "acknowledged after an fsync");
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_left_is_committed_without_another_append() {
    let gate = Arc::new(Gate::default());
    let disk = blank().with(gate.clone());
    let broker = start(&disk, "disk").await;
    let mut producer = client(&broker).await;
    producer.create(TOPIC, 1, &[]).await;
    gate.closed.store(true, Ordering::SeqCst);
    for serial in 0..3 {
        let request = production(TOPIC, -1, vec![(0, bulk(serial, 2_000))]);
        producer.send(PRODUCE, &request).await.expect("a request is taken");
    }
    let partition = broker.shared().hosted.find(TOPIC, 0).expect("a partition");
    until("all are appended", async || partition.offsets().end.0 == 3).await;
    drop(partition);
    disk.kill();
    gate.closed.store(false, Ordering::SeqCst);
    broker.abandon().await;
    disk.revive();
    let before = gate.syncs.load(Ordering::SeqCst);
    let broker = start(&disk, "disk").await;
    let partition = broker.shared().hosted.find(TOPIC, 0).expect("a partition");
    until("what is there is made durable", async || partition.high_watermark().0 == 3).await;
    assert!(gate.syncs.load(Ordering::SeqCst) > before, "it was committed without an fsync");
    broker.shutdown().await.expect("a clean stop");
}
