//! One partition's replica on this broker: its log, its role, its leader epoch and its high watermark.
//! It is not the log (that keeps bytes and offsets) and does not decide who leads (the controller does).
//! Invariant: log start <= high watermark <= log end, and the high watermark never falls while this broker leads.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use firnline_controller::id::TopicId;
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::log::truncate::CutError;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::{LogOffsets, Offset};

use crate::partition::dirty::DirtyList;
use crate::partition::traffic::Traffic;
use crate::purgatory::delayed::{Interest, WaitKey};

/// A partition by topic id, which a recreated topic never shares with its namesake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic.
    pub topic: TopicId,
    /// The partition's index within it.
    pub index: i32,
}

/// Shared by every core; cheap to clone.
pub type PartitionHandle = Arc<Replica>;

/// What a partition is opened with.
pub struct ReplicaSettings {
    /// Which partition this is.
    pub id: PartitionId,
    /// The topic's name, for clients and log lines.
    pub topic_name: Arc<str>,
    /// The open log.
    pub log: Arc<Log>,
    /// Written by coordinators only: clients are refused.
    pub internal: bool,
    /// The epoch in which this broker leads.
    pub leader_epoch: LeaderEpoch,
    /// Replicas that must be in sync before acks=all is accepted, already limited to the replica count.
    pub min_insync: i32,
    /// Whether its log directory has room left for produced data.
    pub room: Arc<Room>,
    /// `firn.durability=disk`: only fsynced records count as committed.
    pub durable: bool,
    /// Where it notes that it has bytes to fsync.
    pub dirty: Arc<DirtyList>,
    /// Keeps its log start where a crash cannot lower it.
    pub keeper: Weak<dyn StartKeeper>,
}

/// Where log starts are kept durably before anybody sees them, so that none ever falls (I7).
pub trait StartKeeper: Send + Sync {
    /// Keeps the log start of partition `index` of the topic with this name. Waits for the disk.
    fn keep(&self, topic: &str, index: i32, start: Offset) -> io::Result<()>;
}

/// Room for produced data in a log directory. Below the reserve it takes none: what is left belongs to the quorum log,
/// to checkpoints and to deletion, so that a full disk can always free itself. Between two looks at the disk appends
/// count down what the last look found, so that a fast producer does not eat the reserve before the next one.
#[derive(Debug)]
pub struct Room {
    /// Bytes above the reserve; at or below 0 the directory is full.
    left: AtomicI64,
}

impl Default for Room {
    /// As long as nobody looked there is room.
    fn default() -> Self {
        Self { left: AtomicI64::new(i64::MAX) }
    }
}

impl Room {
    /// True while produce is refused.
    pub fn is_full(&self) -> bool {
        self.left.load(Ordering::Relaxed) <= 0
    }

    /// Notes what a look at the disk found.
    pub fn set_left(&self, bytes: i64) {
        self.left.store(bytes, Ordering::Relaxed);
    }

    /// Counts an append down.
    pub fn take(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let took = self.left.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(took > i64::MIN / 2, "{took} left before {bytes} more");
    }
}

/// A partition this broker holds.
pub struct Replica {
    id: PartitionId,
    topic_name: Arc<str>,
    log: Arc<Log>,
    internal: bool,
    room: Arc<Room>,
    /// Weak: the directories are let go with the broker, whoever still holds a partition then.
    keeper: Weak<dyn StartKeeper>,
    durable: AtomicBool,
    dirty: Arc<DirtyList>,
    /// Noted since the last round took notes.
    is_dirty: AtomicBool,
    interest: Arc<Interest>,
    leading: AtomicBool,
    leader_epoch: AtomicI32,
    min_insync: AtomicI32,
    in_sync: AtomicI32,
    high_watermark: AtomicI64,
    traffic: Traffic,
}

/// A client's idea of the leader epoch does not fit ours (KIP-320).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochRefused {
    /// The client's epoch is older: it has to refresh its metadata.
    #[error("epoch {claimed} is older than the current leader epoch {current}")]
    Fenced {
        /// What the client said.
        claimed: i32,
        /// What is true here.
        current: i32,
    },
    /// The client knows of an epoch that has not reached this broker yet.
    #[error("epoch {claimed} is newer than the leader epoch {current} known here")]
    Unknown {
        /// What the client said.
        claimed: i32,
        /// What is true here.
        current: i32,
    },
}

impl Replica {
    /// A replica that leads. With one replica everything in the log is committed, so the high watermark starts at
    /// the log's end; with `durable` at the end of what is fsynced, so flush the log first.
    pub fn lead(settings: ReplicaSettings) -> PartitionHandle {
        settings.log.begin_epoch(settings.leader_epoch);
        let end = settings.log.offsets().end;
        let end = if settings.durable { end.min(settings.log.recovery_point()) } else { end };
        Arc::new(Self {
            id: settings.id,
            topic_name: settings.topic_name,
            log: settings.log,
            internal: settings.internal,
            room: settings.room,
            keeper: settings.keeper,
            durable: AtomicBool::new(settings.durable),
            dirty: settings.dirty,
            is_dirty: AtomicBool::new(false),
            interest: Arc::default(),
            leading: AtomicBool::new(true),
            leader_epoch: AtomicI32::new(settings.leader_epoch.0),
            min_insync: AtomicI32::new(settings.min_insync),
            in_sync: AtomicI32::new(1),
            high_watermark: AtomicI64::new(end.0),
            traffic: Traffic::default(),
        })
    }

