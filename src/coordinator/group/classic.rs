//! The classic group: members meet in a rebalance, one of them assigns, all fetch their part. Pure.
//! This file holds the state; `join`, `rebalance` and `sync` hold the rules. It does no I/O and reads no clock.
//! Invariant: in Stable and Empty the state is what a replay of the group's last record gives, except for who waits.
//!
//! ```text
//!            join               all joined, or time up            leader's assignment stored
//!   Empty ----------> Preparing ----------------------> Completing ------------------------> Stable
//!     ^                | ^  ^                               |                                   |
//!     +- nobody left --+ |  +--- join, leave, timeouts -----+                                   |
//!                        +------------------- join, leave, timeouts ---------------------------+
//! ```
//!
//! There is no Dead: a deleted group is gone from the shard in the same step that stored its tombstone.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::coordinator::group::deadlines::Deadlines;
use crate::coordinator::group::effects::JoinedMember;
use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::id::{GroupId, MemberId};
use crate::coordinator::group::member::Member;
use crate::coordinator::group::records::{GroupValue, Record};
use crate::coordinator::group::roster::Roster;
use crate::coordinator::group::subscription;

/// The protocol type whose subscriptions the coordinator can read.
pub const CONSUMER: &str = "consumer";

/// What the broker's configuration says about groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: u64,
    /// `group.max.size`.
    pub size_max: usize,
    /// `offsets.retention.minutes`, in ms.
    pub retention_ms: i64,
    /// `offset.metadata.max.bytes`.
    pub metadata_bytes_max: usize,
}

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No members; maybe offsets.
    Empty,
    /// Members join, or have to join again.
    PreparingRebalance,
    /// All have joined; the leader's assignment is awaited.
    CompletingRebalance,
    /// Everybody has its part.
    Stable,
}

impl State {
    /// Kafka's name, in DescribeGroups and ListGroups.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// Ends the joining phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinTimer {
    /// The first rebalance of an empty group: more members may come.
    Initial {
        /// When it fires.
        at: u64,
        /// What this wait is, ms.
        delay: u64,
        /// What may still be added to it, ms.
        remaining: u64,
    },
    /// Whoever has not joined by then is out.
    Rebalance {
        /// When it fires.
        at: u64,
    },
}

/// One classic group.
#[derive(Debug)]
pub struct ClassicGroup {
    pub(super) id: GroupId,
    pub(super) state: State,
    /// When it got there, wall clock, as its last record says; `None` = loaded from a record too old to say.
    pub(super) since_ms: Option<i64>,
    /// `None` = never had members: a simple consumer's offsets.
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) generation: i32,
    pub(super) leader: Option<MemberId>,
    pub(super) roster: Roster,
    /// Ids handed out with MEMBER_ID_REQUIRED and not used yet.
    pub(super) pending: Deadlines,
    /// Members that have not synced in this generation.
    pub(super) unsynced: BTreeSet<MemberId>,
    pub(super) join_timer: Option<JoinTimer>,
    pub(super) sync_timer: Option<u64>,
    /// A member came during the initial delay: wait for more.
    pub(super) more_may_come: bool,
    /// Its last record could not be stored: the log holds an older generation.
    pub(super) unsaved: bool,
    /// Topics of a consumer group's members; `None` = unknown, or another protocol type.
    pub(super) subscribed: Option<BTreeSet<String>>,
}

impl ClassicGroup {
    /// An empty group that never had members.
    pub fn new(id: GroupId, since_ms: Option<i64>) -> Self {
        Self {
            id,
            state: State::Empty,
            since_ms,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            roster: Roster::default(),
            pending: Deadlines::default(),
            unsynced: BTreeSet::new(),
            join_timer: None,
            sync_timer: None,
            more_may_come: false,
            unsaved: false,
            subscribed: None,
        }
    }

    /// The group that a record describes: Stable with members, Empty without. Sessions begin when it is served.
    pub fn from_record(id: GroupId, value: &GroupValue) -> Self {
        let mut group = Self::new(id, value.since_ms);
        group.protocol_type = Some(value.protocol_type.clone()).filter(|name| !name.is_empty());
        group.protocol = value.protocol.clone();
        group.generation = value.generation;
        let protocol = value.protocol.as_deref().unwrap_or_default();
        for member in &value.members {
            // A record that names a member twice keeps the later one, as a table of members would.
            group.roster.remove(member.id.as_str());
            if let Some(holder) =
                member.instance.as_ref().and_then(|name| group.roster.instance(name.as_str()))
            {
                let holder = holder.clone();
                group.roster.remove(holder.as_str());
            }
            group.roster.add(member.id.clone(), Member::from_record(member, protocol));
        }
        // A leader that is no member could never be told to assign.
        group.leader = value.leader.clone().filter(|id| group.roster.get(id.as_str()).is_some());
        group.leader = group.leader.or_else(|| group.roster.iter().next().map(|(id, _)| id.clone()));
        if !group.roster.is_empty() {
            group.state = State::Stable;
        }
        group.subscribed = group.read_subscriptions();
        group
    }

