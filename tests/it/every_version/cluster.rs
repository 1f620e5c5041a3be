//! Every version of the APIs about brokers, replicas and the quorum, asked of a cluster of one.
//! Invariant: what one broker cannot do is refused by its own code, and nothing is changed by it.

use firnline::wire::api_key::ApiKey;
use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AddRaftVoterRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId,
    DescribeQuorumRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest, RemoveRaftVoterRequest,
    UnregisterBrokerRequest, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Bench, versions};
use crate::harness::wire_client::name;

const NOBODY: i32 = 2_000_000_000;

#[tokio::test]
async fn elect_leaders() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::ElectLeaders) {
        let asked = TopicPartitions::default().with_topic(name("t")).with_partitions(vec![0, 9]);
        let request = ElectLeadersRequest::default().with_topic_partitions(Some(vec![asked]));
        let response = bench.client.call(version, &request).await.expect("an answer");
        let results = &response.replica_election_results[0].partition_result;
        let codes: Vec<_> = results.iter().map(|result| (result.partition_id, result.error_code)).collect();
        assert_eq!(codes, [(0, 84), (9, 3)], "version {version}");
        let all = ElectLeadersRequest::default().with_topic_partitions(None);
        let response = bench.client.call(version, &all).await.expect("an answer");
        assert_eq!(response.replica_election_results, [], "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn alter_partition_reassignments() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::AlterPartitionReassignments) {
        let partition = |index, replicas: Option<Vec<i32>>| {
            let replicas = replicas.map(|ids| ids.into_iter().map(BrokerId).collect());
            ReassignablePartition::default().with_partition_index(index).with_replicas(replicas)
        };
        let partitions = vec![partition(0, Some(vec![NOBODY])), partition(1, None), partition(9, None)];
        let topic = ReassignableTopic::default().with_name(name("t")).with_partitions(partitions);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
        let response = bench.client.call(version, &request).await.expect("an answer");
        let results = &response.responses[0].partitions;
        let codes: Vec<_> =
            results.iter().map(|result| (result.partition_index, result.error_code)).collect();
        assert_eq!(codes, [(0, 39), (1, 85), (9, 3)], "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn list_partition_reassignments() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::ListPartitionReassignments) {
        let request = ListPartitionReassignmentsRequest::default().with_topics(None);
        let response = bench.client.call(version, &request).await.expect("an answer");
        assert_eq!((response.error_code, response.topics.len()), (0, 0), "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn describe_quorum() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::DescribeQuorum) {
        let topic = |topic| {
            TopicData::default().with_topic_name(name(topic)).with_partitions(vec![PartitionData::default()])
        };
        let topics = vec![topic("__cluster_metadata"), topic("t")];
        let request = DescribeQuorumRequest::default().with_topics(topics);
        let response = bench.client.call(version, &request).await.expect("an answer");
        let quorum = &response.topics[0].partitions[0];
        assert_eq!((quorum.error_code, quorum.leader_id.0), (0, 1), "version {version}");
        let voters: Vec<_> = quorum.current_voters.iter().map(|voter| voter.replica_id.0).collect();
        assert_eq!((voters, quorum.observers.len()), (vec![1], 0), "version {version}");
        assert!(
            quorum.high_watermark > 0 && quorum.current_voters[0].log_end_offset >= quorum.high_watermark
        );
        assert_eq!(response.topics[1].partitions[0].error_code, 3, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn update_features() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::UpdateFeatures) {
        for (feature, level, wanted) in
            [("firn.level", 3, 0), ("firn.level", 999, 95), ("metadata.version", 8, 95), ("x", 1, 95)]
        {
            let mut update = FeatureUpdateKey::default()
                .with_feature(StrBytes::from_static_str(feature))
                .with_max_version_level(level);
            if version >= 1 {
                update.upgrade_type = 1;
            }
            let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update]);
            let response = bench.client.call(version, &request).await.expect("an answer");
            let code = match version {
                0 | 1 => response.results[0].error_code,
                _ => response.error_code,
            };
            assert_eq!(code, wanted, "{feature} {level}, version {version}");
        }
    }
    bench.close().await;
}

#[tokio::test]
async fn unregister_broker() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::UnregisterBroker) {
        let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(NOBODY));
        let response = bench.client.call(version, &request).await.expect("an answer");
        assert_eq!(response.error_code, 102, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn add_raft_voter() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::AddRaftVoter) {
        let other = Some(StrBytes::from_static_str("AAAAAAAAAAAAAAAAAAAAAA"));
        let listener = Listener::default().with_host(StrBytes::from_static_str("127.0.0.1")).with_port(9);
        let request = AddRaftVoterRequest::default()
            .with_cluster_id(other)
            .with_voter_id(NOBODY)
            .with_listeners(vec![listener]);
        let response = bench.client.call(version, &request).await.expect("an answer");
        assert_eq!(response.error_code, 104, "version {version}");
        let request = request.with_cluster_id(None).with_listeners(Vec::new());
        let response = bench.client.call(version, &request).await.expect("an answer");
        assert_eq!(response.error_code, 42, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn remove_raft_voter() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::RemoveRaftVoter) {
        let request = RemoveRaftVoterRequest::default().with_cluster_id(None).with_voter_id(NOBODY);
        let response = bench.client.call(version, &request).await.expect("an answer");
        assert_eq!(response.error_code, 127, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn alter_replica_log_dirs() {
    let mut bench = Bench::open().await;
    let here = bench.broker.data_dir().display().to_string();
    for version in versions(ApiKey::AlterReplicaLogDirs) {
        for (dir, partition, wanted) in [(here.as_str(), 0, 0), (here.as_str(), 9, 9), ("/nowhere", 0, 57)] {
            let topic =
                AlterReplicaLogDirTopic::default().with_name(name("t")).with_partitions(vec![partition]);
            let dir = AlterReplicaLogDir::default()
                .with_path(StrBytes::from_string(dir.to_owned()))
                .with_topics(vec![topic]);
            let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]);
            let response = bench.client.call(version, &request).await.expect("an answer");
            assert_eq!(response.results[0].partitions[0].error_code, wanted, "version {version}");
        }
    }
    bench.close().await;
}
