//! The steward's part in the beginning of a quorum: greets the first voters, and begins once a majority of them is
//! there. Not what they agree on (`founding.rs`). Invariant: a quorum is begun only with voters that its majority
//! stands by, on disk, or that formatting named on each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use openraft::BasicNode;
use tokio::time::Instant;

use crate::id::BrokerId;
use crate::quorum::founder::{Disagreement, Elector, Founder};
use crate::quorum::founding::{Founders, is_unmet, unmet};
use crate::quorum::identity::{Whereabouts, node_of};
use crate::quorum::peer_codec::{self, HelloAnswer, JoinAnswer, Kind, Named, Refusal};
use crate::quorum::peers::CallError;
use crate::quorum::plan::Plan;
use crate::quorum::steward::{Event, Steward};
use crate::quorum::type_config::VoterId;
use crate::transport::TransportError;

/// What a greeting may take.
const CALL: Duration = Duration::from_millis(400);
/// For so long a majority waits for the others: whoever is there from the first entry on need not be let in later.
const PATIENCE: Duration = Duration::from_secs(3);
/// Each further voter in line waits this much longer for those before it to begin.
const TURN: Duration = Duration::from_secs(2);

/// The first voters as nodes compare them.
pub fn named(plan: &Plan, founder: &Founder) -> Vec<Named> {
    let Some(founders) = founder.decided() else { return plan.voters() };
    let voters =
        founders.iter().map(|(id, whereabouts)| (node_of(*id).0.unsigned_abs(), whereabouts.clone()));
    let mut voters: Vec<Named> = voters.collect();
    voters.sort_unstable();
    voters
}

impl Steward {
    fn electors(&self) -> Vec<Elector> {
        let known = |(id, whereabouts): (VoterId, String)| {
            let address = Whereabouts::of(&BasicNode { addr: whereabouts }).address?;
            Some(Elector { node: node_of(id), address, member: id })
        };
        match (self.founder.decided(), &self.plan) {
            (Some(founders), _) => founders.into_iter().filter_map(known).collect(),
            (None, Plan::Voters(voters)) => {
                let named = voters.iter();
                named.map(|(node, at)| Elector { node: *node, address: at.clone(), member: 0 }).collect()
            }
            (None, _) => Vec::new(),
        }
    }

    /// Asks every other first voter who it is.
    pub(super) fn greet(&mut self) {
        self.state.joining = true;
        let body = peer_codec::encode_hello(&named(&self.plan, &self.founder));
        let me = node_of(self.me);
        let calls = self.electors().into_iter().filter(|elector| elector.node != me).map(|elector| {
            let (peers, body) = (self.peers.clone(), body.clone());
            async move {
                let answer =
                    peers.call(elector.member, Some(&elector.address), Kind::Hello, &body, CALL).await;
                let read = answer.and_then(|body| {
                    let read = peer_codec::decode_hello_answer(&body);
                    read.map_err(|error| TransportError::Lost(error.to_string()).into())
                });
                (elector, read)
            }
        });
        let calls = join_all(calls);
        self.state.underway.push(Box::pin(async move { Event::Greeted(calls.await) }));
    }

