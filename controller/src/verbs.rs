//! The loop's arms for what brokers and operators ask of the cluster, and what it does by itself: fence whom nobody
//! hears, give leaders back, elect where that came to be allowed. Not the loop (`server.rs`), nor any decision.
//! Invariant: what is due by itself rides in the next entry, behind the groups that somebody waits for.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::decide::brokers::{self, BrokerRegistration, Heard, Heartbeat, HeartbeatAnswer};
use crate::decide::decision::{Decision, Draft};
use crate::decide::elect::{self, ELECTIONS_PER_ROUND, Election};
use crate::decide::features;
use crate::decide::isr::{self, IsrChange};
use crate::decide::reassign::{self, Reassignment};
use crate::error::{
    AlterPartitionError, ElectError, FeatureLevelError, HeartbeatError, ReassignError, RegisterError,
    UnregisterError,
};
use crate::id::{BrokerEpoch, BrokerId, TopicId};
use crate::record::kinds::Record;
use crate::rpc::Answer;
use crate::server::{Decided, Server, each, many, overtaken};

impl Server {
    /// Registers a broker; its session is full from here on.
    pub(crate) fn register(
        &mut self,
        asked: &BrokerRegistration,
    ) -> Result<Decision<BrokerEpoch>, RegisterError> {
        let now = Instant::now();
        let live = self.watch.liveness.is_live(asked.id, now);
        let decision = brokers::register(&self.draft.image, &self.policy, asked, live)?;
        self.watch.liveness.registered(asked.id, decision.answer, self.current.load().offset, now);
        let partitions = partitions(&decision);
        tracing::info!(broker = asked.id.0, epoch = decision.answer.0, partitions, "a broker registers");
        Ok(decision)
    }

    /// Hears a broker whose epoch is current, and decides what becomes of it.
    pub(crate) fn heartbeat(
        &mut self,
        beat: &Heartbeat,
    ) -> Result<Decision<HeartbeatAnswer>, HeartbeatError> {
        let image = &self.draft.image;
        let heard = match image.brokers.get(beat.id).filter(|known| known.epoch == beat.epoch) {
            Some(_) => self.watch.liveness.hear(image, beat, self.current.load().offset, Instant::now()),
            None => Heard { caught_up: false, seen_by_all: false },
        };
        let decision = brokers::heartbeat(image, &self.policy, beat, heard)?;
        if !decision.group.records.is_empty() {
            let (HeartbeatAnswer { fenced, .. }, partitions) = (decision.answer, partitions(&decision));
            tracing::info!(
                broker = beat.id.0,
                fenced,
                stops = beat.wants_stop,
                partitions,
                "a broker changes"
            );
        }
        Ok(decision)
    }

    /// Changes ISRs. A row that is already as asked may be what the attempt before made.
    pub(crate) fn alter_partitions(
        &mut self,
        from: (BrokerId, BrokerEpoch),
        changes: &[IsrChange],
        again: bool,
    ) -> Decided {
        let policy = &self.policy;
        let decide =
            |draft: &mut Draft, change: &IsrChange| match isr::alter(&draft.image, policy, from, change) {
                Err(AlterPartitionError::StalePartitionEpoch { .. }) if again => {
                    isr::already(&draft.image, from.0, change)
                }
                decided => decided,
            };
        let decided = each(&mut self.draft, changes, decide);
        many(decided, Answer::AlterPartitions, |outcome, altered| match outcome {
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            _ => altered,
        })
    }

    /// Elects leaders. What need not be may be what the attempt before made.
    pub(crate) fn elect(
        &mut self,
        election: Election,
        partitions: &[(TopicId, i32)],
        again: bool,
    ) -> Decided {
        let policy = &self.policy;
        let decide = |draft: &mut Draft, (topic, index): &(TopicId, i32)| match elect::elect(
            &draft.image,
            policy,
            election,
            *topic,
            *index,
        ) {
            Err(ElectError::NotNeeded) if again => Ok(Decision::nothing_to_do(())),
            decided => decided,
        };
        let decided = each(&mut self.draft, partitions, decide);
        many(decided, Answer::Elect, |outcome, ()| match outcome {
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            _ => Ok(()),
        })
    }

