//! Register brokers. Not whether they stay alive: with one broker, in the controller's own process, being
//! registered is being alive. Invariant: a new incarnation leads under new leader epochs, for it may have lost what
//! the one before wrote last.

use std::collections::BTreeSet;

use firnline_tiering::epoch::LeaderEpoch;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decide::decision::Decision;
use crate::error::RegisterError;
use crate::id::{BrokerEpoch, BrokerId, PartitionEpoch};
use crate::image::metadata::MetadataImage;
use crate::record::entry::Precondition;
use crate::record::kinds::{Broker, Endpoint, Partition, Record};

/// What a broker says about itself when its process starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRegistration {
    /// `node.id`.
    pub id: BrokerId,
    /// Of `meta.properties`.
    pub cluster_id: String,
    /// Drawn once per process.
    #[serde(with = "crate::serial::uuid")]
    pub incarnation: Uuid,
    /// Advertised listeners, in the configuration's order.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// Registers a broker; the same incarnation keeps its epoch.
pub fn register(
    image: &MetadataImage,
    asked: &BrokerRegistration,
) -> Result<Decision<BrokerEpoch>, RegisterError> {
    check(image, asked)?;
    let known = image.brokers.get(asked.id).filter(|known| known.incarnation == asked.incarnation);
    let epoch = known.map_or(image.brokers.next_epoch(), |known| known.epoch);
    let broker = Broker {
        id: asked.id,
        epoch,
        incarnation: asked.incarnation,
        endpoints: asked.endpoints.clone(),
        rack: asked.rack.clone(),
        fenced: false,
        ..Broker::default()
    };
    if known == Some(&broker) {
        return Ok(Decision::nothing_to_do(epoch));
    }
    if known.is_some() {
        let fact = Precondition::BrokerEpoch(asked.id, epoch);
        return Ok(Decision::new(vec![fact], vec![Record::Broker(broker)], epoch));
    }
    let mut records = vec![Record::Broker(broker)];
    records.extend(led_anew(image, asked.id));
    Ok(Decision::new(vec![Precondition::NextBrokerEpoch(epoch)], records, epoch))
}

fn check(image: &MetadataImage, asked: &BrokerRegistration) -> Result<(), RegisterError> {
    if asked.cluster_id != image.cluster_id {
        let (found, wanted) = (asked.cluster_id.clone(), image.cluster_id.clone());
        return Err(RegisterError::OtherCluster { id: asked.id, found, wanted });
    }
    if asked.id.0 < 0 {
        return Err(RegisterError::InvalidRequest(format!("broker id {} is negative", asked.id)));
    }
    if asked.endpoints.is_empty() {
        return Err(RegisterError::InvalidRequest("a broker must advertise a listener".to_owned()));
    }
    let mut names = BTreeSet::new();
    match asked.endpoints.iter().find(|endpoint| !names.insert(endpoint.listener.as_str())) {
        Some(twice) => {
            Err(RegisterError::InvalidRequest(format!("listener {} is advertised twice", twice.listener)))
        }
        None => Ok(()),
    }
}

/// The partitions that `id` led or, in sync, can lead now that nobody does: under the next leader epoch.
fn led_anew(image: &MetadataImage, id: BrokerId) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in image.topics.iter() {
        for (row, index) in topic.partitions.iter().zip(0..) {
            if row.leader.is_none_or(|leader| leader == id) && row.isr.contains(&id) {
                let row = Partition {
                    leader: Some(id),
                    leader_epoch: LeaderEpoch(row.leader_epoch.0 + 1),
                    epoch: PartitionEpoch(row.epoch.0 + 1),
                    ..row.clone()
                };
                records.push(Record::Partition { topic: topic.id, index, row });
            }
        }
    }
    records
}
