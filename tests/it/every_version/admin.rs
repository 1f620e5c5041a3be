//! Every version of the administrative APIs.
//! Invariant: what an answer says was done can be seen by the next request.

use firnline::wire::api_key::{ApiKey, TABLE};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::{Bench, create, versions};
use crate::harness::wire_client::{frame, name};

const TOPIC: i8 = 2;

async fn partitions(bench: &mut Bench, topic: &str) -> (i16, usize) {
    let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
    let metadata = bench.client.call(9, &request).await.expect("an answer");
    (metadata.topics[0].error_code, metadata.topics[0].partitions.len())
}

#[tokio::test]
async fn api_versions() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::ApiVersions) {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("test");
            request.client_software_version = StrBytes::from_static_str("1.0");
        }
        let response = bench.client.call(version, &request).await.expect("an answer");
        let wanted: Vec<_> = TABLE.iter().map(|api| (api.key.code(), api.min, api.max)).collect();
        let told: Vec<_> =
            response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        assert_eq!((response.error_code, told), (0, wanted), "version {version}");
        assert_eq!(response.finalized_features_epoch >= 0, version >= 3, "version {version}");
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("-");
            let response = bench.client.call(version, &request).await.expect("an answer");
            assert_eq!(response.error_code, 42, "version {version}");
        }
    }
    for version in [5, 99] {
        bench.client.send_frame(&frame(18, version, &[])).await.expect("sent");
        let mut answer = bench.client.read_frame().await.expect("any version is answered").split_off(4);
        let response = ApiVersionsResponse::decode(&mut answer, 0).expect("in version 0");
        assert_eq!((response.error_code, response.api_keys[0].api_key), (35, 18), "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn metadata() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::Metadata) {
        let topics =
            ["t", "nobody", "a/b"].map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))));
        let request = MetadataRequest::default().with_topics(Some(topics.to_vec()));
        let request = request.with_allow_auto_topic_creation(version < 4);
        let response = bench.client.call(version, &request).await.expect("an answer");
        let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
        // Versions below 4 cannot forbid that topics are made.
        assert_eq!(codes, [0, if version < 4 { 0 } else { 3 }, 17], "version {version}");
        assert_eq!(response.brokers.len(), 1, "version {version}");
        let leader = response.topics[0].partitions[0].leader_id;
        assert_eq!(leader, response.brokers[0].node_id, "version {version}");
        assert_eq!(response.brokers[0].port, i32::from(bench.broker.broker().addr().port()));
        if version < 4 {
            let delete =
                DeleteTopicsRequest::default().with_topic_names(vec![name("nobody")]).with_timeout_ms(10_000);
            bench.client.call(5, &delete).await.expect("an answer");
        }
        if version >= 12 {
            let asked = MetadataRequestTopic::default().with_name(None).with_topic_id(bench.id);
            let request = MetadataRequest::default().with_topics(Some(vec![asked]));
            let response = bench.client.call(version, &request).await.expect("an answer");
            assert_eq!(response.topics[0].name, Some(name("t")), "version {version}");
        }
    }
    bench.close().await;
}

#[tokio::test]
async fn create_topics() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::CreateTopics) {
        let made = format!("made-{version}");
        let asked = |topic: &str| {
            let topic = CreatableTopic::default().with_name(name(topic));
            topic.with_num_partitions(3).with_replication_factor(1)
        };
        let topics = vec![asked(&made), asked("t"), asked("..")];
        let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000);
        let validated = request.clone().with_validate_only(true);
        let response = bench.client.call(version, &validated).await.expect("an answer");
        assert_eq!(response.topics[0].error_code, 0, "version {version}");
        assert_eq!(partitions(&mut bench, &made).await, (3, 0), "validate_only makes nothing");
        let response = bench.client.call(version, &request).await.expect("an answer");
        let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 36, 17], "version {version}");
        assert_eq!(response.topics[0].topic_id.is_nil(), version < 7, "version {version}");
        let told = response.topics[0].configs.as_ref().map_or(0, Vec::len);
        assert_eq!(told > 25, version >= 5, "version {version} tells {told} keys");
        assert_eq!(partitions(&mut bench, &made).await, (0, 3), "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn delete_topics() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::DeleteTopics) {
        create(&mut bench.client, "gone", 1).await;
        let names = vec![name("gone"), name("nobody")];
        let mut request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
        match version {
            6.. => {
                let states = names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name)));
                request.topics = states.collect();
            }
            _ => request.topic_names = names,
        }
        let response = bench.client.call(version, &request).await.expect("an answer");
        let codes: Vec<_> = response.responses.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 3], "version {version}");
        assert_eq!(partitions(&mut bench, "gone").await, (3, 0), "version {version}");
    }
    let by_id = DeleteTopicState::default().with_name(None).with_topic_id(bench.id);
    let request = DeleteTopicsRequest::default().with_timeout_ms(10_000).with_topics(vec![by_id]);
    let response = bench.client.call(6, &request).await.expect("an answer");
    assert_eq!((response.responses[0].error_code, &response.responses[0].name), (0, &Some(name("t"))));
    let response = bench.client.call(6, &request).await.expect("an answer");
    assert_eq!(response.responses[0].error_code, 100, "deleted twice");
    bench.close().await;
}