    /// Starts the sessions of a group that was just loaded.
    pub fn begin_sessions(&mut self, tick_ms: u64) {
        for id in self.roster.ids() {
            self.renew_session(&id, tick_ms);
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The generation.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// `consumer`, `connect`...
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The generation's protocol.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Its members, by id.
    pub fn members(&self) -> impl Iterator<Item = (&MemberId, &Member)> {
        self.roster.iter()
    }

    /// When an Empty group became so.
    pub fn since_ms(&self) -> Option<i64> {
        self.since_ms
    }

    /// Whether an id was handed out that may still join.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether its members read `topic`. A consumer group whose subscriptions cannot be read may read anything.
    pub fn reads(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.protocol_type() == Some(CONSUMER),
        }
    }

    /// Its members read topics and commit how far they are.
    pub fn is_consumers(&self) -> bool {
        self.protocol_type() == Some(CONSUMER)
    }

    /// Whether the coordinator knows what its members read.
    pub fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }

    /// The earliest moment at which `expire` has something to do, on the monotonic scale.
    pub fn next_deadline(&self) -> Option<u64> {
        let join = self.join_timer.map(|timer| match timer {
            JoinTimer::Initial { at, .. } | JoinTimer::Rebalance { at } => at,
        });
        [join, self.sync_timer, self.roster.next_session_end(), self.pending.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The member is who it says: its id is in the group, and holds the instance id if it names one.
    pub(super) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            let holder = self.roster.instance(instance).ok_or(GroupError::UnknownMember)?;
            if holder.as_str() != id {
                return Err(GroupError::FencedInstance);
            }
        }
        self.roster.get(id).map(|_| ()).ok_or(GroupError::UnknownMember)
    }

    /// Starts a member's session anew.
    pub(super) fn renew_session(&mut self, id: &MemberId, tick_ms: u64) {
        if let Some(member) = self.roster.get(id.as_str()) {
            let timeout = u64::try_from(member.session_timeout_ms).unwrap_or(0);
            self.roster.set_session_end(id.as_str(), tick_ms.saturating_add(timeout));
        }
    }

    /// All members with their bytes for the elected protocol.
    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol().unwrap_or_default();
        let joined = |(id, member): (&MemberId, &Member)| JoinedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        };
        self.roster.iter().map(joined).collect()
    }

    /// The record of this generation, with these assignments.
    pub(super) fn record(
        &self,
        since_ms: Option<i64>,
        assignment: impl Fn(&MemberId, &Member) -> Bytes,
    ) -> Record {
        let protocol = self.protocol().unwrap_or_default();
        let members = self.roster.iter();
        let value = GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            since_ms,
            members: members
                .map(|(id, member)| member.to_record(id, protocol, assignment(id, member)))
                .collect(),
        };
        Record::Group { group: self.id.clone(), value: Some(value) }
    }

    /// The record a replay of which gives this very group; `None` while the log still holds a generation before: in a
    /// rebalance, and when the last record could not be stored.
    pub fn settled_record(&self) -> Option<Record> {
        (matches!(self.state, State::Empty | State::Stable) && !self.unsaved)
            .then(|| self.record(self.since_ms, |_, member| member.assignment.clone()))
    }

    /// The topics all members subscribe to.
    pub(super) fn read_subscriptions(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type() != Some(CONSUMER) {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.roster.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol()?;
        for (id, member) in self.roster.iter() {
            match subscription::topics(&member.metadata(protocol)) {
                Ok(names) => topics.extend(names),
                Err(fault) => {
                    tracing::debug!(group = %self.id, member = %id, %fault, "a member's subscription cannot be read");
                    return None;
                }
            }
        }
        Some(topics)
    }

    /// Compares what is kept twice, and checks what must hold between the steps of the machine.
    #[cfg(test)]
    pub fn check(&self) {
        self.roster.check();
        assert!(self.pending.ids().all(|id| self.roster.get(id.as_str()).is_none()), "{self:?}");
        let leads = self.leader.as_ref().is_none_or(|id| self.roster.get(id.as_str()).is_some());
        assert!(leads && self.leader.is_some() != self.roster.is_empty(), "{self:?}");
        for (_, member) in self.roster.iter() {
            assert!(member.joining.is_none() || self.state == State::PreparingRebalance, "{self:?}");
            assert!(member.syncing.is_none() || self.state == State::CompletingRebalance, "{self:?}");
        }
        match self.state {
            State::Empty => assert!(self.roster.is_empty() && self.join_timer.is_none(), "{self:?}"),
            State::PreparingRebalance => assert!(self.join_timer.is_some(), "{self:?}"),
            State::CompletingRebalance => {
                assert!(self.sync_timer.is_some() || self.unsynced.is_empty(), "{self:?}")
            }
            State::Stable => assert!(!self.roster.is_empty() && self.join_timer.is_none(), "{self:?}"),
        }
    }
}
