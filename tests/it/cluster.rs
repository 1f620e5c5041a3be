//! Three nodes that find together, lose one, and refuse who does not belong.
//! Invariant: what one node answered, every other tells soon after.

use std::collections::{BTreeMap, BTreeSet};

use firnline::broker::lifecycle::Broker;
use firnline::broker::start_error::StartError;
use firnline_controller::id::BrokerId;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeClusterRequest, DescribeQuorumRequest, MetadataRequest, MetadataResponse,
    UnregisterBrokerRequest,
};
use tokio::net::TcpStream;

use crate::harness::nodes::{CLUSTER_ID, Nodes, format};
use crate::harness::wait::{eventually, until};
use crate::harness::wire_client::{WireClient, name};

async fn create(nodes: &Nodes, at: usize, topic: &str, partitions: i32, copies: i16) -> i16 {
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(copies);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let response = nodes.client(at).await.call(7, &request).await.expect("an answer");
    response.topics[0].error_code
}

async fn metadata(nodes: &Nodes, at: usize, topic: &str) -> MetadataResponse {
    let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
    nodes.client(at).await.call(12, &request).await.expect("an answer")
}

fn leaders(topic: &MetadataResponseTopic) -> Vec<i32> {
    topic.partitions.iter().map(|partition| partition.leader_id.0).collect()
}

