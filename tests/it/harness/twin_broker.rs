//! A broker over the twin disk, for flows in which the disk fails or forgets.
//! It has real sockets and the real clock. Invariant: nothing of it touches the machine's own disk.

use std::sync::Arc;

use firnline::broker::doors::Doors;
use firnline::broker::lifecycle::Broker;
use firnline::config::load::{Places, load};
use firnline::config::start::build;
use tokio::net::TcpStream;

use super::broker::Client;
use super::twin::disk::TwinDisk;

/// Starts broker 1 on a free port with `set` (`KEY=VALUE`) on top.
pub async fn start(disk: &TwinDisk, set: &[&str]) -> Broker {
    let own = ["node.id=1", "listeners=PLAINTEXT://127.0.0.1:0"];
    let set = own.iter().chain(set).map(|each| (*each).to_owned()).collect();
    let loaded = load(&Places { set, ..Places::default() }).expect("settings of a flow");
    let config = build(loaded.settings, true).expect("a configuration of a flow").config;
    let doors = Doors { files: Arc::new(disk.clone()), boot: Some(disk.boot()), ..Doors::real() };
    Broker::start(config, doors).await.expect("the broker starts")
}

/// A connection to it.
pub async fn client(broker: &Broker) -> Client {
    Client::new(TcpStream::connect(broker.addr()).await.expect("the port answers"))
}
