//! What replicas mean for clients: who reads at a follower near it, what durable means with followers, what a follower
//! keeps of a tiered log.

use firnline_tiering::offsets::Offset;
use kafka_protocol::messages::FetchRequest;

use crate::harness::asks::{COLD, bytes, fetching, of, text};
use crate::harness::moving::ids;
use crate::harness::nodes::Nodes;
use crate::harness::records::{batch, bulk, values};
use crate::harness::wait::until;

const TOPIC: &str = "copied";

async fn in_sync(nodes: &Nodes, replicas: &[i32]) {
    until("all replicas are in sync", async || {
        nodes.row(1, TOPIC, 0).is_some_and(|row| ids(&row.isr) == replicas)
            && replicas.iter().all(|id| nodes.broker(*id as usize).shared().hosted.find(TOPIC, 0).is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_reads_in_its_own_rack() {
    let selector = "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let nodes = Nodes::start(3, &[selector]).await;
    nodes.create_on(TOPIC, &[&[1, 2]], &[]).await;
    in_sync(&nodes, &[1, 2]).await;
    let mut leader = nodes.client(1).await;
    leader.append(TOPIC, 0, batch(&["near"])).await;
    let near = |rack: &str| -> FetchRequest { fetching(TOPIC, &[(0, 0)], 0).with_rack_id(text(rack)) };
    until("the follower has what is committed", async || {
        nodes.broker(2).shared().hosted.find(TOPIC, 0).is_some_and(|it| it.high_watermark() == Offset(1))
    })
    .await;
    for (rack, sent_to) in [("rack-1", -1), ("rack-2", 2), ("rack-3", -1), ("", -1)] {
        let answer = leader.call(11, &near(rack)).await.expect("an answer");
        let part = of(&answer, 0);
        assert_eq!((part.error_code, part.preferred_read_replica.0), (0, sent_to), "{rack}");
        assert_eq!(bytes(part).is_empty(), sent_to != -1, "{rack}: records come from one of them");
    }
    let mut follower = nodes.client(2).await;
    let answer = follower.call(11, &near("rack-2")).await.expect("an answer");
    let part = of(&answer, 0);
    assert_eq!((part.error_code, part.high_watermark), (0, 1));
    assert_eq!(values(&bytes(part)), [(0, "near".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_durability_disk_an_ack_means_fsynced_on_every_replica_in_sync() {
    let nodes = Nodes::start(3, &["firn.durability=disk"]).await;
    nodes.create_on(TOPIC, &[&[1, 2, 3]], &[("min.insync.replicas", "3")]).await;
    in_sync(&nodes, &[1, 2, 3]).await;
    let mut client = nodes.client(1).await;
    for serial in 0..20 {
        let base = client.append(TOPIC, 0, bulk(serial, 2_000)).await;
        for id in 1..=3 {
            let replica = nodes.broker(id).shared().hosted.find(TOPIC, 0).expect("a replica");
            let durable = replica.log().recovery_point();
            assert!(durable > Offset(base), "node {id}: offset {base} is acked, durable below {durable}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_a_tiered_log_lets_go_of_what_the_bucket_holds() {
    let bucket = tempfile::tempdir().expect("a directory");
    let url = format!("firn.remote.url=file://{}", bucket.path().display());
    let set = [
        "remote.log.storage.system.enable=true",
        "remote.log.manager.task.interval.ms=100",
        "log.retention.check.interval.ms=100",
        "log.segment.delete.delay.ms=0",
        "firn.cache.disk.bytes=0",
        &url,
    ];
    let nodes = Nodes::start(2, &set).await;
    nodes.create_on(TOPIC, &[&[1, 2]], COLD).await;
    in_sync(&nodes, &[1, 2]).await;
    let mut client = nodes.client(1).await;
    for serial in 0..40 {
        client.append(TOPIC, 0, bulk(serial, 100_000)).await;
    }
    let replica = |id: usize| nodes.broker(id).shared().hosted.find(TOPIC, 0).expect("a replica");
    for id in [1, 2] {
        until("sealed segments leave the disk", async || replica(id).offsets().local_start > Offset(20))
            .await;
        let (offsets, row) = (replica(id).offsets(), replica(id).log().tier().expect("a row"));
        assert!(offsets.local_start <= row.end && offsets.log_start == Offset(0), "node {id}: {offsets:?}");
    }
    assert_eq!(client.delete_records(TOPIC, 0, 5).await.low_watermark, 5);
    until("the follower knows", async || replica(2).offsets().log_start == Offset(5)).await;
}
