//! One member of the quorum: openraft brought up over log and snapshots, proposals in, outcomes out.
//! Not who decides (`server.rs`). Invariant: once started it leads, and its image holds all it ever acknowledged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firnline_tiering::hot::file::Files;
use openraft::error::{ClientWriteError, Fatal};
use openraft::{BasicNode, Config, RaftMetrics, SnapshotPolicy};
use tokio::sync::{oneshot, watch};

use crate::error::{StartError, Unavailable};
use crate::id::BrokerId;
use crate::image::current::Current;
use crate::image::fold::Outcome;
use crate::quorum::log_store::LogStore;
use crate::quorum::network::Network;
use crate::quorum::snapshot::Snapshots;
use crate::quorum::state_machine::StateMachine;
use crate::quorum::status::{QuorumStatus, Replica};
use crate::quorum::type_config::{Raft, TypeConfig, VoterId};
use crate::record::entry::Entry;

/// Log file size at which a new one is begun, in bytes.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Entries kept behind a snapshot, so that a member that lags a little needs no snapshot.
const ENTRIES_KEPT: u64 = 128;
/// A quorum of one elects itself at once; longer than this means that something is broken.
const LEAD_WITHIN: Duration = Duration::from_secs(10);
/// The heartbeat's interval, in milliseconds. A quorum of one has nobody to send it to: the tick is idle.
const HEARTBEAT_MS: u64 = 200;

/// What a member needs.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Its id.
    pub id: BrokerId,
    /// Where log, vote and snapshots lie; made if missing.
    pub dir: PathBuf,
    /// The door to the disk.
    pub files: Arc<dyn Files>,
    /// Records applied between two snapshots; at least 1.
    pub snapshot_every_records: u64,
    /// Where images are shown.
    pub current: Arc<Current>,
}

/// A running member.
#[derive(Clone)]
pub struct Node {
    raft: Raft,
    metrics: watch::Receiver<RaftMetrics<VoterId, BasicNode>>,
    unsaved: Arc<AtomicU64>,
    snapshot_every_records: u64,
}

/// An entry on its way through the quorum.
#[derive(Debug)]
pub struct Proposal {
    answer: oneshot::Receiver<openraft::raft::ClientWriteResult<TypeConfig>>,
}

impl Node {
    /// Opens what is on disk, becomes the leader of a quorum of one and applies all of its log.
    pub async fn start(config: NodeConfig) -> Result<Node, StartError> {
        let id = VoterId::try_from(config.id.0)
            .map_err(|_| StartError::Quorum(format!("{} cannot be a voter's id", config.id)))?;
        let made = config.files.create_dir_all(&config.dir);
        made.map_err(|source| StartError::Io {
            what: format!("cannot make {}", config.dir.display()),
            source,
        })?;
        let snapshots = Snapshots::new(config.files.clone(), &config.dir);
        let loaded = snapshots.load()?;
        let log = LogStore::open(config.files, &config.dir, SEGMENT_BYTES)?;
        let reaches = loaded.as_ref().and_then(|(summary, _)| summary.last);
        if log.purged().is_some_and(|purged| reaches.is_none_or(|reaches| reaches < purged)) {
            let (dir, purged) = (config.dir.display(), log.purged());
            let what =
                format!("{dir}: the log begins after {purged:?}, the newest snapshot ends at {reaches:?}");
            return Err(StartError::Corrupt { what });
        }
        let unsaved = Arc::new(AtomicU64::new(0));
        let state_machine = StateMachine::new(loaded, snapshots, config.current, unsaved.clone());
        let raft = Raft::new(id, Arc::new(raft_config()?), Network, log, state_machine).await;
        let raft = raft.map_err(|fatal| StartError::Quorum(fatal.to_string()))?;
        let metrics = raft.metrics();
        let snapshot_every_records = config.snapshot_every_records.max(1);
        let node = Node { raft, metrics, unsaved, snapshot_every_records };
        if let Err(error) = node.lead(id).await {
            node.shutdown().await;
            return Err(error);
        }
        Ok(node)
    }

