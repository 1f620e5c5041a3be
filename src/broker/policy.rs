//! What the configuration says to the controller's decisions: sessions, defaults of topics, rebalancing. Not the
//! configuration itself (`config/`). Invariant: every key the decisions rest on comes from here.

use std::time::Duration;

use firnline_controller::decide::policy::Policy;

use crate::config::broker::BrokerConfig;

/// The policy this node decides by when it is the active controller.
pub fn policy(config: &BrokerConfig) -> Policy {
    let cluster = &config.cluster;
    let min_insync = config.settings.number("min.insync.replicas");
    Policy {
        session: Duration::from_millis(cluster.session_ms),
        min_insync_replicas: min_insync.and_then(|value| i32::try_from(value).ok()).unwrap_or(1),
        unclean_leader_election: cluster.unclean_election,
        rebalance_every: cluster.rebalance_every_s.map(Duration::from_secs),
        imbalance_percentage: cluster.imbalance_percent,
    }
}
