//! Three brokers in one process, over real connections: what was acked with acks=all survives the loss of any one of them,
//! replicas are the same bytes, an old leader cuts what nobody copied, and groups go on at another coordinator.

use std::collections::BTreeSet;
use std::time::Duration;

use firnline::partition::leader::LeaderAppend;
use firnline_controller::record::kinds::Partition;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::log::append::Origin;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    CreateTopicsRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest,
};
use tokio::time::{Instant, sleep};

use crate::harness::asks::{bytes, fetching, of, production, text};
use crate::harness::nodes::Nodes;
use crate::harness::records::{batch, values};
use crate::harness::wait::{DEADLINE, eventually, until};
use crate::harness::wire_client::name;

const TOPIC: &str = "kept";
/// Kafka's version of Produce that these requests speak.
const PRODUCE: i16 = 9;

/// A topic with a copy on each of three nodes, everybody in sync.
async fn create(nodes: &Nodes, partitions: i32) {
    until("the topic is made", async || {
        let topic = CreatableTopic::default()
            .with_name(name(TOPIC))
            .with_num_partitions(partitions)
            .with_replication_factor(3);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = nodes.client(1).await.call(7, &request).await.expect("an answer");
        [0, 36].contains(&answer.topics[0].error_code)
    })
    .await;
}

/// The partition's row as this node sees it.
fn row(nodes: &Nodes, seen_by: usize, topic: &str, index: i32) -> Option<Partition> {
    let image = nodes.broker(seen_by).shared().controller.image();
    image.topics.by_name(topic)?.partition(index).cloned()
}

fn leader(nodes: &Nodes, seen_by: usize, topic: &str, index: i32) -> Option<usize> {
    Some(row(nodes, seen_by, topic, index)?.leader?.0 as usize)
}

async fn all_in_sync(nodes: &Nodes, seen_by: usize, partitions: i32) {
    until("everybody is in sync", async || {
        (0..partitions).all(|index| row(nodes, seen_by, TOPIC, index).is_some_and(|row| row.isr.len() == 3))
    })
    .await;
}

/// Writes one value with acks=all to whoever leads; false when it is not acked.
async fn write(nodes: &Nodes, seen_by: usize, index: i32, value: &str) -> bool {
    let Some(leader) = leader(nodes, seen_by, TOPIC, index).filter(|leader| nodes.runs(*leader)) else {
        return false;
    };
    let request = production(TOPIC, -1, vec![(index, batch(&[value]))]).with_timeout_ms(5_000);
    let answer = nodes.client(leader).await.call(PRODUCE, &request).await;
    answer.is_ok_and(|answer| answer.responses[0].partition_responses[0].error_code == 0)
}

/// Everything a consumer reads of a partition, in order.
async fn read(nodes: &Nodes, seen_by: usize, index: i32) -> Vec<String> {
    let leader = leader(nodes, seen_by, TOPIC, index).expect("a leader");
    let mut client = nodes.client(leader).await;
    let (mut at, mut found) = (0, Vec::new());
    loop {
        let answer = client.call(11, &fetching(TOPIC, &[(index, at)], 0)).await.expect("an answer");
        let part = of(&answer, index);
        assert_eq!(part.error_code, 0);
        let read = values(&bytes(part));
        let Some((last, _)) = read.last() else { return found };
        at = last + 1;
        found.extend(read.into_iter().map(|(_, value)| value));
    }
}

fn segment(nodes: &Nodes, id: usize, index: i32) -> Vec<u8> {
    let file = format!("{TOPIC}-{index}/00000000000000000000.log");
    std::fs::read(nodes.data_dir(id).join(file)).unwrap_or_default()
}

async fn all_the_same(nodes: &Nodes, partitions: i32) {
    for index in 0..partitions {
        until("all replicas are the same bytes", async || {
            let first = segment(nodes, 1, index);
            !first.is_empty() && first == segment(nodes, 2, index) && first == segment(nodes, 3, index)
        })
        .await;
    }
}

/// What was written, one value after the other.
#[derive(Default)]
struct Written {
    serial: u64,
    acked: Vec<String>,
}

