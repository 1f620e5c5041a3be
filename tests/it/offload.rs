//! From sealed segment to object to manifest, and off the local disk: nothing is lost on the way, byte for byte.

use crate::harness::asks::{COLD, EARLIEST_LOCAL, LATEST, LATEST_TIERED};
use crate::harness::broker::TestBroker;
use crate::harness::bucket::Verb;
use crate::harness::tier::Scene;
use crate::harness::wait::until;

/// Entries at which a manifest is written.
const FOLD: usize = 16;

#[tokio::test]
async fn sealed_segments_move_to_the_bucket_and_read_back_byte_identical() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "move", 1, 70).await;
    let local = scene.settle(&mut client, 0).await;
    // One object per sealed segment, and no manifest before there are enough to fold.
    let segments = scene.segments(&broker, 0).await;
    assert!((4..FOLD).contains(&segments.len()), "{segments:?}");
    assert_eq!(broker.bucket.count(Verb::Put, "manifest-"), 0);
    // Their local files are gone; the active segment's are there.
    let log = broker.data_dir().join("move-0");
    until("only the active segment is on disk", async || {
        let names: Vec<String> =
            std::fs::read_dir(&log).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        let logs: Vec<_> = names.iter().filter(|name| name.ends_with(".log")).collect();
        // The next segment may be created ahead.
        logs.iter().all(|name| name[..20].parse::<i64>().unwrap() >= local)
    })
    .await;
    scene.check(&mut client, 0, 0, scene.end()).await;
}

#[tokio::test]
async fn sixteen_entries_are_folded_into_a_manifest_and_all_stays_readable() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "fold", 1, 17 * 16).await;
    scene.settle(&mut client, 0).await;
    assert!(scene.segments(&broker, 0).await.len() > FOLD);
    until("a manifest is in the bucket and in the quorum", async || {
        broker.partition("fold", 0).log().tier().is_some_and(|row| row.manifest.is_some())
    })
    .await;
    let row = broker.partition("fold", 0).log().tier().unwrap();
    let pointer = row.manifest.unwrap();
    assert!(pointer.segments as usize >= FOLD, "{pointer:?}");
    assert!(row.entries.len() < FOLD, "folded entries left the row");
    let keys = broker.bucket.keys().await;
    assert!(keys.iter().any(|key| key.contains("manifest-") && key.ends_with(".firnm")), "{keys:?}");
    scene.check(&mut client, 0, 0, scene.end()).await;
    // The pointer and the entries come back from the quorum's log.
    broker.restart().await;
    let mut client = broker.client().await;
    let back = broker.partition("fold", 0).log().tier().unwrap();
    assert_eq!((back.manifest, &back.entries, back.end), (row.manifest, &row.entries, row.end));
    scene.check(&mut client, 0, 0, scene.end()).await;
}

#[tokio::test]
async fn nothing_leaves_the_disk_before_it_is_in_the_bucket() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    broker.bucket.go_down();
    let scene = Scene::write(&mut client, "wait", 1, 40).await;
    until("offload was tried", async || broker.bucket.ledger().len() >= 3).await;
    assert_eq!(client.offset("wait", 0, EARLIEST_LOCAL).await, 0, "all of it is still local");
    assert_eq!(client.offset("wait", 0, LATEST_TIERED).await, -1);
    assert_eq!(scene.segments(&broker, 0).await.len(), 0);
    scene.check(&mut client, 0, 0, scene.end()).await;
    broker.bucket.heal();
    assert!(scene.settle(&mut client, 0).await > 0);
    scene.check(&mut client, 0, 0, scene.end()).await;
}

#[tokio::test]
async fn a_topic_that_is_not_tiered_stays_out_of_the_bucket() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let scene = Scene::write_with(
        &mut client,
        "local",
        1,
        40,
        &[("remote.storage.enable", "false"), ("local.retention.bytes", "-2")],
    )
    .await;
    // A tiered topic beside it shows that offload has had its turn.
    let tiered = Scene::write(&mut client, "tiered", 1, 40).await;
    tiered.settle(&mut client, 0).await;
    assert_eq!(scene.segments(&broker, 0).await.len(), 0);
    assert_eq!(client.offset("local", 0, EARLIEST_LOCAL).await, 0);
    let refused = client.try_create("both", 1, &[COLD, &[("cleanup.policy", "compact")]].concat()).await;
    assert_eq!(
        refused.error_code, 40,
        "a compact policy with the bucket is refused: {:?}",
        refused.error_message
    );
}

#[tokio::test]
async fn offload_goes_on_after_a_restart_where_it_stopped() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let mut scene = Scene::write(&mut client, "resume", 1, 40).await;
    let before = scene.settle(&mut client, 0).await;
    let segments = scene.segments(&broker, 0).await;
    broker.restart().await;
    let mut client = broker.client().await;
    for serial in 100..140 {
        let batch = crate::harness::records::bulk(serial, crate::harness::tier::BATCH);
        assert_eq!(client.append("resume", 0, batch.clone()).await, scene.end());
        scene.sent.push(batch);
    }
    assert!(scene.settle(&mut client, 0).await > before);
    let now = scene.segments(&broker, 0).await;
    assert_eq!(now[..segments.len()], segments, "no segment is uploaded twice");
    assert_eq!(client.offset("resume", 0, LATEST).await, scene.end());
    scene.check(&mut client, 0, 0, scene.end()).await;
}
