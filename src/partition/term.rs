//! Terms: how a replica begins and ends to lead, and what a leader learns from its followers' fetches.
//! It sends and fetches nothing (`replication` does). Invariants: leader epochs never fall (I13), and whoever waited
//! under one reign can tell that it is over.

use std::sync::atomic::Ordering;

use firnline_controller::id::{BrokerId, PartitionEpoch};
use firnline_tiering::epoch::LeaderEpoch;
use firnline_tiering::offsets::Offset;
use tokio::time::Instant;

use crate::partition::isr::{InSync, Report, Roster, Wish};
use crate::partition::replica::Replica;
use crate::partition::role::{Following, Noted, Reign, Role};

impl Replica {
    /// This broker leads from now on, or goes on to, with this row. Takes the append lock: not on a serving core. The
    /// caller tells who waits. Panics if the epoch falls.
    pub fn lead(&self, epoch: LeaderEpoch, roster: Roster) {
        let _gate = self.gate.lock();
        let before = self.enter_epoch(epoch);
        let mut goes_on = false;
        if let Role::Leads(sync) = &mut *self.role.lock() {
            goes_on = true;
            if before == epoch {
                sync.set_roster(roster.clone(), Instant::now());
            }
        }
        if !(goes_on && before == epoch) {
            // The epoch begins in the log first: a follower that asks finds it.
            self.log.begin_epoch(epoch);
            let end = self.log.offsets().end;
            let sync = InSync::new(self.me, roster, end, Instant::now());
            *self.role.lock() = Role::Leads(Box::new(sync));
        }
        self.settle();
        if self.is_durable() && self.log.unflushed() > 0 {
            // What a killed process left: no append may ever come that asks for its fsync.
            self.note_dirty();
        }
        if !goes_on {
            self.reign.fetch_add(1, Ordering::AcqRel);
            self.leading.store(true, Ordering::Release);
        }
    }

    /// `leader` leads from now on, `None` while nobody does. The caller tells who waits. Panics if the epoch falls.
    pub fn follow(&self, leader: Option<BrokerId>, epoch: LeaderEpoch) {
        let _gate = self.gate.lock();
        self.enter_epoch(epoch);
        self.step_down(Role::Follows(leader));
    }

    /// The partition was taken away or deleted; whoever waits has to be told by the caller.
    pub fn resign(&self) {
        let _gate = self.gate.lock();
        self.step_down(Role::None);
    }

    fn enter_epoch(&self, epoch: LeaderEpoch) -> LeaderEpoch {
        let before = self.leader_epoch.swap(epoch.0, Ordering::AcqRel);
        assert!(before <= epoch.0, "{}: leader epoch {before} -> {}", self.log.id(), epoch.0);
        LeaderEpoch(before)
    }

    fn step_down(&self, to: Role) {
        self.leading.store(false, Ordering::Release);
        self.alone.store(false, Ordering::Release);
        *self.role.lock() = to;
    }

    /// What follows from a changed row.
    fn settle(&self) {
        let role = self.role.lock();
        let Role::Leads(sync) = &*role else { return };
        let count = |of: &[BrokerId]| i32::try_from(of.len()).unwrap_or(i32::MAX);
        self.replicas.store(count(&sync.roster().replicas), Ordering::Release);
        self.in_sync.store(count(&sync.roster().isr), Ordering::Release);
        self.alone.store(sync.is_alone(), Ordering::Release);
        self.commit(sync, Instant::now());
    }

    /// The current reign. Ask before `is_leader`, and for `reigns` after the high watermark.
    pub fn reign(&self) -> Reign {
        Reign(self.reign.load(Ordering::Acquire))
    }

    /// Whether this broker has led without interruption since `reign`.
    pub fn reigns(&self, reign: Reign) -> bool {
        self.is_leader() && self.reign() == reign
    }

    /// True while this broker leads and nobody else holds the partition: what it has is committed.
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    /// True while another broker leads, or nobody.
    pub fn is_following(&self) -> bool {
        matches!(*self.role.lock(), Role::Follows(_))
    }

    /// Whom it follows.
    pub fn following(&self) -> Option<Following> {
        match *self.role.lock() {
            Role::Follows(Some(leader)) => Some(Following { leader, epoch: self.leader_epoch() }),
            _ => None,
        }
    }

    /// The only replica commits all it has. The row is held meanwhile: a thread that was alone, slept, and wakes when a
    /// follower is in sync must not commit what that one lacks.
    pub(super) fn commit_alone(&self) {
        let role = self.role.lock();
        match &*role {
            Role::Leads(sync) if sync.is_alone() => _ = self.raise_high_watermark(self.own_end()),
            Role::Leads(sync) => _ = self.commit(sync, Instant::now()),
            _ => {}
        }
    }

