//! Accepting connections: bounded in number, each handed once to the least loaded core.
//! It reads nothing. Invariant: a connection is counted before it is handed over and counted off when it ends.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::api::context::{Answer, Context, Peer, ServedListener, Shared};
use crate::api::counters::Counters;
use crate::api::dispatch::dispatch;
use crate::config::broker::Network;
use crate::server::connection::{Connection, Ended, Service};
use crate::server::cores::{Carries, CoreDesk, Cores, Job};
use crate::transport::net::{Accepted, Listener};
use crate::wire::api_key::ApiKey;
use crate::wire::request::Request;

/// Pause after a failed accept: the process is out of descriptors, and trying at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who may come in.
pub struct Doorman {
    counters: Arc<Counters>,
    most: usize,
    most_per_address: usize,
    inside: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Doorman {
    /// Bounds from `max.connections` and `max.connections.per.ip`, over all listeners.
    pub fn new(network: &Network, counters: Arc<Counters>) -> Arc<Self> {
        let (most, most_per_address) = (network.connections_max, network.connections_per_ip_max);
        Arc::new(Self { counters, most, most_per_address, inside: Mutex::default() })
    }

    /// Lets a connection in, or says which bound it meets.
    fn admit(self: &Arc<Self>, peer: SocketAddr) -> Result<Admitted, &'static str> {
        let mut inside = self.inside.lock();
        if self.counters.connections.get() >= self.most as u64 {
            self.counters.connections_refused.add(1);
            return Err("max.connections");
        }
        let here = inside.entry(peer.ip()).or_insert(0);
        if *here >= self.most_per_address {
            self.counters.connections_refused.add(1);
            return Err("max.connections.per.ip");
        }
        *here += 1;
        self.counters.connections.add(1);
        self.counters.connections_accepted.add(1);
        Ok(Admitted { doorman: self.clone(), address: peer.ip() })
    }
}

/// A connection's place; dropping it frees the place.
struct Admitted {
    doorman: Arc<Doorman>,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut inside = self.doorman.inside.lock();
        if let Some(here) = inside.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                inside.remove(&self.address);
            }
        }
        self.doorman.counters.connections.sub(1);
    }
}

/// Accepts until `stop`. `cores` is held weakly, so that stopping the cores is not held up by a listener.
pub async fn accept(
    mut socket: Box<dyn Listener>,
    served: Arc<ServedListener>,
    shared: Arc<Shared>,
    cores: std::sync::Weak<Cores>,
    doorman: Arc<Doorman>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = served.name, %error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match doorman.admit(accepted.peer) {
            Ok(place) => {
                let job = job(accepted, place, served.clone(), shared.clone());
                let handed = cores.upgrade().is_some_and(|cores| match served.audience.has_clients() {
                    true => cores.run_on_least_loaded(job),
                    false => cores.run_for_peers(job),
                });
                if !handed {
                    return;
                }
            }
            Err(bound) => tracing::warn!(peer = %accepted.peer, bound, "a connection was refused"),
        }
    }
}

fn job(accepted: Accepted, place: Admitted, served: Arc<ServedListener>, shared: Arc<Shared>) -> Job {
    Box::new(move |desk| {
        Box::pin(async move {
            let peer = accepted.peer;
            let listener = served.name.clone();
            match serve(accepted, served, &shared, desk).await {
                Ok(ended) if ended.is_broken() => {
                    shared.counters.connections_broken.add(1);
                    tracing::warn!(%peer, listener, reason = %ended, "connection closed");
                }
                Ok(ended) => tracing::debug!(%peer, listener, reason = %ended, "connection ended"),
                Err(error) => tracing::debug!(%peer, listener, %error, "connection not attached"),
            }
            drop(place);
        })
    })
}

async fn serve(
    accepted: Accepted,
    listener: Arc<ServedListener>,
    shared: &Arc<Shared>,
    desk: CoreDesk,
) -> io::Result<Ended> {
    let address = accepted.peer;
    let stream = accepted.attach()?;
    let entry = desk.pulses.enter();
    let peer = Rc::new(Peer { address, listener });
    let context = Context { shared: shared.clone(), core: desk.serving.clone(), peer };
    let service = Serving { context, desk, carries: OnceCell::new() };
    let (counters, lane) = (shared.counters.clone(), shared.lane.clone());
    let connection =
        Connection::new(stream, service, counters, lane, shared.config.network.request_bytes_max);
    Ok(connection.run(&entry.pulse).await)
}

/// What a connection's requests are served by.
struct Serving {
    context: Context,
    desk: CoreDesk,
    /// From its first produce or fetch on.
    carries: OnceCell<Carries>,
}

impl Service for Serving {
    fn serve(&self, request: Request) -> Answer {
        if matches!(request.header.api_key, ApiKey::Produce | ApiKey::Fetch) {
            self.carries.get_or_init(|| self.desk.carries());
        }
        dispatch(&self.context, request)
    }

    fn end_turn(&self) {
        self.context.core.purgatory.end_turn();
    }
}