impl Written {
    /// Writes until so many more values are acked; what was not acked is not written again.
    async fn more(&mut self, nodes: &Nodes, seen_by: usize, count: usize) {
        let goal = self.acked.len() + count;
        let deadline = Instant::now() + DEADLINE;
        while self.acked.len() < goal {
            assert!(Instant::now() < deadline, "{} of {goal} values are acked", self.acked.len());
            self.serial += 1;
            let value = format!("value-{}", self.serial);
            if write(nodes, seen_by, 0, &value).await {
                self.acked.push(value);
            } else {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn survives(cleanly: bool) {
    let mut nodes = Nodes::start(3, &["default.replication.factor=3", "min.insync.replicas=2"]).await;
    create(&nodes, 1).await;
    all_in_sync(&nodes, 1, 1).await;
    let mut written = Written::default();
    written.more(&nodes, 1, 20).await;
    let old = leader(&nodes, 1, TOPIC, 0).expect("a leader");
    let other = (1..=3).find(|id| *id != old).expect("another");
    match cleanly {
        true => nodes.stop(old).await,
        false => nodes.kill(old),
    }
    until("another leads", async || leader(&nodes, other, TOPIC, 0).is_some_and(|now| now != old)).await;
    written.more(&nodes, other, 20).await;
    nodes.revive(old).await;
    all_in_sync(&nodes, other, 1).await;
    written.more(&nodes, other, 5).await;
    let found = read(&nodes, other, 0).await;
    let unique: BTreeSet<&String> = found.iter().collect();
    assert_eq!(unique.len(), found.len(), "nothing twice");
    let acked: Vec<&String> = found.iter().filter(|value| written.acked.contains(value)).collect();
    assert_eq!(acked, written.acked.iter().collect::<Vec<_>>(), "everything acked, in order");
    all_the_same(&nodes, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_survives_a_leader_that_stops() {
    survives(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_survives_a_leader_that_dies() {
    survives(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_leader_cuts_what_nobody_copied() {
    let mut nodes = Nodes::start(3, &[]).await;
    create(&nodes, 1).await;
    all_in_sync(&nodes, 1, 1).await;
    let mut written = Written::default();
    written.more(&nodes, 1, 5).await;
    let old = leader(&nodes, 1, TOPIC, 0).expect("a leader");
    let led = nodes.broker(old).shared().hosted.find(TOPIC, 0).expect("the partition");
    let (epoch, end) = (led.leader_epoch(), led.offsets().end);
    // Written as if in the moment of its death: no follower asks any more.
    nodes.kill(old);
    let how = LeaderAppend { origin: Origin::Client, now_ms: 0, produce_version: 9, all_replicas: false };
    let mut lost = batch(&["nobody has this"]).to_vec();
    let appended = led.append(&mut lost, &how);
    drop(led);
    let other = (1..=3).find(|id| *id != old).expect("another");
    until("another leads", async || leader(&nodes, other, TOPIC, 0).is_some_and(|now| now != old)).await;
    written.more(&nodes, other, 5).await;
    nodes.revive(old).await;
    all_in_sync(&nodes, other, 1).await;
    all_the_same(&nodes, 1).await;
    assert_eq!(read(&nodes, other, 0).await, written.acked);
    let back = nodes.broker(old).shared().hosted.find(TOPIC, 0).expect("the partition");
    let lineage = back.log().lineage();
    let (next, start) = lineage.spans().iter().find(|(it, _)| *it > epoch).copied().expect("a later epoch");
    assert!(next > LeaderEpoch(0) && start == end, "{appended:?} is gone: {:?}", lineage.spans());
}

/// The node that coordinates a group, as this one says.
async fn coordinator(nodes: &Nodes, asked: usize, group: &str) -> Option<usize> {
    let request = FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(vec![text(group)]);
    let answer = nodes.client(asked).await.call(4, &request).await.expect("an answer");
    let found = &answer.coordinators[0];
    let port = found.port.to_string();
    (found.error_code == 0).then_some(())?;
    assert!(nodes.address(found.node_id.0 as usize).ends_with(&port), "the leader's own address");
    Some(found.node_id.0 as usize).filter(|id| nodes.runs(*id))
}

async fn commit(nodes: &Nodes, at: usize, group: &str, offset: i64) -> i16 {
    let part = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default().with_name(name(TOPIC)).with_partitions(vec![part]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = nodes.client(at).await.call(8, &request).await.expect("an answer");
    answer.topics[0].partitions[0].error_code
}

async fn committed(nodes: &Nodes, at: usize, group: &str) -> (i16, i64) {
    let topic = OffsetFetchRequestTopics::default().with_name(name(TOPIC)).with_partition_indexes(vec![0]);
    let asked =
        OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let answer = nodes.client(at).await.call(8, &request).await.expect("an answer");
    let group = &answer.groups[0];
    let offset = group.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset);
    (group.error_code, offset)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_at_another_coordinator() {
    let mut nodes = Nodes::start(3, &[]).await;
    create(&nodes, 1).await;
    let old = eventually("a coordinator", async || coordinator(&nodes, 1, "readers").await).await;
    until("the offset is committed", async || commit(&nodes, old, "readers", 41).await == 0).await;
    let other = (1..=3).find(|id| *id != old).expect("another");
    assert_eq!(commit(&nodes, other, "readers", 1).await, 16, "NOT_COORDINATOR elsewhere");
    let offsets = "__consumer_offsets";
    until("the groups' topic is in sync", async || {
        row(&nodes, other, offsets, 0).is_some_and(|row| row.isr.len() == 3)
    })
    .await;
    nodes.kill(old);
    let now = eventually("another coordinator", async || {
        coordinator(&nodes, other, "readers").await.filter(|now| *now != old)
    });
    let now = now.await;
    until("the offset is there", async || committed(&nodes, now, "readers").await == (0, 41)).await;
    until("commits go on", async || commit(&nodes, now, "readers", 42).await == 0).await;
    nodes.revive(old).await;
    until("the old one sends clients on", async || commit(&nodes, old, "readers", 1).await == 16).await;
    assert_eq!(committed(&nodes, now, "readers").await, (0, 42));
}
