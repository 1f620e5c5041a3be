//! Builds a broker floor by floor and hands back the running whole.
//! It holds no behaviour of its own. Invariant: nothing is served before everything beneath it stands, and a start that
//! fails leaves nothing running.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use firnline_controller::client::{Controller, ControllerConfig};
use firnline_controller::decide::brokers::BrokerRegistration;
use firnline_controller::id::{BrokerEpoch, BrokerId};
use firnline_controller::record::kinds::Endpoint as ClusterEndpoint;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::context::{ServedListener, Shared};
use crate::api::counters::Counters;
use crate::api::data::fetch_session::FetchSessions;
use crate::api::said_once::SaidOnce;
use crate::broker::assignment::{Assignment, Parts};
use crate::broker::cleaner::CleanerDuty;
use crate::broker::disk;
use crate::broker::doors::{Doors, Runtimes};
use crate::broker::durability;
use crate::broker::housekeeping;
use crate::broker::lifecycle::{Broker, Running};
use crate::broker::limits;
use crate::broker::policy::policy;
use crate::broker::storage::{QUORUM_LOG, Storage, StorageError, cluster_of};
use crate::broker::tier_commit::QuorumCommit;
use crate::broker::tiers::{Tiers, TiersError};
use crate::config::broker::{BrokerConfig, Quorum};
use crate::config::listener::Endpoint;
use crate::coordinator::group::coordinator::{GroupCoordinator, Parts as GroupParts};
use crate::metadata::producer_ids::ProducerIds;
use crate::partition::cold_lane::ColdLane;
use crate::partition::hosted::HostedPartitions;
use crate::purgatory::delayed::WakeBoard;
use crate::server::cores::{CoreError, CoreSetup, Cores};
use crate::server::listener::{Doorman, accept};
use crate::transport::net::{ListenOptions, Listener};

