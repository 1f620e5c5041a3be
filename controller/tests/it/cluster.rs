//! Several controllers in one runtime, on links that can be cut, delayed and lossy, each on a disk that can lose power
//! or be wiped. Not a network: bytes go from one handle to another. Time is tokio's, paused: runs are exact.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use firnline_controller::client::{Controller, ControllerConfig};
use firnline_controller::error::StartError;
use firnline_controller::id::BrokerId;
use firnline_controller::quorum::plan::Plan;
use firnline_controller::quorum::status::QuorumStatus;
use firnline_controller::transport::{Address, LineEnd, Transport, TransportError};
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::disk::{Disk, Loss};
use crate::scene::config;

/// What lies between two nodes, in one direction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Link {
    /// Nothing arrives.
    pub cut: bool,
    /// Everything takes so long.
    pub delay: Duration,
    /// Every so many-th message is lost; 0 for none.
    pub loses: u64,
}

#[derive(Debug, Default)]
struct Wires {
    nodes: BTreeMap<u16, Option<Controller>>,
    /// Dropped when the process that listens there ends.
    lines: BTreeMap<u16, watch::Sender<()>>,
    links: BTreeMap<(u16, u16), Link>,
    sent: u64,
}

/// The network of all nodes.
#[derive(Debug, Clone, Default)]
pub struct Network {
    wires: Arc<Mutex<Wires>>,
}

/// One node's way into it.
#[derive(Debug)]
struct Wire {
    network: Network,
    from: u16,
}

/// Node `id` listens here.
pub fn address(id: i32) -> Address {
    Address { host: "node".to_owned(), port: id as u16 }
}

impl Network {
    /// Changes the link from one node to another.
    pub fn link(&self, from: i32, to: i32, change: impl FnOnce(&mut Link)) {
        change(self.wires.lock().unwrap().links.entry((from as u16, to as u16)).or_default());
    }

    /// Cuts or mends both directions between `id` and everyone else.
    pub fn isolate(&self, id: i32, cut: bool) {
        for other in 1..=9 {
            self.link(id, other, |link| link.cut = cut);
            self.link(other, id, |link| link.cut = cut);
        }
    }

    fn set(&self, id: i32, node: Option<Controller>) {
        let mut wires = self.wires.lock().unwrap();
        wires.nodes.insert(id as u16, node);
        wires.lines.insert(id as u16, watch::channel(()).0);
    }

    /// What lies between two nodes now, without sending anything.
    fn between(&self, from: u16, to: u16) -> Link {
        self.wires.lock().unwrap().links.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Whether a message arrives, and after how long.
    fn passes(&self, from: u16, to: u16) -> Option<Duration> {
        let mut wires = self.wires.lock().unwrap();
        wires.sent += 1;
        let link = wires.links.get(&(from, to)).copied().unwrap_or_default();
        let lost = link.loses > 0 && wires.sent.is_multiple_of(link.loses);
        (!link.cut && !lost).then_some(link.delay)
    }

    fn node(&self, at: u16) -> Option<Controller> {
        self.wires.lock().unwrap().nodes.get(&at).cloned().flatten()
    }
}

impl Transport for Wire {
    fn call(
        &self,
        to: &Address,
        request: Bytes,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (network, from, to) = (self.network.clone(), self.from, to.port);
        Box::pin(async move {
            let lost = || TransportError::Lost("no answer".to_owned());
            let Some(node) = network.node(to) else {
                return Err(TransportError::Unreachable("nobody listens".to_owned()));
            };
            let there_and_back = async {
                let Some(delay) = network.passes(from, to) else { return futures::future::pending().await };
                tokio::time::sleep(Duration::from_micros(50) + delay).await;
                let answer = node.answer_peer(request).await;
                let Some(delay) = network.passes(to, from) else { return futures::future::pending().await };
                tokio::time::sleep(Duration::from_micros(50) + delay).await;
                answer
            };
            tokio::time::timeout(patience, there_and_back).await.map_err(|_| lost())
        })
    }

    /// The news of an end travels like anything else: not over a link that is cut.
    fn line(&self, to: &Address) -> BoxFuture<'static, LineEnd> {
        let (network, from, to) = (self.network.clone(), self.from, to.port);
        Box::pin(async move {
            let arrives = async || {
                while network.between(from, to).cut || network.between(to, from).cut {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                tokio::time::sleep(Duration::from_micros(50) + network.between(to, from).delay).await;
            };
            let there = tokio::time::timeout(Duration::from_millis(500), arrives()).await.is_ok();
            let ended = network.wires.lock().unwrap().lines.get(&to).map(watch::Sender::subscribe);
            match (there, network.node(to), ended) {
                (false, ..) => LineEnd::Unknown("no answer".to_owned()),
                (true, Some(_), Some(mut ended)) => {
                    // An error, for nothing is ever sent: the process has ended.
                    _ = ended.changed().await;
                    arrives().await;
                    LineEnd::Broken
                }
                _ => LineEnd::Refused,
            }
        })
    }
}

/// Nodes with their disks.
#[derive(Debug)]
pub struct Cluster {
    /// What connects them.
    pub network: Network,
    disks: BTreeMap<i32, Disk>,
    running: BTreeMap<i32, Controller>,
    plan: Plan,
    starts: u64,
    /// Records between two snapshots.
    pub snapshot_every_records: u64,
}

impl Cluster {
    /// Nodes that run by this plan, once they are started.
    pub fn planned(plan: Plan) -> Cluster {
        Cluster {
            network: Network::default(),
            disks: BTreeMap::new(),
            running: BTreeMap::new(),
            plan,
            starts: 0,
            snapshot_every_records: 1_000_000,
        }
    }

