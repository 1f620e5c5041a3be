//! All groups of one partition of `__consumer_offsets`: finds the group, lets it take its step, keeps time for it.
//! Pure: it appends nothing, it only says what to append. Invariant: offsets change only by applying the very records
//! that are in the log, live and on replay alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::group::classic::{ClassicGroup, Limits, State};
use crate::coordinator::group::effects::{Effects, Now, Store, Then};
use crate::coordinator::group::error::{GroupError, JoinRefused};
use crate::coordinator::group::id::GroupId;
use crate::coordinator::group::join::Join;
use crate::coordinator::group::member::Waiter;
use crate::coordinator::group::offsets::Offsets;
use crate::coordinator::group::records::{GroupValue, OffsetValue, Record};
use crate::coordinator::group::sync::{Claim, Leaving, Sync};

/// Groups of one partition. Asking for an id is cheap for a client, so there is an end to it.
pub const GROUPS_MAX: usize = 200_000;

/// Tombstones in one batch.
const TOMBSTONES_MAX: usize = 1000;

/// The groups of one partition.
#[derive(Debug, Default)]
pub struct Groups {
    groups: BTreeMap<GroupId, Group>,
    /// When to look at a group again: never later than its next deadline, so a heartbeat does not touch it.
    due: BTreeSet<(u64, GroupId)>,
}

#[derive(Debug)]
struct Group {
    classic: ClassicGroup,
    offsets: Offsets,
    /// Its place in `due`.
    look_at: Option<u64>,
}

/// One partition's offset in a commit.
#[derive(Debug, Clone)]
pub struct OffsetToCommit {
    /// Topic name; the caller checked that it exists.
    pub topic: String,
    /// Partition index; the caller checked that it exists.
    pub partition: i32,
    /// Next offset wanted.
    pub offset: i64,
    /// Epoch of the last record consumed, -1 for none.
    pub leader_epoch: i32,
    /// The client's text.
    pub metadata: String,
}

/// An OffsetCommit request.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Who commits.
    pub claim: Claim,
    /// The client's own retention, ms (v2-4); `None` = the broker's.
    pub retention_ms: Option<i64>,
    /// v9+: an unknown group may be called that.
    pub knows_not_found: bool,
    /// What is committed.
    pub offsets: Vec<OffsetToCommit>,
}

impl Groups {
    /// How many groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// No group at all.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// One group, by name.
    pub fn get(&self, id: &str) -> Option<(&ClassicGroup, &Offsets)> {
        self.groups.get(id).map(|group| (&group.classic, &group.offsets))
    }

