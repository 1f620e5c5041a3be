//! Builds a broker floor by floor and hands back the running whole.
//! It holds no behaviour of its own. Invariant: nothing is served before everything beneath it stands, and a start that
//! fails leaves nothing running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firnline_controller::client::{Controller, ControllerConfig};
use firnline_controller::id::BrokerId;
use firnline_controller::quorum::plan::Plan;
use firnline_controller::transport::Address;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::context::{ServedListener, Shared};
use crate::api::counters::Counters;
use crate::api::data::fetch_session::FetchSessions;
use crate::api::said_once::SaidOnce;
use crate::broker::arrival::register;
use crate::broker::assignment::{Assignment, Parts};
use crate::broker::cleaner::CleanerDuty;
use crate::broker::disk;
use crate::broker::doors::{Doors, Runtimes};
use crate::broker::durability;
use crate::broker::housekeeping;
use crate::broker::lifecycle::{Broker, Running};
use crate::broker::limits;
use crate::broker::log_mover::{Exchange, LogMover};
use crate::broker::policy::policy;
use crate::broker::replicating::{Reach, fetchers, quotas, start_keeper, start_offline};
use crate::broker::sockets::{Bound, bind_all};
use crate::broker::start_error::StartError;
use crate::broker::storage::{QUORUM_LOG, Storage, cluster_of};
use crate::broker::tier_commit::QuorumCommit;
use crate::broker::tiers::Tiers;
use crate::config::broker::{BrokerConfig, Voter};
use crate::coordinator::group::coordinator::{GroupCoordinator, Parts as GroupParts};
use crate::metadata::producer_ids::ProducerIds;
use crate::partition::cold_lane::ColdLane;
use crate::partition::hosted::HostedPartitions;
use crate::purgatory::delayed::WakeBoard;
use crate::replication::fetchers::Fetchers;
use crate::server::cores::{CoreError, CoreSetup, Cores};
use crate::server::listener::{Doorman, accept};
use crate::transport::nodes::Nodes;

impl Broker {
    /// Starts a broker; it serves when this answers. Call it on a multi-threaded or current-thread runtime alike; with
    /// simulated doors inside a `LocalSet`.
    pub async fn start(config: BrokerConfig, doors: Doors) -> Result<Broker, StartError> {
        let simulated = doors.single_threaded.then(|| doors.files.clone());
        let runtimes = Runtimes::start(simulated, config.quorum.is_some())?;
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
    let controller = start_controller(&config, &storage, &cluster_id, &doors, &listeners, runtimes).await?;
    let commit = QuorumCommit::start(controller.clone(), &runtimes.quorum);
    let tiers = Tiers::open(&config, &cluster_id, &doors, commit.clone(), runtimes)?;
    look_at_bucket(tiers.as_ref().filter(|_| doors.bucket.is_none()), runtimes);
    let board = WakeBoard::new(letter_boxes(&config, &doors));
    let hosted: Arc<HostedPartitions> = Arc::default();
    let lane = lane_on(&runtimes.cold, config.network.cold_memory_bytes, runtimes);
    let quotas = quotas(&config);
    let reach = Reach::new(&controller, &board, &lane, tiers.as_deref(), &quotas);
    let fetchers = fetchers(&config, &cluster_id, &doors, runtimes, &reach);
    let (parts, exchanges) = assigned_parts(&config, &storage, &hosted, &fetchers, &reach);
    let (mut assignment, assigned) = Assignment::new(parts);
    let groups = GroupCoordinator::new(group_parts(&config, &doors, &hosted, &board, &lane));
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
        isr: Arc::default(),
        quotas,
        moves: storage.moves.clone(),
        followers_refused: SaidOnce::default(),
        transactions_refused: SaidOnce::default(),
        config,
        cluster_id,
        controller,
        hosted,
        board,
        assigned,
        serving: AtomicBool::new(false),
        listeners,
    });
    let cores = start_cores(&shared, &doors)?;
    let stop = CancellationToken::new();
    let gate = Gate::new(&shared, &cores, &stop);
    // Other nodes first: the quorum has to find together before it takes a registration.
    let (nodes, clients): (Vec<_>, Vec<_>) =
        bound.into_iter().partition(|(_, served)| served.audience.has_nodes());
    let mut accepting = gate.open(nodes, &runtimes.peers);
    let life = register(&shared, &storage, &doors, runtimes).await?;
    assignment.settle_strays(&shared.controller.image())?;
    assignment.act(shared.controller.image()).await;
    let offline = start_offline(&shared, runtimes).await;
    shared.serving.store(true, Ordering::Release);
    accepting.extend(gate.open(clients, &runtimes.quorum));
    let joined = life.begin(runtimes);
    let rounds = durability::start(&shared, &storage, runtimes);
    let (chores, lost) = start_chores(&shared, &storage, tiers.as_ref(), &stop, runtimes, exchanges);
    let mut following = start_following(&shared, assignment, runtimes);
    following.extend(rounds.into_iter().chain(offline));
    Ok(Running { shared, storage, tiers, cores, stop, accepting, chores, following, fetchers, joined, lost })
}

fn assigned_parts(
    config: &BrokerConfig,
    storage: &Arc<Storage>,
    hosted: &Arc<HostedPartitions>,
    fetchers: &Arc<Fetchers>,
    reach: &Reach<'_>,
) -> (Parts, mpsc::Sender<Exchange>) {
    let (exchanges, to_exchange) = mpsc::channel(1);
    let parts = Parts {
        node: BrokerId(config.node_id),
        settings: config.settings.clone(),
        storage: storage.clone(),
        hosted: hosted.clone(),
        board: reach.board.clone(),
        cold: reach.tiers.map(|tiers| tiers.access.clone()),
        fetchers: fetchers.clone(),
        quotas: reach.quotas.clone(),
        lag_max: Duration::from_millis(config.cluster.lag_ms_max),
        exchanges: to_exchange,
    };
    (parts, exchanges)
}

