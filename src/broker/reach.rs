//! Tries the addresses that this broker advertises, and says which cannot be reached from here: the most common reason
//! why a cluster is up and no client gets through. Nothing depends on it.

use std::sync::Arc;
use std::time::Duration;

use crate::api::context::ServedListener;
use crate::transport::net::Net;

/// How long a dial may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Dials every advertised address once.
pub(super) async fn try_advertised(net: Arc<dyn Net>, listeners: Vec<Arc<ServedListener>>) {
    for served in listeners {
        let (host, port) = (&served.advertised_host, served.advertised_port);
        if let Err(error) = net.dial(host, port, PATIENCE).await {
            tracing::warn!(
                listener = served.name,
                host,
                port,
                %error,
                "others are told this address, and it cannot be reached from here: correct advertised.listeners, \
                 or make the name and the port lead to this machine"
            );
        }
    }
}
