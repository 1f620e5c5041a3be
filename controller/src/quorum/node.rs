//! One member of the quorum: openraft brought up over log, snapshots and transport, proposals in, outcomes out.
//! Not who decides (`server.rs`). Invariant: an outcome is told only in the session in which it was proposed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use firnline_tiering::clock::Clock;
use firnline_tiering::entropy::Entropy;
use firnline_tiering::hot::file::Files;
use openraft::error::{ClientWriteError, Fatal};
use openraft::{BasicNode, Config, RaftMetrics, SnapshotPolicy};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::{StartError, Unavailable, VoterError};
use crate::id::BrokerId;
use crate::image::current::Current;
use crate::image::fold::Outcome;
use crate::quorum::answer::{self, Answers};
use crate::quorum::beginning;
use crate::quorum::campaign::{Campaign, LEASE};
use crate::quorum::founder::Founder;
use crate::quorum::identity::{self, Whereabouts, node_of};
use crate::quorum::leadership::{Leadership, Session};
use crate::quorum::log_store::LogStore;
use crate::quorum::membership::{self, Changes, Step};
use crate::quorum::network::Network;
use crate::quorum::peer_codec::{self, Kind, Refusal};
use crate::quorum::peers::{CallError, Contacts, Peers};
use crate::quorum::plan::Plan;
use crate::quorum::snapshot::Snapshots;
use crate::quorum::state_machine::StateMachine;
use crate::quorum::status::{QuorumStatus, Replica};
use crate::quorum::steward::{State, Steward};
use crate::quorum::type_config::{Raft, TypeConfig, VoterId};
use crate::record::entry::Entry;
use crate::transport::{Address, Transport};

/// Log file size at which a new one is begun, in bytes.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Entries kept behind a snapshot, so that a member that lags a little needs no snapshot.
const ENTRIES_KEPT: u64 = 128;
/// A quorum of one elects itself at once; longer than this means that something is broken.
const LEAD_WITHIN: Duration = Duration::from_secs(10);
/// Raft's own heartbeat, in milliseconds, which carries what is committed to those that miss it; also how long it
/// waits for one answer before it sends again. Whether a leader lives is told by the steward's beats.
const HEARTBEAT_MS: u64 = 200;
/// Bytes of a snapshot in one call.
const SNAPSHOT_PIECE: u64 = 1 << 20;
/// What one piece of a snapshot may take; the last one is installed in it.
const SNAPSHOT_PIECE_MS: u64 = 20_000;

/// What a member needs.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Its node.
    pub id: BrokerId,
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// Kafka's directory id of `dir`; nil if it has none.
    pub directory: Uuid,
    /// Where log, vote and snapshots lie; made if missing.
    pub dir: PathBuf,
    /// The door to the disk.
    pub files: Arc<dyn Files>,
    /// The wall clock, for status only.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for the identity.
    pub entropy: Arc<dyn Entropy>,
    /// Records applied between two snapshots; at least 1.
    pub snapshot_every_records: u64,
    /// Where images are shown.
    pub current: Arc<Current>,
    /// How it finds its quorum.
    pub plan: Plan,
    /// Where it takes calls.
    pub address: Option<Address>,
    /// How it calls others.
    pub transport: Arc<dyn Transport>,
}

/// A running member.
#[derive(Clone)]
pub struct Node {
    raft: Raft,
    metrics: watch::Receiver<RaftMetrics<VoterId, BasicNode>>,
    leadership: watch::Receiver<Leadership>,
    answers: Answers,
    peers: Peers,
    clock: Arc<dyn Clock>,
    trouble: Arc<Mutex<Option<String>>>,
    gone: watch::Receiver<BTreeMap<BrokerId, Instant>>,
    stop: Arc<watch::Sender<bool>>,
    unsaved: Arc<AtomicU64>,
    snapshot_every_records: u64,
}

/// An entry on its way through the quorum.
#[derive(Debug)]
pub struct Proposal {
    answer: oneshot::Receiver<openraft::raft::ClientWriteResult<TypeConfig>>,
    session: u64,
    leadership: watch::Receiver<Leadership>,
}

/// Where a request is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leader {
    /// Here.
    Me,
    /// There.
    Other(VoterId, Address),
    /// Nobody knows now.
    Unknown,
    /// This member has stopped.
    Stopped(String),
}

