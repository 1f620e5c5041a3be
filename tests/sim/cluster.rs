//! Three nodes, each broker and controller, in one simulation: who they are, how they start, what they hold in memory.
//! It injects nothing (`trouble.rs`) and asks nothing (`workload.rs`). Invariant: a node's disk outlives its process, and
//! everything a node draws comes from its own stream of the one seed.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use firnline::api::context::Shared;
use firnline::broker::doors::Doors;
use firnline::broker::lifecycle::Broker;
use firnline::config::load::{Places, load};
use firnline::config::start::build;
use firnline_controller::image::metadata::MetadataImage;
use firnline_tiering::clock::Clock;
use firnline_tiering::cold::store::{Store, StoreLimits};
use firnline_tiering::log::directory::{DirectoryOwner, LogDirectory};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::workload::TOPIC;
use crate::world::bucket::SimBucket;
use crate::world::clock::{EPOCH_MS, PlantedClock, SimClock, SimEntropy};
use crate::world::disk::SimDisk;
use crate::world::journal::Journal;
use crate::world::network::SimNet;

/// Hosts of the simulated network; node ids count from 1.
pub const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// Where clients are served.
pub const PORT: u16 = 9092;
const CONTROLLER_PORT: u16 = 9093;
/// All nodes are of this cluster.
const CLUSTER: &str = "c2ltdWxhdGVkLWNsdXN0ZXI";

/// A wall clock that may be wrong by any amount.
#[derive(Debug)]
pub struct SkewedClock {
    inner: Arc<dyn Clock>,
    skew_ms: AtomicI64,
}

impl Clock for SkewedClock {
    fn now_ms(&self) -> i64 {
        (self.inner.now_ms() + self.skew_ms.load(Ordering::Relaxed)).max(EPOCH_MS)
    }
}

impl SkewedClock {
    /// From now on the clock is wrong by this.
    pub fn jump_to(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }
}

/// What a run acknowledges, and what it may lose power under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// `firn.durability=disk`: the power may go anywhere, at once if it likes, and nothing acked is lost.
    Disk,
    /// `firn.durability=cache`: processes die anywhere; the power goes in one place while everything is in sync.
    Cache,
    /// `firn.durability=cache`, and once the power goes everywhere at once: what was acked before may be lost from some
    /// offset on (D9), and nothing else.
    CacheLost,
}

impl Promise {
    /// Half of all seeds promise what is on disk.
    pub fn of(seed: u64) -> Promise {
        match seed % 4 {
            1 | 3 => Promise::Disk,
            0 => Promise::Cache,
            _ => Promise::CacheLost,
        }
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By a signal: what it wrote stays.
    Killed,
    /// With its machine: what was not synced survives as dice say.
    PowerLost,
    /// With its disk: an empty one stands there now, on a machine that goes on.
    Wiped,
}

/// One node: what survives its process, and a look into the process that runs.
#[derive(Clone)]
pub struct Node {
    pub name: &'static str,
    pub id: i32,
    pub disk: SimDisk,
    pub clock: Arc<SkewedClock>,
    entropy: Arc<SimEntropy>,
    /// Counts the boots of its machine: each power loss begins another.
    boots: Rc<Cell<u64>>,
    /// Counts its disks.
    disks: Rc<Cell<u64>>,
    running: Rc<RefCell<Option<Arc<Shared>>>>,
    /// Asks its process to stop as an operator would.
    stop: Rc<Notify>,
}

/// All of them, and the bucket they share. Clones share everything.
#[derive(Clone)]
pub struct Cluster {
    pub nodes: Rc<[Node]>,
    pub bucket: SimBucket,
    pub journal: Journal,
    pub promise: Promise,
    /// How often what was acked may have been lost: each time the power went everywhere under `Promise::CacheLost`.
    pub losses: Rc<Cell<u32>>,
}

impl Cluster {
    /// Three formatted, empty nodes.
    pub fn new(dice: &mut StdRng, journal: &Journal, planted: bool, promise: Promise) -> Self {
        let inner: Arc<dyn Clock> = match planted {
            true => Arc::new(PlantedClock(journal.clone())),
            false => Arc::new(SimClock(journal.clone())),
        };
        let mut node = |(name, id): (&'static str, i32)| {
            let clock = Arc::new(SkewedClock { inner: inner.clone(), skew_ms: AtomicI64::new(0) });
            let disk = SimDisk::new(dice.random(), journal.clone());
            let entropy = Arc::new(SimEntropy::new(dice.random(), journal.clone()));
            let (boots, disks) = (Rc::default(), Rc::default());
            let (running, stop) = (Rc::default(), Rc::new(Notify::new()));
            Node { name, id, disk, clock, entropy, boots, disks, running, stop }
        };
        let nodes: Vec<Node> = NODES.into_iter().zip(1..).map(&mut node).collect();
        let bucket = SimBucket::new(dice.random(), journal.clone());
        let (journal, losses) = (journal.clone(), Rc::default());
        let cluster = Self { nodes: nodes.into(), bucket, journal, promise, losses };
        cluster.nodes.iter().for_each(|node| cluster.format(node));
        cluster
    }

    /// As `firn storage format` does on an empty disk.
    pub fn format(&self, node: &Node) {
        let owner = DirectoryOwner { cluster_id: CLUSTER.to_owned(), node_id: node.id };
        let opened = LogDirectory::open(
            node.disk.door(),
            node.clock.clone(),
            &*node.entropy,
            Path::new("/data"),
            &owner,
        );
        drop(opened.expect("an empty disk can be formatted"));
    }

