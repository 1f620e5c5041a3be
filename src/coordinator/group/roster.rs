//! The members of one group with what is counted over all of them: votes, instances, open joins, session ends.
//! It knows no states and answers nobody. Invariant: every count equals what a walk over the members would find.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::group::deadlines::Deadlines;
use crate::coordinator::group::id::{InstanceId, MemberId};
use crate::coordinator::group::member::{Member, Protocol, Waiter};

/// A group's members.
#[derive(Debug, Default)]
pub struct Roster {
    members: BTreeMap<MemberId, Member>,
    instances: BTreeMap<InstanceId, MemberId>,
    /// How many members offer each protocol.
    offered: BTreeMap<String, usize>,
    /// Members whose join waits.
    joining: usize,
    /// When sessions end.
    sessions: Deadlines,
}

impl Roster {
    /// How many members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// No member at all.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many joins wait.
    pub fn joining(&self) -> usize {
        self.joining
    }

    /// A member by id.
    pub fn get(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// All members, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&MemberId, &Member)> {
        self.members.iter()
    }

    /// All ids, as a list of its own.
    pub fn ids(&self) -> Vec<MemberId> {
        self.members.keys().cloned().collect()
    }

    /// The member that holds an instance id.
    pub fn instance(&self, instance: &str) -> Option<&MemberId> {
        self.instances.get(instance)
    }

    /// How many members are static.
    pub fn static_members(&self) -> usize {
        self.instances.len()
    }

    /// Adds a member. Its id and instance id must be new.
    pub fn add(&mut self, id: MemberId, member: Member) {
        if let Some(instance) = &member.instance {
            let before = self.instances.insert(instance.clone(), id.clone());
            assert!(before.is_none(), "instance {instance} belongs to {before:?} and joins as {id}");
        }
        self.count(&member.protocols);
        self.joining += usize::from(member.joining.is_some());
        let before = self.members.insert(id.clone(), member);
        assert!(before.is_none(), "member {id} joins twice");
    }

    /// Takes a member out.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.discount(&member.protocols);
        self.joining -= usize::from(member.joining.is_some());
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        self.sessions.clear(id);
        Some(member)
    }

    /// What the member says on a new join replaces what it said before. Answers the join it left waiting, if any.
    pub fn update(
        &mut self,
        id: &str,
        protocols: Vec<Protocol>,
        timeouts: (i32, i32),
        joining: Option<Waiter>,
    ) -> Option<Waiter> {
        let member = self.members.get_mut(id)?;
        let old = std::mem::replace(&mut member.protocols, protocols.clone());
        (member.rebalance_timeout_ms, member.session_timeout_ms) = timeouts;
        let before = std::mem::replace(&mut member.joining, joining);
        self.joining = self.joining + usize::from(joining.is_some()) - usize::from(before.is_some());
        self.discount(&old);
        self.count(&protocols);
        before
    }

    /// The join that waits, no longer waiting.
    pub fn take_joining(&mut self, id: &str) -> Option<Waiter> {
        let waiter = self.members.get_mut(id)?.joining.take()?;
        self.joining -= 1;
        Some(waiter)
    }

    /// The sync that waits, no longer waiting.
    pub fn take_syncing(&mut self, id: &str) -> Option<Waiter> {
        self.members.get_mut(id)?.syncing.take()
    }

    /// Lets a sync wait; answers the one it replaces.
    pub fn set_syncing(&mut self, id: &str, waiter: Waiter) -> Option<Waiter> {
        self.members.get_mut(id)?.syncing.replace(waiter)
    }

    /// Gives a member its assignment.
    pub fn set_assignment(&mut self, id: &str, assignment: bytes::Bytes) {
        if let Some(member) = self.members.get_mut(id) {
            member.assignment = assignment;
        }
    }

    /// The member got its join answer: it knows its id now.
    pub fn set_known(&mut self, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.is_new = false;
        }
    }

    /// Moves the end of a member's session, on the monotonic scale.
    pub fn set_session_end(&mut self, id: &str, at: u64) {
        if let Some((id, _)) = self.members.get_key_value(id) {
            self.sessions.set(id, at);
        }
    }

    /// The earliest end of a session.
    pub fn next_session_end(&self) -> Option<u64> {
        self.sessions.next()
    }

    /// Takes one member whose session ended at `now` or earlier. It has none until its next answer.
    pub fn pop_session_end(&mut self, now: u64) -> Option<MemberId> {
        self.sessions.pop_due(now)
    }

    /// The longest any member may take to rejoin, ms; 0 without members.
    pub fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        u64::try_from(longest.unwrap_or(0)).unwrap_or(0)
    }

    /// Whether every member offers `protocol`.
    pub fn all_offer(&self, protocol: &str) -> bool {
        self.offered.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// The protocol of the next generation: each member votes for its first one that all offer, most votes win, the
    /// first by name wins a tie. `None` without members, or when nothing is offered by all.
    pub fn elect_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for vote in self.members.values().filter_map(|member| member.vote(|name| self.all_offer(name))) {
            *votes.entry(vote).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }

    fn count(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            *self.offered.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn discount(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            if let Some(count) = self.offered.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.offered.remove(name);
                }
            }
        }
    }

    /// Compares every count with a walk.
    #[cfg(test)]
    pub fn check(&self) {
        let joining = self.members.values().filter(|member| member.joining.is_some()).count();
        assert_eq!(joining, self.joining);
        let instances: BTreeMap<_, _> = self
            .members
            .iter()
            .filter_map(|(id, member)| Some((member.instance.clone()?, id.clone())))
            .collect();
        assert_eq!(instances, self.instances);
        assert!(self.sessions.ids().all(|id| self.members.contains_key(id)));
        let mut offered: BTreeMap<String, usize> = BTreeMap::new();
        for member in self.members.values() {
            for name in distinct(&member.protocols) {
                *offered.entry(name.to_owned()).or_default() += 1;
            }
        }
        assert_eq!(offered, self.offered);
    }
}

/// A client may name a protocol twice; it offers it once all the same.
fn distinct(protocols: &[Protocol]) -> BTreeSet<&str> {
    protocols.iter().map(|protocol| protocol.name.as_str()).collect()
}
