//! Several nodes of one cluster in this process, each broker and controller, over real connections on loopback.
//! It asserts nothing but that they start. Invariant: a node that comes back has its ports and its directory again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use firnline::broker::doors::Doors;
use firnline::broker::lifecycle::Broker;
use firnline::broker::start_error::StartError;
use firnline::config::load::{Places, load};
use firnline::config::start::build;
use firnline_tiering::clock::SystemClock;
use firnline_tiering::entropy::OsEntropy;
use firnline_tiering::hot::file::OsFiles;
use firnline_tiering::log::directory::{DirectoryOwner, LogDirectory};
use futures::future::join_all;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::broker::Client;
use super::wait::eventually;
use super::wire_client::WireClient;

pub const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qk";

/// Gives a directory its identity.
pub fn format(dir: &Path, cluster_id: &str, node_id: i32) {
    let owner = DirectoryOwner { cluster_id: cluster_id.to_owned(), node_id };
    LogDirectory::open(Arc::new(OsFiles), Arc::new(SystemClock), &OsEntropy, dir, &owner)
        .expect("a formatted directory");
}

/// The nodes 1, 2, ... of one cluster.
pub struct Nodes {
    dir: TempDir,
    /// Clients' and controller's port of each node.
    ports: Vec<(u16, u16)>,
    set: Vec<String>,
    running: Vec<Option<Broker>>,
}

impl Nodes {
    /// Starts `count` nodes and waits until all are up.
    pub async fn start(count: usize, set: &[&str]) -> Nodes {
        let mut nodes = Nodes::prepared(count, set);
        let started = join_all((1..=count).map(|id| nodes.open(id))).await;
        for (place, broker) in started.into_iter().enumerate() {
            nodes.running[place] = Some(broker.unwrap_or_else(|error| panic!("node {}: {error}", place + 1)));
        }
        nodes
    }

    /// Formatted, with ports of their own, and not started.
    pub fn prepared(count: usize, set: &[&str]) -> Nodes {
        let dir = tempfile::tempdir().expect("a directory");
        // Held all at once, so that no two are the same; free again when the brokers bind them.
        let held: Vec<_> =
            (0..2 * count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let port = |at: usize| held[at].local_addr().expect("bound").port();
        let ports = (0..count).map(|node| (port(2 * node), port(2 * node + 1))).collect();
        let set = set.iter().map(|each| (*each).to_owned()).collect();
        let nodes = Nodes { dir, ports, set, running: (0..count).map(|_| None).collect() };
        (1..=count).for_each(|id| format(&nodes.data_dir(id), CLUSTER_ID, id as i32));
        nodes
    }

    pub fn data_dir(&self, id: usize) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    /// Starts node `id` with these settings over its own.
    pub async fn open_with(&self, id: usize, over: &[String]) -> Result<Broker, StartError> {
        let (clients, controller) = self.ports[id - 1];
        let voters = (1..).zip(&self.ports).map(|(id, (_, port))| format!("{id}@127.0.0.1:{port}"));
        let mut set = vec![
            format!("node.id={id}"),
            format!("log.dirs={}", self.data_dir(id).display()),
            format!("listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}"),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            format!("controller.quorum.voters={}", voters.collect::<Vec<_>>().join(",")),
            format!("broker.rack=rack-{id}"),
            "firn.cores=1".to_owned(),
            "offsets.topic.num.partitions=1".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
        ];
        set.extend(self.set.iter().cloned());
        set.extend(over.iter().cloned());
        let loaded = load(&Places { set, ..Places::default() }).expect("settings of a flow");
        let config = build(loaded.settings, false).expect("a configuration of a flow").config;
        Broker::start(config, Doors::real()).await
    }

    async fn open(&self, id: usize) -> Result<Broker, StartError> {
        self.open_with(id, &[]).await
    }

    /// The process dies: nothing is flushed, no marker is left.
    pub fn kill(&mut self, id: usize) {
        drop(self.running[id - 1].take().expect("the node runs"));
    }

    /// A clean stop.
    pub async fn stop(&mut self, id: usize) {
        let running = self.running[id - 1].take().expect("the node runs");
        running.shutdown().await.expect("a clean stop");
    }

    /// Starts a node that was stopped or killed, once it has let go of its directory.
    pub async fn revive(&mut self, id: usize) {
        let started = eventually("the node starts again", async || match self.open(id).await {
            Ok(broker) => Some(broker),
            Err(error) => {
                eprintln!("not yet: {error}");
                None
            }
        });
        let broker = started.await;
        self.running[id - 1] = Some(broker);
    }

    pub fn broker(&self, id: usize) -> &Broker {
        self.running[id - 1].as_ref().expect("the node runs")
    }

    pub fn runs(&self, id: usize) -> bool {
        self.running[id - 1].is_some()
    }

    /// The clients' address of a node, whether it runs or not.
    pub fn address(&self, id: usize) -> String {
        format!("127.0.0.1:{}", self.ports[id - 1].0)
    }

    /// The controller's address of a node.
    pub fn controller_address(&self, id: usize) -> String {
        format!("127.0.0.1:{}", self.ports[id - 1].1)
    }

    /// A new connection to a node.
    pub async fn client(&self, id: usize) -> Client {
        WireClient::new(TcpStream::connect(self.address(id)).await.expect("the port answers"))
    }
}
