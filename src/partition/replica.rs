//! One partition's replica on this broker: its log, its role, its leader epoch and its high watermark.
//! It is not the log (that keeps bytes and offsets) and does not decide who leads (the controller does).
//! What changes its role, and what replicas tell each other, is in `term.rs`. Invariant: log start <= high watermark <=
//! log end, and the high watermark never falls while this broker leads.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use firnline_controller::id::{BrokerId, TopicId};
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::log::truncate::CutError;
use firnline_tiering::log::unified::Log;
use firnline_tiering::offsets::{LogOffsets, Offset};
use parking_lot::Mutex;

use crate::partition::dirty::DirtyList;
use crate::partition::role::Role;
use crate::partition::traffic::Traffic;
use crate::purgatory::delayed::{Interest, WaitKey, WakeBoard};

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
    /// This broker.
    pub me: BrokerId,
    /// The topic's name, for clients and log lines.
    pub topic_name: Arc<str>,
    /// The open log.
    pub log: Arc<Log>,
    /// Written by coordinators only: clients are refused.
    pub internal: bool,
    /// The high watermark as of the last checkpoint; the log's end bounds it.
    pub high_watermark: Offset,
    /// A follower behind for this long leaves the ISR (`replica.lag.time.max.ms`).
    pub lag_max: Duration,
    /// Replicas that must be in sync before acks=all is accepted (`min.insync.replicas`).
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

    /// The log was cut at `end`: what is written above it from now on may be torn by a crash, so that the recovery
    /// point kept for it falls to `end` before the next append. Waits for the disk.
    fn lower_recovery_point(&self, topic: &str, index: i32, end: Offset) -> io::Result<()>;
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
    pub(super) me: BrokerId,
    topic_name: Arc<str>,
    pub(super) log: Arc<Log>,
    internal: bool,
    room: Arc<Room>,
    /// Weak: the directories are let go with the broker, whoever still holds a partition then.
    pub(super) keeper: Weak<dyn StartKeeper>,
    durable: AtomicBool,
    dirty: Arc<DirtyList>,
    /// Noted since the last round took notes.
    is_dirty: AtomicBool,
    interest: Arc<Interest>,
    tail_interest: Arc<Interest>,
    pub(super) lag_max: Duration,
    /// Held while the role changes, and while a follower writes: what was fetched in an old role is never appended in a
    /// new one. Taken before `role`; never on a serving core.
    pub(super) gate: Mutex<()>,
    /// Held for a few comparisons only.
    pub(super) role: Mutex<Role>,
    pub(super) leading: AtomicBool,
    /// Leads, and nobody else holds the partition.
    pub(super) alone: AtomicBool,
    /// Counts how often this broker began to lead.
    pub(super) reign: AtomicU32,
    pub(super) leader_epoch: AtomicI32,
    /// As configured; no partition asks for more than it has.
    min_insync: AtomicI32,
    /// How many there are.
    pub(super) replicas: AtomicI32,
    pub(super) in_sync: AtomicI32,
    pub(super) high_watermark: AtomicI64,
    traffic: Traffic,
    /// By its leader, and by itself.
    throttled: [AtomicBool; 2],
    /// How far its end is behind what its leader said is committed.
    lag: AtomicI64,
}