    /// Which partition this is.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The topic's name.
    pub fn topic_name(&self) -> &Arc<str> {
        &self.topic_name
    }

    /// The log beneath. Produce through `append`, not through it: only that moves the high watermark.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// True for `__consumer_offsets` and `__transaction_state`.
    pub fn is_internal(&self) -> bool {
        self.internal
    }

    /// False once the partition was taken away or deleted; what comes after is answered "not leader".
    pub fn is_leader(&self) -> bool {
        self.leading.load(Ordering::Acquire)
    }

    /// The epoch in which this broker leads.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.load(Ordering::Acquire))
    }

    /// First offset that is not committed. Never above the log's end.
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    /// First offset that a read_committed reader may not see: the high watermark, or the first record of a transaction
    /// that is not decided below it.
    pub fn last_stable(&self) -> Offset {
        self.log.last_stable(self.high_watermark())
    }

    /// Log start, local start and end at one moment.
    pub fn offsets(&self) -> LogOffsets {
        self.log.offsets()
    }

    /// What a request that waits for this partition registers with.
    pub fn wait_key(&self) -> WaitKey {
        WaitKey { topic: self.id.topic.0.as_u128(), partition: self.id.index }
    }

    /// What went through it.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Which cores wait for this partition.
    pub fn interest(&self) -> &Arc<Interest> {
        &self.interest
    }

    /// Checks the leader epoch that a client sent; -1 asks for no check.
    pub fn check_epoch(&self, claimed: i32) -> Result<(), EpochRefused> {
        let current = self.leader_epoch().0;
        if claimed < 0 || claimed == current {
            Ok(())
        } else if claimed < current {
            Err(EpochRefused::Fenced { claimed, current })
        } else {
            Err(EpochRefused::Unknown { claimed, current })
        }
    }

    /// A new epoch in which this broker leads. Epochs of one topic id never go back (I13).
    pub fn set_leader_epoch(&self, epoch: LeaderEpoch) {
        let before = self.leader_epoch.swap(epoch.0, Ordering::AcqRel);
        assert!(before <= epoch.0, "{}: leader epoch {before} -> {}", self.log.id(), epoch.0);
        self.log.begin_epoch(epoch);
    }

    /// Moves the log start up to `to`, at most the high watermark: kept durably first, then seen. The quorum keeps that
    /// of a tiered log. Waits for the disk.
    pub fn raise_log_start(&self, to: Offset) -> Result<(), CutError> {
        let end = self.log.offsets().end;
        if to > end {
            return Err(CutError::AboveEnd { asked: to, end });
        }
        if !self.log.config().remote_enabled {
            let kept = match self.keeper.upgrade() {
                Some(keeper) => keeper.keep(&self.topic_name, self.id.index, to),
                None => Err(io::Error::other("the broker has stopped")),
            };
            kept.map_err(|error| CutError::Storage {
                what: format!("keep the log start of {}: {error}", self.log.id()).into(),
            })?;
        }
        self.log.advance_log_start(to)
    }

    /// A changed `min.insync.replicas`, already limited to the replica count.
    pub fn set_min_insync(&self, replicas: i32) {
        self.min_insync.store(replicas, Ordering::Release);
    }

    /// This broker leads no more; whoever waits has to be told by the caller.
    pub fn resign(&self) {
        self.leading.store(false, Ordering::Release);
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// Replicas in sync, and how many acks=all requires.
    pub fn in_sync(&self) -> (i32, i32) {
        (self.in_sync.load(Ordering::Acquire), self.min_insync.load(Ordering::Acquire))
    }

    /// What an append moves: the high watermark, or with `durable` a note for the next round.
    pub(super) fn appended(&self) {
        if self.durable.load(Ordering::Acquire) {
            self.note_dirty();
        } else {
            self.commit_to_end();
        }
    }

    /// A changed `firn.durability`. What is in the log is committed at once when fsync is no longer asked for; the
    /// caller tells who waits.
    pub fn set_durable(&self, durable: bool) {
        self.durable.store(durable, Ordering::Release);
        if !durable {
            self.commit_to_end();
        }
    }

    /// Asks for this partition's part in the next round.
    pub fn note_dirty(&self) {
        if !self.is_dirty.swap(true, Ordering::AcqRel) {
            self.dirty.note(self.wait_key());
        }
    }

    /// Fsyncs what was appended so far and lets the high watermark follow. Waits for the disk. After an error the log
    /// is offline, or the disk is full and the call may be repeated.
    pub fn make_durable(&self) -> io::Result<()> {
        // Falls first: an append that finds it fallen notes again, one that found it raised is seen by the flush.
        self.is_dirty.swap(false, Ordering::AcqRel);
        let end = self.log.flush()?;
        self.high_watermark.fetch_max(end.0, Ordering::AcqRel);
        Ok(())
    }

    /// Moves the high watermark forward to the log's end; appends of several cores may come in any order (I6).
    fn commit_to_end(&self) {
        let end = self.log.offsets().end;
        self.high_watermark.fetch_max(end.0, Ordering::AcqRel);
        self.log.note_replicated(end);
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("topic", &self.topic_name).field("index", &self.id.index).finish()
    }
}