    /// Voters 1 to `voters`, running.
    pub async fn of(voters: i32) -> Cluster {
        let mut cluster = Cluster::not_started(voters);
        for id in 1..=voters {
            cluster.start(id).await.unwrap();
        }
        cluster.leader().await;
        cluster
    }

    /// Voters 1 to `voters`, none of them running.
    pub fn not_started(voters: i32) -> Cluster {
        Cluster::planned(Plan::Voters((1..=voters).map(|id| (BrokerId(id), address(id))).collect()))
    }

    /// A node's disk.
    pub fn disk(&self, id: i32) -> Disk {
        self.disks[&id].clone()
    }

    /// What node `id` is started with.
    pub fn config(&mut self, id: i32) -> ControllerConfig {
        self.starts += 1;
        let disk = self.disks.entry(id).or_default().clone();
        ControllerConfig {
            node_id: BrokerId(id),
            plan: self.plan.clone(),
            address: Some(address(id)),
            transport: Arc::new(Wire { network: self.network.clone(), from: id as u16 }),
            snapshot_every_records: self.snapshot_every_records,
            ..config(Arc::new(disk), self.starts << 20)
        }
    }

    /// Starts a node on its disk.
    pub async fn start(&mut self, id: i32) -> Result<Controller, StartError> {
        let config = self.config(id);
        self.start_as(id, config).await
    }

    /// Starts a node with a configuration of its own.
    pub async fn start_as(&mut self, id: i32, config: ControllerConfig) -> Result<Controller, StartError> {
        let node = Controller::start(config).await?;
        self.network.set(id, Some(node.clone()));
        self.running.insert(id, node.clone());
        Ok(node)
    }

    /// Power goes: what was not synced is lost as `loss` says.
    pub async fn kill(&mut self, id: i32, loss: Loss) {
        self.network.set(id, None);
        let disk = self.disks.remove(&id).unwrap();
        disk.lose_power_after(0);
        self.disks.insert(id, disk.after_power_loss(loss));
        self.running.remove(&id).unwrap().shutdown().await;
    }

    /// Stops a node in order.
    pub async fn stop(&mut self, id: i32) {
        self.network.set(id, None);
        self.running.remove(&id).unwrap().shutdown().await;
    }

    /// An empty disk for a node that does not run.
    pub fn wipe(&mut self, id: i32) {
        assert!(!self.running.contains_key(&id));
        self.disks.insert(id, Disk::default());
    }

    /// A running node.
    pub fn node(&self, id: i32) -> &Controller {
        &self.running[&id]
    }

    /// Every running node.
    pub fn nodes(&self) -> impl Iterator<Item = (i32, &Controller)> {
        self.running.iter().map(|(id, node)| (*id, node))
    }

    /// Who leads with authority, as soon as someone does.
    pub async fn leader(&self) -> i32 {
        self.until("a leader", |cluster| cluster.leading()).await
    }

    /// Who leads with authority now.
    pub fn leading(&self) -> Option<i32> {
        self.nodes().find(|(_, node)| node.quorum().leads).map(|(id, _)| id)
    }

    /// Waits until `seen` sees something; at most a minute of simulated time.
    pub async fn until<T>(&self, what: &str, seen: impl Fn(&Cluster) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(seen) = seen(self) {
                return seen;
            }
            let seen: Vec<(i32, QuorumStatus)> = self.nodes().map(|(id, node)| (id, node.quorum())).collect();
            assert!(begun.elapsed() < Duration::from_secs(60), "no {what} within a minute: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until all running nodes show the same image.
    pub async fn agree(&self) {
        let same = |cluster: &Cluster| {
            let ends: Vec<u64> = cluster.nodes().map(|(_, node)| node.image().offset).collect();
            ends.iter().all(|end| *end == ends[0] && *end > 0).then_some(())
        };
        self.until("agreement", same).await;
        let mut images = self.nodes().map(|(id, node)| (id, node.image().to_records().collect::<Vec<_>>()));
        let (_, first) = images.next().unwrap();
        images.for_each(|(id, image)| assert_eq!(image, first, "node {id} folded another image"));
    }

    /// Voters by node, as the leader sees them.
    pub fn voters(&self) -> Vec<i32> {
        let leader = self.leading().expect("a leader");
        self.node(leader).quorum().voters.iter().map(|voter| voter.id.0).collect()
    }
}
