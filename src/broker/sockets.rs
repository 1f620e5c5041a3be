//! Binds the sockets of a node: its clients' listeners, and its controller's where other nodes are to reach it.
//! Nothing is accepted here. Invariant: what others are told of a listener leads to the port that was really bound.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::api::context::{Audience, ServedListener};
use crate::broker::doors::Doors;
use crate::broker::start_error::StartError;
use crate::config::broker::BrokerConfig;
use crate::config::listener::Endpoint;
use crate::transport::net::{ListenOptions, Listener};

/// A socket that is bound and not served yet.
pub(super) type Bound = (Box<dyn Listener>, Arc<ServedListener>);

/// Binds every listener before anything else starts: a taken port is the most common reason not to. The controller's
/// comes last.
pub(super) async fn bind_all(config: &BrokerConfig, doors: &Doors) -> Result<Vec<Bound>, StartError> {
    let mut all = Vec::with_capacity(config.listeners.len() + 1);
    for endpoint in &config.listeners {
        let advertised = config.advertised.iter().find(|advertised| advertised.name == endpoint.name);
        let between = !config.roles.controller && endpoint.name == config.inter_broker_listener;
        let audience = if between { Audience::ClientsAndNodes } else { Audience::Clients };
        all.push(bind(config, doors, endpoint, advertised, audience).await?);
    }
    if let Some(quorum) = &config.quorum
        && let Some(endpoint) = &quorum.listener
    {
        all.push(bind(config, doors, endpoint, quorum.advertised.as_ref(), Audience::Nodes).await?);
    }
    Ok(all)
}

async fn bind(
    config: &BrokerConfig,
    doors: &Doors,
    endpoint: &Endpoint,
    advertised: Option<&Endpoint>,
    audience: Audience,
) -> Result<Bound, StartError> {
    let options = ListenOptions {
        backlog: config.network.listen_backlog,
        send_buffer: config.network.send_buffer_bytes,
        receive_buffer: config.network.receive_buffer_bytes,
    };
    let failed = |source| StartError::Listen {
        listener: endpoint.name.clone(),
        address: endpoint.socket_address(),
        source,
    };
    let address = resolve(endpoint, doors).await.map_err(failed)?;
    let socket = doors.net.listen(address, &options).await.map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    let advertised = advertised.unwrap_or(endpoint);
    let served = ServedListener {
        name: endpoint.name.clone(),
        bound,
        advertised_host: advertised_host(advertised, bound),
        advertised_port: if advertised.port == 0 { bound.port() } else { advertised.port },
        audience,
    };
    tracing::info!(listener = served.name, %bound, host = served.advertised_host, port = served.advertised_port, "listening");
    Ok((socket, Arc::new(served)))
}

async fn resolve(endpoint: &Endpoint, doors: &Doors) -> io::Result<SocketAddr> {
    let host = if endpoint.host.is_empty() { "0.0.0.0" } else { &endpoint.host };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, endpoint.port));
    }
    let found = doors.net.resolve(host, endpoint.port).await?;
    // IPv4 first: a client told "localhost" may try only that.
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    address.copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

/// An empty host stands for this machine's name; a socket bound to one address is reached by that.
fn advertised_host(advertised: &Endpoint, bound: SocketAddr) -> String {
    if !advertised.host.is_empty() {
        return advertised.host.clone();
    }
    if !bound.ip().is_unspecified() {
        return bound.ip().to_string();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