fn live(metadata: &MetadataResponse) -> BTreeSet<i32> {
    metadata.brokers.iter().map(|broker| broker.node_id.0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_find_together_and_any_of_them_takes_an_admin_request() {
    let nodes = Nodes::start(3, &[]).await;
    for at in 1..=3 {
        let topic = format!("made-at-{at}");
        until("all brokers are unfenced", async || create(&nodes, at, &topic, 3, 3).await != 38).await;
        for seen_by in 1..=3 {
            let told = eventually("the topic is known everywhere", async || {
                let told = metadata(&nodes, seen_by, &topic).await;
                (told.topics[0].error_code == 0).then_some(told)
            });
            let told = told.await;
            assert_eq!(live(&told), [1, 2, 3].into());
            let led: BTreeSet<i32> = leaders(&told.topics[0]).into_iter().collect();
            assert_eq!(led, [1, 2, 3].into(), "leaders are spread");
            assert!(told.topics[0].partitions.iter().all(|partition| partition.replica_nodes.len() == 3));
        }
    }
    assert_eq!(create(&nodes, 1, "too-many", 1, 4).await, 38, "replicas above live brokers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_brokers_partitions_are_led_by_others() {
    let mut nodes = Nodes::start(3, &[]).await;
    until("the topic is made", async || create(&nodes, 1, "t", 6, 3).await != 38).await;
    nodes.kill(3);
    until("others lead what it led", async || {
        let told = metadata(&nodes, 1, "t").await;
        live(&told) == [1, 2].into() && leaders(&told.topics[0]).iter().all(|leader| [1, 2].contains(leader))
    })
    .await;
    let told = metadata(&nodes, 2, "t").await;
    for partition in &told.topics[0].partitions {
        assert_eq!(partition.offline_replicas, [kafka_protocol::messages::BrokerId(3)]);
        assert!(!partition.isr_nodes.contains(&kafka_protocol::messages::BrokerId(3)));
    }
    nodes.revive(3).await;
    until("it is alive and in sync again", async || {
        let told = metadata(&nodes, 3, "t").await;
        live(&told) == [1, 2, 3].into()
            && told.topics[0].partitions.iter().all(|partition| partition.isr_nodes.len() == 3)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_go_back_to_where_they_belong_by_themselves() {
    let mut nodes = Nodes::start(3, &["leader.imbalance.check.interval.seconds=1"]).await;
    until("the topic is made", async || create(&nodes, 1, "t", 6, 3).await != 38).await;
    let at_home = |told: &MetadataResponse| {
        told.topics[0].partitions.iter().all(|partition| partition.leader_id == partition.replica_nodes[0])
    };
    until("each leads its own", async || at_home(&metadata(&nodes, 1, "t").await)).await;
    nodes.kill(2);
    until("others lead", async || !at_home(&metadata(&nodes, 1, "t").await)).await;
    nodes.revive(2).await;
    until("each leads its own again", async || at_home(&metadata(&nodes, 1, "t").await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_gone_for_good_is_forgotten() {
    let mut nodes = Nodes::start(3, &[]).await;
    until("the topic is made", async || create(&nodes, 1, "t", 3, 3).await != 38).await;
    nodes.kill(3);
    until("it is fenced", async || live(&metadata(&nodes, 1, "t").await) == [1, 2].into()).await;
    let known = async || {
        let request = DescribeClusterRequest::default().with_include_fenced_brokers(true);
        let told = nodes.client(2).await.call(2, &request).await.expect("an answer");
        told.brokers.iter().map(|broker| broker.broker_id.0).collect::<Vec<_>>()
    };
    assert_eq!(known().await, [1, 2, 3], "fenced, and known");
    let unregister = UnregisterBrokerRequest::default().with_broker_id(3.into());
    assert_eq!(nodes.client(2).await.call(0, &unregister).await.expect("an answer").error_code, 0);
    assert_eq!(known().await, [1, 2]);
    let again = nodes.client(1).await.call(0, &unregister).await.expect("an answer");
    let why = again.error_message.map(|why| why.to_string()).unwrap_or_default();
    assert!(again.error_code == 102 && why.contains('3'), "BROKER_ID_NOT_REGISTERED: {why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_broker_is_asked_one_epoch_has_one_leader_and_none_tells_an_older_one_later() {
    let mut nodes = Nodes::start(3, &[]).await;
    until("the topic is made", async || create(&nodes, 1, "t", 3, 3).await != 38).await;
    // What a client keeps that switches brokers: the newest epoch by partition; an answer with an older one is passed over.
    let mut leaders = BTreeMap::new();
    let mut newest = BTreeMap::new();
    for round in 0..3 {
        let gone = 1 + round % 3;
        nodes.kill(gone);
        let there: Vec<usize> = (1..=3).filter(|id| *id != gone).collect();
        let mut asked = 0;
        until("the others lead", async || {
            asked += 1;
            let at = there[asked % 2];
            let told = metadata(&nodes, at, "t").await;
            for partition in &told.topics[0].partitions {
                let (index, epoch) = (partition.partition_index, partition.leader_epoch);
                if partition.leader_id.0 >= 0 {
                    let leader = *leaders.entry((index, epoch)).or_insert(partition.leader_id);
                    assert_eq!(leader, partition.leader_id, "two leaders of {index} in epoch {epoch}");
                }
                let before = newest.insert((at, round, index), epoch).unwrap_or(epoch);
                assert!(before <= epoch, "node {at} told epoch {before} of {index}, then {epoch}");
            }
            leaders_are(&told.topics[0], &there)
        })
        .await;
        nodes.revive(gone).await;
        // Before, the next to go may be the only one in sync.
        until("all are in sync", async || {
            let told = metadata(&nodes, gone, "t").await;
            live(&told).len() == 3 && told.topics[0].partitions.iter().all(|one| one.isr_nodes.len() == 3)
        })
        .await;
    }
    assert!(leaders.len() > 3, "leaders changed: {leaders:?}");
}

fn leaders_are(topic: &MetadataResponseTopic, among: &[usize]) -> bool {
    leaders(topic).iter().all(|leader| usize::try_from(*leader).is_ok_and(|leader| among.contains(&leader)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_broker_hands_its_leaders_over_first() {
    let mut nodes = Nodes::start(3, &[]).await;
    until("the topic is made", async || create(&nodes, 1, "t", 6, 3).await != 38).await;
    nodes.stop(2).await;
    // At the moment it has stopped nobody is sent there any more.
    let image = nodes.broker(1).shared().controller.image();
    let topic = image.topics.by_name("t").expect("the topic");
    assert!(topic.partitions.iter().all(|row| row.leader.is_some_and(|leader| leader != BrokerId(2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controllers_listener_serves_tools_and_no_clients() {
    let nodes = Nodes::start(1, &[]).await;
    let connect = async || {
        WireClient::new(TcpStream::connect(nodes.controller_address(1)).await.expect("the port answers"))
    };
    let mut tool = connect().await;
    let request = DescribeClusterRequest::default().with_endpoint_type(2);
    let told = tool.call(1, &request).await.expect("an answer");
    assert_eq!((told.error_code, told.endpoint_type), (0, 2));
    let controllers: Vec<_> = told.brokers.iter().map(|node| (node.broker_id.0, node.port)).collect();
    let port = nodes.controller_address(1).rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(controllers, [(1, port)]);
    let topic = TopicData::default()
        .with_topic_name(name("__cluster_metadata"))
        .with_partitions(vec![PartitionData::default()]);
    let told = tool.call(2, &DescribeQuorumRequest::default().with_topics(vec![topic])).await;
    assert_eq!(told.expect("an answer").topics[0].partitions[0].leader_id.0, 1);
    let mut client = connect().await;
    assert!(client.call(12, &MetadataRequest::default()).await.is_err(), "the connection closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_a_vote_joins_and_another_under_its_id_is_refused() {
    let nodes = Nodes::start(1, &[]).await;
    let over = |dir: &std::path::Path| {
        vec![
            "node.id=7".to_owned(),
            "process.roles=broker".to_owned(),
            "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
            "initial.broker.registration.timeout.ms=2000".to_owned(),
            format!("log.dirs={}", dir.display()),
        ]
    };
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    format(dirs[0].path(), CLUSTER_ID, 7);
    let broker = nodes.open_with(1, &over(dirs[0].path())).await.expect("a broker joins");
    until("it is alive", async || live(&metadata(&nodes, 1, "none").await) == [1, 7].into()).await;

    format(dirs[1].path(), CLUSTER_ID, 7);
    let why = refusal(nodes.open_with(1, &over(dirs[1].path())).await);
    assert!(why.contains("7") && why.contains("another"), "{why}");
    let mut stranger = over(dirs[2].path());
    stranger[0] = "node.id=8".to_owned();
    format(dirs[2].path(), "4L6g3nShT-eMCtK--X86sw", 8);
    let why = refusal(nodes.open_with(1, &stranger).await);
    assert!(why.contains("cluster"), "{why}");
    broker.shutdown().await.expect("a clean stop");
}

fn refusal(started: Result<Broker, StartError>) -> String {
    match started {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}
