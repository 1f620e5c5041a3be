//! A log directory of a broker in a cluster fails: others lead its partitions at once, clients are told which replicas are
//! offline, and what lies in the broker's other directory stays where it is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firnline_controller::id::BrokerId;
use firnline_tiering::hot::file::Files;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{BrokerId as WireId, MetadataRequest};

use crate::harness::asks::production;
use crate::harness::moving::ids;
use crate::harness::nodes::Nodes;
use crate::harness::records::batch;
use crate::harness::twin::disk::{Call, Fate, Kind, Nature, TwinDisk};
use crate::harness::wait::until;
use crate::harness::wire_client::name;

const TOPIC: &str = "kept";
/// Nobody else has its partitions.
const ALONE: &str = "alone";
const ILL: usize = 2;

/// Whether `/b` fails.
#[derive(Debug, Default)]
struct Failing(AtomicBool);

impl Nature for Failing {
    fn decide(&self, call: &Call<'_>) -> Fate {
        match self.0.load(Ordering::SeqCst) && call.path.starts_with("/b") {
            true => Fate::Fails(std::io::ErrorKind::Other, 0),
            false => Fate::Happens,
        }
    }
}

/// Partitions that node 2 holds in this directory.
fn placed(nodes: &Nodes, topic: &str, root: &str) -> Vec<i32> {
    let hosted = nodes.broker(ILL).shared().hosted.topic(topic).expect("a topic");
    let here = hosted.partitions().filter(|it| it.log().dir().starts_with(root));
    here.map(|it| it.id().index).collect()
}

/// Writes with acks=all to whom node 1 takes for the leader; the error code.
async fn written(nodes: &Nodes, topic: &str, index: i32) -> i16 {
    let leader = nodes.row(1, topic, index).and_then(|row| row.leader);
    let Some(BrokerId(leader)) = leader else { return -1 };
    let request = production(topic, -1, vec![(index, batch(&["a"]))]).with_timeout_ms(5_000);
    let answer = nodes.client(leader as usize).await.call(9, &request).await.expect("an answer");
    answer.responses[0].partition_responses[0].error_code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_lead_what_a_failed_directory_held() {
    let failing = Arc::new(Failing::default());
    let disk = TwinDisk::new(Arc::new(Kind));
    ["/a", "/b"].iter().for_each(|root| disk.create_dir_all(Path::new(root)).expect("a root"));
    let disk = disk.with(failing.clone());
    let mut nodes = Nodes::prepared(3, &[]);
    nodes.put_on(ILL, &disk, &["/a", "/b"]);
    nodes.start_all().await;
    nodes.create_on(TOPIC, &[&[2, 1, 3], &[2, 3, 1], &[2, 1, 3], &[2, 3, 1]], &[]).await;
    nodes.create_on(ALONE, &[&[2], &[2]], &[]).await;
    let all = [(TOPIC, 0), (TOPIC, 1), (TOPIC, 2), (TOPIC, 3), (ALONE, 0), (ALONE, 1)];
    for (topic, index) in all {
        until("it is written to", async || written(&nodes, topic, index).await == 0).await;
    }
    let (well, lost) = (placed(&nodes, TOPIC, "/a"), placed(&nodes, TOPIC, "/b"));
    let lost_alone = placed(&nodes, ALONE, "/b");
    assert_eq!((well.len(), lost.len(), lost_alone.len()), (2, 2, 1), "they spread over the directories");

    failing.0.store(true, Ordering::SeqCst);
    written(&nodes, TOPIC, lost[0]).await;
    for index in &lost {
        until("another leads", async || {
            let row = nodes.row(1, TOPIC, *index);
            row.is_some_and(|row| row.leader != Some(BrokerId(2)) && !row.isr.contains(&BrokerId(2)))
        })
        .await;
        until("and takes writes", async || written(&nodes, TOPIC, *index).await == 0).await;
    }
    until("what nobody else has is led by nobody", async || {
        nodes.row(1, ALONE, lost_alone[0]).is_some_and(|row| row.leader.is_none())
    })
    .await;
    for index in &well {
        assert_eq!(nodes.row(1, TOPIC, *index).expect("a row").leader, Some(BrokerId(2)));
        assert_eq!(written(&nodes, TOPIC, *index).await, 0);
    }
    let asked = MetadataRequestTopic::default().with_name(Some(name(TOPIC)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let told = nodes.client(1).await.call(12, &request).await.expect("Metadata");
    for partition in &told.topics[0].partitions {
        let offline = lost.contains(&partition.partition_index);
        assert_eq!(partition.offline_replicas.contains(&WireId(2)), offline, "{partition:?}");
    }

    // With its disk back after a restart, the broker leads what nobody else could and is in sync again.
    nodes.abandon(ILL).await;
    failing.0.store(false, Ordering::SeqCst);
    nodes.revive(ILL).await;
    for (topic, index) in all {
        until("everything is in sync again", async || {
            let row = nodes.row(1, topic, index);
            row.is_some_and(|row| row.isr.len() == row.replicas.len() && row.leader.is_some())
        })
        .await;
        until("it is written to again", async || written(&nodes, topic, index).await == 0).await;
    }
    assert_eq!(ids(&nodes.row(1, ALONE, lost_alone[0]).expect("a row").isr), [2]);
}
