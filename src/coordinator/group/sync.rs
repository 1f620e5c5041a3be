//! What members do between rebalances: sync, heartbeat, leave, commit. Pure.
//! Invariant: only a member of the current generation moves anything, and a heartbeat that is answered renews the
//! session whatever the answer says.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::coordinator::group::classic::{ClassicGroup, Limits, State};
use crate::coordinator::group::effects::{Effects, Now, Store, Synced, Then};
use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::id::{InstanceId, MemberId};
use crate::coordinator::group::member::Waiter;

/// Who a member says it is.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Its id; empty for a consumer without group management.
    pub member: MemberId,
    /// Its lasting name.
    pub instance: Option<InstanceId>,
    /// The generation it believes in; -1 for none.
    pub generation: i32,
}

/// A SyncGroup request.
#[derive(Debug, Clone)]
pub struct Sync {
    /// Who asks.
    pub claim: Claim,
    /// v5+: must be the group's.
    pub protocol_type: Option<String>,
    /// v5+: must be the group's.
    pub protocol: Option<String>,
    /// From the leader: the part of each member.
    pub assignment: BTreeMap<MemberId, Bytes>,
}

/// A member that leaves: by its id, or (an administrator's doing) by its instance id alone.
#[derive(Debug, Clone)]
pub struct Leaving {
    /// Its id; empty when only the instance is named.
    pub member: MemberId,
    /// Its lasting name.
    pub instance: Option<InstanceId>,
    /// The client's reason, for the log.
    pub reason: String,
}

impl ClassicGroup {
    fn check_claim(&self, claim: &Claim) -> Result<(), GroupError> {
        self.check_member(claim.member.as_str(), claim.instance.as_ref().map(InstanceId::as_str))?;
        if claim.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        Ok(())
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        if self.state == State::Empty {
            return Err(GroupError::UnknownMember);
        }
        self.check_claim(&sync.claim)?;
        let differs = |said: &Option<String>, ours: &Option<String>| said.is_some() && said != ours;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        Ok(())
    }

    /// A member asks for its part; the leader brings everybody's. Followers wait for it.
    pub fn sync(&mut self, now: Now, sync: Sync, waiter: Waiter, effects: &mut Effects) {
        let id = sync.claim.member.clone();
        if let Err(error) = self.check_sync(&sync) {
            return effects.synced.push((waiter, Err(error)));
        }
        match self.state {
            // Empty is refused by the check.
            State::Empty | State::PreparingRebalance => {
                effects.synced.push((waiter, Err(GroupError::RebalanceInProgress)));
            }
            State::Stable => {
                self.heard_sync(&id);
                let assignment = self.roster.get(id.as_str()).map(|member| member.assignment.clone());
                let synced = Synced {
                    protocol_type: self.protocol_type.clone(),
                    protocol: self.protocol.clone(),
                    assignment: assignment.unwrap_or_default(),
                };
                effects.synced.push((waiter, Ok(synced)));
            }
            State::CompletingRebalance => {
                if let Some(before) = self.roster.set_syncing(id.as_str(), waiter) {
                    effects.synced.push((before, Err(GroupError::RebalanceInProgress)));
                }
                self.heard_sync(&id);
                if self.leader.as_ref() == Some(&id) {
                    self.assign(now, sync.assignment, effects);
                }
            }
        }
    }

    fn heard_sync(&mut self, id: &MemberId) {
        self.unsynced.remove(id.as_str());
        if self.unsynced.is_empty() {
            self.sync_timer = None;
        }
    }

    /// The leader's assignment goes to the log before anybody hears of it.
    fn assign(&mut self, now: Now, mut assignment: BTreeMap<MemberId, Bytes>, effects: &mut Effects) {
        assignment.retain(|id, _| self.roster.get(id.as_str()).is_some());
        let without = self.roster.len() - assignment.len();
        if without > 0 {
            tracing::warn!(group = %self.id, generation = self.generation, without, "members get no assignment");
        }
        let record = self.record(Some(now.wall_ms), |id, _| assignment.get(id).cloned().unwrap_or_default());
        let then = Then::Assigned { generation: self.generation, assignment, since_ms: now.wall_ms };
        effects.stores.push_back(Store { group: self.id.clone(), records: vec![record], then });
    }

    /// A member lives, and learns whether it has to join again.
    pub fn heartbeat(&mut self, now: Now, claim: &Claim) -> Result<(), GroupError> {
        self.check_claim(claim)?;
        self.renew_session(&claim.member, now.tick_ms);
        match self.state {
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            // Members heartbeat from the moment their join is answered.
            State::CompletingRebalance | State::Stable => Ok(()),
            State::Empty => Err(GroupError::UnknownMember),
        }
    }

    /// Members leave; each gets its own answer, in their order.
    pub fn leave(
        &mut self,
        now: Now,
        limits: &Limits,
        leaving: &[Leaving],
        effects: &mut Effects,
    ) -> Vec<Result<(), GroupError>> {
        let answers: Vec<_> = leaving.iter().map(|member| self.leave_one(member, effects)).collect();
        if answers.iter().any(Result::is_ok) && self.state != State::Empty {
            self.rebalance(now, limits, "members left", effects);
        }
        answers
    }

    fn leave_one(&mut self, leaving: &Leaving, effects: &mut Effects) -> Result<(), GroupError> {
        let instance = leaving.instance.as_ref().map(InstanceId::as_str);
        let id = if leaving.member.is_empty() {
            let holder = instance.and_then(|instance| self.roster.instance(instance));
            holder.cloned().ok_or(GroupError::UnknownMember)?
        } else {
            if !self.pending.has(leaving.member.as_str()) {
                self.check_member(leaving.member.as_str(), instance)?;
            }
            leaving.member.clone()
        };
        tracing::info!(group = %self.id, member = %id, reason = leaving.reason, "member leaves");
        self.remove(&id, effects);
        Ok(())
    }

    /// Whether this claim may commit offsets. A commit is a sign of life.
    pub fn check_commit(&mut self, now: Now, claim: &Claim) -> Result<(), GroupError> {
        // An administrator, or a consumer that assigns partitions to itself.
        if claim.generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if claim.generation < 0 && claim.member.is_empty() && claim.instance.is_none() {
            return Err(GroupError::UnknownMember);
        }
        self.check_claim(claim)?;
        if self.state == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        self.renew_session(&claim.member, now.tick_ms);
        Ok(())
    }
}
