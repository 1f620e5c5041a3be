//! Who shall be a member: admits nodes as learners, makes and unmakes voters, one change at a time. Only the leader's
//! is asked. Not raft's joint consensus (openraft's). Invariant: no live member loses its place to one that joins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::{Unavailable, VoterError};
use crate::id::BrokerId;
use crate::quorum::founding::is_unmet;
use crate::quorum::identity::{Whereabouts, node_of};
use crate::quorum::peer_codec::JoinAnswer;
use crate::quorum::type_config::{Membership, Raft, VoterId};

/// A member that answered a beat so recently lives.
pub const ALIVE: Duration = Duration::from_secs(3);
/// A learner so few entries behind has caught up.
pub const CAUGHT_UP: u64 = 64;
/// What a change of members may take.
const CHANGE_WITHIN: Duration = Duration::from_secs(8);

/// What a leader knows when it is asked to change members.
#[derive(Debug, Clone)]
pub struct Situation {
    /// The members now.
    pub membership: Membership,
    /// Those that answered a beat within [`ALIVE`].
    pub alive: BTreeSet<VoterId>,
    /// The leader has led long enough for the living to have answered.
    pub settled: bool,
    /// Learners that miss at most [`CAUGHT_UP`] entries.
    pub caught_up: BTreeSet<VoterId>,
}

/// The next step of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Everything is as asked.
    Nothing,
    /// Ask again.
    Later(&'static str),
    /// Never as asked.
    Refuse(String),
    /// This change.
    Change(ChangeMembers<VoterId, BasicNode>, bool),
}

/// What to do for a node that wants to be a member. `votes`: its configuration names it as a voter.
pub fn admit(now: &Situation, joiner: VoterId, whereabouts: &Whereabouts, votes: bool) -> Step {
    let membership = &now.membership;
    let twins = || membership.nodes().filter(|(id, _)| **id != joiner && node_of(**id) == node_of(joiner));
    let node = node_of(joiner);
    if twins().any(|(id, _)| now.alive.contains(id)) {
        return Step::Refuse(format!(
            "node {node} runs already, with another metadata directory: stop it, or give this one a node.id of its own"
        ));
    }
    if !now.settled && twins().any(|(id, _)| !is_unmet(*id)) {
        return Step::Later("the leader is new and does not know yet who lives");
    }
    let other = twins().map(|(id, _)| *id).next();
    let place = twins().find(|(id, _)| is_unmet(**id)).and_then(|(_, node)| Whereabouts::of(node).address);
    if let Some(place) = place.filter(|place| votes && Some(place) != whereabouts.address.as_ref()) {
        return Step::Refuse(format!(
            "the other voters name node {node} at {place}: make controller.quorum.voters the same on every node"
        ));
    }
    let node = whereabouts.to_node();
    let known = membership.get_node(&joiner);
    if known.is_none() {
        return Step::Change(ChangeMembers::AddNodes(BTreeMap::from([(joiner, node)])), true);
    }
    if known != Some(&node) {
        return Step::Change(ChangeMembers::SetNodes(BTreeMap::from([(joiner, node)])), true);
    }
    let Some(other) = other else { return Step::Nothing };
    if membership.voter_ids().all(|id| id != other) {
        return Step::Change(ChangeMembers::RemoveNodes(BTreeSet::from([other])), true);
    }
    if !votes {
        return Step::Nothing;
    }
    if !now.caught_up.contains(&joiner) {
        return Step::Later("it has not caught up");
    }
    let voters = membership.voter_ids().filter(|id| *id != other).chain([joiner]);
    Step::Change(ChangeMembers::ReplaceAllVoters(voters.collect()), false)
}

/// What to do to make a learner a voter (KIP-853's AddRaftVoter). A nil directory stands for any.
pub fn promote(now: &Situation, node: BrokerId, directory: Uuid) -> Result<Step, VoterError> {
    let id = find(&now.membership, node, directory)?;
    let mut voters = now.membership.voter_ids().filter(|voter| node_of(*voter) == node);
    match voters.next() {
        Some(voter) if voter == id => return Err(VoterError::AlreadyVotes(node)),
        Some(_) => return Err(VoterError::VotesElsewhere(node)),
        None => {}
    }
    if !now.caught_up.contains(&id) {
        return Err(VoterError::NotCaughtUp(node));
    }
    Ok(Step::Change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true))
}

/// What to do to forget a node that is gone: it follows no more and answers nothing.
pub fn forget(now: &Situation, node: BrokerId) -> Step {
    let gone = |id: &VoterId| node_of(*id) == node && !now.alive.contains(id);
    let gone: BTreeSet<VoterId> = now.membership.learner_ids().filter(gone).collect();
    match gone.is_empty() || !now.settled {
        true => Step::Nothing,
        false => Step::Change(ChangeMembers::RemoveNodes(gone), true),
    }
}

