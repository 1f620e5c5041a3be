//! Replicas that move between brokers: under a throttle they wait and replicas in sync do not; without it they arrive.
//! Invariant: a move that is held back changes nothing of what is acked meanwhile.

use std::sync::Arc;

use firnline::replication::quota::{Quota, Quotas};
use firnline::telemetry::metrics::Seen;
use firnline_controller::id::BrokerId;

use crate::harness::moving::{OF_BROKER, OF_TOPIC, ids};
use crate::harness::nodes::Nodes;
use crate::harness::records::bulk;
use crate::harness::wait::until;

const TOPIC: &str = "moved";
const BATCHES: u64 = 20;
const BATCH_BYTES: usize = 60_000;

async fn fill(nodes: &Nodes, leader: usize) {
    let mut client = nodes.client(leader).await;
    for serial in 0..BATCHES {
        client.append(TOPIC, 0, bulk(serial, BATCH_BYTES)).await;
    }
}

fn quotas(nodes: &Nodes, id: usize) -> Arc<Quotas> {
    nodes.broker(id).shared().quotas.clone()
}

/// The sum of a family's series at one node.
async fn metric(nodes: &Nodes, id: usize, name: &str) -> f64 {
    let seen = Seen { shared: nodes.broker(id).shared().clone(), tiers: None };
    let families = seen.families().await;
    let family = families.iter().find(|family| family.name == name).expect("the family");
    family.series.iter().map(|(_, value)| value).sum()
}

/// Moves a full partition from broker 1 to broker 2 under one of the two throttles, which is then lifted.
async fn a_throttled_move(side: &str, throttled: &str, at: usize, quota: fn(&Quotas) -> &Quota) {
    // Less in one answer than there is, so that the throttle finds something to hold back.
    let nodes = Nodes::start(2, &["replica.fetch.max.bytes=100000"]).await;
    nodes.create_on(TOPIC, &[&[1]], &[]).await;
    fill(&nodes, 1).await;
    let (rate, replicas) =
        (format!("{side}.replication.throttled.rate"), format!("{side}.replication.throttled.replicas"));
    nodes.set(1, (OF_BROKER, &at.to_string()), &rate, Some("1")).await;
    nodes.set(1, (OF_TOPIC, TOPIC), &replicas, Some(throttled)).await;
    let quotas = quotas(&nodes, at);
    until("the limit is known", async || quota(&quotas).limit() == 1).await;

    nodes.reassign(2, TOPIC, 0, Some(&[2])).await;
    until("the move is held back", async || quota(&quotas).counts().1 >= 5).await;
    let row = nodes.row(1, TOPIC, 0).expect("the partition");
    assert!(row.is_moving() && ids(&row.isr) == [1], "{row:?}");
    let copied = nodes.broker(2).shared().hosted.find(TOPIC, 0).expect("a replica").offsets().end;
    let all = nodes.broker(1).shared().hosted.find(TOPIC, 0).expect("a replica").offsets().end;
    assert!(copied < all, "{copied} of {all}");
    assert_eq!(metric(&nodes, 1, "kafka_server_brokertopicmetrics_bytesout").await, 0.0, "nobody consumed");
    // What is acked does not wait for a replica that is out of sync.
    nodes.client(1).await.append(TOPIC, 0, bulk(BATCHES, 10)).await;

    nodes.set(2, (OF_TOPIC, TOPIC), &replicas, None).await;
    nodes.set(2, (OF_BROKER, &at.to_string()), &rate, None).await;
    until("the replica arrives", async || {
        nodes.row(2, TOPIC, 0).is_some_and(|row| !row.is_moving() && ids(&row.replicas) == [2])
    })
    .await;
    let mut client = nodes.client(2).await;
    let read = client.read(TOPIC, 0, 0, BATCHES as i64 + 1).await;
    assert_eq!(read.len() as u64, BATCHES + 1);
    let all = (BATCHES * BATCH_BYTES as u64) as f64;
    assert!(metric(&nodes, 1, "kafka_server_brokertopicmetrics_replicationbytesout").await >= all);
    assert!(metric(&nodes, 2, "kafka_server_brokertopicmetrics_replicationbytesin").await >= all);
    assert!(metric(&nodes, at, "firn_replication_held_back").await >= 5.0);
    // What moved away leaves nothing behind.
    let left = nodes.data_dir(1).join(format!("{TOPIC}-0"));
    until("the old replica is deleted", async || !left.exists()).await;
    assert!(nodes.broker(1).shared().hosted.find(TOPIC, 0).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_holds_throttled_replicas_back_until_the_throttle_is_lifted() {
    a_throttled_move("leader", "0:1", 1, |quotas| &quotas.leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_holds_itself_back_until_the_throttle_is_lifted() {
    a_throttled_move("follower", "0:2", 2, |quotas| &quotas.follower).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_in_sync_are_never_throttled() {
    let nodes = Nodes::start(2, &[]).await;
    for id in ["1", "2"] {
        nodes.set(1, (OF_BROKER, id), "leader.replication.throttled.rate", Some("1")).await;
        nodes.set(1, (OF_BROKER, id), "follower.replication.throttled.rate", Some("1")).await;
    }
    let everywhere =
        [("leader.replication.throttled.replicas", "*"), ("follower.replication.throttled.replicas", "*")];
    nodes.create_on(TOPIC, &[&[1, 2]], &[&everywhere[..], &[("min.insync.replicas", "2")]].concat()).await;
    until("both are in sync", async || {
        let caught_up = nodes.broker(2).shared().hosted.find(TOPIC, 0).is_some_and(|it| it.is_following());
        caught_up && nodes.row(1, TOPIC, 0).is_some_and(|row| row.isr.len() == 2)
    })
    .await;
    fill(&nodes, 1).await;
    let (led, followed) = (quotas(&nodes, 1), quotas(&nodes, 2));
    assert!(led.leader.counts().0 >= BATCHES * BATCH_BYTES as u64, "what they take counts");
    until("the follower counts it too", async || {
        followed.follower.counts().0 >= BATCHES * BATCH_BYTES as u64
    })
    .await;
    assert_eq!(nodes.row(1, TOPIC, 0).expect("the partition").leader, Some(BrokerId(1)));
}
