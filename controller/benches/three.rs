//! Three members in one process, each on a runtime and in a directory of its own: prints commits per second and how
//! long the quorum stands still when its leader goes. Not a test: it asserts nothing about time.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a tool for people")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use firnline_controller::client::{Controller, ControllerConfig};
use firnline_controller::id::BrokerId;
use firnline_controller::quorum::plan::Plan;
use firnline_controller::transport::{Address, LineEnd, Transport, TransportError};
use firnline_tiering::hot::file::OsFiles;
use futures::future::BoxFuture;
use tokio::runtime::{Builder, Runtime};

type Nodes = Arc<Mutex<[Option<Controller>; 3]>>;

#[derive(Debug)]
struct Wire(Nodes);

impl Transport for Wire {
    fn call(
        &self,
        to: &Address,
        request: Bytes,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let node = self.0.lock().unwrap()[usize::from(to.port)].clone();
        Box::pin(async move {
            let Some(node) = node else { return Err(TransportError::Unreachable("gone".into())) };
            let answer = tokio::time::timeout(patience, node.answer_peer(request)).await;
            answer.map_err(|_| TransportError::Lost("late".into()))
        })
    }

    fn line(&self, to: &Address) -> BoxFuture<'static, LineEnd> {
        let (nodes, place) = (self.0.clone(), usize::from(to.port));
        Box::pin(async move {
            let there = || nodes.lock().unwrap()[place].is_some();
            if !there() {
                return LineEnd::Refused;
            }
            while there() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            LineEnd::Broken
        })
    }
}

fn at(place: usize) -> Address {
    Address { host: "here".into(), port: place as u16 }
}

fn start(place: usize, nodes: &Nodes, dir: &Path) -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let named = (0..3).map(|place| (BrokerId(place as i32), at(place)));
    let dir = dir.join(place.to_string());
    let config = ControllerConfig {
        plan: Plan::Voters(named.collect()),
        address: Some(at(place)),
        transport: Arc::new(Wire(nodes.clone())),
        ..ControllerConfig::alone(BrokerId(place as i32), "three".into(), dir, Arc::new(OsFiles))
    };
    let node = runtime.block_on(Controller::start(config)).unwrap();
    nodes.lock().unwrap()[place] = Some(node);
    runtime
}

fn leader(nodes: &Nodes) -> usize {
    loop {
        let leads = |node: &Option<Controller>| node.as_ref().is_some_and(|node| node.quorum().leads);
        if let Some(place) = nodes.lock().unwrap().iter().position(leads) {
            return place;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Commits of one asker after the other for a while, from a runtime of `askers` tasks.
fn commits(node: &Controller, askers: usize) -> f64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (begun, span) = (Instant::now(), Duration::from_secs(4));
    let done: usize = runtime.block_on(async {
        let asker = |_| async {
            let mut done = 0;
            while begun.elapsed() < span {
                done += usize::from(node.allocate_producer_ids().await.is_ok());
            }
            done
        };
        futures::future::join_all((0..askers).map(asker)).await.into_iter().sum()
    });
    done as f64 / begun.elapsed().as_secs_f64()
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let nodes: Nodes = Arc::default();
    let begun = Instant::now();
    let mut runtimes: Vec<Option<Runtime>> =
        (0..3).map(|place| Some(start(place, &nodes, folder.path()))).collect();
    leader(&nodes);
    println!("three empty members have a leader after {:?}", begun.elapsed());
    let place = leader(&nodes);
    let node = nodes.lock().unwrap()[place].clone().unwrap();
    println!(
        "commits per second: {:.0} one by one, {:.0} by 64 askers",
        commits(&node, 1),
        commits(&node, 64)
    );
    drop(node);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut stalls = Vec::new();
    for _ in 0..20 {
        let fell = leader(&nodes);
        let gone = nodes.lock().unwrap()[fell].take();
        let (begun, killed) = (Instant::now(), runtimes[fell].take().unwrap());
        killed.shutdown_background();
        drop(gone);
        let other = nodes.lock().unwrap()[(fell + 1) % 3].clone().unwrap();
        runtime.block_on(other.allocate_producer_ids()).unwrap();
        stalls.push(begun.elapsed());
        runtimes[fell] = Some(start(fell, &nodes, folder.path()));
        std::thread::sleep(Duration::from_millis(500));
    }
    stalls.sort();
    println!("kill to first commit, 20 times: median {:?}, longest {:?}", stalls[10], stalls[19]);
    runtimes.into_iter().flatten().for_each(Runtime::shutdown_background);
}