/// What to do to take a vote (KIP-853's RemoveRaftVoter). Who lives follows from then on; a dead one is forgotten.
pub fn demote(now: &Situation, node: BrokerId, directory: Uuid) -> Result<Step, VoterError> {
    let voters: BTreeSet<VoterId> = now.membership.voter_ids().collect();
    let id = voters.iter().copied().find(|id| is(&now.membership, *id, node, directory));
    let id = id.ok_or(VoterError::NoVoter(node))?;
    if voters.len() == 1 {
        return Err(VoterError::LastVoter(node));
    }
    let lives = now.alive.contains(&id) || !now.settled;
    Ok(Step::Change(ChangeMembers::RemoveVoters(BTreeSet::from([id])), lives))
}

fn find(membership: &Membership, node: BrokerId, directory: Uuid) -> Result<VoterId, VoterError> {
    let mut ids = membership.nodes().map(|(id, _)| *id);
    ids.find(|id| is(membership, *id, node, directory)).ok_or(VoterError::Unknown(node))
}

fn is(membership: &Membership, id: VoterId, node: BrokerId, directory: Uuid) -> bool {
    let known = membership.get_node(&id).map(|node| Whereabouts::of(node).directory);
    node_of(id) == node && (directory.is_nil() || known == Some(directory))
}

/// Makes changes, one at a time.
#[derive(Clone)]
pub struct Changes {
    raft: Raft,
    busy: Arc<AtomicBool>,
}

