//! Three nodes that find together, lose one, and refuse who does not belong.
//! Invariant: what one node answered, every other tells soon after.

use std::collections::BTreeSet;

use firnline::broker::lifecycle::Broker;
use firnline::broker::start_error::StartError;
use firnline_controller::id::BrokerId;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeClusterRequest, DescribeQuorumRequest, MetadataRequest, MetadataResponse,
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