impl Node {
    /// Opens what is on disk and takes part in the quorum. A voter that is alone leads when this returns.
    pub async fn start(config: NodeConfig) -> Result<Node, StartError> {
        config.plan.check(config.id, config.address.as_ref())?;
        let made = config.files.create_dir_all(&config.dir);
        made.map_err(|source| StartError::Io {
            what: format!("cannot make {}", config.dir.display()),
            source,
        })?;
        let snapshots = Snapshots::new(config.files.clone(), &config.dir);
        let loaded = snapshots.load()?;
        let log = LogStore::open(config.files.clone(), &config.dir, SEGMENT_BYTES)?;
        let reaches = loaded.as_ref().and_then(|(summary, _)| summary.last);
        if log.purged().is_some_and(|purged| reaches.is_none_or(|reaches| reaches < purged)) {
            let (dir, purged) = (config.dir.display(), log.purged());
            let what =
                format!("{dir}: the log begins after {purged:?}, the newest snapshot ends at {reaches:?}");
            return Err(StartError::Corrupt { what });
        }
        let used = loaded.is_some() || !log.is_new();
        let me = identity::settle(&config.files, &config.dir, config.id, used, config.entropy.as_ref())?;
        let founder = Founder::open(&config.files, &config.dir, me, config.plan.voters())?;
        let unsaved = Arc::new(AtomicU64::new(0));
        let state_machine = StateMachine::new(loaded, snapshots, config.current.clone(), unsaved.clone());
        let peers = Peers { transport: config.transport.clone(), cluster_id: config.cluster_id.clone(), me };
        let network = Network { peers: peers.clone() };
        let raft = Raft::new(me, Arc::new(raft_config()), network, log.clone(), state_machine).await;
        let raft = raft.map_err(|fatal| StartError::Quorum(fatal.to_string()))?;
        let mut node = Node::attend((raft, log), &config, founder, peers, unsaved);
        if let Err(error) = node.lead_if_alone(me, &config).await {
            node.shutdown().await;
            return Err(error);
        }
        Ok(node)
    }

    /// Starts the steward beside raft.
    fn attend(
        (raft, log): (Raft, LogStore),
        config: &NodeConfig,
        founder: Founder,
        peers: Peers,
        unsaved: Arc<AtomicU64>,
    ) -> Node {
        let me = peers.me;
        let metrics = raft.metrics();
        let (shown, leadership) = watch::channel(Leadership::default());
        let (stop, stopped) = watch::channel(false);
        let (tell_gone, gone) = watch::channel(BTreeMap::new());
        let campaign = Arc::new(Mutex::new(Campaign::new(me, Instant::now())));
        let (contacts, changes) = (Contacts::default(), Changes::new(raft.clone()));
        let trouble = Arc::new(Mutex::new(None));
        let whereabouts = Whereabouts { address: config.address.clone(), directory: config.directory };
        let steward = Steward {
            raft: raft.clone(),
            log,
            metrics: metrics.clone(),
            me,
            plan: config.plan.clone(),
            founder: founder.clone(),
            whereabouts: whereabouts.clone(),
            peers: peers.clone(),
            contacts: contacts.clone(),
            campaign: campaign.clone(),
            changes: changes.clone(),
            clock: config.clock.clone(),
            leadership: shown,
            gone: tell_gone,
            trouble: trouble.clone(),
            stop: stopped,
            state: State::default(),
        };
        tokio::spawn(steward.run());
        let answers = Answers {
            raft: raft.clone(),
            metrics: metrics.clone(),
            leadership: leadership.clone(),
            me,
            whereabouts,
            voters: beginning::named(&config.plan, &founder),
            founder,
            campaign,
            contacts,
            changes,
            waiting: answer::places(),
            led_since: Arc::default(),
        };
        let snapshot_every_records = config.snapshot_every_records.max(1);
        let (stop, clock) = (Arc::new(stop), config.clock.clone());
        Node {
            raft,
            metrics,
            leadership,
            answers,
            peers,
            clock,
            trouble,
            gone,
            stop,
            unsaved,
            snapshot_every_records,
        }
    }

    /// A voter without others gets elected, after it began its quorum where there is none, and applies all of its log.
    async fn lead_if_alone(&mut self, me: VoterId, config: &NodeConfig) -> Result<(), StartError> {
        let quorum = |error: &dyn std::fmt::Display| StartError::Quorum(error.to_string());
        let state = self.raft.with_raft_state(move |state| {
            let voters: Vec<VoterId> = state.membership_state.effective().voter_ids().collect();
            let leads = state.vote_ref().leader_id().node_id == me && state.vote_ref().is_committed();
            (voters, leads)
        });
        let (voters, leads) = state.await.map_err(|fatal| quorum(&fatal))?;
        let alone = match self.answers.founder.decided() {
            Some(founders) => founders.len() == 1,
            None => config.plan == Plan::Alone,
        };
        if voters.is_empty() && alone {
            let alone = BTreeMap::from([(me, self.answers.whereabouts.to_node())]);
            self.raft.initialize(alone).await.map_err(|error| quorum(&error))?;
        } else if voters != [me] {
            return Ok(());
        } else if !leads {
            self.raft.trigger().elect().await.map_err(|fatal| quorum(&fatal))?;
        }
        let mut leadership = self.leadership.clone();
        let leads = leadership.wait_for(|shown| shown.session.is_some() || shown.stopped.is_some());
        match tokio::time::timeout(LEAD_WITHIN, leads).await {
            Ok(Ok(shown)) => match &shown.stopped {
                Some(why) => Err(StartError::Quorum(why.clone())),
                None => Ok(()),
            },
            Ok(Err(_)) => Err(StartError::Quorum("it stopped".to_owned())),
            Err(_) => Err(StartError::Quorum(format!("no leader within {LEAD_WITHIN:?}"))),
        }
    }