/// Ends a change when it goes.
struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Changes {
    /// Of this member.
    pub fn new(raft: Raft) -> Changes {
        Changes { raft, busy: Arc::default() }
    }

    /// Whether a change is under way.
    pub fn busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Makes a change, in a task of its own: who asked may stop waiting, the change goes on.
    pub async fn make(
        &self,
        change: ChangeMembers<VoterId, BasicNode>,
        retain: bool,
    ) -> Result<(), VoterError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(VoterError::InProgress);
        }
        let (turn, raft) = (Turn(self.busy.clone()), self.raft.clone());
        tracing::info!(?change, "changing the quorum's members");
        let changed = tokio::spawn(async move {
            let _turn = turn;
            let change = raft.change_membership(change, retain);
            tokio::time::timeout_at(Instant::now() + CHANGE_WITHIN, change).await
        });
        match changed.await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))))) => {
                Err(Unavailable::NotLeader { leader: None }.into())
            }
            Ok(Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))))) => {
                tracing::warn!(%error, "the quorum's members did not change");
                Err(VoterError::InProgress)
            }
            Ok(Ok(Err(RaftError::Fatal(fatal)))) => Err(Unavailable::Stopped(fatal.to_string()).into()),
            Ok(Err(_)) | Err(_) => Err(Unavailable::Interrupted.into()),
        }
    }

    /// Takes a step for a joiner and says what to tell it.
    pub async fn take(&self, step: Step) -> JoinAnswer {
        match step {
            Step::Nothing => JoinAnswer::Member,
            Step::Later(why) => JoinAnswer::Later(why.to_owned()),
            Step::Refuse(why) => JoinAnswer::Refused(why),
            // One step at a time: who joined asks again until nothing is left to do.
            Step::Change(change, retain) => match self.make(change, retain).await {
                Ok(()) => JoinAnswer::Later("one step is done".to_owned()),
                Err(error) => JoinAnswer::Later(error.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: VoterId = 1 << 32 | 1;
    const B: VoterId = 2 << 32 | 2;
    const C: VoterId = 3 << 32 | 3;
    /// Node 3 after its disk was wiped.
    const C2: VoterId = 9 << 32 | 3;

    fn at(port: u16) -> Whereabouts {
        Whereabouts { address: format!("h:{port}").parse().ok(), directory: Uuid::from_u128(port.into()) }
    }

    fn situation(learners: &[VoterId], alive: &[VoterId], caught_up: &[VoterId]) -> Situation {
        let ids = [A, B, C].into_iter().chain(learners.iter().copied());
        let nodes: BTreeMap<_, _> = ids.map(|id| (id, at((id >> 32) as u16).to_node())).collect();
        Situation {
            membership: Membership::new(vec![BTreeSet::from([A, B, C])], nodes),
            alive: alive.iter().copied().collect(),
            settled: true,
            caught_up: caught_up.iter().copied().collect(),
        }
    }

    #[test]
    fn a_wiped_voter_becomes_a_learner_then_takes_its_old_place() {
        let admit = |now: &Situation| super::admit(now, C2, &at(9), true);
        let Step::Refuse(why) = admit(&situation(&[], &[A, C], &[])) else { panic!("node 3 lives") };
        assert!(why.contains("node 3"), "{why}");
        let new = Situation { settled: false, ..situation(&[], &[], &[]) };
        assert!(matches!(admit(&new), Step::Later(_)));
        let Step::Change(ChangeMembers::AddNodes(added), true) = admit(&situation(&[], &[A], &[])) else {
            panic!("it is added")
        };
        assert_eq!(added, BTreeMap::from([(C2, at(9).to_node())]));
        assert!(matches!(admit(&situation(&[C2], &[A, C2], &[])), Step::Later(_)));
        let Step::Change(ChangeMembers::ReplaceAllVoters(voters), false) =
            admit(&situation(&[C2], &[A, C2], &[C2]))
        else {
            panic!("it takes its place")
        };
        assert_eq!(voters, BTreeSet::from([A, B, C2]));
        let learner = super::admit(&situation(&[C2], &[A, C2], &[C2]), C2, &at(9), false);
        assert_eq!(learner, Step::Nothing, "a node that no configuration names never takes a vote");
    }

    #[test]
    fn a_voter_nobody_met_is_replaced_by_the_first_of_its_node_that_is_where_it_was_named() {
        let unmet = crate::quorum::founding::unmet(BrokerId(4));
        let (named, d, d2): (_, VoterId, VoterId) = (at(4), 7 << 32 | 4, 8 << 32 | 4);
        let now = |learners: &[VoterId], alive: &[VoterId], caught_up: &[VoterId]| {
            let situation = situation(learners, alive, caught_up);
            let mut nodes: BTreeMap<_, _> =
                situation.membership.nodes().map(|(id, node)| (*id, node.clone())).collect();
            nodes.insert(unmet, Whereabouts { directory: Uuid::nil(), ..named.clone() }.to_node());
            nodes.extend(learners.iter().map(|id| (*id, named.to_node())));
            let membership = Membership::new(vec![BTreeSet::from([A, B, unmet])], nodes);
            Situation { membership, settled: false, ..situation }
        };
        let elsewhere = admit(&now(&[], &[A], &[]), d, &at(9), true);
        assert!(matches!(&elsewhere, Step::Refuse(why) if why.contains("h:4")), "{elsewhere:?}");
        assert!(matches!(
            admit(&now(&[], &[A], &[]), d, &named, true),
            Step::Change(ChangeMembers::AddNodes(_), true)
        ));
        let second = admit(&now(&[d], &[A, d], &[]), d2, &named, true);
        assert!(matches!(&second, Step::Refuse(why) if why.contains("runs already")), "{second:?}");
        assert_eq!(admit(&now(&[d], &[A, d], &[]), d, &named, true), Step::Later("it has not caught up"));
        let Step::Change(ChangeMembers::ReplaceAllVoters(voters), false) =
            admit(&now(&[d], &[A, d], &[d]), d, &named, true)
        else {
            panic!("it takes the place")
        };
        assert_eq!(voters, BTreeSet::from([A, B, d]));
    }

    #[test]
    fn a_member_that_moved_says_so_and_one_that_did_not_changes_nothing() {
        let now = situation(&[], &[A], &[]);
        assert_eq!(admit(&now, B, &at(2), true), Step::Nothing);
        let Step::Change(ChangeMembers::SetNodes(moved), true) = admit(&now, B, &at(7), true) else {
            panic!("it moved")
        };
        assert_eq!(moved, BTreeMap::from([(B, at(7).to_node())]));
    }

    #[test]
    fn voters_are_made_and_unmade_by_name() {
        let d: VoterId = 4 << 32 | 4;
        let now = situation(&[d], &[A], &[d]);
        let any = Uuid::nil();
        assert!(matches!(
            promote(&now, BrokerId(4), any),
            Ok(Step::Change(ChangeMembers::AddVoterIds(_), true))
        ));
        assert!(promote(&now, BrokerId(4), Uuid::from_u128(4)).is_ok());
        assert_eq!(promote(&now, BrokerId(4), Uuid::from_u128(5)), Err(VoterError::Unknown(BrokerId(4))));
        assert_eq!(promote(&now, BrokerId(2), any), Err(VoterError::AlreadyVotes(BrokerId(2))));
        let behind = situation(&[d], &[A], &[]);
        assert_eq!(promote(&behind, BrokerId(4), any), Err(VoterError::NotCaughtUp(BrokerId(4))));
        assert!(matches!(
            demote(&now, BrokerId(1), any),
            Ok(Step::Change(ChangeMembers::RemoveVoters(_), true))
        ));
        assert!(matches!(
            demote(&now, BrokerId(2), any),
            Ok(Step::Change(ChangeMembers::RemoveVoters(_), false))
        ));
        assert!(matches!(forget(&now, BrokerId(4)), Step::Change(ChangeMembers::RemoveNodes(_), _)));
        assert_eq!(forget(&situation(&[d], &[A, d], &[]), BrokerId(4)), Step::Nothing, "it lives");
        assert_eq!(forget(&now, BrokerId(2)), Step::Nothing, "it votes");
        assert_eq!(demote(&now, BrokerId(4), any), Err(VoterError::NoVoter(BrokerId(4))));
        let mut alone = now;
        alone.membership = Membership::new(vec![BTreeSet::from([A])], BTreeMap::from([(A, at(1).to_node())]));
        assert_eq!(demote(&alone, BrokerId(1), any), Err(VoterError::LastVoter(BrokerId(1))));
    }
}
