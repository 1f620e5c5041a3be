//! What flows of a cluster ask when replicas move: topics on chosen brokers, reassignments, dynamic settings, rows.
//! It asserts only that a request was taken.

use firnline_controller::record::kinds::Partition;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreateTopicsRequest, IncrementalAlterConfigsRequest,
};

use super::asks::text;
use super::nodes::Nodes;
use super::wait::until;
use super::wire_client::name;

/// Kafka's number of a resource that is a topic, and of one that is a broker.
pub const OF_TOPIC: i8 = 2;
pub const OF_BROKER: i8 = 4;

impl Nodes {
    /// A topic whose partitions lie where `assigned` says, once all those brokers are live.
    pub async fn create_on(&self, topic: &str, assigned: &[&[i32]], configs: &[(&str, &str)]) {
        let assignments = assigned.iter().zip(0..).map(|(brokers, index)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(index)
                .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
        });
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(assignments.collect())
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        until("the brokers are live", async || {
            (1..=self.count()).filter(|id| self.runs(*id)).all(|id| {
                let image = self.broker(id).shared().controller.image();
                assigned
                    .iter()
                    .copied()
                    .flatten()
                    .all(|id| image.brokers.is_live(firnline_controller::id::BrokerId(*id)))
            })
        })
        .await;
        let at = (1..=self.count()).find(|id| self.runs(*id)).expect("a node runs");
        let created = self.client(at).await.call(7, &request).await.expect("CreateTopics").topics.remove(0);
        assert!([0, 36].contains(&created.error_code), "{:?}", created.error_message);
    }

    /// Sets or removes (`None`) one dynamic setting, through node `at`.
    pub async fn set(&self, at: usize, (kind, of): (i8, &str), key: &str, value: Option<&str>) {
        let config = AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(i8::from(value.is_none()))
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(of))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.client(at).await.call(1, &request).await.expect("IncrementalAlterConfigs");
        assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
    }

    /// Moves a partition to these brokers, or cancels its move.
    pub async fn reassign(&self, at: usize, topic: &str, index: i32, to: Option<&[i32]>) {
        let replicas = to.map(|to| to.iter().map(|id| BrokerId(*id)).collect());
        let partition = ReassignablePartition::default().with_partition_index(index).with_replicas(replicas);
        let topic = ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
        let request =
            AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.client(at).await.call(0, &request).await.expect("AlterPartitionReassignments");
        let outcome = &answer.responses[0].partitions[0];
        assert_eq!(outcome.error_code, 0, "{:?}", outcome.error_message);
    }

    /// The partition's row as this node sees it.
    pub fn row(&self, seen_by: usize, topic: &str, index: i32) -> Option<Partition> {
        let image = self.broker(seen_by).shared().controller.image();
        image.topics.by_name(topic)?.partition(index).cloned()
    }
}

/// The numbers of brokers.
pub fn ids(of: &[firnline_controller::id::BrokerId]) -> Vec<i32> {
    of.iter().map(|id| id.0).collect()
}
