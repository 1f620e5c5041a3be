//! Nodes that are controllers or brokers and not both, in this process, formatted by the command that operators use.
//! It asserts nothing but that they start. Invariant: a node that comes back has its ports and its directory again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use firnline::broker::doors::Doors;
use firnline::broker::lifecycle::Broker;
use firnline::broker::start_error::StartError;
use firnline::cli::arguments::{FirstControllers, Source, Storage};
use firnline::cli::storage::run::run;
use firnline::config::load::{Places, load};
use firnline::config::start::build;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::broker::Client;
use super::nodes::CLUSTER_ID;
use super::wire_client::WireClient;

/// What formatting says about the first controllers.
pub fn first(list: Option<&str>, none: bool) -> FirstControllers {
    let initial_controllers = list.map(str::to_owned);
    FirstControllers { standalone: false, no_initial_controllers: none, initial_controllers }
}

/// Controllers by the ids 1 to 9, brokers by the ids from 10 on.
pub struct Split {
    dir: TempDir,
    ports: BTreeMap<i32, u16>,
    controllers: Vec<i32>,
    running: BTreeMap<i32, Broker>,
}

impl Split {
    /// Nobody runs; `controllers` are those that others ask for the quorum.
    pub fn of(controllers: &[i32], others: &[i32]) -> Split {
        let held: Vec<_> = controllers
            .iter()
            .chain(others)
            .map(|id| (*id, std::net::TcpListener::bind("127.0.0.1:0").expect("a port")))
            .collect();
        let port = |held: &std::net::TcpListener| held.local_addr().expect("bound").port();
        let ports = held.iter().map(|(id, held)| (*id, port(held))).collect();
        let dir = tempfile::tempdir().expect("a directory");
        Split { dir, ports, controllers: controllers.to_vec(), running: BTreeMap::new() }
    }

    /// Where a node listens.
    pub fn address(&self, id: i32) -> String {
        format!("127.0.0.1:{}", self.ports[&id])
    }

    pub fn port(&self, id: i32) -> u16 {
        self.ports[&id]
    }

    pub fn data_dir(&self, id: i32) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    fn settings(&self, id: i32) -> Vec<String> {
        let servers: Vec<String> = self.controllers.iter().map(|id| self.address(*id)).collect();
        let role = if id < 10 { ("controller", "CONTROLLER") } else { ("broker", "PLAINTEXT") };
        vec![
            format!("node.id={id}"),
            format!("process.roles={}", role.0),
            format!("listeners={}://{}", role.1, self.address(id)),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            format!("controller.quorum.bootstrap.servers={}", servers.join(",")),
            format!("log.dirs={}", self.data_dir(id).display()),
            "firn.cores=1".to_owned(),
        ]
    }

    /// `firn storage format`; what it said.
    pub async fn format(&self, id: i32, first: FirstControllers) -> Result<String, String> {
        let command = Storage::Format {
            source: Source { config: None, set: self.settings(id) },
            cluster_id: Some(CLUSTER_ID.to_owned()),
            first,
            ignore_formatted: false,
        };
        run(&command).await.map_err(|refused| refused.to_string())
    }

    /// Starts a node with these settings over its own.
    pub async fn open(&self, id: i32, over: &[&str]) -> Result<Broker, StartError> {
        let mut set = self.settings(id);
        set.extend(over.iter().map(|each| (*each).to_owned()));
        let loaded = load(&Places { set, ..Places::default() }).expect("settings of a flow");
        let config = build(loaded.settings, false).expect("a configuration of a flow").config;
        Broker::start(config, Doors::real()).await
    }

    pub async fn start(&mut self, id: i32) {
        let started = self.open(id, &[]).await;
        self.running.insert(id, started.unwrap_or_else(|error| panic!("node {id}: {error}")));
    }

    pub async fn stop(&mut self, id: i32) {
        self.running.remove(&id).expect("it runs").shutdown().await.expect("a clean stop");
    }

    pub fn node(&self, id: i32) -> &Broker {
        &self.running[&id]
    }

    /// A new connection to a node.
    pub async fn client(&self, id: i32) -> Client {
        WireClient::new(TcpStream::connect(self.address(id)).await.expect("the port answers"))
    }
}
