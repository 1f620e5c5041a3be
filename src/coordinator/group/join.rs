//! Who may join a classic group, under which id, and whether that starts a rebalance. Pure.
//! It completes no rebalance (`rebalance` does). Invariant: an id is pending or a member's, never both.

use crate::coordinator::group::classic::{ClassicGroup, Limits, State};
use crate::coordinator::group::effects::{Effects, Now, Replaced, Store, Then};
use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::id::{InstanceId, MemberId};
use crate::coordinator::group::member::{Member, Protocol, Waiter};
use crate::coordinator::group::rebalance::refuse;

/// A new member cannot send heartbeats before it is answered, so this is how long it may wait, ms (Kafka's
/// `group.coordinator.new.member.join.timeout.ms`).
pub const NEW_MEMBER_JOIN_MS: u64 = 5 * 60 * 1000;
/// Ids handed out and not used yet, per group: each lives for a session, and asking for one is cheap.
pub const PENDING_MAX: usize = 10_000;

/// A JoinGroup request.
#[derive(Debug, Clone)]
pub struct Join {
    /// The member's id; empty when it has none yet.
    pub member: MemberId,
    /// Its lasting name (v5+).
    pub instance: Option<InstanceId>,
    /// From the request header.
    pub client_id: String,
    /// `/127.0.0.1`.
    pub client_host: String,
    /// How long a rebalance may wait for it, ms.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, ms.
    pub session_timeout_ms: i32,
    /// `consumer`, `connect`...
    pub protocol_type: String,
    /// What it offers, in its order of preference.
    pub protocols: Vec<Protocol>,
    /// v4+: a dynamic member joins only with an id it was given (KIP-394).
    pub needs_id: bool,
    /// v9+: it understands `skip_assignment`.
    pub may_skip: bool,
    /// The client's reason (v8+), for the log.
    pub reason: String,
    /// Drawn for a client without id.
    pub fresh: uuid::Uuid,
}

impl Join {
    /// The id for a client that has none: its lasting or its own name, and what makes it unique.
    fn new_id(&self) -> MemberId {
        let name = self.instance.as_ref().map_or(self.client_id.as_str(), InstanceId::as_str);
        MemberId::from(format!("{name}-{}", self.fresh))
    }
}

impl ClassicGroup {
    /// A member wants in, or back in. The answer comes now or when the rebalance completes.
    pub fn join(&mut self, now: Now, limits: &Limits, join: Join, waiter: Waiter, effects: &mut Effects) {
        let own = join.member.clone();
        let is_new = own.is_empty();
        if !self.has_room(&join, limits) {
            self.remove(&own, effects);
            refuse(waiter, GroupError::GroupFull, MemberId::from(""), effects);
            self.complete_join_if_all_here(now, effects);
        } else if !self.offers_fit(&join) {
            refuse(waiter, GroupError::InconsistentProtocol, own, effects);
        } else if is_new {
            self.join_new(now, limits, join, waiter, effects);
        } else if self.pending.has(own.as_str()) {
            self.add(now, limits, own, join, waiter, effects);
        } else {
            let instance = join.instance.as_ref().map(InstanceId::as_str);
            match self.check_member(own.as_str(), instance) {
                Ok(()) => self.rejoin(now, limits, join, waiter, effects),
                Err(error) => refuse(waiter, error, own, effects),
            }
        }
    }

