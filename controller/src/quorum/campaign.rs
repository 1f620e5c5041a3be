//! When a voter stands for election, and whom it would vote for: pure, given the time. Not the vote itself
//! (openraft's). Invariant: a voter that hears its leader neither stands nor encourages another.
//!
//! Before it raises its term a voter canvasses the others. Each encourages one candidate at a time, so of two that
//! stand at once at most one finds a majority: no tie. A voter cut off finds none: it comes back with the term it left.
//!
//! Where the leader's host says that its process has gone (`lines.rs`), a beat and a half of silence is enough. It is
//! still silence that counts: a leader that beats is never replaced, whatever its host answers to a connection.

use std::time::Duration;

use tokio::time::Instant;

use crate::quorum::type_config::{LogId, VoterId};

/// Between two beats of a leader.
pub const BEAT: Duration = Duration::from_millis(100);
/// For so long after a beat a voter knows that it has a leader; a leader whose beats a majority did not answer for so
/// long knows that it may have been replaced.
pub const QUIET: Duration = Duration::from_millis(700);
/// The first in line stands after this much silence.
const PATIENCE: Duration = Duration::from_millis(750);
/// The same where the leader's process has gone: not even one that is a little late would have missed this.
const SHORT: Duration = Duration::from_millis(150);
/// Each further one waits this much longer; also for how long an encouragement binds.
pub const STAGGER: Duration = Duration::from_millis(150);
/// Between two tries of the first in line where the leader's process has gone: the others learn of it within
/// milliseconds of each other. It ends before the next in line stands.
const HASTE: Duration = Duration::from_millis(40);
/// For so long after raft's last message its core refuses to vote for another.
pub const LEASE: Duration = Duration::from_millis(200);
/// Voters in line behind which nobody waits longer still.
const LINE: u32 = 7;

/// What a voter remembers between two looks at the clock.
#[derive(Debug, Clone)]
pub struct Campaign {
    me: VoterId,
    heard: Instant,
    /// The process of the leader it heard last has gone.
    gone: bool,
    /// When raft's core heard its leader last.
    appended: Option<Instant>,
    /// When it stood last.
    stood: Option<Instant>,
    promised: Option<(VoterId, Instant)>,
}

impl Campaign {
    /// At its start it waits for a leader to speak.
    pub fn new(me: VoterId, now: Instant) -> Campaign {
        Campaign { me, heard: now, gone: false, appended: None, stood: None, promised: None }
    }

    /// A leader of the present term spoke.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.stood = None;
    }

    /// Whether the process of the present leader is known to have gone.
    pub fn leader_gone(&mut self, gone: bool) {
        self.gone = gone;
    }

    /// Raft's core got entries of its leader, or its heartbeat.
    pub fn appended(&mut self, now: Instant) {
        self.appended = Some(now);
    }

    /// Whether it was silent for long enough that another may lead.
    pub fn silent(&self, now: Instant) -> bool {
        now >= self.heard + if self.gone { SHORT } else { QUIET }
    }

    /// When raft's core votes for another again, if it does not now.
    pub fn lease_ends(&self, now: Instant) -> Option<Instant> {
        self.appended.map(|at| at + LEASE + Duration::from_millis(1)).filter(|end| *end > now)
    }

    /// This voter gave its vote: the one it gave it to has time to speak.
    pub fn voted(&mut self, now: Instant, candidate: VoterId) {
        self.stood = Some(now);
        self.promised = Some((candidate, now + STAGGER * 2));
    }

    /// When a leader spoke last.
    pub fn last_heard(&self) -> Instant {
        self.heard
    }

    /// Whether to canvass now. `rank`: this voter's place among the voters, the first is 0; `alone`: there is no other.
    pub fn stands(&mut self, now: Instant, rank: usize, alone: bool) -> bool {
        let rank = u32::try_from(rank).unwrap_or(LINE).min(LINE);
        let patience = if self.gone { SHORT } else { PATIENCE };
        let hasty = self.gone && now < self.heard + SHORT + STAGGER * (rank + 1) - HASTE;
        let due = match self.stood {
            stood if alone => stood.unwrap_or(self.heard) + STAGGER,
            None => self.heard + patience + STAGGER * rank,
            Some(stood) if hasty => stood + HASTE,
            // Longer than an encouragement binds, and out of step with everybody else in line.
            Some(stood) => stood + STAGGER * (2 + rank),
        };
        if now < due {
            return false;
        }
        self.stood = Some(now);
        true
    }

    /// Whether to encourage `candidate`, whose log ends at `theirs`; ours at `ours`.
    pub fn encourages(
        &mut self,
        now: Instant,
        candidate: VoterId,
        theirs: Option<LogId>,
        ours: Option<LogId>,
    ) -> Result<(), &'static str> {
        // What this voter asks itself it asks after its own silence has been long enough.
        if candidate != self.me && !self.silent(now) {
            return Err("it hears a leader");
        }
        if theirs < ours {
            return Err("its log is longer");
        }
        // The vote itself comes when raft's core gives it.
        let binds = self.lease_ends(now).unwrap_or(now) + STAGGER;
        match self.promised {
            // Its own hopes yield to a longer log: it could not win against it, only stand in its way for ever.
            Some((other, _)) if other == self.me && theirs > ours => {
                self.promised = Some((candidate, binds));
                Ok(())
            }
            Some((other, until)) if other != candidate && now < until => Err("it encouraged another"),
            _ => {
                self.promised = Some((candidate, binds));
                Ok(())
            }
        }
    }
}

