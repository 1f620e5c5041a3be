//! What a new process finds: everything that was answered, nothing twice, and refusals that name their reason.

use std::path::Path;
use std::sync::Arc;

use firnline_controller::client::Controller;
use firnline_controller::error::StartError;
use firnline_controller::id::{BrokerEpoch, BrokerId};
use firnline_controller::record::kinds::{Record, Resource};
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::hot::file::OsFiles;

use crate::disk::Disk;
use crate::scene::{append, broker, config, create, start, topic};

/// The image as records: two images are equal when these are.
pub fn records(controller: &Controller) -> Vec<Record> {
    controller.image().to_records().collect()
}

#[tokio::test]
async fn a_restart_replays_what_was_decided() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(Arc::new(OsFiles), 0);
    config.dir = folder.path().join("__cluster_metadata-0");
    let controller = Controller::start(config.clone()).await.unwrap();
    assert_eq!(controller.register_broker(broker(1)).await, Ok(BrokerEpoch(0)));
    let a = create(&controller, "a", 3).await;
    let retention = ("retention.ms".to_owned(), Some("1000".to_owned()));
    controller.alter_configs(Resource::Topic(a), vec![retention]).await.unwrap();
    let row = controller.image().tier_row(a, 1).unwrap();
    controller.change_tiers(vec![(a, 1, append(&row, 0))]).await.pop().unwrap().unwrap();
    let b = create(&controller, "b", 1).await;
    assert_eq!(controller.delete_topics(vec![b]).await, [Ok(())]);
    let (before, term) = (records(&controller), controller.quorum().term);
    controller.shutdown().await;

    let again = Controller::start(config).await.unwrap();
    assert_eq!(records(&again), before);
    assert!(again.quorum().term >= term, "the term falls from {term}");
    assert_eq!(again.quorum().leader, Some(BrokerId(1)));
    assert_eq!(again.image().topics.tombstone(b).map(|gone| gone.partitions), Some(1));
    again.shutdown().await;
}