    /// Joins a quorum that has begun; else begins one, when a majority is there and it is this voter's turn.
    pub(super) fn greeted(&mut self, answers: &[(Elector, Result<HelloAnswer, CallError>)], now: Instant) {
        let mine = named(&self.plan, &self.founder);
        let mut there: BTreeMap<BrokerId, (VoterId, Elector, String)> = BTreeMap::new();
        for (elector, answer) in answers {
            let Elector { node, address, .. } = elector;
            let hello = match answer {
                Ok(hello) => hello,
                Err(CallError::Refused(Refusal::OtherCluster(theirs))) => {
                    let why = format!(
                        "voter {node} at {address} belongs to cluster {theirs}, this node to {}: format both for one cluster",
                        self.peers.cluster_id
                    );
                    return self.set_trouble(Some(why));
                }
                Err(CallError::Refused(refusal)) => {
                    return self.set_trouble(Some(format!("the voter {node} at {address}: {refusal}")));
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "a named voter does not answer yet");
                    continue;
                }
            };
            let found = node_of(hello.member);
            if found != *node {
                let why = format!("voter {node} is said to be at {address}, node {found} is");
                return self.set_trouble(Some(why));
            }
            if hello.voters != mine {
                return self.set_trouble(Some(differs(found, &hello.voters, &mine)));
            }
            if hello.started {
                let leader = hello.leader.clone().and_then(|(id, at)| Some((id, at.parse().ok()?)));
                self.state.hint = leader.or_else(|| Some((hello.member, address.clone())));
                let view = self.metrics.borrow().clone();
                return self.join(&view);
            }
            there.insert(*node, (hello.member, elector.clone(), hello.whereabouts.clone()));
        }
        self.begin_when_due(there, now);
    }

    fn begin_when_due(&mut self, there: BTreeMap<BrokerId, (VoterId, Elector, String)>, now: Instant) {
        let electors = self.electors();
        let (count, all) = (there.len() + 1, electors.len());
        self.set_trouble(Some(format!("{count} of {all} named voters answer")));
        if count * 2 <= all {
            self.state.beginning.together = None;
            return;
        }
        let since = match self.state.beginning.together {
            Some((before, since)) if before == count => since,
            _ => now,
        };
        self.state.beginning.together = Some((count, since));
        let before = there.range(..node_of(self.me)).count();
        let turn = TURN * u32::try_from(before).unwrap_or(u32::MAX);
        if now < since + turn + if count < all { PATIENCE } else { Duration::ZERO } {
            return;
        }
        if let Some(founders) = self.founder.decided() {
            return self.begin(founders);
        }
        let whereabouts = |node: BrokerId| there.get(&node).map(|(id, _, at)| (*id, at.clone()));
        let wished = electors.iter().map(|elector| match elector.node {
            node if node == node_of(self.me) => (self.me, self.whereabouts.to_node().addr),
            node => whereabouts(node).unwrap_or_else(|| (unmet(node), elector.address.to_string())),
        });
        let wished: Founders = wished.collect();
        let others = there.into_values().map(|(id, elector, _)| (id, elector.address)).collect();
        self.state.beginning.round += 1;
        self.state.joining = true;
        let (founder, peers, round) = (self.founder.clone(), self.peers.clone(), self.state.beginning.round);
        self.state
            .underway
            .push(Box::pin(async move { Event::Agreed(founder.agree(&peers, others, wished, round).await) }));
    }

    /// A majority stands by these voters, or it does not yet.
    pub(super) fn agreed(&mut self, outcome: Result<Founders, Disagreement>) {
        match outcome {
            Ok(founders) if founders.contains_key(&self.me) => self.begin(founders),
            // Those that did not meet this node agreed without it: they begin, then it joins.
            Ok(_) => self.state.beginning.together = None,
            Err(Disagreement::Overtaken(round)) => {
                self.state.beginning.round = self.state.beginning.round.max(round);
                self.state.beginning.together = None;
            }
            Err(Disagreement::Never(why)) => self.set_trouble(Some(why)),
        }
    }

    fn begin(&mut self, founders: Founders) {
        let met = founders.keys().filter(|id| !is_unmet(**id)).count();
        let all = founders.len();
        let nodes: BTreeMap<VoterId, BasicNode> =
            founders.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
        let raft = self.raft.clone();
        self.state.joining = true;
        self.state.underway.push(Box::pin(async move {
            match raft.initialize(nodes).await {
                Ok(()) => tracing::info!(met, all, "began the quorum with the named voters"),
                Err(error) => tracing::warn!(%error, "the quorum was not begun"),
            }
            Event::Joined(Ok(JoinAnswer::Later("the quorum has begun".to_owned())))
        }));
    }
}

fn differs(node: BrokerId, theirs: &[Named], mine: &[Named]) -> String {
    let written = |voters: &[Named]| {
        let each: Vec<String> = voters.iter().map(|(id, at)| format!("{id}@{at}")).collect();
        if each.is_empty() { "none".to_owned() } else { each.join(",") }
    };
    format!(
        "node {node} names other voters: {}, this node {}: make controller.quorum.voters, or the list that each was formatted with, the same on every node",
        written(theirs),
        written(mine)
    )
}