    /// While members rejoin, those who wait count: so the last to rejoin are left out when the limit was lowered.
    fn has_room(&self, join: &Join, limits: &Limits) -> bool {
        let member = self.roster.get(join.member.as_str());
        let room = match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                member.is_some_and(|member| member.joining.is_some())
                    || self.roster.joining() < limits.size_max
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || self.roster.len() < limits.size_max
            }
        };
        room && (!join.member.is_empty() || self.pending.len() < PENDING_MAX)
    }

    fn offers_fit(&self, join: &Join) -> bool {
        if self.state == State::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        self.protocol_type() == Some(&join.protocol_type)
            && join.protocols.iter().any(|protocol| self.roster.all_offer(&protocol.name))
    }

    fn join_new(&mut self, now: Now, limits: &Limits, join: Join, waiter: Waiter, effects: &mut Effects) {
        let id = join.new_id();
        if let Some(instance) = join.instance.clone() {
            match self.roster.instance(instance.as_str()).cloned() {
                Some(old) => self.replace(now, limits, (instance, old, id), join, waiter, effects),
                None => self.add(now, limits, id, join, waiter, effects),
            }
        } else if join.needs_id {
            tracing::debug!(group = %self.id, member = %id, "member gets an id to join with");
            let timeout = u64::try_from(join.session_timeout_ms).unwrap_or(0);
            self.pending.set(&id, now.tick_ms.saturating_add(timeout));
            refuse(waiter, GroupError::MemberIdRequired, id, effects);
        } else {
            self.add(now, limits, id, join, waiter, effects);
        }
    }

    fn add(
        &mut self,
        now: Now,
        limits: &Limits,
        id: MemberId,
        join: Join,
        waiter: Waiter,
        effects: &mut Effects,
    ) {
        self.pending.clear(id.as_str());
        self.more_may_come |= self.is_initial();
        if self.roster.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        self.leader.get_or_insert_with(|| id.clone());
        let member = Member {
            instance: join.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            assignment: bytes::Bytes::new(),
            joining: Some(waiter),
            syncing: None,
            is_new: true,
        };
        self.roster.add(id.clone(), member);
        self.roster.set_session_end(id.as_str(), now.tick_ms.saturating_add(NEW_MEMBER_JOIN_MS));
        self.rebalance(now, limits, &format!("member {id} joins: {}", join.reason), effects);
    }

    fn rejoin(&mut self, now: Now, limits: &Limits, join: Join, waiter: Waiter, effects: &mut Effects) {
        let id = join.member.clone();
        let same = self.roster.get(id.as_str()).is_some_and(|member| member.protocols == join.protocols);
        let leads = self.leader.as_ref() == Some(&id);
        match self.state {
            // It lost the answer to its join: the same one again.
            State::CompletingRebalance if same => effects.joined.push((waiter, Ok(self.joined(&id)))),
            // A follower with nothing new learns where the group stands and syncs again. A leader that joins wants
            // a rebalance: it may have seen what members do not say, such as new partitions.
            State::Stable if same && !leads => effects.joined.push((waiter, Ok(self.joined(&id)))),
            State::Empty => refuse(waiter, GroupError::UnknownMember, id, effects),
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                let reason = format!("member {id} joins again: {}", join.reason);
                self.update(&id, join, waiter, effects);
                self.rebalance(now, limits, &reason, effects);
            }
        }
    }

    fn update(&mut self, id: &MemberId, join: Join, waiter: Waiter, effects: &mut Effects) {
        let timeouts = (join.rebalance_timeout_ms, join.session_timeout_ms);
        if let Some(before) = self.roster.update(id.as_str(), join.protocols, timeouts, Some(waiter)) {
            // The client gave up on its earlier join; should somebody still read that answer, he may ask again.
            refuse(before, GroupError::RebalanceInProgress, id.clone(), effects);
        }
    }

    /// A static member is back without its id, after a restart: a new id takes the old one's place. In a stable group
    /// whose protocol stays the same nobody else notices.
    fn replace(
        &mut self,
        now: Now,
        limits: &Limits,
        (instance, old_id, new_id): (InstanceId, MemberId, MemberId),
        join: Join,
        waiter: Waiter,
        effects: &mut Effects,
    ) {
        let old_leader = self.leader.clone();
        let Some(mut old) = self.roster.remove(old_id.as_str()) else { return };
        if let Some(waiter) = old.joining.take() {
            refuse(waiter, GroupError::FencedInstance, old_id.clone(), effects);
        }
        if let Some(waiter) = old.syncing.take() {
            effects.synced.push((waiter, Err(GroupError::FencedInstance)));
        }
        let reason = format!("static member {instance} is back as {new_id}: {}", join.reason);
        let may_skip = join.may_skip;
        let member = Member {
            instance: Some(instance.clone()),
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            assignment: old.assignment.clone(),
            joining: Some(waiter),
            syncing: None,
            is_new: false,
        };
        self.roster.add(new_id.clone(), member);
        self.renew_session(&new_id, now.tick_ms);
        if self.leader.as_ref() == Some(&old_id) {
            self.leader = Some(new_id.clone());
        }
        if self.unsynced.remove(old_id.as_str()) {
            self.unsynced.insert(new_id.clone());
        }
        if self.state == State::Stable && self.roster.elect_protocol() == self.protocol {
            tracing::info!(group = %self.id, reason, "no rebalance is needed");
            let record = self.record(self.since_ms, |_, member| member.assignment.clone());
            let replaced = Replaced { instance, old_id, old, new_id, old_leader, may_skip };
            let then = Then::Replaced(Box::new(replaced));
            effects.stores.push_back(Store { group: self.id.clone(), records: vec![record], then });
        } else {
            // While an assignment is being made the leader has the old id in it, so everybody has to start over.
            self.rebalance(now, limits, &reason, effects);
        }
    }
}
