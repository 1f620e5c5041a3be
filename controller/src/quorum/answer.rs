//! What a member answers to the calls of others: raft's messages, beats, canvasses, hellos, joins. Not verbs
//! (`client.rs`). Invariant: no call is taken for another member, and no more wait here than [`WAITING`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{AppendEntriesResponse, VoteResponse};
use openraft::{BasicNode, RaftMetrics};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::id::BrokerId;
use crate::quorum::campaign::Campaign;
use crate::quorum::founder::Founder;
use crate::quorum::founding::{Ballot, Founders, is_unmet};
use crate::quorum::identity::{Whereabouts, node_of};
use crate::quorum::leadership::Leadership;
use crate::quorum::membership::{self, ALIVE, CAUGHT_UP, Changes, Situation};
use crate::quorum::peer_codec::{self, BeatAnswer, HelloAnswer, JoinAnswer, Kind, Named, Refusal};
use crate::quorum::peers::Contacts;
use crate::quorum::raft_messages;
use crate::quorum::type_config::{Raft, VoterId};
use crate::record::bytes::CodecError;
use crate::record::kinds::FEATURE_LEVEL;

/// Calls that may wait for raft's core at once.
const WAITING: usize = 32;

/// What answers are made of.
#[derive(Clone)]
pub struct Answers {
    pub(super) raft: Raft,
    pub(super) metrics: watch::Receiver<RaftMetrics<VoterId, BasicNode>>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) me: VoterId,
    pub(super) whereabouts: Whereabouts,
    pub(super) voters: Vec<Named>,
    pub(super) founder: Founder,
    pub(super) campaign: Arc<Mutex<Campaign>>,
    pub(super) contacts: Contacts,
    pub(super) changes: Changes,
    pub(super) waiting: Arc<Semaphore>,
    /// When this member began to lead, by term.
    pub(super) led_since: Arc<Mutex<(u64, Option<Instant>)>>,
}

/// As many as may wait.
pub fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WAITING))
}

impl Answers {
    /// Answers one call of another member; verbs are not for here.
    pub async fn answer(&self, from: VoterId, kind: Kind, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        if let Some(why) = &self.leadership.borrow().stopped {
            return Err(Refusal::Stopped(why.clone()));
        }
        match kind {
            Kind::Beat => Ok(self.beat(read(body, peer_codec::decode_beat)?)),
            Kind::Canvass => {
                let theirs = read(body, peer_codec::decode_canvass)?;
                let ours = self.raft.data_metrics().borrow().last_log;
                let leads = self.leadership.borrow().session.is_some();
                let now = Instant::now();
                let answer = match leads {
                    true => Err("it leads"),
                    false => self.campaign().encourages(now, from, theirs, ours),
                };
                let lease = self.campaign().lease_ends(now);
                if let Some(ends) = lease.filter(|_| answer.is_ok()) {
                    // Sooner, the vote would be refused, and the candidate would have to begin anew.
                    tokio::time::sleep_until(ends).await;
                }
                Ok(peer_codec::encode_canvass_answer(answer))
            }
            Kind::Hello => {
                read(body, peer_codec::decode_hello)?;
                Ok(peer_codec::encode_hello_answer(&self.hello()))
            }
            Kind::Pledge => {
                let ballot = read(body, peer_codec::decode_pledge)?;
                self.stand(from, ballot, None)
            }
            Kind::Accept => {
                let (ballot, founders) = read(body, peer_codec::decode_accept)?;
                self.stand(from, ballot, Some(&founders))
            }
            Kind::Append | Kind::Vote | Kind::Snapshot | Kind::Join => {
                let Ok(_place) = self.waiting.try_acquire() else { return Err(Refusal::Busy) };
                self.slowly(from, kind, body).await
            }
            Kind::Verb => Err(Refusal::Malformed("a verb is not for the member".to_owned())),
        }
    }

    /// Whether this voter goes along with another's ballot on the first voters.
    fn stand(&self, from: VoterId, ballot: Ballot, value: Option<&Founders>) -> Result<Vec<u8>, Refusal> {
        speaks_for(from, ballot.by)?;
        let standing = self.founder.ask(ballot, value).map_err(Refusal::Malformed)?;
        Ok(peer_codec::encode_standing(&standing))
    }

