//! Reading history: what it costs in requests, and what a bucket that lies, fails or dawdles does to whom.

use std::collections::BTreeMap;

use kafka_protocol::messages::FetchRequest;

use crate::harness::asks::{LATEST_TIERED, bytes, fetching, of};
use crate::harness::broker::TestBroker;
use crate::harness::bucket::{Fault, Rule, Verb};
use crate::harness::records::{batch, bulk, whole};
use crate::harness::tier::{BATCH, Scene};
use crate::harness::wait::{eventually, until};

const CORRUPT_MESSAGE: i16 = 2;
const KAFKA_STORAGE_ERROR: i16 = 56;
const CHUNK: u64 = 1 << 20;
/// An hour: an answer comes because something happened, not because time passed.
const LONG: i32 = 3_600_000;
/// Segments of four chunks.
const FOUR_CHUNKS: &[(&str, &str)] = &[("segment.bytes", "4194304")];

/// GETs of log bytes of an object, by chunk; the trailer's is left out.
fn chunk_gets(broker: &TestBroker, object: &str) -> BTreeMap<u64, usize> {
    let gets = broker.bucket.gets().into_iter().filter(|((key, from), _)| key == object && from % CHUNK == 0);
    gets.map(|((_, from), count)| (from / CHUNK, count)).collect()
}

/// A broker with one topic whose first segment, four chunks long, is in the bucket only.
async fn one_long_segment() -> (TestBroker, Scene, String) {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let scene = Scene::write_with(&mut client, "long", 1, 70, FOUR_CHUNKS).await;
    until("the segment left the disk", async || {
        client.offset("long", 0, crate::harness::asks::EARLIEST_LOCAL).await > 0
    })
    .await;
    let object = scene.segments(&broker, 0).await.remove(0);
    broker.bucket.forget();
    (broker, scene, object)
}

#[tokio::test]
async fn two_readers_of_one_cold_range_cost_one_get_per_chunk() {
    let (broker, scene, object) = one_long_segment().await;
    let end = {
        let mut client = broker.client().await;
        client.offset("long", 0, LATEST_TIERED).await + 1
    };
    // Both readers ask before the bucket answers either.
    broker.bucket.plant(Rule::new(Verb::Get, &object, Fault::Hold));
    let mut readers = vec![broker.client().await, broker.client().await, broker.client().await];
    let mut asked = Vec::new();
    for reader in &mut readers {
        asked.push(reader.send(11, &fetching("long", &[(0, 0)], LONG)).await.unwrap());
    }
    until("the object is asked for", async || broker.bucket.count(Verb::Get, &object) > 0).await;
    broker.bucket.heal();
    let mut answers = Vec::new();
    for (reader, id) in readers.iter_mut().zip(asked) {
        let response = reader.receive::<FetchRequest>(11, id).await.unwrap();
        assert_eq!(of(&response, 0).error_code, 0);
        answers.push(bytes(of(&response, 0)));
    }
    assert!(!answers[0].is_empty() && answers.iter().all(|answer| *answer == answers[0]));
    for reader in &mut readers {
        scene.check(reader, 0, 0, end).await;
    }
    let gets = chunk_gets(&broker, &object);
    assert_eq!(gets, BTreeMap::from([(0, 1), (1, 1), (2, 1), (3, 1)]));
}

#[tokio::test]
async fn a_sequential_reader_finds_the_next_chunk_already_asked_for() {
    let (broker, scene, object) = one_long_segment().await;
    let mut client = broker.client().await;
    let per_chunk = i64::try_from(CHUNK / scene.sent[0].len() as u64).unwrap();
    let read = client.fetch("long", 0, 0, BATCH as i32 * 2, LONG).await.unwrap();
    assert!(!bytes(&read).is_empty());
    until("the next chunk is asked for by nobody", async || chunk_gets(&broker, &object).contains_key(&1))
        .await;
    assert_eq!(chunk_gets(&broker, &object).get(&2), None, "and no more than the next");
    // Reading on costs no GET of what lies there, and moves the window on.
    let next = whole(&bytes(&read)).last().unwrap().0.next_offset().0;
    client.read("long", 0, next, per_chunk + 3).await;
    until("two more chunks are asked for", async || chunk_gets(&broker, &object).len() == 4).await;
    assert_eq!(chunk_gets(&broker, &object), BTreeMap::from([(0, 1), (1, 1), (2, 1), (3, 1)]));
}