    /// What the followers' ends commit of what the leader has; an append alone moves nothing while one is in sync.
    pub(super) fn commit_with_others(&self) {
        let role = self.role.lock();
        if let Role::Leads(sync) = &*role
            && (self.is_durable() || sync.roster().isr.len() == 1)
        {
            self.commit(sync, Instant::now());
        }
    }

    fn commit(&self, sync: &InSync, now: Instant) -> bool {
        let committed = sync.committed(self.own_end(), self.required(), now, self.lag_max);
        committed.is_some_and(|to| self.raise_high_watermark(to))
    }

    /// Notes where a follower is. On any core; holds no lock across anything slow.
    pub fn note_fetch(&self, report: &Report) -> Noted {
        let mut role = self.role.lock();
        let Role::Leads(sync) = &mut *role else { return Noted::Stranger };
        let before = sync.progress(report.from).map(|(_, log_start)| log_start);
        if !sync.note(report) {
            return Noted::Stranger;
        }
        let moved = self.commit(sync, report.at) || before != Some(report.log_start);
        Noted::Follower { moved, joins: sync.wants_to_grow(self.high_watermark()) }
    }

    /// Whether a broker is in the ISR of this partition, which this broker leads.
    pub fn has_in_sync(&self, id: BrokerId) -> bool {
        match &*self.role.lock() {
            Role::Leads(sync) => sync.roster().isr.contains(&id),
            _ => false,
        }
    }

    /// A follower may not be in sync any more; true when the high watermark moved without it.
    pub fn distrust(&self, id: BrokerId) -> bool {
        let mut role = self.role.lock();
        let Role::Leads(sync) = &mut *role else { return false };
        sync.distrust(id);
        self.commit(sync, Instant::now())
    }

    /// The change of the ISR to ask the quorum for, with the leader epoch it is asked under. It counts as proposed.
    pub fn propose(&self) -> Option<(LeaderEpoch, Wish)> {
        let mut role = self.role.lock();
        let Role::Leads(sync) = &mut *role else { return None };
        let (end, high_watermark) = (self.log.offsets().end, self.high_watermark());
        let wish = sync.propose(end, high_watermark, Instant::now(), self.lag_max)?;
        Some((self.leader_epoch(), wish))
    }

    /// The quorum refused what was proposed on this row.
    pub fn refused(&self, epoch: LeaderEpoch, on: PartitionEpoch) {
        let mut role = self.role.lock();
        if let Role::Leads(sync) = &mut *role
            && self.leader_epoch() == epoch
        {
            sync.refused(on);
            self.commit(sync, Instant::now());
        }
    }

    /// Nobody knows whether the quorum took what was proposed on this row.
    pub fn ask_again(&self, epoch: LeaderEpoch, on: PartitionEpoch) {
        let mut role = self.role.lock();
        if let Role::Leads(sync) = &mut *role
            && self.leader_epoch() == epoch
        {
            sync.ask_again(on);
        }
    }

    /// The quorum's answer to what was proposed: the row as it is now, unless the image was faster or the term is over.
    pub fn learn(&self, epoch: LeaderEpoch, roster: Roster) {
        if let Role::Leads(sync) = &mut *self.role.lock()
            && self.leader_epoch() == epoch
        {
            sync.set_roster(roster, Instant::now());
        }
        self.settle();
    }

    /// The lowest log start of this broker and of the followers that `counts` picks; `None` when it does not lead.
    pub fn low_watermark(&self, counts: impl Fn(BrokerId) -> bool) -> Option<Offset> {
        match &*self.role.lock() {
            Role::Leads(sync) => Some(sync.low_watermark(self.offsets().log_start, counts)),
            _ => None,
        }
    }

    /// The in-sync follower that holds most of those which hold `offset` and that `picks` picks; `None` when there is
    /// none, or another broker leads.
    pub fn best_follower(&self, offset: Offset, picks: impl Fn(BrokerId) -> bool) -> Option<BrokerId> {
        let role = self.role.lock();
        let Role::Leads(sync) = &*role else { return None };
        let holding = sync.roster().isr.iter().filter(|id| picks(**id)).filter_map(|id| {
            let (end, log_start) = sync.progress(*id)?;
            (log_start <= offset && offset <= end).then_some((end, std::cmp::Reverse(*id)))
        });
        holding.max().map(|(_, id)| id.0)
    }

    /// Where the leader's log ended when its term began; `None` when this broker does not lead.
    pub fn epoch_start(&self) -> Option<Offset> {
        match &*self.role.lock() {
            Role::Leads(sync) => Some(sync.epoch_start()),
            _ => None,
        }
    }
}
