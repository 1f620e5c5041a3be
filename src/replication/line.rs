//! What is fetched from one leader: its partitions, each in the lane it belongs to, and when it may be asked for again.
//! It fetches nothing. Invariant: a partition in sync never waits for one that catches up, and while it changes lanes one
//! of them always asks for it.

use std::collections::BTreeMap;
use std::time::Duration;

use firnline_controller::id::BrokerId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::partition::replica::{PartitionHandle, PartitionId};
use crate::partition::role::Following;
use crate::wire::fetch::FetchPartition;

/// Which of a leader's two fetches asks for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Its newest records, which others wait for.
    InSync,
    /// Older ones, which may come from a cold disk.
    CatchingUp,
}

/// First pause after an error of a partition; it doubles.
const PAUSE: Duration = Duration::from_millis(20);

/// A partition that is fetched for.
#[derive(Clone, Debug)]
pub struct Member {
    /// The partition.
    pub partition: PartitionHandle,
    /// Whom it follows; what is fetched is good for this role only.
    pub following: Following,
    lane: Lane,
    /// It has caught up: the other lane takes it with its next fetch.
    ready: bool,
    failures: u32,
    not_before: Option<Instant>,
    /// Somebody else works on its log (a start from the bucket).
    away: bool,
}

impl Member {
    /// A partition that catches up.
    pub fn new(partition: &PartitionHandle, following: Following) -> Member {
        Member {
            partition: partition.clone(),
            following,
            lane: Lane::CatchingUp,
            ready: false,
            failures: 0,
            not_before: None,
            away: false,
        }
    }

    /// What it asks: from its end on, with the epoch of its last record, so that the leader sees where they diverge.
    pub fn ask(&self, max_bytes: i32) -> FetchPartition {
        let log = self.partition.log();
        let offsets = log.offsets();
        let last = log.lineage().epoch_at(offsets.end - 1);
        FetchPartition {
            index: self.partition.id().index,
            current_leader_epoch: self.following.epoch.0,
            fetch_offset: offsets.end.0,
            last_fetched_epoch: last.map_or(-1, |epoch| epoch.0),
            log_start_offset: offsets.log_start.0,
            max_bytes,
        }
    }
}

/// The line to one leader.
#[derive(Debug)]
pub struct Line {
    /// The leader.
    pub leader: BrokerId,
    /// Cancelled when nothing is fetched from it any more.
    pub ended: CancellationToken,
    members: Mutex<BTreeMap<PartitionId, Member>>,
    in_sync_news: Notify,
    catching_up_news: Notify,
}

/// What a lane may ask for now.
pub struct Turn {
    /// Its partitions that are due.
    pub due: BTreeMap<PartitionId, Member>,
    /// When the next one is.
    pub next: Option<Instant>,
}

impl Line {
    /// Nothing is fetched from `leader` yet.
    pub fn new(leader: BrokerId) -> Line {
        Line {
            leader,
            ended: CancellationToken::new(),
            members: Mutex::default(),
            in_sync_news: Notify::new(),
            catching_up_news: Notify::new(),
        }
    }

    fn news(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::InSync => &self.in_sync_news,
            Lane::CatchingUp => &self.catching_up_news,
        }
    }

    /// A partition follows this leader. It begins as one that catches up; what it was in an older role is forgotten.
    pub fn join(&self, partition: &PartitionHandle, following: Following) {
        let mut members = self.members.lock();
        let known = members.get(&partition.id());
        if known.is_some_and(|known| known.following == following) {
            return;
        }
        members.insert(partition.id(), Member::new(partition, following));
        drop(members);
        self.news(Lane::CatchingUp).notify_one();
    }

    /// A partition does not follow this leader any more; true when nobody is left.
    pub fn leave(&self, id: PartitionId) -> bool {
        let mut members = self.members.lock();
        members.remove(&id);
        members.is_empty()
    }

    /// What `lane` may ask for now. The lane in sync takes over whoever has caught up.
    pub fn turn(&self, lane: Lane, now: Instant) -> Turn {
        let mut turn = Turn { due: BTreeMap::new(), next: None };
        for (id, member) in self.members.lock().iter_mut() {
            if lane == Lane::InSync && member.ready {
                (member.lane, member.ready) = (Lane::InSync, false);
            }
            if member.lane != lane || member.away || member.partition.log().offline().is_some() {
                continue;
            }
            match member.not_before.filter(|at| *at > now) {
                Some(at) => turn.next = Some(turn.next.map_or(at, |next| next.min(at))),
                None => _ = turn.due.insert(*id, member.clone()),
            }
        }
        turn
    }

    /// Waits until `lane` may have more to ask for.
    pub async fn wait(&self, lane: Lane, next: Option<Instant>) {
        let news = self.news(lane).notified();
        match next {
            Some(at) => {
                // Whichever comes first: the timeout is no error here.
                let _ = tokio::time::timeout_at(at, news).await;
            }
            None => news.await,
        }
    }

    /// The partition was asked for in this role: it has all that is committed, or not yet.
    pub fn fetched(&self, id: PartitionId, following: Following, has_all: bool) {
        let mut members = self.members.lock();
        let Some(member) = members.get_mut(&id).filter(|it| it.following == following) else { return };
        (member.failures, member.not_before) = (0, None);
        match (member.lane, has_all) {
            (Lane::CatchingUp, true) if !member.ready => {
                member.ready = true;
                self.news(Lane::InSync).notify_one();
            }
            (Lane::InSync, false) => {
                member.lane = Lane::CatchingUp;
                self.news(Lane::CatchingUp).notify_one();
            }
            (Lane::CatchingUp, false) => member.ready = false,
            _ => {}
        }
    }

    /// Asking for it failed: it pauses, at most `most`. Answers how often in a row.
    pub fn failed(&self, id: PartitionId, following: Following, now: Instant, most: Duration) -> u32 {
        let mut members = self.members.lock();
        let Some(member) = members.get_mut(&id).filter(|it| it.following == following) else { return 0 };
        let pause = PAUSE.saturating_mul(1 << member.failures.min(10)).min(most.max(PAUSE));
        member.failures = member.failures.saturating_add(1);
        member.not_before = Some(now + pause);
        (member.lane, member.ready) = (Lane::CatchingUp, false);
        let failures = member.failures;
        drop(members);
        self.news(Lane::CatchingUp).notify_one();
        failures
    }

    /// Somebody else works on its log from now on, or no more.
    pub fn set_away(&self, id: PartitionId, following: Following, away: bool) {
        let mut members = self.members.lock();
        if let Some(member) = members.get_mut(&id).filter(|it| it.following == following) {
            member.away = away;
            // It comes back with another end, and only the lane that is told now looks for it.
            (member.lane, member.ready) = (Lane::CatchingUp, false);
        }
        drop(members);
        self.news(Lane::CatchingUp).notify_one();
    }
}
