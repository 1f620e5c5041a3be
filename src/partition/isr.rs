//! Who of a partition's replicas is in sync, as its leader sees it: what they have, what that commits, and which change
//! of the ISR to ask the quorum for. Pure: it sends nothing and reads no clock. Invariant: whatever the quorum may
//! believe to be in sync (the ISR it confirmed, and every ISR proposed to it since) has to hold a record before that
//! record counts as committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use firnline_controller::id::{BrokerEpoch, BrokerId, PartitionEpoch};
use firnline_tiering::offsets::Offset;
use tokio::time::Instant;

/// A partition's row as far as its leader works with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// Everybody who holds the partition, or is about to.
    pub replicas: Arc<[BrokerId]>,
    /// Those in sync.
    pub isr: Arc<[BrokerId]>,
    /// Rises with every change of the row.
    pub epoch: PartitionEpoch,
}

/// What one fetch tells about the follower that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Who fetches.
    pub from: BrokerId,
    /// Which of its lives.
    pub broker_epoch: BrokerEpoch,
    /// It has everything below.
    pub end: Offset,
    /// Its log begins here.
    pub log_start: Offset,
    /// Where the leader's log ended when the fetch was looked at.
    pub leader_end: Offset,
    /// When it came.
    pub at: Instant,
    /// It may be in sync: registered under this epoch, not fenced, not about to stop.
    pub eligible: bool,
}

/// A change of the ISR to ask the quorum for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The row it was decided on.
    pub on: PartitionEpoch,
    /// The new ISR, each with the life in which it fetched; `None` where it has not fetched from this leader.
    pub isr: Vec<(BrokerId, Option<BrokerEpoch>)>,
}

/// The state of a partition's followers. It lives as long as its leader's term.
#[derive(Debug, Clone)]
pub struct InSync {
    me: BrokerId,
    roster: Roster,
    /// Where the leader's log ended when its term began: who is not there yet misses records of earlier terms.
    epoch_start: Offset,
    followers: BTreeMap<BrokerId, Progress>,
    wish: Option<Wish>,
    /// Nobody knows what became of it: it is to be proposed once more.
    ask_again: bool,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    /// `None` until it has fetched from this leader.
    end: Option<Offset>,
    log_start: Offset,
    broker_epoch: Option<BrokerEpoch>,
    eligible: bool,
    /// The last moment at which it had everything; `None` = never in this term.
    caught_up: Option<Instant>,
    /// Of its last fetch: when, and where the leader's log ended.
    fetched: Option<(Instant, Offset)>,
}

impl Progress {
    /// A follower that has not fetched; one in sync gets the time of a whole lag to do so.
    fn unknown(in_sync: bool, now: Instant) -> Progress {
        Progress {
            end: None,
            log_start: Offset(0),
            broker_epoch: None,
            eligible: false,
            caught_up: in_sync.then_some(now),
            fetched: None,
        }
    }

    fn note(&mut self, report: &Report) {
        let had_all = report.end >= report.leader_end;
        let had_all_of_last = self.fetched.filter(|(_, end)| report.end >= *end).map(|(at, _)| at);
        let caught_up = if had_all { Some(report.at) } else { had_all_of_last };
        self.caught_up = self.caught_up.max(caught_up);
        let fetched_end = self.fetched.map_or(report.leader_end, |(_, end)| end.max(report.leader_end));
        self.fetched = Some((report.at, fetched_end));
        self.end = Some(report.end);
        self.log_start = report.log_start;
        self.broker_epoch = Some(report.broker_epoch);
        self.eligible = report.eligible;
    }

    fn is_caught_up(&self, leader_end: Offset, now: Instant, lag_max: Duration) -> bool {
        self.end == Some(leader_end)
            || self.caught_up.is_some_and(|at| now.saturating_duration_since(at) <= lag_max)
    }
}

impl InSync {
    /// The followers of a leader whose term begins now, with its log ending at `epoch_start`.
    pub fn new(me: BrokerId, roster: Roster, epoch_start: Offset, now: Instant) -> InSync {
        let mut new =
            InSync { me, roster, epoch_start, followers: BTreeMap::new(), wish: None, ask_again: false };
        new.meet(now);
        new
    }

    /// Where the leader's log ended when its term began.
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// The row it works with.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The change that was proposed last and is not decided yet.
    pub fn wish(&self) -> Option<&Wish> {
        self.wish.as_ref()
    }

    /// Nobody else holds the partition.
    pub fn is_alone(&self) -> bool {
        self.followers.is_empty() && *self.roster.isr == [self.me]
    }

    /// A row of the image. Older ones than known are passed over; a newer one settles whatever was proposed, because
    /// that names the row it was decided on. Answers whether it was newer.
    pub fn set_roster(&mut self, roster: Roster, now: Instant) -> bool {
        if roster.epoch <= self.roster.epoch {
            return false;
        }
        self.roster = roster;
        (self.wish, self.ask_again) = (None, false);
        self.meet(now);
        true
    }