    /// Hands an entry to the quorum in a session; entries are committed in the order of these calls.
    pub async fn propose(&self, entry: Entry, session: Session) -> Result<Proposal, Unavailable> {
        let answer = self.raft.client_write_ff(entry).await.map_err(|fatal| stopped(&fatal))?;
        Ok(Proposal { answer, session: session.number, leadership: self.leadership.clone() })
    }

    /// The session in which this member decides, if it does.
    pub fn session(&self) -> Option<Session> {
        self.leadership.borrow().session
    }

    /// Wakes when the session or the leader changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Nodes whose process is known to have gone, and since when. Wakes when that changes.
    pub fn gone(&self) -> watch::Receiver<BTreeMap<BrokerId, Instant>> {
        self.gone.clone()
    }

    /// Why this member does not decide.
    pub fn unavailable(&self) -> Unavailable {
        match &*self.leadership.borrow() {
            Leadership { stopped: Some(why), .. } => Unavailable::Stopped(why.clone()),
            Leadership { leader, .. } => Unavailable::NotLeader { leader: leader.map(node_of) },
        }
    }

    /// Where to have a request decided.
    pub fn leader(&self) -> Leader {
        let shown = self.leadership.borrow().clone();
        if let Some(why) = shown.stopped {
            return Leader::Stopped(why);
        }
        match shown.leader {
            Some(id) if id == self.peers.me => Leader::Me,
            Some(id) => {
                let seen = self.metrics.borrow();
                let known = seen.membership_config.membership().get_node(&id).map(Whereabouts::of);
                known.and_then(|known| known.address).map_or(Leader::Unknown, |at| Leader::Other(id, at))
            }
            None => Leader::Unknown,
        }
    }

    /// Carries a verb to the leader.
    pub async fn forward(
        &self,
        to: VoterId,
        address: &Address,
        body: &[u8],
        patience: Duration,
    ) -> Result<Bytes, CallError> {
        self.peers.call(to, Some(address), Kind::Verb, body, patience).await
    }

    /// Answers a call of another node. `verb` answers what is for the leader.
    pub async fn answer<V: Future<Output = Result<Vec<u8>, Refusal>>>(
        &self,
        request: Bytes,
        verb: impl FnOnce(BrokerId, Bytes) -> V,
    ) -> Bytes {
        let answered = match peer_codec::decode_request(&request) {
            Err(error) => Err(Refusal::Malformed(error.to_string())),
            Ok(envelope) if envelope.cluster != self.peers.cluster_id => {
                tracing::warn!(theirs = envelope.cluster, "refused a call of another cluster's node");
                Err(Refusal::OtherCluster(self.peers.cluster_id.clone()))
            }
            Ok(envelope) => match self.check_envelope(envelope.from, envelope.to) {
                Err(refusal) => Err(refusal),
                Ok(()) if envelope.kind == Kind::Verb => {
                    verb(node_of(envelope.from), request.slice_ref(envelope.body)).await
                }
                Ok(()) => self.answers.answer(envelope.from, envelope.kind, envelope.body).await,
            },
        };
        peer_codec::encode_answer(&answered).into()
    }

    fn check_envelope(&self, from: VoterId, to: VoterId) -> Result<(), Refusal> {
        self.answers.check_sender(from)?;
        self.answers.check_recipient(to)
    }

    /// Makes a learner a voter. Only in a session.
    pub async fn add_voter(&self, node: BrokerId, directory: Uuid) -> Result<(), VoterError> {
        self.change(|now| membership::promote(now, node, directory)).await
    }

    /// Makes a voter a learner. Only in a session.
    pub async fn remove_voter(&self, node: BrokerId, directory: Uuid) -> Result<(), VoterError> {
        self.change(|now| membership::demote(now, node, directory)).await
    }

    /// Forgets a learner that is gone. Only in a session; whether it could be done now matters to nobody.
    pub async fn forget(&self, node: BrokerId) {
        if let Err(error) = self.change(|now| Ok(membership::forget(now, node))).await {
            tracing::info!(%node, %error, "a node that is gone stays a member for now");
        }
    }

