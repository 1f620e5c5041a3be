//! Registered brokers. Not whether they answer (liveness is decided above). Invariant: epochs are unique and below
//! the next one.

use imbl::OrdMap;

use crate::id::{BrokerEpoch, BrokerId};
use crate::record::kinds::Broker;

/// All registrations. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Brokers {
    by_id: OrdMap<BrokerId, Broker>,
    next_epoch: BrokerEpoch,
}

impl Brokers {
    /// A broker's current registration.
    pub fn get(&self, id: BrokerId) -> Option<&Broker> {
        self.by_id.get(&id)
    }

    /// Every registration, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Broker> {
        self.by_id.values()
    }

    /// Brokers that may lead and be given replicas, by id.
    pub fn live(&self) -> impl Iterator<Item = &Broker> {
        self.by_id.values().filter(|broker| !broker.fenced)
    }

    /// Whether this registration is current and not fenced.
    pub fn is_live(&self, id: BrokerId) -> bool {
        self.get(id).is_some_and(|broker| !broker.fenced)
    }

    /// The epoch the next registration gets.
    pub fn next_epoch(&self) -> BrokerEpoch {
        self.next_epoch
    }

    pub(crate) fn set(&mut self, broker: Broker) {
        self.next_epoch = self.next_epoch.max(BrokerEpoch(broker.epoch.0.saturating_add(1)));
        self.by_id.insert(broker.id, broker);
    }

    pub(crate) fn table(&self) -> &OrdMap<BrokerId, Broker> {
        &self.by_id
    }
}
