//! How a classic group moves between its states: preparing, completing, timing out. Pure.
//! Who may join and what a sync must say is `join` and `sync`. Invariant: the generation rises by one with every
//! completed rebalance and never otherwise.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::coordinator::group::classic::{ClassicGroup, JoinTimer, Limits, State};
use crate::coordinator::group::effects::{Effects, Joined, Now, Replaced, Store, Synced, Then};
use crate::coordinator::group::error::{GroupError, JoinRefused};
use crate::coordinator::group::id::MemberId;
use crate::coordinator::group::member::Waiter;

impl ClassicGroup {
    fn transition(&mut self, to: State) {
        let allowed = match to {
            State::Empty | State::CompletingRebalance => self.state == State::PreparingRebalance,
            State::PreparingRebalance => self.state != State::PreparingRebalance,
            State::Stable => self.state == State::CompletingRebalance,
        };
        assert!(allowed, "group {} goes from {:?} to {to:?}", self.id, self.state);
        self.state = to;
    }

    /// Whether this rebalance began in an empty group: it waits for more members whatever happens.
    pub(super) fn is_initial(&self) -> bool {
        matches!(self.join_timer, Some(JoinTimer::Initial { .. }))
    }

    fn all_joined(&self) -> bool {
        self.roster.joining() == self.roster.len() && self.pending.is_empty()
    }

    /// Something changed that needs a rebalance: begins one, or takes the step that the one under way allows.
    pub(super) fn rebalance(&mut self, now: Now, limits: &Limits, reason: &str, effects: &mut Effects) {
        if self.state == State::PreparingRebalance {
            self.complete_join_if_all_here(now, effects);
        } else {
            self.prepare(now, limits, reason, effects);
        }
    }

    /// Ends the joining phase early once everybody is here; the initial one always takes its time.
    pub(super) fn complete_join_if_all_here(&mut self, now: Now, effects: &mut Effects) {
        if self.state == State::PreparingRebalance && !self.is_initial() && self.all_joined() {
            self.complete_join(now, effects);
        }
    }

    /// Begins a rebalance.
    pub(super) fn prepare(&mut self, now: Now, limits: &Limits, reason: &str, effects: &mut Effects) {
        if self.state == State::CompletingRebalance {
            self.spread(now, &Err(GroupError::RebalanceInProgress), effects);
        }
        self.unsynced.clear();
        self.sync_timer = None;
        let initial = self.state == State::Empty;
        self.transition(State::PreparingRebalance);
        tracing::info!(group = %self.id, generation = self.generation, members = self.roster.len(), reason,
            "rebalance begins");
        let timeout = self.roster.rebalance_timeout_ms();
        if initial {
            let delay = limits.initial_rebalance_delay_ms;
            let (at, remaining) = (now.tick_ms.saturating_add(delay), timeout.saturating_sub(delay));
            self.join_timer = Some(JoinTimer::Initial { at, delay, remaining });
        } else {
            self.join_timer = Some(JoinTimer::Rebalance { at: now.tick_ms.saturating_add(timeout) });
            self.complete_join_if_all_here(now, effects);
        }
    }

    /// Ends the joining phase: dynamic members that did not join are out, the rest is the next generation.
    fn complete_join(&mut self, now: Now, effects: &mut Effects) {
        self.join_timer = None;
        let absent = |group: &Self, id: &MemberId| {
            group.roster.get(id.as_str()).is_some_and(|it| it.joining.is_none() && it.instance.is_none())
        };
        for id in self.roster.ids() {
            if absent(self, &id) {
                tracing::info!(group = %self.id, member = %id, "member did not rejoin in time");
                self.remove(&id, effects);
            }
        }
        if !self.elect_joined_leader() && !self.roster.is_empty() {
            // Only static members are left, and none of them joined: they have until their sessions end.
            let at = now.tick_ms.saturating_add(self.roster.rebalance_timeout_ms());
            self.join_timer = Some(JoinTimer::Rebalance { at });
            return;
        }
        self.more_may_come = false;
        self.generation = self.generation.wrapping_add(1);
        self.protocol = self.roster.elect_protocol();
        self.subscribed = self.read_subscriptions();
        self.unsynced.clear();
        if self.roster.is_empty() {
            self.transition(State::Empty);
            self.since_ms = Some(now.wall_ms);
            tracing::info!(group = %self.id, generation = self.generation, "group is empty");
            let record = self.record(self.since_ms, |_, _| Bytes::new());
            effects.stores.push_back(Store {
                group: self.id.clone(),
                records: vec![record],
                then: Then::Emptied,
            });
        } else {
            self.transition(State::CompletingRebalance);
            self.answer_joins(now, effects);
        }
    }

