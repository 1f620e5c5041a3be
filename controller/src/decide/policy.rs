//! What decisions take from the configuration: static defaults, and the dynamic values over them. Not where a
//! broker reads its own. Invariant: a topic's value stands before the brokers' default, that before the static one.

use std::time::Duration;

use crate::id::TopicId;
use crate::image::metadata::MetadataImage;
use crate::record::kinds::Resource;

/// Topic and broker key: members an ISR needs for a write to be acked.
pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
/// Topic and broker key: whether a replica that may lack acked records may lead when nobody else can.
pub const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";

/// The active controller's configuration. Every controller of a cluster should have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `broker.session.timeout.ms`: a broker not heard for that long is fenced.
    pub session: Duration,
    /// `min.insync.replicas`, where nothing dynamic is set; at least 1.
    pub min_insync_replicas: i32,
    /// `unclean.leader.election.enable`, where nothing dynamic is set.
    pub unclean_leader_election: bool,
    /// `leader.imbalance.check.interval.seconds`, if `auto.leader.rebalance.enable`.
    pub rebalance_every: Option<Duration>,
    /// `leader.imbalance.per.broker.percentage`: partitions a broker should lead and does not, of those it should.
    pub imbalance_percentage: u32,
}

/// Kafka's defaults; the session is ours.
impl Default for Policy {
    fn default() -> Self {
        Policy {
            session: Duration::from_millis(1_200),
            min_insync_replicas: 1,
            unclean_leader_election: false,
            rebalance_every: Some(Duration::from_secs(300)),
            imbalance_percentage: 10,
        }
    }
}

impl Policy {
    /// Members an ISR of this topic needs, before it is capped by how many replicas there are. A value that is no
    /// number counts as not set: the broker checked it before it was stored.
    pub(crate) fn min_insync(&self, image: &MetadataImage, topic: TopicId) -> usize {
        let set = dynamic(image, topic, MIN_INSYNC_REPLICAS).and_then(|value| value.parse::<i32>().ok());
        usize::try_from(set.unwrap_or(self.min_insync_replicas)).unwrap_or(1).max(1)
    }

    /// Whether the controller may elect a replica of this topic that may lack acked records.
    pub(crate) fn unclean(&self, image: &MetadataImage, topic: TopicId) -> bool {
        match dynamic(image, topic, UNCLEAN_LEADER_ELECTION) {
            Some(value) => value.eq_ignore_ascii_case("true"),
            None => self.unclean_leader_election,
        }
    }
}

fn dynamic<'i>(image: &'i MetadataImage, topic: TopicId, key: &str) -> Option<&'i str> {
    let of = |resource| image.configs.get(resource, key).map(|value| &**value);
    of(Resource::Topic(topic)).or_else(|| of(Resource::BrokerDefault))
}
