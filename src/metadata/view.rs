//! Questions that handlers ask the metadata image: who leads, where it listens, what a topic is configured to.
//! It changes nothing and waits for nothing. Invariant: all answers of one view are of one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnline_controller::id::{BrokerId, TopicId};
use firnline_controller::image::metadata::MetadataImage;
use firnline_controller::image::topics::Topic;
use firnline_controller::record::kinds::{Broker, Resource};

/// The cluster's metadata at one moment. Cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct MetadataView {
    image: Arc<MetadataImage>,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The broker's id.
    pub id: i32,
    /// Its leader epoch.
    pub epoch: i32,
}

/// Where one broker listens, as clients of one listener see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// The broker's id.
    pub id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
    /// `broker.rack`.
    pub rack: Option<String>,
}

impl MetadataView {
    /// A view of `image`.
    pub fn new(image: Arc<MetadataImage>) -> Self {
        Self { image }
    }

    /// The image itself.
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// The topic by name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.image.topics.by_name(name)
    }

    /// The topic by id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.image.topics.get(id)
    }

    /// Who leads a partition; `None` when the partition is unknown. The id is -1 while nobody leads.
    pub fn leader(&self, topic: &str, index: i32) -> Option<Leader> {
        self.leader_in(self.topic(topic)?, index)
    }

    /// As [`MetadataView::leader`], by topic id.
    pub fn leader_by_id(&self, topic: TopicId, index: i32) -> Option<Leader> {
        self.leader_in(self.topic_by_id(topic)?, index)
    }

    fn leader_in(&self, topic: &Topic, index: i32) -> Option<Leader> {
        let row = topic.partition(index)?;
        Some(Leader { id: row.leader.map_or(-1, |id| id.0), epoch: row.leader_epoch.0 })
    }

    /// Live brokers as clients of `listener` see them, by id. A broker without that listener is left out.
    pub fn brokers(&self, listener: &str) -> Vec<BrokerAddress> {
        self.image.brokers.live().filter_map(|broker| address(broker, listener)).collect()
    }

    /// One live broker as clients of `listener` see it.
    pub fn broker(&self, id: i32, listener: &str) -> Option<BrokerAddress> {
        let broker = self.image.brokers.get(BrokerId(id)).filter(|broker| !broker.fenced)?;
        address(broker, listener)
    }

    /// What was set on a topic, key to value; the broker's defaults are not in it.
    pub fn topic_overrides(&self, topic: TopicId) -> BTreeMap<String, String> {
        self.overrides(Resource::Topic(topic))
    }

    /// What was set on a resource, key to value.
    pub fn overrides(&self, resource: Resource) -> BTreeMap<String, String> {
        let values = self.image.configs.of(resource);
        values.into_iter().flatten().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }
}

fn address(broker: &Broker, listener: &str) -> Option<BrokerAddress> {
    let endpoint = broker.endpoints.iter().find(|endpoint| endpoint.listener == listener)?;
    Some(BrokerAddress {
        id: broker.id.0,
        host: endpoint.host.clone(),
        port: endpoint.port,
        rack: broker.rack.clone(),
    })
}