    /// All groups, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupId, &ClassicGroup, &Offsets)> {
        self.groups.iter().map(|(id, group)| (id, &group.classic, &group.offsets))
    }

    /// A step of a group that exists.
    fn step<R>(
        &mut self,
        id: &str,
        step: impl FnOnce(&mut ClassicGroup) -> Result<R, GroupError>,
    ) -> Result<R, GroupError> {
        let group = self.groups.get_mut(id).ok_or(GroupError::NotFound)?;
        let answer = step(&mut group.classic);
        self.look_again(id);
        answer
    }

    /// Looks at the group in time for its next deadline. Later ones are found when the earlier one comes.
    fn look_again(&mut self, id: &str) {
        let Some((id, group)) = self.groups.get_key_value(id) else { return };
        let Some(next) = group.classic.next_deadline() else { return };
        if group.look_at.is_some_and(|at| at <= next) {
            return;
        }
        let (id, before) = (id.clone(), group.look_at);
        if let Some(at) = before {
            self.due.remove(&(at, id.clone()));
        }
        if let Some(group) = self.groups.get_mut(&id) {
            group.look_at = Some(next);
        }
        self.due.insert((next, id));
    }

    fn remove(&mut self, id: &str) {
        if let Some((id, group)) = self.groups.remove_entry(id)
            && let Some(at) = group.look_at
        {
            self.due.remove(&(at, id));
        }
    }

    fn entry(&mut self, id: &GroupId) -> &mut Group {
        self.groups.entry(id.clone()).or_insert_with(|| Group {
            classic: ClassicGroup::new(id.clone(), None),
            offsets: Offsets::default(),
            look_at: None,
        })
    }

    /// A member joins. A group that does not exist is opened for a client that is no member of any.
    pub fn join(
        &mut self,
        now: Now,
        limits: &Limits,
        id: &GroupId,
        join: Join,
        waiter: Waiter,
        effects: &mut Effects,
    ) {
        if let Some(group) = self.groups.get_mut(id) {
            group.classic.join(now, limits, join, waiter, effects);
            return self.look_again(id.as_str());
        }
        if !join.member.is_empty() || self.groups.len() >= GROUPS_MAX {
            let full = join.member.is_empty();
            let error = if full { GroupError::NotAvailable } else { GroupError::UnknownMember };
            effects.joined.push((waiter, Err(JoinRefused { error, member: join.member })));
            return;
        }
        let mut classic = ClassicGroup::new(id.clone(), Some(now.wall_ms));
        classic.join(now, limits, join, waiter, effects);
        if classic.members().next().is_none() && !classic.has_pending() {
            return;
        }
        self.entry(id).classic = classic;
        self.look_again(id.as_str());
        let value = GroupValue {
            protocol_type: String::new(),
            generation: 0,
            protocol: None,
            leader: None,
            since_ms: Some(now.wall_ms),
            members: Vec::new(),
        };
        let records = vec![Record::Group { group: id.clone(), value: Some(value) }];
        effects.stores.push_back(Store { group: id.clone(), records, then: Then::Opened });
    }

    /// A member syncs.
    pub fn sync(&mut self, now: Now, id: &GroupId, sync: Sync, waiter: Waiter, effects: &mut Effects) {
        let found = self.step(id.as_str(), |group| {
            group.sync(now, sync, waiter, effects);
            Ok(())
        });
        if found.is_err() {
            effects.synced.push((waiter, Err(GroupError::UnknownMember)));
        }
    }

    /// A member lives.
    pub fn heartbeat(&mut self, now: Now, id: &GroupId, claim: &Claim) -> Result<(), GroupError> {
        self.step(id.as_str(), |group| group.heartbeat(now, claim)).map_err(|error| match error {
            GroupError::NotFound => GroupError::UnknownMember,
            error => error,
        })
    }

    /// Members leave.
    pub fn leave(
        &mut self,
        now: Now,
        limits: &Limits,
        id: &GroupId,
        leaving: &[Leaving],
        effects: &mut Effects,
    ) -> Vec<Result<(), GroupError>> {
        let left = self.step(id.as_str(), |group| Ok(group.leave(now, limits, leaving, effects)));
        left.unwrap_or_else(|_| vec![Err(GroupError::UnknownMember); leaving.len()])
    }

    /// Offsets are committed. The first answer is about the claim, the second about each offset by itself; those
    /// without error count only if `waiter` is told so too.
    pub fn commit(
        &mut self,
        now: Now,
        limits: &Limits,
        id: &GroupId,
        commit: Commit,
        waiter: Waiter,
        effects: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        match self.step(id.as_str(), |group| group.check_commit(now, &commit.claim)) {
            // A simple consumer opens its group with its first offset.
            Err(GroupError::NotFound) if commit.claim.generation < 0 && self.groups.len() >= GROUPS_MAX => {
                return Err(GroupError::NotAvailable);
            }
            Err(GroupError::NotFound) if commit.claim.generation < 0 => {}
            Err(GroupError::NotFound) if !commit.knows_not_found => {
                return Err(GroupError::IllegalGeneration);
            }
            outcome => outcome?,
        }
        let expire_ms = commit.retention_ms.map(|retention| now.wall_ms.saturating_add(retention));
        let mut answers = Vec::with_capacity(commit.offsets.len());
        let mut records = Vec::with_capacity(commit.offsets.len());
        for asked in commit.offsets {
            if asked.metadata.len() > limits.metadata_bytes_max {
                answers.push(Err(GroupError::MetadataTooLarge));
                continue;
            }
            let value = OffsetValue {
                offset: asked.offset,
                // The only record version with an expiry has no epoch.
                leader_epoch: if expire_ms.is_some() { -1 } else { asked.leader_epoch },
                metadata: asked.metadata,
                commit_ms: now.wall_ms,
                expire_ms,
            };
            let (group, topic, partition) = (id.clone(), asked.topic, asked.partition);
            records.push(Record::Offset { group, topic, partition, value: Some(value) });
            answers.push(Ok(()));
        }
        if records.is_empty() {
            effects.settled.push((waiter, Ok(())));
        } else {
            let then = Then::Applied { waiter: Some(waiter) };
            effects.stores.push_back(Store { group: id.clone(), records, then });
        }
        Ok(answers)
    }

    /// Deletes a group without members, offsets and all.
    pub fn delete(&self, id: &GroupId, waiter: Waiter, effects: &mut Effects) -> Result<(), GroupError> {
        let group = self.groups.get(id).ok_or(GroupError::NotFound)?;
        if group.classic.state() != State::Empty {
            return Err(GroupError::NonEmpty);
        }
        let mut records = group.offsets.tombstones(id, |_, _| true);
        records.push(Record::Group { group: id.clone(), value: None });
        bury(id, records, Some(waiter), effects);
        Ok(())
    }

    /// Forgets some offsets, by topic and partition; one answer for each. What members read stays, and so do all offsets
    /// of members that are no consumers.
    pub fn delete_offsets(
        &self,
        id: &GroupId,
        asked: &[(String, i32)],
        waiter: Waiter,
        effects: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let group = self.groups.get(id).ok_or(GroupError::NotFound)?;
        let busy = group.classic.state() != State::Empty;
        if busy && !group.classic.is_consumers() {
            return Err(GroupError::NonEmpty);
        }
        let mut records = Vec::new();
        let answers = asked.iter().map(|(topic, partition)| {
            if busy && group.classic.reads(topic) {
                return Err(GroupError::Subscribed);
            }
            if group.offsets.get(topic, *partition).is_some() {
                let (group, topic, partition) = (id.clone(), topic.clone(), *partition);
                records.push(Record::Offset { group, topic, partition, value: None });
            }
            Ok(())
        });
        let answers = answers.collect();
        match records.is_empty() {
            true => effects.settled.push((waiter, Ok(()))),
            false => bury(id, records, Some(waiter), effects),
        }
        Ok(answers)
    }

    /// Forgets what has expired, for at most `many` groups from `from` on; answers where to go on.
    pub fn forget_expired(
        &self,
        now: Now,
        limits: &Limits,
        from: Option<&GroupId>,
        many: usize,
        effects: &mut Effects,
    ) -> Option<GroupId> {
        let first = from.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
        let mut groups = self.groups.range::<GroupId, _>((first, std::ops::Bound::Unbounded));
        for (id, group) in groups.by_ref().take(many) {
            let expired = group.offsets.expired(id, &group.classic, now.wall_ms, limits.retention_ms);
            let idle = group.classic.state() == State::Empty && !group.classic.has_pending();
            self.forget(id, group, expired, idle, effects);
        }
        groups.next().map(|(id, _)| id.clone())
    }

    fn forget(
        &self,
        id: &GroupId,
        group: &Group,
        mut records: Vec<Record>,
        idle: bool,
        effects: &mut Effects,
    ) {
        if idle && records.len() == group.offsets.iter().count() {
            records.push(Record::Group { group: id.clone(), value: None });
        }
        if !records.is_empty() {
            tracing::info!(group = %id, tombstones = records.len(), "group's offsets are forgotten");
            bury(id, records, None, effects);
        }
    }

    /// Forgets the offsets of topics that are gone.
    pub fn forget_topics(&self, gone: impl Fn(&str) -> bool, effects: &mut Effects) {
        for (id, group) in &self.groups {
            let records = group.offsets.tombstones(id, |topic, _| gone(topic));
            self.forget(id, group, records, false, effects);
        }
    }

    /// The earliest moment at which `expire` may have something to do.
    pub fn next_deadline(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Lets the groups do what is due.
    pub fn expire(&mut self, now: Now, limits: &Limits, effects: &mut Effects) {
        while let Some((at, id)) = self.due.first().cloned() {
            if at > now.tick_ms {
                return;
            }
            self.due.pop_first();
            if let Some(group) = self.groups.get_mut(&id) {
                group.look_at = None;
                group.classic.expire(now, limits, effects);
                self.look_again(id.as_str());
            }
        }
    }

    /// Tells how a store ended. Must come before any other step.
    pub fn stored(
        &mut self,
        now: Now,
        limits: &Limits,
        store: Store,
        outcome: Result<(), GroupError>,
        effects: &mut Effects,
    ) {
        match store.then {
            Then::Applied { waiter } => {
                if outcome.is_ok() {
                    store.records.into_iter().for_each(|record| self.apply(record));
                }
                if let Some(waiter) = waiter {
                    effects.settled.push((waiter, outcome));
                }
            }
            Then::Opened => {
                if let Err(error) = outcome {
                    if let Some(group) = self.groups.get_mut(&store.group) {
                        group.classic.abandon(&error, effects);
                    }
                    self.remove(store.group.as_str());
                }
            }
            then => {
                if let Some(group) = self.groups.get_mut(&store.group) {
                    group.classic.stored(now, limits, then, outcome, effects);
                    self.look_again(store.group.as_str());
                }
            }
        }
    }

    /// Applies a record of the log: all there is to a replay, and how offsets change while serving.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Offset { group, topic, partition, value } => {
                // A tombstone of a group that is gone opens nothing.
                if value.is_some() || self.groups.contains_key(&group) {
                    self.entry(&group).offsets.apply(topic, partition, value);
                }
            }
            Record::Group { group, value: Some(value) } => {
                let classic = ClassicGroup::from_record(group.clone(), &value);
                self.entry(&group).classic = classic;
            }
            Record::Group { group, value: None } => {
                let Some(found) = self.groups.get_mut(&group) else { return };
                if found.offsets.is_empty() {
                    self.remove(group.as_str());
                } else {
                    // Offsets without tombstones of their own are a simple consumer's from here on.
                    found.classic = ClassicGroup::new(group, None);
                }
            }
        }
    }

    /// The log is replayed: sessions begin, and groups above `group.max.size` rebalance.
    pub fn begin(&mut self, now: Now, limits: &Limits, effects: &mut Effects) {
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                group.classic.begin_sessions(now.tick_ms);
                group.classic.shrink(now, limits, effects);
            }
            self.look_again(id.as_str());
        }
    }

    /// Every waiting member is told `error`: this broker no longer coordinates these groups.
    pub fn abandon(&mut self, error: &GroupError, effects: &mut Effects) {
        for group in self.groups.values_mut() {
            group.classic.abandon(error, effects);
        }
    }

    /// What the log has to say the same about.
    pub fn dump(&self) -> Dump {
        let groups = self.iter().map(|(id, classic, _)| (id.clone(), classic.settled_record())).collect();
        let offsets = self.iter().flat_map(|(id, _, offsets)| {
            offsets
                .iter()
                .map(|(topic, partition, value)| ((id.clone(), topic.to_owned(), partition), value.clone()))
        });
        Dump { groups, offsets: offsets.collect() }
    }
}

