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

    /// Brokers that are not fenced, by id; clients are told of them.
    pub fn live(&self) -> impl Iterator<Item = &Broker> {
        self.by_id.values().filter(|broker| !broker.fenced)
    }

    /// Whether this broker is registered and not fenced.
    pub fn is_live(&self, id: BrokerId) -> bool {
        self.get(id).is_some_and(|broker| !broker.fenced)
    }

    /// Brokers that may be given partitions to lead and replicas to hold, by id: live and not on their way down.
    pub fn active(&self) -> impl Iterator<Item = &Broker> {
        self.by_id.values().filter(|broker| !broker.fenced && !broker.stopping)
    }

    /// Whether this broker may be elected and join an ISR: live and not on its way down.
    pub fn is_active(&self, id: BrokerId) -> bool {
        self.get(id).is_some_and(|broker| !broker.fenced && !broker.stopping)
    }

    /// The epoch the next registration gets.
    pub fn next_epoch(&self) -> BrokerEpoch {
        self.next_epoch
    }

    pub(crate) fn set(&mut self, broker: Broker) {
        self.next_epoch = self.next_epoch.max(BrokerEpoch(broker.epoch.0.saturating_add(1)));
        self.by_id.insert(broker.id, broker);
    }

    /// False if there is none.
    pub(crate) fn forget(&mut self, id: BrokerId) -> bool {
        self.by_id.remove(&id).is_some()
    }

    /// Epochs below `next` are used up.
    pub(crate) fn skip_to(&mut self, next: BrokerEpoch) {
        self.next_epoch = self.next_epoch.max(next);
    }

    pub(crate) fn table(&self) -> &OrdMap<BrokerId, Broker> {
        &self.by_id
    }
}