    /// The process of a node ends.
    pub fn end_process(&self, node: &Node, end: End) {
        node.running.borrow_mut().take();
        if end == End::PowerLost {
            node.boots.set(node.boots.get() + 1);
        }
        match end {
            End::Killed => node.disk.kill(),
            End::PowerLost => node.disk.lose_power(),
            End::Wiped => {
                node.disk.wipe();
                node.disks.set(node.disks.get() + 1);
                node.disk.revive();
                self.format(node);
                node.disk.kill();
            }
        }
    }

    /// The newest metadata that a running node holds.
    pub fn newest(&self) -> Option<Arc<MetadataImage>> {
        let images = self.nodes.iter().filter_map(|node| Some(node.shared()?.controller.image()));
        images.max_by_key(|image| image.offset)
    }

    /// All nodes run, vote and live, and every replica of the topic is in sync: any one disk may be lost now.
    pub fn is_whole(&self) -> bool {
        let Some(image) = self.newest() else { return false };
        let voters = |node: &Node| {
            let shared = node.shared()?;
            let quorum = shared.controller.quorum();
            let caught_up = shared.controller.image().offset == image.offset;
            (quorum.voters.len() == NODES.len() && quorum.learners.is_empty() && caught_up).then_some(())
        };
        let in_sync = image.topics.by_name(TOPIC).is_some_and(|topic| {
            topic
                .partitions
                .iter()
                .all(|row| row.leader.is_some() && row.isr.len() == row.replicas.len() && row.isr.len() > 1)
        });
        in_sync && self.nodes.iter().all(|node| voters(node).is_some())
    }

    /// A node's process: lives until it is killed.
    pub async fn serve(self, node: Node) -> turmoil::Result {
        let local = tokio::task::LocalSet::new();
        let run = async move {
            // Who asked the process before this one to stop, and was not heard, did not ask this one.
            tokio::select! {
                biased;
                () = node.stop.notified() => {}
                () = std::future::ready(()) => {}
            }
            match self.start(&node).await {
                Ok(broker) => {
                    *node.running.borrow_mut() = Some(broker.shared().clone());
                    node.stop.notified().await;
                    node.running.borrow_mut().take();
                    // What a stop could not write is lost like what a crash loses.
                    let stopped = broker.shutdown().await;
                    self.journal.note(node.name, format_args!("stopped: {}", stopped.is_ok()));
                }
                // A write torn while it starts kills the process; anything else is a defect.
                Err(error) if node.disk.is_dead() => self.journal.note(node.name, error),
                Err(error) => panic!("{} did not start: {error}", node.name),
            }
            std::future::pending::<turmoil::Result>().await
        };
        local.run_until(run).await
    }

    async fn start(&self, node: &Node) -> Result<Broker, firnline::broker::start_error::StartError> {
        let voters: Vec<String> =
            self.nodes.iter().map(|node| format!("{}@{}:{CONTROLLER_PORT}", node.id, node.name)).collect();
        let set = [
            format!("node.id={}", node.id),
            "process.roles=broker,controller".to_owned(),
            format!("controller.quorum.voters={}", voters.join(",")),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            format!("listeners=PLAINTEXT://0.0.0.0:{PORT},CONTROLLER://0.0.0.0:{CONTROLLER_PORT}"),
            format!("advertised.listeners=PLAINTEXT://{}:{PORT}", node.name),
            "log.dirs=/data".to_owned(),
            "min.insync.replicas=2".to_owned(),
            "replica.lag.time.max.ms=3000".to_owned(),
            "log.retention.check.interval.ms=1000".to_owned(),
            "remote.log.storage.system.enable=true".to_owned(),
            "remote.log.manager.task.interval.ms=1000".to_owned(),
            "firn.remote.url=file:///bucket".to_owned(),
            "firn.cache.disk.bytes=0".to_owned(),
            format!("firn.durability={}", if self.promise == Promise::Disk { "disk" } else { "cache" }),
        ];
        let loaded =
            load(&Places { set: set.to_vec(), ..Places::default() }).expect("settings of the scenario");
        let start = build(loaded.settings, false).expect("a configuration of the scenario");
        let bucket = Arc::new(self.bucket.clone());
        let store = Store::over(bucket, "simulated", "", StoreLimits::default(), node.entropy.clone());
        let doors = Doors {
            files: node.disk.door(),
            clock: node.clock.clone(),
            entropy: node.entropy.clone(),
            net: Arc::new(SimNet(self.journal.clone())),
            bucket: Some(store),
            boot: Some(Uuid::from_u64_pair(node.id.unsigned_abs().into(), node.boots.get())),
            single_threaded: true,
        };
        Broker::start(start.config, doors).await
    }
}

impl Node {
    /// Which of its disks it has: a replica on another is another one.
    pub fn disks(&self) -> u64 {
        self.disks.get()
    }

    /// Asks the process to stop: its leaders are moved away first.
    pub fn ask_to_stop(&self) {
        self.stop.notify_one();
    }

    /// What the running process shares; `None` while it starts, stops or is gone.
    pub fn shared(&self) -> Option<Arc<Shared>> {
        self.running.borrow().clone()
    }
}
