//! How the keeper of the ISRs reaches the quorum: its changes as the controller's verb, and the controller's refusals in
//! the keeper's two words. It decides nothing. Invariant: "refused" is only what can never come true any more.

use std::sync::Arc;

use async_trait::async_trait;
use firnline_controller::client::Controller;
use firnline_controller::decide::isr::IsrChange;
use firnline_controller::error::{AlterPartitionError, Unavailable};
use firnline_controller::id::{BrokerEpoch, BrokerId};
use firnline_controller::record::kinds::Partition;

use crate::replication::isr_keeper::{AlterIsr, Change, NotChanged};

/// The quorum as the keeper asks it.
pub struct QuorumIsr {
    node: BrokerId,
    controller: Controller,
}

impl QuorumIsr {
    /// Asks for the partitions that `node` leads.
    pub fn new(node: BrokerId, controller: Controller) -> Arc<QuorumIsr> {
        Arc::new(QuorumIsr { node, controller })
    }
}

impl std::fmt::Debug for QuorumIsr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuorumIsr").field("node", &self.node).finish_non_exhaustive()
    }
}

#[async_trait]
impl AlterIsr for QuorumIsr {
    async fn alter(&self, changes: Vec<Change>) -> Vec<Result<Partition, NotChanged>> {
        let image = self.controller.image();
        let epoch = image.brokers.get(self.node).map_or(BrokerEpoch(-1), |broker| broker.epoch);
        let changes = changes.into_iter().map(|change| IsrChange {
            topic: change.id.topic,
            index: change.id.index,
            leader_epoch: change.leader_epoch,
            partition_epoch: change.on,
            isr: change.isr,
        });
        let answers = self.controller.alter_partitions(self.node, epoch, changes.collect()).await;
        answers.into_iter().map(|answer| answer.map_err(|error| not_changed(&error))).collect()
    }
}

fn not_changed(error: &AlterPartitionError) -> NotChanged {
    let why = error.to_string();
    match error {
        // Nothing was done, and nothing will be on this row.
        AlterPartitionError::Unavailable(Unavailable::Overtaken(_)) => NotChanged::Refused(why),
        // It was done, and the image will say so; or it may have been done.
        AlterPartitionError::NewLeaderElected
        | AlterPartitionError::NewerThanController
        | AlterPartitionError::Unavailable(_) => NotChanged::Unknown(why),
        _ => NotChanged::Refused(why),
    }
}