    /// Keeps the leader if it joined, else takes the first that did; false when nobody leads.
    fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.roster.get(leader.as_str()).is_some_and(|member| member.joining.is_some()) {
            return true;
        }
        let joined =
            self.roster.iter().find(|(_, member)| member.joining.is_some()).map(|(id, _)| id.clone());
        match joined {
            Some(id) => {
                tracing::info!(group = %self.id, old = %leader, new = %id, "leader did not rejoin in time");
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    fn answer_joins(&mut self, now: Now, effects: &mut Effects) {
        tracing::info!(group = %self.id, generation = self.generation, members = self.roster.len(),
            "all members joined");
        for id in self.roster.ids() {
            if let Some(waiter) = self.roster.take_joining(id.as_str()) {
                effects.joined.push((waiter, Ok(self.joined(&id))));
            }
            self.renew_session(&id, now.tick_ms);
            self.roster.set_known(id.as_str());
            self.unsynced.insert(id);
        }
        self.sync_timer = Some(now.tick_ms.saturating_add(self.roster.rebalance_timeout_ms()));
    }

    /// The join answer of a member in the current generation.
    pub(super) fn joined(&self, id: &MemberId) -> Joined {
        let leads = self.leader.as_ref() == Some(id);
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member: id.clone(),
            members: if leads { self.joined_members() } else { Vec::new() },
            skip_assignment: false,
        }
    }

    /// Takes a member or a pending id out, answering what waits. Moves the lead if needed. Changes no state.
    pub(super) fn remove(&mut self, id: &MemberId, effects: &mut Effects) {
        self.pending.clear(id.as_str());
        self.unsynced.remove(id.as_str());
        if let Some(member) = self.roster.remove(id.as_str()) {
            if let Some(waiter) = member.joining {
                refuse(waiter, GroupError::UnknownMember, MemberId::from(""), effects);
            }
            if let Some(waiter) = member.syncing {
                effects.synced.push((waiter, Err(GroupError::UnknownMember)));
            }
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.roster.iter().next().map(|(id, _)| id.clone());
        }
    }

    /// Gives every waiting sync its assignment, or the error; an error also takes the assignments back.
    fn spread(
        &mut self,
        now: Now,
        outcome: &Result<BTreeMap<MemberId, Bytes>, GroupError>,
        effects: &mut Effects,
    ) {
        for id in self.roster.ids() {
            let assignment = outcome.as_ref().ok().and_then(|all| all.get(&id).cloned()).unwrap_or_default();
            self.roster.set_assignment(id.as_str(), assignment.clone());
            if let Some(waiter) = self.roster.take_syncing(id.as_str()) {
                let synced = Synced {
                    protocol_type: self.protocol_type.clone(),
                    protocol: self.protocol.clone(),
                    assignment,
                };
                effects.synced.push((waiter, outcome.as_ref().map(|_| synced).map_err(Clone::clone)));
                self.renew_session(&id, now.tick_ms);
            }
        }
    }

    /// Tells the group how a store of its own ended.
    pub fn stored(
        &mut self,
        now: Now,
        limits: &Limits,
        then: Then,
        outcome: Result<(), GroupError>,
        effects: &mut Effects,
    ) {
        // Every record of a group holds all of it.
        self.unsaved = outcome.is_err() && (self.unsaved || matches!(then, Then::Emptied));
        match (then, outcome) {
            (Then::Assigned { generation, assignment, since_ms }, Ok(())) => {
                assert_eq!(generation, self.generation, "a step came between an assignment and its store");
                self.transition(State::Stable);
                self.since_ms = Some(since_ms);
                tracing::info!(group = %self.id, generation, members = self.roster.len(), "group is stable");
                self.spread(now, &Ok(assignment), effects);
            }
            (Then::Assigned { .. }, Err(error)) => {
                self.spread(now, &Err(error), effects);
                self.prepare(now, limits, "the assignment could not be stored", effects);
            }
            (Then::Replaced(replaced), Ok(())) => self.settle_replacement(&replaced, effects),
            (Then::Replaced(replaced), Err(error)) => self.undo_replacement(now, *replaced, error, effects),
            (Then::Emptied, Err(error)) => {
                tracing::warn!(group = %self.id, %error, "the empty generation could not be stored");
            }
            (Then::Emptied | Then::Opened | Then::Applied { .. }, _) => {}
        }
    }

    fn settle_replacement(&mut self, replaced: &Replaced, effects: &mut Effects) {
        let Some(waiter) = self.roster.take_joining(replaced.new_id.as_str()) else { return };
        let mut joined = self.joined(&replaced.new_id);
        if replaced.may_skip {
            joined.skip_assignment = !joined.members.is_empty();
        } else {
            // An older client would assign if it were told that it leads; a stable group ignores assignments.
            joined.members = Vec::new();
            joined.leader = replaced.old_leader.clone();
        }
        effects.joined.push((waiter, Ok(joined)));
    }

    fn undo_replacement(&mut self, now: Now, replaced: Replaced, error: GroupError, effects: &mut Effects) {
        let waiter = self.roster.take_joining(replaced.new_id.as_str());
        self.roster.remove(replaced.new_id.as_str());
        if self.unsynced.remove(replaced.new_id.as_str()) {
            self.unsynced.insert(replaced.old_id.clone());
        }
        self.roster.add(replaced.old_id.clone(), replaced.old);
        self.leader = replaced.old_leader;
        self.renew_session(&replaced.old_id, now.tick_ms);
        if let Some(waiter) = waiter {
            refuse(waiter, error, MemberId::from(""), effects);
        }
    }

    /// Does everything that is due. `next_deadline` says when to call it.
    pub fn expire(&mut self, now: Now, limits: &Limits, effects: &mut Effects) {
        while let Some(id) = self.pending.pop_due(now.tick_ms) {
            tracing::info!(group = %self.id, member = %id, "pending member did not join in time");
            self.complete_join_if_all_here(now, effects);
        }
        while let Some(id) = self.roster.pop_session_end(now.tick_ms) {
            if self.roster.get(id.as_str()).is_some_and(|member| !member.is_excused()) {
                tracing::info!(group = %self.id, member = %id, "member's session timed out");
                self.remove(&id, effects);
                self.rebalance(now, limits, &format!("session of {id} timed out"), effects);
            }
        }
        self.expire_sync(now, limits, effects);
        self.expire_join(now, limits, effects);
    }

    fn expire_sync(&mut self, now: Now, limits: &Limits, effects: &mut Effects) {
        if self.sync_timer.is_none_or(|at| at > now.tick_ms) {
            return;
        }
        self.sync_timer = None;
        let late = std::mem::take(&mut self.unsynced);
        if late.is_empty() || !matches!(self.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        late.iter().for_each(|id| self.remove(id, effects));
        self.prepare(now, limits, &format!("{} members did not sync in time", late.len()), effects);
    }

    fn expire_join(&mut self, now: Now, limits: &Limits, effects: &mut Effects) {
        match self.join_timer {
            Some(JoinTimer::Initial { at, delay, remaining }) if at <= now.tick_ms => {
                if self.more_may_come && remaining > 0 {
                    self.more_may_come = false;
                    let next = limits.initial_rebalance_delay_ms.min(remaining);
                    self.join_timer = Some(JoinTimer::Initial {
                        at: now.tick_ms.saturating_add(next),
                        delay: next,
                        remaining: remaining.saturating_sub(delay),
                    });
                } else {
                    self.complete_join(now, effects);
                }
            }
            Some(JoinTimer::Rebalance { at }) if at <= now.tick_ms => self.complete_join(now, effects),
            _ => {}
        }
    }

    /// A group loaded with more members than are allowed now rebalances, so that they can commit before some are out.
    pub fn shrink(&mut self, now: Now, limits: &Limits, effects: &mut Effects) {
        if self.state == State::Stable && self.roster.len() > limits.size_max {
            self.prepare(now, limits, "the group is larger than group.max.size", effects);
        }
    }

    /// The group could not be opened: whoever waits is told why.
    pub fn abandon(&mut self, error: &GroupError, effects: &mut Effects) {
        for id in self.roster.ids() {
            if let Some(waiter) = self.roster.take_joining(id.as_str()) {
                refuse(waiter, error.clone(), MemberId::from(""), effects);
            }
            if let Some(waiter) = self.roster.take_syncing(id.as_str()) {
                effects.synced.push((waiter, Err(error.clone())));
            }
        }
    }
}

/// Answers a join with an error.
pub(super) fn refuse(waiter: Waiter, error: GroupError, member: MemberId, effects: &mut Effects) {
    effects.joined.push((waiter, Err(JoinRefused { error, member })));
}
