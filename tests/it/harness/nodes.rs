//! Several nodes of one cluster in this process, each broker and controller, over real connections on loopback.
//! It asserts nothing but that they start. Invariant: a node that comes back has its ports and its directory again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firnline::broker::doors::Doors;
use firnline::broker::lifecycle::Broker;
use firnline::broker::start_error::StartError;
use firnline::config::load::{Places, load};
use firnline::config::start::build;
use firnline_tiering::clock::SystemClock;
use firnline_tiering::entropy::OsEntropy;
use firnline_tiering::hot::file::{Files, OsFiles};
use firnline_tiering::log::directory::{DirectoryOwner, LogDirectory};
use futures::future::join_all;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::broker::Client;
use super::twin::disk::TwinDisk;
use super::wait::eventually;
use super::wire_client::WireClient;

pub const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qk";

/// Gives a directory its identity.
pub fn format(dir: &Path, cluster_id: &str, node_id: i32) {
    format_on(Arc::new(OsFiles), dir, cluster_id, node_id);
}

fn format_on(files: Arc<dyn Files>, dir: &Path, cluster_id: &str, node_id: i32) {
    let owner = DirectoryOwner { cluster_id: cluster_id.to_owned(), node_id };
    LogDirectory::open(files, Arc::new(SystemClock), &OsEntropy, dir, &owner).expect("a formatted directory");
}

/// The nodes 1, 2, ... of one cluster.
pub struct Nodes {
    dir: TempDir,
    /// Clients' and controller's port of each node.
    ports: Vec<(u16, u16)>,
    set: Vec<String>,
    running: Vec<Option<Broker>>,
    /// Nodes whose disks are twins, with their log directories there.
    twins: BTreeMap<usize, (TwinDisk, Vec<String>)>,
    /// Nodes with several log directories below their own.
    folders: BTreeMap<usize, Vec<String>>,
}

impl Nodes {
    /// Starts `count` nodes and waits until all are up.
    pub async fn start(count: usize, set: &[&str]) -> Nodes {
        let mut nodes = Nodes::prepared(count, set);
        nodes.start_all().await;
        nodes
    }

    /// Starts all of them and waits until they are up.
    pub async fn start_all(&mut self) {
        let started = join_all((1..=self.ports.len()).map(|id| self.open(id))).await;
        for (place, broker) in started.into_iter().enumerate() {
            self.running[place] = Some(broker.unwrap_or_else(|error| panic!("node {}: {error}", place + 1)));
        }
    }

    /// Puts a node that has not started on a twin disk with these log directories.
    pub fn put_on(&mut self, id: usize, disk: &TwinDisk, roots: &[&str]) {
        for root in roots {
            format_on(Arc::new(disk.clone()), Path::new(root), CLUSTER_ID, id as i32);
        }
        self.twins.insert(id, (disk.clone(), roots.iter().map(|root| (*root).to_owned()).collect()));
    }

    /// Gives a node that has not started several log directories below its own, with these names.
    pub fn give_folders(&mut self, id: usize, folders: &[&str]) {
        let roots = folders.iter().map(|folder| self.data_dir(id).join(folder));
        let roots: Vec<PathBuf> = roots.collect();
        roots.iter().for_each(|root| format(root, CLUSTER_ID, id as i32));
        self.folders.insert(id, roots.iter().map(|root| root.display().to_string()).collect());
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
        let running = (0..count).map(|_| None).collect();
        let nodes = Nodes { dir, ports, set, running, twins: BTreeMap::new(), folders: BTreeMap::new() };
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
            format!("log.dirs={}", self.log_dirs(id).join(",")),
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
        let mut doors = Doors::real();
        if let Some((disk, _)) = self.twins.get(&id) {
            doors.files = Arc::new(disk.clone());
            doors.boot = Some(disk.boot());
        }
        Broker::start(config, doors).await
    }

    /// The log directories of a node.
    pub fn log_dirs(&self, id: usize) -> Vec<String> {
        let own = || vec![self.data_dir(id).display().to_string()];
        let twins = self.twins.get(&id).map(|(_, roots)| roots.clone());
        twins.or_else(|| self.folders.get(&id).cloned()).unwrap_or_else(own)
    }

    async fn open(&self, id: usize) -> Result<Broker, StartError> {
        self.open_with(id, &[]).await
    }

    /// The process dies: nothing is flushed, no marker is left.
    pub fn kill(&mut self, id: usize) {
        drop(self.running[id - 1].take().expect("the node runs"));
    }

    /// The same, and waits until its threads are gone.
    pub async fn abandon(&mut self, id: usize) {
        self.running[id - 1].take().expect("the node runs").abandon().await;
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

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ports.len()
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