/// What runs beside serving: housekeeping, the cleaner, moves between log directories. And what tells that the disks
/// leave nothing to go on with.
fn start_chores(
    shared: &Arc<Shared>,
    storage: &Arc<Storage>,
    tiers: Option<&Arc<Tiers>>,
    stop: &CancellationToken,
    runtimes: &Runtimes,
    exchanges: mpsc::Sender<Exchange>,
) -> (Vec<JoinHandle<()>>, watch::Receiver<Option<String>>) {
    let (tell_lost, lost) = watch::channel(None);
    let mut chores = housekeeping::start(shared, storage, tiers, stop, &runtimes.chores, tell_lost);
    chores.extend(start_cleaner(shared, storage, stop, runtimes));
    let mover = LogMover::new(shared.clone(), storage.clone(), exchanges);
    chores.push(runtimes.chores.spawn(mover.run(stop.clone())));
    (chores, lost)
}

fn group_parts(
    config: &Arc<BrokerConfig>,
    doors: &Doors,
    hosted: &Arc<HostedPartitions>,
    board: &Arc<WakeBoard>,
    lane: &Arc<ColdLane>,
) -> GroupParts {
    GroupParts {
        config: config.clone(),
        hosted: hosted.clone(),
        board: board.clone(),
        lane: lane.clone(),
        clock: doors.clock.clone(),
        entropy: doors.entropy.clone(),
    }
}

/// A lane of its own on the blocking threads of `handle`; inline in a simulation.
fn lane_on(handle: &Handle, memory: usize, runtimes: &Runtimes) -> Arc<ColdLane> {
    match &runtimes.simulated {
        Some(files) => ColdLane::simulated(files.clone(), memory),
        None => ColdLane::new(Some(handle.clone()), memory),
    }
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

/// One for each serving core, and one for the core of other nodes where there may be any.
fn letter_boxes(config: &BrokerConfig, doors: &Doors) -> usize {
    doors.core_mode(config.network.cores).count() + usize::from(config.quorum.is_some())
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

/// Opens listeners to those outside.
struct Gate<'a> {
    shared: &'a Arc<Shared>,
    cores: &'a Arc<Cores>,
    stop: &'a CancellationToken,
    doorman: Arc<Doorman>,
}

impl<'a> Gate<'a> {
    fn new(shared: &'a Arc<Shared>, cores: &'a Arc<Cores>, stop: &'a CancellationToken) -> Self {
        let doorman = Doorman::new(&shared.config.network, shared.counters.clone());
        Gate { shared, cores, stop, doorman }
    }

    fn open(&self, bound: Vec<Bound>, on: &Handle) -> Vec<JoinHandle<()>> {
        let start = |(socket, served)| {
            let (shared, cores) = (self.shared.clone(), Arc::downgrade(self.cores));
            on.spawn(accept(socket, served, shared, cores, self.doorman.clone(), self.stop.clone()))
        };
        bound.into_iter().map(start).collect()
    }
}

/// What follows the metadata: the partitions first, then the groups that live in some of them.
fn start_following(shared: &Arc<Shared>, assignment: Assignment, runtimes: &Runtimes) -> Vec<JoinHandle<()>> {
    let (images, groups) = (shared.controller.watch(), &shared.groups);
    vec![
        runtimes.quorum.spawn(groups.clone().follow(images.clone(), shared.assigned.clone())),
        runtimes.quorum.spawn(groups.clone().run()),
        runtimes.chores.spawn(assignment.follow(images)),
        start_keeper(shared, runtimes),
    ]
}

async fn start_controller(
    config: &BrokerConfig,
    storage: &Storage,
    cluster_id: &str,
    doors: &Doors,
    listeners: &[Arc<ServedListener>],
    runtimes: &Runtimes,
) -> Result<Controller, StartError> {
    let address = listeners
        .iter()
        .find(|served| served.audience.has_nodes())
        .map(|served| Address { host: served.advertised_host.clone(), port: served.advertised_port });
    let start = ControllerConfig {
        node_id: BrokerId(config.node_id),
        cluster_id: cluster_id.to_owned(),
        dir: config.log_dirs[0].join(format!("{QUORUM_LOG}-0")),
        directory: storage.dirs().first().map_or(Uuid::nil(), |dir| dir.directory.identity().directory_id),
        files: doors.files.clone(),
        clock: doors.clock.clone(),
        entropy: doors.entropy.clone(),
        snapshot_every_records: SNAPSHOT_EVERY_RECORDS,
        policy: policy(config),
        plan: plan(config),
        address,
        transport: Arc::new(Nodes::new(doors.net.clone(), runtimes.peers.clone(), config.node_id)),
    };
    Ok(Runtimes::on(&runtimes.quorum, Controller::start(start)).await??)
}

/// How this node finds its quorum.
fn plan(config: &BrokerConfig) -> Plan {
    let Some(quorum) = &config.quorum else { return Plan::Alone };
    let address = |host: &str, port| Address { host: host.to_owned(), port };
    if !quorum.voters.is_empty() {
        let voter = |voter: &Voter| (BrokerId(voter.id), address(&voter.host, voter.port));
        return Plan::Voters(quorum.voters.iter().map(voter).collect());
    }
    match quorum.bootstrap.is_empty() {
        true => Plan::Alone,
        false => Plan::Join(quorum.bootstrap.iter().map(|(host, port)| address(host, *port)).collect()),
    }
}

/// Metadata records between two snapshots.
const SNAPSHOT_EVERY_RECORDS: u64 = 10_000;
