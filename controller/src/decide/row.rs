//! One partition's next row: what a change of its ISR, its replicas or a broker's state makes of it. Not who asked
//! for the change. Invariant: the row's epoch rises by one, its leader epoch by at most one and whenever its leader
//! changes; `isr` and `elr` are disjoint parts of `replicas`; the leader is in the ISR.

use firnline_tiering::epoch::LeaderEpoch;

use crate::decide::election::{Candidates, Wanted};
use crate::decide::policy::Policy;
use crate::id::{BrokerId, PartitionEpoch, TopicId};
use crate::image::metadata::MetadataImage;
use crate::record::kinds::Partition;

/// What a topic's partitions are decided on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) image: &'a MetadataImage,
    /// The partition; replicas of it that are offline are not elected.
    pub(crate) place: (TopicId, i32),
    /// Counts as active whatever the image says: it is being unfenced.
    pub(crate) joins: Option<BrokerId>,
    /// Does not: it is being fenced or unregistered, or lost what it held.
    pub(crate) leaves: Option<BrokerId>,
    /// May go on leading where nobody else can, and is elected nowhere: it is on its way down.
    pub(crate) retires: Option<BrokerId>,
    /// Members an ISR needs for a write to be acked, before it is capped by the replicas.
    pub(crate) min_insync: usize,
    /// A replica that may lack acked records may be elected.
    pub(crate) unclean: bool,
}

impl<'a> Ground<'a> {
    /// The brokers as they are, with this topic's configuration.
    pub(crate) fn of(image: &'a MetadataImage, policy: &Policy, (topic, index): (TopicId, i32)) -> Self {
        Ground {
            image,
            place: (topic, index),
            joins: None,
            leaves: None,
            retires: None,
            min_insync: policy.min_insync(image, topic),
            unclean: policy.unclean(image, topic),
        }
    }

    /// May be elected.
    pub(crate) fn accepts(&self, id: BrokerId) -> bool {
        self.leaves != Some(id)
            && self.retires != Some(id)
            && (self.joins == Some(id) || (self.image.brokers.is_active(id) && self.is_online(id)))
    }

    /// Its replica can be used.
    fn is_online(&self, id: BrokerId) -> bool {
        let (topic, index) = self.place;
        self.image.brokers.get(id).is_some_and(|broker| !broker.is_offline(topic, index))
    }

    /// Can go on as leader.
    pub(crate) fn lives(&self, id: BrokerId) -> bool {
        self.leaves != Some(id)
            && (self.joins == Some(id) || (self.image.brokers.is_live(id) && self.is_online(id)))
    }

    /// Eligible replicas and last leaders are kept from feature level 2 on (KIP-966).
    pub(crate) fn keeps_eligible(&self) -> bool {
        self.image.feature_level >= 2
    }

    /// What an election that nobody asked for may do.
    pub(crate) fn wanted(&self) -> Wanted {
        if self.unclean { Wanted::Unclean } else { Wanted::Online }
    }
}

/// A row in the making.
#[derive(Debug, Clone)]
pub(crate) struct Next<'a> {
    pub(crate) before: &'a Partition,
    pub(crate) replicas: Vec<BrokerId>,
    pub(crate) isr: Vec<BrokerId>,
    pub(crate) elr: Vec<BrokerId>,
    pub(crate) adding: Vec<BrokerId>,
    pub(crate) removing: Vec<BrokerId>,
    /// May have lost records it acked: it leaves the ELR, too.
    pub(crate) distrusted: Option<BrokerId>,
    /// Has certainly lost them: it is not even the last leader, where others hold anything.
    pub(crate) wiped: Option<BrokerId>,
    /// The leader leads under a new epoch even if it stays.
    pub(crate) anew: bool,
}

impl<'a> Next<'a> {
    /// The row as it is.
    pub(crate) fn of(before: &'a Partition) -> Self {
        Next {
            before,
            replicas: before.replicas.to_vec(),
            isr: before.isr.to_vec(),
            elr: before.elr.to_vec(),
            adding: before.adding.to_vec(),
            removing: before.removing.to_vec(),
            distrusted: None,
            wiped: None,
            anew: false,
        }
    }

    /// Takes a broker out of the ISR.
    pub(crate) fn without(mut self, id: BrokerId) -> Self {
        self.isr.retain(|member| *member != id);
        self
    }