    /// Followers of the roster that are new begin as unknown; others keep their progress; those gone are forgotten.
    fn meet(&mut self, now: Instant) {
        let me = self.me;
        let known: BTreeSet<BrokerId> = self.roster.replicas.iter().copied().filter(|id| *id != me).collect();
        self.followers.retain(|id, _| known.contains(id));
        for id in known {
            let in_sync = self.roster.isr.contains(&id);
            let progress = self.followers.entry(id).or_insert_with(|| Progress::unknown(in_sync, now));
            // The row says so: it was in sync when that was decided.
            if in_sync && progress.caught_up.is_none() {
                progress.caught_up = Some(now);
            }
        }
    }

    /// Notes a fetch; false when the follower is none of this partition's.
    pub fn note(&mut self, report: &Report) -> bool {
        let Some(progress) = self.followers.get_mut(&report.from) else { return false };
        progress.note(report);
        true
    }

    /// These followers may not be in sync any more (fenced, stopping, registered anew); nobody waits for them.
    pub fn distrust(&mut self, id: BrokerId) {
        if let Some(progress) = self.followers.get_mut(&id) {
            progress.eligible = false;
        }
    }

    /// What is committed: the least that the leader (`own_end`) and everybody have whom the quorum may take for in
    /// sync, or who is about to be. `None` while too few are in sync, or one of them is not known to have anything.
    pub fn committed(
        &self,
        own_end: Offset,
        required: usize,
        now: Instant,
        lag_max: Duration,
    ) -> Option<Offset> {
        if self.roster.isr.len() < required {
            return None;
        }
        let mut least = own_end;
        for (id, progress) in &self.followers {
            // One that is caught up and may join is waited for: it would else run behind a moving end for ever.
            let joins = || progress.eligible && progress.is_caught_up(own_end, now, lag_max);
            if self.may_be_in_sync(*id) || joins() {
                least = least.min(progress.end?);
            }
        }
        Some(least)
    }

    /// In the ISR, or in one that was proposed.
    fn may_be_in_sync(&self, id: BrokerId) -> bool {
        let proposed = self.wish.iter().flat_map(|wish| &wish.isr).any(|(proposed, _)| *proposed == id);
        proposed || self.roster.isr.contains(&id)
    }

    /// The change to ask the quorum for now, which counts as proposed from now on; `None` while there is nothing to
    /// change, or an earlier one is not decided. `end` is the end of the leader's log.
    pub fn propose(
        &mut self,
        end: Offset,
        high_watermark: Offset,
        now: Instant,
        lag_max: Duration,
    ) -> Option<Wish> {
        if let Some(wish) = &self.wish {
            return std::mem::take(&mut self.ask_again).then(|| wish.clone());
        }
        let stays = |id: &BrokerId| {
            *id == self.me || self.followers.get(id).is_some_and(|it| it.is_caught_up(end, now, lag_max))
        };
        let joins = |id: &BrokerId, it: &Progress| {
            let floor = high_watermark.max(self.epoch_start);
            !self.roster.isr.contains(id) && it.eligible && it.end.is_some_and(|end| end >= floor)
        };
        let isr: Vec<BrokerId> = self
            .roster
            .replicas
            .iter()
            .filter(|id| match self.roster.isr.contains(id) {
                true => stays(id),
                false => self.followers.get(id).is_some_and(|it| joins(id, it)),
            })
            .copied()
            .collect();
        let same = isr.len() == self.roster.isr.len() && isr.iter().all(|id| self.roster.isr.contains(id));
        if same || !isr.contains(&self.me) {
            return None;
        }
        let epoch_of = |id: BrokerId| self.followers.get(&id).and_then(|it| it.broker_epoch);
        let wish =
            Wish { on: self.roster.epoch, isr: isr.into_iter().map(|id| (id, epoch_of(id))).collect() };
        self.wish = Some(wish.clone());
        Some(wish)
    }

    /// Whether a follower outside the ISR could join it now.
    pub fn wants_to_grow(&self, high_watermark: Offset) -> bool {
        let floor = high_watermark.max(self.epoch_start);
        self.wish.is_none()
            && self.followers.iter().any(|(id, it)| {
                it.eligible && it.end.is_some_and(|end| end >= floor) && !self.roster.isr.contains(id)
            })
    }

    /// The quorum refused what was proposed on this row: it will never come true.
    pub fn refused(&mut self, on: PartitionEpoch) {
        if self.wish.as_ref().is_some_and(|wish| wish.on == on) {
            (self.wish, self.ask_again) = (None, false);
        }
    }

    /// Nobody knows whether the quorum took what was proposed on this row. It goes on to count, and is proposed again.
    pub fn ask_again(&mut self, on: PartitionEpoch) {
        self.ask_again |= self.wish.as_ref().is_some_and(|wish| wish.on == on);
    }

    /// The lowest log start of the leader and of the followers that `counts` picks; one that has not fetched yet holds
    /// it at 0.
    pub fn low_watermark(&self, own_start: Offset, counts: impl Fn(BrokerId) -> bool) -> Offset {
        let starts = self.followers.iter().filter(|(id, _)| counts(**id)).map(|(_, it)| it.log_start);
        starts.fold(own_start, Offset::min)
    }

    /// Where a follower is: its end and log start, once it has fetched.
    pub fn progress(&self, id: BrokerId) -> Option<(Offset, Offset)> {
        let progress = self.followers.get(&id)?;
        Some((progress.end?, progress.log_start))
    }
}

#[cfg(test)]
mod tests;