#[tokio::test]
async fn create_partitions() {
    let mut bench = Bench::open().await;
    for (version, count) in versions(ApiKey::CreatePartitions).zip(3..) {
        let asked = |topic, count| CreatePartitionsTopic::default().with_name(name(topic)).with_count(count);
        let topics =
            [asked("t", count), asked("nobody", 3)].map(|topic| topic.with_assignments(None)).to_vec();
        let request = CreatePartitionsRequest::default().with_timeout_ms(10_000).with_topics(topics);
        for wanted in [[0, 3], [37, 3]] {
            let response = bench.client.call(version, &request).await.expect("an answer");
            let codes: Vec<_> = response.results.iter().map(|topic| topic.error_code).collect();
            assert_eq!(codes, wanted, "version {version}");
        }
        assert_eq!(partitions(&mut bench, "t").await, (0, count as usize), "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn describe_topic_partitions() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::DescribeTopicPartitions) {
        let topics = vec![TopicRequest::default().with_name(name("t"))];
        let request =
            DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(1);
        let first = bench.client.call(version, &request.clone().with_cursor(None)).await.expect("an answer");
        let next = first.next_cursor.expect("more to see");
        let cursor =
            Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
        let second = bench.client.call(version, &request.with_cursor(Some(cursor))).await.expect("an answer");
        let index = |page: &[_]| -> Vec<i32> {
            let topics: &[kafka_protocol::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic] = page;
            topics
                .iter()
                .flat_map(|topic| &topic.partitions)
                .map(|partition| partition.partition_index)
                .collect()
        };
        assert_eq!((index(&first.topics), index(&second.topics)), (vec![0], vec![1]));
        assert_eq!(second.next_cursor, None);
    }
    bench.close().await;
}

fn configs(version: i16) -> DescribeConfigsRequest {
    let asked = |topic| {
        let resource = DescribeConfigsResource::default().with_resource_type(TOPIC);
        resource.with_resource_name(StrBytes::from_static_str(topic)).with_configuration_keys(None)
    };
    DescribeConfigsRequest::default()
        .with_resources(vec![asked("t"), asked("nobody")])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3)
}

#[tokio::test]
async fn describe_configs() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::DescribeConfigs) {
        let response = bench.client.call(version, &configs(version)).await.expect("an answer");
        let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, 3], "version {version}");
        let lines = &response.results[0].configs;
        let policy = lines
            .iter()
            .find(|line| line.name.as_str() == "cleanup.policy")
            .expect("tools refuse without it");
        assert_eq!((policy.value.as_deref(), policy.config_source), (Some("delete"), 5), "version {version}");
        let documented = policy.documentation.as_ref().is_some_and(|doc| !doc.is_empty());
        assert_eq!(documented, version >= 3, "version {version}");
    }
    bench.close().await;
}

#[tokio::test]
async fn incremental_alter_configs() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::IncrementalAlterConfigs) {
        for (op, value, wanted) in [(0, Some("7000"), ("7000", 1)), (1, None, ("604800000", 5))] {
            let config = AlterableConfig::default().with_name(StrBytes::from_static_str("retention.ms"));
            let config = config.with_config_operation(op).with_value(value.map(StrBytes::from_static_str));
            let resource = AlterConfigsResource::default().with_resource_type(TOPIC);
            let resource =
                resource.with_resource_name(StrBytes::from_static_str("t")).with_configs(vec![config]);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            let response = bench.client.call(version, &request).await.expect("an answer");
            assert_eq!(response.responses[0].error_code, 0, "{:?}", response.responses[0]);
            let described = bench.client.call(4, &configs(4)).await.expect("an answer");
            let lines = &described.results[0].configs;
            let line = lines.iter().find(|line| line.name.as_str() == "retention.ms").expect("there");
            assert_eq!(
                (line.value.as_deref(), line.config_source),
                (Some(wanted.0), wanted.1),
                "version {version}"
            );
        }
    }
    bench.close().await;
}

#[tokio::test]
async fn describe_cluster() {
    let mut bench = Bench::open().await;
    for version in versions(ApiKey::DescribeCluster) {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let response = bench.client.call(version, &request).await.expect("an answer");
        assert_eq!((response.error_code, response.cluster_id.len()), (0, 22), "version {version}");
        assert_eq!(response.brokers[0].port, i32::from(bench.broker.broker().addr().port()));
        assert_eq!(response.cluster_authorized_operations, 8096);
        if version >= 1 {
            let response =
                bench.client.call(version, &request.with_endpoint_type(2)).await.expect("an answer");
            assert_eq!(response.error_code, 114, "version {version}");
        }
    }
    bench.close().await;
}

#[tokio::test]
async fn describe_log_dirs() {
    let mut bench = Bench::open().await;
    let batch = {
        let mut batch = firnline_tiering::batch::builder::BatchBuilder::new();
        batch.push(1, None, Some(b"value"), &[]);
        batch.build()
    };
    let size = batch.len() as i64;
    bench.client.produce("t", 1, batch).await.expect("an answer");
    for version in versions(ApiKey::DescribeLogDirs) {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let response = bench.client.call(version, &request).await.expect("an answer");
        let topic = &response.results[0].topics[0];
        let sizes: Vec<_> =
            topic.partitions.iter().map(|row| (row.partition_index, row.partition_size)).collect();
        assert_eq!((topic.name.as_str(), sizes), ("t", vec![(0, 0), (1, size)]), "version {version}");
        assert_eq!(response.results[0].total_bytes > 0, version >= 4, "version {version}");
    }
    bench.close().await;
}
