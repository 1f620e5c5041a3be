//! Controllers that are no brokers and brokers that are no controllers: how they find together, and how controllers come,
//! go and come back with an empty disk (KIP-853), by Kafka's own requests.

use firnline_controller::id::TopicId;
use firnline_tiering::hot::file::OsFiles;
use firnline_tiering::log::directory::LogDirectory;
use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_quorum_response::PartitionData as Quorum;
use kafka_protocol::messages::{
    AddRaftVoterRequest, CreateTopicsRequest, DescribeQuorumRequest, MetadataRequest, RemoveRaftVoterRequest,
};
use uuid::Uuid;

use crate::harness::asks::text;
use crate::harness::roles::{Split, first};
use crate::harness::wait::{eventually, until};
use crate::harness::wire_client::name;

const DUPLICATE_VOTER: i16 = 126;

/// Controllers 1 to 3 as the first voters, and brokers 11 and 12, all running.
async fn running() -> Split {
    let mut split = Split::of(&[1, 2, 3], &[4, 11, 12]);
    let entry = |id: i32| {
        format!("{id}@{}:{}", split.address(id), TopicId(Uuid::from_u128(u128::MAX / 7 * id as u128)))
    };
    let list = [1, 2, 3].map(entry).join(",");
    for id in 1..=3 {
        split.format(id, first(Some(&list), false)).await.expect("formats");
    }
    for id in [11, 12] {
        split.format(id, first(None, false)).await.expect("formats");
    }
    for id in [1, 2, 3, 11, 12] {
        split.start(id).await;
    }
    split
}

/// The quorum as node `at` tells it.
async fn quorum(split: &Split, at: i32) -> Quorum {
    let topic = TopicData::default()
        .with_topic_name(name("__cluster_metadata"))
        .with_partitions(vec![PartitionData::default()]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let told = split.client(at).await.call(2, &request).await.expect("an answer");
    told.topics[0].partitions[0].clone()
}

fn voters(quorum: &Quorum) -> Vec<i32> {
    quorum.current_voters.iter().map(|voter| voter.replica_id.0).collect()
}

fn observers(quorum: &Quorum) -> Vec<i32> {
    quorum.observers.iter().map(|observer| observer.replica_id.0).collect()
}

fn directory(split: &Split, id: i32) -> Uuid {
    let identity = LogDirectory::identity_of(&OsFiles, &split.data_dir(id)).expect("it can be read");
    identity.expect("it is formatted").directory_id
}

async fn add(split: &Split, at: i32, id: i32) -> (i16, String) {
    let listener = Listener::default().with_name(text("CONTROLLER")).with_host(text("127.0.0.1"));
    let request = AddRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_timeout_ms(10_000)
        .with_voter_id(id)
        .with_voter_directory_id(directory(split, id))
        .with_listeners(vec![listener.with_port(split.port(id))]);
    let answer = split.client(at).await.call(0, &request).await.expect("an answer");
    (answer.error_code, answer.error_message.map(|why| why.to_string()).unwrap_or_default())
}

async fn remove(split: &Split, at: i32, id: i32, directory: Uuid) -> i16 {
    let request = RemoveRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_voter_id(id)
        .with_voter_directory_id(directory);
    split.client(at).await.call(0, &request).await.expect("an answer").error_code
}

/// Waits until the leader says that `id` follows and misses nothing.
async fn follows(split: &Split, id: i32) {
    until("it follows", async || {
        let told = quorum(split, 11).await;
        told.observers.iter().any(|it| it.replica_id.0 == id && it.last_caught_up_timestamp > 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_decide_for_brokers_that_do_not_vote_and_everybody_tells_the_same() {
    let split = running().await;
    until("the topic is made", async || {
        let topic =
            CreatableTopic::default().with_name(name("t")).with_num_partitions(2).with_replication_factor(2);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let code = split.client(12).await.call(7, &request).await.expect("an answer").topics[0].error_code;
        assert!([0, 38].contains(&code), "{code}");
        code == 0
    })
    .await;
    let told = eventually("all caught up", async || {
        let told = quorum(&split, 11).await;
        let all = told.current_voters.iter().chain(&told.observers).all(|it| it.last_caught_up_timestamp > 0);
        (all && observers(&told) == [11, 12]).then_some(told)
    })
    .await;
    assert_eq!(voters(&told), [1, 2, 3]);
    // Whoever is asked tells what the leader sees: nobody else knows how far the others are.
    for at in [1, 2, 3, 12] {
        let other = quorum(&split, at).await;
        assert_eq!((other.leader_id, other.leader_epoch), (told.leader_id, told.leader_epoch), "node {at}");
        assert!(other.current_voters.iter().all(|it| it.log_end_offset > 0 && it.last_fetch_timestamp > 0));
        let ids: Vec<Uuid> = other.current_voters.iter().map(|it| it.replica_directory_id).collect();
        assert_eq!(ids, [1, 2, 3].map(|id| directory(&split, id)), "node {at}");
    }
    let refused = split.client(1).await.call(12, &MetadataRequest::default()).await;
    assert!(refused.is_err(), "a controller serves no clients");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_are_added_and_removed_while_they_run() {
    let mut split = running().await;
    split.format(4, first(None, true)).await.expect("formats");
    split.start(4).await;
    follows(&split, 4).await;
    assert_eq!(add(&split, 1, 4).await, (0, String::new()));
    assert_eq!(add(&split, 11, 4).await.0, DUPLICATE_VOTER);
    assert_eq!(voters(&quorum(&split, 12).await), [1, 2, 3, 4]);
    // Whoever leads is taken its vote: another leads, and it goes on as an observer.
    let leader = quorum(&split, 11).await.leader_id.0;
    assert_eq!(remove(&split, 11, leader, directory(&split, leader)).await, 0);
    let told = eventually("another leads", async || {
        let told = quorum(&split, 11).await;
        (told.leader_id.0 != leader && observers(&told).contains(&leader)).then_some(told)
    })
    .await;
    assert!(voters(&told).len() == 3 && !voters(&told).contains(&leader), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_with_an_empty_disk_comes_back_as_another_and_takes_a_vote_when_it_is_given_one() {
    let mut split = running().await;
    let before = directory(&split, 3);
    split.stop(3).await;
    std::fs::remove_dir_all(split.data_dir(3)).expect("it goes");
    split.format(3, first(None, true)).await.expect("formats");
    split.start(3).await;
    follows(&split, 3).await;
    let now = directory(&split, 3);
    let (code, why) = add(&split, 11, 3).await;
    assert!(code == DUPLICATE_VOTER && why.contains("remove"), "{code} {why}");
    assert_eq!(remove(&split, 11, 3, before).await, 0);
    follows(&split, 3).await;
    assert_eq!(add(&split, 11, 3).await, (0, String::new()));
    let told = quorum(&split, 12).await;
    assert_eq!(voters(&told), [1, 2, 3]);
    assert_eq!(told.current_voters[2].replica_directory_id, now);
    assert!(told.observers.iter().all(|it| it.replica_id.0 != 3), "{told:?}");
}
