//! Three nodes of one contestant, each broker and controller, on loopback: started, asked, killed, stopped, brought
//! back. Both get the same words where they have a setting in common. Invariant: what was started here is ended here.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::contest::{Arena, ended_well, signal};
use crate::load::Contestant;
use crate::process::{Moment, wait_until};

/// Nodes; ids count from 1.
pub const NODES: usize = 3;
/// Settings of every node of both.
const SETTINGS: &[&str] = &[
    "auto.create.topics.enable=false",
    "default.replication.factor=3",
    "min.insync.replicas=2",
    "offsets.topic.replication.factor=3",
    "offsets.topic.num.partitions=1",
    "log.segment.delete.delay.ms=1000",
];
/// Kafka's own defaults are 9 s, 2 s, 2 s and 1 s; these are ours.
const HASTY: &[&str] = &[
    "broker.session.timeout.ms=1200",
    "broker.heartbeat.interval.ms=250",
    "controller.quorum.fetch.timeout.ms=750",
    "controller.quorum.election.timeout.ms=300",
];
/// Three machines' worth of heaps on one.
const HEAP: &str = "512M";
/// How long a cluster may take to serve, or to be whole again.
const PATIENCE: Duration = Duration::from_secs(180);
/// From the arena's first port to ours, and to Kafka's; controllers listen ten above.
const PORTS: [u16; 2] = [2, 6];

/// A running cluster.
#[derive(Debug)]
pub struct Trio {
    /// Whose.
    pub who: Contestant,
    arena: Arena,
    dir: PathBuf,
    hasty: bool,
    nodes: [Option<Child>; NODES],
}

/// A cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The active controller.
    pub controller: Option<usize>,
    /// Partitions each node leads.
    pub leads: [u64; NODES],
    /// All brokers live, every partition has a leader and all its copies.
    pub whole: bool,
}

impl Trio {
    /// Starts a cluster on empty directories and waits until it serves. `hasty`: Kafka with our timeouts.
    pub fn start(arena: &Arena, who: Contestant, hasty: bool) -> io::Result<Trio> {
        let dir = arena.dir.join(format!("{}-three", who.name()));
        let _ = std::fs::remove_dir_all(&dir);
        let mut trio = Trio { who, arena: arena.clone(), dir, hasty, nodes: [const { None }; NODES] };
        let id = match who {
            Contestant::Ours => trio.plain(&["storage", "random-uuid"])?,
            Contestant::Kafka => String::new(),
        };
        for node in 0..NODES {
            std::fs::create_dir_all(trio.dir_of(node))?;
            if who == Contestant::Ours {
                let file = trio.dir_of(node).join("firn.properties");
                std::fs::write(&file, trio.settings(node).join("\n") + "\n")?;
                let file = file.display().to_string();
                trio.plain(&["storage", "format", "--config", &file, "-t", id.trim()])?;
            }
        }
        (0..NODES).try_for_each(|node| trio.revive(node))?;
        trio.until_whole()?;
        Ok(trio)
    }