    /// Begins and cancels moves. One that is gone may be what the attempt before cancelled.
    pub(crate) fn reassign(&mut self, moves: &[Reassignment], again: bool) -> Decided {
        let policy = &self.policy;
        let decide =
            |draft: &mut Draft, asked: &Reassignment| match reassign::reassign(&draft.image, policy, asked) {
                Err(ReassignError::NotMoving) if again => Ok(Decision::nothing_to_do(())),
                decided => decided,
            };
        let decided = each(&mut self.draft, moves, decide);
        many(decided, Answer::Reassign, |outcome, ()| match outcome {
            Some(Err(no_op)) => Err(overtaken(&no_op).into()),
            _ => Ok(()),
        })
    }

    /// Forgets a broker. One that is unknown may be what the attempt before forgot.
    pub(crate) fn unregister(&mut self, id: BrokerId, again: bool) -> Result<Decision<()>, UnregisterError> {
        match brokers::unregister(&self.draft.image, &self.policy, id) {
            Err(UnregisterError::UnknownBroker(_)) if again => Ok(Decision::nothing_to_do(())),
            decided => decided,
        }
    }

    /// Takes what a broker says of its failed disks.
    pub(crate) fn replicas_offline(
        &mut self,
        from: (BrokerId, BrokerEpoch),
        offline: &[(TopicId, i32)],
    ) -> Result<Decision<()>, HeartbeatError> {
        let decision = brokers::offline(&self.draft.image, &self.policy, from, offline)?;
        if !decision.group.records.is_empty() {
            let (broker, replicas, partitions) = (from.0.0, offline.len(), partitions(&decision));
            tracing::warn!(broker, replicas, partitions, "replicas of a broker are offline");
        }
        Ok(decision)
    }

    /// Says and counts the leaders in the entry about to be proposed that may lack acked records.
    pub(crate) fn tell_unclean(&mut self) {
        for (topic, index, leader) in std::mem::take(&mut self.draft.unclean) {
            self.unclean.fetch_add(1, Ordering::Relaxed);
            let name = self.draft.image.topics.get(topic).map(|topic| topic.name.clone()).unwrap_or_default();
            tracing::warn!(topic = %name, partition = index, leader = leader.0,
                "unclean election: the new leader may lack acknowledged records");
        }
    }

    /// Raises the feature level, or says whether it could.
    pub(crate) fn update_feature_level(
        &mut self,
        level: u16,
        validate_only: bool,
    ) -> Result<Decision<()>, FeatureLevelError> {
        let decision = features::update(&self.draft.image, &self.node.levels(), level)?;
        Ok(if validate_only { Decision::nothing_to_do(()) } else { decision })
    }

    /// Fences brokers whose process is known to have gone. Only the leader does.
    pub(crate) fn fence_who_has_gone(&mut self) {
        // What the format of a new quorum decides comes before everything.
        if self.session.is_none() || self.draft.image.feature_level == 0 {
            return;
        }
        let gone = self.node.gone().borrow().clone();
        for id in self.watch.liveness.lost(&self.draft.image, &gone) {
            let decision = brokers::expire(&self.draft.image, &self.policy, id);
            let partitions = partitions(&decision);
            tracing::warn!(broker = id.0, partitions, "a broker's process has gone and it is fenced");
            self.draft.take(decision);
        }
    }

    /// Decides what nobody asks for. Only the leader does.
    pub(crate) fn decide_what_is_due(&mut self) {
        self.fence_who_has_gone();
        let now = Instant::now();
        if !self.watch.looks(now) || self.session.is_none() {
            return;
        }
        for id in self.watch.liveness.expired(&self.draft.image, now) {
            let decision = brokers::expire(&self.draft.image, &self.policy, id);
            let partitions = partitions(&decision);
            tracing::warn!(broker = id.0, partitions, "a broker was not heard for a session and is fenced");
            self.draft.take(decision);
        }
        if self.watch.rebalances(now) {
            let unclean = elect::unclean(&self.draft.image, &self.policy);
            let (_, ()) = self.draft.take(unclean);
            let given_back = elect::rebalance(&self.draft.image, &self.policy);
            if given_back.group.records.len() >= ELECTIONS_PER_ROUND {
                self.watch.rebalance_again(now);
            }
            self.draft.take(given_back);
        }
    }
}

/// How many partitions a decision changes.
fn partitions<T>(decision: &Decision<T>) -> usize {
    decision.group.records.iter().filter(|record| matches!(record, Record::Partition { .. })).count()
}
