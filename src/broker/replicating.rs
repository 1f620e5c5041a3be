//! Builds what replicates between brokers: the fetchers of partitions that others lead, and the keeper of the ISRs of
//! those led here. What they do is `replication`'s. Invariant: the fetchers stand before the first partition gets a role.

use std::sync::Arc;
use std::time::Duration;

use firnline_controller::client::Controller;
use firnline_controller::id::BrokerId;
use tokio::task::JoinHandle;

use crate::api::context::Shared;
use crate::broker::doors::{Doors, Runtimes};
use crate::broker::offline::OfflineReplicas;
use crate::broker::tiers::Tiers;
use crate::config::broker::BrokerConfig;
use crate::partition::cold_lane::ColdLane;
use crate::purgatory::delayed::WakeBoard;
use crate::replication::fetchers::Fetchers;
use crate::replication::isr_keeper::IsrKeeper;
use crate::replication::quorum_isr::QuorumIsr;
use crate::replication::quota::{Quotas, Windows};
use crate::replication::world::World;

/// The fetchers' doors to what the broker has already.
pub struct Reach<'a> {
    /// The quorum.
    pub controller: &'a Controller,
    /// Tells consumers.
    pub board: &'a Arc<WakeBoard>,
    /// Waits for disks.
    pub lane: &'a Arc<ColdLane>,
    /// The bucket.
    pub tiers: Option<&'a Tiers>,
    /// How fast throttled replicas may be copied.
    pub quotas: &'a Arc<Quotas>,
}

impl<'a> Reach<'a> {
    /// These doors.
    pub fn new(
        controller: &'a Controller,
        board: &'a Arc<WakeBoard>,
        lane: &'a Arc<ColdLane>,
        tiers: Option<&'a Tiers>,
        quotas: &'a Arc<Quotas>,
    ) -> Self {
        Reach { controller, board, lane, tiers, quotas }
    }
}

/// The limits of throttled replicas: none until the metadata is read.
pub fn quotas(config: &BrokerConfig) -> Arc<Quotas> {
    let windows = |count: &str, seconds: &str| {
        let number = |name: &str, least: u64| {
            config.settings.number(name).and_then(|it| u64::try_from(it).ok()).unwrap_or(least).max(1)
        };
        let count = u32::try_from(number(count, 11)).unwrap_or(u32::MAX);
        Windows { count, length: Duration::from_secs(number(seconds, 1)) }
    };
    Arc::new(Quotas::new(
        windows("replication.quota.window.num", "replication.quota.window.size.seconds"),
        windows(
            "alter.log.dirs.replication.quota.window.num",
            "alter.log.dirs.replication.quota.window.size.seconds",
        ),
    ))
}

/// The fetchers; nothing is fetched yet.
pub fn fetchers(
    config: &BrokerConfig,
    cluster_id: &Arc<str>,
    doors: &Doors,
    runtimes: &Runtimes,
    reach: &Reach<'_>,
) -> Arc<Fetchers> {
    let world = World {
        node: BrokerId(config.node_id),
        cluster_id: cluster_id.clone(),
        listener: config.inter_broker_listener.clone(),
        settings: config.cluster.clone(),
        controller: reach.controller.clone(),
        net: doors.net.clone(),
        board: reach.board.clone(),
        lane: reach.lane.clone(),
        cold: reach.tiers.map(|tiers| tiers.access.clone()),
        quotas: reach.quotas.clone(),
        clock: doors.clock.clone(),
    };
    Fetchers::new(world, runtimes.replication.clone())
}

/// Tells the quorum which replicas are on failed disks: once before this broker is unfenced, then whenever that
/// changes. A broker that nobody else can join has nobody to tell.
pub async fn start_offline(shared: &Arc<Shared>, runtimes: &Runtimes) -> Option<JoinHandle<()>> {
    if shared.config.quorum.is_none() || !shared.config.roles.broker {
        return None;
    }
    let mut offline = OfflineReplicas::new(shared.clone());
    offline.tell().await;
    Some(runtimes.replication.spawn(offline.run()))
}

/// The keeper of the ISRs of partitions led here.
pub fn start_keeper(shared: &Arc<Shared>, runtimes: &Runtimes) -> JoinHandle<()> {
    let node = BrokerId(shared.config.node_id);
    let keeper = IsrKeeper {
        node,
        hosted: shared.hosted.clone(),
        news: shared.isr.clone(),
        quorum: QuorumIsr::new(node, shared.controller.clone()),
        controller: shared.controller.clone(),
        board: shared.board.clone(),
        lag_max: Duration::from_millis(shared.config.cluster.lag_ms_max),
    };
    runtimes.replication.spawn(keeper.run())
}