#[tokio::test]
async fn a_flipped_bit_costs_two_gets_and_fails_its_partition_alone() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "flip", 2, 40).await;
    for index in 0..2 {
        scene.settle(&mut client, index).await;
    }
    let object = scene.segments(&broker, 0).await.remove(0);
    broker.bucket.forget();
    broker.bucket.plant(Rule::new(Verb::Get, &object, Fault::FlipBit).at(0));
    let answer = client.fetch("flip", 0, 0, 1 << 20, LONG).await.unwrap();
    assert_eq!((answer.error_code, bytes(&answer).len()), (CORRUPT_MESSAGE, 0));
    assert_eq!(
        chunk_gets(&broker, &object),
        BTreeMap::from([(0, 2)]),
        "asked for once more before it counts"
    );
    // The other partition of the same request, as cold as this one, is served; so is the rest of this one.
    eventually("both are answered together", async || {
        let request = fetching("flip", &[(0, 0), (1, 0)], LONG).with_min_bytes(64 << 20);
        let response = client.call(11, &request).await.unwrap();
        let (damaged, other) = (of(&response, 0), of(&response, 1));
        assert_eq!((damaged.error_code, bytes(damaged).len()), (CORRUPT_MESSAGE, 0));
        assert_eq!(other.error_code, 0);
        (!bytes(other).is_empty()).then_some(())
    })
    .await;
    let second = scene.segments(&broker, 0).await.remove(1);
    let base: i64 = second.rsplit('/').next().unwrap()[..20].parse().unwrap();
    scene.check(&mut client, 0, base, scene.end()).await;
    // Damage is not remembered: a bucket that is whole again is believed again.
    broker.bucket.heal();
    scene.check(&mut client, 0, 0, scene.end()).await;
}

#[tokio::test]
async fn a_truncated_object_is_never_served() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "short", 1, 40).await;
    scene.settle(&mut client, 0).await;
    let object = scene.segments(&broker, 0).await.remove(0);
    broker.bucket.plant(Rule::new(Verb::Get, &object, Fault::Truncate));
    let answer = client.fetch("short", 0, 0, 1 << 20, LONG).await.unwrap();
    assert_eq!((answer.error_code, bytes(&answer).len()), (CORRUPT_MESSAGE, 0));
    broker.bucket.heal();
    scene.check(&mut client, 0, 0, scene.end()).await;
}

#[tokio::test]
async fn with_the_bucket_down_everything_hot_goes_on() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let mut scene = Scene::write(&mut client, "down", 1, 40).await;
    let local = scene.settle(&mut client, 0).await;
    broker.bucket.go_down();
    let tiered = client.offset("down", 0, LATEST_TIERED).await;
    for serial in 100..140 {
        let batch = bulk(serial, BATCH);
        assert_eq!(client.append("down", 0, batch.clone()).await, scene.end());
        scene.sent.push(batch);
    }
    scene.check(&mut client, 0, local, scene.end()).await;
    let cold = client.fetch("down", 0, 0, 1 << 20, LONG).await.unwrap();
    assert_eq!((cold.error_code, bytes(&cold).len()), (KAFKA_STORAGE_ERROR, 0));
    // One partition's cold failure does not fail the hot part of the same request.
    client.create("hot", 1, &[]).await;
    client.append("hot", 0, batch(&["hot"])).await;
    let mut request = fetching("down", &[(0, 0)], LONG).with_min_bytes(64 << 20);
    request.topics.extend(fetching("hot", &[(0, 0)], 0).topics);
    let response = client.call(11, &request).await.unwrap();
    assert_eq!(response.responses[0].partitions[0].error_code, KAFKA_STORAGE_ERROR);
    assert_eq!(response.responses[1].partitions[0].error_code, 0);
    assert!(!bytes(&response.responses[1].partitions[0]).is_empty());
    assert_eq!(client.offset("down", 0, LATEST_TIERED).await, tiered, "nothing moved meanwhile");
    broker.bucket.heal();
    assert!(scene.settle(&mut client, 0).await > local, "offload resumes");
    scene.check(&mut client, 0, 0, scene.end()).await;
}

#[tokio::test]
async fn what_is_not_there_yet_is_an_empty_answer_and_no_error() {
    let broker = TestBroker::with(&["remote.fetch.max.wait.ms=30"]).await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "slow", 1, 40).await;
    scene.settle(&mut client, 0).await;
    let object = scene.segments(&broker, 0).await.remove(0);
    broker.bucket.forget();
    broker.bucket.plant(Rule::new(Verb::Get, &object, Fault::Hold));
    for _ in 0..3 {
        let answer = client.fetch("slow", 0, 0, 1 << 20, 30).await.unwrap();
        assert_eq!((answer.error_code, bytes(&answer).len()), (0, 0));
        assert_eq!(answer.high_watermark, scene.end());
    }
    // Whoever gave up waiting left the download running: it is not begun again.
    assert_eq!(broker.bucket.count(Verb::Get, &object), 1);
    broker.bucket.heal();
    scene.check(&mut client, 0, 0, scene.end()).await;
}

#[tokio::test]
async fn a_reader_crosses_from_bucket_to_disk_without_noticing() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "seam", 1, 40).await;
    let local = scene.settle(&mut client, 0).await;
    // From every offset around the seam.
    for from in local - 3..local + 3 {
        scene.check(&mut client, 0, from, scene.end()).await;
    }
    // And by time: the first record's time is found in the bucket.
    let stamp = whole(&client.read("seam", 0, 5, 6).await[0].1)[0].0.max_timestamp;
    let found = client.offset("seam", 0, stamp).await;
    assert!(found <= 5, "offset {found} for the time of offset 5");
}