    /// Completes a move whose replicas are in sync, keeps the ELR, elects. `None` if nothing changes.
    pub(crate) fn settle(mut self, ground: &Ground<'_>, wanted: Wanted) -> Option<Partition> {
        self.complete_move();
        self.keep_eligible(ground);
        let leader = self.elect(ground, wanted);
        if let Some(chosen) = leader
            && !self.isr.contains(&chosen)
        {
            if !self.elr.contains(&chosen) {
                // Whoever else held anything may have held more: nobody is eligible beside an unclean leader.
                self.elr.clear();
            }
            self.isr = vec![chosen];
            self.elr.retain(|eligible| *eligible != chosen);
            if self.is_complete(ground) {
                // Alone it acks, and the others do not hold what it acks from now on.
                self.elr.clear();
            }
        }
        if self.isr.is_empty() && !ground.keeps_eligible() {
            // Level 1 has no ELR: the ISR keeps its last members while nobody leads.
            self.isr = self.before.isr.to_vec();
        }
        let row = self.row(leader, ground);
        let led_anew = self.anew && row.leader.is_some();
        (led_anew || row != *self.before).then(|| self.numbered(row))
    }

    fn elect(&self, ground: &Ground<'_>, wanted: Wanted) -> Option<BrokerId> {
        let candidates = Candidates {
            replicas: &self.replicas,
            isr: &self.isr,
            elr: &self.elr,
            leader: self.before.leader,
            last_leader: self.last_leader().filter(|_| ground.keeps_eligible()),
        };
        candidates.choose(wanted, |id| ground.accepts(id), |id| ground.lives(id))
    }

    /// KIP-455: complete when every added replica is in sync, and somebody in sync stays. A shrinking replica set
    /// waits for all that stay, so that completing never makes the ISR smaller than it must be.
    fn complete_move(&mut self) {
        if self.adding.is_empty() && self.removing.is_empty() {
            return;
        }
        let stays = |ids: &[BrokerId]| -> Vec<BrokerId> {
            ids.iter().copied().filter(|id| !self.removing.contains(id)).collect()
        };
        let (isr, replicas) = (stays(&self.isr), stays(&self.replicas));
        let all_in = |ids: &[BrokerId]| ids.iter().all(|id| isr.contains(id));
        let shrinks = self.adding.len() < self.removing.len();
        if isr.is_empty() || replicas.is_empty() || !all_in(&self.adding) || (shrinks && !all_in(&replicas)) {
            return;
        }
        (self.isr, self.replicas) = (isr, replicas);
        self.adding.clear();
        self.removing.clear();
    }

    /// Who leaves an ISR below `min.insync.replicas` still holds everything acked: nothing is acked there.
    fn keep_eligible(&mut self, ground: &Ground<'_>) {
        if !ground.keeps_eligible() || self.is_complete(ground) {
            self.elr.clear();
            return;
        }
        let held = |id: &BrokerId| self.elr.contains(id) || self.before.isr.contains(id);
        let eligible = |id: &BrokerId| !self.isr.contains(id) && self.distrusted != Some(*id);
        self.elr = self.replicas.iter().copied().filter(|id| held(id) && eligible(id)).collect();
    }

    /// What is written is acked: the ISR has the members it needs.
    fn is_complete(&self, ground: &Ground<'_>) -> bool {
        self.isr.len() >= ground.min_insync.min(self.replicas.len())
    }

    fn row(&self, leader: Option<BrokerId>, ground: &Ground<'_>) -> Partition {
        let in_order =
            |ids: &[BrokerId]| self.replicas.iter().copied().filter(|id| ids.contains(id)).collect();
        let last_leader = match leader {
            None if ground.keeps_eligible() => self.last_leader(),
            _ => None,
        };
        Partition {
            replicas: self.replicas.as_slice().into(),
            isr: in_order(&self.isr),
            elr: in_order(&self.elr),
            leader,
            leader_epoch: self.before.leader_epoch,
            epoch: self.before.epoch,
            adding: self.adding.as_slice().into(),
            removing: self.removing.as_slice().into(),
            last_leader,
        }
    }

    /// Who led last, or leads until this change.
    fn last_leader(&self) -> Option<BrokerId> {
        let last = self.before.leader.or(self.before.last_leader).filter(|id| self.replicas.contains(id));
        last.filter(|id| self.wiped != Some(*id) || self.replicas.len() == 1)
    }

    fn numbered(&self, mut row: Partition) -> Partition {
        let dropped = self.before.replicas.iter().any(|id| !row.replicas.contains(id));
        if row.leader != self.before.leader || dropped || (self.anew && row.leader.is_some()) {
            row.leader_epoch = LeaderEpoch(row.leader_epoch.0 + 1);
        }
        row.epoch = PartitionEpoch(row.epoch.0 + 1);
        row
    }
}