/// Who holds a throttled replica back (KIP-73).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// This broker, as the leader others fetch from: `leader.replication.throttled.replicas`.
    Leader,
    /// This broker, as the follower that fetches: `follower.replication.throttled.replicas`.
    Follower,
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
    /// A replica that follows nobody yet: `lead` and `follow` give it its role.
    pub fn open(settings: ReplicaSettings) -> PartitionHandle {
        let offsets = settings.log.offsets();
        let committed = settings.high_watermark.max(offsets.log_start).min(offsets.end);
        Arc::new(Self {
            id: settings.id,
            me: settings.me,
            topic_name: settings.topic_name,
            log: settings.log,
            internal: settings.internal,
            room: settings.room,
            keeper: settings.keeper,
            durable: AtomicBool::new(settings.durable),
            dirty: settings.dirty,
            is_dirty: AtomicBool::new(false),
            interest: Arc::default(),
            tail_interest: Arc::default(),
            lag_max: settings.lag_max,
            gate: Mutex::default(),
            role: Mutex::default(),
            leading: AtomicBool::new(false),
            alone: AtomicBool::new(false),
            reign: AtomicU32::new(0),
            leader_epoch: AtomicI32::new(-1),
            min_insync: AtomicI32::new(settings.min_insync),
            replicas: AtomicI32::new(1),
            in_sync: AtomicI32::new(0),
            high_watermark: AtomicI64::new(committed.0),
            traffic: Traffic::default(),
            throttled: Default::default(),
            lag: AtomicI64::new(0),
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

    /// False while another broker leads, and once the partition was taken away or deleted: "not leader".
    pub fn is_leader(&self) -> bool {
        self.leading.load(Ordering::Acquire)
    }

    /// The epoch of its leader, here or elsewhere; -1 before its first role.
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
        WaitKey { topic: self.id.topic.0.as_u128(), partition: self.id.index, tail: false }
    }

    /// What a follower's fetch registers with: it waits for what is appended, committed or not.
    pub fn tail_key(&self) -> WaitKey {
        WaitKey { tail: true, ..self.wait_key() }
    }

    /// Which cores have followers that wait for this partition.
    pub fn tail_interest(&self) -> &Arc<Interest> {
        &self.tail_interest
    }

    /// Tells everybody who waits for it, from a thread that is no serving core.
    pub fn tell_all(&self, board: &WakeBoard) {
        board.announce_all([(self.wait_key(), &*self.interest), (self.tail_key(), &*self.tail_interest)]);
    }

    /// What went through it.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// As a follower: records it lacks of those its leader said are committed, at the last answer.
    pub fn lag(&self) -> i64 {
        self.lag.load(Ordering::Relaxed)
    }

    /// Its leader has committed up to `committed`.
    pub fn note_lag(&self, committed: Offset) {
        self.lag.store((committed.0 - self.offsets().end.0).max(0), Ordering::Relaxed);
    }

    /// Whether the topic's configuration names this broker's replica as throttled.
    pub fn is_throttled(&self, by: Throttle) -> bool {
        self.throttled[by as usize].load(Ordering::Relaxed)
    }

    /// What the topic's configuration says of this broker's replica.
    pub fn set_throttled(&self, by: Throttle, throttled: bool) {
        self.throttled[by as usize].store(throttled, Ordering::Relaxed);
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

    /// A changed `min.insync.replicas`. What fewer replicas hold may be committed now; the caller tells who waits.
    pub fn set_min_insync(&self, replicas: i32) {
        self.min_insync.store(replicas, Ordering::Release);
        if self.is_leader() {
            self.commit_own();
        }
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// Replicas in sync, and how many acks=all requires.
    pub fn in_sync(&self) -> (i32, i32) {
        let required = self.min_insync.load(Ordering::Acquire).min(self.replicas.load(Ordering::Acquire));
        (self.in_sync.load(Ordering::Acquire), required)
    }

    /// How many replicas acks=all requires.
    pub(super) fn required(&self) -> usize {
        usize::try_from(self.in_sync().1).unwrap_or(0)
    }

    /// `firn.durability=disk`: only fsynced records count.
    pub fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Acquire)
    }

    /// Everything below counts as held by this broker: the log's end, or what of it is fsynced.
    pub(super) fn own_end(&self) -> Offset {
        let end = self.log.offsets().end;
        if self.is_durable() { end.min(self.log.recovery_point()) } else { end }
    }

    /// What an append moves: the high watermark, or with `durable` a note for the next round.
    pub(super) fn appended(&self) {
        if self.is_durable() {
            self.note_dirty();
        } else {
            self.commit_own();
        }
    }

    /// What this broker has more than before may be committed now.
    fn commit_own(&self) {
        match self.alone.load(Ordering::Acquire) {
            true => self.commit_alone(),
            false => self.commit_with_others(),
        }
    }

    /// Moves the high watermark forward; appends of several cores may come in any order (I6). True when it moved.
    pub(super) fn raise_high_watermark(&self, to: Offset) -> bool {
        let moved = self.high_watermark.fetch_max(to.0, Ordering::AcqRel) < to.0;
        if moved {
            self.log.note_replicated(to);
        }
        moved
    }

    /// A changed `firn.durability`. What is in the log is committed at once when fsync is no longer asked for; the
    /// caller tells who waits.
    pub fn set_durable(&self, durable: bool) {
        self.durable.store(durable, Ordering::Release);
        if !durable {
            self.commit_own();
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
        self.log.flush()?;
        self.commit_own();
        Ok(())
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("topic", &self.topic_name).field("index", &self.id.index).finish()
    }
}