/// Whether `yes` is a majority of every one of `configs` (two while a membership changes).
pub fn majority<'a>(
    configs: impl IntoIterator<Item = &'a std::collections::BTreeSet<VoterId>>,
    yes: impl Fn(VoterId) -> bool,
) -> bool {
    let mut configs = configs.into_iter().peekable();
    configs.peek().is_some()
        && configs.all(|voters| voters.iter().filter(|id| yes(**id)).count() * 2 > voters.len())
}

/// The latest moment that a majority of every config has answered since: what a leader's authority counts from.
pub fn acknowledged<'a>(
    configs: impl IntoIterator<Item = &'a std::collections::BTreeSet<VoterId>>,
    answered: impl Fn(VoterId) -> Option<Instant>,
) -> Option<Instant> {
    let of_one = |voters: &std::collections::BTreeSet<VoterId>| {
        let mut times: Vec<Option<Instant>> = voters.iter().map(|id| answered(*id)).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(voters.len() / 2).copied().flatten()
    };
    configs.into_iter().map(of_one).min().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::raft_codec::tests::log_id;
    use std::collections::BTreeSet;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn voters_stand_one_after_the_other_and_never_while_they_hear() {
        let start = Instant::now();
        for rank in 0..3_u64 {
            let mut voter = Campaign::new(rank, start);
            let due = 750 + 150 * rank;
            assert!(!voter.stands(at(start, due - 1), rank as usize, false));
            assert!(voter.stands(at(start, due), rank as usize, false));
            let again = due + 300 + 150 * rank;
            assert!(!voter.stands(at(start, again - 1), rank as usize, false));
            assert!(voter.stands(at(start, again), rank as usize, false));
            voter.heard(at(start, 5000));
            assert!(!voter.stands(at(start, 5000 + due - 1), rank as usize, false));
        }
        let mut alone = Campaign::new(1, start);
        assert!(alone.stands(at(start, 150), 0, true), "a voter alone waits for nobody");
        assert!(!alone.stands(at(start, 299), 0, true), "but does not stand all the time");
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_leader_has_gone_the_first_in_line_tries_until_the_second_stands() {
        let start = Instant::now();
        let (mut first, mut second) = (Campaign::new(1, start), Campaign::new(2, start));
        first.leader_gone(true);
        let stood: Vec<u64> = (0..1_000).filter(|ms| first.stands(at(start, *ms), 0, false)).collect();
        assert_eq!(stood, [150, 190, 230, 530, 830]);
        let log = Some(log_id(1, 4));
        assert_eq!(
            second.encourages(at(start, 190), 1, log, log),
            Err("it hears a leader"),
            "not gone, here"
        );
        second.leader_gone(true);
        assert_eq!(second.encourages(at(start, 149), 1, log, log), Err("it hears a leader"), "not silent");
        assert!(!second.stands(at(start, 299), 1, false) && second.stands(at(start, 300), 1, false));
        second.heard(at(start, 301));
        assert_eq!(second.encourages(at(start, 302), 1, log, log), Err("it hears a leader"), "it beats on");
        assert!(!second.stands(at(start, 600), 1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_encouragement_binds_until_the_vote_can_be_given() {
        let start = Instant::now();
        let mut voter = Campaign::new(1, start);
        voter.leader_gone(true);
        voter.appended(at(start, 100));
        let log = Some(log_id(1, 4));
        assert_eq!(voter.lease_ends(at(start, 150)), Some(at(start, 301)));
        assert_eq!(voter.encourages(at(start, 150), 2, log, log), Ok(()));
        assert_eq!(voter.encourages(at(start, 450), 3, log, log), Err("it encouraged another"));
        assert_eq!(voter.encourages(at(start, 451), 3, log, log), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn only_one_candidate_is_encouraged_at_a_time() {
        let start = Instant::now();
        let mut voter = Campaign::new(1, start);
        let (short, long) = (Some(log_id(1, 4)), Some(log_id(1, 5)));
        assert_eq!(voter.encourages(at(start, 699), 2, long, long), Err("it hears a leader"));
        assert_eq!(voter.encourages(at(start, 700), 2, short, long), Err("its log is longer"));
        assert_eq!(voter.encourages(at(start, 700), 2, long, long), Ok(()));
        assert_eq!(voter.encourages(at(start, 800), 3, long, short), Err("it encouraged another"));
        assert_eq!(voter.encourages(at(start, 800), 2, long, long), Ok(()), "the same one again");
        assert_eq!(voter.encourages(at(start, 950), 3, long, short), Ok(()));
        assert_eq!(voter.encourages(at(start, 1100), 1, short, short), Ok(()), "itself");
        assert_eq!(voter.encourages(at(start, 1101), 3, short, short), Err("it encouraged another"));
        assert_eq!(voter.encourages(at(start, 1102), 3, long, short), Ok(()), "a longer log comes first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_majority_is_one_of_every_config() {
        let (old, new) = (BTreeSet::from([1, 2, 3]), BTreeSet::from([3, 4, 5]));
        assert!(majority([&old], |id| id < 3));
        assert!(!majority([&old], |id| id < 2));
        assert!(!majority([&old, &new], |id| id < 4), "one of three of the new ones");
        assert!(majority([&old, &new], |id| id > 1 && id < 5));
        assert!(!majority([], |_| true), "nobody elects where nobody votes");
        let start = Instant::now();
        let answered = |id: VoterId| (id != 5).then(|| at(start, id * 10));
        assert_eq!(acknowledged([&old], answered), Some(at(start, 20)));
        assert_eq!(acknowledged([&old, &new], answered), Some(at(start, 20)));
        assert_eq!(acknowledged([&new], |id| answered(id).filter(|_| id == 3)), None);
    }
}
