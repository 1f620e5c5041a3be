//! What a broker finds after a stop that was none: every acked record, whatever else the files hold.

use std::io::Write;

use crate::harness::asks::{EARLIEST_LOCAL, LATEST};
use crate::harness::broker::TestBroker;
use crate::harness::records::{batch, bulk, values};
use crate::harness::tier::{BATCH, Scene};

#[tokio::test]
async fn acked_records_survive_a_crash_in_both_tiers() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let mut scene = Scene::write(&mut client, "crash", 1, 40).await;
    let local = scene.settle(&mut client, 0).await;
    for round in 0..3 {
        broker.kill();
        broker.revive().await;
        let mut client = broker.client().await;
        assert_eq!(client.offset("crash", 0, LATEST).await, scene.end(), "round {round}");
        assert!(client.offset("crash", 0, EARLIEST_LOCAL).await >= local);
        scene.check(&mut client, 0, 0, scene.end()).await;
        for serial in 0..5 {
            let batch = bulk(1_000 + round * 10 + serial, BATCH);
            assert_eq!(client.append("crash", 0, batch.clone()).await, scene.end());
            scene.sent.push(batch);
        }
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_the_next_offset_follows_the_last_whole_batch() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("torn", 1, &[]).await;
    for value in ["a", "b", "c"] {
        client.append("torn", 0, batch(&[value])).await;
    }
    broker.kill();
    // A write that the crash cut in two: the first half of a whole batch, at the end of the log.
    let log = broker.data_dir().join("torn-0/00000000000000000000.log");
    let whole = batch(&["never acked"]);
    let before = std::fs::metadata(&log).unwrap().len();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&log)
        .unwrap()
        .write_all(&whole[..whole.len() / 2])
        .unwrap();
    assert!(before > 0 && std::fs::metadata(&log).unwrap().len() > before);
    broker.revive().await;
    let mut client = broker.client().await;
    assert_eq!(client.append("torn", 0, batch(&["d"])).await, 3);
    let read = client.fetch("torn", 0, 0, 1 << 20, 0).await.unwrap();
    let read: Vec<String> =
        values(&read.records.unwrap_or_default()).into_iter().map(|(_, value)| value).collect();
    assert_eq!(read, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn lost_indexes_are_built_again() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let scene = Scene::write_with(
        &mut client,
        "index",
        1,
        40,
        &[("remote.storage.enable", "false"), ("local.retention.bytes", "-2")],
    )
    .await;
    broker.stop().await;
    let mut removed = 0;
    for file in std::fs::read_dir(broker.data_dir().join("index-0")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|end| end == "index" || end == "timeindex") {
            std::fs::remove_file(path).unwrap();
            removed += 1;
        }
    }
    assert!(removed >= 4, "{removed} index files were there");
    broker.revive().await;
    let mut client = broker.client().await;
    for from in [0, 17, 39] {
        scene.check(&mut client, 0, from, scene.end()).await;
    }
}

#[tokio::test]
async fn topics_and_their_settings_outlive_a_crash() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("kept", 3, &[("max.message.bytes", "1000")]).await;
    client.create("dropped", 1, &[]).await;
    assert_eq!(client.delete("dropped").await, 0);
    broker.kill();
    broker.revive().await;
    let mut client = broker.client().await;
    let kept = client.metadata("kept").await.unwrap();
    assert_eq!(kept.topics[0].partitions.len(), 3);
    let large = client.produce("kept", 2, batch(&[&"x".repeat(2_000)])).await.unwrap();
    assert_eq!(large.error_code, 10, "the topic's own limit holds");
    assert_eq!(client.delete("dropped").await, 3, "a deleted topic stays deleted");
}
