//! What operators limit about the bucket: bytes per second in each direction, and how long a fetch waits for it.
//! All of it is altered while the broker runs, as with Kafka's own tools.

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};

use crate::harness::asks::{LATEST_TIERED, bytes, text};
use crate::harness::broker::{Client, TestBroker};
use crate::harness::bucket::{Fault, Rule, Verb};
use crate::harness::tier::Scene;
use crate::harness::wait::until;

const BROKER: i8 = 4;
const COPY: &str = "remote.log.manager.copy.max.bytes.per.second";
const FETCH: &str = "remote.log.manager.fetch.max.bytes.per.second";
const FETCH_WAIT: &str = "remote.fetch.max.wait.ms";

/// Alters a key for all brokers; `None` goes back to the default.
async fn alter(client: &mut Client, key: &str, to: Option<&str>) {
    let config = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(if to.is_some() { 0 } else { 1 })
        .with_value(to.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text(""))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(1, &request).await.unwrap().responses.remove(0);
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
}

#[tokio::test]
async fn uploads_over_the_copy_quota_wait_until_it_is_lifted() {
    let broker = TestBroker::with(&[&format!("{COPY}=1")]).await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "held", 1, 60).await;
    // A quiet second lets the first object through, the bucket's marker; the next one would wait for minutes.
    until("offload began", async || broker.bucket.count(Verb::Put, "firn-cluster.json") > 0).await;
    for _ in 0..10 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(client.offset("held", 0, LATEST_TIERED).await, -1);
    }
    scene.check(&mut client, 0, 0, scene.end()).await;
    alter(&mut client, COPY, None).await;
    assert_eq!(client.offset("held", 0, LATEST_TIERED).await, -1, "the file's own value is in force again");
    alter(&mut client, COPY, Some("9223372036854775807")).await;
    scene.settle(&mut client, 0).await;
    scene.check(&mut client, 0, 0, scene.end()).await;
}

#[tokio::test]
async fn cold_reads_over_the_fetch_quota_answer_empty_until_it_is_lifted() {
    let broker = TestBroker::with(&[&format!("{FETCH_WAIT}=30")]).await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "slow", 1, 40).await;
    let local = scene.settle(&mut client, 0).await;
    alter(&mut client, FETCH, Some("1")).await;
    let mut answered = 0;
    // Chunks the quiet second lets through may come; all of them cannot.
    until("the quota bites", async || {
        let answer = client.fetch("slow", 0, answered, 64 << 10, 10).await.unwrap();
        assert_eq!(answer.error_code, 0, "an exhausted quota is no error");
        let came = crate::harness::records::whole(&bytes(&answer));
        answered += came.len() as i64;
        came.is_empty()
    })
    .await;
    assert!(answered < local, "history went out as if there were no quota");
    scene.check(&mut client, 0, local, scene.end()).await;
    alter(&mut client, FETCH, Some("9223372036854775807")).await;
    scene.check(&mut client, 0, 0, scene.end()).await;
}

#[tokio::test]
async fn a_fetch_waits_for_the_bucket_as_long_as_the_broker_says_and_not_its_client() {
    let broker = TestBroker::with(&[&format!("{FETCH_WAIT}=20")]).await;
    let mut client = broker.client().await;
    let scene = Scene::write(&mut client, "patient", 1, 40).await;
    scene.settle(&mut client, 0).await;
    let object = scene.segments(&broker, 0).await.remove(0);
    broker.bucket.plant(Rule::new(Verb::Get, &object, Fault::Hold));
    // The client would wait for ever; the broker does not.
    let answer = client.fetch("patient", 0, 0, 1 << 20, i32::MAX).await.unwrap();
    assert_eq!((answer.error_code, bytes(&answer).len()), (0, 0));
    // And the other way round: a client that waits for no new record still gets what the bucket sends soon.
    alter(&mut client, FETCH_WAIT, Some("60000")).await;
    let (mut other, bucket) = (broker.client().await, broker.bucket.clone());
    let heal = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        bucket.heal();
    });
    let answer = other.fetch("patient", 0, 0, 1 << 20, 0).await.unwrap();
    assert!(!bytes(&answer).is_empty(), "it answered before the bucket did");
    heal.await.unwrap();
}