    /// What may wait for the disk or for other members.
    async fn slowly(&self, from: VoterId, kind: Kind, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        match kind {
            Kind::Append => {
                let request = read(body, raft_messages::decode_append)?;
                speaks_for(from, request.vote.leader_id.node_id)?;
                self.campaign().appended(Instant::now());
                let answer: AppendEntriesResponse<VoterId> =
                    self.raft.append_entries(request).await.map_err(stopped)?;
                Ok(raft_messages::encode_append_answer(&answer))
            }
            Kind::Vote => {
                let request = read(body, raft_messages::decode_election)?;
                speaks_for(from, request.vote.leader_id.node_id)?;
                let answer: VoteResponse<VoterId> = self.raft.vote(request).await.map_err(stopped)?;
                if answer.vote_granted {
                    self.campaign().voted(Instant::now(), from);
                }
                Ok(raft_messages::encode_election_answer(&answer))
            }
            Kind::Snapshot => {
                let request = read(body, raft_messages::decode_snapshot)?;
                speaks_for(from, request.vote.leader_id.node_id)?;
                match self.raft.install_snapshot(request).await {
                    Ok(answer) => Ok(raft_messages::encode_snapshot_answer(Some(&answer.vote))),
                    Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(_))) => {
                        Ok(raft_messages::encode_snapshot_answer(None))
                    }
                    Err(RaftError::Fatal(fatal)) => Err(Refusal::Stopped(fatal.to_string())),
                }
            }
            _ => {
                let (whereabouts, votes) = read(body, peer_codec::decode_join)?;
                let whereabouts = Whereabouts::of(&BasicNode { addr: whereabouts });
                Ok(peer_codec::encode_join_answer(&self.join(from, &whereabouts, votes).await))
            }
        }
    }

    /// A leader of this term speaks. Only its beats count: raft's messages go on a while after it knows that it is cut
    /// off, or no voter any more.
    fn hear(&self, term: u64) -> bool {
        let current = self.metrics.borrow().current_term;
        if term >= current {
            self.campaign().heard(Instant::now());
        }
        term >= current
    }

    fn beat(&self, term: u64) -> Vec<u8> {
        let heard = self.hear(term);
        let seen = self.metrics.borrow();
        let log_end = seen.last_log_index.map_or(0, |last| last + 1);
        peer_codec::encode_beat_answer(BeatAnswer {
            heard,
            term: seen.current_term,
            log_end,
            level: FEATURE_LEVEL,
        })
    }

    fn hello(&self) -> HelloAnswer {
        let seen = self.metrics.borrow();
        HelloAnswer {
            member: self.me,
            whereabouts: self.whereabouts.to_node().addr,
            started: seen.membership_config.membership().voter_ids().next().is_some(),
            leader: self.leader(&seen),
            voters: self.voters.clone(),
        }
    }

    /// Whom to ask instead of this member, if it knows.
    fn leader(&self, seen: &RaftMetrics<VoterId, BasicNode>) -> Option<(VoterId, String)> {
        let id = seen.current_leader?;
        let known = seen.membership_config.membership().get_node(&id).map(Whereabouts::of);
        Some((id, known?.address?.to_string()))
    }

    async fn join(&self, joiner: VoterId, whereabouts: &Whereabouts, votes: bool) -> JoinAnswer {
        if self.leadership.borrow().session.is_none() {
            let other = self.leader(&self.metrics.borrow()).filter(|(id, _)| *id != self.me);
            return JoinAnswer::OtherLeader(other);
        }
        if node_of(joiner) == node_of(self.me) && joiner != self.me {
            let node = node_of(joiner);
            return JoinAnswer::Refused(format!(
                "node {node} runs already and leads the quorum: stop it, or give this one a node.id of its own"
            ));
        }
        self.changes.take(membership::admit(&self.situation(), joiner, whereabouts, votes)).await
    }

    /// What a leader knows of its members now.
    pub fn situation(&self) -> Situation {
        let seen = self.metrics.borrow().clone();
        let (now, membership) = (Instant::now(), seen.membership_config.membership().clone());
        let mut led_since = self.led_since.lock().unwrap_or_else(PoisonError::into_inner);
        if led_since.0 != seen.current_term || led_since.1.is_none() {
            *led_since = (seen.current_term, Some(now));
        }
        let settled = led_since.1.is_some_and(|since| now >= since + ALIVE);
        let ids: Vec<VoterId> = membership.nodes().map(|(id, _)| *id).collect();
        let contact = |id: &VoterId| self.contacts.of(*id);
        let alive = |id: &VoterId| contact(id).is_some_and(|known| now < known.sent + ALIVE);
        let end = seen.last_log_index.map_or(0, |last| last + 1);
        let caught = |id: &VoterId| contact(id).is_some_and(|known| known.log_end + CAUGHT_UP >= end);
        Situation {
            alive: ids.iter().copied().filter(alive).collect(),
            caught_up: ids.iter().copied().filter(|id| caught(id)).collect(),
            membership,
            settled,
        }
    }

    /// Refuses what nobody but this member itself, or nobody at all, could have sent.
    pub fn check_sender(&self, from: VoterId) -> Result<(), Refusal> {
        match from {
            from if from == self.me => Err(Refusal::Sender("that is this member's own identity".to_owned())),
            from if is_unmet(from) => Err(Refusal::Sender("nobody has that identity".to_owned())),
            _ => Ok(()),
        }
    }

    /// Who this member is, for a caller that meant another.
    pub fn check_recipient(&self, to: VoterId) -> Result<(), Refusal> {
        let me: BrokerId = node_of(self.me);
        match to {
            0 => Ok(()),
            to if to == self.me => Ok(()),
            to if node_of(to) == me => {
                Err(Refusal::OtherMember(format!("node {me} with a new metadata directory")))
            }
            _ => Err(Refusal::OtherMember(format!("node {me}"))),
        }
    }

    fn campaign(&self) -> MutexGuard<'_, Campaign> {
        // Times only: what a panic left half-done is put right by the next beat.
        self.campaign.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A member speaks for itself alone.
fn speaks_for(from: VoterId, whom: VoterId) -> Result<(), Refusal> {
    match from == whom {
        true => Ok(()),
        false => {
            Err(Refusal::Sender(format!("node {} sends what is node {}'s", node_of(from), node_of(whom))))
        }
    }
}

fn read<T>(body: &[u8], decode: impl FnOnce(&[u8]) -> Result<T, CodecError>) -> Result<T, Refusal> {
    decode(body).map_err(|error| Refusal::Malformed(error.to_string()))
}

fn stopped(error: RaftError<VoterId>) -> Refusal {
    Refusal::Stopped(error.to_string())
}
