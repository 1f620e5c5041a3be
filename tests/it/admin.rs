//! Topics and configuration over the wire: what is made, what is refused, and that every answer says why.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    CreatePartitionsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    IncrementalAlterConfigsRequest, MetadataRequest,
};

use crate::harness::asks::{COLD, creation, text};
use crate::harness::broker::{Client, TestBroker};
use crate::harness::records::batch;
use crate::harness::tier::Scene;
use crate::harness::wire_client::name;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TOPIC: i16 = 17;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_CONFIG: i16 = 40;
const TOPIC: i8 = 2;

async fn topics(client: &mut Client) -> Vec<String> {
    let all = client.call(9, &MetadataRequest::default().with_topics(None)).await.unwrap();
    let mut names: Vec<String> =
        all.topics.iter().filter_map(|topic| topic.name.as_ref()).map(|name| name.0.to_string()).collect();
    names.sort();
    names
}

/// A topic's configuration value and its source.
async fn value(client: &mut Client, topic: &str, key: &str) -> (Option<String>, i8) {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configuration_keys(Some(vec![text(key)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let response = client.call(2, &request).await.unwrap();
    assert_eq!(response.results[0].error_code, 0);
    let found = &response.results[0].configs[0];
    (found.value.as_ref().map(ToString::to_string), found.config_source)
}

async fn alter(client: &mut Client, topic: &str, key: &str, to: Option<&str>) -> (i16, String) {
    let config = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(if to.is_some() { 0 } else { 1 })
        .with_value(to.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(1, &request).await.unwrap().responses.remove(0);
    (answer.error_code, answer.error_message.map(|message| message.to_string()).unwrap_or_default())
}

#[tokio::test]
async fn topics_are_made_listed_grown_and_deleted() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    client.create("one", 1, &[]).await;
    client.create("two", 2, &[]).await;
    assert_eq!(topics(&mut client).await, ["one", "two"]);
    assert_eq!(client.try_create("one", 1, &[]).await.error_code, TOPIC_ALREADY_EXISTS);
    // Only looked at.
    let looked = client.call(7, &creation("three", 1, &[]).with_validate_only(true)).await.unwrap();
    assert_eq!(looked.topics[0].error_code, 0);
    assert_eq!(topics(&mut client).await, ["one", "two"]);
    let grow = |count: i32| {
        let topic =
            CreatePartitionsTopic::default().with_name(name("two")).with_count(count).with_assignments(None);
        CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000)
    };
    assert_eq!(client.call(3, &grow(5)).await.unwrap().results[0].error_code, 0);
    assert_eq!(client.append("two", 4, batch(&["in the new one"])).await, 0);
    assert_eq!(client.call(3, &grow(3)).await.unwrap().results[0].error_code, INVALID_PARTITIONS);
    assert_eq!(client.delete("one").await, 0);
    assert_eq!(client.delete("one").await, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(topics(&mut client).await, ["two"]);
    assert_eq!(client.produce("one", 0, batch(&["x"])).await.unwrap().error_code, UNKNOWN_TOPIC_OR_PARTITION);
    broker.restart().await;
    let mut client = broker.client().await;
    assert_eq!(topics(&mut client).await, ["two"]);
    assert_eq!(client.append("two", 4, batch(&["still"])).await, 1);
}

#[tokio::test]
async fn bad_topic_names_are_refused_everywhere() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let long = "x".repeat(250);
    for bad in ["", ".", "..", "a/b", "../../etc", "a b", "a\u{0}b", "ü", long.as_str()] {
        let refused = client.try_create(bad, 1, &[]).await;
        assert_eq!(refused.error_code, INVALID_TOPIC, "{bad:?}");
        assert!(refused.error_message.is_some(), "{bad:?} is told why");
        // Nor by asking for its metadata, which creates topics.
        let asked = client.metadata(bad).await.unwrap();
        assert_eq!(asked.topics[0].error_code, INVALID_TOPIC, "{bad:?}");
        let produced = client.produce(bad, 0, batch(&["x"])).await.unwrap();
        assert!([INVALID_TOPIC, UNKNOWN_TOPIC_OR_PARTITION].contains(&produced.error_code), "{bad:?}");
        assert!([INVALID_TOPIC, UNKNOWN_TOPIC_OR_PARTITION].contains(&client.delete(bad).await), "{bad:?}");
    }
    assert_eq!(topics(&mut client).await, [""; 0]);
    let longest = "x".repeat(249);
    client.create(&longest, 1, &[]).await;
    assert_eq!(client.append(&longest, 0, batch(&["249 characters are allowed"])).await, 0);
}

#[tokio::test]
async fn asking_for_an_unknown_topic_makes_it_only_where_that_is_wanted() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let quiet = |topic: &str| {
        use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
        let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false)
    };
    let asked = client.call(9, &quiet("ghost")).await.unwrap();
    assert_eq!(asked.topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(topics(&mut client).await, [""; 0]);
    client.metadata("made").await.unwrap();
    crate::harness::wait::until("the topic is made", async || topics(&mut client).await == ["made"]).await;
    let strict = TestBroker::with(&["auto.create.topics.enable=false"]).await;
    let mut client = strict.client().await;
    assert_eq!(client.metadata("never").await.unwrap().topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(topics(&mut client).await, [""; 0]);
}

#[tokio::test]
async fn a_topics_configuration_is_checked_shown_and_acted_on() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.client().await;
    for (key, bad) in [("retention.mss", "1"), ("retention.ms", "soon"), ("cleanup.policy", "burn")] {
        let refused = client.try_create("bad", 1, &[(key, bad)]).await;
        assert_eq!(refused.error_code, INVALID_CONFIG, "{key}={bad}");
    }
    let compact = [COLD, &[("cleanup.policy", "compact")]].concat();
    assert_eq!(client.try_create("bad", 1, &compact).await.error_code, INVALID_CONFIG);
    client.create("set", 1, &[("retention.ms", "12345")]).await;
    assert_eq!(value(&mut client, "set", "retention.ms").await, (Some("12345".to_owned()), 1));
    assert_eq!(value(&mut client, "set", "max.message.bytes").await, (Some("1048588".to_owned()), 5));
    let large = batch(&[&"x".repeat(2_000)]);
    assert_eq!(client.append("set", 0, large.clone()).await, 0);
    assert_eq!(alter(&mut client, "set", "max.message.bytes", Some("1000")).await.0, 0);
    // Acted on as soon as the change has gone round.
    crate::harness::wait::until("the new limit holds", async || {
        client.produce("set", 0, large.clone()).await.unwrap().error_code == MESSAGE_TOO_LARGE
    })
    .await;
    let (code, why) = alter(&mut client, "set", "max.mesage.bytes", Some("1")).await;
    assert_eq!(code, INVALID_CONFIG);
    assert!(why.contains("did you mean max.message.bytes?"), "{why}");
    assert_eq!(alter(&mut client, "ghost", "retention.ms", Some("1")).await.0, UNKNOWN_TOPIC_OR_PARTITION);
    broker.restart().await;
    let mut client = broker.client().await;
    assert_eq!(value(&mut client, "set", "max.message.bytes").await, (Some("1000".to_owned()), 1));
    assert_eq!(alter(&mut client, "set", "max.message.bytes", None).await.0, 0);
    assert_eq!(value(&mut client, "set", "max.message.bytes").await, (Some("1048588".to_owned()), 5));
}

#[tokio::test]
async fn the_cluster_and_its_tiers_show_themselves() {
    let broker = TestBroker::start().await;
    let mut client = broker.client().await;
    let cluster = client.call(0, &DescribeClusterRequest::default()).await.unwrap();
    let node = &cluster.brokers[0];
    assert_eq!(
        (cluster.brokers.len(), node.broker_id.0, node.port),
        (1, 1, i32::from(broker.broker().addr().port()))
    );
    let scene = Scene::write(&mut client, "sizes", 1, 40).await;
    let local = scene.settle(&mut client, 0).await;
    let dirs = client.call(4, &DescribeLogDirsRequest::default().with_topics(None)).await.unwrap();
    let size = |remote: bool| -> i64 {
        let dirs = dirs.results.iter().filter(|dir| dir.log_dir.starts_with("remote://") == remote);
        let topics = dirs.flat_map(|dir| &dir.topics).filter(|topic| topic.name.0.as_str() == "sizes");
        topics.flat_map(|topic| &topic.partitions).map(|partition| partition.partition_size).sum()
    };
    let bytes = |from: i64, to: i64| -> i64 {
        scene.sent[from as usize..to as usize].iter().map(|batch| batch.len() as i64).sum()
    };
    assert_eq!((size(true), size(false)), (bytes(0, local), bytes(local, scene.end())));
    assert!(dirs.results.last().unwrap().log_dir.starts_with("remote://"), "the bucket comes last");
    // A request that names partitions expects one directory for each.
    let topic = DescribableLogDirTopic::default().with_topic(name("sizes")).with_partitions(vec![0]);
    let request = DescribeLogDirsRequest::default().with_topics(Some(vec![topic]));
    let named = client.call(4, &request).await.unwrap();
    assert_eq!((named.results.len(), named.results[0].topics.len()), (1, 1));
}
