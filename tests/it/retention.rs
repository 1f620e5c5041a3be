//! What goes, and in which order: retention, DeleteRecords and topic deletion over both tiers, with readers under way.
//! Time is put forward, never waited for.

use std::time::Duration;

use firnline_controller::id::TopicId;
use kafka_protocol::messages::FetchRequest;

use crate::harness::asks::{EARLIEST, LATEST, bytes, fetching, of};
use crate::harness::broker::{Client, TestBroker};
use crate::harness::bucket::{Fault, Rule, Verb};
use crate::harness::records::{batch, values};
use crate::harness::tier::Scene;
use crate::harness::wait::until;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_ID: i16 = 100;
const LONG: i32 = 3_600_000;
/// Longer than `firn.remote.delete.grace.ms`.
const GRACE: Duration = Duration::from_secs(61);

/// The topic id in the name of a partition's folder.
fn old_id(folder: &str) -> uuid::Uuid {
    let id: TopicId = folder.split('/').next().expect("a topic id").parse().expect("22 characters");
    id.0
}

/// A reader whose GET is under way: asked, and held by the bucket.
struct Reading {
    client: Client,
    id: i32,
}

impl Reading {
    /// Asks for offset 0 and waits until the bucket holds the GET.
    async fn begin(broker: &TestBroker, scene: &Scene, object: &str) -> Self {
        broker.bucket.plant(Rule::new(Verb::Get, object, Fault::Hold));
        let asked = broker.bucket.count(Verb::Get, object);
        let mut client = broker.client().await;
        let id = client.send(11, &fetching(scene.topic, &[(0, 0)], LONG)).await.unwrap();
        until("the read is under way", async || broker.bucket.count(Verb::Get, object) > asked).await;
        Self { client, id }
    }

    /// Its answer: (error, log start, bytes).
    async fn end(mut self) -> (i16, i64, usize) {
        let response = self.client.receive::<FetchRequest>(11, self.id).await.unwrap();
        let part = of(&response, 0);
        (part.error_code, part.log_start_offset, bytes(part).len())
    }
}

async fn cold_topic(broker: &TestBroker, topic: &'static str, configs: &[(&str, &str)]) -> (Client, Scene) {
    let mut client = broker.client().await;
    let scene = Scene::write_with(&mut client, topic, 1, 60, configs).await;
    scene.settle(&mut client, 0).await;
    (client, scene)
}

/// Waits for the end of a reader that had begun below what is now the log start: it learns that, or got its bytes.
async fn assert_passed_by(reading: Reading, start: i64) {
    let (error, log_start, len) = reading.end().await;
    assert!(error == OFFSET_OUT_OF_RANGE && len == 0 || error == 0 && len > 0, "error {error}, {len} bytes");
    assert!(log_start <= start);
}

#[tokio::test]
async fn retention_by_time_takes_history_first_from_readers_then_from_the_bucket() {
    let broker = TestBroker::start().await;
    let (mut client, scene) = cold_topic(&broker, "aged", &[("retention.ms", "3600000")]).await;
    let segments = scene.segments(&broker, 0).await;
    let reading = Reading::begin(&broker, &scene, &segments[0]).await;
    broker.clock.advance(Duration::from_secs(3_700));
    let mut start = 0;
    until("every sealed segment expired", async || {
        start = client.offset("aged", 0, EARLIEST).await;
        start > 0 && !scene.sent[start as usize..].is_empty() && {
            let sealed: i64 = segments.last().unwrap().rsplit('/').next().unwrap()[..20].parse().unwrap();
            start > sealed
        }
    })
    .await;
    // The objects outlive the log start by the grace period, for readers such as this one.
    until("they are buried", async || broker.bucket.count(Verb::Put, "manifest-") > 0).await;
    let rounds = Scene::write(&mut client, "rounds", 1, 40).await;
    rounds.settle(&mut client, 0).await;
    assert_eq!(
        broker.bucket.count(Verb::Delete, ".firn"),
        0,
        "the duties went round again and deleted nothing"
    );
    assert_eq!(scene.segments(&broker, 0).await, segments);
    broker.bucket.heal();
    assert_passed_by(reading, start).await;
    let below = client.fetch("aged", 0, start - 1, 1 << 20, LONG).await.unwrap();
    assert_eq!((below.error_code, below.log_start_offset), (OFFSET_OUT_OF_RANGE, start));
    broker.clock.advance(GRACE);
    until("their objects are gone", async || scene.segments(&broker, 0).await.is_empty()).await;
    // A consumer that resets to the log start reads on as if nothing happened.
    scene.check(&mut client, 0, start, scene.end()).await;
    assert_eq!(client.append("aged", 0, batch(&["after"])).await, scene.end());
}

