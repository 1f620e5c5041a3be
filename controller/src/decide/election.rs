//! Who leads a partition: the choice alone. Not what it does to the row (`decide/row.rs`), nor who asks for it
//! (`decide/elect.rs`). Invariant: nobody outside ISR and ELR is chosen but the last leader of a partition where
//! both are empty, and, where an unclean election is wanted, any replica.

use crate::id::BrokerId;

/// How far an election goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Keep the leader if it can lead, else find one that holds everything acked.
    Online,
    /// As `Online`, with the preferred replica first.
    Preferred,
    /// As `Online`; with nobody left, one that may lack acked records.
    Unclean,
}

/// A partition as an election sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates<'a> {
    /// In order of preference.
    pub(crate) replicas: &'a [BrokerId],
    pub(crate) isr: &'a [BrokerId],
    pub(crate) elr: &'a [BrokerId],
    /// Who leads until now.
    pub(crate) leader: Option<BrokerId>,
    /// Who may lead when ISR and ELR are empty: it had the most when it stopped.
    pub(crate) last_leader: Option<BrokerId>,
}

impl Candidates<'_> {
    /// The leader from now on. `accepts` says who may be elected, `lives` who could at least go on leading.
    pub(crate) fn choose(
        &self,
        wanted: Wanted,
        accepts: impl Fn(BrokerId) -> bool,
        lives: impl Fn(BrokerId) -> bool,
    ) -> Option<BrokerId> {
        // The ELR counts once the ISR is empty: while somebody is in sync, nobody else has as much.
        let holds = |id: &BrokerId| self.isr.contains(id) || (self.isr.is_empty() && self.elr.contains(id));
        let clean = |id: &BrokerId| holds(id) && accepts(*id);
        let preferred = self.replicas.first().copied().filter(|_| wanted == Wanted::Preferred);
        let first = preferred.into_iter().chain(self.leader).chain(self.replicas.iter().copied());
        if let Some(found) = first.into_iter().find(clean) {
            return Some(found);
        }
        // On its way down, and the only one there is: it leads until it goes.
        if let Some(stays) = self.leader.filter(|id| self.isr.contains(id) && lives(*id)) {
            return Some(stays);
        }
        let nobody_holds = self.isr.is_empty() && self.elr.is_empty();
        if let Some(last) = self.last_leader.filter(|id| nobody_holds && accepts(*id)) {
            return Some(last);
        }
        let any = self.replicas.iter().copied().find(|id| accepts(*id));
        any.filter(|_| wanted == Wanted::Unclean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: [BrokerId; 4] = [BrokerId(0), BrokerId(1), BrokerId(2), BrokerId(3)];

    fn choose(wanted: Wanted, isr: &[BrokerId], elr: &[BrokerId], alive: &[i32]) -> Option<i32> {
        let candidates =
            Candidates { replicas: &B[1..], isr, elr, leader: Some(B[2]), last_leader: Some(B[2]) };
        let accepts = |id: BrokerId| alive.contains(&id.0);
        candidates.choose(wanted, accepts, accepts).map(|id| id.0)
    }

    #[test]
    fn the_leader_stays_then_the_order_of_the_replicas_counts() {
        assert_eq!(choose(Wanted::Online, &B[1..], &[], &[1, 2, 3]), Some(2));
        assert_eq!(choose(Wanted::Preferred, &B[1..], &[], &[1, 2, 3]), Some(1));
        assert_eq!(choose(Wanted::Preferred, &B[2..], &[], &[1, 2, 3]), Some(2), "1 is not in sync");
        assert_eq!(choose(Wanted::Online, &B[1..], &[], &[1, 3]), Some(1));
        assert_eq!(choose(Wanted::Online, &B[2..], &[], &[1, 3]), Some(3));
    }

    #[test]
    fn eligible_replicas_lead_once_nobody_is_in_sync() {
        assert_eq!(choose(Wanted::Online, &B[2..3], &B[3..], &[3]), None, "2 may have more than 3");
        assert_eq!(choose(Wanted::Online, &[], &B[3..], &[1, 3]), Some(3));
        assert_eq!(choose(Wanted::Online, &[], &B[3..], &[1, 2]), None, "3 is eligible and will return");
    }

    #[test]
    fn the_last_leader_comes_before_an_unclean_one() {
        assert_eq!(choose(Wanted::Online, &[], &[], &[1, 2]), Some(2));
        assert_eq!(choose(Wanted::Online, &[], &[], &[1, 3]), None);
        assert_eq!(choose(Wanted::Unclean, &[], &[], &[1, 2]), Some(2));
        assert_eq!(choose(Wanted::Unclean, &[], &[], &[1, 3]), Some(1));
        assert_eq!(choose(Wanted::Unclean, &B[2..3], &B[3..], &[1]), Some(1));
        assert_eq!(choose(Wanted::Unclean, &[], &[], &[]), None);
    }

    #[test]
    fn a_leader_on_its_way_down_leads_only_while_nobody_else_can() {
        let of = |isr| Candidates { replicas: &B[1..], isr, elr: &[], leader: Some(B[2]), last_leader: None };
        let (accepts, lives) = (|id: BrokerId| id.0 != 2, |_| true);
        assert_eq!(of(&B[2..]).choose(Wanted::Online, accepts, lives), Some(B[3]));
        assert_eq!(of(&B[2..3]).choose(Wanted::Unclean, accepts, lives), Some(B[2]));
    }
}