/// Tombstones in batches that stay small whatever the group has committed; the last one answers.
fn bury(id: &GroupId, mut records: Vec<Record>, waiter: Option<Waiter>, effects: &mut Effects) {
    while records.len() > TOMBSTONES_MAX {
        let rest = records.split_off(TOMBSTONES_MAX);
        let then = Then::Applied { waiter: None };
        effects.stores.push_back(Store { group: id.clone(), records, then });
        records = rest;
    }
    effects.stores.push_back(Store { group: id.clone(), records, then: Then::Applied { waiter } });
}

/// The durable part of a partition's groups, to be compared with a replay of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Each group's record; `None` while it rebalances, when the log holds the generation before.
    pub groups: BTreeMap<GroupId, Option<Record>>,
    /// Every committed offset.
    pub offsets: BTreeMap<(GroupId, String, i32), OffsetValue>,
}

impl Dump {
    /// What differs from a replay, one line each; empty when live state and log agree.
    pub fn differences(&self, replayed: &Dump) -> Vec<String> {
        let mut found = Vec::new();
        let names: BTreeSet<_> = self.groups.keys().chain(replayed.groups.keys()).collect();
        for name in names {
            match (self.groups.get(name), replayed.groups.get(name)) {
                (Some(None), Some(_)) => {}
                (live, replayed) if live == replayed => {}
                (live, replayed) => found.push(format!("group {name}: live {live:?}, replayed {replayed:?}")),
            }
        }
        let places: BTreeSet<_> = self.offsets.keys().chain(replayed.offsets.keys()).collect();
        for place in places {
            let (live, replayed) = (self.offsets.get(place), replayed.offsets.get(place));
            if live != replayed {
                found.push(format!("offset {place:?}: live {live:?}, replayed {replayed:?}"));
            }
        }
        found
    }
}