#[tokio::test]
async fn retention_by_size_counts_both_tiers_and_keeps_the_newest() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    // Room for about two segments in all.
    let configs = [("retention.bytes", "2500000"), ("local.retention.bytes", "1")];
    let scene = {
        let configs: Vec<_> = [("remote.storage.enable", "true"), ("segment.bytes", "1048576")]
            .iter()
            .chain(&configs)
            .copied()
            .collect();
        Scene::write_with(&mut client, "sized", 1, 60, &configs).await
    };
    let mut start = 0;
    until("what is above the limit expired", async || {
        start = client.offset("sized", 0, EARLIEST).await;
        ((scene.end() - start) as u64) * (64 << 10) < 2_500_000 + (1 << 20)
    })
    .await;
    assert!(scene.end() - start > 2_500_000 / (65 << 10) - 16, "no more than needed: log start {start}");
    broker.clock.advance(GRACE);
    until("objects below the log start are gone", async || {
        let segments = scene.segments(&broker, 0).await;
        segments.iter().all(|key| {
            let base: i64 = key.rsplit('/').next().unwrap()[..20].parse().unwrap();
            base >= start
        })
    })
    .await;
    scene.check(&mut client, 0, start, scene.end()).await;
}

#[tokio::test]
async fn delete_records_holds_over_both_tiers_and_a_restart() {
    let mut broker = TestBroker::start().await;
    let (mut client, scene) = cold_topic(&broker, "cut", &[]).await;
    let segments = scene.segments(&broker, 0).await;
    let reading = Reading::begin(&broker, &scene, &segments[0]).await;
    // Into the middle of the second segment: its object stays, its first records are not served any more.
    let to = 20;
    let cut = client.delete_records("cut", 0, to).await;
    assert_eq!((cut.error_code, cut.low_watermark), (0, to));
    assert_eq!(client.offset("cut", 0, EARLIEST).await, to);
    broker.bucket.heal();
    assert_passed_by(reading, to).await;
    let below = client.fetch("cut", 0, to - 1, 1 << 20, LONG).await.unwrap();
    assert_eq!(below.error_code, OFFSET_OUT_OF_RANGE);
    scene.check(&mut client, 0, to, scene.end()).await;
    until("the first segment is buried", async || broker.bucket.count(Verb::Put, "manifest-") > 0).await;
    assert_eq!(scene.segments(&broker, 0).await, segments);
    broker.clock.advance(GRACE);
    until("only the first object is gone", async || scene.segments(&broker, 0).await == segments[1..]).await;
    broker.restart().await;
    let mut client = broker.client().await;
    assert_eq!(client.offset("cut", 0, EARLIEST).await, to, "the log start never falls back");
    scene.check(&mut client, 0, to, scene.end()).await;
    // Up to the end: nothing is left in either tier, and the offsets go on.
    let cut = client.delete_records("cut", 0, -1).await;
    assert_eq!((cut.error_code, cut.low_watermark), (0, scene.end()));
    assert_eq!(client.delete_records("cut", 0, scene.end() + 1).await.error_code, OFFSET_OUT_OF_RANGE);
    let empty = client.fetch("cut", 0, scene.end(), 1 << 20, 0).await.unwrap();
    assert_eq!((empty.error_code, bytes(&empty).len(), empty.log_start_offset), (0, 0, scene.end()));
    until("every object is buried", async || {
        broker.clock.advance(GRACE);
        scene.segments(&broker, 0).await.is_empty()
    })
    .await;
    assert_eq!(client.append("cut", 0, batch(&["on"])).await, scene.end());
}

