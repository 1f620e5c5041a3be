//! How a node arrives in its cluster: what its broker says about itself, and the registration, if it has a broker.
//! Not its life from then on (`life.rs`). Invariant: a registration names the ports that were really bound.

use std::sync::Arc;

use firnline_controller::decide::brokers::BrokerRegistration;
use firnline_controller::id::{BrokerEpoch, BrokerId};
use firnline_controller::record::kinds::{Endpoint, FEATURE_RANGE};

use crate::api::context::Shared;
use crate::broker::doors::{Doors, Runtimes};
use crate::broker::life::{Joined, Life, Parts};
use crate::broker::reach::try_advertised;
use crate::broker::start_error::StartError;
use crate::broker::storage::Storage;

/// A node on its way into the cluster.
pub(super) enum Arrival {
    NoBroker,
    Alone(BrokerEpoch),
    Registered(Box<Life>),
}

impl Arrival {
    /// Begins to send life signs, where others wait for them.
    pub(super) fn begin(self, runtimes: &Runtimes) -> Joined {
        match self {
            Arrival::NoBroker => Joined::without_broker(),
            Arrival::Alone(epoch) => Joined::alone(epoch),
            Arrival::Registered(life) => life.begin(&runtimes.peers),
        }
    }
}

/// Registers the broker of this node.
pub(super) async fn register(
    shared: &Arc<Shared>,
    storage: &Storage,
    doors: &Doors,
    runtimes: &Runtimes,
) -> Result<Arrival, StartError> {
    if !shared.config.roles.broker {
        return Ok(Arrival::NoBroker);
    }
    let registration = registration(shared, storage, doors);
    if shared.config.quorum.is_none() {
        return Ok(Arrival::Alone(shared.controller.register_broker(registration).await?));
    }
    // Beside the registration, which fails where the quorum reaches this node by an address that leads nowhere.
    runtimes.peers.spawn(try_advertised(doors.net.clone(), shared.listeners.clone()));
    let parts = Parts {
        controller: shared.controller.clone(),
        registration,
        times: shared.config.cluster.clone(),
        assigned: shared.assigned.clone(),
    };
    let life = Runtimes::on(&runtimes.peers, Life::register(parts)).await??;
    Ok(Arrival::Registered(Box::new(life)))
}

fn registration(shared: &Shared, storage: &Storage, doors: &Doors) -> BrokerRegistration {
    let clients = shared.listeners.iter().filter(|served| served.audience.has_clients());
    let endpoints = clients.map(|served| Endpoint {
        listener: served.name.clone(),
        host: served.advertised_host.clone(),
        port: served.advertised_port,
        protocol: PLAINTEXT,
    });
    BrokerRegistration {
        id: BrokerId(shared.config.node_id),
        cluster_id: shared.cluster_id.to_string(),
        incarnation: doors.entropy.uuid(),
        endpoints: endpoints.collect(),
        rack: shared.config.rack.clone(),
        directories: storage.dirs().iter().map(|dir| dir.directory.identity().directory_id).collect(),
        boot: doors.boot,
        stopped: stopped(storage),
        features: FEATURE_RANGE,
    }
}

/// The broker epoch that the markers of a clean stop name, if every directory has one and they agree.
fn stopped(storage: &Storage) -> Option<BrokerEpoch> {
    let mut epochs = storage.dirs().iter().map(|dir| dir.directory.clean_shutdown()?.broker_epoch);
    let first = epochs.next()??;
    epochs.all(|epoch| epoch == Some(first)).then_some(BrokerEpoch(first))
}

/// Kafka's number of the only security protocol there is so far.
const PLAINTEXT: i16 = 0;