    /// Gets elected and waits until everything in the log is applied.
    async fn lead(&self, id: VoterId) -> Result<(), StartError> {
        let quorum = |error: &dyn std::fmt::Display| StartError::Quorum(error.to_string());
        let (initialized, members, leads) = self
            .raft
            .with_raft_state(move |state| {
                let members: Vec<VoterId> = state.membership_state.effective().voter_ids().collect();
                (
                    !members.is_empty(),
                    members,
                    state.vote_ref().leader_id.node_id == id && state.vote_ref().is_committed(),
                )
            })
            .await
            .map_err(|fatal| quorum(&fatal))?;
        if !initialized {
            let alone = BTreeMap::from([(id, BasicNode::default())]);
            self.raft.initialize(alone).await.map_err(|error| quorum(&error))?;
        } else if members != [id] {
            let found = members.iter().copied().find(|member| *member != id).unwrap_or(id);
            return Err(StartError::OtherNode { found, wanted: id });
        } else if !leads {
            self.raft.trigger().elect().await.map_err(|fatal| quorum(&fatal))?;
        }
        let ready = |seen: &RaftMetrics<VoterId, BasicNode>| {
            let applied = seen.last_applied.map(|applied| applied.index);
            let leads = seen.current_leader == Some(id) && seen.state.is_leader();
            seen.running_state.is_err() || (leads && applied.is_some() && applied == seen.last_log_index)
        };
        let seen =
            self.raft.wait(Some(LEAD_WITHIN)).metrics(ready, "lead").await.map_err(|error| quorum(&error))?;
        seen.running_state.map_err(|fatal| quorum(&fatal))
    }

    /// Hands an entry to the quorum; entries are committed in the order of these calls.
    pub async fn propose(&self, entry: Entry) -> Result<Proposal, Unavailable> {
        let answer = self.raft.client_write_ff(entry).await.map_err(|fatal| stopped(&fatal))?;
        Ok(Proposal { answer })
    }

    /// The term this node leads in; `None` when it does not.
    pub fn leads_in(&self) -> Option<u64> {
        let seen = self.metrics.borrow();
        seen.state.is_leader().then_some(seen.current_term)
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
        let seen = self.metrics.borrow();
        let end = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let log_end = |id: VoterId| match &seen.replication {
            _ if id == seen.id => end(seen.last_log_index),
            Some(known) => end(known.get(&id).copied().flatten().map(|matched| matched.index)),
            None => 0,
        };
        let membership = seen.membership_config.membership();
        let replica = |id| Replica { id, log_end: log_end(id) };
        QuorumStatus {
            leader: seen.current_leader,
            term: seen.current_term,
            high_watermark: end(seen.last_applied.map(|applied| applied.index)),
            voters: membership.voter_ids().map(replica).collect(),
            learners: membership.learner_ids().map(replica).collect(),
        }
    }

    /// Stops; what was committed is on disk.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the quorum did not stop cleanly");
        }
    }
}

impl Proposal {
    /// Waits until the entry is applied on this node; one fate per group.
    pub async fn outcome(self) -> Result<Vec<Outcome>, Unavailable> {
        match self.answer.await {
            Ok(Ok(written)) => Ok(written.data.0),
            Ok(Err(ClientWriteError::ForwardToLeader(to))) => {
                let leader = to.leader_id.and_then(|id| i32::try_from(id).ok()).map(BrokerId);
                Err(Unavailable::NotLeader { leader })
            }
            Ok(Err(ClientWriteError::ChangeMembershipError(error))) => {
                Err(Unavailable::Stopped(error.to_string()))
            }
            // The core went away with the answer: it stopped, or it lost its leadership.
            Err(_) => Err(Unavailable::Interrupted),
        }
    }
}

fn raft_config() -> Result<Config, StartError> {
    let config = Config {
        cluster_name: "metadata".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        // One apart: openraft draws between them once per process, and the simulation must see no randomness.
        election_timeout_min: 5 * HEARTBEAT_MS,
        election_timeout_max: 5 * HEARTBEAT_MS + 1,
        // We count records, not entries: see `snapshot_if_due`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        ..Config::default()
    };
    config.validate().map_err(|error| StartError::Quorum(error.to_string()))
}

fn stopped(fatal: &Fatal<VoterId>) -> Unavailable {
    Unavailable::Stopped(fatal.to_string())
}