#[tokio::test]
async fn a_deleted_topic_leaves_nothing_and_its_reader_is_told() {
    let broker = TestBroker::start().await;
    let (mut client, scene) = cold_topic(&broker, "gone", &[]).await;
    let folder = broker.folder("gone", 0);
    let segments = scene.segments(&broker, 0).await;
    let mut reading = Reading::begin(&broker, &scene, &segments[0]).await;
    assert_eq!(client.delete("gone").await, 0);
    broker.bucket.heal();
    let response = reading.client.receive::<FetchRequest>(11, reading.id).await.unwrap();
    let part = of(&response, 0);
    assert!(part.error_code != 0 || !bytes(part).is_empty(), "the reader is not left waiting for its hour");
    until("no object of it is left", async || {
        !broker.bucket.keys().await.iter().any(|key| key.contains(&folder))
    })
    .await;
    let after = client.fetch_parts("gone", &[(0, 0)], 0).await;
    assert_eq!(of(&after, 0).error_code, 3);
}

#[tokio::test]
async fn a_purge_outlives_a_restart_and_a_namesake_sees_nothing() {
    let mut broker = TestBroker::start().await;
    let (mut client, scene) = cold_topic(&broker, "again", &[]).await;
    let old = broker.folder("again", 0);
    let segments = scene.segments(&broker, 0).await;
    broker.bucket.plant(Rule::new(Verb::Delete, "", Fault::Refuse));
    assert_eq!(client.delete("again").await, 0);
    until("the purge was tried", async || broker.bucket.count(Verb::Delete, &old) > 0).await;
    let id = old_id(&old);
    // The namesake, while every object of the old one is still there.
    client.create("again", 1, crate::harness::asks::COLD).await;
    assert_ne!(broker.folder("again", 0), old);
    assert_eq!(client.append("again", 0, batch(&["new"])).await, 0);
    let read = client.fetch("again", 0, 0, 1 << 20, LONG).await.unwrap();
    assert_eq!(values(&bytes(&read)), [(0, "new".to_owned())]);
    assert_eq!((client.offset("again", 0, EARLIEST).await, client.offset("again", 0, LATEST).await), (0, 1));
    // Who still reads by the old topic's id is told that it is gone, and gets no bytes of either.
    let mut by_id = fetching("again", &[(0, 0)], 0);
    by_id.topics[0].topic = Default::default();
    by_id.topics[0].topic_id = id;
    let response = client.call(13, &by_id).await.unwrap();
    assert_eq!((of(&response, 0).error_code, bytes(of(&response, 0)).len()), (UNKNOWN_TOPIC_ID, 0));
    broker.restart().await;
    let keys = broker.bucket.keys().await;
    assert!(segments.iter().all(|segment| keys.contains(segment)), "the bucket refused to delete");
    broker.bucket.heal();
    until("the restarted broker purges", async || {
        !broker.bucket.keys().await.iter().any(|key| key.contains(&old))
    })
    .await;
    let mut client = broker.client().await;
    let read = client.fetch("again", 0, 0, 1 << 20, LONG).await.unwrap();
    assert_eq!(values(&bytes(&read)), [(0, "new".to_owned())]);
}

#[tokio::test]
async fn retention_of_a_local_topic_takes_its_sealed_segments() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let configs =
        [("remote.storage.enable", "false"), ("local.retention.bytes", "-2"), ("retention.ms", "3600000")];
    let scene = Scene::write_with(&mut client, "plain", 1, 40, &configs).await;
    let compact = [("cleanup.policy", "compact"), ("retention.ms", "3600000"), ("segment.bytes", "1048576")];
    client.create("kept", 1, &compact).await;
    for batch in &scene.sent {
        client.append("kept", 0, batch.clone()).await;
    }
    broker.clock.advance(Duration::from_secs(3_700));
    let mut start = 0;
    until("sealed segments expired", async || {
        start = client.offset("plain", 0, EARLIEST).await;
        start > 0
    })
    .await;
    scene.check(&mut client, 0, start, scene.end()).await;
    assert_eq!(client.offset("kept", 0, EARLIEST).await, 0, "retention never deletes from a compacted topic");
}
