//! Keeps the ISRs of the partitions led here: one task asks the quorum for the changes that partitions want, many in one
//! request, and applies what it answers. What to want is decided in `partition/isr.rs`. Invariant: what was proposed and
//! not clearly refused counts until the image says otherwise, and the image's newer row always wins.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firnline_controller::client::Controller;
use firnline_controller::id::{BrokerEpoch, BrokerId, PartitionEpoch};
use firnline_controller::record::kinds::Partition;
use firnline_tiering::epoch::LeaderEpoch;
use tokio::time::Instant;

use crate::partition::hosted::HostedPartitions;
use crate::partition::isr::{Roster, Wish};
use crate::partition::replica::{PartitionHandle, PartitionId};
use crate::purgatory::delayed::WakeBoard;
use crate::replication::isr_news::IsrNews;

/// A change of one ISR, as the quorum is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which partition.
    pub id: PartitionId,
    /// Its leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The row it was decided on.
    pub on: PartitionEpoch,
    /// The new ISR, each member in the life in which it is in sync.
    pub isr: Vec<(BrokerId, BrokerEpoch)>,
}

/// Why the quorum did not change an ISR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotChanged {
    /// It never will.
    Refused(String),
    /// Nobody knows: it may come true yet.
    Unknown(String),
}

/// Whoever asks the quorum.
#[async_trait]
pub trait AlterIsr: Send + Sync + Debug {
    /// One answer per change, in their order: the partition's new row.
    async fn alter(&self, changes: Vec<Change>) -> Vec<Result<Partition, NotChanged>>;
}

/// What the keeper works with.
pub struct IsrKeeper {
    /// This broker.
    pub node: BrokerId,
    /// Where led partitions are found.
    pub hosted: Arc<HostedPartitions>,
    /// Which of them to look at.
    pub news: Arc<IsrNews>,
    /// Asks the quorum.
    pub quorum: Arc<dyn AlterIsr>,
    /// Where broker epochs are found.
    pub controller: Controller,
    /// Wakes who waits for the high watermark.
    pub board: Arc<WakeBoard>,
    /// `replica.lag.time.max.ms`: every half of it all partitions are looked at.
    pub lag_max: Duration,
}

/// Changes of one request.
const BATCH_MAX: usize = 1_000;
/// Pause of a partition whose change was not taken.
const PAUSE: Duration = Duration::from_millis(200);

impl IsrKeeper {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let every = (self.lag_max / 2).max(Duration::from_millis(1));
        let mut look_at_all = Instant::now() + every;
        let mut later: BTreeMap<PartitionId, Instant> = BTreeMap::new();
        loop {
            let next = later.values().copied().min().map_or(look_at_all, |at| at.min(look_at_all));
            let noted = tokio::time::timeout_at(next, self.news.take()).await.unwrap_or_default();
            let now = Instant::now();
            let mut due: BTreeSet<PartitionId> = noted;
            if now >= look_at_all {
                look_at_all = now + every;
                due.extend(self.hosted.all().iter().filter(|it| it.is_leader()).map(|it| it.id()));
            }
            due.retain(|id| !later.contains_key(id));
            due.extend(later.extract_if(.., |_, at| *at <= now).map(|(id, _)| id));
            for id in self.look(due).await {
                later.insert(id, Instant::now() + PAUSE);
            }
        }
    }

    /// Asks for what these partitions want; answers those to look at again after a pause.
    async fn look(&self, due: BTreeSet<PartitionId>) -> Vec<PartitionId> {
        let mut asked: Vec<(PartitionHandle, LeaderEpoch, Wish, usize)> = Vec::new();
        for partition in due.into_iter().filter_map(|id| self.hosted.get(id)) {
            // Whose disk failed hears no follower; somebody else is about to lead.
            if partition.log().offline().is_some() {
                continue;
            }
            let before = usize::try_from(partition.in_sync().0).unwrap_or(0);
            if let Some((epoch, wish)) = partition.propose() {
                asked.push((partition, epoch, wish, before));
            }
        }
        let mut again = Vec::new();
        for batch in asked.chunks(BATCH_MAX) {
            let image = self.controller.image();
            let registered = |id: BrokerId| image.brokers.get(id).map_or(BrokerEpoch(-1), |it| it.epoch);
            let changes = batch.iter().map(|(partition, epoch, wish, _)| Change {
                id: partition.id(),
                leader_epoch: *epoch,
                on: wish.on,
                // Who has not fetched from this leader was in sync before: he stays in the life he is in.
                isr: wish.isr.iter().map(|(id, it)| (*id, it.unwrap_or_else(|| registered(*id)))).collect(),
            });
            let answers = self.quorum.alter(changes.collect()).await;
            for ((partition, epoch, wish, before), answer) in batch.iter().zip(answers) {
                match &answer {
                    Ok(row) => self.news.count_change(*before, row.isr.len()),
                    Err(_) => self.news.count_failure(),
                }
                if !self.settle(partition, *epoch, wish, answer) {
                    again.push(partition.id());
                }
            }
        }
        again
    }

    /// Applies an answer; false to look again after a pause.
    fn settle(
        &self,
        partition: &PartitionHandle,
        epoch: LeaderEpoch,
        wish: &Wish,
        answer: Result<Partition, NotChanged>,
    ) -> bool {
        let log = partition.log().id();
        let settled = match answer {
            Ok(row) => {
                tracing::info!(%log, %epoch, isr = ?row.isr, partition_epoch = row.epoch.0, "the ISR changed");
                let roster = Roster { replicas: row.replicas, isr: row.isr, epoch: row.epoch };
                partition.learn(row.leader_epoch, roster);
                true
            }
            Err(NotChanged::Refused(why)) => {
                tracing::debug!(%log, %epoch, why, "the ISR did not change");
                partition.refused(epoch, wish.on);
                false
            }
            Err(NotChanged::Unknown(why)) => {
                tracing::warn!(%log, %epoch, why, "whether the ISR changed is not known: asked again");
                partition.ask_again(epoch, wish.on);
                false
            }
        };
        partition.tell_all(&self.board);
        settled
    }
}