#[tokio::test]
async fn blocks_of_producer_ids_are_never_given_twice() {
    let disk = Disk::default();
    let mut next = 0;
    for process in 0..4 {
        let controller = start(Arc::new(disk.clone()), process).await.unwrap();
        for _ in 0..3 {
            let block = controller.allocate_producer_ids().await.unwrap();
            assert_eq!(block, next..next + 1000);
            next = block.end;
        }
        if process % 2 == 0 {
            controller.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_new_incarnation_leads_under_new_epochs_and_the_old_one_changes_no_tier() {
    let disk = Disk::default();
    let controller = start(Arc::new(disk.clone()), 0).await.unwrap();
    controller.register_broker(broker(1)).await.unwrap();
    let id = create(&controller, "a", 2).await;
    let row = controller.image().tier_row(id, 0).unwrap();
    let row = controller.change_tiers(vec![(id, 0, append(&row, 0))]).await.pop().unwrap().unwrap();
    // The same process registers again: nothing changes.
    assert_eq!(controller.register_broker(broker(1)).await, Ok(BrokerEpoch(0)));
    controller.shutdown().await;

    let controller = start(Arc::new(disk), 1).await.unwrap();
    assert_eq!(controller.register_broker(broker(2)).await, Ok(BrokerEpoch(1)));
    let image = controller.image();
    let partition = image.topics.partition(id, 0).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch), (Some(BrokerId(1)), LeaderEpoch(1)));
    let stale = controller.change_tiers(vec![(id, 0, append(&row, 0))]).await.pop().unwrap();
    assert!(stale.is_err(), "{stale:?}");
    assert_eq!(controller.image().tier_row(id, 0).unwrap().end, row.end);
    let current = controller.image().tier_row(id, 0).unwrap();
    controller.change_tiers(vec![(id, 0, append(&current, 1))]).await.pop().unwrap().unwrap();
}

#[tokio::test]
async fn snapshots_take_the_place_of_the_log() {
    let disk = Disk::default();
    let mut config = config(Arc::new(disk.clone()), 0);
    config.snapshot_every_records = 50;
    let controller = Controller::start(config.clone()).await.unwrap();
    controller.register_broker(broker(1)).await.unwrap();
    let id = create(&controller, "tiered", 1).await;
    for round in 0..400 {
        let row = controller.image().tier_row(id, 0).unwrap();
        if row.entries.len() < 60 {
            controller.change_tiers(vec![(id, 0, append(&row, 0))]).await.pop().unwrap().unwrap();
        } else {
            create(&controller, &format!("topic.{round}"), 2).await;
        }
    }
    let before = records(&controller);
    controller.shutdown().await;
    let names: Vec<_> = disk.contents().into_keys().collect();
    let snapshots = names.iter().filter(|name| name.to_string_lossy().ends_with(".snapshot")).count();
    assert_eq!(snapshots, 1, "{names:?}");
    assert!(names.iter().any(|name| name.ends_with("purged")), "{names:?}");

    let again = Controller::start(config).await.unwrap();
    assert_eq!(records(&again), before);
    assert_eq!(again.image().offset + 1, again.quorum().high_watermark);
    create(&again, "after", 1).await;
}

#[tokio::test]
async fn another_cluster_or_node_is_refused() {
    let disk = Disk::default();
    let controller = start(Arc::new(disk.clone()), 0).await.unwrap();
    controller.shutdown().await;
    let mut other = config(Arc::new(disk.clone()), 1);
    other.cluster_id = "another".to_owned();
    let refused = Controller::start(other).await.expect_err("another cluster's log");
    assert!(matches!(&refused, StartError::OtherCluster { wanted, .. } if wanted == "another"), "{refused}");
    let mut other = config(Arc::new(disk.clone()), 1);
    other.node_id = BrokerId(2);
    let refused = Controller::start(other).await.expect_err("another node's log");
    assert!(matches!(refused, StartError::OtherNode { found: 1, wanted: 2 }), "{refused}");
    start(Arc::new(disk), 2).await.expect("refusals changed nothing");
}

#[tokio::test]
async fn damage_below_a_durable_write_is_refused_and_a_torn_tail_is_cut() {
    let disk = Disk::default();
    let controller = start(Arc::new(disk.clone()), 0).await.unwrap();
    controller.register_broker(broker(1)).await.unwrap();
    create(&controller, "a", 1).await;
    create(&controller, "b", 1).await;
    controller.shutdown().await;
    let log = Path::new("/data/__cluster_metadata-0/00000000000000000000.raft");
    let len = disk.contents()[log].len();

    let torn = disk.after_power_loss(crate::disk::Loss::None);
    torn.tamper(log, |bytes| bytes.truncate(len - 3));
    let controller = start(Arc::new(torn), 9).await.expect("the tail was torn");
    assert!(controller.image().topics.by_name("a").is_some());
    assert!(controller.image().topics.by_name("b").is_none());

    let damaged = disk.after_power_loss(crate::disk::Loss::None);
    damaged.tamper(log, |bytes| bytes[100] ^= 1);
    let before = damaged.contents();
    let refused = start(Arc::new(damaged.clone()), 9).await.expect_err("damage in the middle");
    assert!(matches!(refused, StartError::Corrupt { .. }), "{refused}");
    assert_eq!(damaged.contents(), before, "a refusal changes nothing on disk");
}

#[tokio::test]
async fn a_name_deleted_and_created_again_is_another_topic() {
    let disk = Disk::default();
    let controller = start(Arc::new(disk.clone()), 0).await.unwrap();
    controller.register_broker(broker(1)).await.unwrap();
    let first = create(&controller, "orders", 1).await;
    let row = controller.image().tier_row(first, 0).unwrap();
    controller.change_tiers(vec![(first, 0, append(&row, 0))]).await.pop().unwrap().unwrap();
    controller.shutdown().await;
    let controller = start(Arc::new(disk.clone()), 50).await.unwrap();
    controller.register_broker(broker(2)).await.unwrap();
    assert_eq!(controller.image().topics.partition(first, 0).unwrap().leader_epoch, LeaderEpoch(1));
    assert_eq!(controller.delete_topics(vec![first]).await, [Ok(())]);
    let second = create(&controller, "orders", 1).await;
    assert_ne!(first, second);
    let image = controller.image();
    assert_eq!(image.topics.partition(second, 0).unwrap().leader_epoch, LeaderEpoch(0));
    assert!(!image.tier_row(second, 0).unwrap().has_committed(), "it sees nothing of its namesake's");
    assert_eq!(image.tiers.of(first).count(), 1, "what is to be purged is still known");
    controller.shutdown().await;
    let controller = start(Arc::new(disk), 90).await.unwrap();
    assert_eq!(controller.image().tiers.of(first).count(), 1);
    controller.finish_purge(first).await.unwrap();
    assert_eq!(controller.image().tiers.len(), 0);
    assert!(controller.finish_purge(first).await.is_err());
    let again = controller.create_topics(vec![topic("orders", 1)], false).await;
    assert!(again[0].is_err(), "{again:?}");
}