    /// Starts a node on the directory it had.
    pub fn revive(&mut self, node: usize) -> io::Result<()> {
        let dir = self.dir_of(node);
        let mut command = match self.who {
            Contestant::Ours => {
                let mut command = Command::new(self.arena.firn());
                command.args(["server", "--config"]).arg(dir.join("firn.properties"));
                command
            }
            Contestant::Kafka => {
                let mut command = Command::new(self.arena.kafka.join("start"));
                command.arg(&self.arena.home).arg(self.port(node).to_string()).arg(&dir);
                command.args(self.settings(node));
                if std::env::var_os("KAFKA_HEAP").is_none() {
                    command.env("KAFKA_HEAP", HEAP);
                }
                command
            }
        };
        let log = File::options().create(true).append(true).open(dir.join("broker.log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.nodes[node] = Some(child);
        Ok(())
    }

    fn settings(&self, node: usize) -> Vec<String> {
        let controller = |node: usize| self.port(node) + 10;
        let voters: Vec<String> =
            (0..NODES).map(|node| format!("{}@127.0.0.1:{}", node + 1, controller(node))).collect();
        let (port, id) = (self.port(node), node + 1);
        let mut lines = vec![
            format!("node.id={id}"),
            "process.roles=broker,controller".to_owned(),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{}", controller(node)),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        ];
        if self.who == Contestant::Ours {
            lines.push(format!("log.dirs={}", self.dir_of(node).join("log").display()));
            lines.extend(["firn.metrics.listener=", "firn.admin.listener="].map(str::to_owned));
        }
        lines.extend(SETTINGS.iter().map(|setting| (*setting).to_owned()));
        if self.hasty && self.who == Contestant::Kafka {
            lines.extend(HASTY.iter().map(|setting| (*setting).to_owned()));
        }
        lines
    }

    fn dir_of(&self, node: usize) -> PathBuf {
        self.dir.join((node + 1).to_string())
    }

    fn port(&self, node: usize) -> u16 {
        let base = PORTS[usize::from(self.who == Contestant::Kafka)];
        // Three nodes: it fits.
        self.arena.port + base + node as u16
    }

    /// Every node's address.
    pub fn bootstrap(&self) -> String {
        let all: Vec<String> = (0..NODES).map(|node| format!("127.0.0.1:{}", self.port(node))).collect();
        all.join(",")
    }

    fn plain(&self, words: &[&str]) -> io::Result<String> {
        let output = Command::new(self.arena.firn()).args(words).output();
        ended_well(&format!("firn {}", words.join(" ")), output)
    }

    /// Runs a command of firn against the cluster; answers what it printed.
    pub fn firn(&self, words: &[&str]) -> io::Result<String> {
        let bootstrap = self.bootstrap();
        let words: Vec<&str> = words.iter().copied().chain(["--bootstrap-server", &bootstrap]).collect();
        self.plain(&words)
    }

    /// A command of firn that runs beside.
    pub fn beside(&self, words: &[&str]) -> io::Result<Child> {
        let mut command = Command::new(self.arena.firn());
        command.args(words).args(["--bootstrap-server", &self.bootstrap()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    /// Creates a topic of three copies and waits until all are in sync.
    pub fn create(&self, topic: &str, partitions: u32) -> io::Result<()> {
        self.firn(&["topic", "create", topic, "-p", &partitions.to_string(), "-r", "3"])?;
        self.until_whole().map(drop)
    }

    /// The cluster as any of its nodes tells it.
    pub fn state(&self) -> io::Result<State> {
        let told: Value = serde_json::from_str(&self.firn(&["cluster", "status", "-o", "json"])?)
            .map_err(io::Error::other)?;
        Ok(read(&told))
    }

    /// Waits until nothing is missing.
    pub fn until_whole(&self) -> io::Result<State> {
        let mut seen = State::default();
        let whole = wait_until(PATIENCE, || {
            seen = self.state().unwrap_or_default();
            seen.whole
        });
        let log = self.dir.display();
        whole.then_some(seen).ok_or_else(|| {
            io::Error::other(format!("three nodes of {} are not whole; see {log}", self.who.name()))
        })
    }

    /// Sends a node's process a signal.
    pub fn signal(&mut self, node: usize, name: &str) -> io::Result<()> {
        let Some(child) = &mut self.nodes[node] else { return Ok(()) };
        signal(child.id(), name)?;
        if name == "KILL" {
            child.wait()?;
            self.nodes[node] = None;
        }
        Ok(())
    }

    /// What all its processes used so far.
    pub fn moment(&self) -> io::Result<Moment> {
        let mut all = Moment::default();
        for child in self.nodes.iter().flatten() {
            let one = Moment::of(child.id())?;
            all.user += one.user;
            all.system += one.system;
            all.resident += one.resident;
            all.anonymous += one.anonymous;
            all.sleeps += one.sleeps;
            all.from_disk += one.from_disk;
        }
        Ok(all)
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        for mut child in self.nodes.iter_mut().filter_map(Option::take) {
            // It may have ended by itself; a stopped one dies too.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn read(told: &Value) -> State {
    let node = |id: usize| id.checked_sub(1).filter(|node| *node < NODES);
    let none = |name: &str| told[name].as_array().is_some_and(Vec::is_empty);
    let mut leads = [0; NODES];
    for (place, leads) in leads.iter_mut().enumerate() {
        *leads = told["shares"][(place + 1).to_string()]["leads"].as_u64().unwrap_or_default();
    }
    let nodes = told["cluster"]["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let live = nodes.iter().filter(|node| node["fenced"] == false).count();
    let controller = told["cluster"]["controller"].as_u64().and_then(|id| node(usize::try_from(id).ok()?));
    let whole = live == NODES && none("without_leader") && none("under_replicated") && controller.is_some();
    State { controller, leads, whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_from_what_firn_says() {
        let node = |fenced| serde_json::json!({ "fenced": fenced });
        let mut told = serde_json::json!({
            "cluster": { "controller": 2, "nodes": [node(false), node(false), node(false)] },
            "shares": { "1": { "leads": 34 }, "2": { "leads": 33 }, "3": { "leads": 33 } },
            "without_leader": [], "under_replicated": [],
        });
        assert_eq!(read(&told), State { controller: Some(1), leads: [34, 33, 33], whole: true });
        told["under_replicated"] = serde_json::json!(["t-0"]);
        assert!(!read(&told).whole);
        assert_eq!(read(&Value::Null), State::default());
    }
}
