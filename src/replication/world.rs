//! What fetchers work with: this broker's place in the cluster, and its doors.
//! It does nothing. Invariant: it is built once, before the first partition follows anybody.

use std::sync::Arc;

use firnline_controller::client::Controller;
use firnline_controller::id::BrokerId;
use firnline_tiering::clock::Clock;

use crate::config::broker::Cluster;
use crate::partition::cold_desk::ColdAccess;
use crate::partition::cold_lane::ColdLane;
use crate::purgatory::delayed::WakeBoard;
use crate::replication::quota::Quotas;
use crate::transport::net::Net;

/// What fetchers work with.
pub struct World {
    /// This broker.
    pub node: BrokerId,
    /// The cluster it belongs to.
    pub cluster_id: Arc<str>,
    /// The listener that brokers use among themselves.
    pub listener: String,
    /// How much is fetched, and how long is waited.
    pub settings: Cluster,
    /// Where brokers are found.
    pub controller: Controller,
    /// The network.
    pub net: Arc<dyn Net>,
    /// Tells consumers of this broker what is committed.
    pub board: Arc<WakeBoard>,
    /// Where work waits for disks.
    pub lane: Arc<ColdLane>,
    /// The bucket.
    pub cold: Option<Arc<ColdAccess>>,
    /// How fast throttled replicas may be copied.
    pub quotas: Arc<Quotas>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}
