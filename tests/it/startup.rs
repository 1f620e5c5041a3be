//! Starts that must not happen, and a bucket that is somebody else's: each says why, and harms nobody.

use crate::harness::asks::{LATEST_TIERED, bytes};
use crate::harness::broker::TestBroker;
use crate::harness::bucket::Verb;
use crate::harness::records::{batch, values};
use crate::harness::tier::Scene;
use crate::harness::wait::until;

/// Why a second broker on `first`'s data with these settings does not start.
async fn refusal(first: &TestBroker, set: &[&str]) -> String {
    match first.second(set).await {
        Ok(_) => panic!("a second broker started with {set:?}"),
        Err(error) => error.to_string(),
    }
}

/// The first broker still serves.
async fn assert_serves(broker: &TestBroker, topic: &str) {
    let mut client = broker.client().await;
    client.append(topic, 0, batch(&["still"])).await;
    let read = client.fetch(topic, 0, 0, 1 << 20, 0).await.unwrap();
    assert!(!values(&bytes(&read)).is_empty());
}

#[tokio::test]
async fn a_data_directory_serves_one_process() {
    let broker = TestBroker::start().await;
    broker.client().await.create("mine", 1, &[]).await;
    let why = refusal(&broker, &[]).await;
    assert!(why.contains("locked by another running broker"), "{why}");
    assert_serves(&broker, "mine").await;
}

#[tokio::test]
async fn a_port_in_use_is_named_and_nothing_is_left_behind() {
    let broker = TestBroker::start().await;
    broker.client().await.create("mine", 1, &[]).await;
    let listeners = format!("listeners=PLAINTEXT://{}", broker.bootstrap());
    let dirs = format!("log.dirs={}", broker.dir().join("other").display());
    let why = refusal(&broker, &[&listeners, &dirs]).await;
    assert!(why.contains(&broker.bootstrap()) && why.contains("another process uses this port"), "{why}");
    assert_serves(&broker, "mine").await;
    // What it had opened is free again.
    let mut second = None;
    until("the directory of the failed start is free", async || {
        second = broker.second(&[&dirs]).await.ok();
        second.is_some()
    })
    .await;
    second.unwrap().shutdown().await.unwrap();
}

#[tokio::test]
async fn directories_of_another_cluster_or_node_are_refused() {
    let mut broker = TestBroker::start().await;
    broker.client().await.create("mine", 1, &[]).await;
    broker.stop().await;
    let why = refusal(&broker, &["node.id=2"]).await;
    assert!(why.contains("belongs to node 1, this is node 2"), "{why}");
    // Two directories that were never together.
    let mut stranger = TestBroker::start().await;
    stranger.stop().await;
    let dirs = format!("log.dirs={},{}", broker.data_dir().display(), stranger.data_dir().display());
    let why = refusal(&broker, &[&dirs]).await;
    assert!(why.contains("belongs to cluster"), "{why}");
    broker.revive().await;
    assert_serves(&broker, "mine").await;
}

#[tokio::test]
async fn a_bucket_of_another_cluster_is_neither_written_nor_read() {
    let broker = TestBroker::start().await;
    broker.bucket.leave("firn-cluster.json", r#"{"cluster.id":"somebody-else","version":1}"#).await;
    let before = broker.bucket.keys().await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "kept", 1, 40).await;
    until("the marker was read", async || broker.bucket.count(Verb::Get, "firn-cluster.json") > 0).await;
    // A clean stop ends what is under way: after it, nothing more could come.
    let mut broker = broker;
    broker.restart().await;
    let mut client = broker.client().await;
    assert_eq!(client.offset("kept", 0, LATEST_TIERED).await, -1);
    scene.check(&mut client, 0, 0, scene.end()).await;
    let written: Vec<_> = broker.bucket.keys().await.difference(&before).cloned().collect();
    assert!(written.iter().all(|key| key.ends_with(".firn-probe")), "{written:?}");
}
