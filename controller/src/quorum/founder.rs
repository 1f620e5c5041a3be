//! A named voter's part in the beginning of its quorum: what it promised, kept on disk, and the round of questions by
//! which it gets a majority to agree on the first voters. Not the rules (`founding.rs`), nor when to try (`steward.rs`).
//! Invariant: nothing is answered that a crash could take back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firnline_tiering::hot::file::Files;
use futures::future::join_all;
use tokio::time::Instant;

use crate::error::StartError;
use crate::id::BrokerId;
use crate::quorum::founding::{self, Ballot, Founders, Founding, Standing};
use crate::quorum::identity::{Whereabouts, node_of, salted};
use crate::quorum::log_store::read_small;
use crate::quorum::peer_codec::{self, Kind};
use crate::quorum::peers::Peers;
use crate::quorum::raft_codec;
use crate::quorum::type_config::VoterId;
use crate::transport::Address;

const FILE: &str = "founding";
const MEMBER_FILE: &str = "member";
/// What one question may take.
const CALL: Duration = Duration::from_millis(400);

/// One of the first voters, as the operator names them when a directory is formatted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstVoter {
    /// Its `node.id`.
    pub node: BrokerId,
    /// Where it takes calls.
    pub address: Address,
    /// The directory id its metadata directory has or will have.
    pub directory: uuid::Uuid,
}

/// Writes into `dir`, the quorum's directory in a log directory that is being formatted, who `node` is and who the first
/// voters are. Fine if the same was written before.
///
/// # Errors
/// [`StartError::Quorum`] where `node` is not among them, or something else was written or begun there.
pub fn format(
    files: &Arc<dyn Files>,
    dir: &Path,
    node: BrokerId,
    voters: &[FirstVoter],
) -> Result<(), StartError> {
    let me = voters.iter().find(|voter| voter.node == node);
    let me = me.ok_or_else(|| StartError::Quorum(format!("node {node} is not among the first voters")))?;
    let founders = voters.iter().map(|voter| {
        let whereabouts = Whereabouts { address: Some(voter.address.clone()), directory: voter.directory };
        (salted(voter.node, voter.directory), whereabouts.to_node().addr)
    });
    let (settled, member) = (Founding::settled(founders.collect()), salted(me.node, me.directory));
    let failed = |source| StartError::Io { what: format!("cannot write {}", dir.display()), source };
    files.create_dir_all(dir).map_err(failed)?;
    let found = read_small(files.as_ref(), &dir.join(FILE), founding::decode_founding)?;
    let known = read_small(files.as_ref(), &dir.join(MEMBER_FILE), raft_codec::decode_member)?;
    let taken =
        found.as_ref().is_some_and(|found| *found != settled) || known.is_some_and(|known| known != member);
    // Its identity is written last: with it, all of this is there.
    if taken || (known.is_some() && found.is_none()) {
        let why = format!("{} holds another beginning of a quorum already", dir.display());
        return Err(StartError::Quorum(why));
    }
    files.write_atomic(&dir.join(FILE), &founding::encode_founding(&settled)).map_err(failed)?;
    files.write_atomic(&dir.join(MEMBER_FILE), &raft_codec::encode_member(member)).map_err(failed)
}

/// A voter's memory of what it promised. A clone shares it.
#[derive(Debug, Clone)]
pub struct Founder {
    files: Arc<dyn Files>,
    path: PathBuf,
    me: VoterId,
    /// The voters of its configuration; empty where there are none.
    named: Vec<peer_codec::Named>,
    state: Arc<Mutex<Founding>>,
}

impl Founder {
    /// Reads what was promised before.
    pub fn open(
        files: &Arc<dyn Files>,
        dir: &Path,
        me: VoterId,
        named: Vec<peer_codec::Named>,
    ) -> Result<Founder, StartError> {
        let path = dir.join(FILE);
        let state = read_small(files.as_ref(), &path, founding::decode_founding)?.unwrap_or_default();
        Ok(Founder { files: files.clone(), path, me, named, state: Arc::new(Mutex::new(state)) })
    }

    /// The first voters, where the directory was formatted with them and this member is one.
    pub fn decided(&self) -> Option<Founders> {
        self.lock().decided().filter(|founders| founders.contains_key(&self.me)).cloned()
    }

    /// Answers whether it goes along with a ballot: [`Founding::pledge`], and [`Founding::accept`] where there is a value.
    pub fn ask(&self, ballot: Ballot, value: Option<&Founders>) -> Result<Standing, String> {
        let stranger =
            || Err(format!("node {} is none of the voters that are named here", node_of(ballot.by)));
        let node = |id: VoterId| node_of(id).0.unsigned_abs();
        if [ballot.by, self.me].iter().any(|id| self.named.iter().all(|(named, _)| *named != node(*id))) {
            return stranger();
        }
        if value.is_some_and(|founders| !founding::fits(founders, &self.named, self.me)) {
            return Err("those are not the voters that are named here".to_owned());
        }
        let mut state = self.lock();
        let mut next = state.clone();
        let standing = match value {
            None => next.pledge(ballot),
            Some(founders) => next.accept(ballot, founders.clone()),
        };
        if next != *state {
            let written = self.files.write_atomic(&self.path, &founding::encode_founding(&next));
            written.map_err(|error| format!("cannot write {}: {error}", self.path.display()))?;
            *state = next;
        }
        Ok(standing)
    }