/// Why a broker did not start. Nothing of it runs any more.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Log directories.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The bucket's settings.
    #[error(transparent)]
    Tiers(#[from] TiersError),
    /// The metadata quorum.
    #[error("the metadata quorum did not start: {0}")]
    Quorum(#[from] firnline_controller::error::StartError),
    /// The quorum did not take this broker.
    #[error("the broker could not register: {0}")]
    Register(#[from] firnline_controller::error::RegisterError),
    /// A quorum that this build cannot take part in.
    #[error(
        "a quorum of several nodes cannot be joined yet: start this node with process.roles=broker,controller and without other voters"
    )]
    OthersInQuorum,
    /// A port.
    #[error("listener {listener} cannot listen on {address}: {source}{}", hint(.source))]
    Listen {
        /// Its name.
        listener: String,
        /// As configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A serving core.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A runtime, or a task on one.
    #[error("a runtime did not start: {0}")]
    Runtime(#[from] io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process uses this port: stop it, or change `listeners`)",
        _ => "",
    }
}

/// A socket that is bound and not served yet.
type Bound = (Box<dyn Listener>, Arc<ServedListener>);

impl Broker {
    /// Starts a broker; it serves when this answers. Call it on a multi-threaded or current-thread runtime alike; with
    /// simulated doors inside a `LocalSet`.
    pub async fn start(config: BrokerConfig, doors: Doors) -> Result<Broker, StartError> {
        refuse_others(&config)?;
        let runtimes = Runtimes::start(doors.single_threaded)?;
        match assemble(Arc::new(config), doors, &runtimes).await {
            Ok(running) => Ok(Broker::new(running, runtimes)),
            Err(error) => {
                runtimes.stop();
                Err(error)
            }
        }
    }
}

async fn assemble(
    config: Arc<BrokerConfig>,
    doors: Doors,
    runtimes: &Runtimes,
) -> Result<Running, StartError> {
    limits::divide_descriptors(&*doors.files);
    let cluster_id: Arc<str> = cluster_of(&config, &doors)?.into();
    let storage = Arc::new(Storage::open(&config, &cluster_id, &doors)?);
    disk::watch(&storage, &config.log);
    let bound = bind_all(&config, &doors).await?;
    let listeners: Vec<_> = bound.iter().map(|(_, served)| served.clone()).collect();
    let controller = start_controller(&config, &cluster_id, &doors, runtimes).await?;
    let broker_epoch = register(&config, &cluster_id, &doors, &controller, &listeners).await?;
    let commit = QuorumCommit::start(controller.clone(), &runtimes.quorum);
    let tiers = Tiers::open(&config, &cluster_id, &doors, commit.clone(), runtimes)?;
    look_at_bucket(tiers.as_ref().filter(|_| doors.bucket.is_none()), runtimes);
    let board = WakeBoard::new(doors.core_mode(config.network.cores).count());
    let hosted: Arc<HostedPartitions> = Arc::default();
    let (mut assignment, assigned) = Assignment::new(Parts {
        node: BrokerId(config.node_id),
        settings: config.settings.clone(),
        storage: storage.clone(),
        hosted: hosted.clone(),
        board: board.clone(),
        cold: tiers.as_ref().map(|tiers| tiers.access.clone()),
    });
    assignment.settle_strays(&controller.image())?;
    assignment.act(controller.image()).await;
    let lane = lane_on(&runtimes.cold, config.network.cold_memory_bytes, runtimes);
    let groups = GroupCoordinator::new(GroupParts {
        config: config.clone(),
        hosted: hosted.clone(),
        board: board.clone(),
        lane: lane.clone(),
        clock: doors.clock.clone(),
        entropy: doors.entropy.clone(),
    });
    let shared = Arc::new(Shared {
        groups,
        sessions: FetchSessions::new(config.network.fetch_sessions_max, doors.entropy.clone()),
        cold: tiers.as_ref().map(|tiers| tiers.access.clone()),
        lane,
        counters: Arc::new(Counters::default()),
        cleaner: Arc::default(),
        clock: doors.clock.clone(),
        entropy: doors.entropy.clone(),
        tiers: commit,
        directories: storage.seen(),
        producer_ids: ProducerIds::default(),
        transactions_refused: SaidOnce::default(),
        config,
        cluster_id,
        controller,
        hosted,
        board,
        assigned,
        listeners,
    });
    let cores = start_cores(&shared, &doors)?;
    let stop = CancellationToken::new();
    let accepting = start_accepting(&shared, &cores, bound, &stop, runtimes);
    let rounds = durability::start(&shared, &storage, runtimes);
    let (tell_lost, lost) = watch::channel(None);
    let mut chores =
        housekeeping::start(&shared, &storage, tiers.as_ref(), &stop, &runtimes.chores, tell_lost);
    chores.extend(start_cleaner(&shared, &storage, &stop, runtimes));
    let mut following = start_following(&shared, assignment, runtimes);
    following.extend(rounds);
    Ok(Running { shared, storage, tiers, cores, stop, accepting, chores, following, broker_epoch, lost })
}

fn refuse_others(config: &BrokerConfig) -> Result<(), StartError> {
    let others = |quorum: &Quorum| {
        !quorum.bootstrap.is_empty() || quorum.voters.iter().any(|voter| voter.id != config.node_id)
    };
    match config.roles.broker && !config.quorum.as_ref().is_some_and(others) {
        true => Ok(()),
        false => Err(StartError::OthersInQuorum),
    }
}

/// A lane of its own on the blocking threads of `handle`; inline in a simulation.
fn lane_on(handle: &Handle, memory: usize, runtimes: &Runtimes) -> Arc<ColdLane> {
    ColdLane::new((!runtimes.single_threaded).then(|| handle.clone()), memory)
}

/// Finds out beside the start what the bucket can do.
fn look_at_bucket(tiers: Option<&Arc<Tiers>>, runtimes: &Runtimes) {
    if let Some(tiers) = tiers.cloned() {
        runtimes.cold.spawn(async move { tiers.look_at_bucket().await });
    }
}

/// The cleaner, unless it is switched off.
fn start_cleaner(
    shared: &Arc<Shared>,
    storage: &Arc<Storage>,
    stop: &CancellationToken,
    runtimes: &Runtimes,
) -> Option<JoinHandle<()>> {
    if shared.config.settings.flag("log.cleaner.enable") == Some(false) {
        tracing::warn!("log.cleaner.enable=false: compacted topics keep every record");
        return None;
    }
    // A lane of its own, so that a cleaning takes no place from readers of cold local files.
    // It reads through the cleaner's own buffers: its budget for what consumers wait for is the least there is.
    let lane = lane_on(&runtimes.chores, 0, runtimes);
    let duty = CleanerDuty::new(shared.clone(), storage.clone(), lane);
    Some(runtimes.chores.spawn(duty.run(stop.clone())))
}

fn start_cores(shared: &Arc<Shared>, doors: &Doors) -> Result<Arc<Cores>, CoreError> {
    let network = &shared.config.network;
    let setup = CoreSetup {
        board: shared.board.clone(),
        idle: network.connections_idle_ms_max.map(Duration::from_millis),
        lane: shared.lane.clone(),
        cold: shared.cold.clone(),
    };
    Ok(Arc::new(Cores::start(doors.core_mode(network.cores), &setup)?))
}

fn start_accepting(
    shared: &Arc<Shared>,
    cores: &Arc<Cores>,
    bound: Vec<Bound>,
    stop: &CancellationToken,
    runtimes: &Runtimes,
) -> Vec<JoinHandle<()>> {
    let doorman = Doorman::new(&shared.config.network, shared.counters.clone());
    let start = |(socket, served)| {
        let (shared, cores) = (shared.clone(), Arc::downgrade(cores));
        runtimes.quorum.spawn(accept(socket, served, shared, cores, doorman.clone(), stop.clone()))
    };
    bound.into_iter().map(start).collect()
}

/// What follows the metadata: the partitions first, then the groups that live in some of them.
fn start_following(shared: &Arc<Shared>, assignment: Assignment, runtimes: &Runtimes) -> Vec<JoinHandle<()>> {
    let (images, groups) = (shared.controller.watch(), &shared.groups);
    vec![
        runtimes.quorum.spawn(groups.clone().follow(images.clone(), shared.assigned.clone())),
        runtimes.quorum.spawn(groups.clone().run()),
        runtimes.chores.spawn(assignment.follow(images)),
    ]
}

async fn start_controller(
    config: &BrokerConfig,
    cluster_id: &str,
    doors: &Doors,
    runtimes: &Runtimes,
) -> Result<Controller, StartError> {
    let start = ControllerConfig {
        node_id: BrokerId(config.node_id),
        cluster_id: cluster_id.to_owned(),
        dir: config.log_dirs[0].join(format!("{QUORUM_LOG}-0")),
        files: doors.files.clone(),
        clock: doors.clock.clone(),
        entropy: doors.entropy.clone(),
        snapshot_every_records: SNAPSHOT_EVERY_RECORDS,
        policy: policy(config),
    };
    Ok(Runtimes::on(&runtimes.quorum, Controller::start(start)).await??)
}

/// Metadata records between two snapshots.
const SNAPSHOT_EVERY_RECORDS: u64 = 10_000;

async fn register(
    config: &BrokerConfig,
    cluster_id: &str,
    doors: &Doors,
    controller: &Controller,
    listeners: &[Arc<ServedListener>],
) -> Result<BrokerEpoch, StartError> {
    let endpoints = listeners.iter().map(|served| ClusterEndpoint {
        listener: served.name.clone(),
        host: served.advertised_host.clone(),
        port: served.advertised_port,
        protocol: PLAINTEXT,
    });
    let registration = BrokerRegistration {
        id: BrokerId(config.node_id),
        cluster_id: cluster_id.to_owned(),
        incarnation: doors.entropy.uuid(),
        endpoints: endpoints.collect(),
        rack: config.rack.clone(),
        ..BrokerRegistration::default()
    };
    Ok(controller.register_broker(registration).await?)
}

/// Kafka's number of the only security protocol there is so far.
const PLAINTEXT: i16 = 0;

/// Binds every listener before anything else starts: a taken port is the most common reason not to.
async fn bind_all(config: &BrokerConfig, doors: &Doors) -> Result<Vec<Bound>, StartError> {
    let options = ListenOptions {
        backlog: config.network.listen_backlog,
        send_buffer: config.network.send_buffer_bytes,
        receive_buffer: config.network.receive_buffer_bytes,
    };
    let mut all = Vec::with_capacity(config.listeners.len());
    for endpoint in &config.listeners {
        let failed = |source| StartError::Listen {
            listener: endpoint.name.clone(),
            address: endpoint.socket_address(),
            source,
        };
        let address = resolve(endpoint, doors).await.map_err(failed)?;
        let socket = doors.net.listen(address, &options).await.map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        let advertised = config.advertised.iter().find(|advertised| advertised.name == endpoint.name);
        let advertised = advertised.unwrap_or(endpoint);
        let served = ServedListener {
            name: endpoint.name.clone(),
            bound,
            advertised_host: advertised_host(advertised, bound),
            advertised_port: if advertised.port == 0 { bound.port() } else { advertised.port },
        };
        tracing::info!(listener = served.name, %bound, host = served.advertised_host, port = served.advertised_port, "listening");
        all.push((socket, Arc::new(served)));
    }
    Ok(all)
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