    async fn change(
        &self,
        decide: impl FnOnce(&membership::Situation) -> Result<Step, VoterError>,
    ) -> Result<(), VoterError> {
        if self.session().is_none() {
            return Err(self.unavailable().into());
        }
        match decide(&self.answers.situation())? {
            Step::Change(change, retain) => self.answers.changes.make(change, retain).await,
            _ => Ok(()),
        }
    }

    /// Begins a snapshot when enough was applied since the last. It is written while the quorum goes on.
    pub async fn snapshot_if_due(&self) {
        if self.unsaved.load(Ordering::Relaxed) < self.snapshot_every_records {
            return;
        }
        self.unsaved.store(0, Ordering::Relaxed);
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::warn!(%error, "no metadata snapshot was begun");
        }
    }

    /// The quorum as this node sees it.
    pub fn status(&self) -> QuorumStatus {
        let seen = self.metrics.borrow().clone();
        let end = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let (me, leads, now) = (self.peers.me, self.session().is_some(), self.clock.now_ms());
        let membership = seen.membership_config.membership();
        let replica = |id: VoterId| {
            let Whereabouts { address, directory } =
                membership.get_node(&id).map(Whereabouts::of).unwrap_or_default();
            let contact = self.answers.contacts.of(id).filter(|_| leads);
            let (log_end, last_fetch, last_caught_up) = match contact {
                _ if id == me => {
                    (end(seen.last_log_index), if leads { now } else { -1 }, if leads { now } else { -1 })
                }
                Some(known) => (known.log_end, known.fetched, known.caught_up),
                None => (0, -1, -1),
            };
            Replica { id: node_of(id), directory, address, log_end, last_fetch, last_caught_up }
        };
        let mut voters: Vec<Replica> = membership.voter_ids().map(replica).collect();
        let mut learners: Vec<Replica> = membership.learner_ids().map(replica).collect();
        voters.sort_by_key(|member| (member.id, member.directory));
        learners.sort_by_key(|member| (member.id, member.directory));
        QuorumStatus {
            leader: seen.current_leader.map(node_of),
            leads,
            term: seen.current_term,
            high_watermark: end(seen.last_applied.map(|applied| applied.index)),
            voters,
            learners,
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The other voters, and the newest feature level that each said it reads; `None` where it was not heard. Only a
    /// leader knows.
    pub fn levels(&self) -> Vec<(BrokerId, Option<u16>)> {
        let membership = self.metrics.borrow().membership_config.membership().clone();
        let others = membership.voter_ids().filter(|id| *id != self.peers.me);
        others.map(|id| (node_of(id), self.answers.contacts.of(id).map(|known| known.level))).collect()
    }

    /// Stops; what was committed is on disk.
    pub async fn shutdown(&self) {
        // Nobody listens when the steward has stopped by itself.
        _ = self.stop.send(true);
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the quorum did not stop cleanly");
        }
    }
}

impl Proposal {
    /// Waits until the entry is applied on this node; one fate per group.
    pub async fn outcome(mut self) -> Result<Vec<Outcome>, Unavailable> {
        let session = self.session;
        let ended = self.leadership.wait_for(|shown| shown.session.is_none_or(|now| now.number != session));
        let answer = tokio::select! {
            biased;
            answer = &mut self.answer => answer,
            _ = ended => return Err(Unavailable::Interrupted),
        };
        match answer {
            Ok(Ok(written)) => Ok(written.data.0),
            // Not taken, or cut off this member's log by another leader: a third member may hold it and bring it back.
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(Unavailable::Interrupted),
            Ok(Err(ClientWriteError::ChangeMembershipError(error))) => {
                Err(Unavailable::Stopped(error.to_string()))
            }
            // The core went away with the answer: it stopped, or it lost its leadership.
            Err(_) => Err(Unavailable::Interrupted),
        }
    }
}

/// Not validated: openraft wants an election's timeout above the heartbeat's pause, where its own timer begins them.
fn raft_config() -> Config {
    let lease_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "metadata".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        // Elections are the steward's to begin: openraft draws one timeout per process, and two that are alike tie.
        enable_elect: false,
        // One apart, so that nothing is left to draw.
        election_timeout_min: lease_ms - 1,
        election_timeout_max: lease_ms,
        install_snapshot_timeout: SNAPSHOT_PIECE_MS,
        snapshot_max_chunk_size: SNAPSHOT_PIECE,
        // We count records, not entries: see `snapshot_if_due`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        ..Config::default()
    }
}

fn stopped(fatal: &Fatal<VoterId>) -> Unavailable {
    Unavailable::Stopped(fatal.to_string())
}