    fn lock(&self) -> MutexGuard<'_, Founding> {
        // The state is replaced whole, after it was written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks `others` to agree on the first voters, `wished` if nothing was accepted before; answers what a majority of
    /// the named voters stands by, or the round that a next try has to be above.
    pub async fn agree(
        &self,
        peers: &Peers,
        others: Vec<(VoterId, Address)>,
        wished: Founders,
        round: u64,
    ) -> Result<Founders, Disagreement> {
        let ballot = Ballot { round, by: self.me };
        let pledged = self.round(peers, &others, ballot, None).await?;
        let value = founding::value(&pledged, &wished);
        let met: BTreeSet<VoterId> = others.iter().map(|(id, _)| *id).chain([self.me]).collect();
        let gone = |id: &&VoterId| {
            !founding::is_unmet(**id)
                && !met.contains(id)
                && met.iter().any(|other| node_of(*other) == node_of(**id))
        };
        if let Some(gone) = value.keys().find(gone) {
            return Err(Disagreement::Never(format!(
                "a quorum was about to begin with another metadata directory of node {}, and nothing was decided in it \
                 yet: delete __cluster_metadata-0 of every voter and start them again",
                node_of(*gone)
            )));
        }
        self.round(peers, &others, ballot, Some(&value)).await?;
        Ok(value)
    }

    /// One question to all; those that go along, if they are a majority of the named.
    async fn round(
        &self,
        peers: &Peers,
        others: &[(VoterId, Address)],
        ballot: Ballot,
        value: Option<&Founders>,
    ) -> Result<Vec<Standing>, Disagreement> {
        let mine = self.ask(ballot, value).map_err(Disagreement::Never)?;
        let body = match value {
            None => peer_codec::encode_pledge(ballot),
            Some(founders) => peer_codec::encode_accept(ballot, founders),
        };
        let kind = if value.is_none() { Kind::Pledge } else { Kind::Accept };
        let calls = others.iter().map(|(id, address)| peers.call(*id, Some(address), kind, &body, CALL));
        let answers = join_all(calls).await.into_iter().filter_map(|answer| {
            let read = peer_codec::decode_standing(&answer.ok()?);
            read.inspect_err(|error| tracing::warn!(%error, "a voter's answer was not understood")).ok()
        });
        let standings: Vec<Standing> = answers.chain([mine]).collect();
        let seen =
            standings.iter().filter_map(|standing| standing.promised).map(|promised| promised.round).max();
        let granted: Vec<Standing> = standings.into_iter().filter(|standing| standing.granted).collect();
        match granted.len() * 2 > self.named.len() {
            true => Ok(granted),
            false => Err(Disagreement::Overtaken(seen.unwrap_or(ballot.round))),
        }
    }
}

/// One of the first voters, as far as it is known beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elector {
    /// Its `node.id`.
    pub node: BrokerId,
    /// Where it takes calls.
    pub address: Address,
    /// Who it has to be, where formatting said so; 0 where it does not matter.
    pub member: VoterId,
}

/// What is remembered between two greetings.
#[derive(Debug, Default)]
pub struct Beginning {
    /// Since when a majority has answered, and how many.
    pub together: Option<(usize, Instant)>,
    /// The last ballot's round.
    pub round: u64,
}

/// Why a try brought no agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disagreement {
    /// Too few went along; the highest round that somebody promised.
    Overtaken(u64),
    /// Trying again does not help.
    Never(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use uuid::Uuid;

    fn first(node: i32) -> FirstVoter {
        let address = Address { host: "h".into(), port: node as u16 };
        FirstVoter { node: BrokerId(node), address, directory: Uuid::from_u128((node as u128) << 96 | 5) }
    }

    #[test]
    fn formatting_names_the_first_voters_once() {
        let files: Arc<dyn Files> = Arc::new(Disk::default());
        let (dir, both) = (Path::new("/quorum"), [first(1), first(2)]);
        let stranger = format(&files, dir, BrokerId(3), &both).expect_err("not among them");
        assert!(stranger.to_string().contains("node 3 is not among"), "{stranger}");
        format(&files, dir, BrokerId(1), &both).expect("formats");
        format(&files, dir, BrokerId(1), &both).expect("the same again");
        assert!(format(&files, dir, BrokerId(1), &[first(1)]).is_err(), "other voters");
        let me = salted(BrokerId(1), both[0].directory);
        let founder = Founder::open(&files, dir, me, Vec::new()).expect("reads");
        let decided = founder.decided().expect("they are settled");
        assert_eq!(decided.keys().copied().collect::<Vec<_>>(), [me, salted(BrokerId(2), both[1].directory)]);
    }

    #[test]
    fn what_was_promised_survives_a_restart_and_strangers_are_refused() {
        let files: Arc<dyn Files> = Arc::new(Disk::default());
        let (dir, a, b) = (Path::new("/quorum"), 7 << 32 | 1, 8 << 32 | 2);
        files.create_dir_all(dir).expect("a directory");
        let named = vec![(1, "h:1".to_owned()), (2, "h:2".to_owned()), (3, "h:3".to_owned())];
        let open = || Founder::open(&files, dir, a, named.clone()).expect("reads");
        let founders: Founders = [a, b, founding::unmet(BrokerId(3))].map(|id| (id, "h:1".to_owned())).into();
        assert!(open().ask(Ballot { round: 1, by: b }, Some(&founders)).expect("an answer").granted);
        let standing = open().ask(Ballot { round: 2, by: a }, None).expect("an answer");
        assert_eq!(standing.accepted.map(|(_, accepted)| accepted), Some(founders.clone()));
        assert!(!open().ask(Ballot { round: 1, by: b }, None).expect("an answer").granted);
        assert!(open().ask(Ballot { round: 3, by: 1 << 32 | 4 }, None).is_err(), "a stranger");
        let alone = Founders::from([(a, "h:1".to_owned())]);
        assert!(open().ask(Ballot { round: 3, by: b }, Some(&alone)).is_err(), "not the named voters");
    }
}
